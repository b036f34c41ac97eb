{# Seeds on Spark, in the place of dbt-spark's own, which quote a text by writing quotes around it, so that an O'Brien stops
   the load, and which know no type `text`. A project has dbt look here (dispatch in dbt_project.yml):

   dispatch:
     - {macro_namespace: dbt, search_order: [your_project, aam_onboard, dbt]} #}
{% macro spark__create_csv_table(model, agate_table) %}
    {%- set columns = [] -%}
    {%- for name in agate_table.column_names -%}
        {%- do columns.append(aam_onboard.identifier(name) ~ ' ' ~ aam_onboard.seed_type(model, agate_table, loop.index0)) -%}
    {%- endfor -%}
    {%- set sql = 'create table ' ~ this.render() ~ ' (' ~ columns | join(', ') ~ ') using parquet' -%}
    {%- call statement('_') %}{{ sql }}{% endcall -%}
    {{ return(sql) }}
{% endmacro %}

{% macro spark__load_csv_rows(model, agate_table) %}
    {%- set statements = [] -%}
    {%- for chunk in agate_table.rows | batch(get_batch_size()) -%}
        {%- set rows = [] -%}
        {%- for row in chunk -%}
            {%- set values = [] -%}
            {%- for value in row -%}
                {%- do values.append(
                    'cast(' ~ ('null' if value is none else aam_onboard.text_literal(value)) ~ ' as '
                    ~ aam_onboard.seed_type(model, agate_table, loop.index0) ~ ')'
                ) -%}
            {%- endfor -%}
            {%- do rows.append('(' ~ values | join(', ') ~ ')') -%}
        {%- endfor -%}
        {%- do statements.append('insert into ' ~ this.render() ~ ' values ' ~ rows | join(', ')) -%}
        {%- do adapter.add_query(statements[-1], abridge_sql_log=True) -%}
    {%- endfor -%}
    {{ return(statements | first) }}
{% endmacro %}

{% macro seed_type(model, agate_table, place) -%}
    {%- set name = agate_table.column_names[place] -%}
    {%- set type = model.config.get('column_types', {}).get(name, adapter.convert_type(agate_table, place)) -%}
    {{- return({'text': 'string', 'double precision': 'double'}.get(type | lower, type)) -}}
{%- endmacro %}
