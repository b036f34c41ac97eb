{{ config(materialized='state_table', schema=var('aam_state_schema'), partition_by=['batch_id', 'feed']) }}
-- depends_on: {{ ref('state_versions') }}
batch_id text not null,
feed text not null,
user_id text not null,
signals text not null, -- the set that the user has after this batch; see macros/engine/signal_set.sql
possible text, -- what the user may have besides: a delivery that was given up may have sent it; null: nothing
fingerprint bigint, -- of the rows that the set is made of; null: not known
added text, -- what is new of it; null: all of it
removed text not null,
users_more integer not null -- 1: had no signal before · -1: has none now · 0: neither
