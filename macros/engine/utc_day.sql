{# The day of a time, UTC, whatever the session's zone. #}
{% macro utc_day(time) %}{{ return(adapter.dispatch('utc_day', 'aam_onboard')(time)) }}{% endmacro %}

{% macro default__utc_day(time) %}cast({{ time }} at time zone 'UTC' as date){% endmacro %}

{% macro spark__utc_day(time) %}cast(to_utc_timestamp({{ time }}, current_timezone()) as date){% endmacro %}
