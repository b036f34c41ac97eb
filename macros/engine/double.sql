{# The type of a number with 64 bits and a point. (dbt.type_float() has 32 on Spark.) #}
{% macro double() %}{{ return(adapter.dispatch('double', 'aam_onboard')()) }}{% endmacro %}

{% macro default__double() %}double precision{% endmacro %}

{% macro spark__double() %}double{% endmacro %}
