-- Every row kept back, with its reason (vars.rules says what each means).
{%- set is_compared = has_deliveries() %}
with feeds as (
    {{ configured_feeds() }}
),

packed_signals as (
    select * from {{ ref('packed_signals') }}
),

staying_sets as (
    -- users of sync feeds who have more than traits
    select
        users.feed,
        users.user_id,
        users.delivered,
        users.possible
    from {{ ref('users_to_compare') }} as users
    inner join feeds on users.feed = feeds.feed
    where
        users.batch_id = '{{ invocation_id }}'
        and feeds.mode = 'sync'
        {%- if rejection_reason('signal_value', 'x', 'trait', is_plain=true, withdrawing=true) | trim == 'null' %}
        and not {{ matches('users.possible', '(d_sid=[0-9]+[\\x1f]?|[\\x1f])*') }}
        {%- endif %}
),

staying_signals as (
    {{ each_signal('staying_sets', ['feed', 'user_id', 'delivered'], 'possible') }}
),

id_sync_rows as (
    select * from {{ ref('id_sync_rows') }}
),

broken_rules as (
    select
        current_rows.feed,
        current_rows.user_id,
        current_rows.signal_key,
        current_rows.signal_value,
        current_rows.reason
    -- no CTE: read twice, all rows would be kept in memory
    from {{ ref('rows_to_compare') }} as current_rows
    where
        current_rows.reason is not null
        -- most often nobody has one, and then no row is read
        and (
            {{ 'false' if is_compared else 'true' }}
            or exists (
                select 1 from {{ ref('users_to_compare') }} as users
                where
                    users.has_rejected
                    and users.feed = current_rows.feed
                    and users.user_id = coalesce(current_rows.user_id, '')
            )
        )
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
    select distinct
        feed,
        user_id,
        {{ key_of('signal') }} as signal_key,
        {{ value_of('signal') }} as signal_value,
        case
            when {{ set_difference('signal', 'delivered') }} = '' then 'not_withdrawable_by_sync'
            else 'possibly_not_withdrawable'
        end as reason
    from staying_signals
    where
        signal <> ''
        and not {{ is_withdrawable('signal') }}
        -- before the first delivery nothing is there that could stay, and no row is read
        and {{ 'not' if is_compared else 'false and not' }} exists (
            select 1 from {{ ref('rows_to_compare') }} as current_rows
            where
                current_rows.reason is null
                and current_rows.feed = staying_signals.feed
                and current_rows.user_id = staying_signals.user_id
                and {{ signal_text('current_rows.signal_key', 'current_rows.signal_value') }} = staying_signals.signal
        )
),

-- and no file may name an ID that breaks a rule: what was delivered for it before stays
unnameable_ids as (
    select
        feed,
        user_id,
        cast(null as {{ dbt.type_string() }}) as signal_key,
        cast(null as {{ dbt.type_string() }}) as signal_value,
        'id_not_withdrawable' as reason
    from {{ ref('users_to_compare') }}
    where
        batch_id = '{{ invocation_id }}'
        and delivered <> ''
        and {{ id_reason('feed', 'user_id', withdrawing=true) }} is not null
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
    select * from unnameable_ids
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
