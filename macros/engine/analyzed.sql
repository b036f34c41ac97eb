{# A hook: let the engine look how much there is in a table, for its next plans. #}
{% macro analyzed(relation) %}{{ return(adapter.dispatch('analyzed', 'aam_onboard')(relation)) }}{% endmacro %}

{% macro default__analyzed(relation) %}analyze {{ relation }}{% endmacro %}

{% macro spark__analyzed(relation) %}analyze table {{ relation }} compute statistics noscan{% endmacro %}
