{# Bytes of a text in UTF-8: Audience Manager's limits count bytes. #}
{% macro byte_length(text) %}{{ return(adapter.dispatch('byte_length', 'aam_onboard')(text)) }}{% endmacro %}

{% macro default__byte_length(text) %}octet_length({{ text }}){% endmacro %}

{% macro duckdb__byte_length(text) %}strlen({{ text }}){% endmacro %}
