{{ config(materialized='state_table', schema=var('aam_state_schema'), enabled=has_outbound()) }}
-- depends_on: {{ ref('state_versions') }}
file_id integer not null,
reason text not null,
line text not null
