with source as (
    select * from {{ ref('purchases') }}
),

final as (
    select
        cast(customer_id as {{ dbt.type_string() }}) as customer_id,
        cast(purchased_on as date) as purchased_on,
        cast(cds as integer) as cd_count,
        cast(amount_usd as numeric(12, 2)) as amount_usd
    from source
)

select * from final
