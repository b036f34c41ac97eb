"""A person's erasure: what was sent for an ID is withdrawn by ordinary deliveries, then the ID is forgotten here too.

A request stands in the state from `aam forget` until it is done. As long as it stands, no model can have the ID sent: a
source that still holds the person, or a late load, brings nobody back.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from aam_onboard import state
from aam_onboard.destinations import destination_names
from aam_onboard.errors import ConfigError
from aam_onboard.spool import empty_spool
from aam_onboard.strays import dpids_of
from aam_onboard.warehouse import SEPARATOR

if TYPE_CHECKING:
    from aam_onboard.config import Project
    from aam_onboard.running import Run
    from aam_onboard.state import Batch
    from aam_onboard.warehouse import Warehouse

log = logging.getLogger("aam")

_TRAIT = "d_sid="


@dataclass(frozen=True)
class Person:
    """An ID of a data source."""

    dpid: int
    user_id: str


@dataclass(frozen=True)
class Lying:
    """What one destination has of a person from one feed.

    `withdrawn`: signals that deliveries to come take back · `staying`: what no file can take back: key-values of a sync
    feed, all of an ID that no file may name, ID pairs, and all at a destination that destinations.yml no longer has.
    """

    feed: str
    destination: str
    withdrawn: int
    staying: int


@dataclass(frozen=True)
class Known:
    """All that is known of a person. `models`: feeds and ID syncs whose models name them, as of the last build;
    `pairs`: the other IDs of their ID pairs, as (DPID, ID): of the same person, perhaps; `received`: rows of what
    Audience Manager has sent back, whatever became of it.
    """

    person: Person
    requested_at: datetime | None = None
    models: list[str] = field(default_factory=list)
    lying: list[Lying] = field(default_factory=list)
    pairs: list[Person] = field(default_factory=list)
    received: int = 0

    @property
    def is_known(self) -> bool:
        """Whether anything here names the person."""
        return bool(self.requested_at or self.models or self.lying or self.received)

    @property
    def waits_for(self) -> list[str]:
        """Destinations that something is still to be withdrawn from."""
        return sorted({one.destination for one in self.lying if one.withdrawn})

    def to_json(self) -> dict[str, Any]:
        """The stable form for scripts."""
        return asdict(self) | {"is_known": self.is_known, "waits_for": self.waits_for}


def ask(warehouse: Warehouse, project: Project, person: Person) -> Known:
    """Write the request down, unless nobody knows the person; what is known of them.

    Raises ConfigError for a data source that no feed or ID sync is of.
    """
    place = _Place(warehouse, project, person)
    known = place.known()
    if not (place.feeds or place.id_syncs or known.received):
        raise ConfigError(
            f"--dpid {person.dpid}: no feed or ID sync has IDs of this data source; data sources of feeds are"
            f" {', '.join(map(str, _dpids_of_all(project))) or 'none'}"
        )
    if not known.is_known or known.requested_at:
        return known
    now = datetime.now(timezone.utc)
    with warehouse.transaction():
        warehouse.execute(
            f"insert into {place.table('forget_requests')} values ($1, $2, $3)",
            [person.dpid, person.user_id, now],
        )
        # the rows may be as they were, and yet the user is to be compared
        place.of_feeds(f"update {place.table('user_ledger')} set fingerprint = null where user_id = $1")
    return known


def refuse_earlier_batches(run: Run, batches: Sequence[Batch]) -> None:
    """Raise ConfigError for a build from before a request: it may hold what must not be sent any more."""
    asked = [at for _, at in _requests(run.warehouse, run.project)]
    if batches and asked and max(asked) > min(batch.built_at for batch in batches):
        raise ConfigError(
            "the build is older than an `aam forget`, and may name the person still; run `aam run`, or `dbt build` and"
            " `aam deliver`"
        )


def settle(run: Run) -> None:
    """Forget whom nothing is to be withdrawn from any more; a warning tells of sources that name them still."""
    for person, _ in _requests(run.warehouse, run.project):
        place = _Place(run.warehouse, run.project, person)
        known = place.known()
        if known.waits_for or place.is_open():
            log.info(
                "to be forgotten, when all is withdrawn",
                extra={"fields": {"dpid": person.dpid, "waits_for": known.waits_for}},
            )
            continue
        place.erase(keep_request=bool(known.models))
        for delivery_id in place.ended_deliveries():
            empty_spool(run, delivery_id)
        if known.models:
            log.warning(
                "%s",
                f"a person of data source {person.dpid} is forgotten, but {', '.join(known.models)} still gives rows of"
                " them (`aam plan --rejected`, reason forgotten): delete them where they come from; until then the ID"
                " is kept, so that it is not sent",
            )
        else:
            log.info("forgotten", extra={"fields": {"dpid": person.dpid}})


def _requests(warehouse: Warehouse, project: Project) -> list[tuple[Person, datetime]]:
    if not state.is_there(warehouse, project, "forget_requests"):
        return []
    rows = warehouse.rows(
        f"select dpid, user_id, requested_at from {state.table(project, 'forget_requests')}"
        " order by requested_at asc nulls last"
    )
    return [(Person(row["dpid"], row["user_id"]), row["requested_at"]) for row in rows]


def _dpids_of_all(project: Project) -> list[int]:
    found = {feed.dpid for feed in project.vars.feeds.values()}
    return sorted(found | {dpid for sync in project.vars.id_syncs.values() for dpid in sync.dpids})


class _Place:
    """Where a person is looked for: the feeds of today and of before whose IDs are of the data source."""

    def __init__(self, warehouse: Warehouse, project: Project, person: Person) -> None:
        self.warehouse, self.project, self.person = warehouse, project, person
        # feed: mode · ID sync: the DPIDs of its columns
        self.feeds = {
            name: feed.mode for name, feed in project.vars.feeds.items() if feed.dpid == person.dpid
        }
        self.id_syncs = {
            name: tuple(sync.dpids)
            for name, sync in project.vars.id_syncs.items()
            if person.dpid in sync.dpids
        }
        self.destinations = [
            row["destination"]
            for row in warehouse.rows(
                f"select distinct destination from {self.table('deliveries')} order by destination asc nulls last"
            )
        ]
        for destination in self.destinations:
            for last in state.last_sent(warehouse, project, destination):
                dpids = dpids_of(last) or ()
                if last.kind == "data" and dpids[:1] == (person.dpid,):
                    self.feeds.setdefault(last.feed, last.mode)
                elif last.kind == "id_sync" and person.dpid in dpids:
                    self.id_syncs.setdefault(last.feed, dpids)

    def table(self, name: str) -> str:
        return state.table(self.project, name)

    def known(self) -> Known:
        asked = dict(_requests(self.warehouse, self.project))
        known = Known(self.person, asked.get(self.person), received=self._received())
        known.models.extend(sorted({*self._feeds_of_models(), *self._id_syncs_of_models()}))
        there = set(destination_names(self.project))
        for row in self._latest_sets():
            signals = [one for one in row["signals"].split(SEPARATOR) if one]
            possible = [one for one in (row["possible"] or "").split(SEPARATOR) if one]
            withdrawn = (
                self._withdrawable(row["feed"], {*signals, *possible}) if row["destination"] in there else 0
            )
            staying = len({*signals, *possible}) - withdrawn
            if withdrawn or staying:
                known.lying.append(Lying(row["feed"], row["destination"], withdrawn, staying))
        pairs: set[tuple[int, str]] = set()
        for name, destination, ids in self._delivered_pairs():
            known.lying.append(Lying(name, destination, 0, len(ids)))
            for line in ids:
                pairs |= set(zip(self.id_syncs[name], line.split("\t"), strict=True))
        known.pairs.extend(
            Person(*pair) for pair in sorted(pairs - {(self.person.dpid, self.person.user_id)})
        )
        return known

    def _withdrawable(self, feed: str, signals: Iterable[str]) -> int:
        rules = self.project.rules
        id_type = self.project.vars.feeds[feed].id_type if feed in self.project.vars.feeds else "dpuuid"
        if any(
            rules.is_broken(rule, self.person.user_id, id_type)
            for _, rule in rules.of("user_id", rules.id_types[id_type].kind)
            if not rule.guard and (rule.matches or rule.contains or rule.unlike)
        ):
            return 0
        whole = self.feeds[feed] == "overwrite"
        return sum(1 for signal in signals if whole or signal.startswith(_TRAIT))

    def _latest_sets(self) -> list[dict[str, Any]]:
        return self.of_feeds(
            f"select destination, feed, signals, possible from {self.table('delivered_sets')} where user_id = $1"
        )

    def is_open(self) -> bool:
        """Whether a delivery that may have named the person has come to no end, or to an uncertain one."""
        return bool(
            self.of_feeds(
                f"select 1 as open from {self.table('user_ledger')} as ledger inner join {self.table('deliveries')}"
                " as deliveries on ledger.feed = deliveries.feed and ledger.batch_id = deliveries.batch_id"
                " where ledger.user_id = $1 and deliveries.status <> 'delivered'"
                " and (deliveries.status <> 'abandoned' or deliveries.uncertain)"
                f" and not exists (select 1 from {self.table('deliveries')} as later"
                " where later.feed = deliveries.feed and later.destination = deliveries.destination"
                " and later.status = 'delivered' and later.started_at > deliveries.started_at)",
                column="ledger.feed",
            )
        )

    def ended_deliveries(self) -> list[str]:
        """Deliveries of the feeds whose files may still lie in the spool."""
        ended = state.read_deliveries(
            self.warehouse,
            self.project,
            feeds=[*self.feeds, *self.id_syncs],
            statuses=("delivered", "abandoned"),
        )
        return [delivery.delivery_id for delivery in ended]

    def erase(self, *, keep_request: bool) -> None:
        """Remove the ID from all that is ours, in one transaction."""
        with self.warehouse.transaction():
            for name in ("user_ledger", "rejected_rows", "users_to_compare", "packed_signals"):
                self.of_feeds(f"delete from {self.table(name)} where user_id = $1")
            for name, dpids in self.id_syncs.items():
                for column in _columns(dpids, self.person.dpid):
                    ledger, checked = self.table("id_ledger"), self.table("checked_id_rows")
                    for table in (ledger, checked):
                        self.warehouse.execute(
                            f"delete from {table} where id_sync = $2 and split_part(ids, chr(9), {column}) = $1",
                            [self.person.user_id, name],
                        )
                self.warehouse.execute(
                    f"delete from {self.table('rejected_rows')} where feed = $2 and (user_id = $1"
                    " or position(chr(9) || $1 || chr(9) in chr(9) || signal_value || chr(9)) > 0)",
                    [self.person.user_id, name],
                )
            for name, file, text in self._tables_of_received():
                self.warehouse.execute(
                    f"delete from {self.table(name)} where {text} and {file} in"
                    f" (select file_id from {self.table('received_files')} where dpid = $2)",
                    [self.person.user_id, self.person.dpid],
                )
            if not keep_request:
                self.warehouse.execute(
                    f"delete from {self.table('forget_requests')} where dpid = $1 and user_id = $2",
                    [self.person.dpid, self.person.user_id],
                )

    def of_feeds(self, sql: str, column: str = "feed") -> list[dict[str, Any]]:
        """A statement on the rows of the data source's feeds; $1 is the user ID."""
        if not self.feeds:
            return []
        places = ", ".join(f"${place}" for place in range(2, len(self.feeds) + 2))
        parameters = [self.person.user_id, *self.feeds]
        if sql.startswith("select"):
            return self.warehouse.rows(f"{sql} and {column} in ({places})", parameters)
        self.warehouse.execute(f"{sql} and {column} in ({places})", parameters)
        return []

    def _tables_of_received(self) -> list[tuple[str, str, str]]:
        """What holds IDs of outbound files: the table, its file's column, and whether a row names the person."""
        if not state.is_there(self.warehouse, self.project, "received_files"):
            return []
        return [
            ("received_memberships", "since_file", "user_id = $1"),
            ("received_statements", "file_id", "user_id = $1"),
            ("rejected_lines", "file_id", "position($1 in line) > 0"),
        ]

    def _received(self) -> int:
        return sum(
            int(
                self.warehouse.rows(
                    f"select count(*) as n from {self.table(name)} where {text} and {file} in"
                    f" (select file_id from {self.table('received_files')} where dpid = $2)",
                    [self.person.user_id, self.person.dpid],
                )[0]["n"]
            )
            for name, file, text in self._tables_of_received()
        )

    def _feeds_of_models(self) -> set[str]:
        sql = f"select distinct feed from {self.table('trait_rows')} where user_id = $1"
        return {row["feed"] for row in self.of_feeds(sql)}

    def _id_syncs_of_models(self) -> set[str]:
        return {
            name
            for name, dpids in self.id_syncs.items()
            for column in _columns(dpids, self.person.dpid)
            if name in self.project.vars.id_syncs
            and self.warehouse.rows(
                f"select 1 as there from {self.table('checked_id_rows')}"
                f" where id_sync = $2 and split_part(ids, chr(9), {column}) = $1 limit 1",
                [self.person.user_id, name],
            )
        }

    def _delivered_pairs(self) -> list[tuple[str, str, list[str]]]:
        found: dict[tuple[str, str], list[str]] = {}
        for name, dpids in self.id_syncs.items():
            for column in _columns(dpids, self.person.dpid):
                for row in self.warehouse.rows(
                    f"select destination, ids from {self.table('delivered_id_lines')}"
                    f" where id_sync = $2 and split_part(ids, chr(9), {column}) = $1"
                    " order by destination asc nulls last, ids asc nulls last",
                    [self.person.user_id, name],
                ):
                    found.setdefault((name, row["destination"]), []).append(row["ids"])
        return [(name, destination, ids) for (name, destination), ids in found.items()]


def _columns(dpids: Sequence[int], dpid: int) -> list[int]:
    """The columns of an ID sync, from 1, that hold a data source's IDs."""
    return [place for place, one in enumerate(dpids, start=1) if one == dpid]
