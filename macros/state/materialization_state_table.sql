{# A table of the state: made when it is not there, with the columns that the model's text lists; else left alone. What
   changes in a later version of the package is changed by migrate_state(), which must know what version a table is of:
   none is made before state_versions. #}
{% materialization state_table, default %}
    {%- set table = this.incorporate(type='table') -%}
    {{ aam_onboard.require_state_version() }}
    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}

    {% call statement('main') %}
        create table if not exists {{ table }} (
            {{ sql }}
        )
    {% endcall %}

    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {{ adapter.commit() }}
    {{ run_hooks(post_hooks, inside_transaction=False) }}
    {{ return({'relations': [table]}) }}
{% endmaterialization %}

{% macro require_state_version() %}
    {%- if model.name != 'state_versions' and not aam_onboard.has_state() -%}
        {{ exceptions.raise_compiler_error('the state has no version yet: build the model state_versions first, or all') }}
    {%- endif -%}
{% endmacro %}


{# Spark's plain tables know no UPDATE, no DELETE, and no transaction. So there the tables of the state are views of one
   table, `state_log`: a row that was changed is written there once more, and the last writing counts. What is written
   together stands in one file, which is there or not; that makes it a transaction.

   The ledgers, which are as large as what is delivered, are tables of their own, of which parts are dropped
   (partition_by); see settled_sets. #}
{% materialization state_table, adapter='spark' %}
    {%- set relation = this.incorporate(type='table' if config.get('partition_by') else 'view') -%}
    {{ aam_onboard.require_state_version() }}
    {{ run_hooks(pre_hooks) }}

    {%- if model.name == 'state_versions' -%}
        {% call statement('log') %}
            create table if not exists {{ aam_onboard.state_log() }} (
                change bigint, place int, name string, row_id string, gone boolean, content string, generation int
            ) using parquet partitioned by (generation)
        {% endcall %}
    {%- endif -%}
    {%- set columns = [] -%}
    {%- for line in sql.splitlines() if line.strip() and not line.strip().startswith('--') -%}
        {%- set words = line.split('--')[0].strip().rstrip(',') -%}
        {%- set column = words.split(' ')[0] -%}
        {%- set type = modules.re.sub(' (not null|primary key|unique)', '', words[column | length:]) | trim -%}
        {%- do columns.append(column ~ ' ' ~ {
            'text': 'string', 'double precision': 'double', 'timestamp with time zone': 'timestamp', 'integer': 'int'
        }.get(type, type)) -%}
    {%- endfor -%}

    {% call statement('main') %}
        {%- if config.get('partition_by') %}
        create table if not exists {{ relation }} ({{ columns | join(', ') }})
        using parquet partitioned by ({{ config.get('partition_by') | join(', ') }})
        {%- else %}
        create or replace view {{ relation }} as
        select found.*
        from (
            select from_json(content, '{{ columns | join(', ') }}', {{ aam_onboard.json_options() }}) as found
            from ({{ aam_onboard.last_written() }}) as written
            where name = '{{ model.name }}'
        ) as of_this_table
        {%- endif %}
    {% endcall %}

    {{ run_hooks(post_hooks) }}
    {{ return({'relations': [relation]}) }}
{% endmaterialization %}


{# The rows of all tables of the state as they were written last; those that were deleted are gone. #}
{% macro last_written() %}
    select
        name,
        row_id,
        last_one.content
    from (
        select
            name,
            row_id,
            max_by(struct(gone, content), struct(change, place)) as last_one
        from {{ aam_onboard.state_log() }}
        group by name, row_id
    ) as rows_of_the_state
    where not last_one.gone
{%- endmacro %}


{# How a row stands in state_log. #}
{% macro json_options() -%}
    map('timestampFormat', "yyyy-MM-dd'T'HH:mm:ss.SSSSSSXXX", 'timeZone', 'UTC')
{%- endmacro %}

{# change, place: which change of the state, and which row of it · name, row_id: of a table, and a row there, which may be
   written again · gone: deleted · content: JSON, an object · generation: of files; when they are many, the last writings
   of all rows become one file of the next generation, and the others go · `aam` writes it, see
   loader/aam_onboard/warehouse/spark.py #}
{% macro state_log() %}
    {{ return(aam_onboard.state_relation('state_versions').incorporate(path={'identifier': 'state_log'}, type='table')) }}
{% endmacro %}


{# A hook of state_versions: a new state is of this version. #}
{% macro first_state_version() %}
    {{- aam_onboard.write_state_version(var('aam_state_version'), 'where not exists (select 1 from ' ~ this ~ ')') -}}
{% endmacro %}


{# The statement that makes the state be of a version, where a condition holds. #}
{% macro write_state_version(version, where='') %}
    {{- return(adapter.dispatch('write_state_version', 'aam_onboard')(version, where)) -}}
{% endmacro %}

{% macro default__write_state_version(version, where) %}
    insert into {{ aam_onboard.state_relation('state_versions') }}
    select {{ version }}, {{ dbt.current_timestamp() }} {{ where }}
{% endmacro %}

{% macro spark__write_state_version(version, where) %}
    {#- a log that was made before it had generations has none -#}
    {%- set columns = aam_onboard.column_types(aam_onboard.state_log()) if execute else {} %}
    insert into {{ aam_onboard.state_log() }}
    select
        unix_micros(current_timestamp()),
        0,
        'state_versions',
        uuid(),
        false,
        to_json(named_struct('version', {{ version }}, 'migrated_at', current_timestamp()), {{ aam_onboard.json_options() }})
        {{- ', 0' if 'generation' in columns }}
    {{ where }}
{% endmacro %}
