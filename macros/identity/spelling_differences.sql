{# In what two IDs with one id_match_key differ, as ' + case + space'; '' where no single difference keeps them apart. #}
{% macro spelling_differences(one, other) -%}
    {%- set differences = ['case', 'space', 'leading_zeros', 'url_encoding'] -%}
    concat(
        {%- for difference in differences %}
        {#- it is one if the IDs no longer match once it counts again #}
        {%- set others = differences | reject('equalto', difference) | list %}
        case
            when {{ aam_onboard.id_match_key(one, ignore=others) }} <> {{ aam_onboard.id_match_key(other, ignore=others) }}
                then ' + {{ difference }}'
            else ''
        end{{ ',' if not loop.last }}
        {%- endfor %}
    )
{%- endmacro %}
