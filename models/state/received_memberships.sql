{{ config(materialized='state_table', schema=var('aam_state_schema'), enabled=has_outbound()) }}
-- depends_on: {{ ref('state_versions') }}
user_id text not null,
tokens text not null, -- segments or traits as the files name them, separator() between, in no order
is_trait boolean not null{{ few_values() }},
since_file integer not null{{ few_values() }}, -- that said it first
since timestamp with time zone{{ few_values() }}, -- as an item says; null: when since_file was made
last_file integer not null{{ few_values() }}, -- that said it last
until_file integer{{ few_values() }} -- that said it no longer; null: still a member
