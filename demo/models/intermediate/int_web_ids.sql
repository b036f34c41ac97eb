-- AAM UUIDs and customer IDs as the site showed them, each pair once, without those of customers who opted out.
with captures as (
    select * from {{ ref('stg_shop__web_id_captures') }}
),

opted_out as (
    select * from {{ ref('int_opted_out_keys') }}
),

captures_with_key as (
    select
        captures.*,
        {{ aam_onboard.id_match_key('captures.customer_id') }} as match_key
    from captures
),

final as (
    select
        captures_with_key.aam_uuid,
        captures_with_key.customer_id,
        max(captures_with_key.captured_at) as captured_at,
        count(*) as capture_count
    from captures_with_key
    left join opted_out on captures_with_key.match_key = opted_out.match_key
    where opted_out.match_key is null
    group by captures_with_key.aam_uuid, captures_with_key.customer_id
)

select * from final
