-- The last answer to each question, of customers whom we may send.
with customers as (
    select * from {{ ref('int_customers') }}
),

responses as (
    select * from {{ ref('stg_shop__survey_responses') }}
),

ranked as (
    select
        responses.*,
        row_number() over (
            partition by responses.customer_id, responses.question
            order by responses.answered_at desc nulls last, {{ aam_onboard.byte_order('responses.answer') }}
        ) as recency_rank
    from responses
    inner join customers on responses.customer_id = customers.customer_id
),

final as (
    select
        customer_id,
        question,
        answer,
        answered_at
    from ranked
    where recency_rank = 1
)

select * from final
