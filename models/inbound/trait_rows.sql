-- Every row of every feed, with the first rule that it breaks; how it is found stands in the macro checked_rows.
{{ config(materialized='view') }}
{% for name in configured('feeds') %}{% do text_columns(name, ['user_id', 'signal_key', 'signal_value']) %}{% endfor %}
{{ checked_rows() }}
