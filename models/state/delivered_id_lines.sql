-- The ID pairs that each destination has from us.
{{ config(schema=var('aam_state_schema')) }}
with deliveries as (
    select * from {{ ref('deliveries') }}
),

id_ledger as (
    select * from {{ ref('id_ledger') }}
),

final as (
    select
        deliveries.destination,
        id_ledger.id_sync,
        id_ledger.ids,
        id_ledger.newest_at
    from id_ledger
    inner join deliveries
        on id_ledger.id_sync = deliveries.feed and id_ledger.batch_id = deliveries.batch_id
    where deliveries.status = 'delivered'
)

select * from final
