-- AAM UUID to CRM ID, as captured on the site, of customers whom we know and may send, however the site spells their
-- ID. An ID pair can't be withdrawn, so a CRM table that came up empty must send none.
with web_ids as (
    select * from {{ ref('int_web_ids') }}
),

customers as (
    select * from {{ ref('int_customers') }}
),

allowed_keys as (
    select distinct {{ aam_onboard.id_match_key('customer_id') }} as match_key
    from customers
),

final as (
    select
        web_ids.aam_uuid,
        web_ids.customer_id,
        web_ids.captured_at
    from web_ids
    inner join allowed_keys on {{ aam_onboard.id_match_key('web_ids.customer_id') }} = allowed_keys.match_key
)

select * from final
