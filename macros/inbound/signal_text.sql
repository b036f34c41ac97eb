{# A signal as Audience Manager reads it: d_sid=24, ic=52, "key"="value". [inbound-file-contents]
   Keys and values are always quoted; vars.rules let no quote inside through. #}
{% macro signal_text(key, value) -%}
    case
        when {{ key }} = 'd_sid' then 'd_sid=' || {{ value }}
        when {{ key }} = 'ic' then 'ic=' || {{ value }}
        else '"' || {{ key }} || '"="' || {{ value }} || '"'
    end
{%- endmacro %}


{# Can a sync file take the signal back? It can traits, but no file may hold one that breaks a rule. #}
{% macro is_withdrawable(signal) -%}
    {%- set trait = 'substr(' ~ signal ~ ', 7)' -%}
    {%- set reason = aam_onboard.rejection_reason('signal_value', trait, 'trait', is_plain=true, withdrawing=true) | trim -%}
    ({{ aam_onboard.matches(signal, 'd_sid=[0-9]+') }}{% if reason != 'null' %} and {{ reason }} is null{% endif %})
{%- endmacro %}


{# Traits of a set as a sync file takes them back: d_unsid=24. #}
{% macro removal_text(traits) -%}
    replace({{ traits }}, 'd_sid=', 'd_unsid=')
{%- endmacro %}
