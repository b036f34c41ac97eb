{{ config(materialized='state_table', schema=var('aam_state_schema')) }}
-- depends_on: {{ ref('state_versions') }}
happened_at timestamp with time zone not null,
delivery_id text not null,
feed text not null,
event text not null,
detail text,
file_name text,
lines bigint,
bytes bigint,
seconds double precision
