-- IDs that came back and are not of the type of their data source: an AAM UUID has 38 digits, a device ID its own form.
{{ config(enabled=has_outbound()) }}
with memberships as (
    select * from {{ ref('outbound_memberships') }}
)

select
    outbound,
    dpid,
    user_id
from memberships
where
    false
    {%- for dpid in outbound_dpids() %}
    {%- set pattern = configured('id_types')[id_type_of(dpid)].get('pattern') %}
    {%- if pattern %}
    or (dpid = {{ dpid }} and not {{ matches('user_id', pattern) }})
    {%- endif %}
    {%- endfor %}
