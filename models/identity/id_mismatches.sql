-- Offline IDs that no site or app showed as they are, but in another spelling: IDs match exactly, so what we send for
-- them reaches nobody. Offline are the users of the feeds; online are the IDs that the ID syncs captured.
{{ config(pre_hook="{{ prefer_hashing() }}") }}
with offline_ids as (
    select * from {{ ref('offline_ids') }}
),

online_ids as (
    select * from {{ ref('online_ids') }}
),

pairs as (
    select
        offline_ids.dpid,
        offline_ids.user_id as offline_id,
        online_ids.user_id as online_id,
        online_ids.captures
    from offline_ids
    inner join online_ids
        on offline_ids.dpid = online_ids.dpid and offline_ids.match_key = online_ids.match_key
    where offline_ids.match_key <> ''
),

differences as (
    select
        pairs.*,
        {{ spelling_differences('offline_id', 'online_id') }} as kinds
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
