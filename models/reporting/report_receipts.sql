-- What Audience Manager said of each job, a row a receipt, beside what we had sent in its files.
with receipts as (
    select * from {{ ref('receipts') }}
),

deliveries as (
    select * from {{ ref('deliveries') }}
),

delivery_files as (
    select * from {{ ref('delivery_files') }}
    where status <> 'superseded'
),

receipt_files as (
    select
        receipts.receipt_id,
        receipts.file_name,
        deliveries.delivery_id,
        deliveries.feed,
        deliveries.lines as delivery_lines,
        delivery_files.lines as file_lines
    from receipts
    left join deliveries on receipts.file_root = deliveries.file_root
    left join delivery_files on receipts.file_name = delivery_files.name
),

receipt_deliveries as (
    select
        receipt_id,
        delivery_id,
        feed,
        count(*) as files,
        -- where a file has another split number than ours, it is the delivery's lines that were split anew
        case when count(*) = count(file_lines) then sum(file_lines) else max(delivery_lines) end as our_lines
    from receipt_files
    group by receipt_id, delivery_id, feed
),

feeds as (
    select
        receipt_id,
        {{ joined('feed', "', '") }} as feeds
    from (select distinct receipt_id, feed from receipt_deliveries where feed is not null) as named
    group by receipt_id
),

ours as (
    select
        receipt_id,
        cast(sum(files) as bigint) as files,
        cast(sum(case when delivery_id is null then files else 0 end) as bigint) as unknown_files,
        count(delivery_id) as deliveries,
        cast(sum(our_lines) as bigint) as our_lines
    from receipt_deliveries
    group by receipt_id
),

jobs as (
    {%- set counters = [
        'records_received', 'format_errors', 'invalid_aam_id', 'invalid_device_id', 'no_matching_aam_id',
        'no_trait_realized', 'records_processed', 'stored_records', 'total_devices', 'total_signals',
        'total_unused_signals', 'total_realized_traits', 'total_removed_traits', 'total_traits_failed_validation',
        'total_users_failed_validation',
    ] %}
    select
        receipt_id,
        {% for counter in counters %}
        max({{ counter }}) as {{ counter }},
        {% endfor %}
        max(source) as source,
        max(job_started_at) as job_started_at,
        max(job_ended_at) as job_ended_at,
        max(read_at) as read_at
    from receipts
    group by receipt_id
),

final as (
    select
        jobs.receipt_id,
        jobs.source,
        {{ utc_day('coalesce(jobs.job_ended_at, jobs.read_at)') }} as day,
        jobs.job_started_at,
        jobs.job_ended_at,
        feeds.feeds,
        ours.deliveries,
        ours.files,
        ours.unknown_files,
        ours.our_lines,
        {% for counter in counters %}
        jobs.{{ counter }},
        {% endfor %}
        jobs.records_received - jobs.format_errors - jobs.invalid_aam_id - jobs.no_matching_aam_id
        - jobs.no_trait_realized as stored_by_sum
    from jobs
    inner join ours on jobs.receipt_id = ours.receipt_id
    left join feeds on jobs.receipt_id = feeds.receipt_id
)

select * from final
