-- integration_code(): ASCII letters, digits and _ only, so that no code needs escaping in a line or a trait's rule.
with final as (
    select
        {{ aam_onboard.integration_code("'North East'", prefix='region_') }} as actual,
        'region_north_east' as expected

    union all

    select
        {{ aam_onboard.integration_code("'R&B, x=y'") }} as actual,
        'r_b_x_y' as expected

    union all

    select
        {{ aam_onboard.integration_code("'Cañon'") }} as actual,
        'ca_on' as expected

    union all

    select
        {{ aam_onboard.integration_code('cast(null as ' ~ dbt.type_string() ~ ')', prefix='region_') }} as actual,
        null as expected
)

select * from final
where actual is distinct from expected
