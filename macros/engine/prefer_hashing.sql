{# A pre-hook: let this model join and group by hash. PostgreSQL knows too little of views, and of tables just made, to
   see that sorting millions of rows takes twice as long, and comparing each with each for ever. #}
{% macro prefer_hashing() %}{{ return(adapter.dispatch('prefer_hashing', 'aam_onboard')()) }}{% endmacro %}

{% macro default__prefer_hashing() %}{% endmacro %}

{% macro postgres__prefer_hashing() %}set local enable_sort = off; set local enable_nestloop = off{% endmacro %}
