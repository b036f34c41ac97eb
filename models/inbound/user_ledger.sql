-- This build's changes, appended to the ledger of all batches: each user whose signals are not those delivered.
{{ config(
    materialized='ledger',
    schema=var('aam_state_schema'),
    ledger_columns=['batch_id', 'feed', 'user_id', 'signals', 'added', 'removed', 'users_more'],
    pre_hook="{{ settle_user_ledger() }}",
) }}
with feeds as (
    {{ configured_feeds() }}
),

trait_rows as (
    select * from {{ ref('trait_rows') }}
),

settled_sets as (
    {{ settled_sets(this) }}
),

uncertain_rows as (
    -- a delivery that did not come to its end may have sent these
    select
        ledger.feed,
        ledger.user_id,
        concat(ledger.signals, {{ separator() }}, ledger.removed) as signals
    from {{ this }} as ledger
    inner join {{ source('aam_state', 'deliveries') }} as deliveries
        on ledger.feed = deliveries.feed and ledger.batch_id = deliveries.batch_id
    where
        deliveries.uncertain
        and deliveries.status <> 'delivered'
        and deliveries.destination = '{{ var('destination') }}'
),

uncertain_sets as (
    select
        feed,
        user_id,
        {{ joined('signals', separator()) }} as signals
    from uncertain_rows
    group by feed, user_id
),

current_sets as (
    select
        feed,
        user_id,
        {{ signal_set(signal_text('signal_key', 'signal_value')) }} as signals
    from trait_rows
    where reason is null
    group by feed, user_id
),

-- before: what the destination has for sure · possible: what it may have
known_sets as (
    select
        settled_sets.feed,
        settled_sets.user_id,
        settled_sets.signals as before,
        settled_sets.signals as possible,
        settled_sets.signals <> '' as is_known,
        false as is_uncertain
    from settled_sets
    where
        not exists (
            select 1 from uncertain_sets
            where uncertain_sets.feed = settled_sets.feed and uncertain_sets.user_id = settled_sets.user_id
        )
    union all
    select
        uncertain_sets.feed,
        uncertain_sets.user_id,
        '' as before,
        concat(uncertain_sets.signals, {{ separator() }}, coalesce(settled_sets.signals, '')) as possible,
        coalesce(settled_sets.signals, '') <> '' as is_known,
        true as is_uncertain
    from uncertain_sets
    -- no CTE: read twice, the state would be kept in memory whole
    left join ({{ settled_sets(this) }}) as settled_sets
        on uncertain_sets.feed = settled_sets.feed and uncertain_sets.user_id = settled_sets.user_id
),

compared as (
    select
        coalesce(current_sets.feed, known_sets.feed) as feed,
        coalesce(current_sets.user_id, known_sets.user_id) as user_id,
        coalesce(current_sets.signals, '') as signals,
        coalesce(known_sets.before, '') as before,
        coalesce(known_sets.possible, '') as possible,
        coalesce(known_sets.is_known, false) as is_known
    from current_sets
    full outer join known_sets
        on current_sets.feed = known_sets.feed and current_sets.user_id = known_sets.user_id
    where coalesce(current_sets.signals, '') <> coalesce(known_sets.before, '') or known_sets.is_uncertain
),

differences as (
    select
        compared.feed,
        compared.user_id,
        compared.signals,
        compared.is_known,
        feeds.mode,
        case
            when compared.before <> '' then {{ set_difference('compared.signals', 'compared.before') }}
        end as added,
        case
            when compared.possible = '' then ''
            when feeds.mode = 'overwrite' then {{ set_difference('compared.possible', 'compared.signals') }}
            else {{ set_difference('compared.possible', 'compared.signals', only='traits') }}
        end as removed,
        -- a sync file takes back traits only: other signals stay; see rejected_rows
        case
            when compared.possible = '' or feeds.mode = 'overwrite' then ''
            else {{ set_difference('compared.possible', 'compared.signals', only='others') }}
        end as staying
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
        added,
        removed,
        case when signals <> '' or staying <> '' then 1 else 0 end - case when is_known then 1 else 0 end as users_more
    from differences
    where mode = 'overwrite' or removed <> '' or coalesce(added, signals) <> ''
)

select * from final
