{# A text as an item of `order by`: by its bytes, nulls last, whatever the database's locale and the session's settings.
   Every other item says both too: engines differ in where nulls go, and DuckDB lets a profile choose (default_order). #}
{% macro byte_order(text) %}{{ return(adapter.dispatch('byte_order', 'aam_onboard')(text)) }}{% endmacro %}

{% macro default__byte_order(text) %}{{ text }} asc nulls last{% endmacro %}

{% macro postgres__byte_order(text) %}{{ text }} collate "C" asc nulls last{% endmacro %}
