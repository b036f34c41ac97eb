-- How many users of each feed a destination has, and how many of their IDs an ID sync has delivered.
{% set syncs = configured('id_syncs') %}
{% set synced_dpids = [] %}
{% set cross_device = [] %}
{% for dpid, source in configured('data_sources').items() if source.get('cross_device') %}
{% do cross_device.append(dpid | int) %}
{% endfor %}
with feeds as (
    {{ configured_feeds() }}
),

users as (
    select
        destination,
        feed,
        user_id
    from ({{ latest_sets() }}) as latest
    where signals <> ''
),

synced_ids as (
    {%- for name, sync in syncs.items() if sync.prefix == 'adobe_id' %}
    {%- for dpid in sync.dpids %}
    {{ 'union' if synced_dpids }}
    select
        deliveries.destination,
        {{ dpid }} as dpid,
        split_part(id_ledger.ids, chr(9), {{ loop.index }}) as user_id
    from {{ ref('id_ledger') }} as id_ledger
    inner join {{ ref('deliveries') }} as deliveries
        on id_ledger.id_sync = deliveries.feed and id_ledger.batch_id = deliveries.batch_id
    where deliveries.status = 'delivered' and id_ledger.id_sync = {{ text_literal(name) }}
    {%- do synced_dpids.append(dpid) %}
    {%- endfor %}
    {%- endfor %}
    {%- set told_dpids = synced_dpids | unique | reject('in', cross_device) | list %}
    {%- if not synced_dpids %}
    select
        cast(null as {{ dbt.type_string() }}) as destination,
        cast(null as integer) as dpid,
        cast(null as {{ dbt.type_string() }}) as user_id
    where false
    {%- endif %}
),

final as (
    select
        users.destination,
        users.feed,
        feeds.dpid,
        feeds.id_type,
        count(*) as users,
        -- of other IDs nobody here knows, and on a cross-device data source it does not matter
        case
            when feeds.id_type = 'dpuuid' and feeds.dpid in ({{ told_dpids | join(', ') or '-1' }})
            then count(synced_ids.user_id)
        end as synced_users
    from users
    inner join feeds on users.feed = feeds.feed
    left join synced_ids
        on users.destination = synced_ids.destination
            and feeds.dpid = synced_ids.dpid
            and users.user_id = synced_ids.user_id
    group by users.destination, users.feed, feeds.dpid, feeds.id_type
)

select * from final
