-- Stands in for a feed in the package's unit tests, which bring its rows.
select
    cast(null as {{ dbt.type_string() }}) as user_id,
    cast(null as {{ dbt.type_string() }}) as signal_key,
    cast(null as {{ dbt.type_string() }}) as signal_value
where false
