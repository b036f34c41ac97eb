{# Whether the project has outbound files come back; without, none of what they need is built. #}
{% macro has_outbound() %}
    {{ return(aam_onboard.configured('outbound') | length > 0) }}
{% endmacro %}


{# The data sources of the IDs in outbound files. #}
{% macro outbound_dpids() %}
    {%- set found = [] -%}
    {%- for settings in aam_onboard.configured('outbound').values() -%}
        {%- set dpid = settings.get('ids_of', settings.get('master_dpid', 0)) -%}
        {%- if dpid not in found %}{% do found.append(dpid) %}{% endif -%}
    {%- endfor -%}
    {{ return(found) }}
{% endmacro %}
