-- Warns of an ID that stands for more than guards.max_share_of_one_id of a feed's rows: most likely it means nobody.
-- Rows are counted by a hash first, and by ID only where one hash has so many; a hundred rows are never too many.
{{ config(severity='warn') }}
{%- do ref('trait_rows') -%} {#- it stops at a wrong column, with a line of its own -#}
{%- set shares = {} -%}
{#- an ephemeral model is refused by trait_rows -#}
{%- for name, feed in configured('feeds').items() if not own_model(name).is_cte -%}
    {%- do shares.update({name: feed.get('guard', {}).get(
        'max_share_of_one_id', configured('guards').get('max_share_of_one_id', 0.5)
    )}) -%}
{%- endfor -%}
{%- set query %}
with buckets as (
    {%- for name in shares %}
    select
        {{ text_literal(name) }} as feed,
        {{ hash_bucket('user_id') }} as bucket,
        count(*) as n
    from {{ own_model(name) }}
    group by {{ hash_bucket('user_id') }}
    {%- if not loop.last %}
    union all
    {%- endif %}
    {%- endfor %}
),

totals as (
    select
        feed,
        sum(n) as total
    from buckets
    group by feed
),

crowded as (
    select
        buckets.feed,
        buckets.bucket,
        totals.total
    from buckets
    inner join totals on buckets.feed = totals.feed
    where
        buckets.n > 100
        and buckets.n > totals.total * case buckets.feed
            {%- for name, share in shares.items() %}
            when {{ text_literal(name) }} then {{ share }}
            {%- endfor %}
        end
),

ids as (
    {%- for name, share in shares.items() %}
    select
        {{ text_literal(name) }} as feed,
        feed_rows.user_id,
        count(*) as n,
        max(crowded.total) as total
    from {{ own_model(name) }} as feed_rows
    inner join crowded on {{ hash_bucket('feed_rows.user_id') }} = crowded.bucket and crowded.feed = {{ text_literal(name) }}
    group by feed_rows.user_id
    having count(*) > 100 and count(*) > max(crowded.total) * {{ share }}
    {%- if not loop.last %}
    union all
    {%- endif %}
    {%- endfor %}
)

select
    feed,
    user_id,
    n,
    total
from ids
{%- endset -%}
{%- set found = [] -%}
{%- if execute and shares and flags.WHICH in ['build', 'test'] -%}
    {%- for feed, user_id, n, total in run_query(query) -%}
        {%- do found.append(feed) -%}
        {%- do exceptions.warn(
            "feed " ~ feed ~ ": one user ID stands for " ~ n ~ " of " ~ total
            ~ " rows, more than max_share_of_one_id; most likely it means nobody: look for it in the model"
        ) -%}
    {%- endfor -%}
{%- endif -%}
{% if found %}{{ query }}{% else %}select 'none' as feed where false{% endif %}
