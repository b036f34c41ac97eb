{# A custom schema name is taken exactly as given, so that `raw`, `feeds`, `inbound` and `aam_state` have the
   same names on every target. A model without one goes to the target's own schema. #}
{% macro generate_schema_name(custom_schema_name, node) -%}
    {{ (custom_schema_name or target.schema) | trim }}
{%- endmacro %}
