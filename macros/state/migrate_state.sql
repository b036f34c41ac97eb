{# Before a build: bring a state of an earlier version of the package to this one's, each step and its version in one
   transaction; refuse one of a later version, which knows more than we do.

   The first version had no state_versions: a state without that table is of version 1. #}
{% macro migrate_state() %}
    {%- if execute and flags.WHICH in ['build', 'run', 'seed'] -%}
        {%- set state = aam_onboard.state_relation('state_versions') -%}
        {%- set versions = load_relation(state) -%}
        {%- set is_there = versions or load_relation(aam_onboard.state_relation('deliveries')) -%}
        {%- if is_there -%}
            {%- set found = run_query('select max(version) from ' ~ versions)[0][0] if versions else 1 -%}
            {%- set found = 1 if found is none else found -%}
            {%- set wanted = var('aam_state_version') -%}
            {%- if found > wanted -%}
                {{ exceptions.raise_compiler_error(
                    "the state in schema " ~ state.schema ~ " is of version " ~ found ~ ", later than version " ~ wanted
                    ~ " of this package; install the aam-onboard that made it, or a later one"
                ) }}
            {%- endif -%}
            {%- for version in range(found + 1, wanted + 1) -%}
                {%- do log('aam_onboard: bringing the state to version ' ~ version, info=true) -%}
                {%- set steps = context['state_migration_' ~ version] -%}
                {%- call statement('migration_' ~ version, auto_begin=true) -%}
                    {{ steps() }}
                    insert into {{ state }} values ({{ version }}, {{ dbt.current_timestamp() }});
                {%- endcall -%}
                {%- do adapter.commit() -%}
            {%- endfor -%}
        {%- endif -%}
    {%- endif -%}
{% endmacro %}
