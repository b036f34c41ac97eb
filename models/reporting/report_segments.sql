-- How many users are in each segment, or have each trait, as outbound files say.
{{ config(enabled=has_outbound()) }}
with memberships as (
    {{ each_signal(ref('received_memberships'), ['is_trait', 'last_file', 'until_file'], 'tokens') }}
),

received_files as (
    select * from {{ ref('received_files') }}
),

-- counted by file before anything is joined, as in segment_sizes
counts as (
    select
        last_file,
        is_trait,
        signal,
        count(*) as users
    from memberships
    where until_file is null
    group by last_file, is_trait, signal
),

sizes as (
    select
        received_files.outbound,
        received_files.destination_id,
        counts.signal as token,
        counts.is_trait,
        cast(sum(counts.users) as bigint) as users
    from counts
    inner join received_files on counts.last_file = received_files.file_id
    group by received_files.outbound, received_files.destination_id, counts.signal, counts.is_trait
),

names as (
    {{ segment_names() }}
),

final as (
    select
        sizes.outbound,
        sizes.destination_id,
        sizes.token,
        sizes.is_trait,
        sizes.users,
        names.name as segment_name
    from sizes
    left join names on sizes.token = names.token and sizes.is_trait = (names.kind = 'trait')
)

select * from final
