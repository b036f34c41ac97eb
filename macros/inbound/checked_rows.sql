{# Every row of every feed, with the first rule that it breaks. Duplicates are still in.

   of_users: a relation with the columns feed and user_id ('' for a row without an ID); rows of no one else are read. It
   is asked before any rule is tried, which engines would not do by themselves. #}
{% macro checked_rows(of_users=none) %}
with feeds as (
    {{ aam_onboard.configured_feeds() }}
),

traits as (
    select
        trait_id,
        dpid as trait_dpid,
        trait_type
    from {{ aam_onboard.own_model('traits') }}
    -- so that a row that has found its trait is digits only
    where {{ aam_onboard.matches('trait_id', '[0-9]+') }}
),

feed_rows as (
    {%- for name, feed in aam_onboard.configured('feeds').items() %}
    select
        {{ aam_onboard.text_literal(name) }} as feed,
        user_id,
        signal_key,
        signal_value
    from {{ aam_onboard.own_model(name) }}
        {%- if of_users %}
    where coalesce(user_id, '') in (select users.user_id from {{ of_users }} as users where users.feed = {{ aam_onboard.text_literal(name) }})
        {%- endif %}
        {%- if not loop.last %}
    union all
        {%- endif %}
    {%- else %}
    select
        feed,
        cast(null as {{ dbt.type_string() }}) as user_id,
        cast(null as {{ dbt.type_string() }}) as signal_key,
        cast(null as {{ dbt.type_string() }}) as signal_value
    from feeds
    {%- endfor %}
),

with_traits as (
    select
        feed_rows.*,
        feeds.dpid,
        feeds.target_dpid,
        feeds.id_type,
        feeds.mode,
        feeds.trait_dpid as target_trait_dpid,
        traits.trait_id,
        traits.trait_dpid,
        traits.trait_type
    from feed_rows
    inner join feeds on feed_rows.feed = feeds.feed
    left join traits on feed_rows.signal_key = 'd_sid' and feed_rows.signal_value = traits.trait_id
),

with_reasons as (
    select
        with_traits.*,
        {{ aam_onboard.id_reason('feed', 'user_id') }} as id_reason,
        case
            when signal_key is null then 'empty_key'
            when signal_value is null then 'empty_value'
            -- 7: TAB, line end and the longest punctuation that a signal is written with
            when
                {{ aam_onboard.byte_length('user_id') }} + {{ aam_onboard.byte_length('signal_key') }}
                + {{ aam_onboard.byte_length('signal_value') }} + 7 > {{ var('limits').line_bytes }}
                then 'signal_too_long'
            when
                trait_dpid = target_trait_dpid and trait_type = 'onboarded'
                then {{ aam_onboard.rejection_reason('signal_value', 'signal_value', 'trait', is_plain=true) }}
            when signal_key = 'd_sid' then coalesce(
                {{ aam_onboard.rejection_reason('signal_value', 'signal_value', 'trait') }},
                case
                    when trait_id is null then 'unknown_trait'
                    when trait_dpid <> target_trait_dpid then 'trait_of_other_data_source'
                    when trait_type <> 'onboarded' then 'trait_not_onboarded'
                end
            )
            when signal_key = 'ic' then {{ aam_onboard.rejection_reason('signal_value', 'signal_value', 'integration_code') }}
            else coalesce(
                {{ aam_onboard.rejection_reason('signal_key', 'signal_key', 'key_value') }},
                {{ aam_onboard.rejection_reason('signal_value', 'signal_value', 'key_value') }}
            )
        end as signal_reason
    from with_traits
),

final as (
    select
        cast('{{ invocation_id }}' as {{ dbt.type_string() }}) as batch_id,
        feed,
        mode,
        dpid,
        target_dpid,
        id_type,
        user_id,
        signal_key,
        signal_value,
        signal_reason,
        coalesce(id_reason, signal_reason) as reason
    from with_reasons
)

select * from final
{% endmacro %}
