-- The rows of trait_rows whose users are to be compared with what was delivered; before the first delivery, all rows.
-- depends_on: {{ ref('users_to_compare') }}
{{ config(materialized='view') }}
{{ checked_rows(of_users=ref('users_to_compare') if has_deliveries() else none) }}
