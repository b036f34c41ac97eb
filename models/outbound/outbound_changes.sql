-- Who came into which segment or got which trait, and who left it, with the file that said so.
{{ config(enabled=has_outbound()) }}
with came as (
    {{ each_signal(ref('received_memberships'), ['user_id', 'is_trait', 'since_file'], 'tokens') }}
),

-- read once more: what is asked for twice PostgreSQL writes to disk first
went as (
    {{ each_signal(ref('received_memberships'), ['user_id', 'is_trait', 'until_file'], 'tokens') }}
),

files as (
    select * from {{ ref('received_files') }}
),

changes as (
    select
        since_file as file_id,
        user_id,
        is_trait,
        signal as token,
        true as is_member
    from came
    union all
    select
        until_file as file_id,
        user_id,
        is_trait,
        signal as token,
        false as is_member
    from went
    where until_file is not null
),

final as (
    select
        files.outbound,
        files.destination_id,
        files.dpid,
        changes.user_id,
        case when changes.is_trait then 'trait' else 'segment' end as kind,
        changes.token,
        changes.is_member,
        files.made_at as changed_at,
        files.name as file
    from changes
    inner join files on changes.file_id = files.file_id
)

select * from final
