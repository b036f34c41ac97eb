{# A model or seed of the project that uses this package: a feed, an ID sync or the taxonomy. #}
{% macro own_model(name) %}
    {%- if name in var('retired') -%}
        {#- a feed that is retired has no rows, and most often no model -#}
        {{ return('(' ~ aam_onboard.no_rows() ~ ') as no_rows') }}
    {%- endif -%}
    {{ return(ref(project_name, name)) }}
{% endmacro %}

{% macro no_rows() -%}
    select
        cast(null as {{ dbt.type_string() }}) as user_id,
        cast(null as {{ dbt.type_string() }}) as signal_key,
        cast(null as {{ dbt.type_string() }}) as signal_value
    where false
{%- endmacro %}
