{{ config(materialized='state_table', schema=var('aam_state_schema'), enabled=has_outbound()) }}
-- depends_on: {{ ref('state_versions') }}
outbound text not null, -- the name in vars.outbound
destination_id bigint not null,
name text not null, -- of the file, as Audience Manager's API has it
started_at timestamp with time zone, -- this and all that follow as the API says; null: not told
ended_at timestamp with time zone,
success boolean not null,
records bigint,
difference text, -- never_came | not_sent | records; null: as it was received, or nothing to mind any more
our_records bigint, -- of a difference in records: those that came
read_at timestamp with time zone not null,
raw text not null -- JSON: all that the API says of it
