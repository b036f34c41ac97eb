{# What finds no place in a user's lines is not sent, so it is no change either: the next build finds it again. #}
{% macro keep_back_signals_beyond_the_last_line() %}
    {%- set ledger = var('aam_state_schema') ~ '.signal_ledger' -%}
    delete from {{ ledger }}
    where
        batch_id = '{{ invocation_id }}'
        and exists (
            select 1 from {{ this }} as packed
            where
                packed.line_number is null
                and packed.feed = {{ ledger }}.feed
                and packed.user_id = {{ ledger }}.user_id
                and packed.signal_key = {{ ledger }}.signal_key
                and packed.signal_value = {{ ledger }}.signal_value
        )
{% endmacro %}
