with source as (
    select * from {{ ref('survey_responses') }}
),

final as (
    select
        cast(customer_id as {{ dbt.type_string() }}) as customer_id,
        cast(question as {{ dbt.type_string() }}) as question,
        cast(answer as {{ dbt.type_string() }}) as answer,
        cast(answered_at as {{ dbt.type_timestamp() }}) as answered_at
    from source
)

select * from final
