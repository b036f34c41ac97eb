-- A pixel a customer, for e-mail tools: loaded by the reader's browser, it tells Audience Manager the CRM ID.
-- An ID that breaks a rule gets no URL but the reason. To redirect or to pass a consent, see the macro id_sync_url.
-- The data source is that of the feed crm_traits; without that feed, there is no pixel.
{%- set crm = configured('feeds').get('crm_traits') %}
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
            when error is null then {{ id_sync_url(crm.dpid if crm else 0, 'customer_id') }}
        end as url,
        error
    from checked
)

select * from final
{%- if not crm %}
where false
{%- endif %}
