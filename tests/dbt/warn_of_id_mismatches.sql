-- Warns when users can't be reached because the site spells their ID otherwise, and says how many.
{{ config(severity='warn') }}
{% set summary %}
    select dpid, sum(users), max(total_users) from {{ ref('id_mismatch_summary') }} group by dpid order by dpid asc nulls last
{% endset %}
{%- if execute and flags.WHICH in ['build', 'test'] -%}
    {%- for dpid, users, total_users in run_query(summary) -%}
        {%- do exceptions.warn(
            "id_mismatches: " ~ users ~ " of " ~ total_users ~ " users ("
            ~ "%.1f" | format(100.0 * (users | float) / (total_users | float)) ~ " %) of data source " ~ dpid ~ " ("
            ~ configured('data_sources').get(dpid | int, {}).get('name', 'without a name') ~ ") can't be reached: online, their ID is spelled otherwise"
        ) -%}
    {%- endfor -%}
{%- endif %}
select
    dpid,
    kind,
    offline_id,
    online_id
from {{ ref('id_mismatches') }}
