{{ config(materialized='state_table', schema=var('aam_state_schema')) }}
-- depends_on: {{ ref('state_versions') }}
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
holder text not null, -- host and process that works on it
id_type text, -- of a feed's IDs, as vars had it; null: not known, or an ID sync
place text -- where the destination was then; null: not known
