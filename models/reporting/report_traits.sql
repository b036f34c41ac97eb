-- How many users each destination has of each signal, and the traits of the taxonomy of which it has none.
with sets as (
    -- many users have the same: to count them first spares most of the splitting
    select
        destination,
        feed,
        signals,
        count(*) as users
    from ({{ latest_sets() }}) as latest
    group by destination, feed, signals
),

signals as (
    {{ each_signal('sets', ['destination', 'feed', 'users'], 'signals') }}
),

sizes as (
    select
        destination,
        feed,
        {{ key_of('signal') }} as signal_key,
        {{ value_of('signal') }} as signal_value,
        cast(sum(users) as bigint) as users
    from signals
    group by destination, feed, signal
),

traits as (
    select
        cast(trait_id as {{ dbt.type_string() }}) as trait_id,
        max(trait_name) as trait_name,
        max(case when trait_type = 'onboarded' then 1 else 0 end) = 1 as is_onboarded
    from {{ own_model('traits') }}
    group by trait_id
),

destinations as (
    select distinct destination from {{ ref('deliveries') }}
    where status = 'delivered'
),

sent as (
    select
        sizes.destination,
        sizes.feed,
        sizes.signal_key,
        sizes.signal_value,
        traits.trait_name,
        sizes.users
    from sizes
    left join traits on sizes.signal_key = 'd_sid' and sizes.signal_value = traits.trait_id
),

never_sent as (
    select
        destinations.destination,
        cast(null as {{ dbt.type_string() }}) as feed,
        'd_sid' as signal_key,
        traits.trait_id as signal_value,
        traits.trait_name,
        0 as users
    from destinations
    cross join traits
    where
        traits.is_onboarded
        and not exists (
            select 1 from sizes
            where
                sizes.destination = destinations.destination
                and sizes.signal_key = 'd_sid'
                and sizes.signal_value = traits.trait_id
        )
),

final as (
    select * from sent
    union all
    select * from never_sent
)

select * from final
