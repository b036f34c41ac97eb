{# The sets of signals that each destination has, a row a user, with what it may have besides. As a macro, it rests on
   tables of the state alone: PostgreSQL drops what rests on a view when the view is built anew. #}
{% macro latest_sets() %}
    select
        destination,
        feed,
        user_id,
        signals,
        possible
    from (
        select
            deliveries.destination,
            deliveries.started_at,
            ledger.feed,
            ledger.user_id,
            ledger.signals,
            ledger.possible
        from {{ ref('user_ledger') }} as ledger
        inner join {{ ref('deliveries') }} as deliveries
            on ledger.feed = deliveries.feed and ledger.batch_id = deliveries.batch_id
        where deliveries.status = 'delivered'
    ) as delivered
    where
        (signals <> '' or possible is not null)
        and not exists (
            select 1
            from {{ ref('user_ledger') }} as later_ledger
            inner join {{ ref('deliveries') }} as later
                on later_ledger.feed = later.feed and later_ledger.batch_id = later.batch_id
            where
                later.status = 'delivered'
                and later.destination = delivered.destination
                and later_ledger.feed = delivered.feed
                and later_ledger.user_id = delivered.user_id
                and later.started_at > delivered.started_at
        )
{%- endmacro %}
