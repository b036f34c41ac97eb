-- What the loader exports: one row a user, holding every line of that user, so that no split parts them.
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
        {{ file_line('user_id', 'signals') }} as line,
        1 as lines
    from user_lines
    where line_bytes <= {{ var('limits').line_bytes }}
),

several_lines as (
    select
        batch_id,
        feed,
        {{ strung(file_line('user_id', 'signals'), 'line_number') }} as line,
        count(*) as lines
    from packed_lines
    group by batch_id, feed, user_id
),

final as (
    select * from one_line
    union all
    select * from several_lines
)

select * from final
