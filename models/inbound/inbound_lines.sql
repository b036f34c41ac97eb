-- Exactly what a line of an inbound file holds.
{{ config(materialized='view') }}
with user_lines as (
    select * from {{ ref('user_lines') }}
),

packed_signals as (
    select * from {{ ref('packed_signals') }}
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

packed_lines as (
    select
        feed,
        user_id,
        line_number,
        {{ joined('signal', "','") }} as signals
    from packed_signals
    where line_number is not null
    group by feed, user_id, line_number
),

several_lines as (
    select
        user_lines.batch_id,
        user_lines.feed,
        user_lines.mode,
        user_lines.user_id,
        packed_lines.line_number,
        packed_lines.signals
    from user_lines
    inner join packed_lines
        on user_lines.feed = packed_lines.feed and user_lines.user_id = packed_lines.user_id
    where user_lines.line_bytes > {{ var('limits').line_bytes }}
),

final as (
    select * from one_line
    union all
    select * from several_lines
)

select * from final
