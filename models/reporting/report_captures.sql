-- How many ID pairs each ID sync has delivered by day: those that were new, as sites and apps captured them.
with deliveries as (
    select * from {{ ref('deliveries') }}
    where kind = 'id_sync' and status = 'delivered'
),

final as (
    select
        destination,
        feed as id_sync,
        {{ utc_day('started_at') }} as day,
        cast(sum(signals_added) as bigint) as captures
    from deliveries
    group by destination, feed, {{ utc_day('started_at') }}
)

select * from final
