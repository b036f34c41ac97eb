{{ config(materialized='state_table', schema=var('aam_state_schema')) }}
-- depends_on: {{ ref('state_versions') }}
dpid bigint not null,
user_id text not null,
requested_at timestamp with time zone not null
