-- Traits of customers: how lately, how often and for how much they bought, and their loyalty tier.
with customers as (
    select * from {{ ref('int_customers') }}
),

purchase_stats as (
    select * from {{ ref('int_purchase_stats') }}
),

scores as (
    select
        customers.customer_id,
        case
            when purchase_stats.days_since_purchase <= 30 then {{ aam_onboard.trait_id('Recency: last 30 days') }}
            when purchase_stats.days_since_purchase <= 90 then {{ aam_onboard.trait_id('Recency: 31 to 90 days') }}
            when purchase_stats.days_since_purchase <= 365 then {{ aam_onboard.trait_id('Recency: 91 to 365 days') }}
            when purchase_stats.days_since_purchase > 365 then {{ aam_onboard.trait_id('Recency: over a year') }}
        end as recency_trait,
        case
            when purchase_stats.purchase_count = 1 then {{ aam_onboard.trait_id('Frequency: once') }}
            when purchase_stats.purchase_count < 5 then {{ aam_onboard.trait_id('Frequency: 2 to 4 times') }}
            when purchase_stats.purchase_count >= 5 then {{ aam_onboard.trait_id('Frequency: 5 times or more') }}
        end as frequency_trait,
        case
            when purchase_stats.spend_usd < 50 then {{ aam_onboard.trait_id('Spend: under 50 USD') }}
            when purchase_stats.spend_usd < 200 then {{ aam_onboard.trait_id('Spend: 50 to 199 USD') }}
            when purchase_stats.spend_usd >= 200 then {{ aam_onboard.trait_id('Spend: 200 USD or more') }}
        end as spend_trait,
        case customers.loyalty_tier
            when 'bronze' then {{ aam_onboard.trait_id('Tier: bronze') }}
            when 'silver' then {{ aam_onboard.trait_id('Tier: silver') }}
            when 'gold' then {{ aam_onboard.trait_id('Tier: gold') }}
        end as tier_trait
    from customers
    left join purchase_stats on customers.customer_id = purchase_stats.customer_id
),

final as (
    {{ aam_onboard.columns_to_signals(
        'scores',
        'customer_id',
        ['recency_trait', 'frequency_trait', 'spend_trait', 'tier_trait'],
        signal_key='d_sid'
    ) }}
)

select * from final
