{# A model whose rows are appended to a table of the state, `appends_to`; itself it is a view of this build's rows there.

   dbt's incremental models write new rows twice (into a temporary table first) and may rebuild the table; the
   delivered state can afford neither. #}
{% materialization appended, default %}
    {%- set ledger = aam_onboard.state_relation(config.require('appends_to')) -%}
    {%- set columns = config.require('ledger_columns') | join(', ') -%}
    {%- set view = this.incorporate(type='view') -%}
    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}

    {% call statement('main') %}
        insert into {{ ledger }} ({{ columns }})
        {{ sql }}
    {% endcall %}
    {#- not `or replace`: PostgreSQL would refuse a view whose columns another version had otherwise -#}
    {%- set existing = load_cached_relation(this) -%}
    {%- if existing %}{% do adapter.drop_relation(existing) %}{% endif %}
    {% call statement('this_build') %}
        create view {{ view }} as
        select {{ columns }} from {{ ledger }}
        where batch_id = '{{ invocation_id }}'
    {% endcall %}

    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {{ adapter.commit() }}
    {{ run_hooks(post_hooks, inside_transaction=False) }}
    {{ return({'relations': [view]}) }}
{% endmaterialization %}
