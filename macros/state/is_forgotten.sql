{# What `aam forget` asks for is kept in the state until it is done. Without a request, which is most often so, no model
   reads that table. #}
{% macro has_forget_requests() %}
    {#- a unit test has no state -#}
    {%- if not execute or model.resource_type == 'unit_test' -%}{{ return(false) }}{%- endif -%}
    {%- set requests = load_relation(aam_onboard.state_relation('forget_requests')) -%}
    {{ return(requests is not none and run_query('select 1 from ' ~ requests ~ ' limit 1') | length > 0) }}
{%- endmacro %}


{# Whether an ID of a data source is one of a person who is to be forgotten; where has_forget_requests(). #}
{% macro is_forgotten(user_id, dpid) -%}
    {{ user_id }} in (
        select requests.user_id from {{ aam_onboard.state_relation('forget_requests') }} as requests
        where requests.dpid = {{ dpid }}
    )
{%- endmacro %}
