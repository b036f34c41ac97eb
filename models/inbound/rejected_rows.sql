-- Every row kept back, with its reason (vars.rules says what each means).
with feeds as (
    {{ configured_feeds() }}
),

packed_signals as (
    select * from {{ ref('packed_signals') }}
),

staying_sets as (
    -- users of sync feeds who have more than traits
    select settled_sets.*
    from ({{ settled_sets(ref('user_ledger')) }}) as settled_sets
    inner join feeds on settled_sets.feed = feeds.feed
    where
        feeds.mode = 'sync'
        and (settled_sets.signals like '%"%' or settled_sets.signals like '%ic=%')
),

staying_signals as (
    {{ each_signal('staying_sets', ['feed', 'user_id'], 'signals') }}
),

id_sync_rows as (
    select * from {{ ref('id_sync_rows') }}
),

broken_rules as (
    select
        feed,
        user_id,
        signal_key,
        signal_value,
        reason
    -- trait_rows is no CTE: read twice, it would be kept in memory whole
    from {{ ref('trait_rows') }}
    where reason is not null
),

beyond_the_last_line as (
    select
        feed,
        user_id,
        {{ key_of('signal') }} as signal_key,
        {{ value_of('signal') }} as signal_value,
        'too_many_lines' as reason
    from packed_signals
    where line_number is null
),

-- a sync file takes back traits only: other signals stay until an overwrite
not_withdrawable as (
    select
        feed,
        user_id,
        {{ key_of('signal') }} as signal_key,
        {{ value_of('signal') }} as signal_value,
        'not_withdrawable_by_sync' as reason
    from staying_signals
    where
        substr(signal, 1, 6) <> 'd_sid='
        and not exists (
            select 1 from {{ ref('trait_rows') }} as trait_rows
            where
                trait_rows.reason is null
                and trait_rows.feed = staying_signals.feed
                and trait_rows.user_id = staying_signals.user_id
                and {{ signal_text('trait_rows.signal_key', 'trait_rows.signal_value') }} = staying_signals.signal
        )
),

-- an ID pair has no signal: the other IDs of the line stand in signal_value
broken_id_rules as (
    select
        id_sync as feed,
        first_id as user_id,
        'id' as signal_key,
        other_ids as signal_value,
        reason
    from id_sync_rows
    where reason is not null
),

rejected as (
    select * from broken_rules
    union all
    select * from beyond_the_last_line
    union all
    select * from not_withdrawable
    union all
    select * from broken_id_rules
),

final as (
    select
        cast('{{ invocation_id }}' as {{ dbt.type_string() }}) as batch_id,
        rejected.*
    from rejected
)

select * from final
