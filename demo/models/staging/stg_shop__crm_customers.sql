with source as (
    select * from {{ ref('crm_customers') }}
),

final as (
    select
        cast(customer_id as {{ dbt.type_string() }}) as customer_id,
        cast(loyalty_tier as {{ dbt.type_string() }}) as loyalty_tier,
        cast(region as {{ dbt.type_string() }}) as region,
        cast(email as {{ dbt.type_string() }}) as email,
        cast(opted_out as boolean) as opted_out,
        cast(updated_at as {{ dbt.type_timestamp() }}) as updated_at
    from source
)

select * from final
