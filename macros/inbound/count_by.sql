{# A CTE's body: rows of a relation a feed. #}
{% macro count_by(feed, relation, condition='true') %}
    select
        {{ feed }} as feed,
        count(*) as n
    from {{ relation }}
    where {{ condition }}
    group by {{ feed }}
{%- endmacro %}
