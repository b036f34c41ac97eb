-- Rows kept back by day, as the day's last build left them.
with rejected_history as (
    select * from {{ ref('rejected_history') }}
),

final as (
    select
        day,
        destination,
        feed,
        reason,
        rows
    from rejected_history
)

select * from final
