{# A table of the state: made when it is not there, with the columns that the model's text lists; else left alone. What
   changes in a later version of the package is changed by migrate_state(). #}
{% materialization state_table, default %}
    {%- set table = this.incorporate(type='table') -%}
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
