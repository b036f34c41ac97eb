{# A line of a data file, line end included. A user without signals (overwrite: clear the user) is the bare ID. #}
{% macro file_line(user_id, signals) -%}
    concat({{ user_id }}, case when {{ signals }} <> '' then chr(9) else '' end, {{ signals }}, chr(10))
{%- endmacro %}
