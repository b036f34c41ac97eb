-- Recency, frequency and spend a customer. Recency counts back from the last day in the data, not from today, so that
-- the same data give the same traits on any day.
with purchases as (
    select * from {{ ref('stg_shop__purchases') }}
),

data_end as (
    select max(purchased_on) as last_day from purchases
),

customer_totals as (
    select
        customer_id,
        max(purchased_on) as last_purchased_on,
        count(*) as purchase_count,
        sum(amount_usd) as spend_usd
    from purchases
    group by customer_id
),

final as (
    select
        customer_totals.customer_id,
        customer_totals.last_purchased_on,
        {{ dbt.datediff('customer_totals.last_purchased_on', 'data_end.last_day', 'day') }}
            as days_since_purchase,
        customer_totals.purchase_count,
        customer_totals.spend_usd
    from customer_totals
    cross join data_end
)

select * from final
