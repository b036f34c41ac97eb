-- A feed: one row for each signal that a user has now. Removals are computed, never written.
-- user_id: an ID of the feed's data source · signal_key: 'd_sid' for a trait ID, 'ic' for an integration code, or a
-- key of your own · signal_value: the trait ID, the code or the value. All three are text.
with customers as (
    -- select from your own model instead, by ref('customers') in double braces
    select
        cast(null as {{ dbt.type_string() }}) as customer_id,
        true as wants_newsletter
    where false
),

final as (
    select
        customer_id as user_id,
        'd_sid' as signal_key,
        {{ aam_onboard.trait_id('Newsletter: subscribed') }} as signal_value
    from customers
    where wants_newsletter
)

select * from final
