{# The names of traits and segments by their tokens, as your taxonomies have them: kind, token, name. #}
{% macro segment_names() %}
    select
        'trait' as kind,
        cast(trait_id as {{ dbt.type_string() }}) as token,
        max(trait_name) as name
    from {{ aam_onboard.own_model('traits') }}
    group by trait_id
    {%- if var('segment_taxonomy', none) %}
    union all
    select
        'segment' as kind,
        cast(segment_id as {{ dbt.type_string() }}) as token,
        max(segment_name) as name
    from {{ aam_onboard.own_model(var('segment_taxonomy')) }}
    group by segment_id
    {%- endif %}
{% endmacro %}
