{# A number of 64 bits for a text: the same for the same text, and hardly ever for another. To group by it takes a fraction
   of the memory that the texts would. #}
{% macro text_hash(text) %}{{ return(adapter.dispatch('text_hash', 'aam_onboard')(text)) }}{% endmacro %}

{% macro default__text_hash(text) %}{{ aam_onboard.unknown_engine('text_hash') }}{% endmacro %}

{% macro duckdb__text_hash(text) %}hash({{ text }}){% endmacro %}

{% macro postgres__text_hash(text) %}hashtextextended({{ text }}, 0){% endmacro %}

{% macro spark__text_hash(text) %}xxhash64({{ text }}){% endmacro %}
