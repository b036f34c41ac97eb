{# An expression of type text that stops the query with `message` (SQL, not a constant: a constant may be evaluated
   before the query runs). #}
{% macro fail_query(message) %}{{ return(adapter.dispatch('fail_query', 'aam_onboard')(message)) }}{% endmacro %}

{% macro default__fail_query(message) %}{{ aam_onboard.unknown_engine('fail_query') }}{% endmacro %}

{% macro duckdb__fail_query(message) %}error({{ message }}){% endmacro %}

{# PostgreSQL has no such function; a text that is no number does it and stands in the error. #}
{% macro postgres__fail_query(message) %}cast(cast({{ message }} as integer) as text){% endmacro %}

{% macro spark__fail_query(message) %}cast(raise_error({{ message }}) as string){% endmacro %}
