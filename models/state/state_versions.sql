{{ config(
    materialized='state_table',
    schema=var('aam_state_schema'),
    post_hook="insert into {{ this }} select {{ var('aam_state_version') }}, {{ dbt.current_timestamp() }} where not exists (select 1 from {{ this }})",
) }}
version integer primary key, -- the last one is the state's
migrated_at timestamp with time zone not null
