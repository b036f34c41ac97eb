{# Does a regular expression match: `matches` the whole text, `contains` a part of it.
   Patterns keep to the dialect that DuckDB, PostgreSQL and Python share (see vars.rules). #}
{% macro matches(text, pattern) %}{{ return(adapter.dispatch('matches', 'aam_onboard')(text, pattern)) }}{% endmacro %}

{% macro default__matches(text, pattern) %}{{ aam_onboard.unknown_engine('matches') }}{% endmacro %}

{% macro duckdb__matches(text, pattern) %}regexp_full_match({{ text }}, {{ aam_onboard.text_literal(pattern) }}){% endmacro %}

{% macro postgres__matches(text, pattern) %}({{ text }} ~ {{ aam_onboard.text_literal('^(?:' ~ pattern ~ ')$') }}){% endmacro %}


{% macro contains(text, pattern) %}{{ return(adapter.dispatch('contains', 'aam_onboard')(text, pattern)) }}{% endmacro %}

{% macro default__contains(text, pattern) %}{{ aam_onboard.unknown_engine('contains') }}{% endmacro %}

{% macro duckdb__contains(text, pattern) %}regexp_matches({{ text }}, {{ aam_onboard.text_literal(pattern) }}){% endmacro %}

{% macro postgres__contains(text, pattern) %}({{ text }} ~ {{ aam_onboard.text_literal(pattern) }}){% endmacro %}
