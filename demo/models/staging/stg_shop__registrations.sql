with source as (
    select * from {{ ref('registrations') }}
),

final as (
    select
        cast(customer_id as {{ dbt.type_string() }}) as customer_id,
        cast(registered_on as date) as registered_on,
        cast(gender as {{ dbt.type_string() }}) as gender,
        cast(birth_year as integer) as birth_year,
        cast(city as {{ dbt.type_string() }}) as city,
        cast(newsletter as boolean) as wants_newsletter
    from source
)

select * from final
