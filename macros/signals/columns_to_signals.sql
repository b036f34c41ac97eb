{# Columns to rows, as a query: user_id, signal_key, signal_value. A null gives no row.

   relation: a CTE or table · user_id: its column of user IDs
   columns: texts; without `signal_key`, a column's name is the key and its value the value: key-values
   signal_key: the key of all columns, e.g. 'd_sid' for columns of trait IDs

   {{ columns_to_signals('profiles', 'customer_id', ['gender', 'city']) }}
   {{ columns_to_signals('scores', 'customer_id', ['tier_trait', 'spend_trait'], signal_key='d_sid') }} #}
{% macro columns_to_signals(relation, user_id, columns, signal_key=none) %}
    select
        user_id,
        signal_key,
        signal_value
    from (
        select
            {{ aam_onboard.column_of(relation, user_id) }} as user_id,
            {{ aam_onboard.text_literal(signal_key) if signal_key else 'keys.column_name' }} as signal_key,
            case keys.column_name
                {%- for column in columns %}
                when {{ aam_onboard.text_literal(column) }} then {{ aam_onboard.column_of(relation, column) }}
                {%- endfor %}
            end as signal_value
        from {{ relation }}
        cross join (
            {%- for column in columns %}
            select {{ aam_onboard.text_literal(column) }} as column_name
            {%- if not loop.last %}
            union all
            {%- endif %}
            {%- endfor %}
        ) as keys
    ) as signals
    where signal_value is not null
{%- endmacro %}
