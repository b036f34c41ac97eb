-- What this build prepared: one row a feed or ID sync.
-- depends_on: {{ ref('file_lines') }}
with feeds as (
    select
        feed,
        'data' as kind,
        mode
    from ({{ configured_feeds() }}) as configured
    {%- for name in var('id_syncs') %}
    union all
    select
        '{{ name }}' as feed,
        'id_sync' as kind,
        'sync' as mode
    {%- endfor %}
),

trait_rows as (
    select * from {{ ref('trait_rows') }}
),

id_sync_rows as (
    select * from {{ ref('id_sync_rows') }}
),

current_users as (
    select
        feed,
        user_id
    from trait_rows
    where reason is null
    group by feed, user_id
),

input_rows as (
    {{ count_by('feed', 'trait_rows') }}
    union all
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

users_total as (
    {{ count_by('feed', 'current_users') }}
    union all
    {{ count_by('id_sync', 'id_sync_rows', 'reason is null') }}
),

signals_added as (
    {{ count_by('feed', ref('signal_changes'), 'qualified') }}
    union all
    {{ count_by('id_sync', ref('id_ledger'), "batch_id = '" ~ invocation_id ~ "'") }}
),

signals_removed as (
    {{ count_by('feed', ref('signal_changes'), 'not qualified') }}
),

delivered as (
    {{ count_by('feed', source('aam_state', 'delivered_signals'), "destination = '" ~ var('destination') ~ "'") }}
    union all
    {{ count_by('id_sync', source('aam_state', 'delivered_id_lines'), "destination = '" ~ var('destination') ~ "'") }}
),

rejected as (
    {{ count_by('feed', ref('rejected_rows'), "reason <> 'not_withdrawable_by_sync'") }}
),

not_withdrawable as (
    {{ count_by('feed', ref('rejected_rows'), "reason = 'not_withdrawable_by_sync'") }}
),

past_deliveries as (
    select
        feed,
        delivery_id,
        users_total,
        row_number() over (partition by feed order by started_at desc, delivery_id asc) as latest
    from {{ source('aam_state', 'deliveries') }}
    where status = 'delivered' and destination = '{{ var('destination') }}'
),

final as (
    select
        cast('{{ invocation_id }}' as {{ dbt.type_string() }}) as batch_id,
        feeds.feed,
        feeds.kind,
        feeds.mode,
        '{{ var('destination') }}' as destination,
        {{ 'true' if var('full') else 'false' }} as is_full,
        past_deliveries.delivery_id as base_delivery_id,
        coalesce(past_deliveries.users_total, 0) as users_before,
        coalesce(users_total.n, 0) as users_total,
        coalesce(sent_users.n, 0) as users,
        coalesce(lines.n, 0) as lines,
        coalesce(signals_added.n, 0) as signals_added,
        coalesce(signals_removed.n, 0) as signals_removed,
        coalesce(delivered.n, 0) - coalesce(signals_removed.n, 0)
        - coalesce(not_withdrawable.n, 0) as signals_unchanged,
        coalesce(delivered.n, 0) as signals_before,
        coalesce(input_rows.n, 0) as input_rows,
        coalesce(rejected.n, 0) as rejected,
        {{ dbt.current_timestamp() }} as built_at
    from feeds
    {% for counted in [
        'input_rows', 'sent_users', 'lines', 'users_total', 'signals_added', 'signals_removed', 'delivered', 'rejected',
        'not_withdrawable',
    ] %}
    left join {{ counted }} on feeds.feed = {{ counted }}.feed
    {% endfor %}
    left join past_deliveries on feeds.feed = past_deliveries.feed and past_deliveries.latest = 1
)

select * from final
