-- The last registration of each customer whom we may send.
with customers as (
    select * from {{ ref('int_customers') }}
),

registrations as (
    select * from {{ ref('stg_shop__registrations') }}
),

ranked as (
    select
        registrations.*,
        row_number() over (
            partition by registrations.customer_id
            order by
                registrations.registered_on desc nulls last,
                {{ aam_onboard.byte_order('registrations.gender') }},
                registrations.birth_year asc nulls last,
                {{ aam_onboard.byte_order('registrations.city') }},
                registrations.wants_newsletter asc nulls last
        ) as recency_rank
    from registrations
    inner join customers on registrations.customer_id = customers.customer_id
),

final as (
    select
        customer_id,
        registered_on,
        gender,
        birth_year,
        city,
        wants_newsletter
    from ranked
    where recency_rank = 1
)

select * from final
