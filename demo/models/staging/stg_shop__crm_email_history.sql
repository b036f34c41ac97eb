with source as (
    select * from {{ ref('crm_email_history') }}
),

final as (
    select
        cast(customer_id as {{ dbt.type_string() }}) as customer_id,
        cast(email as {{ dbt.type_string() }}) as email,
        cast(updated_at as {{ dbt.type_timestamp() }}) as updated_at
    from source
)

select * from final
