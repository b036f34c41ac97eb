-- What this build prepared: one row a feed or ID sync.
-- depends_on: {{ ref('file_lines') }}
with feeds as (
    select
        feed,
        'data' as kind,
        mode,
        cast(dpid as {{ dbt.type_string() }})
        || coalesce(',' || cast(target_dpid as {{ dbt.type_string() }}), '') as dpids
    from ({{ configured_feeds() }}) as configured
    {%- for name, sync in configured('id_syncs').items() %}
    union all
    select
        {{ text_literal(name) }} as feed,
        'id_sync' as kind,
        'sync' as mode,
        '{{ sync.dpids | join(',') }}' as dpids
    {%- endfor %}
),

id_sync_rows as (
    select * from {{ ref('id_sync_rows') }}
),

changes as (
    select
        feed,
        cast(sum({{ set_size('coalesce(added, signals)') }}) as bigint) as signals_added,
        cast(sum({{ set_size('removed') }}) as bigint) as signals_removed,
        cast(sum(users_more) as bigint) as users_more
    from {{ ref('changed_users') }}
    group by feed
    union all
    select
        id_sync as feed,
        count(*) as signals_added,
        0 as signals_removed,
        count(*) as users_more
    from {{ ref('new_id_pairs') }}
    group by id_sync
),

delivered as (
    select
        feed,
        count(*) as users,
        cast(sum({{ set_size('signals') }}) as bigint) as signals
    from ({{ settled_sets(ref('user_ledger')) }}) as settled
    where signals <> ''
    group by feed
    union all
    select
        id_sync as feed,
        count(*) as users,
        count(*) as signals
    from {{ ref('delivered_id_lines') }}
    where destination = {{ text_literal(var('destination')) }}
    group by id_sync
),

input_rows as (
    {%- for name in configured('feeds') %}
    select
        {{ text_literal(name) }} as feed,
        count(*) as n
    from {{ own_model(name) }}
    union all
    {%- endfor %}
    {{ count_by('id_sync', 'id_sync_rows') }}
),

sent_users as (
    {{ count_by('feed', ref('user_lines')) }}
    union all
    {{ count_by('id_sync', ref('id_sync_lines')) }}
),

lines as (
    {{ count_by('feed', ref('inbound_lines')) }}
    union all
    {{ count_by('id_sync', ref('id_sync_lines')) }}
),

rejected as (
    {%- set staying = "('not_withdrawable_by_sync', 'possibly_not_withdrawable', 'id_not_withdrawable', 'forgotten')" %}
    {{ count_by('feed', ref('rejected_rows'), "reason not in " ~ staying) }}
),

not_withdrawable as (
    {{ count_by('feed', ref('rejected_rows'), "reason = 'not_withdrawable_by_sync'") }}
),

past_deliveries as (
    select
        feed,
        delivery_id,
        row_number() over (
            partition by feed order by started_at desc nulls last, {{ byte_order('delivery_id') }}
        ) as latest
    from {{ ref('deliveries') }}
    where status = 'delivered' and destination = {{ text_literal(var('destination')) }}
),

final as (
    select
        cast('{{ invocation_id }}' as {{ dbt.type_string() }}) as batch_id,
        feeds.feed,
        feeds.kind,
        feeds.mode,
        feeds.dpids,
        {{ text_literal(var('destination')) }} as destination,
        {{ 'true' if var('full') else 'false' }} as is_full,
        past_deliveries.delivery_id as base_delivery_id,
        coalesce(delivered.users, 0) as users_before,
        coalesce(delivered.users, 0) + coalesce(changes.users_more, 0) as users_total,
        coalesce(sent_users.n, 0) as users,
        coalesce(lines.n, 0) as lines,
        coalesce(changes.signals_added, 0) as signals_added,
        coalesce(changes.signals_removed, 0) as signals_removed,
        greatest(
            coalesce(delivered.signals, 0) - coalesce(changes.signals_removed, 0) - coalesce(not_withdrawable.n, 0), 0
        ) as signals_unchanged,
        coalesce(delivered.signals, 0) as signals_before,
        coalesce(input_rows.n, 0) as input_rows,
        coalesce(rejected.n, 0) as rejected,
        {{ dbt.current_timestamp() }} as built_at
    from feeds
    {% for counted in ['input_rows', 'sent_users', 'lines', 'changes', 'delivered', 'rejected', 'not_withdrawable'] %}
    left join {{ counted }} on feeds.feed = {{ counted }}.feed
    {% endfor %}
    left join past_deliveries on feeds.feed = past_deliveries.feed and past_deliveries.latest = 1
)

select * from final
