-- CRM ID to hashed e-mail addresses, present and former.
with emails as (
    select * from {{ ref('int_customer_emails') }}
),

hashed as (
    select
        customer_id,
        {{ aam_onboard.hashed_email('email') }} as hashed_email,
        updated_at
    from emails
),

final as (
    select
        customer_id,
        hashed_email,
        max(updated_at) as updated_at
    from hashed
    group by customer_id, hashed_email
)

select * from final
