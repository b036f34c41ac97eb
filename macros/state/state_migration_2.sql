{# From the state of the first release: the state has a version, users a fingerprint and
   what they may have besides, ID pairs a date, and deliveries the
   type of their IDs and where they went. #}
{% macro state_migration_2() %}
    {%- set versions = aam_onboard.state_relation('state_versions') %}
    create table {{ versions }} (version integer primary key, migrated_at timestamp with time zone not null);
    alter table {{ aam_onboard.state_relation('user_ledger') }} add column if not exists fingerprint bigint;
    alter table {{ aam_onboard.state_relation('user_ledger') }} add column if not exists possible text;
    alter table {{ aam_onboard.state_relation('id_ledger') }} add column if not exists newest_at double precision;
    alter table {{ aam_onboard.state_relation('deliveries') }} add column if not exists id_type text;
    alter table {{ aam_onboard.state_relation('deliveries') }} add column if not exists place text;
    alter table {{ aam_onboard.state_relation('delivery_files') }} drop column if exists md5;
{% endmacro %}
