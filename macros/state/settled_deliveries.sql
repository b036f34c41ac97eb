{# Deliveries whose rows a ledger keeps: delivered, still open, or given up after a part of it may have arrived, as long
   as no later delivery has made it good. #}
{% macro settled_deliveries() %}
    select
        deliveries.feed,
        deliveries.batch_id
    from {{ aam_onboard.state_relation('deliveries') }} as deliveries
    where
        deliveries.status <> 'abandoned'
        or (
            deliveries.uncertain
            and not exists (
                select 1 from {{ aam_onboard.state_relation('deliveries') }} as later
                where
                    later.feed = deliveries.feed
                    and later.destination = deliveries.destination
                    and later.status = 'delivered'
                    and later.started_at > deliveries.started_at
            )
        )
{%- endmacro %}
