{{ config(materialized='state_table', schema=var('aam_state_schema')) }}
-- depends_on: {{ ref('state_versions') }}
receipt_id text not null, -- of one job of Audience Manager
source text not null, -- mail | api
file_name text not null,
file_root text, -- as in deliveries; null: no name of a file that we could have sent
address text not null, -- the file, as the receipt has it
job_started_at timestamp with time zone,
job_ended_at timestamp with time zone,
records_received bigint, -- this and all that follow count the whole job, all its files together; null: not told
format_errors bigint,
invalid_aam_id bigint,
invalid_device_id bigint,
no_matching_aam_id bigint,
no_trait_realized bigint,
records_processed bigint,
stored_records bigint,
total_devices bigint,
total_signals bigint,
total_unused_signals bigint,
total_realized_traits bigint,
total_removed_traits bigint,
total_traits_failed_validation bigint,
total_users_failed_validation bigint,
read_at timestamp with time zone not null,
raw text -- what it was read from; of the first file of a receipt only
