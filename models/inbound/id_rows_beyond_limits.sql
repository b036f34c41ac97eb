-- Rows of ID syncs past Audience Manager's mapping limits. Past a limit it drops what came first, so what comes last
-- must be the newest: a row counts beside those that the destination has, whether or not the model still gives them,
-- and an older one is kept back. Of equals, those that the destination has and the model still gives stay first.
{{ config(pre_hook="{{ prefer_hashing() }}") }}
with holders as (
    -- hardly any; a pair that is both given and delivered counts twice here, and once below, where holders are told
    -- apart that have one hash
    select
        kind,
        {{ text_hash('holder') }} as holder_hash
    from ({{ id_pairs() }}) as pairs
    group by kind, {{ text_hash('holder') }}
    having count(*) > max(most)
),

held_ids as (
    select
        pairs.kind,
        pairs.holder,
        pairs.held,
        max(pairs.most) as most,
        max(pairs.newest_at) as newest_at,
        max(pairs.is_given) as is_given,
        max(pairs.is_delivered) as is_delivered
    from ({{ id_pairs() }}) as pairs
    inner join holders on pairs.kind = holders.kind and {{ text_hash('pairs.holder') }} = holders.holder_hash
    group by pairs.kind, pairs.holder, pairs.held
),

ranked as (
    select
        held_ids.*,
        row_number() over (
            partition by held_ids.kind, held_ids.holder
            order by
                held_ids.newest_at desc nulls last,
                held_ids.is_given * held_ids.is_delivered desc nulls last,
                held_ids.is_given desc nulls last,
                {{ byte_order('held_ids.held') }}
        ) as place
    from held_ids
),

beyond as (
    select * from ranked
    where place > most
),

final as (
    select
        cast('{{ invocation_id }}' as {{ dbt.type_string() }}) as batch_id,
        pairs.id_sync,
        pairs.ids,
        min(pairs.reason) as reason
    from ({{ id_pairs() }}) as pairs
    inner join beyond
        on pairs.kind = beyond.kind and pairs.holder = beyond.holder and pairs.held = beyond.held
    where pairs.is_given = 1
    group by pairs.id_sync, pairs.ids
)

select * from final
