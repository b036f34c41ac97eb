{# The sets that the destination has, one row a user: what settle_user_ledger leaves of delivered batches. #}
{% macro settled_sets(ledger) %}{{ return(adapter.dispatch('settled_sets', 'aam_onboard')(ledger)) }}{% endmacro %}

{% macro default__settled_sets(ledger) %}
    select
        ledger.feed,
        ledger.user_id,
        ledger.signals,
        ledger.possible,
        ledger.fingerprint
    {{ aam_onboard.from_delivered_batches(ledger) }}
{%- endmacro %}

{# Spark's ledger keeps what later deliveries replaced. #}
{% macro spark__settled_sets(ledger) %}
    select
        feed,
        user_id,
        last_one.signals,
        last_one.possible,
        last_one.fingerprint
    from (
        select
            ledger.feed,
            ledger.user_id,
            max_by(struct(ledger.signals, ledger.possible, ledger.fingerprint), deliveries.started_at) as last_one
        {{ aam_onboard.from_delivered_batches(ledger) }}
        group by ledger.user_id, ledger.feed
    ) as users
{%- endmacro %}


{# Of a select: a ledger's rows of batches that the destination has, with their deliveries. #}
{% macro from_delivered_batches(ledger) -%}
    from {{ ledger }} as ledger
    inner join {{ ref('deliveries') }} as deliveries
        on ledger.feed = deliveries.feed and ledger.batch_id = deliveries.batch_id
    where
        deliveries.status = 'delivered'
        and deliveries.destination = {{ aam_onboard.text_literal(var('destination')) }}
{%- endmacro %}
