{# What a macro says on an engine that it has no variant for. #}
{% macro unknown_engine(macro_name) %}
    {{ exceptions.raise_compiler_error(
        'aam_onboard knows no ' ~ macro_name ~ ' on ' ~ adapter.type() ~ '; it runs on DuckDB, PostgreSQL and Spark'
    ) }}
{% endmacro %}
