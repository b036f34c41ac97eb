"""What a delivery would change: it goes into a throw-away local Audience Manager that has what was delivered before."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aam_onboard import state, strays
from aam_onboard.destinations import open_destination
from aam_onboard.destinations.settings import DirectorySettings
from aam_onboard.errors import ConfigError, GuardError
from aam_onboard.export import file_name, made_files
from aam_onboard.plan import FeedPlan, make_plan
from aam_onboard.running import Options, Run
from aam_onboard.state import delivery_of

if TYPE_CHECKING:
    from aam_onboard.config import Project
    from aam_onboard.warehouse import Warehouse
    from aam_sandbox.store import Store


@dataclass(frozen=True)
class Change:
    """A trait or segment, and how many profiles are in it."""

    sid: int
    name: str
    before: int
    after: int
    gained: int
    lost: int


@dataclass(frozen=True)
class Rehearsal:
    """The feeds that would be delivered, the receipts of their files, and what changes.

    `guards`: what stands against sending a feed, which the rehearsal sends all the same.
    """

    destination: str
    feeds: list[str]
    guards: dict[str, str]
    receipts: list[dict[str, Any]]
    traits: list[Change]
    segments: list[Change]

    def to_json(self) -> dict[str, Any]:
        """The stable form for scripts."""
        return asdict(self)


def rehearse(warehouse: Warehouse, project: Project, destination: str, feeds: list[str]) -> Rehearsal:
    """Deliver the last build into a sandbox that has what the state says is delivered; nothing of it stays.

    A profile is a device, or an ID of a cross-device data source. The warehouse is only read. Raises ConfigError when
    nothing is built, or for another destination; GuardError where data lie under names that the project no longer has.
    """
    from aam_onboard.files import write_parts
    from aam_sandbox.ingest import ingest
    from aam_sandbox.settings import FILE, fill, read_settings
    from aam_sandbox.store import create, open_store

    plans = make_plan(warehouse, project, feeds)
    _require_built_for(plans, destination)
    for stray in strays.find_strays(warehouse, project, destination):
        raise GuardError(stray.says)
    file = project.root / FILE
    settings = read_settings(file if file.is_file() else None, project)
    limits = project.vars.limits
    with _throw_away(project, warehouse, destination) as (run, folder):
        inbox = folder / "inbox"
        inbox.mkdir()
        # long before what comes now, so that no two names are the same
        now = int(time.time())
        timestamp = now - 10_000
        for number, feed in enumerate(project.feed_names):
            lines = warehouse.stream(_delivered_lines(project, feed), [destination, feed])
            parts = write_parts(
                lines,
                folder / "before",
                split_bytes=limits.split_bytes,
                max_plain_bytes=limits.max_plain_bytes,
            )
            for split, part in enumerate(parts, start=1):
                name = file_name(project, feed, "sync", timestamp + number, split, "gz")
                part.path.rename(inbox / str(name))
        with create(folder / "sandbox") as store:
            fill(store.connection, settings, project.rules)
        with open_store(folder / "sandbox") as store:
            ingest(store, run.destination)
            _remember(store, "before")
            to_send = [plan for plan in plans if not plan.delivered and plan.batch.lines]
            for plan in to_send:
                for made in made_files(run, delivery_of(plan.batch, now, "", plan.batch.built_at)):
                    Path(made.spool_path).rename(inbox / made.name)
            jobs = ingest(store, run.destination).jobs
            _remember(store, "after")
            return Rehearsal(
                destination=destination,
                feeds=[plan.batch.feed for plan in to_send],
                guards={plan.batch.feed: "; ".join(plan.guard) for plan in to_send if plan.guard},
                receipts=_receipts(store, jobs),
                traits=_changes(store, "traits"),
                segments=_changes(store, "segments"),
            )


def _require_built_for(plans: list[FeedPlan], destination: str) -> None:
    for plan in plans:
        if plan.batch.destination != destination:
            raise ConfigError(
                f"the last build is for destination {plan.batch.destination}, not {destination}: run"
                f" `dbt build --vars 'destination: {destination}'`, or give --to {plan.batch.destination}"
            )


@contextmanager
def _throw_away(project: Project, warehouse: Warehouse, destination: str) -> Iterator[tuple[Run, Path]]:
    """A run whose files and destination lie in a folder that goes."""
    with tempfile.TemporaryDirectory(prefix="aam-rehearsal-") as name:
        folder = Path(name)
        inbox = DirectorySettings(type="directory", path=folder / "inbox", partner_name="rehearsal")
        here = project.model_copy(
            update={"vars": project.vars.model_copy(update={"spool_dir": folder / "spool"})}
        )
        opened = open_destination(destination, inbox)
        try:
            yield Run(here, warehouse, opened, inbox, None, Options(check=False)), folder
        finally:
            opened.close()


def _delivered_lines(project: Project, feed: str) -> str:
    """SQL: what a destination ($1) has of a feed ($2), as lines of a file."""
    if feed in project.vars.id_syncs:
        delivered = state.table(project, "delivered_id_lines")
        return f"select ids || chr(10) as line, 1 as lines from {delivered} where destination = $1 and id_sync = $2"
    delivered = state.table(project, "delivered_sets")
    return (
        f"select user_id || chr(9) || replace(signals, chr(31), ',') || chr(10) as line, 1 as lines from {delivered}"
        " where destination = $1 and feed = $2 and signals <> ''"
    )


def _remember(store: Store, when: str) -> None:
    """Keep who is in which trait and segment now, as the table `when` (dpid, user_id, sid)."""
    from aam_sandbox.segments import fill_memberships

    connection = store.connection
    connection.execute(f"create temp table {when}_traits as select dpid, user_id, sid from profile_traits")
    connection.execute(f"create temp table {when}_segments (dpid bigint, user_id varchar, sid bigint)")
    for row in store.rows("select distinct dpid from profile_traits"):
        fill_memberships(connection, row["dpid"], "select sid from segments")
        connection.execute(
            f"insert into {when}_segments select {row['dpid']}, user_id, sid from memberships"
            " where sid in (select sid from segments)"
        )


def _changes(store: Store, kind: str) -> list[Change]:
    """Of each trait or segment that anybody was in or is."""
    rows = store.rows(
        f"""
        with before as (select *, true as was from before_{kind}),
        after as (select *, true as has from after_{kind})
        select sid, name, count(was) as before, count(has) as after,
            count(*) filter (was is null) as gained, count(*) filter (has is null) as lost
        from before full join after using (dpid, user_id, sid) inner join {kind} using (sid)
        group by sid, name order by sid
        """
    )
    return [Change(**row) for row in rows]


def _receipts(store: Store, jobs: list[int]) -> list[dict[str, Any]]:
    """Of each job: its first file's name, and the receipt's counters."""
    return store.rows(
        "with first as (select job_id, min(name) as file from job_files group by job_id)"
        " select file, jobs.* exclude (job_id, started_at, ended_at, success, problem)"
        " from jobs inner join first using (job_id) where job_id in (select unnest(?)) order by job_id",
        [jobs],
    )
