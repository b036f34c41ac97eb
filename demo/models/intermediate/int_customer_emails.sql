-- Present and former e-mail addresses of customers whom we may send. Texts without an @ ("n/a") are no addresses:
-- hashed, they would look like good ones.
with customers as (
    select * from {{ ref('int_customers') }}
),

history as (
    select * from {{ ref('stg_shop__crm_email_history') }}
),

united as (
    select
        customer_id,
        email,
        updated_at
    from customers

    union all

    select
        history.customer_id,
        history.email,
        history.updated_at
    from history
    inner join customers on history.customer_id = customers.customer_id
),

final as (
    select
        customer_id,
        email,
        updated_at
    from united
    where email like '%_@_%'
)

select * from final
