-- What this build changes: `qualified` true = add, false = remove.
-- depends_on: {{ ref('changed_users') }}
{{ config(materialized='view') }}
select
    batch_id,
    feed,
    user_id,
    signal_key,
    signal_value,
    qualified
from {{ ref('signal_ledger') }}
where batch_id = '{{ invocation_id }}'
