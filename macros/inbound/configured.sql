{# A map of the vars, which may be empty, left out, or a key with nothing behind it.
   Where a feed is retired, the outbox is of that feed alone, as it was sent. #}
{% macro configured(name) %}
    {%- if var('retired') and name in ['feeds', 'id_syncs'] -%}
        {{ return(var('retired') if name == 'feeds' else {}) }}
    {%- endif -%}
    {{ return(var(name, none) or {}) }}
{% endmacro %}
