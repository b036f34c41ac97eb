-- Device IDs of customers whom we may send, each pair once, with the last time it was seen.
with customers as (
    select * from {{ ref('int_customers') }}
),

devices as (
    select * from {{ ref('stg_shop__mobile_devices') }}
),

final as (
    select
        devices.platform,
        devices.device_id,
        devices.customer_id,
        max(devices.captured_at) as captured_at
    from devices
    inner join customers on devices.customer_id = customers.customer_id
    group by devices.platform, devices.device_id, devices.customer_id
)

select * from final
