-- How many users of each data source can't be reached because their ID is spelled otherwise online.
with mismatches as (
    select * from {{ ref('id_mismatches') }}
),

offline_ids as (
    select * from {{ ref('offline_ids') }}
),

all_users as (
    select
        dpid,
        count(*) as total_users
    from offline_ids
    group by dpid
),

kinds as (
    select
        dpid,
        kind,
        count(distinct offline_id) as users
    from mismatches
    group by dpid, kind
),

final as (
    select
        kinds.dpid,
        kinds.kind,
        kinds.users,
        all_users.total_users,
        cast(kinds.users as {{ dbt.type_float() }}) / all_users.total_users as share
    from kinds
    inner join all_users on kinds.dpid = all_users.dpid
)

select * from final
