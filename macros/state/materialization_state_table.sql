{# A table of the state: made when it is not there, with the columns that the model's text lists; else left alone. What
   changes in a later version of the package is changed by migrate_state(), which must know what version a table is of:
   none is made before state_versions. #}
{% materialization state_table, default %}
    {%- set table = this.incorporate(type='table') -%}
    {%- if model.name != 'state_versions' and aam_onboard.found_state_version() is none -%}
        {{ exceptions.raise_compiler_error('the state has no version yet: build the model state_versions first, or all') }}
    {%- endif -%}
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
