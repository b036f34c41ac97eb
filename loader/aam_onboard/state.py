"""What dbt prepared (batches) and what became of it (deliveries), as the warehouse's tables tell.

Every function is one statement or one transaction; none decides anything.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta, timezone
from typing import Any, Literal, TypeVar

from aam_onboard.config import Project
from aam_onboard.errors import AamError, ConfigError, LockedError, MissingTableError
from aam_onboard.package import package_settings
from aam_onboard.warehouse import Warehouse, quoted

Status = Literal["exporting", "uploading", "delivered", "failed", "abandoned"]
# Deliveries that the next one of the same feed has to deal with first.
OPEN: tuple[Status, ...] = ("exporting", "uploading", "failed")


@dataclass(frozen=True)
class Batch:
    """What one dbt build prepared for one feed: a row of the model `batches`.

    `feed`: also the name of an ID sync, which is a feed of ID pairs, as `kind` says; so everywhere in Python and in the
    tables of deliveries. Tables that hold nothing but ID pairs call it `id_sync`.
    """

    batch_id: str
    feed: str
    kind: Literal["data", "id_sync"]
    mode: Literal["sync", "overwrite"]
    dpids: str
    destination: str
    is_full: bool
    base_delivery_id: str | None
    users_before: int
    users_total: int
    users: int
    lines: int
    signals_added: int
    signals_removed: int
    signals_unchanged: int
    signals_before: int
    input_rows: int
    rejected: int
    built_at: datetime


@dataclass(frozen=True)
class Delivery:
    """One batch sent to one destination: a row of `deliveries`."""

    delivery_id: str
    feed: str
    kind: Literal["data", "id_sync"]
    mode: Literal["sync", "overwrite"]
    destination: str
    batch_id: str
    base_delivery_id: str | None
    status: Status
    reason: str | None
    forced: bool
    uncertain: bool
    file_timestamp: int
    file_root: str
    lines: int
    users: int
    signals_added: int
    signals_removed: int
    rejected: int
    users_total: int
    started_at: datetime
    changed_at: datetime
    holder: str
    id_type: str | None = None
    place: str | None = None


@dataclass(frozen=True)
class DeliveryFile:
    """One inbound file of a delivery: a row of `delivery_files`."""

    delivery_id: str
    name: str
    object_key: str
    uri: str
    status: Literal["uploading", "uploaded", "superseded"]
    spool_path: str
    split: int
    lines: int
    bytes: int
    plain_bytes: int
    sha256: str
    uploaded_at: datetime | None = None
    picked_up_at: datetime | None = None


Row = TypeVar("Row", Batch, Delivery, DeliveryFile)


def _by_bytes(column: str) -> str:
    """A column as an item of `order by`, as the macro byte_order has it: the same on all engines."""
    return f'{column} collate "C" asc nulls last'


def table(project: Project, name: str) -> str:
    """A model of the package as SQL names it: the outbox, the state, and what is made from them."""
    return quoted(*project.relations.place(name))


def _columns(kind: type[Row]) -> str:
    return ", ".join(field.name for field in fields(kind))


def _now() -> datetime:
    return datetime.now(timezone.utc)


def is_built(warehouse: Warehouse, project: Project) -> bool:
    """Whether a dbt build has made the outbox and the state."""
    return _missing(warehouse, project) is None


def _missing(warehouse: Warehouse, project: Project) -> str | None:
    places = map(project.relations.place, ("batches", "deliveries"))
    return next((".".join(place) for place in places if not warehouse.has_table(*place)), None)


# Of the tables in models/state/. dbt reads the same line.
VERSION: int = package_settings()["vars"]["aam_state_version"]


def found_version(warehouse: Warehouse, project: Project) -> int | None:
    """The version of the state; None before there is one."""
    if warehouse.has_table(*project.relations.place("state_versions")):
        [row] = warehouse.rows(f"select max(version) as found from {table(project, 'state_versions')}")
        return row["found"] or 1
    return 1 if warehouse.has_table(*project.relations.place("deliveries")) else None


def is_earlier(warehouse: Warehouse, project: Project) -> bool:
    """Whether the state is of an earlier version than ours, which a build brings up to date.

    Raises ConfigError for one of a later version: it knows more than we do.
    """
    version = found_version(warehouse, project) or VERSION
    if version > VERSION:
        schema, _ = project.relations.place("state_versions")
        raise ConfigError(
            f"the state in schema {schema} is of version {version}, later than version {VERSION} of this aam;"
            " install the aam-onboard that made it, or a later one"
        )
    return version < VERSION


def require_build(warehouse: Warehouse, project: Project) -> None:
    """Raise ConfigError unless a dbt build has made the outbox and the state, and the state is of our version."""
    if is_earlier(warehouse, project):
        schema, _ = project.relations.place("deliveries")
        raise ConfigError(
            f"the state in schema {schema} is of an earlier version than {VERSION}; run `aam run`, or `dbt build`,"
            " which brings it up to date"
        )
    if missing := _missing(warehouse, project):
        raise ConfigError(
            f"nothing has been built in target {warehouse.name} yet ({missing} is missing);"
            " run `aam run`, or `dbt build`"
        )


def read_batches(warehouse: Warehouse, project: Project, feeds: Sequence[str]) -> list[Batch]:
    """The built batches of `feeds`, in their order.

    Raises ConfigError for a feed that the last build did not know.
    """
    sql = f"select {_columns(Batch)} from {table(project, 'batches')}"
    built = {row["feed"]: Batch(**row) for row in warehouse.rows(sql)}
    for feed in feeds:
        if feed not in built:
            raise ConfigError(f"feed {feed} is not in the last build; run `aam run`, or `dbt build`")
    return [built[feed] for feed in feeds]


def require_whole_build(warehouse: Warehouse, project: Project, batches: Sequence[Batch]) -> None:
    """Raise ConfigError when the outbox's tables come from different builds, LockedError while dbt builds them."""
    batches_table = ".".join(project.relations.place("batches"))
    expected = {batch.batch_id for batch in batches}
    data = ("trait_rows", "user_lines", "file_lines", "rejected_rows")
    id_syncs = ("checked_id_rows", "id_rows_beyond_limits", "id_sync_lines")
    for name in (*data, *id_syncs):
        place = ".".join(project.relations.place(name))
        try:
            found = warehouse.rows(f"select batch_id from {table(project, name)} limit 1")
        except MissingTableError:
            raise torn(warehouse, f"{place} is missing") from None
        if {row["batch_id"] for row in found} - expected:
            raise torn(warehouse, f"{place} and {batches_table} come from different builds")
    for batch in batches:
        _require_written_down(warehouse, project, batch)


def _require_written_down(warehouse: Warehouse, project: Project, batch: Batch) -> None:
    """What a delivery can't write down, it must not send."""
    changes = batch.signals_added + batch.signals_removed
    ledger, feed = ("user_ledger", "feed") if batch.kind == "data" else ("id_ledger", "id_sync")
    sql = f"select 1 as there from {table(project, ledger)} where batch_id = $1 and {feed} = $2"
    if changes and not warehouse.rows(f"{sql} limit 1", [batch.batch_id, batch.feed]):
        raise torn(warehouse, f"{ledger} knows nothing of the {changes:,} changes of feed {batch.feed}")


def torn(warehouse: Warehouse, what: str) -> AamError:
    """The error of an outbox that is not one build's: a LockedError while dbt is at work, else a ConfigError."""
    builder = warehouse.builder()
    if builder:
        return LockedError(f"dbt is building ({builder}): {what}; wait for it, then deliver")
    return ConfigError(f"the build is torn: {what}; build all together: `aam run`, or `dbt build`")


def rejected_reasons(warehouse: Warehouse, project: Project) -> dict[str, dict[str, int]]:
    """Rejected rows by feed and reason."""
    reasons: dict[str, dict[str, int]] = {}
    sql = (
        f"select feed, reason, count(*) as n from {table(project, 'rejected_rows')}"
        f" group by feed, reason order by {_by_bytes('feed')}, n desc nulls last, {_by_bytes('reason')}"
    )
    for row in warehouse.rows(sql):
        reasons.setdefault(row["feed"], {})[row["reason"]] = row["n"]
    return reasons


def rejected_samples(
    warehouse: Warehouse, project: Project, feed: str, limit: int = 10
) -> list[dict[str, Any]]:
    """Up to `limit` rejected rows of each reason: user_id, signal_key, signal_value, reason."""
    order = ", ".join(map(_by_bytes, ("user_id", "signal_key", "signal_value")))
    return warehouse.rows(
        "select reason, user_id, signal_key, signal_value from ("
        f" select *, row_number() over (partition by reason order by {order}) as place"
        f" from {table(project, 'rejected_rows')} where feed = $1) as numbered"
        f" where place <= {int(limit)} order by {_by_bytes('reason')}, place asc nulls last",
        [feed],
    )


def id_mismatches(warehouse: Warehouse, project: Project) -> list[dict[str, Any]]:
    """The model id_mismatch_summary, where the project has it: data source, kind of difference, users, share."""
    if not is_there(warehouse, project, "id_mismatch_summary"):
        return []
    return warehouse.rows(
        f"select * from {table(project, 'id_mismatch_summary')}"
        f" order by users desc nulls last, dpid asc nulls last, {_by_bytes('kind')}"
    )


def is_there(warehouse: Warehouse, project: Project, name: str) -> bool:
    """Whether a model has been built that a project may switch off, or that an earlier version had not."""
    place = project.relations.find(name)
    return place is not None and warehouse.has_table(*place)


def letter_cases(warehouse: Warehouse, project: Project) -> dict[str, list[dict[str, Any]]]:
    """Keys and values that a feed spells in more than one letter case, by feed: part (key, value), spellings → rows."""
    found: dict[str, list[dict[str, Any]]] = {}
    if not is_there(warehouse, project, "letter_case_variants"):
        return found
    of: dict[tuple[str, ...], dict[str, int]] = {}
    for row in warehouse.rows(
        "select feed, part, signal_key, folded, spelling, n"
        f" from {table(project, 'letter_case_variants')}"
        f" order by feed asc nulls last, part desc nulls last, {_by_bytes('signal_key')}, {_by_bytes('folded')},"
        f" n desc nulls last, {_by_bytes('spelling')}"
    ):
        of.setdefault((row["feed"], row["part"], row["signal_key"], row["folded"]), {})[row["spelling"]] = (
            row["n"]
        )
    for (feed, part, key, _), spellings in of.items():
        found.setdefault(feed, []).append({"part": part, "key": key, "spellings": spellings})
    return found


def synced_share(warehouse: Warehouse, project: Project, batch: Batch) -> float | None:
    """The share of a feed's users, after this batch, whose ID a delivered ID sync holds; None where that says nothing.

    Audience Manager skips what is sent for an ID that is not synced, but on a cross-device data source it keeps it. No
    ID sync may be ours: then nobody here knows.
    """
    feed = project.vars.feeds.get(batch.feed)
    if feed is None or feed.id_type != "dpuuid":
        return None
    source = project.vars.data_sources.get(feed.dpid)
    syncs = [
        (name, sync.dpids.index(feed.dpid) + 1)
        for name, sync in project.vars.id_syncs.items()
        if feed.dpid in sync.dpids and sync.prefix == "adobe_id"
    ]
    if not syncs or (source is not None and source.cross_device):
        return None
    ledger, id_lines = table(project, "user_ledger"), table(project, "delivered_id_lines")
    synced = " union ".join(
        f"select split_part(ids, chr(9), {place}) as user_id from {id_lines}"
        f" where destination = $2 and id_sync = ${number}"
        for number, (_, place) in enumerate(syncs, start=4)
    )
    # The build before this batch has left one row of each delivered user, so that no later one need be looked for.
    [row] = warehouse.rows(
        f"with changed as (select user_id, signals from {ledger} where feed = $1 and batch_id = $3),"
        " users as ("
        f" select user_id from {ledger} as ledger inner join {table(project, 'deliveries')} as deliveries"
        " on ledger.feed = deliveries.feed and ledger.batch_id = deliveries.batch_id"
        " where ledger.feed = $1 and deliveries.destination = $2 and deliveries.status = 'delivered'"
        " and ledger.batch_id <> $3 and ledger.signals <> ''"
        " and not exists (select 1 from changed where changed.user_id = ledger.user_id)"
        " union all select user_id from changed where signals <> ''),"
        f" synced as ({synced})"
        " select count(*) as users, count(synced.user_id) as synced"
        " from users left join synced on users.user_id = synced.user_id",
        [batch.feed, batch.destination, batch.batch_id, *(name for name, _ in syncs)],
    )
    return row["synced"] / row["users"] if row["users"] else None


def read_deliveries(
    warehouse: Warehouse,
    project: Project,
    *,
    destination: str | None = None,
    feeds: Sequence[str] | None = None,
    statuses: Sequence[Status] | None = None,
    limit: int | None = None,
) -> list[Delivery]:
    """Deliveries, the latest first; of these feeds and statuses alone, where they are given."""
    conditions = ["true"]
    parameters: list[object] = []
    for column, values in (
        ("destination", None if destination is None else [destination]),
        ("feed", feeds),
        ("status", statuses),
    ):
        if values is not None:
            places = range(len(parameters) + 1, len(parameters) + len(values) + 1)
            found = ", ".join(f"${place}" for place in places)
            conditions.append(f"{column} in ({found})" if values else "false")
            parameters.extend(values)
    sql = (
        f"select {_columns(Delivery)} from {table(project, 'deliveries')}"
        f" where {' and '.join(conditions)} order by started_at desc nulls last, {_by_bytes('delivery_id')}"
    )
    if limit is not None:
        sql += f" limit {int(limit)}"
    return [Delivery(**row) for row in warehouse.rows(sql, parameters)]


def find_delivery(warehouse: Warehouse, project: Project, delivery_id: str) -> Delivery | None:
    """The delivery with this ID."""
    sql = f"select {_columns(Delivery)} from {table(project, 'deliveries')} where delivery_id = $1"
    return next((Delivery(**row) for row in warehouse.rows(sql, [delivery_id])), None)


def read_files(warehouse: Warehouse, project: Project, delivery_id: str) -> list[DeliveryFile]:
    """The files of a delivery in the order of their splits, superseded ones included."""
    sql = (
        f"select {_columns(DeliveryFile)} from {table(project, 'delivery_files')}"
        f" where delivery_id = $1 order by split asc nulls last, {_by_bytes('name')}"
    )
    return [DeliveryFile(**row) for row in warehouse.rows(sql, [delivery_id])]


def last_delivered(warehouse: Warehouse, project: Project, destination: str, feed: str) -> Delivery | None:
    """The feed's last delivery that stands at the destination."""
    found = read_deliveries(
        warehouse, project, destination=destination, feeds=[feed], statuses=("delivered",), limit=1
    )
    return found[0] if found else None


def last_sent(warehouse: Warehouse, project: Project, destination: str) -> list[Delivery]:
    """The last delivery of each name that may have left something at the destination, in the order of their names."""
    rows = warehouse.rows(
        f"select {_columns(Delivery)} from (select deliveries.*, row_number() over"
        f" (partition by feed order by started_at desc nulls last, {_by_bytes('delivery_id')}) as latest"
        f" from {table(project, 'deliveries')} as deliveries"
        " where destination = $1 and (status <> 'abandoned' or uncertain)) as sent"
        f" where latest = 1 order by {_by_bytes('feed')}",
        [destination],
    )
    return [Delivery(**row) for row in rows]


def names_of_old(warehouse: Warehouse, project: Project) -> list[str]:
    """Every name that deliveries have, of whatever destination and time."""
    sql = f"select feed from {table(project, 'deliveries')} group by feed order by {_by_bytes('feed')}"
    return [row["feed"] for row in warehouse.rows(sql)]


def users_there(warehouse: Warehouse, project: Project, last: Delivery) -> int:
    """Of how many users (of an ID sync, rows) something of a feed lies, or may lie, at the destination."""
    if last.kind == "data":
        ledger, feed, user = "user_ledger", "feed", "user_id"
        # rows of users without a signal are kept for a while
        there = "signals <> '' or possible is not null or (status <> 'delivered' and removed <> '')"
    else:
        ledger, feed, user, there = "id_ledger", "id_sync", "ids", "true"
    [row] = warehouse.rows(
        "select count(*) as n from (select ledger.*, deliveries.status, row_number() over"
        f" (partition by ledger.{user} order by deliveries.started_at desc nulls last) as place"
        f" from {table(project, ledger)} as ledger inner join {table(project, 'deliveries')} as deliveries"
        f" on ledger.{feed} = deliveries.feed and ledger.batch_id = deliveries.batch_id"
        " where deliveries.feed = $1 and deliveries.destination = $2"
        f" and (deliveries.status <> 'abandoned' or deliveries.uncertain)) as latest where place = 1 and ({there})",
        [last.feed, last.destination],
    )
    return int(row["n"])


def forget_sent(warehouse: Warehouse, project: Project, destination: str, feed: str) -> None:
    """Let the state know no more what a feed or ID sync has at a destination; its deliveries stay as history."""
    of_destination = (
        f"select batch_id from {table(project, 'deliveries')} where feed = $1 and destination = $2"
    )
    with warehouse.transaction():
        for ledger, name in (("user_ledger", "feed"), ("id_ledger", "id_sync")):
            warehouse.execute(
                f"delete from {table(project, ledger)} where {name} = $1 and batch_id in ({of_destination})",
                [feed, destination],
            )


def rename_feed(warehouse: Warehouse, project: Project, old: str, new: str) -> None:
    """Write down all that a feed or ID sync has sent, to whatever destination, under another name."""
    with warehouse.transaction():
        for name, column in (
            ("deliveries", "feed"),
            ("delivery_events", "feed"),
            ("user_ledger", "feed"),
            ("id_ledger", "id_sync"),
            ("rejected_history", "feed"),
        ):
            if is_there(warehouse, project, name):
                warehouse.execute(
                    f"update {table(project, name)} set {column} = $2 where {column} = $1", [old, new]
                )


def rename_destination(warehouse: Warehouse, project: Project, old: str, new: str, place: str) -> None:
    """Write down all that one output has as what another one has, or the same one in another place."""
    with warehouse.transaction():
        warehouse.execute(
            f"update {table(project, 'deliveries')} set destination = $2, place = $3 where destination = $1",
            [old, new, place],
        )
        for name in ("runs", "rejected_history"):
            if is_there(warehouse, project, name):
                warehouse.execute(
                    f"update {table(project, name)} set destination = $2 where destination = $1", [old, new]
                )


def opposite_users(warehouse: Warehouse, project: Project, earlier: Delivery, batch: Batch) -> int:
    """Users whose files must not be processed in the wrong order: this batch turns round what `earlier` said of them.

    An overwrite replaces whole sets, so there every common user counts.
    """
    ledger = table(project, "signal_ledger")
    whole_sets = "overwrite" in (earlier.mode, batch.mode)
    same_signal = (
        ""
        if whole_sets
        else " and former.signal_key = latter.signal_key and former.signal_value = latter.signal_value"
        " and former.qualified <> latter.qualified"
    )
    rows = warehouse.rows(
        f"select count(*) as n from (select distinct latter.user_id from {ledger} as latter"
        f" inner join {ledger} as former on former.feed = latter.feed and former.user_id = latter.user_id{same_signal}"
        " where latter.feed = $1 and latter.batch_id = $2 and former.batch_id = $3) as users",
        [batch.feed, batch.batch_id, earlier.batch_id],
    )
    return int(rows[0]["n"])


def delivery_of(batch: Batch, timestamp: int, file_root: str, began: datetime) -> Delivery:
    """The delivery that a batch begins, which nobody holds yet and which is written down nowhere."""
    return Delivery(
        delivery_id=f"{batch.feed}-{timestamp}",
        feed=batch.feed,
        kind=batch.kind,
        mode=batch.mode,
        destination=batch.destination,
        batch_id=batch.batch_id,
        base_delivery_id=batch.base_delivery_id,
        status="exporting",
        reason=None,
        forced=False,
        uncertain=True,
        file_timestamp=timestamp,
        file_root=file_root,
        lines=batch.lines,
        users=batch.users,
        signals_added=batch.signals_added,
        signals_removed=batch.signals_removed,
        rejected=batch.rejected,
        users_total=batch.users_total,
        started_at=began,
        changed_at=began,
        holder="",
    )


def begin(
    warehouse: Warehouse,
    project: Project,
    batch: Batch,
    file_root: Callable[[int], str],
    *,
    place: str,
    forced: bool,
) -> Delivery:
    """Record a new delivery as `exporting`, and as `uncertain`, so that a build made from now on reckons with it.

    Its file timestamp is now, or the first second after in which no delivery has file names that begin alike;
    `file_root` gives that beginning for a timestamp. Raises LockedError or ConfigError when a dbt build beside us
    forgets the batch, or has done so.
    """
    timestamp = _free_timestamp(warehouse, project, batch.feed, file_root)
    began = _after_all_others(warehouse, project)
    delivery = replace(
        delivery_of(batch, timestamp, file_root(timestamp), began),
        forced=forced,
        holder=this_process(),
        id_type=project.vars.feeds[batch.feed].id_type if batch.kind == "data" else None,
        place=place,
    )
    with warehouse.transaction():
        # A build forgets batches that never left. Either it sees this delivery, or we see that it did.
        try:
            warehouse.hold([table(project, "user_ledger"), table(project, "id_ledger")])
        except LockedError:
            # no question more in this transaction: PostgreSQL answers none after an error
            raise LockedError("dbt is building the outbox anew; wait for it, then deliver") from None
        _require_written_down(warehouse, project, batch)
        insert(warehouse, table(project, "deliveries"), vars(delivery))
        _event(warehouse, project, delivery, "exporting", detail="forced" if forced else None)
    return delivery


def restart(
    warehouse: Warehouse, project: Project, delivery: Delivery, file_root: Callable[[int], str]
) -> Delivery:
    """Set an interrupted delivery back to `exporting` under a new timestamp; its old files are superseded."""
    timestamp = _free_timestamp(warehouse, project, delivery.feed, file_root)
    with warehouse.transaction():
        warehouse.execute(
            f"update {table(project, 'delivery_files')} set status = 'superseded' where delivery_id = $1",
            [delivery.delivery_id],
        )
        warehouse.execute(
            f"update {table(project, 'deliveries')} set status = 'exporting', reason = null, file_timestamp = $2,"
            " file_root = $3, changed_at = $4, holder = $5 where delivery_id = $1",
            [delivery.delivery_id, timestamp, file_root(timestamp), _now(), this_process()],
        )
        _event(warehouse, project, delivery, "exporting", detail="anew: the spool was not whole")
    return replace(delivery, status="exporting", file_timestamp=timestamp, file_root=file_root(timestamp))


def move(
    warehouse: Warehouse,
    project: Project,
    delivery: Delivery,
    status: Status,
    *,
    reason: str | None = None,
    uncertain: bool | None = None,
    seconds: float | None = None,
) -> None:
    """Set a delivery's status. `delivered` is the commit: with it, the delivered state is what this batch made it.

    Idempotent; a delivery that stands as delivered never leaves that status.
    """
    with warehouse.transaction():
        warehouse.execute(
            f"update {table(project, 'deliveries')}"
            " set status = $2, reason = $3, changed_at = $4, holder = $5"
            + ("" if uncertain is None else f", uncertain = {str(uncertain).lower()}")
            + " where delivery_id = $1 and status <> 'delivered'",
            [delivery.delivery_id, status, reason, _now(), this_process()],
        )
        lines = delivery.lines if status == "delivered" else None
        _event(warehouse, project, delivery, status, detail=reason, lines=lines, seconds=seconds)


def count_deliveries(warehouse: Warehouse, project: Project) -> None:
    """Let the warehouse look how many there are. PostgreSQL takes a table that it has not looked at for all but empty,
    and compares each user in delivered_signals with each; of itself it looks when there are dozens more."""
    warehouse.execute(f"analyze {table(project, 'deliveries')}")


def add_files(
    warehouse: Warehouse, project: Project, delivery: Delivery, files: Sequence[DeliveryFile]
) -> None:
    """Record made files; from now on they may stand at the destination."""
    with warehouse.transaction():
        for file in files:
            insert(warehouse, table(project, "delivery_files"), vars(file))
            _event(warehouse, project, delivery, "made", file=file)


def mark_uploaded(
    warehouse: Warehouse, project: Project, delivery: Delivery, sent: Mapping[DeliveryFile, float]
) -> None:
    """Record that files stand verified at the destination, after so many seconds each."""
    places = ", ".join(f"${place}" for place in range(2, len(sent) + 2))
    with warehouse.transaction():
        warehouse.execute(
            f"update {table(project, 'delivery_files')} set status = 'uploaded', uploaded_at = $1"
            f" where name in ({places})",
            [_now(), *(file.name for file in sent)],
        )
        for file, seconds in sent.items():
            _event(warehouse, project, delivery, "uploaded", file=file, seconds=seconds)


def mark_picked_up(warehouse: Warehouse, project: Project, name: str, when: datetime) -> None:
    """Record when Audience Manager was seen to have picked a file up."""
    warehouse.execute(
        f"update {table(project, 'delivery_files')} set picked_up_at = $2 where name = $1",
        [name, when],
    )


def read_events(warehouse: Warehouse, project: Project, delivery_id: str) -> list[dict[str, Any]]:
    """The story of a delivery: happened_at, event, detail, file_name, lines, bytes, seconds."""
    return warehouse.rows(
        "select happened_at, event, detail, file_name, lines, bytes, seconds"
        f" from {table(project, 'delivery_events')} where delivery_id = $1"
        " order by happened_at asc nulls last",
        [delivery_id],
    )


def _free_timestamp(
    warehouse: Warehouse, project: Project, feed: str, file_root: Callable[[int], str]
) -> int:
    sql = f"select 1 as taken from {table(project, 'deliveries')} where file_root = $1 or delivery_id = $2"
    timestamp = int(time.time())
    while warehouse.rows(sql, [file_root(timestamp), f"{feed}-{timestamp}"]):
        timestamp += 1
    return timestamp


def _after_all_others(warehouse: Warehouse, project: Project) -> datetime:
    """Now, or just after the latest delivery began: their order is the state, whatever a host's clock says."""
    rows = warehouse.rows(f"select max(started_at) as latest from {table(project, 'deliveries')}")
    latest: datetime | None = rows[0]["latest"]
    return max(_now(), latest + timedelta(microseconds=1)) if latest else _now()


def insert(warehouse: Warehouse, table: str, values: Mapping[str, object]) -> None:
    """Add one row; what is None is left out."""
    given = {name: value for name, value in values.items() if value is not None}
    places = ", ".join(f"${place}" for place in range(1, len(given) + 1))
    warehouse.execute(f"insert into {table} ({', '.join(given)}) values ({places})", list(given.values()))


def _event(
    warehouse: Warehouse,
    project: Project,
    delivery: Delivery,
    event: str,
    *,
    detail: str | None = None,
    file: DeliveryFile | None = None,
    lines: int | None = None,
    seconds: float | None = None,
) -> None:
    values: dict[str, object] = {
        "happened_at": _now(),
        "delivery_id": delivery.delivery_id,
        "feed": delivery.feed,
        "event": event,
        "detail": detail,
        "file_name": file.name if file else None,
        "lines": file.lines if file else lines,
        "bytes": file.bytes if file else None,
        "seconds": seconds,
    }
    insert(warehouse, table(project, "delivery_events"), values)


def this_process() -> str:
    """Host and process, for people."""
    return f"{socket.gethostname()} process {os.getpid()}"
