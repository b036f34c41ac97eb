with source as (
    select * from {{ ref('mobile_devices') }}
),

final as (
    select
        cast(customer_id as {{ dbt.type_string() }}) as customer_id,
        cast(platform as {{ dbt.type_string() }}) as platform,
        cast(device_id as {{ dbt.type_string() }}) as device_id,
        cast(captured_at as {{ dbt.type_timestamp() }}) as captured_at
    from source
)

select * from final
