{# Text in lower case, letter by letter as Unicode maps them whatever stands around: on every engine and in every
   locale, I gives i, Σ gives σ (at the end of a word too) and İ gives i and a dot above (U+0069 U+0307).

   lower() alone does not: PostgreSQL's follows the database's locale (ASCII only under "C", I gives ı under Turkish),
   engines disagree about İ, and ICU writes a last Σ as ς. #}
{% macro lower_case(text) %}{{ return(adapter.dispatch('lower_case', 'aam_onboard')(text)) }}{% endmacro %}

{% macro default__lower_case(text) %}{{ aam_onboard.unknown_engine('lower_case') }}{% endmacro %}

{% macro duckdb__lower_case(text) -%}
    lower(replace({{ text }}, 'İ', 'i' || chr(775)))
{%- endmacro %}

{# The server says which collation it has that no locale has a hand in: its own (from version 17) or ICU's. #}
{% macro postgres__lower_case(text) -%}
    {%- set collation = 'pg_c_utf8' -%}
    {%- if execute -%}
        {%- set there = run_query(
            "select collname from pg_collation where collname in ('pg_c_utf8', 'und-x-icu') order by collname asc nulls last"
        ) -%}
        {%- if not there -%}
            {{ exceptions.raise_compiler_error(
                "this PostgreSQL has no collation that lower-cases alike everywhere (pg_c_utf8 of version 17 or"
                ~ " und-x-icu): hashed e-mails would differ; use version 17 or a server built with ICU"
            ) }}
        {%- endif -%}
        {%- set collation = there[0][0] -%}
    {%- endif -%}
    lower(replace(replace({{ text }}, 'İ', 'i' || chr(775)), 'Σ', 'σ') collate "{{ collation }}")
{%- endmacro %}

{# Spark's chr() knows 256 letters. #}
{% macro spark__lower_case(text) -%}
    lower(replace(replace({{ text }}, 'İ', 'i' || {{ aam_onboard.text_literal('\u0307') }}), 'Σ', 'σ'))
{%- endmacro %}
