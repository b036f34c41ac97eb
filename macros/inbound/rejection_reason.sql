{# The reason of the first rule of vars.rules that a text breaks, as SQL; null when it breaks none.

   field: user_id, signal_key or signal_value, as the rules say · text: the SQL of it
   kind: which rules apply: the ID's (a key of vars.id_types) or the signal's (trait, integration_code, key_value)

   withdrawing: for what was delivered before and shall be taken back: rules that only guard (`guard: true`) are left out

   Most texts are plain (vars.plain): one look at those instead of one a rule. What is known to be plain (`is_plain`)
   needs none. A rule that vars.plain.unbroken does not name is tried on all. #}
{% macro rejection_reason(field, text, kind, is_plain=false, withdrawing=false) %}
    {%- set id_type = aam_onboard.configured('id_types').get(kind, {}) if field == 'user_id' else {} -%}
    {%- set rule_kind = id_type.get('kind', kind) -%}
    {%- set plain = id_type.get('plain') or aam_onboard.configured('plain').get(kind ~ '_' ~ field) -%}
    {%- set whens = [] -%}
    {%- set whens_of_plain = [] -%}
    {%- for rule in aam_onboard.rules_in_force(withdrawing)
        if rule.get('field') == field and rule_kind in rule.get('kinds', [rule_kind]) -%}
        {%- if rule.get('matches') -%}
            {%- set breaks = aam_onboard.matches(text, rule.matches | replace('{spaces}', var('spaces'))) -%}
        {%- elif rule.get('contains') -%}
            {%- set breaks = aam_onboard.contains(text, rule.contains | replace('{spaces}', var('spaces'))) -%}
        {%- else -%}
            {%- set pattern = id_type.pattern if rule.unlike == 'id_type' else rule.unlike -%}
            {%- set breaks = 'not ' ~ aam_onboard.matches(text, pattern) -%}
        {%- endif -%}
        {%- set when = 'when ' ~ breaks ~ ' then ' ~ aam_onboard.text_literal(rule.reason) -%}
        {%- do whens.append(when) -%}
        {%- if rule.reason not in aam_onboard.configured('plain').get('unbroken', []) -%}
            {%- do whens_of_plain.append(when) -%}
        {%- endif -%}
    {%- endfor -%}
    {%- set reason_of_plain = 'case ' ~ whens_of_plain | join(' ') ~ ' end' if whens_of_plain else 'null' -%}
    {%- if is_plain or not whens -%}
        {{ reason_of_plain }}
    {%- else -%}
        {%- if plain -%}
            {%- do whens.insert(0, 'when ' ~ aam_onboard.matches(text, plain) ~ ' then ' ~ reason_of_plain) -%}
        {%- endif -%}
        {{ 'case ' ~ whens | join('\n            ') ~ ' end' if whens else 'null' }}
    {%- endif -%}
{%- endmacro %}


{# The rules of vars.rules that are not switched off. #}
{% macro rules_in_force(withdrawing=false) %}
    {%- set rules = [] -%}
    {%- for rule in aam_onboard.configured('rules')
        if not (withdrawing and rule.get('guard'))
        and not (rule.reason == 'suspicious_id' and var('suspicious_ids') == 'send') -%}
        {%- do rules.append(rule) -%}
    {%- endfor -%}
    {{ return(rules) }}
{% endmacro %}


{# The same for a user ID, by the ID type of its feed. Rows of many signals share an ID: where they are grouped, ask after
   grouping. #}
{% macro id_reason(feed, user_id, withdrawing=false) -%}
    case
        when {{ user_id }} is null then 'empty_id'
        {%- if not withdrawing and aam_onboard.has_forget_requests() %}
        {%- for name, settings in aam_onboard.configured('feeds').items() %}
        when {{ feed }} = {{ aam_onboard.text_literal(name) }} and {{ aam_onboard.is_forgotten(user_id, settings.dpid) }}
            then 'forgotten'
        {%- endfor %}
        {%- endif %}
        {%- for name, settings in aam_onboard.configured('feeds').items() %}
        when {{ feed }} = {{ aam_onboard.text_literal(name) }}
            then {{ aam_onboard.rejection_reason('user_id', user_id, settings.id_type, withdrawing=withdrawing) }}
        {%- endfor %}
    end
{%- endmacro %}
