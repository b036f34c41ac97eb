-- The set of signals of each user that each destination has from us: what the ledger's delivered batches add up to.
{{ config(schema=var('aam_state_schema')) }}
with final as (
    {{ latest_sets() }}
)

select * from final
