-- Every row of every ID sync, once, with the first rule that one of its IDs breaks.
with
{%- for name, sync in configured('id_syncs').items() %}
{%- set columns = text_columns(name, sync.columns) %}
{%- set newest_at = 'max(' ~ newest_by_column(name, sync.newest_by) ~ ')' if sync.newest_by else 'cast(null as ' ~ double() ~ ')' %}

-- {{ name }}
rows_of_{{ loop.index }} as (
    select
        {%- for column in columns %}
        {{ column }} as id_{{ loop.index }},
        {%- endfor %}
        {{ newest_at }} as newest_at
    from {{ own_model(name) }}
    group by {{ columns | join(', ') }}
),
{%- endfor %}

united as (
    {%- for name, sync in configured('id_syncs').items() %}
    {%- set ids = [] %}
    {%- for column in sync.columns %}{% do ids.append('id_' ~ loop.index) %}{% endfor %}
    select
        {{ text_literal(name) }} as id_sync,
        id_1 as first_id,
        {{ ids[1:] | join(' || chr(9) || ') }} as other_ids,
        {{ ids | join(' || chr(9) || ') }} as ids,
        newest_at,
        coalesce(
            {%- for id in ids %}
            case when {{ id }} is null then 'empty_id' end,
            {%- if has_forget_requests() %}
            case when {{ is_forgotten(id, sync.dpids[loop.index0]) }} then 'forgotten' end,
            {%- endif %}
            {{ rejection_reason('user_id', id, id_type_of(sync.dpids[loop.index0])) }},
            {%- endfor %}
            case
                when {{ byte_length(ids | join(' || ')) }} + {{ ids | length }} > {{ var('limits').line_bytes }}
                    then 'ids_too_long'
            end
        ) as reason
    from rows_of_{{ loop.index }}
    {%- if not loop.last %}
    union all
    {%- endif %}
    {%- else %}
    select
        cast(null as {{ dbt.type_string() }}) as id_sync,
        cast(null as {{ dbt.type_string() }}) as first_id,
        cast(null as {{ dbt.type_string() }}) as other_ids,
        cast(null as {{ dbt.type_string() }}) as ids,
        cast(null as {{ double() }}) as newest_at,
        cast(null as {{ dbt.type_string() }}) as reason
    where false
    {%- endfor %}
),

final as (
    select
        cast('{{ invocation_id }}' as {{ dbt.type_string() }}) as batch_id,
        united.*
    from united
)

select * from final
