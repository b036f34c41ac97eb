{# What is left of an ID when URL-encoding, surrounding space, letter case and leading zeros are ignored. IDs match
   exactly: two that only share this key are two users for Audience Manager, and most likely one person.

   ignore: the differences to ignore #}
{% macro id_match_key(column, ignore=['url_encoding', 'space', 'case', 'leading_zeros']) -%}
    {%- set key = column -%}
    {%- if 'url_encoding' in ignore %}{% set key = aam_onboard.percent_decode(key) %}{% endif -%}
    {%- if 'space' in ignore %}{% set key = aam_onboard.trim_space(key) %}{% endif -%}
    {%- if 'case' in ignore %}{% set key = aam_onboard.lower_case(key) %}{% endif -%}
    {%- if 'leading_zeros' in ignore %}{% set key = "trim(leading '0' from " ~ key ~ ")" %}{% endif -%}
    {{ key }}
{%- endmacro %}
