{# Before a build adds its changes: forget batches that never left, and sets that a later delivery replaced, so that the
   ledger is as large as the delivered state and no larger. What has been delivered stays the same. #}
{% macro settle_user_ledger() %}{{ return(adapter.dispatch('settle_user_ledger', 'aam_onboard')()) }}{% endmacro %}

{% macro default__settle_user_ledger() %}
    {%- set deliveries = aam_onboard.state_relation('deliveries') %}
    {%- set ledger = aam_onboard.state_relation('user_ledger') %}
    {%- set earlier_and_last %}
        select
            earlier.feed,
            earlier.batch_id as earlier_batch,
            last_one.batch_id as last_batch
        from {{ deliveries }} as earlier
        inner join {{ deliveries }} as last_one
            on earlier.feed = last_one.feed and earlier.destination = last_one.destination
        where
            earlier.status = 'delivered'
            and last_one.status = 'delivered'
            and earlier.started_at < last_one.started_at
            and not exists (
                select 1 from {{ deliveries }} as later
                where
                    later.feed = last_one.feed
                    and later.destination = last_one.destination
                    and later.status = 'delivered'
                    and later.started_at > last_one.started_at
            )
    {%- endset %}
    delete from {{ ledger }}
    where not exists (
        select 1 from ({{ aam_onboard.settled_deliveries() }}) as settled
        where settled.feed = {{ ledger }}.feed and settled.batch_id = {{ ledger }}.batch_id
    );

    delete from {{ ledger }}
    where exists (
        select 1
        from {{ ledger }} as later
        inner join ({{ earlier_and_last }}) as pairs
            on later.feed = pairs.feed and later.batch_id = pairs.last_batch
        where
            later.feed = {{ ledger }}.feed
            and later.user_id = {{ ledger }}.user_id
            and pairs.earlier_batch = {{ ledger }}.batch_id
    );

    -- users without a signal; those of the last delivery stay, to tell whether the next one turns them round
    delete from {{ ledger }}
    where
        {{ ledger }}.signals = ''
        and {{ ledger }}.possible is null
        and exists (
            select 1 from ({{ earlier_and_last }}) as pairs
            where pairs.feed = {{ ledger }}.feed and pairs.earlier_batch = {{ ledger }}.batch_id
        );
{% endmacro %}

{# Sets that a later delivery replaced stay: settled_sets leaves them out. #}
{% macro spark__settle_user_ledger() %}{% do aam_onboard.drop_unsettled_batches('user_ledger', 'feed') %}{% endmacro %}


{# Spark: a batch of a feed is a partition of its ledger. #}
{% macro drop_unsettled_batches(name, feed) %}
    {%- if not execute -%}{{ return('') }}{%- endif -%}
    {%- set ledger = aam_onboard.state_relation(name) -%}
    {%- set settled = [] -%}
    {%- for row in run_query('select distinct feed, batch_id from (' ~ aam_onboard.settled_deliveries() ~ ') as settled') -%}
        {%- do settled.append([row[0], row[1]]) -%}
    {%- endfor -%}
    {%- for row in run_query('select distinct ' ~ feed ~ ', batch_id from ' ~ ledger) if [row[0], row[1]] not in settled -%}
        {%- do run_query(
            'alter table ' ~ ledger ~ ' drop if exists partition (batch_id = ' ~ aam_onboard.text_literal(row[1])
            ~ ', ' ~ feed ~ ' = ' ~ aam_onboard.text_literal(row[0]) ~ ')'
        ) -%}
    {%- endfor -%}
{% endmacro %}
