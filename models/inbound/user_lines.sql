-- One line a user, however long; inbound_lines takes those that fit.
with feeds as (
    {{ configured_feeds() }}
),

line_signals as (
    select * from {{ ref('line_signals') }}
),

lines as (
    select
        feed,
        user_id,
        {{ sorted_list('signal') }} as signals
    from line_signals
    group by feed, user_id
),

final as (
    select
        cast('{{ invocation_id }}' as {{ dbt.type_string() }}) as batch_id,
        lines.feed,
        feeds.mode,
        lines.user_id,
        lines.signals,
        -- with the TAB and the line end
        {{ byte_length('lines.user_id') }} + {{ byte_length('lines.signals') }} + 2 as line_bytes
    from lines
    inner join feeds on lines.feed = feeds.feed
)

select * from final
