with source as (
    select * from {{ ref('web_id_captures') }}
),

final as (
    select
        cast(aam_uuid as {{ dbt.type_string() }}) as aam_uuid,
        cast(customer_id as {{ dbt.type_string() }}) as customer_id,
        cast(captured_at as {{ dbt.type_timestamp() }}) as captured_at
    from source
)

select * from final
