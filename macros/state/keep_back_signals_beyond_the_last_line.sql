{# What finds no place in a user's lines is not sent, so it is no change either: the next build finds it again. #}
{% macro keep_back_signals_beyond_the_last_line() %}
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
