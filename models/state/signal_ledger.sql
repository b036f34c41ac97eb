-- The changes of every batch, one row a signal; delivered or not.
{{ config(schema=var('aam_state_schema')) }}
with user_ledger as (
    select * from {{ ref('user_ledger') }}
),

added as (
    {{ each_signal('user_ledger', ['batch_id', 'feed', 'user_id'], 'coalesce(added, signals)') }}
),

removed as (
    {{ each_signal('user_ledger', ['batch_id', 'feed', 'user_id'], 'removed') }}
),

final as (
    select
        batch_id,
        feed,
        user_id,
        {{ key_of('signal') }} as signal_key,
        {{ value_of('signal') }} as signal_value,
        true as qualified
    from added
    union all
    select
        batch_id,
        feed,
        user_id,
        {{ key_of('signal') }} as signal_key,
        {{ value_of('signal') }} as signal_value,
        false as qualified
    from removed
)

select * from final
