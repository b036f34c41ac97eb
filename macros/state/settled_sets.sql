{# The sets that the destination has, one row a user: what settle_user_ledger leaves of delivered batches. #}
{% macro settled_sets(ledger) %}
    select
        ledger.feed,
        ledger.user_id,
        ledger.signals,
        ledger.possible,
        ledger.fingerprint
    from {{ ledger }} as ledger
    inner join {{ ref('deliveries') }} as deliveries
        on ledger.feed = deliveries.feed and ledger.batch_id = deliveries.batch_id
    where
        deliveries.status = 'delivered'
        and deliveries.destination = {{ aam_onboard.text_literal(var('destination')) }}
{%- endmacro %}
