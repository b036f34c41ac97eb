{{ config(materialized='state_table', schema=var('aam_state_schema')) }}
-- depends_on: {{ ref('state_versions') }}
day date not null, -- of the build, UTC; a day's last build counts
destination text not null,
feed text not null,
reason text not null,
rows bigint not null
