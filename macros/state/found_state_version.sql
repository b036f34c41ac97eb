{# The version of the state in the warehouse; none where there is no state. The first version had no state_versions. #}
{% macro found_state_version() %}
    {%- set versions = load_relation(aam_onboard.state_relation('state_versions')) -%}
    {%- if versions -%}
        {{ return(run_query('select coalesce(max(version), 1) from ' ~ versions)[0][0] | int) }}
    {%- endif -%}
    {{ return(1 if load_relation(aam_onboard.state_relation('deliveries')) else none) }}
{% endmacro %}


{# Whether found_state_version() would find one, which no query need tell. #}
{% macro has_state() %}
    {{ return(
        load_relation(aam_onboard.state_relation('state_versions')) is not none
        or load_relation(aam_onboard.state_relation('deliveries')) is not none
    ) }}
{% endmacro %}
