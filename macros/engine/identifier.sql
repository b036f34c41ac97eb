{# A name as a SQL identifier, exactly as it is written: reserved words, letter case and spaces included. #}
{% macro identifier(name) %}{{ return(adapter.dispatch('identifier', 'aam_onboard')(name)) }}{% endmacro %}

{% macro default__identifier(name) %}"{{ name | string | replace('"', '""') }}"{% endmacro %}

{% macro spark__identifier(name) %}`{{ name | string | replace('`', '``') }}`{% endmacro %}


{# A column of a CTE or table by its name: what SQL could not read bare is quoted. A name in double quotes stays as it
   is, so that PostgreSQL, which reads a bare name in lower case, finds a column that was made with capitals. #}
{% macro column_of(relation, name) -%}
    {%- set is_sql = modules.re.match('([A-Za-z_][A-Za-z0-9_]*|".*")$', name, modules.re.DOTALL) -%}
    {{ relation }}.{{ name if is_sql else aam_onboard.identifier(name) }}
{%- endmacro %}


{# The column of that name among `columns`, or none: the very name, or the one that the engine finds by it where it
   stands bare in SQL. #}
{% macro find_column(columns, name) %}
    {{- return(columns | select('equalto', name) | first or adapter.dispatch('find_column', 'aam_onboard')(columns, name)) -}}
{% endmacro %}

{% macro default__find_column(columns, name) %}{{ aam_onboard.unknown_engine('find_column') }}{% endmacro %}

{% macro duckdb__find_column(columns, name) %}
    {%- for column in columns if column | lower == name | lower -%}{{ return(column) }}{%- endfor -%}
    {{ return(none) }}
{% endmacro %}

{# PostgreSQL makes the letters of ASCII small, no others. #}
{% macro postgres__find_column(columns, name) %}
    {{- return(columns | select('equalto', name.encode().lower().decode()) | first or none) -}}
{% endmacro %}

{% macro spark__find_column(columns, name) %}{{ return(aam_onboard.duckdb__find_column(columns, name)) }}{% endmacro %}
