{# Before a build adds its ID pairs: forget those of batches that never left. #}
{% macro settle_id_ledger() %}{{ return(adapter.dispatch('settle_id_ledger', 'aam_onboard')()) }}{% endmacro %}

{% macro default__settle_id_ledger() %}
    {%- set ledger = aam_onboard.state_relation('id_ledger') %}
    delete from {{ ledger }}
    where not exists (
        select 1 from ({{ aam_onboard.settled_deliveries() }}) as settled
        where settled.feed = {{ ledger }}.id_sync and settled.batch_id = {{ ledger }}.batch_id
    );
{% endmacro %}

{% macro spark__settle_id_ledger() %}{% do aam_onboard.drop_unsettled_batches('id_ledger', 'id_sync') %}{% endmacro %}
