{# Text without white space at either end, line breaks, no-break and zero-width spaces included; a database's own
   trim() takes away only the plain space, or only some of these. #}
{% macro trim_space(text) -%}
    {%- set controls = [9, 10, 11, 12, 13, 28, 29, 30, 31, 133] -%}
    {%- set spaces = ' \u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u200b\u2028\u2029'
        ~ '\u202f\u205f\u3000\ufeff' -%}
    trim(both {% for control in controls %}chr({{ control }}) || {% endfor %}{{ text_literal(spaces) }} from {{ text }})
{%- endmacro %}
