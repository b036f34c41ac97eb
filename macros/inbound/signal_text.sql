{# A signal as Audience Manager reads it: d_sid=24, d_unsid=24, ic=52, "key"="value". [inbound-file-contents]
   Keys and values are always quoted; vars.rules let no quote inside through. #}
{% macro signal_text(key, value, qualified='true') -%}
    case
        when {{ key }} = 'd_sid' and {{ qualified }} then concat('d_sid=', {{ value }})
        when {{ key }} = 'd_sid' then concat('d_unsid=', {{ value }})
        when {{ key }} = 'ic' then concat('ic=', {{ value }})
        else concat('"', {{ key }}, '"="', {{ value }}, '"')
    end
{%- endmacro %}
