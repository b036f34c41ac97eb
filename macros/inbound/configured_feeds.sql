{# vars.feeds as rows: feed, dpid, target_dpid, id_type, mode. With `full`, every feed is an overwrite. #}
{% macro configured_feeds() %}
    {%- for name, feed in var('feeds').items() %}
    select
        '{{ name }}' as feed,
        {{ feed.dpid }} as dpid,
        {{ feed.get('target_dpid', 'cast(null as integer)') }} as target_dpid,
        {{ feed.get('target_dpid', feed.dpid) }} as trait_dpid,
        '{{ feed.id_type }}' as id_type,
        '{{ 'overwrite' if var('full') else feed.mode }}' as mode
        {%- if not loop.last %}
    union all
        {%- endif %}
    {%- endfor %}
{%- endmacro %}
