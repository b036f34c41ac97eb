-- What customers told us: registration and survey as key-values, and their region as an integration code.
-- The mode is overwrite: key-values and integration codes can't be withdrawn by a sync file.
with customers as (
    select * from {{ ref('int_customers') }}
),

registrations as (
    select * from {{ ref('int_registrations') }}
),

survey_answers as (
    select * from {{ ref('int_survey_answers') }}
),

profiles as (
    select
        customer_id,
        gender,
        city,
        cast(cast(floor(birth_year / 10.0) as integer) as {{ dbt.type_string() }}) || '0s' as birth_decade,
        case when wants_newsletter then 'yes' else 'no' end as newsletter
    from registrations
),

final as (
    select
        customer_id as user_id,
        'ic' as signal_key,
        {{ aam_onboard.integration_code('region', prefix='region_') }} as signal_value
    from customers
    where region is not null

    union all

    {{ aam_onboard.columns_to_signals('profiles', 'customer_id', ['gender', 'city', 'birth_decade', 'newsletter']) }}

    union all

    select
        customer_id as user_id,
        question as signal_key,
        answer as signal_value
    from survey_answers
    where answer is not null
)

select * from final
