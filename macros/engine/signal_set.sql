{# A set of signals is one text: the signals as a file writes them, each once, in byte order, with the unit separator
   (31) between, which no valid signal holds. A row a user is a fifth of a row a signal, and compares in one step. #}
{% macro separator() %}chr(31){% endmacro %}


{# Aggregate: the set of the signals in a group. #}
{% macro signal_set(signal) %}{{ return(adapter.dispatch('signal_set', 'aam_onboard')(signal)) }}{% endmacro %}

{% macro default__signal_set(signal) %}{{ aam_onboard.unknown_engine('signal_set') }}{% endmacro %}

{# DuckDB: joining texts and splitting them again takes half the time of a list aggregate, and sorting a list a third of
   an ordered aggregate's. #}
{% macro duckdb__signal_set(signal) -%}
    array_to_string(
        list_sort(
            list_distinct(string_split(string_agg({{ signal }}, {{ aam_onboard.separator() }}), {{ aam_onboard.separator() }})), 'asc', 'nulls last'
        ),
        {{ aam_onboard.separator() }}
    )
{%- endmacro %}

{% macro postgres__signal_set(signal) -%}
    string_agg(distinct {{ signal }} collate "C", {{ aam_onboard.separator() }})
{%- endmacro %}

{% macro spark__signal_set(signal) -%}
    array_join(sort_array(collect_set({{ signal }})), {{ aam_onboard.separator() }})
{%- endmacro %}


{# Aggregate: a number that is the same for the same rows, in whatever order; all of them, or those of a condition.
   Null without rows. A change that keeps the sum of 64-bit hashes does not happen by chance. Under other rules the
   number is another one, so that all are judged anew. #}
{% macro fingerprint(key, value, condition='true') %}
    {{- return(adapter.dispatch('fingerprint', 'aam_onboard')(key, value, condition)) -}}
{% endmacro %}

{% macro default__fingerprint(key, value, condition) %}{{ aam_onboard.unknown_engine('fingerprint') }}{% endmacro %}

{% macro duckdb__fingerprint(key, value, condition) -%}
    cast(sum(case when {{ condition }} then hash({{ key }}, {{ value }}, {{ aam_onboard.rules_hash() }}) end)
    % 9223372036854775807 as bigint)
{%- endmacro %}

{# A sum for each half of the hash: sums of integers are kept in place, those of bigint in memory of their own. #}
{% macro postgres__fingerprint(key, value, condition) -%}
    {%- set hash = 'hashtextextended(' ~ value ~ ', hashtextextended(' ~ key ~ ', ' ~ aam_onboard.rules_hash() ~ '))' -%}
    (sum(case when {{ condition }} then cast({{ hash }} >> 32 as integer) end) << 32)
    # (sum(case when {{ condition }} then cast(({{ hash }} << 32) >> 32 as integer) end) & 4294967295)
{%- endmacro %}

{# A sum for each half of the hash, as above: a sum of whole ones would stop the query, and one of decimals is slow. #}
{% macro spark__fingerprint(key, value, condition) -%}
    {%- set hash = 'xxhash64(' ~ key ~ ', ' ~ value ~ ', ' ~ aam_onboard.rules_hash() ~ ')' -%}
    shiftleft(sum(case when {{ condition }} then shiftright({{ hash }}, 32) end), 32)
    ^ sum(case when {{ condition }} then {{ hash }} & 4294967295 end)
{%- endmacro %}


{# Of the rules that decide whether an ID is good, as a number. #}
{% macro rules_hash() -%}
    {%- set id_types = [] -%}
    {%- for name, feed in aam_onboard.configured('feeds').items() %}{% do id_types.append([name, feed.id_type]) %}{% endfor -%}
    {%- set rules = [
        id_types, aam_onboard.configured('id_types'), aam_onboard.configured('rules'), aam_onboard.configured('plain'), var('spaces'), var('suspicious_ids')
    ] -%}
    {{ local_md5(tojson(rules, sort_keys=true))[:15] | int(base=16) }}
{%- endmacro %}


{# The signals of one set that are not in another; '' when there are none.
   only: those that are withdrawable by sync; the others; or all of them #}
{% macro set_difference(signals, without, only='all') %}
    {%- set condition = '' -%}
    {%- if only != 'all' -%}
        {%- set condition = ' and ' ~ ('' if only == 'withdrawable' else 'not ') ~ aam_onboard.is_withdrawable('x') -%}
    {%- endif -%}
    {{- return(adapter.dispatch('set_difference', 'aam_onboard')(signals, without, condition)) -}}
{% endmacro %}

{% macro default__set_difference(signals, without, condition) %}{{ aam_onboard.unknown_engine('set_difference') }}{% endmacro %}

{% macro duckdb__set_difference(signals, without, condition) -%}
    coalesce(array_to_string(list_sort(list_distinct(list_filter(
        string_split({{ signals }}, {{ aam_onboard.separator() }}),
        lambda x: x <> '' and not list_contains(string_split({{ without }}, {{ aam_onboard.separator() }}), x){{ condition }}
    )), 'asc', 'nulls last'), {{ aam_onboard.separator() }}), '')
{%- endmacro %}

{% macro postgres__set_difference(signals, without, condition) -%}
    coalesce((
        select string_agg(distinct x collate "C", {{ aam_onboard.separator() }})
        from unnest(string_to_array({{ signals }}, {{ aam_onboard.separator() }})) as x
        where x <> '' and x <> all (string_to_array({{ without }}, {{ aam_onboard.separator() }})){{ condition }}
    ), '')
{%- endmacro %}

{% macro spark__set_difference(signals, without, condition) -%}
    coalesce(array_join(sort_array(filter(
        array_except(split({{ signals }}, {{ aam_onboard.separator() }}), split({{ without }}, {{ aam_onboard.separator() }})),
        x -> x <> ''{{ condition }}
    )), {{ aam_onboard.separator() }}), '')
{%- endmacro %}


{# How many signals a set holds. #}
{% macro set_size(signals) -%}
    case
        when {{ signals }} = '' then 0
        else length({{ signals }}) - length(replace({{ signals }}, {{ aam_onboard.separator() }}, '')) + 1
    end
{%- endmacro %}


{# A select of `columns` of a relation and a row for each signal of a set, as `signal`. #}
{% macro each_signal(relation, columns, signals) %}
    {{- return(adapter.dispatch('each_signal', 'aam_onboard')(relation, columns, signals)) -}}
{% endmacro %}

{% macro default__each_signal(relation, columns, signals) %}{{ aam_onboard.unknown_engine('each_signal') }}{% endmacro %}

{% macro duckdb__each_signal(relation, columns, signals) %}
    select
        {{ columns | join(', ') }},
        unnest(string_split({{ signals }}, {{ aam_onboard.separator() }})) as signal
    from {{ relation }}
    where {{ signals }} <> ''
{%- endmacro %}

{% macro postgres__each_signal(relation, columns, signals) %}
    select
        {{ columns | join(', ') }},
        unnest(string_to_array({{ signals }}, {{ aam_onboard.separator() }})) as signal
    from {{ relation }}
    where {{ signals }} <> ''
{%- endmacro %}

{% macro spark__each_signal(relation, columns, signals) %}
    select
        {{ columns | join(', ') }},
        explode(split({{ signals }}, {{ aam_onboard.separator() }})) as signal
    from {{ relation }}
    where {{ signals }} <> ''
{%- endmacro %}


{# Key and value of a signal as signal_text writes it: no key or value holds a quote, so '"="' stands between them. #}
{% macro key_of(signal) -%}
    case
        when {{ signal }} like '"%' then substr(split_part({{ signal }}, '"="', 1), 2)
        else split_part({{ signal }}, '=', 1)
    end
{%- endmacro %}

{% macro value_of(signal) -%}
    case
        when {{ signal }} like '"%' then replace(split_part({{ signal }}, '"="', 2), '"', '')
        else split_part({{ signal }}, '=', 2)
    end
{%- endmacro %}
