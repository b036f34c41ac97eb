-- Advertising ID of an Android device (GAID) to CRM ID, as captured in the app.
with devices as (
    select * from {{ ref('int_mobile_devices') }}
    where platform = 'android'
),

final as (
    select
        device_id,
        customer_id,
        captured_at
    from devices
)

select * from final
