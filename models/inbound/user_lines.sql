-- One line a user, however long; inbound_lines takes those that fit.
-- A sync file's line holds what changed; an overwrite file's, all signals of a changed user, or none to clear the user.
{{ config(materialized='view') }}
with feeds as (
    {{ configured_feeds() }}
),

changed_users as (
    select
        feed,
        user_id,
        signals,
        coalesce(added, signals) as additions,
        removed
    from {{ ref('changed_users') }}
),

{% if var('full') %}
unchanged_users as (
    select settled.*
    from ({{ settled_sets(ref('user_ledger')) }}) as settled
    where
        settled.signals <> ''
        and {{ id_reason('settled.feed', 'settled.user_id', withdrawing=true) }} is null
        -- not changed_users: a CTE read twice would be kept in memory whole
        and not exists (
            select 1 from {{ ref('changed_users') }} as changed
            where
                changed.feed = settled.feed
                and changed.user_id = settled.user_id
        )
),

{% endif %}
line_sets as (
    select
        changed_users.feed,
        feeds.mode,
        changed_users.user_id,
        case
            when feeds.mode = 'overwrite' then changed_users.signals
            when changed_users.removed = '' then changed_users.additions
            when changed_users.additions = '' then {{ removal_text('changed_users.removed') }}
            else changed_users.additions || {{ separator() }} || {{ removal_text('changed_users.removed') }}
        end as line_set
    from changed_users
    inner join feeds on changed_users.feed = feeds.feed
    -- an overwrite clears a user without a signal
    where feeds.mode = 'overwrite' or changed_users.additions <> '' or changed_users.removed <> ''
    {%- if var('full') %}
    union all
    select
        unchanged_users.feed,
        feeds.mode,
        unchanged_users.user_id,
        unchanged_users.signals as line_set
    from unchanged_users
    inner join feeds on unchanged_users.feed = feeds.feed
    {%- endif %}
),

final as (
    select
        cast('{{ invocation_id }}' as {{ dbt.type_string() }}) as batch_id,
        feed,
        mode,
        user_id,
        line_set,
        replace(line_set, {{ separator() }}, ',') as signals,
        -- with the TAB and the line end
        {{ byte_length('user_id') }} + {{ byte_length('line_set') }} + 2 as line_bytes
    from line_sets
)

select * from final
