{# The id type of a data source: a global one has its own, yours stand in vars.data_sources. #}
{% macro id_type_of(dpid) %}
    {%- for name, id_type in aam_onboard.configured('id_types').items() if id_type.get('dpid') == dpid -%}
        {{ return(name) }}
    {%- endfor -%}
    {#- a unit test names them as texts: dbt could not read a parse again that has numbers as keys -#}
    {%- set data_source = aam_onboard.configured('data_sources').get(dpid) or aam_onboard.configured('data_sources').get(dpid | string) -%}
    {%- if not data_source -%}
        {{ exceptions.raise_compiler_error("data source " ~ dpid ~ " is not in vars.data_sources of dbt_project.yml") }}
    {%- endif -%}
    {{ return(data_source.id_type) }}
{% endmacro %}
