{{ config(materialized='state_table', schema=var('aam_state_schema')) }}
-- depends_on: {{ ref('state_versions') }}
run_id text primary key,
command text not null, -- run | deliver | retire | receive | status
arguments text not null, -- its options; of --vars, names only
target text not null, -- of dbt
destination text not null,
feeds text not null, -- a JSON list
version text not null, -- of aam
holder text not null, -- host and process
started_at timestamp with time zone not null,
ended_at timestamp with time zone, -- null: under way, or nobody could write it down
seconds double precision,
exit_code integer,
outcome text not null, -- running | done | failed | misconfigured | stopped | locked | interrupted | killed
reason text, -- what it said at its end, if it was not well
deliveries bigint not null,
files bigint not null,
lines bigint not null,
bytes bigint not null,
rejected bigint not null, -- rows kept back in the build
steps text, -- JSON: seconds by step
figures text, -- JSON: what came of each feed
told text -- JSON: the problems that vars.notify knows of
