{# What finds no place in a user's lines is not sent, so it is no change either: the next build finds it again. #}
{% macro keep_back_signals_beyond_the_last_line() %}
    {{- return(adapter.dispatch('keep_back_signals_beyond_the_last_line', 'aam_onboard')()) -}}
{% endmacro %}

{% macro default__keep_back_signals_beyond_the_last_line() %}
    {%- set ledger = aam_onboard.state_relation('user_ledger') -%}
    {%- set kept = aam_onboard.set_difference(ledger ~ '.signals', 'kept_back.additions') -%}
    update {{ ledger }}
    set
        added = {{ aam_onboard.set_difference('coalesce(' ~ ledger ~ '.added, ' ~ ledger ~ '.signals)', 'kept_back.additions') }},
        removed = {{ aam_onboard.set_difference(ledger ~ '.removed', 'kept_back.removals') }},
        signals = case
            when kept_back.removals = '' then {{ kept }}
            when {{ kept }} = '' then kept_back.removals
            else concat({{ kept }}, {{ aam_onboard.separator() }}, kept_back.removals)
        end,
        fingerprint = null -- the set is less than the rows, so it is compared each time
    from (
        {{ aam_onboard.kept_back() }}
    ) as kept_back
    where
        {{ ledger }}.batch_id = '{{ invocation_id }}'
        and {{ ledger }}.feed = kept_back.feed
        and {{ ledger }}.user_id = kept_back.user_id;
    {%- if not var('full') %}

    -- an overwrite that can only say again what it said before is not sent
    delete from {{ this }}
    where
        {{ this }}.line_number is not null
        and exists (
            select 1 from {{ ledger }} as unchanged
            where
                unchanged.batch_id = '{{ invocation_id }}'
                and unchanged.added = ''
                and unchanged.removed = ''
                and unchanged.feed = {{ this }}.feed
                and unchanged.user_id = {{ this }}.user_id
        );

    delete from {{ ledger }}
    where
        {{ ledger }}.batch_id = '{{ invocation_id }}'
        and {{ ledger }}.added = ''
        and {{ ledger }}.removed = ''
        and exists (
            select 1 from {{ this }} as packed
            where packed.feed = {{ ledger }}.feed and packed.user_id = {{ ledger }}.user_id
        )
    {%- endif %}
{% endmacro %}


{# Of the users in packed_signals who have more than their lines hold: what is beyond, as sets. #}
{% macro kept_back() -%}
    select
        feed,
        user_id,
        coalesce(max(case when is_addition then signals end), '') as additions,
        coalesce(max(case when not is_addition then signals end), '') as removals
    from (
        select
            feed,
            user_id,
            is_addition,
            {{ aam_onboard.joined('signal', aam_onboard.separator()) }} as signals
        from (
            select
                feed,
                user_id,
                signal not like 'd_unsid=%' as is_addition,
                replace(signal, 'd_unsid=', 'd_sid=') as signal
            from {{ this }}
            where line_number is null
        ) as signals
        group by feed, user_id, is_addition
    ) as sets
    group by feed, user_id
{%- endmacro %}


{# Spark: the parts of the ledger that this build wrote are written anew, and packed_signals, by way of a table, for no
   statement may write what it reads. #}
{% macro spark__keep_back_signals_beyond_the_last_line() %}
    {%- if not execute -%}{{ return('') }}{%- endif -%}
    {%- set feeds = run_query('select distinct feed from ' ~ this) -%}
    {%- if not feeds -%}{{ return('') }}{%- endif -%}
    {%- set ledger = aam_onboard.state_relation('user_ledger') -%}
    {%- set columns = ['user_id', 'signals', 'possible', 'fingerprint', 'added', 'removed', 'users_more'] -%}
    {%- set kept = aam_onboard.set_difference('ledger.signals', 'kept_back.additions') -%}
    {%- set unchanged = "coalesce(added, 'all') = '' and removed = '' and " ~ ('false' if var('full') else 'is_packed') -%}
    {%- set sets = this.incorporate(path={'identifier': this.identifier ~ '_sets'}, type='table') -%}
    {%- set lines = this.incorporate(path={'identifier': this.identifier ~ '_lines'}, type='table') -%}
    {%- set of_this_batch = "batch_id = '" ~ invocation_id ~ "'" -%}
    {%- for relation in [sets, lines] %}{% do run_query('drop table if exists ' ~ relation) %}{% endfor -%}
    {%- set new_sets %}
        create table {{ sets }} using parquet as
        select
            ledger.feed,
            ledger.user_id,
            case
                when kept_back.user_id is null then ledger.signals
                when kept_back.removals = '' then {{ kept }}
                when {{ kept }} = '' then kept_back.removals
                else concat({{ kept }}, {{ aam_onboard.separator() }}, kept_back.removals)
            end as signals,
            ledger.possible,
            case when kept_back.user_id is null then ledger.fingerprint end as fingerprint,
            case
                when kept_back.user_id is null then ledger.added
                else {{ aam_onboard.set_difference('coalesce(ledger.added, ledger.signals)', 'kept_back.additions') }}
            end as added,
            case
                when kept_back.user_id is null then ledger.removed
                else {{ aam_onboard.set_difference('ledger.removed', 'kept_back.removals') }}
            end as removed,
            ledger.users_more,
            packed.user_id is not null as is_packed
        from {{ ledger }} as ledger
        left join ({{ aam_onboard.kept_back() }}) as kept_back
            on ledger.feed = kept_back.feed and ledger.user_id = kept_back.user_id
        left join (select distinct feed, user_id from {{ this }}) as packed
            on ledger.feed = packed.feed and ledger.user_id = packed.user_id
        where ledger.{{ of_this_batch }} and ledger.feed in (select feed from {{ this }})
    {%- endset %}
    {%- do run_query(new_sets) -%}
    {%- for row in feeds -%}
        {%- set feed = aam_onboard.text_literal(row[0]) -%}
        {%- do run_query(
            'insert overwrite ' ~ ledger ~ ' partition (' ~ of_this_batch ~ ', feed = ' ~ feed ~ ') (' ~ columns | join(', ')
            ~ ') select ' ~ columns | join(', ') ~ ' from ' ~ sets ~ ' where feed = ' ~ feed ~ ' and not (' ~ unchanged ~ ')'
        ) -%}
    {%- endfor -%}
    {%- set new_lines %}
        create table {{ lines }} using parquet as
        select packed.*
        from {{ this }} as packed
        left anti join (select feed, user_id from {{ sets }} where {{ unchanged }}) as unchanged
            on packed.line_number is not null and packed.feed = unchanged.feed and packed.user_id = unchanged.user_id
    {%- endset %}
    {%- do run_query(new_lines) -%}
    {%- do run_query('insert overwrite ' ~ this ~ ' select * from ' ~ lines) -%}
    {%- for relation in [sets, lines] %}{% do run_query('drop table ' ~ relation) %}{% endfor -%}
{% endmacro %}
