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
    select
        limited.kind,
        limited.reason,
        limited.most,
        split_part(id_rows.ids, chr(9), limited.holder_place) as holder,
        limited.held_dpid || '/' || split_part(id_rows.ids, chr(9), limited.held_place) as held,
        id_rows.id_sync,
        id_rows.ids,
        id_rows.newest_at,
        id_rows.is_given,
        1 - id_rows.is_given as is_delivered
    from (
        select
            id_sync,
            ids,
            newest_at,
            1 as is_given
        from {{ ref('checked_id_rows') }}
        where reason is null
        union all
        select
            id_sync,
            ids,
            newest_at,
            0 as is_given
        from {{ ref('delivered_id_lines') }}
        where destination = {{ aam_onboard.text_literal(var('destination')) }}
    ) as id_rows
    inner join (
        {%- for name, reason, most, holder, held, held_of in limited %}
        {%- set kind = [reason, holder.dpid, held_of] %}
        {%- if kind not in kinds %}{% do kinds.append(kind) %}{% endif %}
        select
            {{ aam_onboard.text_literal(name) }} as id_sync,
            {{ kinds.index(kind) }} as kind,
            '{{ reason }}' as reason,
            {{ most }} as most,
            {{ holder.place }} as holder_place,
            {{ held.place }} as held_place,
            '{{ held.dpid }}' as held_dpid
        union all
        {%- endfor %}
        select
            'none' as id_sync,
            0 as kind,
            '' as reason,
            0 as most,
            1 as holder_place,
            1 as held_place,
            '' as held_dpid
        where false
    ) as limited on id_rows.id_sync = limited.id_sync
{%- endmacro %}
