-- A row a delivery, with its files counted, and how soon they were picked up.
with deliveries as (
    select * from {{ ref('deliveries') }}
),

delivery_files as (
    select * from {{ ref('delivery_files') }}
    where status <> 'superseded'
),

files as (
    select
        delivery_id,
        count(*) as files,
        cast(sum(bytes) as bigint) as bytes,
        count(picked_up_at) as picked_up_files,
        sum(case when status = 'uploaded' and picked_up_at is null then 1 else 0 end) as waiting_files,
        max({{ seconds('picked_up_at') }} - {{ seconds('uploaded_at') }}) / 3600 as picked_up_after_hours
    from delivery_files
    group by delivery_id
),

final as (
    select
        deliveries.delivery_id,
        deliveries.feed,
        deliveries.kind,
        deliveries.mode,
        deliveries.destination,
        deliveries.status,
        deliveries.reason,
        deliveries.forced,
        deliveries.started_at,
        deliveries.changed_at,
        {{ utc_day('deliveries.started_at') }} as day,
        {{ seconds('deliveries.changed_at') }} - {{ seconds('deliveries.started_at') }} as seconds,
        deliveries.lines,
        deliveries.users,
        deliveries.users_total,
        deliveries.signals_added,
        deliveries.signals_removed,
        deliveries.rejected,
        coalesce(files.files, 0) as files,
        coalesce(files.bytes, 0) as bytes,
        coalesce(files.picked_up_files, 0) as picked_up_files,
        case when deliveries.status = 'delivered' then coalesce(files.waiting_files, 0) else 0 end as waiting_files,
        files.picked_up_after_hours
    from deliveries
    left join files on deliveries.delivery_id = files.delivery_id
)

select * from final
