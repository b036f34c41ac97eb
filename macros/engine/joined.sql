{# Aggregate: texts in byte order, with a text between them. #}
{% macro joined(text, between) %}{{ return(adapter.dispatch('joined', 'aam_onboard')(text, between)) }}{% endmacro %}

{% macro default__joined(text, between) %}string_agg({{ text }}, {{ between }} order by {{ aam_onboard.byte_order(text) }}){% endmacro %}
