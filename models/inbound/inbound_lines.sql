-- Exactly what a line of an inbound file holds.
-- No CTE is read twice here or in file_lines: engines would keep all lines in memory for it.
{{ config(materialized='view') }}
with user_lines as (
    select * from {{ ref('user_lines') }}
),

packed_lines as (
    select * from {{ ref('packed_lines') }}
),

one_line as (
    select
        batch_id,
        feed,
        mode,
        user_id,
        1 as line_number,
        signals
    from user_lines
    where line_bytes <= {{ var('limits').line_bytes }}
),

final as (
    select * from one_line
    union all
    select * from packed_lines
)

select * from final
