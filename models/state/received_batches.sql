{{ config(materialized='state_table', schema=var('aam_state_schema'), enabled=has_outbound()) }}
-- depends_on: {{ ref('state_versions') }}
outbound text not null,
root text not null, -- what the names of its files begin with
mode text not null, -- full | iter
made_at timestamp with time zone not null, -- as the names say
files integer, -- as its .info says; null: none has come
status text not null, -- open | whole | partial | late
ended_memberships bigint not null, -- of users whom a whole full no longer lists
forced boolean not null, -- past a guard
changed_at timestamp with time zone not null
