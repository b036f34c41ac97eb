{# A model whose rows are appended to a table of the state; its select is what this build changes.

   dbt's incremental models write new rows twice (into a temporary table first) and may rebuild the table; the
   delivered state can afford neither. Before, pre-hooks settle the ledgers: settle_user_ledger, settle_id_ledger. #}
{% materialization ledger, default %}
    {%- set ledger = this.incorporate(type='table') -%}
    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}

    {% call statement('main') %}
        insert into {{ ledger }} ({{ config.require('ledger_columns') | join(', ') }})
        {{ sql }}
    {% endcall %}

    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {{ adapter.commit() }}
    {{ run_hooks(post_hooks, inside_transaction=False) }}
    {{ return({'relations': [ledger]}) }}
{% endmaterialization %}
