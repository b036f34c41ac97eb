{# One of 1,024 numbers for a text, the same for the same text. #}
{% macro hash_bucket(text) %}{{ return(adapter.dispatch('hash_bucket', 'aam_onboard')(text)) }}{% endmacro %}

{% macro default__hash_bucket(text) %}{{ aam_onboard.unknown_engine('hash_bucket') }}{% endmacro %}

{% macro duckdb__hash_bucket(text) %}hash({{ text }}) % 1024{% endmacro %}

{% macro postgres__hash_bucket(text) %}hashtext({{ text }}) & 1023{% endmacro %}

{% macro spark__hash_bucket(text) %}pmod(xxhash64({{ text }}), 1024){% endmacro %}
