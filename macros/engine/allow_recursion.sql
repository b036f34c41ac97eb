{# A pre-hook: this model's recursion may go as deep. #}
{% macro allow_recursion(depth) %}{{ return(adapter.dispatch('allow_recursion', 'aam_onboard')(depth)) }}{% endmacro %}

{% macro default__allow_recursion(depth) %}{% endmacro %}

{# Of levels, Spark allows 100, and of rows a million. #}
{% macro spark__allow_recursion(depth) %}
    {%- if not execute -%}{{ return('') }}{%- endif -%}
    {%- do run_query('set spark.sql.cteRecursionLevelLimit = ' ~ (depth + 1)) -%}
    {%- do run_query('set spark.sql.cteRecursionRowLimit = -1') -%}
{% endmacro %}
