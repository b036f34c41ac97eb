{# The URL that tells Audience Manager a customer's ID when the browser loads it, as a pixel of a page or an e-mail.
   [id-sync-http]

   dpid: the data source, a number
   user_id, redirect, gdpr_consent: SQL expressions, e.g. a column or "'https://example.com/?aam=${DD_UUID}'"; all are
     percent-encoded, but for `${DD_UUID}` in the redirect, which Audience Manager replaces by its own ID
   gdpr: 0, 1 or a column of these; only together with gdpr_consent. Where a row lacks one of the two, its URL has
     neither.
   Null IDs give no URL. Wrong ones do: see the model id_sync_pixels for the rules. #}
{% macro id_sync_url(dpid, user_id, redirect=none, gdpr=none, gdpr_consent=none) -%}
    {%- if (gdpr is none) != (gdpr_consent is none) -%}
        {{ exceptions.raise_compiler_error("id_sync_url: give gdpr and gdpr_consent together, or neither") }}
    {%- endif -%}
    {%- if gdpr is number and gdpr not in [0, 1] -%}
        {{ exceptions.raise_compiler_error("id_sync_url: gdpr is 0 or 1, not " ~ gdpr) }}
    {%- endif -%}
    'https://dpm.demdex.net/ibs:dpid={{ dpid | int }}&dpuuid='
    || {{ aam_onboard.percent_encode(user_id) }}
{%- if gdpr is not none %}
    || coalesce(
        '&gdpr=' || cast({{ gdpr }} as {{ dbt.type_string() }}) || '&gdpr_consent=' || {{ aam_onboard.percent_encode(gdpr_consent) }},
        ''
    )
{%- endif %}
{%- if redirect is not none %}
    || coalesce('&redir=' || replace({{ aam_onboard.percent_encode(redirect) }}, '%24%7BDD_UUID%7D', '${DD_UUID}'), '')
{%- endif %}
{%- endmacro %}
