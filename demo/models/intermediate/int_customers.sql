-- Customers whom we may send, one row each. An export may hold older rows of a customer: the newest counts, and where
-- two are equally new, an opt-out goes first. No answer to the question is not a consent.
with customers as (
    select * from {{ ref('stg_shop__crm_customers') }}
),

ranked as (
    select
        customers.*,
        row_number() over (
            partition by customers.customer_id
            order by
                customers.updated_at desc nulls last,
                coalesce(customers.opted_out, true) desc nulls last,
                {{ aam_onboard.byte_order('customers.loyalty_tier') }},
                {{ aam_onboard.byte_order('customers.region') }},
                {{ aam_onboard.byte_order('customers.email') }}
        ) as recency_rank
    from customers
),

final as (
    select
        customer_id,
        loyalty_tier,
        region,
        email,
        updated_at
    from ranked
    where recency_rank = 1 and not coalesce(opted_out, true)
)

select * from final
