{# A pre-hook: let this model join and group by hash. PostgreSQL knows too little of the rows of views to see that
   sorting millions of them takes twice as long. #}
{% macro prefer_hashing() %}{{ return(adapter.dispatch('prefer_hashing', 'aam_onboard')()) }}{% endmacro %}

{% macro default__prefer_hashing() %}{% endmacro %}

{% macro postgres__prefer_hashing() %}set local enable_sort = off{% endmacro %}
