{# Stops the build with one clear line when a feed's model lacks a column that the outbox reads. #}
{% macro require_columns(model_name, columns) %}
    {%- if execute and flags.WHICH in ['build', 'run'] -%}
        {%- set there = adapter.get_columns_in_relation(ref(model_name)) | map(attribute='name') | map('lower') | list -%}
        {%- for column in columns if there and column not in there -%}
            {{ exceptions.raise_compiler_error(
                "model " ~ model_name ~ " has no column " ~ column ~ "; its last select must give "
                ~ columns | join(', ')
            ) }}
        {%- endfor -%}
    {%- endif -%}
{% endmacro %}
