{{ config(
    materialized='state_table',
    schema=var('aam_state_schema'),
    post_hook="{{ first_state_version() }}",
) }}
version integer primary key, -- the last one is the state's
migrated_at timestamp with time zone not null
