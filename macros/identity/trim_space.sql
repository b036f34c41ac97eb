{# Text without white space at either end: what vars.spaces lists, and line breaks; a database's own trim() takes away
   only the plain space, or only some of these. #}
{% macro trim_space(text) -%}
    {#- a model of another project sees no vars of this one; a test holds both lists together -#}
    {%- set spaces = var('spaces', ' \u00a0\u1680\u180e\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a'
        ~ '\u200b\u200c\u200d\u200e\u200f\u2028\u2029\u202f\u205f\u2060\u3000\ufeff') -%}
    {%- set controls = [9, 10, 11, 12, 13, 28, 29, 30, 31, 133] -%}
    trim(both {% for control in controls %}chr({{ control }}) || {% endfor %}{{ aam_onboard.text_literal(spaces) }} from {{ text }})
{%- endmacro %}
