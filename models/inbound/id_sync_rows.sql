-- Every row of every ID sync, once, with the first rule that it breaks; of too many, the newest stay.
{% for name, sync in var('id_syncs').items() %}{{ require_columns(name, sync.columns) }}{% endfor %}
{%- set limits = var('limits') -%}
with
{%- for name, sync in var('id_syncs').items() %}
{%- set newest_by = 'max(cast(' ~ sync.newest_by ~ ' as timestamp))' if sync.newest_by else 'cast(null as timestamp)' %}

{{ name }}_rows as (
    select
        {{ sync.columns | join(',\n        ') }},
        {{ newest_by }} as newest_at
    from {{ ref(name) }}
    group by {{ sync.columns | join(', ') }}
),

{{ name }}_checked as (
    select
        {{ sync.columns | join(',\n        ') }},
        newest_at,
        coalesce(
            {%- for column in sync.columns %}
            case when {{ column }} is null then 'empty_id' end,
            {{ rejection_reason('user_id', column, id_type_of(sync.dpids[loop.index0])) }}{{ ',' if not loop.last }}
            {%- endfor %}
        ) as reason
    from {{ name }}_rows
),

{{ name }}_ranked as (
    select
        {{ name }}_checked.*
        {%- for column in sync.columns[1:] %},
        row_number() over (
            partition by reason, {{ column }} order by newest_at desc nulls last, {{ byte_order(sync.columns[0]) }}
        ) as first_ids_of_{{ column }},
        row_number() over (
            partition by reason, {{ sync.columns[0] }} order by newest_at desc nulls last, {{ byte_order(column) }}
        ) as {{ column }}s
        {%- endfor %}
    from {{ name }}_checked
),
{%- endfor %}

united as (
    {%- for name, sync in var('id_syncs').items() %}
    select
        '{{ name }}' as id_sync,
        {{ sync.columns[0] }} as first_id,
        {{ sync.columns[1:] | join(' || chr(9) || ') }} as other_ids,
        {{ sync.columns | join(' || chr(9) || ') }} as ids,
        newest_at,
        case
            when reason is not null then reason
            {%- for column in sync.columns[1:] %}
            {%- if sync.prefix == 'c2c_id' %}
            when {{ column }}s > {{ limits.hashed_emails_per_customer }} then 'too_many_hashed_emails'
            {%- elif not sync.get('chained') %}
            when first_ids_of_{{ column }} > {{ limits.device_ids_per_user }} then 'too_many_device_ids'
            when {{ column }}s > {{ limits.user_ids_per_device }} then 'too_many_user_ids'
            {%- endif %}
            {%- endfor %}
        end as reason
    from {{ name }}_ranked
    {%- if not loop.last %}
    union all
    {%- endif %}
    {%- else %}
    select
        cast(null as {{ dbt.type_string() }}) as id_sync,
        cast(null as {{ dbt.type_string() }}) as first_id,
        cast(null as {{ dbt.type_string() }}) as other_ids,
        cast(null as {{ dbt.type_string() }}) as ids,
        cast(null as timestamp) as newest_at,
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
