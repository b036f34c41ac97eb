{# Sort key of a text by its bytes, whatever the database's locale. #}
{% macro byte_order(text) %}{{ return(adapter.dispatch('byte_order', 'aam_onboard')(text)) }}{% endmacro %}

{% macro default__byte_order(text) %}{{ text }}{% endmacro %}

{% macro postgres__byte_order(text) %}{{ text }} collate "C"{% endmacro %}
