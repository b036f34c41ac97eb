-- Warns of keys and values that a feed spells in more than one letter case, and says how many.
{{ config(severity='warn') }}
{% set summary %}
    select
        feed,
        part,
        count(distinct concat(signal_key, '=', folded)),
        sum(n)
    from {{ ref('letter_case_variants') }}
    group by feed, part
    order by feed asc nulls last, part asc nulls last
{% endset %}
{%- if execute and flags.WHICH in ['build', 'test'] -%}
    {%- for feed, part, spelled, n in run_query(summary) -%}
        {%- do exceptions.warn(
            "feed " ~ feed ~ ": " ~ spelled ~ " " ~ part ~ "s in " ~ n ~ " rows are spelled in more than one letter case;"
            ~ " Audience Manager may take each for one signal or for several (letter_case_variants lists them)"
        ) -%}
    {%- endfor -%}
{%- endif %}
select
    feed,
    part,
    spelling,
    n
from {{ ref('letter_case_variants') }}
