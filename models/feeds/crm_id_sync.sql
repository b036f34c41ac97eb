-- AAM UUID to CRM ID, as captured on the site.
with web_ids as (
    select * from {{ ref('int_web_ids') }}
),

final as (
    select
        aam_uuid,
        customer_id,
        captured_at
    from web_ids
)

select * from final
