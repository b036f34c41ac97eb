-- This build's ID pairs that the destination does not have, appended to the ledger of all batches.
{{ config(
    materialized='appended',
    appends_to='id_ledger',
    ledger_columns=['batch_id', 'id_sync', 'ids', 'newest_at'],
    pre_hook=["{{ settle_id_ledger() }}", "{{ analyzed(state_relation('id_ledger')) }}", "{{ prefer_hashing() }}"],
) }}
with id_sync_rows as (
    select * from {{ ref('id_sync_rows') }}
),

delivered_id_lines as (
    select * from {{ ref('delivered_id_lines') }}
    where destination = {{ text_literal(var('destination')) }}
),

final as (
    select
        cast('{{ invocation_id }}' as {{ dbt.type_string() }}) as batch_id,
        id_sync_rows.id_sync,
        id_sync_rows.ids,
        id_sync_rows.newest_at
    from id_sync_rows
    where
        id_sync_rows.reason is null
        and not exists (
            select 1 from delivered_id_lines
            where
                delivered_id_lines.id_sync = id_sync_rows.id_sync
                and delivered_id_lines.ids = id_sync_rows.ids
        )
)

select * from final
