-- A pixel a customer, for e-mail tools: loaded by the reader's browser, it tells Audience Manager the customer's ID.
-- An ID that breaks a rule gets no URL but the reason. To redirect or to pass a consent, see the macro id_sync_url.
with checked as (
    {%- for name, pixels in configured('id_sync_pixels').items() %}
    {%- set user_id = text_columns(name, [pixels.column])[0] %}
    select
        {{ pixels.dpid }} as dpid,
        {{ user_id }} as user_id,
        {{ id_sync_url(pixels.dpid, user_id) }} as url,
        case
            when {{ user_id }} is null then 'empty_id'
            {%- if has_forget_requests() %}
            when {{ is_forgotten(user_id, pixels.dpid) }} then 'forgotten'
            {%- endif %}
            else {{ rejection_reason('user_id', user_id, id_type_of(pixels.dpid)) }}
        end as error
    from {{ own_model(name) }}
    {%- if not loop.last %}
    union all
    {%- endif %}
    {%- else %}
    select
        cast(null as integer) as dpid,
        cast(null as {{ dbt.type_string() }}) as user_id,
        cast(null as {{ dbt.type_string() }}) as url,
        cast(null as {{ dbt.type_string() }}) as error
    where false
    {%- endfor %}
),

final as (
    select
        dpid,
        user_id,
        case when error is null then url end as url,
        error
    from checked
)

select * from final
