{# Of a column in a table of the state that has the same value in many rows on end: how to store it. DuckDB would try all
   that it knows for each column anew. #}
{% macro few_values() %}{{ return(adapter.dispatch('few_values', 'aam_onboard')()) }}{% endmacro %}

{% macro default__few_values() %}{% endmacro %}

{% macro duckdb__few_values() %} using compression rle{% endmacro %}
