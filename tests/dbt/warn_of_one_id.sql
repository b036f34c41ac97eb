-- Warns of an ID that stands for more than guards.max_share_of_one_id of a feed's rows: most likely it means nobody.
-- Rows are counted by a hash first, and by ID only where one hash has so many: hardly ever, so that most often nothing
-- is read twice. A hundred rows are never too many.
{{ config(severity='warn') }}
{%- do ref('trait_rows') -%} {#- it stops at a wrong column, with a line of its own -#}
{%- set shares = {} -%}
{#- an ephemeral model is refused by trait_rows -#}
{%- for name, feed in configured('feeds').items() if not own_model(name).is_cte -%}
    {%- do shares.update({name: feed.get('guard', {}).get(
        'max_share_of_one_id', configured('guards').get('max_share_of_one_id', 0.5)
    )}) -%}
{%- endfor -%}
{%- set crowded_query %}
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
)

select
    buckets.feed,
    buckets.bucket,
    cast(totals.total as bigint) as total
from buckets
inner join totals on buckets.feed = totals.feed
where
    buckets.bucket is not null
    and buckets.n > 100
    and buckets.n > totals.total * case buckets.feed
        {%- for name, share in shares.items() %}
        when {{ text_literal(name) }} then {{ share }}
        {%- endfor %}
    end
{%- endset -%}
{%- set crowded = [] -%}
{%- if execute and shares and flags.WHICH in ['build', 'test'] -%}
    {%- for row in run_query(crowded_query) %}{% do crowded.append(row) %}{% endfor -%}
{%- endif -%}
{%- set query -%}
    {%- for feed, bucket, total in crowded %}
    select
        {{ text_literal(feed) }} as feed,
        user_id,
        count(*) as n,
        {{ total }} as total
    from {{ own_model(feed) }}
    where {{ hash_bucket('user_id') }} = {{ bucket }} and user_id is not null
    group by user_id
    having count(*) > 100 and count(*) > {{ total }} * {{ shares[feed] }}
    {%- if not loop.last %}
    union all
    {%- endif %}
    {%- endfor %}
{%- endset -%}
{%- set found = [] -%}
{%- if crowded -%}
    {%- for feed, user_id, n, total in run_query(query) -%}
        {%- do found.append(feed) -%}
        {%- do exceptions.warn(
            "feed " ~ feed ~ ": one user ID stands for " ~ n ~ " of " ~ total
            ~ " rows, more than max_share_of_one_id; most likely it means nobody: look for it in the model"
        ) -%}
    {%- endfor -%}
{%- endif -%}
{% if found %}{{ query }}{% else %}select 'none' as feed where false{% endif %}
