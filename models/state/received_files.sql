{{ config(materialized='state_table', schema=var('aam_state_schema'), enabled=has_outbound()) }}
-- depends_on: {{ ref('state_versions') }}
file_id integer primary key,
outbound text not null, -- the name in vars.outbound
destination_id bigint not null,
dpid bigint not null, -- the data source of its IDs
mode text not null, -- full | iter
made_at timestamp with time zone not null, -- as its name says
root text not null, -- what the names of its batch begin with
name text not null,
output text not null, -- of destinations.yml
uri text not null,
bytes bigint not null,
lines bigint not null, -- with header and blank ones
md5 text not null,
users bigint not null,
memberships bigint not null, -- that it says
removals bigint not null, -- that it says
rejected bigint not null, -- lines
status text not null, -- applied | late: made before the last full, so that it changes nothing
forced boolean not null, -- past a guard
received_at timestamp with time zone not null
