{# vars.feeds as rows: feed, dpid, target_dpid, id_type, mode. With `full`, every feed is an overwrite. #}
{% macro configured_feeds() %}
    {%- for name, feed in aam_onboard.configured('feeds').items() %}
    select
        {{ aam_onboard.text_literal(name) }} as feed,
        {{ feed.dpid }} as dpid,
        {{ feed.get('target_dpid', 'cast(null as integer)') }} as target_dpid,
        {{ feed.get('target_dpid', feed.dpid) }} as trait_dpid,
        {{ aam_onboard.text_literal(feed.id_type) }} as id_type,
        {{ aam_onboard.text_literal('overwrite' if var('full') else feed.mode) }} as mode
        {%- if not loop.last %}
    union all
        {%- endif %}
    {%- else %}
    select
        cast(null as {{ dbt.type_string() }}) as feed,
        cast(null as integer) as dpid,
        cast(null as integer) as target_dpid,
        cast(null as integer) as trait_dpid,
        cast(null as {{ dbt.type_string() }}) as id_type,
        cast(null as {{ dbt.type_string() }}) as mode
    where false
    {%- endfor %}
{%- endmacro %}
