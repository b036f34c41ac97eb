{# Before a build adds its ID pairs: forget those of batches that never left. #}
{% macro settle_id_ledger() %}
    delete from {{ this }}
    where not exists (
        select 1 from ({{ settled_deliveries() }}) as settled
        where settled.feed = {{ this }}.id_sync and settled.batch_id = {{ this }}.batch_id
    );
{% endmacro %}
