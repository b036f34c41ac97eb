{# A model or seed of the project that uses this package: a feed, an ID sync or the taxonomy. #}
{% macro own_model(name) %}{{ return(ref(project_name, name)) }}{% endmacro %}
