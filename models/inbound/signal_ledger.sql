-- This build's changes, appended to the ledger of all batches: valid rows against the delivered state.
{{ config(
    materialized='ledger',
    schema=var('aam_state_schema'),
    ledger_columns=['batch_id', 'feed', 'user_id', 'signal_key', 'signal_value', 'qualified'],
    pre_hook="{{ settle_signal_ledger() }}",
) }}
with feeds as (
    {{ configured_feeds() }}
),

current_signals as (
    select
        feed,
        user_id,
        signal_key,
        signal_value
    from {{ ref('trait_rows') }}
    where reason is null
),

delivered_signals as (
    select
        feed,
        user_id,
        signal_key,
        signal_value
    from {{ source('aam_state', 'delivered_signals') }}
    where destination = '{{ var('destination') }}'
),

uncertain_signals as (
    -- a delivery that was given up may have added or removed these: whatever they should be now is sent again
    select
        ledger.feed,
        ledger.user_id,
        ledger.signal_key,
        ledger.signal_value
    from {{ this }} as ledger
    inner join {{ source('aam_state', 'deliveries') }} as deliveries
        on ledger.feed = deliveries.feed and ledger.batch_id = deliveries.batch_id
    where
        deliveries.uncertain
        and deliveries.status <> 'delivered'
        and deliveries.destination = '{{ var('destination') }}'
),

seen as (
    select current_signals.*, 1 as seen_in from current_signals
    union all
    select delivered_signals.*, 2 as seen_in from delivered_signals
    union all
    select uncertain_signals.*, 4 as seen_in from uncertain_signals
),

-- One aggregate removes the duplicates and finds the differences.
compared as (
    select
        feed,
        user_id,
        signal_key,
        signal_value,
        bit_or(seen_in) as seen_in
    from seen
    group by feed, user_id, signal_key, signal_value
),

final as (
    select
        cast('{{ invocation_id }}' as {{ dbt.type_string() }}) as batch_id,
        compared.feed,
        compared.user_id,
        compared.signal_key,
        compared.signal_value,
        compared.seen_in in (1, 5) as qualified
    from compared
    inner join feeds on compared.feed = feeds.feed
    where
        compared.seen_in in (1, 5)
        -- a sync file can take back traits only; see rejected_rows for the rest
        or (compared.seen_in in (2, 4, 6) and (compared.signal_key = 'd_sid' or feeds.mode = 'overwrite'))
)

select * from final
