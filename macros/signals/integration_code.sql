{# An integration code from a column, for a signal `ic`: lower case, with `_` for each run of other characters than
   ASCII letters, digits and `_`. `North East` with prefix `region_` gives `region_north_east`, so the trait's rule is
   ic == "region_north_east". Null gives null. #}
{% macro integration_code(column, prefix='') -%}
    ({{ aam_onboard.text_literal(prefix) }} || lower({{ aam_onboard.replaced(column, '[^A-Za-z0-9_]+', '_') }}))
{%- endmacro %}
