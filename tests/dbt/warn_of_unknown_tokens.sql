-- Warns of traits that came back and that the taxonomy does not know; of segments, where vars.segment_taxonomy names
-- theirs.
{{ config(enabled=has_outbound(), severity='warn') }}
with sizes as (
    select * from {{ ref('segment_sizes') }}
),

traits as (
    select cast(trait_id as {{ dbt.type_string() }}) as token from {{ own_model('traits') }}
),

{%- if var('segment_taxonomy', none) %}
segments as (
    select cast(segment_id as {{ dbt.type_string() }}) as token from {{ own_model(var('segment_taxonomy')) }}
),
{%- endif %}

final as (
    select
        outbound,
        kind,
        token
    from sizes
    where kind = 'trait' and token not in (select token from traits)
    {%- if var('segment_taxonomy', none) %}
    union
    select
        outbound,
        kind,
        token
    from sizes
    where kind = 'segment' and token not in (select token from segments)
    {%- endif %}
)

select distinct
    outbound,
    kind,
    token
from final
