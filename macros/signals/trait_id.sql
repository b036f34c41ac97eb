{# The ID of a trait by its name in the taxonomy (seeds/traits.csv), as text, for a signal `d_sid`.

   A scalar subquery: every engine runs it once a query, whatever the number of rows. The query fails with one line
   when the taxonomy holds no trait of that name, or several; then say whose is meant with `dpid`.

   {{ trait_id('Tier: gold') }}
   {{ trait_id('Tier: gold', dpid=58342) }} #}
{% macro trait_id(name, dpid=none) -%}
    {%- set found = "concat('trait_id: ', cast(count(*) as " ~ dbt.type_string() ~ "), "
        ~ aam_onboard.text_literal(" traits of seeds/traits.csv are named '" ~ name ~ "'"
            ~ (' in data source ' ~ dpid if dpid is not none else '') ~ "; there must be one") ~ ")" -%}
    (
        select case when count(*) = 1 then max(trait_id) else {{ aam_onboard.fail_query(found) }} end
        from {{ ref('traits') }}
        where trait_name = {{ aam_onboard.text_literal(name) }}{% if dpid is not none %} and dpid = {{ dpid }}{% endif %}
    )
{%- endmacro %}
