{# What an iter has said of a user is one row: whom it names, and whom it names as gone. #}
{% macro state_migration_4() %}{{ return(adapter.dispatch('state_migration_4', 'aam_onboard')()) }}{% endmacro %}

{% macro default__state_migration_4() %}
    {%- set statements = aam_onboard.state_relation('state_versions').incorporate(path={'identifier': 'received_statements'}) -%}
    {#- without vars.outbound the table is perhaps not there; no update, for DuckDB alters none that was updated -#}
    {%- for change in [
        'add column removed text',
        "alter column removed type text using case when is_member then '' else tokens end",
        "alter column tokens type text using case when is_member then tokens else '' end",
        'alter column removed set not null',
        'rename column tokens to members',
        'drop column is_member',
    ] %}
    alter table if exists {{ statements }} {{ change }};
    {%- endfor %}
{% endmacro %}

{# Nothing is received there. #}
{% macro spark__state_migration_4() %}{% endmacro %}
