"""A scheduled run from end to end: finish what is open, build, deliver."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aam_onboard import forget, state, strays
from aam_onboard.build import dbt_build, dbt_places, dbt_started, dbt_state
from aam_onboard.config import (
    DuckDBSettings,
    PostgresSettings,
    Project,
    load_project,
    load_warehouse,
)
from aam_onboard.delivery import deliver, finish_open
from aam_onboard.destinations import Destination, DestinationSettings, load_destination, open_destination
from aam_onboard.encryption import Encryption, prepare_encryption
from aam_onboard.errors import AamError, ConfigError, GuardError
from aam_onboard.package import require_package
from aam_onboard.relations import Relations, keep_relations, kept_relations
from aam_onboard.running import FeedError, Options, Run, RunResult
from aam_onboard.spool import sweep_spool
from aam_onboard.warehouse import Warehouse, beside_others, lock_feeds, open_warehouse
from aam_onboard.warehouse.duckdb import require_file

if TYPE_CHECKING:
    from aam_onboard.receive import ReceiveResult

log = logging.getLogger("aam")


@dataclass(frozen=True)
class Place:
    """Where a command works: the project, the warehouse and the destination, read and proven but not yet opened."""

    project: Project
    target: str
    warehouse: DuckDBSettings | PostgresSettings
    destination_name: str
    destination: DestinationSettings


# An encrypted file costs a gpg, and is closed a quarter of a megabyte early: below this, each user might get one.
LEAST_ENCRYPTED_SPLIT = 1_000_000


def find_place(
    root: Path, target: str | None, to: str | None, variables: Mapping[str, Any] | None = None
) -> Place:
    """Read all configuration; `variables` go before its own. Raises ConfigError that names the file and the key, and
    where the project has not the dbt package of this command.

    Where models lie is not known yet: see `located`.
    """
    project = load_project(root, variables)
    target_name, warehouse = load_warehouse(project, target)
    name, destination = load_destination(project, to)
    split_bytes = project.vars.limits.split_bytes
    if destination.encrypt and split_bytes < LEAST_ENCRYPTED_SPLIT:
        raise ConfigError(
            f"dbt_project.yml: vars.limits.split_bytes: {split_bytes:,} is too little for destination {name}, which"
            f" encrypts: each file is a gpg of its own; set it to {LEAST_ENCRYPTED_SPLIT:,} or more"
        )
    require_package(project.root, project.installed_package)
    return Place(project, target_name, warehouse, name, destination)


def require_own_target(place: Place) -> None:
    """Raise ConfigError where the destination takes files of other dbt targets only: no developer's get there."""
    targets = place.destination.targets
    if targets is not None and place.target not in targets:
        raise ConfigError(
            f"destinations.yml: output `{place.destination_name}` takes files of target {' or '.join(targets)} only,"
            f" and this is target {place.target}; add `--target {targets[0]}`, choose another output with `--to`, or"
            f" name {place.target} in its `targets`"
        )


def located(place: Place) -> Place:
    """The place with the relations that dbt makes of the models; dbt is asked where nothing is kept that still holds.

    Raises ConfigError for a project that dbt can't read, or before anything is built.
    """
    if isinstance(place.warehouse, DuckDBSettings):
        require_file(place.warehouse.path)
    return _with(place, find_relations(place.project, place.target, place.warehouse))


def find_relations(project: Project, target: str, warehouse: DuckDBSettings | PostgresSettings) -> Relations:
    """Where the models of a target lie or will lie. Raises ConfigError for a project that dbt can't read."""
    relations = kept_relations(project, target, warehouse)
    if relations is None:
        log.info("asking dbt where it puts the models of target %s", target)
        places = dbt_places(project, target, warehouse.type)
        relations = keep_relations(project, target, warehouse, places)
    return relations


def _with(place: Place, relations: Relations) -> Place:
    return replace(place, project=place.project.model_copy(update={"relations": relations}))


@contextmanager
def looking(place: Place) -> Iterator[Warehouse]:
    """The warehouse, to look at and no longer than that: for a moment it is in the way of a dbt that starts."""
    with beside_others(place.warehouse):
        warehouse = open_warehouse(place.target, place.warehouse, read_only=True)
        try:
            yield warehouse
        finally:
            warehouse.close()


@contextmanager
def opened(place: Place, options: Options) -> Iterator[Run]:
    """A Run with the warehouse open, and the destination and the recipient's key proven.

    Raises ConfigError or DeliveryError before anything is exported.
    """
    with _proven_destination(place) as (destination, encryption):
        warehouse = open_warehouse(place.target, place.warehouse)
        try:
            yield Run(place.project, warehouse, destination, place.destination, encryption, options)
        finally:
            warehouse.close()


def build_and_deliver(
    place: Place,
    feeds: list[str],
    options: Options,
    *,
    quiet: bool = False,
    receive: bool = False,
) -> RunResult:
    """`aam run`: under one lock, finish open deliveries, `dbt build`, deliver; with `receive`, outbound files first.

    A feed whose open delivery can't be finished is left out. All errors are in the result, those of the build too,
    beside what was delivered in spite of them. Raises LockedError when another run holds the warehouse, and
    ConfigError when the destination takes no files of this target.
    """
    require_own_target(place)
    if options.full:
        place.project.require_full_possible(feeds)
    outbound = [f"outbound {name}" for name in place.project.vars.outbound] if receive else []
    build_vars = {**place.project.given_vars, "destination": place.destination_name, "full": options.full}
    with (
        # dbt rewrites the outbox of every feed
        lock_feeds(place.target, place.warehouse, [*place.project.feed_names, *outbound]),
        dbt_started(place.project, place.warehouse.type) as dbt,
    ):
        before = _finish_before_build(place, feeds, options)
        if any(isinstance(error, GuardError) for error in before.errors):
            return before
        # first, so that the build sees what came; where nothing is built yet, there is no place for it
        received = _receive(place, options) if receive and _is_built(place) else None
        stopped = {error.feed for error in before.errors if isinstance(error, FeedError)}
        try:
            places = dbt_build(place.project, place.target, build_vars, dbt, quiet=quiet)
            place = _with(place, keep_relations(place.project, place.target, place.warehouse, places))
            with opened(place, options) as run:
                result = deliver(run, [feed for feed in feeds if feed not in stopped])
                if place.project.vars.retired and not result.errors:
                    strays.close_retired(run.warehouse, place.project, place.destination_name, feeds)
                sweep_spool(run)
        except AamError as error:
            result = RunResult(errors=[error])
        if receive and received is None and _is_built(place):
            received = _receive(place, options)
    errors = before.errors + (received.errors if received else []) + result.errors
    return RunResult(before.outcomes + result.outcomes, errors, result.kept_back, received)


def receive_alone(place: Place, names: list[str], *, force: bool, dry_run: bool) -> ReceiveResult:
    """`aam receive`: under the locks of these entries of vars.outbound. Raises LockedError and ConfigError."""
    from aam_onboard.receive import opened_sources, receive

    place = located(place)
    with (
        lock_feeds(place.target, place.warehouse, [f"outbound {name}" for name in names]),
        opened_sources(place.project, names, place.destination_name) as sources,
    ):
        _require_received_tables(place)
        warehouse = open_warehouse(place.target, place.warehouse)
        try:
            return receive(warehouse, place.project, sources, force=force, dry_run=dry_run)
        finally:
            warehouse.close()


def _require_received_tables(place: Place) -> None:
    """Let dbt make the tables that receiving writes, where a project receives for the first time.

    Raises ConfigError before anything is built.
    """
    warehouse = open_warehouse(place.target, place.warehouse)
    try:
        state.require_build(warehouse, place.project)
        is_there = state.is_there(warehouse, place.project, "received_batches")
    finally:
        warehouse.close()
    if not is_there:
        dbt_state(place.project, place.target, place.warehouse.type)


def deliver_built(place: Place, feeds: list[str], options: Options) -> RunResult:
    """`aam deliver`: what the last build prepared, after finishing open deliveries."""
    if options.full:
        place.project.require_full_possible(feeds)
    with locked(place, feeds, options) as run:
        result = deliver(run, feeds)
        sweep_spool(run)
        return result


@contextmanager
def locked(place: Place, feeds: list[str], options: Options) -> Iterator[Run]:
    """A Run that no other run can disturb.

    Raises LockedError, and ConfigError when nothing is built or the destination takes no files of this target.
    """
    require_own_target(place)
    place = located(place)
    with lock_feeds(place.target, place.warehouse, feeds), opened(place, options) as run:
        state.require_build(run.warehouse, place.project)
        yield run


def _finish_before_build(place: Place, feeds: list[str], options: Options) -> RunResult:
    if isinstance(place.warehouse, DuckDBSettings) and not Path(place.warehouse.path).is_file():
        # nothing to finish, but a wrong key or bucket is told before the build rather than after it
        with _proven_destination(place):
            return RunResult()
    place = located(place)
    with opened(place, options) as run:
        if not state.is_built(run.warehouse, place.project):
            return RunResult()
        if not state.is_earlier(run.warehouse, place.project):
            return _finished(run, feeds)
    log.info("bringing the state to version %d", state.VERSION)
    dbt_state(place.project, place.target, place.warehouse.type)
    with opened(place, options) as run:
        return _finished(run, feeds)


def _is_built(place: Place) -> bool:
    if isinstance(place.warehouse, DuckDBSettings) and not Path(place.warehouse.path).is_file():
        return False
    place = located(place)
    warehouse = open_warehouse(place.target, place.warehouse)
    try:
        return state.is_built(warehouse, place.project)
    finally:
        warehouse.close()


def _receive(place: Place, options: Options) -> ReceiveResult:
    """What came back; an error stops no delivery, and is in the result."""
    from aam_onboard.receive import ReceiveResult, opened_sources, receive, select_outbound

    try:
        names = select_outbound(place.project, None)
        with opened_sources(place.project, names, place.destination_name) as sources:
            place = located(place)
            _require_received_tables(place)
            warehouse = open_warehouse(place.target, place.warehouse)
            try:
                return receive(warehouse, place.project, sources, force=options.force)
            finally:
                warehouse.close()
    except AamError as error:
        return ReceiveResult(errors=[error])


def _finished(run: Run, feeds: list[str]) -> RunResult:
    """What is open is finished; an error is in it when what lies at the destination forbids to build anew."""
    result = finish_open(run, feeds)
    try:
        strays.require_none(run)
    except GuardError as error:
        result.errors.append(error)
    return result


def retire(
    place: Place, feed: str, check: bool | None, *, on_progress: Any, quiet: bool
) -> tuple[strays.Stray, RunResult]:
    """`aam retire`: withdraw all that a feed of before has sent; what of an ID sync is there is forgotten here alone.

    Raises ConfigError for a feed that the project has as it was sent, and for one that has nothing there.
    """
    require_own_target(place)
    place = located(place)
    with looking(place) as warehouse:
        state.require_build(warehouse, place.project)
        stray = strays.stray_of(warehouse, place.project, place.destination_name, feed)
    if stray.last.kind == "id_sync":
        with locked(place, [feed], Options()) as run:
            state.forget_sent(run.warehouse, place.project, place.destination_name, feed)
        return stray, RunResult()
    variables = {**place.project.given_vars, **strays.as_retired(place.project, stray)}
    again = find_place(place.project.root, place.target, place.destination_name, variables)
    options = Options(check=check, force=True, on_progress=on_progress)
    return stray, build_and_deliver(again, [feed], options, quiet=quiet)


def rename_output(place: Place, old: str) -> str:
    """`aam rename --to`: what an output has is what the chosen one has; where that is. Raises ConfigError."""
    place = located(place)
    with lock_feeds(place.target, place.warehouse, place.project.feed_names), opened(place, Options()) as run:
        state.require_build(run.warehouse, place.project)
        strays.rename_output(run, old)
        return run.place


def rename(place: Place, old: str, new: str) -> strays.Stray:
    """`aam rename`: what was sent under one name goes on under another. Raises ConfigError where they do not fit."""
    place = located(place)
    feeds = [*place.project.feed_names, old]
    with lock_feeds(place.target, place.warehouse, feeds), opened(place, Options()) as run:
        state.require_build(run.warehouse, place.project)
        return strays.rename(run.warehouse, place.project, old, new)


def ask_to_forget(place: Place, person: forget.Person) -> forget.Known:
    """`aam forget`: have the deliveries to come withdraw all of a person, and the ID forgotten. Raises ConfigError."""
    place = located(place)
    with looking(place) as warehouse:
        state.require_build(warehouse, place.project)
        has_table = state.is_there(warehouse, place.project, "forget_requests")
    with lock_feeds(place.target, place.warehouse, place.project.feed_names):
        if not has_table:
            dbt_state(place.project, place.target, place.warehouse.type)
        warehouse = open_warehouse(place.target, place.warehouse)
        try:
            return forget.ask(warehouse, place.project, person)
        finally:
            warehouse.close()


@contextmanager
def _proven_destination(place: Place) -> Iterator[tuple[Destination, Encryption | None]]:
    encrypt = place.destination.encrypt
    encryption = prepare_encryption(encrypt) if encrypt else None
    destination = open_destination(place.destination_name, place.destination)
    try:
        destination.reach()
        yield destination, encryption
    finally:
        destination.close()
