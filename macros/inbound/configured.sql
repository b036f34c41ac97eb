{# A map of the vars, which may be empty, left out, or a key with nothing behind it. #}
{% macro configured(name) %}{{ return(var(name, none) or {}) }}{% endmacro %}
