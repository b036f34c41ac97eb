{# Before a build adds its changes: forget batches that never left, and cancel additions against their removals, so
   that the ledger is as large as the delivered state and no larger. What it adds up to stays the same.

   An addition that an uncertain delivery may have removed is forgotten too: nobody knows, so it will be sent again. #}
{% macro settle_signal_ledger() %}
    delete from {{ this }}
    where not exists (
        select 1 from ({{ settled_deliveries() }}) as settled
        where settled.feed = {{ this }}.feed and settled.batch_id = {{ this }}.batch_id
    );

    delete from {{ this }}
    where
        {{ this }}.qualified
        and exists (
            select 1
            from {{ this }} as removal
            inner join {{ source('aam_state', 'deliveries') }} as removed_by
                on removal.feed = removed_by.feed and removal.batch_id = removed_by.batch_id
            inner join {{ source('aam_state', 'deliveries') }} as added_by
                on removed_by.feed = added_by.feed and removed_by.destination = added_by.destination
            where
                not removal.qualified
                and (removed_by.status = 'delivered' or removed_by.uncertain)
                and removal.feed = {{ this }}.feed
                and removal.user_id = {{ this }}.user_id
                and removal.signal_key = {{ this }}.signal_key
                and removal.signal_value = {{ this }}.signal_value
                and added_by.batch_id = {{ this }}.batch_id
                and added_by.started_at < removed_by.started_at
        );

    -- the removals of a feed's last delivery stay: they tell whether the next one turns them round
    delete from {{ this }}
    where
        not {{ this }}.qualified
        and exists (
            select 1
            from {{ source('aam_state', 'deliveries') }} as delivered
            inner join {{ source('aam_state', 'deliveries') }} as later
                on delivered.feed = later.feed and delivered.destination = later.destination
            where
                delivered.feed = {{ this }}.feed
                and delivered.batch_id = {{ this }}.batch_id
                and delivered.status = 'delivered'
                and later.status = 'delivered'
                and later.started_at > delivered.started_at
        );
{% endmacro %}
