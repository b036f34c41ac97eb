-- How many user IDs each segment or trait has at the end of each UTC day on which something of it changed.
{{ config(enabled=has_outbound()) }}
with came as (
    {{ each_signal(ref('received_memberships'), ['is_trait', 'since_file'], 'tokens') }}
),

-- read once more: what is asked for twice PostgreSQL writes to disk first
went as (
    {{ each_signal(ref('received_memberships'), ['is_trait', 'until_file'], 'tokens') }}
),

files as (
    select * from {{ ref('received_files') }}
),

-- counted by file before anything is joined: of so few groups PostgreSQL knows that they fit its memory
changes as (
    select
        since_file as file_id,
        is_trait,
        signal,
        count(*) as came,
        0 as went
    from came
    group by since_file, is_trait, signal
    union all
    select
        until_file as file_id,
        is_trait,
        signal,
        0 as came,
        count(*) as went
    from went
    where until_file is not null
    group by until_file, is_trait, signal
),

by_day as (
    select
        files.outbound,
        files.destination_id,
        case when changes.is_trait then 'trait' else 'segment' end as kind,
        changes.signal as token,
        {{ utc_day('files.made_at') }} as day,
        cast(sum(changes.came) as bigint) as came,
        cast(sum(changes.went) as bigint) as went
    from changes
    inner join files on changes.file_id = files.file_id
    group by
        files.outbound,
        files.destination_id,
        case when changes.is_trait then 'trait' else 'segment' end,
        changes.signal,
        {{ utc_day('files.made_at') }}
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
