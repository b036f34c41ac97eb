{# A line of a data file, line end included. A user without signals (overwrite: clear the user) is the bare ID; where
   either is null there is no line, which stops the export. #}
{% macro file_line(user_id, signals) -%}
    {{ user_id }} || case when {{ signals }} = '' then chr(10) else chr(9) || {{ signals }} || chr(10) end
{%- endmacro %}
