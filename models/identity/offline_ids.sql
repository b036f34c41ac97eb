-- Users of the feeds by your own IDs, once each. Those whom no site or app showed as they are have a key that ignores
-- how the ID is spelled. It stands in a table, for PostgreSQL can't hash by a key that it has yet to make.
{{ config(pre_hook="{{ prefer_hashing() }}", post_hook="{{ analyzed(this) }}", unlogged=true) }}
-- depends_on: {{ ref('trait_rows') }}, which stops at a wrong column
with rows_of_feeds as (
    {%- for name, feed in configured('feeds').items() if feed.id_type == 'dpuuid' %}
    select
        {{ feed.dpid }} as dpid,
        user_id
    from {{ own_model(name) }}
    {%- if not loop.last %}
    union all
    {%- endif %}
    {%- else %}
    select
        cast(null as integer) as dpid,
        cast(null as {{ dbt.type_string() }}) as user_id
    where false
    {%- endfor %}
),

users as (
    select distinct
        dpid,
        user_id
    from rows_of_feeds
    where user_id is not null
),

online_ids as (
    select * from {{ ref('online_ids') }}
),

final as (
    select
        users.dpid,
        users.user_id,
        case when online_ids.user_id is null then {{ id_match_key('users.user_id') }} end as match_key
    from users
    left join online_ids on users.dpid = online_ids.dpid and users.user_id = online_ids.user_id
)

select * from final
