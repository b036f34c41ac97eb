-- Outbound files of which Audience Manager's API says something else than what was received, a row each.
{{ config(enabled=has_outbound()) }}
with outbound_history as (
    select * from {{ ref('outbound_history') }}
),

final as (
    select
        outbound,
        name,
        difference as kind,
        started_at as sent_at,
        records as theirs,
        our_records as ours,
        read_at
    from outbound_history
    where difference is not null
)

select * from final
