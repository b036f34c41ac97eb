-- No line of a user with several is longer than Audience Manager reads, and no user has more lines than it keeps. All
-- other users have one line, taken because it is short enough.
{%- set limits = var('limits') %}
with packed_signals as (
    select * from {{ ref('packed_signals') }}
    where line_number is not null
),

final as (
    select
        feed,
        user_id,
        line_number,
        -- a comma or the line end after each signal
        {{ byte_length('user_id') }} + 1 + sum({{ byte_length('signal') }} + 1) as line_bytes
    from packed_signals
    group by feed, user_id, line_number
)

select * from final
where line_bytes > {{ limits.line_bytes }} or line_number > {{ limits.lines_per_user }}
