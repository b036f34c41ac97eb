{# Does a regular expression match: `matches` the whole text, `contains` a part of it.
   Patterns keep to the dialect that DuckDB, PostgreSQL, Spark and Python share (see vars.rules). #}
{% macro matches(text, pattern) %}{{ return(adapter.dispatch('matches', 'aam_onboard')(text, pattern)) }}{% endmacro %}

{% macro default__matches(text, pattern) %}{{ aam_onboard.unknown_engine('matches') }}{% endmacro %}

{% macro duckdb__matches(text, pattern) %}regexp_full_match({{ text }}, {{ aam_onboard.text_literal(pattern) }}){% endmacro %}

{% macro postgres__matches(text, pattern) %}({{ text }} ~ {{ aam_onboard.text_literal('^(?:' ~ pattern ~ ')$') }}){% endmacro %}

{# `$` would match before a last line end, too. #}
{% macro spark__matches(text, pattern) %}({{ text }} rlike {{ aam_onboard.text_literal('^(?:' ~ pattern ~ ')\\z') }}){% endmacro %}


{% macro contains(text, pattern) %}{{ return(adapter.dispatch('contains', 'aam_onboard')(text, pattern)) }}{% endmacro %}

{% macro default__contains(text, pattern) %}{{ aam_onboard.unknown_engine('contains') }}{% endmacro %}

{% macro duckdb__contains(text, pattern) %}regexp_matches({{ text }}, {{ aam_onboard.text_literal(pattern) }}){% endmacro %}

{% macro postgres__contains(text, pattern) %}({{ text }} ~ {{ aam_onboard.text_literal(pattern) }}){% endmacro %}

{% macro spark__contains(text, pattern) %}({{ text }} rlike {{ aam_onboard.text_literal(pattern) }}){% endmacro %}


{# A text with `by` in the place of all that matches a pattern. #}
{% macro replaced(text, pattern, by) %}{{ return(adapter.dispatch('replaced', 'aam_onboard')(text, pattern, by)) }}{% endmacro %}

{% macro default__replaced(text, pattern, by) -%}
    regexp_replace({{ text }}, {{ aam_onboard.text_literal(pattern) }}, {{ aam_onboard.text_literal(by) }}, 'g')
{%- endmacro %}

{% macro spark__replaced(text, pattern, by) -%}
    regexp_replace({{ text }}, {{ aam_onboard.text_literal(pattern) }}, {{ aam_onboard.text_literal(by) }})
{%- endmacro %}
