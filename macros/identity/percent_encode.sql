{# Text percent-encoded as UTF-8: all but letters and digits of ASCII, `-`, `.`, `_` and `~` (RFC 3986, unreserved). #}
{% macro percent_encode(text) %}{{ return(adapter.dispatch('percent_encode', 'aam_onboard')(text)) }}{% endmacro %}

{% macro default__percent_encode(text) %}{{ aam_onboard.unknown_engine('percent_encode') }}{% endmacro %}

{% macro duckdb__percent_encode(text) %}url_encode({{ text }}){% endmacro %}

{# Most IDs need nothing, so the loop over the bytes runs for the others only. #}
{% macro postgres__percent_encode(text) -%}
    case
        when {{ text }} ~ '^[A-Za-z0-9._~-]*$' then {{ text }}
        else (
            select
                string_agg(
                    case
                        when parts.part ~ '^[A-Za-z0-9._~-]' then parts.part
                        else regexp_replace(upper(encode(convert_to(parts.part, 'UTF8'), 'hex')), '(..)', '%\1', 'g')
                    end,
                    ''
                    order by parts.place asc nulls last
                )
            from (
                select
                    found.place,
                    found.groups[1] as part
                from regexp_matches({{ text }}, '([A-Za-z0-9._~-]+|[^A-Za-z0-9._~-]+)', 'g')
                    with ordinality as found (groups, place)
            ) as parts
        )
    end
{%- endmacro %}

{# Spark's own is that of forms. #}
{% macro spark__percent_encode(text) -%}
    replace(replace(replace(url_encode({{ text }}), '+', '%20'), '*', '%2A'), '%7E', '~')
{%- endmacro %}
