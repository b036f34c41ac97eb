{# An e-mail address as Audience Manager and its people-based destinations match it: trimmed, lower-cased, SHA-256,
   64 lower-case hex digits, unsalted. Null and blank stay null. [people-based-destinations]

   What is trimmed: trim_space(). What lower case means beyond ASCII: lower_case(). Whether a text is an e-mail
   address at all is not asked: leave others out before. #}
{% macro hashed_email(column) -%}
    {{ sha256_hex("nullif(" ~ lower_case(trim_space(column)) ~ ", '')") }}
{%- endmacro %}
