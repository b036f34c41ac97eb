{# Before a build: bring a state of an earlier version of the package to this one's, each step and its version in one
   transaction; refuse one of a later version, which knows more than we do, and to begin anew beside an earlier one. #}
{% macro migrate_state() %}
    {%- if execute and flags.WHICH in ['build', 'run'] -%}
        {%- set state = aam_onboard.state_relation('state_versions') -%}
        {%- set found = aam_onboard.found_state_version() -%}
        {%- set wanted = var('aam_state_version') -%}
        {%- if found is none -%}
            {%- do aam_onboard.refuse_to_leave_a_state_behind(state) -%}
        {%- elif found > wanted -%}
            {{ exceptions.raise_compiler_error(
                "the state in schema " ~ state.schema ~ " is of version " ~ found ~ ", later than version " ~ wanted
                ~ " of this package; install the aam-onboard that made it, or a later one"
            ) }}
        {%- else -%}
            {%- for version in range(found + 1, wanted + 1) -%}
                {%- do log('aam_onboard: bringing the state to version ' ~ version, info=true) -%}
                {%- set steps = context['state_migration_' ~ version] -%}
                {%- call statement('migration_' ~ version, auto_begin=true) -%}
                    {{ steps() }}
                    {{ aam_onboard.write_state_version(version) }}
                {%- endcall -%}
                {%- do adapter.commit() -%}
                {%- if not load_relation(state) %}{% do adapter.cache_added(state.incorporate(type='table')) %}{% endif -%}
            {%- endfor -%}
        {%- endif -%}
    {%- endif -%}
{% endmacro %}


{# The first release put the state into the very schema of vars.aam_state_schema. A project that has dbt name schemas in
   another way would begin with an empty state, and send everything again. #}
{% macro refuse_to_leave_a_state_behind(state) %}
    {%- for schema in [var('aam_state_schema'), var('aam_state_schema') | lower] if schema != state.schema -%}
        {%- set versions = api.Relation.create(database=state.database, schema=schema, identifier='state_versions') -%}
        {%- set deliveries = api.Relation.create(database=state.database, schema=schema, identifier='deliveries') -%}
        {%- if load_relation(deliveries) and not load_relation(versions) -%}
            {{ exceptions.raise_compiler_error(
                "schema " ~ schema ~ " holds the state of an earlier release, but dbt puts the state into " ~ state.schema
                ~ ", where there is none, so that everything would be sent again; keep the name by a macro"
                ~ " generate_schema_name, or set vars.aam_state_schema to another one to begin anew"
            ) }}
        {%- endif -%}
    {%- endfor -%}
{% endmacro %}
