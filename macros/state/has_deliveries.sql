{# Whether the destination has anything from us, or may have. Without, there is nothing to compare a build with. #}
{% macro has_deliveries() %}
    {%- if not execute -%}{{ return(false) }}{%- endif -%}
    {%- set deliveries = load_relation(aam_onboard.state_relation('deliveries')) -%}
    {%- if not deliveries -%}{{ return(false) }}{%- endif -%}
    {%- set found = run_query(
        'select 1 from ' ~ deliveries ~ ' where destination = ' ~ aam_onboard.text_literal(var('destination'))
        ~ " and (status = 'delivered' or uncertain) limit 1"
    ) -%}
    {{ return(found | length > 0) }}
{%- endmacro %}
