{# An e-mail address as Audience Manager and its people-based destinations match it: trimmed, lower-cased, SHA-256,
   64 lower-case hex digits, unsalted. Null and blank stay null. [people-based-destinations]

   What is trimmed: trim_space(). What lower case means beyond ASCII: lower_case(). Whether a text is an e-mail
   address at all is not asked: leave others out before. A hash of an address that was not normalised looks like a
   good one and matches nobody; nothing can tell afterwards, so hash with this macro only. #}
{% macro hashed_email(column) -%}
    {{ aam_onboard.sha256_hex("nullif(" ~ aam_onboard.lower_case(aam_onboard.trim_space(column)) ~ ", '')") }}
{%- endmacro %}
