-- Warns where Audience Manager's receipts are not as expected: see the model receipt_differences.
{{ config(severity='warn') }}
with receipt_differences as (
    select * from {{ ref('receipt_differences') }}
),

final as (
    select
        day,
        feeds,
        kind,
        ours,
        theirs
    from receipt_differences
)

select * from final
