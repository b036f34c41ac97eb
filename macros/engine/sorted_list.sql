{# Aggregate: texts joined by commas, in byte order, so that every engine writes the same line.
   DuckDB sorts a list faster than it runs an ordered aggregate. #}
{% macro sorted_list(text) %}{{ return(adapter.dispatch('sorted_list', 'aam_onboard')(text)) }}{% endmacro %}

{% macro duckdb__sorted_list(text) %}array_to_string(list_sort(list({{ text }})), ','){% endmacro %}

{% macro postgres__sorted_list(text) %}string_agg({{ text }}, ',' order by {{ text }} collate "C"){% endmacro %}
