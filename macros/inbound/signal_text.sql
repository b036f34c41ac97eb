{# A signal as Audience Manager reads it: d_sid=24, ic=52, "key"="value". [inbound-file-contents]
   Keys and values are always quoted; vars.rules let no quote inside through. #}
{% macro signal_text(key, value) -%}
    case
        when {{ key }} = 'd_sid' then 'd_sid=' || {{ value }}
        when {{ key }} = 'ic' then 'ic=' || {{ value }}
        else '"' || {{ key }} || '"="' || {{ value }} || '"'
    end
{%- endmacro %}


{# Traits of a set as a sync file takes them back: d_unsid=24. #}
{% macro removal_text(traits) -%}
    replace({{ traits }}, 'd_sid=', 'd_unsid=')
{%- endmacro %}
