-- Where Audience Manager's receipts are not as we had reason to expect, a row each.
with receipts as (
    select * from {{ ref('report_receipts') }}
),

differences as (
    select
        receipt_id,
        day,
        feeds,
        'unknown_files' as kind,
        0 as ours,
        unknown_files as theirs
    from receipts
    where unknown_files > 0
    union all
    select
        receipt_id,
        day,
        feeds,
        'records_received' as kind,
        our_lines as ours,
        records_received as theirs
    from receipts
    where unknown_files = 0 and records_received <> our_lines
    union all
    select
        receipt_id,
        day,
        feeds,
        'records_processed' as kind,
        records_received as ours,
        records_processed as theirs
    from receipts
    where records_processed <> records_received
    union all
    select
        receipt_id,
        day,
        feeds,
        'stored_records' as kind,
        stored_by_sum as ours,
        stored_records as theirs
    from receipts
    where stored_records <> stored_by_sum
    {%- for counter in [
        'format_errors', 'invalid_aam_id', 'invalid_device_id', 'total_traits_failed_validation',
        'total_users_failed_validation',
    ] %}
    union all
    select
        receipt_id,
        day,
        feeds,
        '{{ counter }}' as kind,
        0 as ours,
        {{ counter }} as theirs
    from receipts
    where {{ counter }} > 0
    {%- endfor %}
),

final as (
    select
        receipt_id,
        day,
        feeds,
        kind,
        ours,
        theirs,
        theirs - ours as difference
    from differences
)

select * from final
