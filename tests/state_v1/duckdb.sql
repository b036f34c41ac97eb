-- A state of version 1 on DuckDB, as the release at commit 929316e left it: its own statements, then the rows that
-- `aam run` wrote of the demo's customers whose ID ends with 03 or 53. Paths, host and times are others'.
create schema if not exists aam_state;
create table if not exists aam_state.deliveries (
    delivery_id text primary key,
    feed text not null,
    kind text not null, -- data | id_sync
    mode text not null, -- sync | overwrite
    destination text not null,
    batch_id text not null,
    base_delivery_id text,
    status text not null, -- exporting | uploading | delivered | failed | abandoned
    reason text, -- why it failed or was abandoned
    forced boolean not null, -- past a guard
    uncertain boolean not null, -- a part of it may have arrived
    file_timestamp bigint not null, -- in the names of its files: UTC Unix seconds
    file_root text not null unique, -- what the names of its files begin with; no two deliveries share it
    lines bigint not null,
    users bigint not null,
    signals_added bigint not null,
    signals_removed bigint not null,
    rejected bigint not null,
    users_total bigint not null, -- users with a signal after this delivery
    started_at timestamp with time zone not null,
    changed_at timestamp with time zone not null,
    holder text not null -- host and process that works on it
);
create table if not exists aam_state.delivery_files (
    delivery_id text not null,
    name text not null primary key,
    object_key text not null,
    uri text not null,
    status text not null, -- uploading | uploaded | superseded
    spool_path text not null,
    split bigint not null, -- place in its delivery, from 1
    lines bigint not null,
    bytes bigint not null,
    plain_bytes bigint not null,
    sha256 text not null,
    uploaded_at timestamp with time zone,
    picked_up_at timestamp with time zone
);
create table if not exists aam_state.delivery_events (
    happened_at timestamp with time zone not null,
    delivery_id text not null,
    feed text not null,
    event text not null,
    detail text,
    file_name text,
    lines bigint,
    bytes bigint,
    seconds double precision
);
create table if not exists aam_state.user_ledger (
    batch_id text not null,
    feed text not null,
    user_id text not null,
    signals text not null, -- the set that the user has after this batch; see macros/engine/signal_set.sql
    fingerprint bigint, -- of the rows that the set is made of; null: not known
    added text, -- what is new of it; null: all of it
    removed text not null,
    users_more integer not null -- 1: had no signal before · -1: has none now · 0: neither
);
-- for a state of an earlier version
alter table aam_state.user_ledger add column if not exists fingerprint bigint;
alter table aam_state.delivery_files drop column if exists md5;
create table if not exists aam_state.id_ledger (
    batch_id text not null,
    id_sync text not null,
    ids text not null -- one line of the file: the IDs, TAB between
);
create or replace view aam_state.signal_ledger as
with added as (

select
    batch_id, feed, user_id,
    unnest(string_split(coalesce(added, signals), chr(31))) as signal
from aam_state.user_ledger
where coalesce(added, signals) <> ''
),

removed as (

select
    batch_id, feed, user_id,
    unnest(string_split(removed, chr(31))) as signal
from aam_state.user_ledger
where removed <> ''
)

select
    batch_id,
    feed,
    user_id,
    case
    when signal like '"%' then substr(split_part(signal, '"="', 1), 2)
    else split_part(signal, '=', 1)
end as signal_key,
    case
    when signal like '"%' then replace(split_part(signal, '"="', 2), '"', '')
    else split_part(signal, '=', 2)
end as signal_value,
    true as qualified
from added
union all
select
    batch_id,
    feed,
    user_id,
    case
    when signal like '"%' then substr(split_part(signal, '"="', 1), 2)
    else split_part(signal, '=', 1)
end as signal_key,
    case
    when signal like '"%' then replace(split_part(signal, '"="', 2), '"', '')
    else split_part(signal, '=', 2)
end as signal_value,
    false as qualified
from removed;
create or replace view aam_state.delivered_sets as
with delivered as (
    select
        deliveries.destination,
        deliveries.started_at,
        ledger.feed,
        ledger.user_id,
        ledger.signals
    from aam_state.user_ledger as ledger
    inner join aam_state.deliveries as deliveries
        on ledger.feed = deliveries.feed and ledger.batch_id = deliveries.batch_id
    where deliveries.status = 'delivered'
)

select
    destination,
    feed,
    user_id,
    signals
from delivered
where
    signals <> ''
    and not exists (
        select 1 from delivered as later
        where
            later.destination = delivered.destination
            and later.feed = delivered.feed
            and later.user_id = delivered.user_id
            and later.started_at > delivered.started_at
    );
create or replace view aam_state.delivered_signals as
with each_signal as (

select
    destination, feed, user_id,
    unnest(string_split(signals, chr(31))) as signal
from aam_state.delivered_sets
where signals <> ''
)

select
    destination,
    feed,
    user_id,
    case
    when signal like '"%' then substr(split_part(signal, '"="', 1), 2)
    else split_part(signal, '=', 1)
end as signal_key,
    case
    when signal like '"%' then replace(split_part(signal, '"="', 2), '"', '')
    else split_part(signal, '=', 2)
end as signal_value
from each_signal;
create or replace view aam_state.delivered_id_lines as
select delivered.destination, ledger.id_sync, ledger.ids
from aam_state.id_ledger as ledger
inner join aam_state.deliveries as delivered
    on ledger.id_sync = delivered.feed and ledger.batch_id = delivered.batch_id
where delivered.status = 'delivered';

insert into aam_state.deliveries (delivery_id, feed, kind, mode, destination, batch_id, base_delivery_id, status, reason, forced, uncertain, file_timestamp, file_root, lines, users, signals_added, signals_removed, rejected, users_total, started_at, changed_at, holder) values
('android_traits-1714978090', 'android_traits', 'data', 'sync', 'local', 'b8893a5a-4a98-49c2-813c-4ac33d3ac311', null, 'delivered', null, false, false, 1714978090, 'ftp_dpm_20914_58342_1714978090.sync', 10, 10, 39, 0, 0, 10, '2024-05-06 06:48:10+00', '2024-05-06 06:48:10+00', 'host process 10373'),
('crm_id_sync-1714978089', 'crm_id_sync', 'id_sync', 'sync', 'local', 'b8893a5a-4a98-49c2-813c-4ac33d3ac311', null, 'delivered', null, false, false, 1714978089, 'adobe_id_0_58342_1714978089.sync', 37, 37, 37, 0, 0, 37, '2024-05-06 06:48:09+00', '2024-05-06 06:48:09+00', 'host process 10373'),
('crm_profile-1714978090', 'crm_profile', 'data', 'overwrite', 'local', 'b8893a5a-4a98-49c2-813c-4ac33d3ac311', null, 'delivered', null, false, false, 1714978090, 'ftp_dpm_58342_58344_1714978090.overwrite', 48, 48, 226, 0, 0, 48, '2024-05-06 06:48:10+00', '2024-05-06 06:48:10+00', 'host process 10373'),
('crm_traits-1714978090', 'crm_traits', 'data', 'sync', 'local', 'b8893a5a-4a98-49c2-813c-4ac33d3ac311', null, 'delivered', null, false, false, 1714978090, 'ftp_dpm_58342_1714978090.sync', 48, 48, 183, 0, 0, 48, '2024-05-06 06:48:10+00', '2024-05-06 06:48:10+00', 'host process 10373'),
('hashed_email_sync-1714978090', 'hashed_email_sync', 'id_sync', 'sync', 'local', 'b8893a5a-4a98-49c2-813c-4ac33d3ac311', null, 'delivered', null, false, false, 1714978090, 'c2c_id_58342_58343_1714978090.sync', 48, 48, 48, 0, 0, 48, '2024-05-06 06:48:10+00', '2024-05-06 06:48:10+00', 'host process 10373'),
('ios_traits-1714978090', 'ios_traits', 'data', 'sync', 'local', 'b8893a5a-4a98-49c2-813c-4ac33d3ac311', null, 'delivered', null, false, false, 1714978090, 'ftp_dpm_20915_58342_1714978090.sync', 7, 7, 28, 0, 0, 7, '2024-05-06 06:48:10+00', '2024-05-06 06:48:10+00', 'host process 10373'),
('mobile_id_sync-1714978089', 'mobile_id_sync', 'id_sync', 'sync', 'local', 'b8893a5a-4a98-49c2-813c-4ac33d3ac311', null, 'delivered', null, false, false, 1714978089, 'adobe_id_20914_58342_1714978089.sync', 10, 10, 10, 0, 0, 10, '2024-05-06 06:48:09+00', '2024-05-06 06:48:10+00', 'host process 10373');

insert into aam_state.delivery_files (delivery_id, name, object_key, uri, status, spool_path, split, lines, bytes, plain_bytes, sha256, uploaded_at, picked_up_at) values
('crm_id_sync-1714978089', 'adobe_id_0_58342_1714978089.sync.gz', 'demo_partner/date=2026-11-25/adobe_id_0_58342_1714978089.sync.gz', 'file:///srv/shop/out/demo_partner/date=2026-11-25/adobe_id_0_58342_1714978089.sync.gz', 'uploaded', '/srv/shop/.aam/spool/duckdb/crm_id_sync-1714978089/adobe_id_0_58342_1714978089.sync.gz', 1, 37, 803, 1668, 'bd202200103840e36ac23c615f8ce3dea3a34afeb658e4ed77a4a56a79e186f9', '2024-05-06 06:48:09+00', null),
('mobile_id_sync-1714978089', 'adobe_id_20914_58342_1714978089.sync.gz', 'demo_partner/date=2026-11-25/adobe_id_20914_58342_1714978089.sync.gz', 'file:///srv/shop/out/demo_partner/date=2026-11-25/adobe_id_20914_58342_1714978089.sync.gz', 'uploaded', '/srv/shop/.aam/spool/duckdb/mobile_id_sync-1714978089/adobe_id_20914_58342_1714978089.sync.gz', 1, 10, 278, 430, 'b0f207f8e7935e19f5f4429ba13fa3c0d367ad871f6dff24d5e2e71ebc40214b', '2024-05-06 06:48:10+00', null),
('hashed_email_sync-1714978090', 'c2c_id_58342_58343_1714978090.sync.gz', 'demo_partner/date=2026-11-25/c2c_id_58342_58343_1714978090.sync.gz', 'file:///srv/shop/out/demo_partner/date=2026-11-25/c2c_id_58342_58343_1714978090.sync.gz', 'uploaded', '/srv/shop/.aam/spool/duckdb/hashed_email_sync-1714978090/c2c_id_58342_58343_1714978090.sync.gz', 1, 48, 1808, 3410, 'abae69dde13296c3b06f811c1df49d63f89ea587e4422c6381611da9a39e9840', '2024-05-06 06:48:10+00', null),
('android_traits-1714978090', 'ftp_dpm_20914_58342_1714978090.sync.gz', 'demo_partner/date=2026-11-25/ftp_dpm_20914_58342_1714978090.sync.gz', 'file:///srv/shop/out/demo_partner/date=2026-11-25/ftp_dpm_20914_58342_1714978090.sync.gz', 'uploaded', '/srv/shop/.aam/spool/duckdb/android_traits-1714978090/ftp_dpm_20914_58342_1714978090.sync.gz', 1, 10, 344, 916, 'f7a005817742300f9991d7fb44db5ecc7678f27073e281aeda2aa85372c0caa4', '2024-05-06 06:48:10+00', null),
('ios_traits-1714978090', 'ftp_dpm_20915_58342_1714978090.sync.gz', 'demo_partner/date=2026-11-25/ftp_dpm_20915_58342_1714978090.sync.gz', 'file:///srv/shop/out/demo_partner/date=2026-11-25/ftp_dpm_20915_58342_1714978090.sync.gz', 'uploaded', '/srv/shop/.aam/spool/duckdb/ios_traits-1714978090/ftp_dpm_20915_58342_1714978090.sync.gz', 1, 7, 251, 651, 'a6d769f8e72f6f9f09c8c01d96237c718cf57347c930937dcf5f2574cb9cdf8f', '2024-05-06 06:48:10+00', null),
('crm_traits-1714978090', 'ftp_dpm_58342_1714978090.sync.gz', 'demo_partner/date=2026-11-25/ftp_dpm_58342_1714978090.sync.gz', 'file:///srv/shop/out/demo_partner/date=2026-11-25/ftp_dpm_58342_1714978090.sync.gz', 'uploaded', '/srv/shop/.aam/spool/duckdb/crm_traits-1714978090/ftp_dpm_58342_1714978090.sync.gz', 1, 48, 408, 2853, '82da52509b45a299e3e08e1e884a7012358f2afa7f06f6136b9f17ea3de3f18e', '2024-05-06 06:48:10+00', null),
('crm_profile-1714978090', 'ftp_dpm_58342_58344_1714978090.overwrite.gz', 'demo_partner/date=2026-11-25/ftp_dpm_58342_58344_1714978090.overwrite.gz', 'file:///srv/shop/out/demo_partner/date=2026-11-25/ftp_dpm_58342_58344_1714978090.overwrite.gz', 'uploaded', '/srv/shop/.aam/spool/duckdb/crm_profile-1714978090/ftp_dpm_58342_58344_1714978090.overwrite.gz', 1, 48, 924, 4727, '39b5c98596ea951e75e965d2953c445d27787fa563a13f92834683a662325831', '2024-05-06 06:48:10+00', null);

insert into aam_state.delivery_events (happened_at, delivery_id, feed, event, detail, file_name, lines, bytes, seconds) values
('2024-05-06 06:48:09+00', 'crm_id_sync-1714978089', 'crm_id_sync', 'exporting', null, null, null, null, null),
('2024-05-06 06:48:09+00', 'crm_id_sync-1714978089', 'crm_id_sync', 'made', null, 'adobe_id_0_58342_1714978089.sync.gz', 37, 803, null),
('2024-05-06 06:48:09+00', 'crm_id_sync-1714978089', 'crm_id_sync', 'uploading', null, null, null, null, null),
('2024-05-06 06:48:09+00', 'crm_id_sync-1714978089', 'crm_id_sync', 'uploaded', null, 'adobe_id_0_58342_1714978089.sync.gz', 37, 803, 0.02),
('2024-05-06 06:48:09+00', 'crm_id_sync-1714978089', 'crm_id_sync', 'delivered', null, null, 37, null, 0.23),
('2024-05-06 06:48:09+00', 'mobile_id_sync-1714978089', 'mobile_id_sync', 'exporting', null, null, null, null, null),
('2024-05-06 06:48:10+00', 'mobile_id_sync-1714978089', 'mobile_id_sync', 'made', null, 'adobe_id_20914_58342_1714978089.sync.gz', 10, 278, null),
('2024-05-06 06:48:10+00', 'mobile_id_sync-1714978089', 'mobile_id_sync', 'uploading', null, null, null, null, null),
('2024-05-06 06:48:10+00', 'mobile_id_sync-1714978089', 'mobile_id_sync', 'uploaded', null, 'adobe_id_20914_58342_1714978089.sync.gz', 10, 278, 0.02),
('2024-05-06 06:48:10+00', 'mobile_id_sync-1714978089', 'mobile_id_sync', 'delivered', null, null, 10, null, 0.16),
('2024-05-06 06:48:10+00', 'hashed_email_sync-1714978090', 'hashed_email_sync', 'exporting', null, null, null, null, null),
('2024-05-06 06:48:10+00', 'hashed_email_sync-1714978090', 'hashed_email_sync', 'made', null, 'c2c_id_58342_58343_1714978090.sync.gz', 48, 1808, null),
('2024-05-06 06:48:10+00', 'hashed_email_sync-1714978090', 'hashed_email_sync', 'uploading', null, null, null, null, null),
('2024-05-06 06:48:10+00', 'hashed_email_sync-1714978090', 'hashed_email_sync', 'uploaded', null, 'c2c_id_58342_58343_1714978090.sync.gz', 48, 1808, 0.01),
('2024-05-06 06:48:10+00', 'hashed_email_sync-1714978090', 'hashed_email_sync', 'delivered', null, null, 48, null, 0.11),
('2024-05-06 06:48:10+00', 'crm_traits-1714978090', 'crm_traits', 'exporting', null, null, null, null, null),
('2024-05-06 06:48:10+00', 'crm_traits-1714978090', 'crm_traits', 'made', null, 'ftp_dpm_58342_1714978090.sync.gz', 48, 408, null),
('2024-05-06 06:48:10+00', 'crm_traits-1714978090', 'crm_traits', 'uploading', null, null, null, null, null),
('2024-05-06 06:48:10+00', 'crm_traits-1714978090', 'crm_traits', 'uploaded', null, 'ftp_dpm_58342_1714978090.sync.gz', 48, 408, 0.0),
('2024-05-06 06:48:10+00', 'crm_traits-1714978090', 'crm_traits', 'delivered', null, null, 48, null, 0.05),
('2024-05-06 06:48:10+00', 'crm_profile-1714978090', 'crm_profile', 'exporting', null, null, null, null, null),
('2024-05-06 06:48:10+00', 'crm_profile-1714978090', 'crm_profile', 'made', null, 'ftp_dpm_58342_58344_1714978090.overwrite.gz', 48, 924, null),
('2024-05-06 06:48:10+00', 'crm_profile-1714978090', 'crm_profile', 'uploading', null, null, null, null, null),
('2024-05-06 06:48:10+00', 'crm_profile-1714978090', 'crm_profile', 'uploaded', null, 'ftp_dpm_58342_58344_1714978090.overwrite.gz', 48, 924, 0.0),
('2024-05-06 06:48:10+00', 'crm_profile-1714978090', 'crm_profile', 'delivered', null, null, 48, null, 0.06),
('2024-05-06 06:48:10+00', 'ios_traits-1714978090', 'ios_traits', 'exporting', null, null, null, null, null),
('2024-05-06 06:48:10+00', 'ios_traits-1714978090', 'ios_traits', 'made', null, 'ftp_dpm_20915_58342_1714978090.sync.gz', 7, 251, null),
('2024-05-06 06:48:10+00', 'ios_traits-1714978090', 'ios_traits', 'uploading', null, null, null, null, null),
('2024-05-06 06:48:10+00', 'ios_traits-1714978090', 'ios_traits', 'uploaded', null, 'ftp_dpm_20915_58342_1714978090.sync.gz', 7, 251, 0.0),
('2024-05-06 06:48:10+00', 'ios_traits-1714978090', 'ios_traits', 'delivered', null, null, 7, null, 0.02),
('2024-05-06 06:48:10+00', 'android_traits-1714978090', 'android_traits', 'exporting', null, null, null, null, null),
('2024-05-06 06:48:10+00', 'android_traits-1714978090', 'android_traits', 'made', null, 'ftp_dpm_20914_58342_1714978090.sync.gz', 10, 344, null),
('2024-05-06 06:48:10+00', 'android_traits-1714978090', 'android_traits', 'uploading', null, null, null, null, null),
('2024-05-06 06:48:10+00', 'android_traits-1714978090', 'android_traits', 'uploaded', null, 'ftp_dpm_20914_58342_1714978090.sync.gz', 10, 344, 0.01),
('2024-05-06 06:48:10+00', 'android_traits-1714978090', 'android_traits', 'delivered', null, null, 10, null, 0.04);

insert into aam_state.user_ledger (batch_id, feed, user_id, signals, fingerprint, added, removed, users_more) values
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'android_traits', '345c5d52-2cb5-4900-a3a3-5d3913bd51ce', E'd_sid=9180101\x1fd_sid=9180203\x1fd_sid=9180303\x1fd_sid=9180403', 7107587312487406639, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'android_traits', '44052b35-ff38-43a8-bdfb-bba8e9afcad7', E'd_sid=9180103\x1fd_sid=9180203\x1fd_sid=9180303\x1fd_sid=9180402', 2634195268019681854, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'android_traits', '6894ebbb-5379-4ae1-bd62-36942e0ef90c', E'd_sid=9180104\x1fd_sid=9180201\x1fd_sid=9180301', 1581151154876924899, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'android_traits', '70960622-8b91-4257-a392-1d4b371275cf', E'd_sid=9180104\x1fd_sid=9180201\x1fd_sid=9180301\x1fd_sid=9180401', 2783944985057104944, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'android_traits', 'a64a69df-b4b5-4918-8b7f-48801670b4be', E'd_sid=9180104\x1fd_sid=9180202\x1fd_sid=9180302\x1fd_sid=9180402', 9026954509987219334, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'android_traits', 'b913e8f6-71c9-4300-9ea7-7caad2fa4897', E'd_sid=9180103\x1fd_sid=9180203\x1fd_sid=9180302\x1fd_sid=9180402', 6580142171507014118, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'android_traits', 'c54a0b74-2c64-4de7-b3d7-45be326d2a82', E'd_sid=9180102\x1fd_sid=9180203\x1fd_sid=9180303\x1fd_sid=9180403', 5527673747531574946, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'android_traits', 'dfcfdc28-43f1-4e33-8048-eb96a44c52cd', E'd_sid=9180104\x1fd_sid=9180201\x1fd_sid=9180301\x1fd_sid=9180401', 2783944985057104944, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'android_traits', 'e6d5cf99-87ff-4623-b374-150ef4d917db', E'd_sid=9180103\x1fd_sid=9180203\x1fd_sid=9180303\x1fd_sid=9180403', 6656018182426406093, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'android_traits', 'ea6fc046-33f6-4834-9474-cb67a2b7a9a1', E'd_sid=9180103\x1fd_sid=9180203\x1fd_sid=9180302\x1fd_sid=9180401', 3367430444211271038, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_profile', '00353', E'"birth_decade"="1960s"\x1f"city"="Chicago"\x1f"favourite_genre"="rock"\x1f"gender"="female"\x1f"heard_of_us"="a friend"\x1f"newsletter"="no"\x1f"satisfaction"="5"\x1fic=region_west', 4716403106183530619, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_profile', '00703', 'ic=region_west', 8437061158804477110, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_profile', '01753', E'"birth_decade"="1940s"\x1f"city"="St. Paul"\x1f"favourite_genre"="pop"\x1f"gender"="male"\x1f"heard_of_us"="web search"\x1f"newsletter"="yes"\x1f"satisfaction"="5"\x1fic=region_mid_west', 595038596626509351, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_profile', '02053', 'ic=region_west', 8437061158804477110, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_profile', '02753', E'"birth_decade"="1930s"\x1f"city"="Houston"\x1f"gender"="female"\x1f"newsletter"="yes"\x1fic=region_south', 3315938871420226246, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_profile', '02803', E'"birth_decade"="1950s"\x1f"city"="St. Paul"\x1f"gender"="male"\x1f"newsletter"="yes"\x1fic=region_mid_west', 6214089158405012957, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_profile', '02903', E'"birth_decade"="1950s"\x1f"city"="San José"\x1f"gender"="female"\x1f"newsletter"="no"\x1fic=region_north_east', 3854399848712689099, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_profile', '03353', E'"birth_decade"="1930s"\x1f"city"="New York"\x1f"favourite_genre"="classical"\x1f"newsletter"="yes"\x1f"satisfaction"="2"\x1fic=region_south', 1737627572788143309, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_profile', '03403', E'"birth_decade"="1940s"\x1f"city"="Boston"\x1f"gender"="female"\x1f"newsletter"="no"\x1fic=region_south', 4829305978756622267, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_profile', '03853', E'"birth_decade"="1930s"\x1f"city"="St. Paul"\x1f"newsletter"="yes"\x1fic=region_west', 8244928800560900003, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_profile', '04053', E'"birth_decade"="1950s"\x1f"city"="Chicago"\x1f"newsletter"="no"\x1fic=region_west', 7412430120923215017, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_profile', '04203', E'"birth_decade"="1960s"\x1f"city"="Houston"\x1f"favourite_genre"="country"\x1f"heard_of_us"="web search"\x1f"newsletter"="no"\x1f"satisfaction"="5"\x1fic=region_north_east', 7285934672875740483, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_profile', '04253', 'ic=region_mid_west', 5928275938035921064, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_profile', '04653', E'"birth_decade"="1940s"\x1f"city"="Washington, DC"\x1f"favourite_genre"="country"\x1f"gender"="female"\x1f"heard_of_us"="radio, TV"\x1f"newsletter"="no"\x1f"satisfaction"="3"\x1fic=region_mid_west', 4774534650602630935, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_profile', '05353', E'"birth_decade"="1960s"\x1f"city"="Washington, DC"\x1f"favourite_genre"="pop"\x1f"gender"="male"\x1f"heard_of_us"="concert"\x1f"newsletter"="no"\x1f"satisfaction"="5"\x1fic=region_south', 4002912040315724721, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_profile', '05903', E'"birth_decade"="1970s"\x1f"city"="Boston"\x1f"gender"="male"\x1f"newsletter"="yes"\x1fic=region_west', 1421433306468508175, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_profile', '06103', E'"birth_decade"="1950s"\x1f"city"="St. Paul"\x1f"gender"="male"\x1f"newsletter"="yes"\x1fic=region_south', 1179800587324595265, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_profile', '06353', E'"birth_decade"="1920s"\x1f"city"="Cañon City"\x1f"newsletter"="no"\x1fic=region_south', 8851499534148747745, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_profile', '08853', E'"favourite_genre"="classical"\x1f"satisfaction"="4"\x1fic=region_mid_west', 1165145712668995499, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_profile', '08903', E'"birth_decade"="1970s"\x1f"city"="Washington, DC"\x1f"gender"="female"\x1f"newsletter"="no"\x1fic=region_mid_west', 1968658767942420849, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_profile', '09303', E'"birth_decade"="1930s"\x1f"city"="Houston"\x1f"gender"="male"\x1f"newsletter"="no"\x1fic=region_west', 7677514280716090633, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_profile', '09903', E'"birth_decade"="1960s"\x1f"city"="Houston"\x1f"gender"="male"\x1f"newsletter"="yes"\x1fic=region_south', 2189561726848859116, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_profile', '10303', E'"city"="Cañon City"\x1f"gender"="male"\x1f"newsletter"="no"\x1fic=region_south', 7250932084247973321, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_profile', '10403', E'"birth_decade"="1970s"\x1f"city"="Cañon City"\x1f"gender"="male"\x1f"newsletter"="yes"\x1fic=region_mid_west', 5685688905203429213, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_profile', '10453', E'"birth_decade"="1960s"\x1f"city"="St. Paul"\x1f"gender"="male"\x1f"newsletter"="no"\x1fic=region_north_east', 2248922830053555930, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_profile', '10753', E'"birth_decade"="1970s"\x1f"city"="St. Paul"\x1f"favourite_genre"="r&b"\x1f"gender"="female"\x1f"newsletter"="no"\x1f"satisfaction"="4"\x1fic=region_south', 6574702118839973, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_profile', '11203', E'"birth_decade"="1930s"\x1f"city"="Boston"\x1f"gender"="female"\x1f"newsletter"="no"\x1fic=region_south', 7816007879264461818, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_profile', '11353', E'"birth_decade"="1940s"\x1f"city"="St. Paul"\x1f"gender"="female"\x1f"newsletter"="yes"\x1fic=region_west', 5400266589408086033, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_profile', '11403', E'"birth_decade"="1960s"\x1f"city"="New York"\x1f"gender"="female"\x1f"newsletter"="no"\x1fic=region_north_east', 4070883885779633901, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_profile', '11553', E'"birth_decade"="1940s"\x1f"city"="Washington, DC"\x1f"gender"="male"\x1f"newsletter"="yes"\x1fic=region_mid_west', 2470266209204537996, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_profile', '12303', 'ic=region_north_east', 97964069857592639, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_profile', '12853', E'"birth_decade"="1940s"\x1f"city"="San José"\x1f"gender"="female"\x1f"newsletter"="yes"\x1fic=region_mid_west', 5749120434115437116, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_profile', '12953', E'"birth_decade"="1950s"\x1f"city"="San José"\x1f"favourite_genre"="country"\x1f"gender"="male"\x1f"newsletter"="yes"\x1f"satisfaction"="5"\x1fic=region_north_east', 56016591251458103, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_profile', '13103', E'"birth_decade"="1960s"\x1f"city"="St. Paul"\x1f"gender"="male"\x1f"newsletter"="no"\x1fic=region_south', 3044946127151466663, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_profile', '13403', E'"birth_decade"="1940s"\x1f"city"="Washington, DC"\x1f"favourite_genre"="country"\x1f"newsletter"="no"\x1f"satisfaction"="2"\x1fic=region_west', 6573756230282353427, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_profile', '14353', E'"birth_decade"="1950s"\x1f"city"="Boston"\x1f"gender"="female"\x1f"newsletter"="no"\x1fic=region_south', 5437468687876320728, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_profile', '14503', 'ic=region_south', 893987366955503372, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_profile', '15003', E'"birth_decade"="1960s"\x1f"city"="San José"\x1f"favourite_genre"="country"\x1f"gender"="male"\x1f"newsletter"="yes"\x1f"satisfaction"="2"\x1fic=region_south', 3698917615625679373, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_profile', '15953', 'ic=region_mid_west', 5928275938035921064, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_profile', '17903', E'"birth_decade"="1960s"\x1f"city"="Houston"\x1f"gender"="male"\x1f"newsletter"="yes"\x1fic=region_north_east', 1393538429750948383, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_profile', '19153', E'"birth_decade"="1980s"\x1f"city"="San José"\x1f"newsletter"="yes"\x1fic=region_south', 9078757676180989618, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_profile', '19303', E'"birth_decade"="1950s"\x1f"city"="St. Paul"\x1f"favourite_genre"="classical"\x1f"newsletter"="no"\x1f"satisfaction"="3"\x1fic=region_west', 5576380666407003724, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_profile', '21103', E'"favourite_genre"="country"\x1f"satisfaction"="4"\x1fic=region_south', 755251710538410771, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_profile', '21853', E'"birth_decade"="1970s"\x1f"city"="Houston"\x1f"favourite_genre"="jazz"\x1f"heard_of_us"="a friend"\x1f"newsletter"="yes"\x1f"satisfaction"="1"\x1fic=region_south', 5760435242432327516, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_profile', '22853', E'"birth_decade"="1940s"\x1f"city"="San José"\x1f"favourite_genre"="pop"\x1f"heard_of_us"="magazine"\x1f"newsletter"="no"\x1f"satisfaction"="5"\x1fic=region_mid_west', 8471970803271252499, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_profile', '23303', E'"birth_decade"="1930s"\x1f"city"="Houston"\x1f"gender"="female"\x1f"newsletter"="yes"\x1fic=region_mid_west', 8350227442500643938, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_profile', 'B00003', 'ic=region_south', 893987366955503372, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_profile', 'W/00003', 'ic=region_south', 893987366955503372, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_traits', '00353', E'd_sid=9180104\x1fd_sid=9180202\x1fd_sid=9180302\x1fd_sid=9180401', 5814242782691476254, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_traits', '00703', E'd_sid=9180104\x1fd_sid=9180201\x1fd_sid=9180302\x1fd_sid=9180402', 579958172433687395, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_traits', '01753', E'd_sid=9180104\x1fd_sid=9180201\x1fd_sid=9180301\x1fd_sid=9180401', 2783944985057104944, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_traits', '02053', E'd_sid=9180102\x1fd_sid=9180203\x1fd_sid=9180302\x1fd_sid=9180401', 2239086009316439891, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_traits', '02753', E'd_sid=9180103\x1fd_sid=9180203\x1fd_sid=9180302\x1fd_sid=9180402', 6580142171507014118, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_traits', '02803', E'd_sid=9180104\x1fd_sid=9180201\x1fd_sid=9180301\x1fd_sid=9180401', 2783944985057104944, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_traits', '02903', E'd_sid=9180103\x1fd_sid=9180203\x1fd_sid=9180303\x1fd_sid=9180402', 2634195268019681854, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_traits', '03353', E'd_sid=9180104\x1fd_sid=9180201\x1fd_sid=9180301\x1fd_sid=9180401', 2783944985057104944, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_traits', '03403', E'd_sid=9180104\x1fd_sid=9180201\x1fd_sid=9180302\x1fd_sid=9180401', 6590618481992720122, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_traits', '03853', E'd_sid=9180104\x1fd_sid=9180201\x1fd_sid=9180301\x1fd_sid=9180401', 2783944985057104944, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_traits', '04053', E'd_sid=9180104\x1fd_sid=9180201\x1fd_sid=9180301\x1fd_sid=9180401', 2783944985057104944, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_traits', '04203', E'd_sid=9180103\x1fd_sid=9180203\x1fd_sid=9180303\x1fd_sid=9180403', 6656018182426406093, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_traits', '04253', E'd_sid=9180104\x1fd_sid=9180201\x1fd_sid=9180301\x1fd_sid=9180401', 2783944985057104944, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_traits', '04653', E'd_sid=9180104\x1fd_sid=9180201\x1fd_sid=9180301\x1fd_sid=9180401', 2783944985057104944, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_traits', '05353', E'd_sid=9180104\x1fd_sid=9180201\x1fd_sid=9180302\x1fd_sid=9180401', 6590618481992720122, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_traits', '05903', E'd_sid=9180104\x1fd_sid=9180201\x1fd_sid=9180301\x1fd_sid=9180401', 2783944985057104944, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_traits', '06103', E'd_sid=9180104\x1fd_sid=9180202\x1fd_sid=9180302\x1fd_sid=9180402', 9026954509987219334, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_traits', '06353', E'd_sid=9180104\x1fd_sid=9180201\x1fd_sid=9180301\x1fd_sid=9180401', 2783944985057104944, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_traits', '08853', E'd_sid=9180103\x1fd_sid=9180202\x1fd_sid=9180301', 3365093878508733998, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_traits', '08903', E'd_sid=9180101\x1fd_sid=9180203\x1fd_sid=9180302\x1fd_sid=9180403', 1830162179119963096, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_traits', '09303', E'd_sid=9180104\x1fd_sid=9180201\x1fd_sid=9180301\x1fd_sid=9180401', 2783944985057104944, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_traits', '09903', E'd_sid=9180103\x1fd_sid=9180203\x1fd_sid=9180302\x1fd_sid=9180402', 6580142171507014118, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_traits', '10303', E'd_sid=9180103\x1fd_sid=9180202\x1fd_sid=9180302\x1fd_sid=9180401', 8374561205624529221, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_traits', '10403', E'd_sid=9180104\x1fd_sid=9180201\x1fd_sid=9180301\x1fd_sid=9180401', 2783944985057104944, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_traits', '10453', E'd_sid=9180104\x1fd_sid=9180201\x1fd_sid=9180301', 1581151154876924899, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_traits', '10753', E'd_sid=9180104\x1fd_sid=9180201\x1fd_sid=9180301\x1fd_sid=9180401', 2783944985057104944, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_traits', '11203', E'd_sid=9180102\x1fd_sid=9180202\x1fd_sid=9180302\x1fd_sid=9180401', 7246216770729698074, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_traits', '11353', E'd_sid=9180104\x1fd_sid=9180201\x1fd_sid=9180301\x1fd_sid=9180401', 2783944985057104944, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_traits', '11403', E'd_sid=9180104\x1fd_sid=9180201\x1fd_sid=9180301\x1fd_sid=9180401', 2783944985057104944, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_traits', '11553', E'd_sid=9180104\x1fd_sid=9180201\x1fd_sid=9180301\x1fd_sid=9180401', 2783944985057104944, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_traits', '12303', E'd_sid=9180103\x1fd_sid=9180202\x1fd_sid=9180302\x1fd_sid=9180402', 2363900896065496494, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_traits', '12853', E'd_sid=9180104\x1fd_sid=9180202\x1fd_sid=9180301\x1fd_sid=9180401', 2007569285755861076, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_traits', '12953', E'd_sid=9180102\x1fd_sid=9180203\x1fd_sid=9180303\x1fd_sid=9180403', 5527673747531574946, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_traits', '13103', E'd_sid=9180103\x1fd_sid=9180202\x1fd_sid=9180301\x1fd_sid=9180401', 4567887708688914043, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_traits', '13403', E'd_sid=9180101\x1fd_sid=9180203\x1fd_sid=9180303\x1fd_sid=9180403', 7107587312487406639, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_traits', '14353', E'd_sid=9180104\x1fd_sid=9180201\x1fd_sid=9180301\x1fd_sid=9180401', 2783944985057104944, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_traits', '14503', E'd_sid=9180104\x1fd_sid=9180202\x1fd_sid=9180301\x1fd_sid=9180401', 2007569285755861076, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_traits', '15003', E'd_sid=9180104\x1fd_sid=9180201\x1fd_sid=9180303\x1fd_sid=9180403', 655834183353079370, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_traits', '15953', E'd_sid=9180101\x1fd_sid=9180203\x1fd_sid=9180303\x1fd_sid=9180403', 7107587312487406639, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_traits', '17903', E'd_sid=9180103\x1fd_sid=9180202\x1fd_sid=9180302\x1fd_sid=9180402', 2363900896065496494, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_traits', '19153', E'd_sid=9180104\x1fd_sid=9180202\x1fd_sid=9180302\x1fd_sid=9180402', 9026954509987219334, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_traits', '19303', E'd_sid=9180103\x1fd_sid=9180202\x1fd_sid=9180302\x1fd_sid=9180401', 8374561205624529221, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_traits', '21103', E'd_sid=9180104\x1fd_sid=9180202\x1fd_sid=9180302\x1fd_sid=9180402', 9026954509987219334, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_traits', '21853', E'd_sid=9180103\x1fd_sid=9180203\x1fd_sid=9180302\x1fd_sid=9180401', 3367430444211271038, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_traits', '22853', E'd_sid=9180104\x1fd_sid=9180201\x1fd_sid=9180301\x1fd_sid=9180401', 2783944985057104944, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_traits', '23303', E'd_sid=9180104\x1fd_sid=9180201\x1fd_sid=9180301', 1581151154876924899, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_traits', 'B00003', 'd_sid=9180401', 1202793830180180045, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_traits', 'W/00003', 'd_sid=9180401', 1202793830180180045, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'ios_traits', '23EEDA4F-F622-401F-832E-DE4C33F1FA5B', E'd_sid=9180104\x1fd_sid=9180202\x1fd_sid=9180302\x1fd_sid=9180401', 5814242782691476254, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'ios_traits', '311ED77B-30B4-407F-8605-32C3875FFFBA', E'd_sid=9180104\x1fd_sid=9180201\x1fd_sid=9180301\x1fd_sid=9180401', 2783944985057104944, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'ios_traits', '4B19FEA0-D312-456B-93F9-EEA95C608971', E'd_sid=9180104\x1fd_sid=9180201\x1fd_sid=9180301\x1fd_sid=9180401', 2783944985057104944, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'ios_traits', '6C5B4058-204E-4397-9653-9DFAB2797268', E'd_sid=9180104\x1fd_sid=9180201\x1fd_sid=9180301\x1fd_sid=9180401', 2783944985057104944, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'ios_traits', '9B86B101-43D0-4A9E-9BFF-3B327F6E809B', E'd_sid=9180102\x1fd_sid=9180202\x1fd_sid=9180302\x1fd_sid=9180401', 7246216770729698074, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'ios_traits', 'E8F9CDBD-6404-4830-9C70-6BE6B7A5DD86', E'd_sid=9180104\x1fd_sid=9180202\x1fd_sid=9180302\x1fd_sid=9180402', 9026954509987219334, null, '', 1),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'ios_traits', 'EAB52314-8849-4009-8252-E04441E374A9', E'd_sid=9180103\x1fd_sid=9180202\x1fd_sid=9180302\x1fd_sid=9180402', 2363900896065496494, null, '', 1);

insert into aam_state.id_ledger (batch_id, id_sync, ids) values
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_id_sync', E'11302488904397206416054709661120906390\x0910403'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_id_sync', E'15655451244687573019091477463323371654\x0910403'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_id_sync', E'16170643096566188695553672467646266187\x0908903'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_id_sync', E'18637686952272908101175336523535791710\x0901753'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_id_sync', E'19032999416617839279966364016312741172\x0913403'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_id_sync', E'24886527053900559145850961864384185916\x0900703'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_id_sync', E'27470483698126271236879950722464372902\x0903853'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_id_sync', E'31805563355201022880398862411587802663\x09b00003'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_id_sync', E'35122396333388888697485258829641998333\x0921103'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_id_sync', E'35202932193829831379842975076177970443\x0921103'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_id_sync', E'35722646767934607482747126990881895984\x0909903'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_id_sync', E'40281492789291111703404887472857732075\x0911203'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_id_sync', E'43569631453231284755944951808291455755\x0903853'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_id_sync', E'45810581742178151628542155574018202347\x09W/00003'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_id_sync', E'46831898262586087658802729715029049114\x0911353'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_id_sync', E'55608078903418094951858735830144213505\x0914353'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_id_sync', E'56779887844257313694373353239180373288\x0910453'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_id_sync', E'56943018537647822210530682423858094481\x0908853'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_id_sync', E'58874521328479131526882180686928163510\x0910303'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_id_sync', E'62002356663526935735775870017309330088\x0911203'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_id_sync', E'62249117808842041665655420032249066383\x0904203'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_id_sync', E'63711974629498059222853567107556941071\x0919303'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_id_sync', E'66978331872176788243792198721291851294\x0904253'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_id_sync', E'69764392186067837074241180603238652189\x0902753'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_id_sync', E'71416625361317676903209053663854118099\x0908903'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_id_sync', E'75918503470173954474980226908988210632\x0912853'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_id_sync', E'79659754473214478593060819312218238850\x0913103'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_id_sync', E'81758101543627319993109328124429624347\x0913403'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_id_sync', E'83087965663162973496538394549484381092\x0923303'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_id_sync', E'83127153468392666019631569998156972530\x0910303'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_id_sync', E'88553159535614499312359261735466891854\x0912853'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_id_sync', E'89184094652173810843524123587231690299\x0917903'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_id_sync', E'89254166580466396869330648197804762931\x0909303'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_id_sync', E'90390366101293149460817428593895925218\x0915953'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_id_sync', E'92227893845565970610455468943600076376\x0904203'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_id_sync', E'92434420638960558948954553554463836099\x0911403'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'crm_id_sync', E'97722863231231365050800994363922455238\x0906103'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'hashed_email_sync', E'00353\x093ea5c4dbac2f8e065e476cca2b6d83ec3e64ebfe323946e66d4dda6416297541'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'hashed_email_sync', E'00703\x094c3ea0ab7cacfed02a1fb971a9b28dbf07840571a923b1a359ee77e8c6057c21'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'hashed_email_sync', E'00703\x0953193744cddfbc10a4746e2dd44ecf2e2b82ba53ce7854dc7bff8dec91f67ef3'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'hashed_email_sync', E'01753\x092112340a6302ab2a8aac84a31dd3d4bf62c0e57ae517eec12d5ef7da0175b71d'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'hashed_email_sync', E'01753\x09801b6820644692ad7e9b1b4cba033c177c06b609b877fc507e5c0a8b1ab929e2'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'hashed_email_sync', E'02053\x097ae05fd77ea7e4d086e54cb1819d999a44f92f049782fb70042811839a25319c'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'hashed_email_sync', E'02753\x0996c70a7ed47f05fc5e07f2ca4b94d6de2af343636f61013ede515ee73ddf6182'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'hashed_email_sync', E'02903\x09b000923126b89d55b5d2acee0f738b11f032921c250fa8795704191b2528a895'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'hashed_email_sync', E'03353\x0961b9c58443827e9547fd775662f23e1e24969315c6e172a0a05693a7a00e328a'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'hashed_email_sync', E'03353\x0998a9c72c2e0f05994853f8ecbc8e8e6daf6e452c2d1581d09d02984c835611a6'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'hashed_email_sync', E'03403\x094b61958d122ac5cf1b00b0cb234d9db5b38fe4e5116ccba71baeabd6a36eabfd'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'hashed_email_sync', E'03853\x09afa2a38f2f8a6f91c77f7be856e518999557a042387ec7c4a33b53287512150b'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'hashed_email_sync', E'04053\x099e818c3823c70fa50f5137e0f0496d607d73ce72dd9750236ec0bcb43c315a8f'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'hashed_email_sync', E'04203\x09048ac30005509f8c759c691492ad64ad6ec1e2e77fa170451a08d6fa0f4bc05d'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'hashed_email_sync', E'04253\x0923bd2fc7eee687d192c743bbb28b811273635a6a786544702803e69d16bb8705'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'hashed_email_sync', E'05353\x0960bfc907ba40cf8e2cd0f73a3fb1766ed57ee86edd7317d776289c4c77a38b9c'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'hashed_email_sync', E'05903\x091287f625e4553c29cdd7e15b2eeb98f2290098b5a6a6a2cf3ba614b040f30f2a'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'hashed_email_sync', E'06103\x0950c72a329c5fa89026c394c1855f1b01a6ff6757330a11d111334b00278eeaf4'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'hashed_email_sync', E'06353\x09e63b6aece1b2e370ff6d741402e12f9d72473539d529877c575792d677be85f3'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'hashed_email_sync', E'08853\x09262a80c4d67c4da338c069b0e005ea001e91529677079aed27b3e3abba09c6dc'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'hashed_email_sync', E'08903\x09132c319d024305f25d6c1732f3745bdfbe0e70c369ad95a166c6dddffdb3243a'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'hashed_email_sync', E'09303\x09b9a7390202dbfdd6be6747b9b95e9db1b515824473e817a7b3005f1c4a879044'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'hashed_email_sync', E'09903\x092618570ff9529706ff934b1fea8e83ced78a9f946609614e2d9726d8fa754ac0'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'hashed_email_sync', E'09903\x09c83723f5dfaf80bc192d71acb1b3f6a3eaa0df0c8e7d54d57d3a4f84b35e7fba'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'hashed_email_sync', E'10303\x09d52812e6937d4dc8599ba213c79610a7f15c41566a496b07645c03c1161f5497'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'hashed_email_sync', E'10403\x090ab82a55d9e3e588ece80e76c4924c0b9c83cac7543f1b0671478bea300d1fc9'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'hashed_email_sync', E'10453\x0928b5d73e87f13544f594031d82c1407b60e4f1bf49f994a7e63a0dee2f910e91'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'hashed_email_sync', E'10753\x0984ed1218ea1fd89269d225431d7cfea323ece79372d1cc59946018060cc3f51b'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'hashed_email_sync', E'11203\x0938f72fb368a1f0b9b3f7c4c72c7578f1ab845bd5d60d1e04038bfca55a562380'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'hashed_email_sync', E'11353\x094fb928e554347dc39b05c06c92fbc4bcaec0423910cbf6023c08894792c9e196'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'hashed_email_sync', E'11403\x097ffc38230ad2d1eba860be42d7b97b525429c203069c7a982d5f76014cb0dea4'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'hashed_email_sync', E'11553\x099d3ad1b997a434cd128a7b81de700e915c08e514688857367bcc55d73e8b806d'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'hashed_email_sync', E'12303\x097d1fe6a7e2ed66da070de776fd1cdcf6c2cc0221fcf1f07f17f99fea059dc607'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'hashed_email_sync', E'12853\x09e3be7ba838daa663b87ffedfdd368f6cbf7f57e1a2573645f8efd26075541bfc'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'hashed_email_sync', E'12953\x095c9884e7c3472814df0ef90169db33da15e74f671dc41999e2c6f1504e9bdfff'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'hashed_email_sync', E'12953\x09737affa9286295d90d902cf1b8ed796089f754a73c85b6898b82c28175ac4dd2'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'hashed_email_sync', E'13103\x09b18de1afb40cb0dc4d1e91ca9c07196e1425921a8a33a8b1f2ed079f828a4418'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'hashed_email_sync', E'14353\x0918cbbe3f4ac9846e03194afad521133bf2d74fa7251bb826b76af9b778cf9249'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'hashed_email_sync', E'14503\x094f615f18f6015907ecca3665465c4c7e4fb56349f78006457e0cad2fd2f9e6a3'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'hashed_email_sync', E'15003\x090bd350f1dc75a495c4aa5078e36bb2c68f59c6c34fca0d3e7179566934af43d3'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'hashed_email_sync', E'15953\x09c4e50cec494040b9bcf828fcb99e0841381a69ea280637e886a0eacb88b990ba'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'hashed_email_sync', E'17903\x09a1b63f10b18f69e7d5795228cf02b73854202f6540e48c24ad7452739397ebce'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'hashed_email_sync', E'19153\x09d2df3bdad8c7461157d0899e83a2d186d61a3d0ea89f405d10cdd5e43c89963c'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'hashed_email_sync', E'19303\x09d77d8338c674e0daa46345aa0ff2a30c63576a145169ffa171e7dee574126bf0'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'hashed_email_sync', E'21103\x0931d0f7453bf1f71f3a56dc0847af2dca052dd37d786297b235b70d298b70266b'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'hashed_email_sync', E'22853\x09bff4262e90a66f92077551d682d790350eaa17998552eca84face2d8abe32407'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'hashed_email_sync', E'23303\x096c87d72361a3955286ad4697654cfa31131123b8828a8168ba95f5762cf1e596'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'hashed_email_sync', E'W/00003\x096946ec1db5737ce95aa74af5f424e84c43303f58a141376abf9f31974903654d'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'mobile_id_sync', E'345c5d52-2cb5-4900-a3a3-5d3913bd51ce\x0913403'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'mobile_id_sync', E'44052b35-ff38-43a8-bdfb-bba8e9afcad7\x0902903'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'mobile_id_sync', E'6894ebbb-5379-4ae1-bd62-36942e0ef90c\x0910453'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'mobile_id_sync', E'70960622-8b91-4257-a392-1d4b371275cf\x0914353'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'mobile_id_sync', E'a64a69df-b4b5-4918-8b7f-48801670b4be\x0921103'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'mobile_id_sync', E'b913e8f6-71c9-4300-9ea7-7caad2fa4897\x0902753'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'mobile_id_sync', E'c54a0b74-2c64-4de7-b3d7-45be326d2a82\x0912953'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'mobile_id_sync', E'dfcfdc28-43f1-4e33-8048-eb96a44c52cd\x0911553'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'mobile_id_sync', E'e6d5cf99-87ff-4623-b374-150ef4d917db\x0904203'),
('b8893a5a-4a98-49c2-813c-4ac33d3ac311', 'mobile_id_sync', E'ea6fc046-33f6-4834-9474-cb67a2b7a9a1\x0921853');
