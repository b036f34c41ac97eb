{# Aggregate: texts in byte order, with a text between them. #}
{% macro joined(text, between) %}{{ return(adapter.dispatch('joined', 'aam_onboard')(text, between)) }}{% endmacro %}

{% macro default__joined(text, between) %}string_agg({{ text }}, {{ between }} order by {{ aam_onboard.byte_order(text) }}){% endmacro %}

{% macro spark__joined(text, between) %}array_join(sort_array(collect_list({{ text }})), {{ between }}){% endmacro %}


{# Aggregate: texts one after the other, in the order of a number. #}
{% macro strung(text, number) %}{{ return(adapter.dispatch('strung', 'aam_onboard')(text, number)) }}{% endmacro %}

{% macro default__strung(text, number) %}string_agg({{ text }}, '' order by {{ number }} asc nulls last){% endmacro %}

{% macro spark__strung(text, number) %}listagg({{ text }}, '') within group (order by {{ number }} asc nulls last){% endmacro %}
