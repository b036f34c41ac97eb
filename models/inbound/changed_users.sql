-- This build's changes, appended to the ledger of all batches: each user whose signals are not those delivered.
{{ config(
    materialized='appended',
    appends_to='user_ledger',
    ledger_columns=[
        'batch_id', 'feed', 'user_id', 'signals', 'possible', 'fingerprint', 'added', 'removed', 'users_more'
    ],
    post_hook="{{ analyzed(state_relation('user_ledger')) }}",
) }}
{%- set either = "concat(compared.signals, " ~ separator() ~ ", compared.before)" %}
with feeds as (
    {{ configured_feeds() }}
),

rows_to_compare as (
    select * from {{ ref('rows_to_compare') }}
),

known_users as (
    select
        feed,
        user_id,
        delivered <> '' as is_known,
        -- of what is uncertain, nothing counts as delivered, and all of it as to be taken back
        case when is_uncertain then '' else delivered end as before,
        possible,
        is_uncertain,
        -- no file may name any other, not even to take something back
        {{ id_reason('feed', 'user_id', withdrawing=true) }} is null as may_be_named
    from {{ ref('users_to_compare') }}
    where batch_id = '{{ invocation_id }}'
),

grouped_rows as (
    select
        feed,
        user_id,
        {{ signal_set(signal_text('signal_key', 'signal_value')) }} as signals,
        {{ fingerprint('signal_key', 'signal_value') }} as fingerprint
    from rows_to_compare
    where signal_reason is null
    -- the user first, here and where all users are joined: what an engine sorts by tells users apart at once, then
    group by user_id, feed
),

current_sets as (
    select
        feed,
        user_id,
        -- no where: engines would ask it of every row before grouping
        case when {{ id_reason('feed', 'user_id') }} is null then signals end as signals,
        fingerprint
    from grouped_rows
),

compared as (
    select
        coalesce(current_sets.feed, known_users.feed) as feed,
        coalesce(current_sets.user_id, known_users.user_id) as user_id,
        coalesce(current_sets.signals, '') as signals,
        case when current_sets.signals is null then 0 else current_sets.fingerprint end as fingerprint,
        coalesce(known_users.before, '') as before,
        coalesce(known_users.possible, '') as possible,
        coalesce(known_users.is_known, false) as is_known,
        coalesce(known_users.is_uncertain, false) as is_uncertain
    from current_sets
    -- before the first delivery nobody is known, and no user need be looked for
    {{ 'full outer' if has_deliveries() else 'left' }} join known_users
        on current_sets.user_id = known_users.user_id and current_sets.feed = known_users.feed
    where
        coalesce(known_users.may_be_named, true)
        and (coalesce(current_sets.signals, '') <> coalesce(known_users.before, '') or known_users.is_uncertain)
),

differences as (
    select
        compared.feed,
        compared.user_id,
        compared.signals,
        compared.fingerprint,
        compared.is_known,
        compared.is_uncertain,
        feeds.mode,
        case
            when compared.before <> '' then {{ set_difference('compared.signals', 'compared.before') }}
        end as added,
        case
            when compared.possible = '' then ''
            when feeds.mode = 'overwrite' then {{ set_difference('compared.possible', 'compared.signals') }}
            else {{ set_difference('compared.possible', 'compared.signals', only='withdrawable') }}
        end as removed,
        -- a sync file takes back traits only (is_withdrawable): other signals stay, or may, if they are uncertain; see
        -- rejected_rows
        case
            when compared.before = '' or feeds.mode = 'overwrite' then ''
            else {{ set_difference('compared.before', 'compared.signals', only='others') }}
        end as staying,
        case
            when compared.possible = compared.before or feeds.mode = 'overwrite' then ''
            else {{ set_difference('compared.possible', either, only='others') }}
        end as possible
    from compared
    inner join feeds on compared.feed = feeds.feed
),

final as (
    select
        cast('{{ invocation_id }}' as {{ dbt.type_string() }}) as batch_id,
        feed,
        user_id,
        case
            when staying = '' then signals
            when signals = '' then staying
            else concat(signals, {{ separator() }}, staying)
        end as signals,
        nullif(possible, '') as possible,
        -- null: with what stays, the set is more than the rows, so it is compared each time
        case when staying = '' and possible = '' then fingerprint end as fingerprint,
        added,
        removed,
        case when signals <> '' or staying <> '' then 1 else 0 end - case when is_known then 1 else 0 end as users_more
    from differences
    where mode = 'overwrite' or removed <> '' or coalesce(added, signals) <> '' or (is_uncertain and possible <> '')
)

select * from final
