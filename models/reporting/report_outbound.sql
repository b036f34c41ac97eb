-- Batches of outbound files, and how long after the one before each was made.
{{ config(enabled=has_outbound()) }}
with received_batches as (
    select * from {{ ref('received_batches') }}
),

files as (
    select
        outbound,
        root,
        count(*) as received_files,
        cast(sum(bytes) as bigint) as bytes,
        cast(sum(lines) as bigint) as lines,
        cast(sum(users) as bigint) as users,
        cast(sum(memberships) as bigint) as memberships,
        cast(sum(removals) as bigint) as removals,
        cast(sum(rejected) as bigint) as rejected
    from {{ ref('received_files') }}
    group by outbound, root
),

final as (
    select
        batches.outbound,
        batches.root,
        batches.mode,
        {{ utc_day('batches.made_at') }} as day,
        batches.made_at,
        batches.status,
        batches.forced,
        (
            {{ seconds('batches.made_at') }}
            - lag({{ seconds('batches.made_at') }}) over (
                partition by batches.outbound order by batches.made_at asc nulls last
            )
        ) / 3600 as hours_after_last,
        batches.files,
        coalesce(files.received_files, 0) as received_files,
        coalesce(files.bytes, 0) as bytes,
        coalesce(files.lines, 0) as lines,
        coalesce(files.users, 0) as users,
        coalesce(files.memberships, 0) as memberships,
        coalesce(files.removals, 0) as removals,
        coalesce(files.rejected, 0) as rejected,
        batches.ended_memberships
    from received_batches as batches
    left join files on batches.outbound = files.outbound and batches.root = files.root
)

select * from final
