-- Every row of every ID sync, once, with the first rule that it breaks; of too many, the newest stay.
{{ config(materialized='view') }}
with checked_id_rows as (
    select * from {{ ref('checked_id_rows') }}
),

id_rows_beyond_limits as (
    select * from {{ ref('id_rows_beyond_limits') }}
),

final as (
    select
        checked_id_rows.batch_id,
        checked_id_rows.id_sync,
        checked_id_rows.first_id,
        checked_id_rows.other_ids,
        checked_id_rows.ids,
        checked_id_rows.newest_at,
        coalesce(checked_id_rows.reason, id_rows_beyond_limits.reason) as reason
    from checked_id_rows
    left join id_rows_beyond_limits
        on checked_id_rows.id_sync = id_rows_beyond_limits.id_sync and checked_id_rows.ids = id_rows_beyond_limits.ids
)

select * from final
