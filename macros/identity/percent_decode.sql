{# Text with `%` and two hex digits read as UTF-8 bytes; as it is where that gives no text. The inverse of
   percent_encode(). #}
{% macro percent_decode(text) %}{{ return(adapter.dispatch('percent_decode', 'aam_onboard')(text)) }}{% endmacro %}

{% macro default__percent_decode(text) %}{{ aam_onboard.unknown_engine('percent_decode') }}{% endmacro %}

{% macro duckdb__percent_decode(text) -%}
    case
        when contains({{ text }}, '%') and not contains({{ text }}, '%00')
            then coalesce(try(url_decode({{ text }})), {{ text }})
        else {{ text }}
    end
{%- endmacro %}

{# The pattern at the end is that of well-formed UTF-8, two hex digits a byte: convert_from() stops the query
   on anything else. #}
{% macro postgres__percent_decode(text) -%}
    {%- set utf8 = '([0-7].|(c[2-9a-f]|d.)[89ab].|(e0[ab]|e[1-9a-cef][89ab]|ed[89]).[89ab].'
        ~ '|(f0[9ab]|f[1-3][89ab]|f48).[89ab].[89ab].)*' -%}
    case
        when {{ text }} ~ '%[0-9A-Fa-f]{2}' and {{ text }} !~ '%00' then (
            select
                case
                    when encode(decoded.bytes, 'hex') ~ '^{{ utf8 }}$' then convert_from(decoded.bytes, 'UTF8')
                    else {{ text }}
                end
            from (
                select
                    string_agg(
                        case
                            when found.groups[1] ~ '^%..$' then decode(substr(found.groups[1], 2), 'hex')
                            else convert_to(found.groups[1], 'UTF8')
                        end,
                        ''
                        order by found.place asc nulls last
                    ) as bytes
                from regexp_matches({{ text }}, '(%[0-9A-Fa-f]{2}|[^%]+|%)', 'g')
                    with ordinality as found (groups, place)
            ) as decoded
        )
        else {{ text }}
    end
{%- endmacro %}

{% macro spark__percent_decode(text) -%}
    case
        when {{ text }} rlike '%[0-9A-Fa-f]{2}' and not contains({{ text }}, '%00') then coalesce(
            try_validate_utf8(cast(unhex(array_join(transform(
                regexp_extract_all({{ text }}, '(%[0-9A-Fa-f]{2}|[^%]+|%)', 1),
                x -> case when x rlike '^%..$' then substr(x, 2) else hex(x) end
            ), '')) as string)),
            {{ text }}
        )
        else {{ text }}
    end
{%- endmacro %}
