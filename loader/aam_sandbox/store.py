"""The sandbox's memory: a folder with one DuckDB file, and the tables and views in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aam_onboard.errors import ConfigError, LockedError

if TYPE_CHECKING:
    import duckdb

VERSION = 2
_FILE = "sandbox.duckdb"
# A laptop's share; what does not fit goes to disk, beside the file.
_MEMORY = "1200MB"

# The receipt's counters in the order of the mail [inbound-receipt-message], and their labels there.
COUNTERS = {
    "records_received": "Records received",
    "format_errors": "Format Errors",
    "invalid_aam_id": "Invalid AAM ID",
    "no_matching_aam_id": "No Matching AAM ID",
    "no_trait_realized": "No Trait Realized",
    "records_processed": "Records processed",
    "stored_records": "Stored Records",
    "total_devices": "Total devices",
    "total_signals": "Total signals",
    "total_unused_signals": "Total unused signals",
    "total_realized_traits": "Total realized traits",
    "total_removed_traits": "Total removed traits",
    "total_traits_failed_validation": "Total traits failed validation",
    "total_users_failed_validation": "Total users that have traits which failed validation",
}

# A profile is an ID of a data source: a device's (0 or a global data source), or a cross-device source's own. What
# comes for a DPUUID of any other source goes to each device that is mapped to it.
_TABLES = f"""
create table sandbox (version integer, gnupg_home varchar);
-- id_type: a name of vars.id_types (dpuuid, aam_uuid, gaid, …); owned: by the company, so that files may name it
create table data_sources (dpid bigint primary key, name varchar, integration_code varchar, id_type varchar,
    cross_device boolean not null, owned boolean not null);
create table folders (folder_id bigint, kind varchar, parent_folder_id bigint, name varchar,
    primary key (kind, folder_id)); -- kind: traits | segments
-- trait_type: ON_BOARDED_TRAIT | RULE_BASED_TRAIT; ttl: days, 0 = for ever
create table traits (sid bigint primary key, dpid bigint, name varchar, description varchar, integration_code varchar,
    trait_type varchar not null, rule varchar, ttl integer, folder_id bigint, status varchar not null,
    created_at timestamp, updated_at timestamp, comments varchar);
create table segments (sid bigint primary key, dpid bigint, name varchar, description varchar,
    integration_code varchar, rule varchar, folder_id bigint, merge_rule_dpid bigint, status varchar not null,
    created_at timestamp);
-- settings: layout, separator, header_lines, time_digits, split form, sync_type, pid_alias …
create table destinations (destination_id bigint primary key, name varchar, master_dpid bigint, settings json);
create table destination_mappings (destination_id bigint, sid bigint, alias varchar);
-- A customer's ID and a device: device_dpid is 0 or a global data source, or, chained, another customer's source.
-- seen: a number that grows; of the oldest it is the lowest
create table id_mappings (dpid bigint, user_id varchar, device_dpid bigint, device_id varchar, seen bigint);
-- What a profile qualified for at once; no trait stands twice. ordinal: likewise. Compression of IDs takes more time
-- than all else of a row, and they stand once for many traits.
create table qualifications (dpid bigint, user_id varchar using compression uncompressed, sids bigint[],
    since timestamp, ordinal bigint);
create view profile_traits as
select dpid, user_id, unnest(sids) as sid, since, ordinal from qualifications;
-- who wants no data collected [declared-ids]
create table opt_outs (dpid bigint, user_id varchar, since timestamp);
-- kind: data | id_sync; one job takes all files of a delivery, as they have the same name up to the split number
create table jobs (job_id bigint primary key, kind varchar, dpid bigint, target_dpid bigint, mode varchar,
    started_at timestamp, ended_at timestamp, success boolean, problem varchar, invalid_device_id bigint,
    {", ".join(f"{column} bigint" for column in COUNTERS)});
-- outcome: processed | deleted
create table job_files (job_id bigint, name varchar, address varchar, bytes bigint, lines bigint, outcome varchar,
    problem varchar);
-- the first ten of each error
create table job_samples (job_id bigint, error varchar, file varchar, line_number bigint, line varchar,
    reason varchar);
create table exports (export_id bigint, destination_id bigint, mode varchar, file_name varchar,
    started_at timestamp, ended_at timestamp, received_records bigint, success boolean);
-- what the last export said; an iter is the difference
create table exported_memberships (destination_id bigint, user_id varchar, sid bigint);

-- the devices of each customer's ID, through chains of IDs
create view devices_of as
with recursive reached (dpid, user_id, device_dpid, device_id) as (
    select dpid, user_id, device_dpid, device_id from id_mappings
    union
    select reached.dpid, reached.user_id, id_mappings.device_dpid, id_mappings.device_id
    from reached
    inner join id_mappings on reached.device_dpid = id_mappings.dpid and reached.device_id = id_mappings.user_id
)
select * from reached;
-- what an ID is in: a customer's ID in what its own profile and its devices' have, a device in what it has itself and
-- what the cross-device profiles have that it belongs to; nobody who opted out
create view visible_traits as
with profiles as (
    select * from profile_traits anti join opt_outs using (dpid, user_id)
),

visible as (
    select dpid, user_id, sid, since from profiles
    union all
    select devices_of.dpid, devices_of.user_id, profiles.sid, profiles.since
    from devices_of
    inner join profiles on devices_of.device_dpid = profiles.dpid and devices_of.device_id = profiles.user_id
    union all
    select devices_of.device_dpid, devices_of.device_id, profiles.sid, profiles.since
    from devices_of
    inner join profiles on devices_of.dpid = profiles.dpid and devices_of.user_id = profiles.user_id
)

select dpid, user_id, sid, max(since) as since
from visible anti join opt_outs using (dpid, user_id)
group by all;
-- every ID that was heard of
create view known_ids as
with heard_of as (
    select dpid, user_id from id_mappings
    union
    select device_dpid, device_id from id_mappings
    union
    select dpid, user_id from qualifications
)
select * from heard_of anti join opt_outs using (dpid, user_id);
"""


class Store:
    """An open sandbox: one connection, which the caller's thread has to itself.

    `folder` holds the DuckDB file, and `receipts/`.
    """

    def __init__(self, folder: Path, connection: duckdb.DuckDBPyConnection) -> None:
        self.folder = folder
        self.connection = connection

    def rows(self, sql: str, parameters: list[Any] | None = None) -> list[dict[str, Any]]:
        """A query's rows, a dictionary each."""
        found = self.connection.execute(sql, parameters)
        columns = [column[0] for column in found.description or []]
        return [dict(zip(columns, row, strict=True)) for row in found.fetchall()]

    def value(self, sql: str, parameters: list[Any] | None = None) -> Any:
        """The first column of the first row of a query; None when there is no row."""
        rows = self.connection.execute(sql, parameters).fetchall()
        return rows[0][0] if rows else None

    @contextmanager
    def transaction(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """All or nothing of what is done within."""
        self.connection.execute("begin")
        try:
            yield self.connection
        except BaseException:
            self.connection.execute("rollback")
            raise
        self.connection.execute("commit")


def is_sandbox(folder: Path) -> bool:
    """Whether a sandbox is in the folder."""
    return (folder / _FILE).exists()


@contextmanager
def create(folder: Path) -> Iterator[Store]:
    """Make a sandbox in a folder. Raises ConfigError when there is one already."""
    if is_sandbox(folder):
        raise ConfigError(f"{folder} has a sandbox already; remove the folder to start over")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{folder}: no sandbox can be made there: {error.strerror}") from None
    # made under another name, for a sandbox that is there is a whole one
    unfinished = folder / f"{_FILE}.new"
    unfinished.unlink(missing_ok=True)
    with _opened(folder, unfinished) as store, store.transaction() as connection:
        connection.execute(_TABLES)
        connection.execute("insert into sandbox (version) values (?)", [VERSION])
        yield store
    unfinished.rename(folder / _FILE)


@contextmanager
def open_store(folder: Path) -> Iterator[Store]:
    """The sandbox of a folder.

    Raises ConfigError when there is none or it is of another version, LockedError while another process has it open.
    """
    if not is_sandbox(folder):
        raise ConfigError(f"{folder} has no sandbox; make one with `aam sandbox init`")
    with _opened(folder, folder / _FILE) as store:
        if (version := _version_of(store)) != VERSION:
            raise ConfigError(
                f"{folder / _FILE} is no sandbox of this version ({version} instead of {VERSION});"
                " remove the folder and make it anew with `aam sandbox init`"
            )
        yield store


def _version_of(store: Store) -> Any:
    import duckdb

    try:
        return store.value("select version from sandbox")
    except duckdb.CatalogException:
        return "none"


@contextmanager
def _opened(folder: Path, file: Path) -> Iterator[Store]:
    import duckdb

    config: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": _MEMORY,
        "temp_directory": str(folder / "spill"),
    }
    try:
        connection = duckdb.connect(str(file), config=config)
    except duckdb.IOException as error:
        if "lock" in str(error):
            raise LockedError(
                f"{file}: another process has the sandbox open; end it, or wait for it"
            ) from None
        raise ConfigError(f"{file} can't be opened: {str(error).splitlines()[0]}") from None
    with connection:
        connection.execute("set timezone = 'UTC'")
        yield Store(folder, connection)
