{# Every ID that may hold only so many others, with one that it holds: of the ID syncs' good rows, and of those that the
   destination has. A row of an ID sync gives several; so may a pair that is both given and delivered, or in two ID syncs.

   kind: a number for each limit and data source that it holds for · reason: that of a row past the limit · most: the
   limit · holder: who is limited · held: one of what is counted
   For use as a subquery, not as a CTE: read thrice, all pairs would be kept in memory. #}
{% macro id_pairs() %}
    {%- set limits = var('limits') %}
    {%- set limited = [] %}
    {%- set kinds = [] %}
    {%- for name, sync in aam_onboard.configured('id_syncs').items() if not sync.get('chained') %}
        {%- for dpid in sync.dpids[1:] %}
            {%- set first = {'dpid': sync.dpids[0], 'place': 1} %}
            {%- set other = {'dpid': dpid, 'place': loop.index + 1} %}
            {%- if sync.prefix == 'c2c_id' %}
                {%- do limited.append([name, 'too_many_hashed_emails', limits.hashed_emails_per_customer, first, other, dpid]) %}
            {%- else %}
                {%- do limited.append([name, 'too_many_device_ids', limits.device_ids_per_user, other, first, 'any']) %}
                {%- do limited.append([name, 'too_many_user_ids', limits.user_ids_per_device, first, other, dpid]) %}
            {%- endif %}
        {%- endfor %}
    {%- endfor %}
    {%- set given = {'relation': ref('checked_id_rows'), 'condition': 'reason is null', 'is_given': 1} %}
    {%- set delivered = {
        'relation': ref('delivered_id_lines'),
        'condition': 'destination = ' ~ aam_onboard.text_literal(var('destination')),
        'is_given': 0,
    } %}
    {%- for name, reason, most, holder, held, held_of in limited %}
        {%- set kind = [reason, holder.dpid, held_of] %}
        {%- if kind not in kinds %}{% do kinds.append(kind) %}{% endif %}
        {%- for rows in [given, delivered] %}
    select
        {{ kinds.index(kind) }} as kind,
        '{{ reason }}' as reason,
        {{ most }} as most,
        split_part(ids, chr(9), {{ holder.place }}) as holder,
        '{{ held.dpid }}/' || split_part(ids, chr(9), {{ held.place }}) as held,
        id_sync,
        ids,
        newest_at,
        {{ rows.is_given }} as is_given,
        {{ 1 - rows.is_given }} as is_delivered
    from {{ rows.relation }}
    where {{ rows.condition }} and id_sync = {{ aam_onboard.text_literal(name) }}
            {%- if not loop.last %}
    union all
            {%- endif %}
        {%- endfor %}
        {%- if not loop.last %}
    union all
        {%- endif %}
    {%- else %}
    select
        0 as kind,
        reason,
        0 as most,
        '' as holder,
        '' as held,
        id_sync,
        ids,
        newest_at,
        0 as is_given,
        0 as is_delivered
    from {{ ref('checked_id_rows') }}
    where false
    {%- endfor %}
{%- endmacro %}
