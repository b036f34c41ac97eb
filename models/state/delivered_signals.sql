-- The signals that each destination has from us, a row each.
{{ config(schema=var('aam_state_schema')) }}
with delivered_sets as (
    select * from {{ ref('delivered_sets') }}
),

signals as (
    {{ each_signal('delivered_sets', ['destination', 'feed', 'user_id'], 'signals') }}
),

final as (
    select
        destination,
        feed,
        user_id,
        {{ key_of('signal') }} as signal_key,
        {{ value_of('signal') }} as signal_value
    from signals
)

select * from final
