-- The set of signals of each user that each destination has from us: what the ledger's delivered batches add up to.
{{ config(schema=var('aam_state_schema')) }}
with deliveries as (
    select * from {{ ref('deliveries') }}
),

user_ledger as (
    select * from {{ ref('user_ledger') }}
),

delivered as (
    select
        deliveries.destination,
        deliveries.started_at,
        user_ledger.feed,
        user_ledger.user_id,
        user_ledger.signals,
        user_ledger.possible
    from user_ledger
    inner join deliveries
        on user_ledger.feed = deliveries.feed and user_ledger.batch_id = deliveries.batch_id
    where deliveries.status = 'delivered'
),

final as (
    select
        destination,
        feed,
        user_id,
        signals,
        possible
    from delivered
    where
        (signals <> '' or possible is not null)
        and not exists (
            select 1 from delivered as later
            where
                later.destination = delivered.destination
                and later.feed = delivered.feed
                and later.user_id = delivered.user_id
                and later.started_at > delivered.started_at
        )
)

select * from final
