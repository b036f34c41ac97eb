{# Text without white space at either end, line breaks, no-break and zero-width spaces included (vars.spaces); a database's own
   trim() takes away only the plain space, or only some of these. #}
{% macro trim_space(text) -%}
    {%- set controls = [9, 10, 11, 12, 13, 28, 29, 30, 31, 133] -%}
    trim(both {% for control in controls %}chr({{ control }}) || {% endfor %}{{ text_literal(var('spaces')) }} from {{ text }})
{%- endmacro %}
