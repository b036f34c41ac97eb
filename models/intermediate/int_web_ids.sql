-- AAM UUIDs and customer IDs as the site showed them, each pair once, without those of customers who opted out.
with captures as (
    select
        stg_shop__web_id_captures.*,
        {{ id_match_key('customer_id') }} as match_key
    from {{ ref('stg_shop__web_id_captures') }}
),

opted_out as (
    select * from {{ ref('int_opted_out_keys') }}
),

final as (
    select
        captures.aam_uuid,
        captures.customer_id,
        max(captures.captured_at) as captured_at,
        count(*) as capture_count
    from captures
    left join opted_out on captures.match_key = opted_out.match_key
    where opted_out.match_key is null
    group by captures.aam_uuid, captures.customer_id
)

select * from final
