-- Warns of outbound files that Audience Manager says it sent and that never came, or have other records: see the model
-- outbound_differences.
{{ config(enabled=has_outbound(), severity='warn') }}
with outbound_differences as (
    select * from {{ ref('outbound_differences') }}
),

final as (
    select
        outbound,
        name,
        kind,
        ours,
        theirs
    from outbound_differences
)

select * from final
