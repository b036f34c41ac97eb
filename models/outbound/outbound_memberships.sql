-- Who is in which segment, or has which trait, as Audience Manager has last said.
{{ config(enabled=has_outbound()) }}
{%- set columns = ['user_id', 'is_trait', 'since_file', 'since', 'last_file', 'until_file'] %}
with memberships as (
    {{ each_signal(ref('received_memberships'), columns, 'tokens') }}
),

files as (
    select * from {{ ref('received_files') }}
),

final as (
    select
        first_files.outbound,
        first_files.destination_id,
        first_files.dpid,
        memberships.user_id,
        case when memberships.is_trait then 'trait' else 'segment' end as kind,
        memberships.signal as token,
        coalesce(memberships.since, first_files.made_at) as since,
        last_files.name as last_file,
        last_files.made_at as last_said_at
    from memberships
    inner join files as first_files on memberships.since_file = first_files.file_id
    inner join files as last_files on memberships.last_file = last_files.file_id
    where memberships.until_file is null
)

select * from final
