{{ config(materialized='state_table', schema=var('aam_state_schema'), partition_by=['batch_id', 'id_sync']) }}
-- depends_on: {{ ref('state_versions') }}
batch_id text not null,
id_sync text not null,
ids text not null, -- one line of the file: the IDs, TAB between
newest_at double precision -- when they had last been seen together; null: not known, so older than any other
