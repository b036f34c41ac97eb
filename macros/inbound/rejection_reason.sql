{# The reason of the first rule of vars.rules that a text breaks, as SQL; null when it breaks none.

   field: user_id, signal_key or signal_value, as the rules say · text: the SQL of it
   kind: which rules apply: the ID's (a key of vars.id_types) or the signal's (trait, integration_code, key_value)

   Most texts are plain (vars.plain): one look at those instead of one a rule. #}
{% macro rejection_reason(field, text, kind) %}
    {%- set id_type = var('id_types').get(kind, {}) if field == 'user_id' else {} -%}
    {%- set rule_kind = id_type.get('kind', kind) -%}
    {%- set plain = id_type.get('plain') or var('plain').get(kind ~ '_' ~ field) -%}
    {%- set whens = [] -%}
    {%- if plain -%}
        {%- do whens.append('when ' ~ matches(text, plain) ~ ' then null') -%}
    {%- endif -%}
    {%- for rule in var('rules') if rule.get('field') == field and rule_kind in rule.get('kinds', [rule_kind]) -%}
        {%- if rule.get('matches') -%}
            {%- set breaks = matches(text, rule.matches) -%}
        {%- elif rule.get('contains') -%}
            {%- set breaks = contains(text, rule.contains) -%}
        {%- else -%}
            {%- set pattern = id_type.pattern if rule.unlike == 'id_type' else rule.unlike -%}
            {%- set breaks = 'not ' ~ matches(text, pattern) -%}
        {%- endif -%}
        {%- do whens.append('when ' ~ breaks ~ " then '" ~ rule.reason ~ "'") -%}
    {%- endfor -%}
    case {{ whens | join('\n            ') }} end
{%- endmacro %}
