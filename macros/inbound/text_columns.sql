{# The columns that the outbox reads of a feed's or ID sync's model, as SQL identifiers, in their order.

   Stops the build with one clear line when the model lacks one, or has one that is no text: of another type, a value is
   written in a way of the engine's own, 42 as 42.0 or with spaces behind. #}
{% macro text_columns(model_name, columns) %}
    {%- set found = [] -%}
    {%- set wrong = [] -%}
    {%- set types = aam_onboard.column_types_of(model_name) -%}
    {%- for name in columns -%}
        {%- set column = aam_onboard.model_column(model_name, types, name) -%}
        {%- do found.append(aam_onboard.identifier(column)) -%}
        {%- set type = types.get(column, 'text') -%}
        {%- if not modules.re.match('(text|string|varchar(\(.*\))?|character varying(\(.*\))?|"?null"?)$', type) -%}
            {%- do wrong.append('column ' ~ column ~ ' is ' ~ type | truncate(60) ~ '; ' ~ aam_onboard.cast_to_write(column, type)) -%}
        {%- endif -%}
    {%- endfor -%}
    {%- if wrong and aam_onboard.must_be_right() -%}
        {{ exceptions.raise_compiler_error('model ' ~ model_name ~ ': ' ~ wrong | join('; ')) }}
    {%- endif -%}
    {{ return(found) }}
{% endmacro %}


{# An ID sync's column newest_by as a number, a text as the time that it says; stops the build likewise. #}
{% macro newest_by_column(model_name, name) %}
    {%- set types = aam_onboard.column_types_of(model_name) -%}
    {%- set column = aam_onboard.model_column(model_name, types, name) -%}
    {%- set type = types.get(column, 'timestamp') -%}
    {%- set sql = aam_onboard.identifier(column) -%}
    {%- if modules.re.match('(text|string|varchar|character)', type) -%}
        {{ return(aam_onboard.seconds('cast(' ~ sql ~ ' as timestamp)')) }}
    {%- elif modules.re.match('(date|time|interval)', type) -%}
        {{ return(aam_onboard.seconds(sql)) }}
    {%- endif -%}
    {%- set numbers = '(numeric|decimal|real|float|double|u?(big|huge|small|tiny)?int|"?null"?$)' -%}
    {%- if not modules.re.match(numbers, type) and aam_onboard.must_be_right() -%}
        {{ exceptions.raise_compiler_error(
            'model ' ~ model_name ~ ': column ' ~ column ~ ', the newest_by of vars.id_syncs.' ~ model_name ~ ', is ' ~ type
            ~ '; make it a time, a date, a number or a text: cast(' ~ column ~ ' as timestamp)'
        ) }}
    {%- endif -%}
    {{ return('cast(' ~ sql ~ ' as ' ~ aam_onboard.double() ~ ')') }}
{% endmacro %}


{# Only a build has just made the model; what else compiles may find it as it was, or not at all. #}
{% macro must_be_right() %}{{ return(execute and flags.WHICH in ['build', 'run']) }}{% endmacro %}

{% macro column_types_of(model_name) %}
    {%- set relation = aam_onboard.own_model(model_name) -%}
    {%- if not execute or model_name in var('retired') -%}{{ return({}) }}{%- endif -%}
    {%- if relation.is_cte -%}
        {%- if aam_onboard.must_be_right() and model.resource_type != 'unit_test' -%}
            {{ exceptions.raise_compiler_error(
                'model ' ~ model_name ~ ' is ephemeral, so that nobody can see the types of its columns; make it a view'
            ) }}
        {%- endif -%}
        {{ return({}) }}
    {%- endif -%}
    {{ return(aam_onboard.column_types(relation)) }}
{% endmacro %}

{% macro model_column(model_name, types, name) %}
    {%- set column = aam_onboard.find_column(types.keys() | list, name) -%}
    {%- if types and not column and aam_onboard.must_be_right() -%}
        {{ exceptions.raise_compiler_error(
            'model ' ~ model_name ~ ' has no column ' ~ name ~ '; its last select gives ' ~ types.keys() | join(', ')
        ) }}
    {%- endif -%}
    {{ return(column or name) }}
{% endmacro %}

{# What to write in the model's last select instead of a column. #}
{% macro cast_to_write(column, type) %}
    {%- set sql = aam_onboard.identifier(column) if modules.re.search('[^a-z0-9_]', column) else column -%}
    {%- set text = dbt.type_string() | lower -%}
    {%- if modules.re.match('(char|bpchar)', type) -%}
        {{- return('it is padded: write cast(' ~ sql ~ ' as ' ~ text ~ ')') -}}
    {%- elif modules.re.match('(real|float|double|numeric|decimal)', type) -%}
        {{- return('write cast(cast(' ~ sql ~ ' as bigint) as ' ~ text ~ '), or to the decimals that you want') -}}
    {%- elif modules.re.match('(bytea|blob)', type) -%}
        {{- return('write ' ~ ('convert_from(' ~ sql ~ ", 'UTF8')" if type == 'bytea' else 'decode(' ~ sql ~ ')')) -}}
    {%- elif modules.re.match('json', type) -%}
        {{- return('take a text out of it with ->>') -}}
    {%- endif -%}
    {{- return('write cast(' ~ sql ~ ' as ' ~ text ~ ')') -}}
{% endmacro %}
