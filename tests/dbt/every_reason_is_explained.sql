-- Warns of a reason in rejected_rows that vars.rules has no words for.
{{ config(severity='warn') }}
with rejected_rows as (
    select * from {{ ref('rejected_rows') }}
),

final as (
    select
        feed,
        reason,
        count(*) as rejected
    from rejected_rows
    where
        reason not in (
            ''
            {%- for reason in configured('rules') | map(attribute='reason') | unique %}
            {{ ', ' ~ text_literal(reason) }}
            {%- endfor %}
        )
    group by feed, reason
)

select * from final
