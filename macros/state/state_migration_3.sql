{# What is received stands there as sets of segments or traits, a row a user as far as can be. One is a set, too. #}
{% macro state_migration_3() %}{{ return(adapter.dispatch('state_migration_3', 'aam_onboard')()) }}{% endmacro %}

{% macro default__state_migration_3() %}
    {#- without vars.outbound dbt does not know the tables, which may be there all the same -#}
    {%- set state = aam_onboard.state_relation('state_versions') -%}
    {%- for name in ['received_memberships', 'received_statements'] %}
    alter table if exists {{ state.incorporate(path={'identifier': name}) }} rename column token to tokens;
    {%- endfor %}
{% endmacro %}

{# Nothing is received there. #}
{% macro spark__state_migration_3() %}{% endmacro %}
