-- Offline IDs that no site or app showed as they are, but in another spelling: IDs match exactly, so what we send for
-- them reaches nobody. Offline are the users of the feeds; online are the IDs that the ID syncs captured.
-- depends_on: {{ ref('id_sync_rows') }}, which stops at a wrong column
{%- set online = [] -%}
{%- for name, sync in configured('id_syncs').items() if sync.prefix == 'adobe_id' -%}
    {%- set columns = text_columns(name, sync.columns) -%}
    {%- for position in range(1, sync.dpids | length) if id_type_of(sync.dpids[position]) == 'dpuuid' -%}
        {%- do online.append({'model': name, 'dpid': sync.dpids[position], 'column': columns[position]}) -%}
    {%- endfor -%}
{%- endfor %}
with trait_rows as (
    select * from {{ ref('trait_rows') }}
),

captures as (
    {%- for source in online %}
    select
        {{ source.dpid }} as dpid,
        {{ source.column }} as user_id
    from {{ ref(source.model) }}
    {%- if not loop.last %}
    union all
    {%- endif %}
    {%- else %}
    select
        dpid,
        user_id
    from trait_rows
    where false
    {%- endfor %}
),

online_ids as (
    select
        dpid,
        user_id,
        count(*) as captures
    from captures
    where user_id is not null
    group by dpid, user_id
),

offline_ids as (
    select distinct
        dpid,
        user_id
    from trait_rows
    where user_id is not null and id_type = 'dpuuid'
),

without_twin as (
    select
        offline_ids.dpid,
        offline_ids.user_id,
        {{ id_match_key('offline_ids.user_id') }} as match_key
    from offline_ids
    left join online_ids on offline_ids.dpid = online_ids.dpid and offline_ids.user_id = online_ids.user_id
    where online_ids.user_id is null
),

online_keys as (
    select
        online_ids.*,
        {{ id_match_key('user_id') }} as match_key
    from online_ids
),

pairs as (
    select
        without_twin.dpid,
        without_twin.user_id as offline_id,
        online_keys.user_id as online_id,
        online_keys.captures
    from without_twin
    inner join online_keys
        on without_twin.dpid = online_keys.dpid and without_twin.match_key = online_keys.match_key
    where without_twin.match_key <> ''
),

-- a difference is one of the pair's if the IDs no longer match once it counts again
{%- set differences = ['case', 'space', 'leading_zeros', 'url_encoding'] %}
differences as (
    select
        pairs.*,
        concat(
            {%- for difference in differences %}
            {%- set others = differences | reject('equalto', difference) | list %}
            case
                when {{ id_match_key('offline_id', ignore=others) }} <> {{ id_match_key('online_id', ignore=others) }}
                    then ' + {{ difference }}'
                else ''
            end{{ ',' if not loop.last }}
            {%- endfor %}
        ) as kinds
    from pairs
),

final as (
    select
        dpid,
        -- no single one: what differs is the letter case within URL-encoding, %c3 and %C3
        case when kinds = '' then 'url_encoding' else substr(kinds, 4) end as kind,
        offline_id,
        online_id,
        captures
    from differences
)

select * from final
