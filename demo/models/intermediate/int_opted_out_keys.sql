-- Customers whom we may not send, by a key that ignores how their ID is spelled: the site may show it otherwise than
-- the CRM, and an opt-out holds for each spelling.
with customers as (
    select * from {{ ref('stg_shop__crm_customers') }}
),

allowed as (
    select * from {{ ref('int_customers') }}
),

final as (
    select distinct {{ aam_onboard.id_match_key('customers.customer_id') }} as match_key
    from customers
    left join allowed on customers.customer_id = allowed.customer_id
    where customers.customer_id is not null and allowed.customer_id is null
)

select * from final
