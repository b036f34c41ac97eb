-- Users whose signals may not be those delivered, or who have a row that breaks a rule. All others are as they were: a
-- fingerprint of their rows tells, which costs a fraction of making their sets of signals.
-- Empty as long as nothing has been delivered: then everything is new, and there is nothing to compare.
{{ config(pre_hook=["{{ settle_user_ledger() }}", "{{ prefer_hashing() }}"], post_hook="{{ analyzed(this) }}") }}
{%- set ledger = ref('user_ledger') %}
with feeds as (
    {{ configured_feeds() }}
),

trait_rows as (
    select * from {{ ref('trait_rows') }}
),

settled_sets as (
    {{ settled_sets(ledger) }}
),

uncertain_rows as (
    -- a delivery that did not come to its end may have sent these
    select
        ledger.feed,
        ledger.user_id,
        concat_ws({{ separator() }}, ledger.signals, ledger.removed, ledger.possible) as signals
    from {{ ledger }} as ledger
    inner join {{ ref('deliveries') }} as deliveries
        on ledger.feed = deliveries.feed and ledger.batch_id = deliveries.batch_id
    where
        deliveries.uncertain
        and deliveries.status <> 'delivered'
        and deliveries.destination = {{ text_literal(var('destination')) }}
),

uncertain_sets as (
    select
        feed,
        user_id,
        {{ joined('signals', separator()) }} as signals
    from uncertain_rows
    group by feed, user_id
),

-- delivered: what the destination has for sure · possible: what it may have
known_sets as (
    select
        settled_sets.feed,
        settled_sets.user_id,
        settled_sets.fingerprint,
        settled_sets.signals as delivered,
        concat_ws({{ separator() }}, settled_sets.signals, settled_sets.possible) as possible,
        -- an overwrite takes back what may be there, too
        settled_sets.possible is not null and feeds.mode = 'overwrite' as is_uncertain
    from settled_sets
    inner join feeds on settled_sets.feed = feeds.feed
    where
        not exists (
            select 1 from uncertain_sets
            where uncertain_sets.feed = settled_sets.feed and uncertain_sets.user_id = settled_sets.user_id
        )
    union all
    select
        uncertain_sets.feed,
        uncertain_sets.user_id,
        null as fingerprint,
        coalesce(settled_sets.signals, '') as delivered,
        concat_ws({{ separator() }}, uncertain_sets.signals, settled_sets.signals, settled_sets.possible) as possible,
        true as is_uncertain
    from uncertain_sets
    -- no CTE: read twice, the state would be kept in memory whole
    left join ({{ settled_sets(ledger) }}) as settled_sets
        on uncertain_sets.feed = settled_sets.feed and uncertain_sets.user_id = settled_sets.user_id
),

current_users as (
    select
        feed,
        coalesce(user_id, '') as user_id,
        {{ fingerprint('signal_key', 'signal_value', 'signal_reason is null') }} as fingerprint,
        count(signal_reason) as rejected
    from trait_rows
    group by feed, coalesce(user_id, '')
),

final as (
    select
        cast('{{ invocation_id }}' as {{ dbt.type_string() }}) as batch_id,
        coalesce(current_users.feed, known_sets.feed) as feed,
        coalesce(current_users.user_id, known_sets.user_id) as user_id,
        coalesce(known_sets.delivered, '') as delivered,
        coalesce(known_sets.possible, '') as possible,
        coalesce(known_sets.is_uncertain, false) as is_uncertain,
        current_users.feed is not null
        and (
            current_users.rejected > 0
            or {{ id_reason('current_users.feed', 'current_users.user_id') }} is not null
        ) as has_rejected
    from current_users
    full outer join known_sets
        on current_users.user_id = known_sets.user_id and current_users.feed = known_sets.feed
    where
        known_sets.fingerprint is null
        or coalesce(current_users.fingerprint, 0) <> known_sets.fingerprint
        -- an ID that is not good has never been delivered under these rules, or without a signal
        or current_users.rejected > 0
)

select * from final
{%- if not has_deliveries() %}
where false
{%- endif %}
