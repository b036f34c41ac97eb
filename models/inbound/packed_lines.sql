-- The lines of users who need more than one.
{{ config(materialized='view') }}
with feeds as (
    {{ configured_feeds() }}
),

packed_signals as (
    select * from {{ ref('packed_signals') }}
),

lines as (
    select
        batch_id,
        feed,
        user_id,
        line_number,
        {{ joined('signal', "','") }} as signals
    from packed_signals
    -- of those who may have one line, that stands in user_lines, like everyone else's
    where line_number is not null and {{ 'false' if var('limits').lines_per_user == 1 else 'true' }}
    group by batch_id, feed, user_id, line_number
),

final as (
    select
        lines.batch_id,
        lines.feed,
        feeds.mode,
        lines.user_id,
        lines.line_number,
        lines.signals
    from lines
    inner join feeds on lines.feed = feeds.feed
)

select * from final
