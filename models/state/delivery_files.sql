{{ config(materialized='state_table', schema=var('aam_state_schema')) }}
-- depends_on: {{ ref('state_versions') }}
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
