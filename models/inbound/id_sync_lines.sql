-- Exactly what a line of an ID sync file holds: the IDs, TAB between, in the order of the file name.
{{ config(materialized='view') }}
with final as (
    {%- if var('full') %}
    select
        batch_id,
        id_sync,
        ids
    from {{ ref('id_sync_rows') }}
    -- after the ledger, so that both are of one build: {{ ref('new_id_pairs') }}
    where reason is null
    {%- else %}
    select
        batch_id,
        id_sync,
        ids
    from {{ ref('new_id_pairs') }}
    {%- endif %}
)

select * from final
