-- Keys and values of key-values that a feed spells in more than one letter case, a row a spelling. Adobe's pages differ
-- on whether these are one signal or several. What is sent is what the feed says.
-- depends_on: {{ ref('trait_rows') }}, which stops at a wrong column
with key_values as (
    {%- for name in configured('feeds') %}
    select
        {{ text_literal(name) }} as feed,
        signal_key,
        signal_value,
        count(*) as n
    from {{ own_model(name) }}
    where signal_key not in ('d_sid', 'ic')
    group by signal_key, signal_value
    union all
    {%- endfor %}
    select
        cast(null as {{ dbt.type_string() }}) as feed,
        cast(null as {{ dbt.type_string() }}) as signal_key,
        cast(null as {{ dbt.type_string() }}) as signal_value,
        0 as n
    where false
),

folded as (
    select
        feed,
        signal_key,
        signal_value,
        n,
        {{ lower_case('signal_key') }} as folded_key,
        {{ lower_case('signal_value') }} as folded_value
    from key_values
),

spellings as (
    select
        feed,
        'key' as part,
        folded_key,
        folded_key as folded,
        signal_key as spelling,
        sum(n) as n
    from folded
    group by feed, folded_key, signal_key
    union all
    select
        feed,
        'value' as part,
        folded_key,
        folded_value as folded,
        signal_value as spelling,
        sum(n) as n
    from folded
    group by feed, folded_key, folded_value, signal_value
),

counted as (
    select
        feed,
        part,
        folded_key,
        folded,
        spelling,
        n,
        count(*) over (partition by feed, part, folded_key, folded) as spellings
    from spellings
),

final as (
    select
        cast('{{ invocation_id }}' as {{ dbt.type_string() }}) as batch_id,
        feed,
        part,
        folded_key as signal_key,
        folded,
        spelling,
        cast(n as bigint) as n
    from counted
    where spellings > 1
)

select * from final
