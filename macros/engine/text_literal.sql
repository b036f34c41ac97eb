{# A text as a SQL literal. #}
{% macro text_literal(text) %}{{ return(adapter.dispatch('text_literal', 'aam_onboard')(text)) }}{% endmacro %}

{% macro default__text_literal(text) %}'{{ text | string | replace("'", "''") }}'{% endmacro %}

{# Spark reads a backslash as an escape. #}
{% macro spark__text_literal(text) %}'{{ text | string | replace("\\", "\\\\") | replace("'", "\\'") }}'{% endmacro %}
