-- Every row of every ID sync, once, with the first rule that it breaks; of too many, the newest stay.
{% set limits = var('limits') -%}
with
{%- for name, sync in configured('id_syncs').items() %}
{%- set rows = 'sync_' ~ loop.index %}
{%- set columns = text_columns(name, sync.columns) %}
{%- set newest_at = 'max(' ~ newest_by_column(name, sync.newest_by) ~ ')' if sync.newest_by else 'cast(null as timestamp)' %}

-- {{ name }}
{{ rows }}_rows as (
    select
        {%- for column in columns %}
        {{ column }} as id_{{ loop.index }},
        {%- endfor %}
        {{ newest_at }} as newest_at
    from {{ own_model(name) }}
    group by {{ columns | join(', ') }}
),

{{ rows }}_checked as (
    select
        {%- for column in columns %}
        id_{{ loop.index }},
        {%- endfor %}
        newest_at,
        coalesce(
            {%- for column in columns %}
            case when id_{{ loop.index }} is null then 'empty_id' end,
            {{ rejection_reason('user_id', 'id_' ~ loop.index, id_type_of(sync.dpids[loop.index0])) }}{{ ',' if not loop.last }}
            {%- endfor %}
        ) as reason
    from {{ rows }}_rows
),

{{ rows }}_ranked as (
    select
        {{ rows }}_checked.*
        {%- for place in range(2, columns | length + 1) %},
        row_number() over (
            partition by reason, id_{{ place }} order by newest_at desc nulls last, {{ byte_order('id_1') }}
        ) as first_ids_of_id_{{ place }},
        row_number() over (
            partition by reason, id_1 order by newest_at desc nulls last, {{ byte_order('id_' ~ place) }}
        ) as ids_{{ place }}_of_first_id
        {%- endfor %}
    from {{ rows }}_checked
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
        case
            when reason is not null then reason
            when {{ byte_length(ids | join(' || ')) }} + {{ ids | length }} > {{ limits.line_bytes }} then 'ids_too_long'
            {%- for place in range(2, ids | length + 1) %}
            {%- if sync.prefix == 'c2c_id' %}
            when ids_{{ place }}_of_first_id > {{ limits.hashed_emails_per_customer }} then 'too_many_hashed_emails'
            {%- elif not sync.get('chained') %}
            when first_ids_of_id_{{ place }} > {{ limits.device_ids_per_user }} then 'too_many_device_ids'
            when ids_{{ place }}_of_first_id > {{ limits.user_ids_per_device }} then 'too_many_user_ids'
            {%- endif %}
            {%- endfor %}
        end as reason
    from sync_{{ loop.index }}_ranked
    {%- if not loop.last %}
    union all
    {%- endif %}
    {%- else %}
    select
        cast(null as {{ dbt.type_string() }}) as id_sync,
        cast(null as {{ dbt.type_string() }}) as first_id,
        cast(null as {{ dbt.type_string() }}) as other_ids,
        cast(null as {{ dbt.type_string() }}) as ids,
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
