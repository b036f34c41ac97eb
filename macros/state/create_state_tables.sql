{# The state of deliveries, kept across builds. `aam` writes deliveries and delivery_files; dbt appends to the ledgers.

   A ledger holds the changes of every batch: of each changed user, the set of signals from then on. The delivered state
   is what the *delivered* batches of it leave, so that a delivery is committed by one row in `deliveries`, whatever its
   size, and there is nothing to copy. #}
{% macro create_state_tables() %}
    {%- set schema = identifier(var('aam_state_schema')) %}
    create schema if not exists {{ schema }};
    create table if not exists {{ schema }}.deliveries (
        delivery_id text primary key,
        feed text not null,
        kind text not null, -- data | id_sync
        mode text not null, -- sync | overwrite
        destination text not null,
        batch_id text not null,
        base_delivery_id text,
        status text not null, -- exporting | uploading | delivered | failed | abandoned
        reason text, -- why it failed or was abandoned
        forced boolean not null, -- past a guard
        uncertain boolean not null, -- a part of it may have arrived
        file_timestamp bigint not null, -- in the names of its files: UTC Unix seconds
        file_root text not null unique, -- what the names of its files begin with; no two deliveries share it
        lines bigint not null,
        users bigint not null,
        signals_added bigint not null,
        signals_removed bigint not null,
        rejected bigint not null,
        users_total bigint not null, -- users with a signal after this delivery
        started_at timestamp with time zone not null,
        changed_at timestamp with time zone not null,
        holder text not null -- host and process that works on it
    );
    create table if not exists {{ schema }}.delivery_files (
        delivery_id text not null,
        name text not null primary key,
        object_key text not null,
        uri text not null,
        status text not null, -- uploading | uploaded | superseded
        spool_path text not null,
        split bigint not null, -- place in its delivery, from 1
        lines bigint not null,
        bytes bigint not null,
        plain_bytes bigint not null,
        sha256 text not null,
        uploaded_at timestamp with time zone,
        picked_up_at timestamp with time zone
    );
    create table if not exists {{ schema }}.delivery_events (
        happened_at timestamp with time zone not null,
        delivery_id text not null,
        feed text not null,
        event text not null,
        detail text,
        file_name text,
        lines bigint,
        bytes bigint,
        seconds double precision
    );
    create table if not exists {{ schema }}.user_ledger (
        batch_id text not null,
        feed text not null,
        user_id text not null,
        signals text not null, -- the set that the user has after this batch; see macros/engine/signal_set.sql
        fingerprint bigint, -- of the rows that the set is made of; null: not known
        added text, -- what is new of it; null: all of it
        removed text not null,
        users_more integer not null -- 1: had no signal before · -1: has none now · 0: neither
    );
    -- for a state of an earlier version
    alter table {{ schema }}.user_ledger add column if not exists fingerprint bigint;
    alter table {{ schema }}.delivery_files drop column if exists md5;
    create table if not exists {{ schema }}.id_ledger (
        batch_id text not null,
        id_sync text not null,
        ids text not null -- one line of the file: the IDs, TAB between
    );
    create or replace view {{ schema }}.signal_ledger as
    with added as (
        {{ each_signal(schema ~ '.user_ledger', ['batch_id', 'feed', 'user_id'], 'coalesce(added, signals)') }}
    ),

    removed as (
        {{ each_signal(schema ~ '.user_ledger', ['batch_id', 'feed', 'user_id'], 'removed') }}
    )

    select
        batch_id,
        feed,
        user_id,
        {{ key_of('signal') }} as signal_key,
        {{ value_of('signal') }} as signal_value,
        true as qualified
    from added
    union all
    select
        batch_id,
        feed,
        user_id,
        {{ key_of('signal') }} as signal_key,
        {{ value_of('signal') }} as signal_value,
        false as qualified
    from removed;
    create or replace view {{ schema }}.delivered_sets as
    with delivered as (
        select
            deliveries.destination,
            deliveries.started_at,
            ledger.feed,
            ledger.user_id,
            ledger.signals
        from {{ schema }}.user_ledger as ledger
        inner join {{ schema }}.deliveries as deliveries
            on ledger.feed = deliveries.feed and ledger.batch_id = deliveries.batch_id
        where deliveries.status = 'delivered'
    )

    select
        destination,
        feed,
        user_id,
        signals
    from delivered
    where
        signals <> ''
        and not exists (
            select 1 from delivered as later
            where
                later.destination = delivered.destination
                and later.feed = delivered.feed
                and later.user_id = delivered.user_id
                and later.started_at > delivered.started_at
        );
    create or replace view {{ schema }}.delivered_signals as
    with each_signal as (
        {{ each_signal(schema ~ '.delivered_sets', ['destination', 'feed', 'user_id'], 'signals') }}
    )

    select
        destination,
        feed,
        user_id,
        {{ key_of('signal') }} as signal_key,
        {{ value_of('signal') }} as signal_value
    from each_signal;
    create or replace view {{ schema }}.delivered_id_lines as
    select delivered.destination, ledger.id_sync, ledger.ids
    from {{ schema }}.id_ledger as ledger
    inner join {{ schema }}.deliveries as delivered
        on ledger.id_sync = delivered.feed and ledger.batch_id = delivered.batch_id
    where delivered.status = 'delivered';
{% endmacro %}
