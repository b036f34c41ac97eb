{# The columns of a relation with their types, as the engine names them, in a dictionary; empty where there is none. #}
{% macro column_types(relation) %}{{ return(adapter.dispatch('column_types', 'aam_onboard')(relation)) }}{% endmacro %}

{% macro default__column_types(relation) %}
    {%- set types = {} -%}
    {%- for column in adapter.get_columns_in_relation(relation) -%}
        {%- do types.update({column.name: column.dtype | lower}) -%}
    {%- endfor -%}
    {{ return(types) }}
{% endmacro %}

{# dbt asks the information schema, which knows no materialized views. A domain is of the type that it stands for. #}
{% macro postgres__column_types(relation) %}
    {%- set types = {} -%}
    {%- set columns -%}
        select
            columns.attname,
            case
                when types.typtype = 'd' then format_type(types.typbasetype, types.typtypmod)
                else format_type(columns.atttypid, columns.atttypmod)
            end
        from pg_attribute as columns
        inner join pg_type as types on columns.atttypid = types.oid
        where
            columns.attrelid = to_regclass({{ aam_onboard.text_literal(relation.render()) }})
            and columns.attnum > 0
            and not columns.attisdropped
    {%- endset -%}
    {%- for name, type in run_query(columns) -%}
        {%- do types.update({name: type}) -%}
    {%- endfor -%}
    {{ return(types) }}
{% endmacro %}
