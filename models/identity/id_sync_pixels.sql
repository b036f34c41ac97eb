-- A pixel a customer, for e-mail tools: loaded by the reader's browser, it tells Audience Manager the CRM ID.
-- An ID that breaks a rule gets no URL but the reason. To redirect or to pass a consent, see the macro id_sync_url.
with customers as (
    select * from {{ ref('int_customers') }}
),

checked as (
    select
        customer_id,
        case
            when customer_id is null then 'empty_id'
            else {{ rejection_reason('user_id', 'customer_id', 'dpuuid') }}
        end as error
    from customers
),

final as (
    select
        customer_id,
        case
            when error is null then {{ id_sync_url(var('feeds').crm_traits.dpid, 'customer_id') }}
        end as url,
        error
    from checked
)

select * from final
