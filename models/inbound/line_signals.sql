-- The signals that go into lines: changes for a sync file; for an overwrite file, the whole set of each changed user.
{{ config(materialized='view') }}
with feeds as (
    {{ configured_feeds() }}
),

changes as (
    select * from {{ ref('signal_changes') }}
),

current_signals as (
    select distinct
        feed,
        user_id,
        signal_key,
        signal_value
    from {{ ref('trait_rows') }}
    where reason is null and mode = 'overwrite'
),

changed_users as (
    select distinct
        changes.feed,
        changes.user_id
    from changes
    inner join feeds on changes.feed = feeds.feed
    where feeds.mode = 'overwrite'
),

sync_signals as (
    select
        changes.feed,
        changes.user_id,
        changes.signal_key,
        changes.signal_value,
        changes.qualified,
        {{ signal_text('changes.signal_key', 'changes.signal_value', 'changes.qualified') }} as signal
    from changes
    inner join feeds on changes.feed = feeds.feed
    where feeds.mode = 'sync'
),

overwrite_signals as (
    select
        current_signals.feed,
        current_signals.user_id,
        current_signals.signal_key,
        current_signals.signal_value,
        true as qualified,
        {{ signal_text('current_signals.signal_key', 'current_signals.signal_value') }} as signal
    from current_signals
    {% if not var('full') %}
    inner join changed_users
        on current_signals.feed = changed_users.feed and current_signals.user_id = changed_users.user_id
    {% endif %}
),

cleared_users as (
    -- a user who lost every signal: an ID with nothing attached
    select
        changed_users.feed,
        changed_users.user_id,
        cast(null as {{ dbt.type_string() }}) as signal_key,
        cast(null as {{ dbt.type_string() }}) as signal_value,
        false as qualified,
        '' as signal
    from changed_users
    where
        not exists (
            select 1 from current_signals
            where current_signals.feed = changed_users.feed and current_signals.user_id = changed_users.user_id
        )
),

final as (
    select * from sync_signals
    union all
    select * from overwrite_signals
    union all
    select * from cleared_users
)

select * from final
