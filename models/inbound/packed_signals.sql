-- Users whose signals exceed one line: the line that each signal goes into, as few lines as the byte limit allows.
-- Signals go in byte order; a line ends where the next signal would not fit. Hardly anyone is here.
{{ config(
    pre_hook="{{ allow_recursion(var('limits').lines_per_user) }}",
    post_hook="{{ keep_back_signals_beyond_the_last_line() }}",
) }}
{%- set limits = var('limits') -%}
with recursive long_users as (
    select
        feed,
        user_id,
        line_set,
        -- every signal counts its comma; the last one's stands for the line end, and 1 for the TAB
        {{ limits.line_bytes }} - {{ byte_length('user_id') }} - 1 as room
    from {{ ref('user_lines') }}
    where line_bytes > {{ limits.line_bytes }}
),

line_signals as (
    {{ each_signal('long_users', ['feed', 'user_id', 'room'], 'line_set') }}
),

signals as (
    select
        feed,
        user_id,
        signal,
        room,
        row_number() over (partition by feed, user_id order by {{ byte_order('signal') }}) as place,
        sum({{ byte_length('signal') }} + 1) over (
            partition by feed, user_id order by {{ byte_order('signal') }}
            rows between unbounded preceding and current row
        ) as bytes_so_far
    from line_signals
),

places as (
    -- where a line may end: after nothing, or after a signal; in units of a full line of this user
    select
        feed,
        user_id,
        0 as place,
        cast(0 as {{ double() }}) as lines_so_far
    from long_users
    union all
    select
        feed,
        user_id,
        place,
        cast(bytes_so_far as {{ double() }}) / room as lines_so_far
    from signals
),

line_ends as (
    -- a line that begins after this place ends at that one; the margin is far less than a byte
    select
        feed,
        user_id,
        place,
        place - 1 + count(*) over (
            partition by feed, user_id order by lines_so_far asc nulls last
            range between current row and cast(1.000001 as {{ double() }}) following -- noqa: PRS
        ) as ends_at
    from places
),

lines as (
    select
        feed,
        user_id,
        1 as line_number,
        place as begins_after,
        ends_at
    from line_ends
    where place = 0
    union all
    select
        lines.feed,
        lines.user_id,
        lines.line_number + 1 as line_number,
        line_ends.place as begins_after,
        line_ends.ends_at
    from lines
    inner join line_ends
        on
            lines.feed = line_ends.feed
            and lines.user_id = line_ends.user_id
            and lines.ends_at = line_ends.place
    where line_ends.ends_at > line_ends.place and lines.line_number < {{ limits.lines_per_user }}
),

final as (
    select
        cast('{{ invocation_id }}' as {{ dbt.type_string() }}) as batch_id,
        signals.feed,
        signals.user_id,
        signals.signal,
        -- null: beyond the last line that Audience Manager reads
        lines.line_number
    from signals
    left join lines
        on
            signals.feed = lines.feed
            and signals.user_id = lines.user_id
            and signals.place > lines.begins_after
            and signals.place <= lines.ends_at
)

select * from final
