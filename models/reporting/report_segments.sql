-- How many users are in each segment, or have each trait, as outbound files say.
{{ config(enabled=has_outbound()) }}
with memberships as (
    {{ each_signal(ref('received_memberships'), ['is_trait', 'last_file', 'until_file'], 'tokens') }}
),

received_files as (
    select * from {{ ref('received_files') }}
),

sizes as (
    select
        received_files.outbound,
        received_files.destination_id,
        memberships.signal as token,
        memberships.is_trait,
        count(*) as users
    from memberships
    inner join received_files on memberships.last_file = received_files.file_id
    where memberships.until_file is null
    group by received_files.outbound, received_files.destination_id, memberships.signal, memberships.is_trait
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
