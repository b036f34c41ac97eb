{# A time, date or interval as a number: seconds, of which a later time has more. #}
{% macro seconds(time) %}{{ return(adapter.dispatch('seconds', 'aam_onboard')(time)) }}{% endmacro %}

{% macro default__seconds(time) %}cast(extract(epoch from {{ time }}) as double precision){% endmacro %}

{# DuckDB knows no epoch of infinity. #}
{% macro duckdb__seconds(time) -%}
    coalesce(
        extract(epoch from {{ time }}),
        case cast({{ time }} as text)
            when 'infinity' then cast('infinity' as double precision)
            when '-infinity' then cast('-infinity' as double precision)
        end
    )
{%- endmacro %}

{# Spark counts them from its own zone's clock and never writes one down; dates begin at the zone's midnight. #}
{% macro spark__seconds(time) %}cast(cast({{ time }} as timestamp) as double){% endmacro %}
