{# Whether the project has outbound files come back; without, none of what they need is built. #}
{% macro has_outbound() %}
    {{ return((var('outbound', none) or {}) | length > 0) }}
{% endmacro %}
