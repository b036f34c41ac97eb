-- User IDs as sites and apps showed them, once each: what the ID syncs captured of your own data sources.
{{ config(post_hook="{{ analyzed(this) }}", unlogged=true) }}
-- depends_on: {{ ref('checked_id_rows') }}, which stops at a wrong column
{%- set sources = [] -%}
{%- for name, sync in configured('id_syncs').items() if sync.prefix == 'adobe_id' -%}
    {%- set columns = text_columns(name, sync.columns) -%}
    {%- for position in range(1, sync.dpids | length) if id_type_of(sync.dpids[position]) == 'dpuuid' -%}
        {%- do sources.append({'model': name, 'dpid': sync.dpids[position], 'column': columns[position]}) -%}
    {%- endfor -%}
{%- endfor %}
with captures as (
    {%- for source in sources %}
    select
        {{ source.dpid }} as dpid,
        {{ source.column }} as user_id
    from {{ own_model(source.model) }}
    {%- if not loop.last %}
    union all
    {%- endif %}
    {%- else %}
    select
        cast(null as integer) as dpid,
        cast(null as {{ dbt.type_string() }}) as user_id
    where false
    {%- endfor %}
),

counted as (
    select
        dpid,
        user_id,
        count(*) as captures
    from captures
    where user_id is not null
    group by dpid, user_id
),

final as (
    select
        counted.*,
        {{ id_match_key('counted.user_id') }} as match_key
    from counted
)

select * from final
