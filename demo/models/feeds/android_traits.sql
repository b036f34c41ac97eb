-- The customers' traits once more, for their Android devices (GAID), whom Audience Manager knows without an ID sync.
with customer_traits as (
    select * from {{ ref('crm_traits') }}
),

devices as (
    select * from {{ ref('int_mobile_devices') }}
    where platform = 'android'
),

final as (
    select
        devices.device_id as user_id,
        customer_traits.signal_key,
        customer_traits.signal_value
    from devices
    inner join customer_traits on devices.customer_id = customer_traits.user_id
)

select * from final
