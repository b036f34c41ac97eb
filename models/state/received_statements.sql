{{ config(materialized='state_table', schema=var('aam_state_schema'), enabled=has_outbound()) }}
-- depends_on: {{ ref('state_versions') }}
file_id integer not null,
user_id text not null,
members text not null, -- a set, as in received_memberships, or empty
removed text not null, -- likewise
is_trait boolean not null,
since timestamp with time zone
