-- How many user IDs each segment or trait has at the end of each UTC day on which something of it changed.
{{ config(enabled=has_outbound()) }}
with changes as (
    select * from {{ ref('outbound_changes') }}
),

by_day as (
    select
        outbound,
        destination_id,
        kind,
        token,
        {{ utc_day('changed_at') }} as day,
        cast(sum(case when is_member then 1 else 0 end) as bigint) as came,
        cast(sum(case when is_member then 0 else 1 end) as bigint) as went
    from changes
    group by outbound, destination_id, kind, token, {{ utc_day('changed_at') }}
),

final as (
    select
        outbound,
        destination_id,
        kind,
        token,
        day,
        came,
        went,
        cast(sum(came - went) over (
            partition by outbound, destination_id, kind, token
            order by day asc nulls last
            rows between unbounded preceding and current row
        ) as bigint) as users
    from by_day
)

select * from final
