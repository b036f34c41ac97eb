-- Which of your customers are in which segment or have which trait: outbound IDs, joined to your own by the delivered
-- ID syncs. To select an audience: where segment_name = '…'.
{{ config(enabled=has_outbound()) }}
{%- set dpids = outbound_dpids() -%}
{%- set pairs = [] -%}
{%- for name, sync in configured('id_syncs').items() -%}
    {%- for dpid in sync.dpids if dpid in dpids -%}
        {%- for own in sync.dpids if own != dpid and id_type_of(own) == 'dpuuid' -%}
            {%- do pairs.append({
                'sync': name, 'dpid': dpid, 'place': sync.dpids.index(dpid) + 1, 'own': own, 'own_place': sync.dpids.index(own) + 1
            }) -%}
        {%- endfor -%}
    {%- endfor -%}
{%- endfor %}
with memberships as (
    select * from {{ ref('outbound_memberships') }}
),

id_lines as (
    select * from {{ ref('delivered_id_lines') }}
),

id_pairs as (
    {%- for pair in pairs %}
    select
        {{ pair.dpid }} as dpid,
        split_part(ids, chr(9), {{ pair.place }}) as user_id,
        {{ pair.own }} as customer_dpid,
        split_part(ids, chr(9), {{ pair.own_place }}) as customer_id
    from id_lines
    where id_sync = {{ text_literal(pair.sync) }}
    union {# each pair once, whatever destinations have it #}
    {%- endfor %}
    select
        cast(null as bigint) as dpid,
        cast(null as {{ dbt.type_string() }}) as user_id,
        cast(null as bigint) as customer_dpid,
        cast(null as {{ dbt.type_string() }}) as customer_id
    from id_lines
    where false
),

of_customers as (
    select
        memberships.outbound,
        id_pairs.customer_dpid as dpid,
        id_pairs.customer_id,
        memberships.kind,
        memberships.token,
        memberships.since
    from memberships
    inner join id_pairs on memberships.dpid = id_pairs.dpid and memberships.user_id = id_pairs.user_id
    {%- for dpid in dpids if id_type_of(dpid) == 'dpuuid' %}
    union all
    select
        outbound,
        dpid,
        user_id as customer_id,
        kind,
        token,
        since
    from memberships
    where dpid = {{ dpid }}
    {%- endfor %}
),

names as (
    {{ segment_names() }}
),

once as (
    select
        outbound,
        dpid,
        customer_id,
        kind,
        token,
        min(since) as since
    from of_customers
    group by outbound, dpid, customer_id, kind, token
),

final as (
    select
        once.outbound,
        once.dpid,
        once.customer_id,
        once.kind,
        once.token,
        coalesce(names.name, once.token) as segment_name,
        once.since
    from once
    left join names on once.kind = names.kind and once.token = names.token
)

select * from final
