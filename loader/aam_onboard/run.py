"""A scheduled run from end to end: finish what is open, build, deliver."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aam_onboard import forget, history, metrics, notify, pickup, receipts, state, strays
from aam_onboard.build import dbt_build, dbt_places, dbt_started, dbt_state
from aam_onboard.config import (
    DuckDBSettings,
    Project,
    WarehouseSettings,
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
from aam_onboard.state import DeliveryFile
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
    warehouse: WarehouseSettings
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


def find_relations(project: Project, target: str, warehouse: WarehouseSettings) -> Relations:
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
    with (
        beside_others(place.warehouse),
        closing(open_warehouse(place.target, place.warehouse, read_only=True)) as warehouse,
    ):
        yield warehouse


@contextmanager
def opened(place: Place, options: Options, story: history.Story | None = None) -> Iterator[Run]:
    """A Run with the warehouse open, and the destination and the recipient's key proven.

    Raises ConfigError or DeliveryError before anything is exported.
    """
    with (
        _proven_destination(place) as (destination, encryption),
        closing(open_warehouse(place.target, place.warehouse)) as warehouse,
    ):
        yield Run(place.project, warehouse, destination, place.destination, encryption, options, story)


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
        _written_down(place, feeds, options) as story,
        dbt_started(place.project, place.warehouse.type) as dbt,
    ):
        with story.step("finish"):
            before = _finish_before_build(place, feeds, options, story)
        if any(isinstance(error, GuardError) for error in before.errors):
            story.end(before)
            return before
        # first, so that the build sees what came; where nothing is built yet, there is no place for it
        if receive and _is_built(place):
            before = before.and_then(_received(place, options, story))
        stopped = {error.feed for error in before.errors if isinstance(error, FeedError)}
        try:
            with story.step("build"):
                places = dbt_build(place.project, place.target, build_vars, dbt, quiet=quiet)
            place = _with(place, keep_relations(place.project, place.target, place.warehouse, places))
            with opened(place, options, story) as run:
                with story.step("deliver"):
                    result = deliver(run, [feed for feed in feeds if feed not in stopped])
                    if place.project.vars.retired and not result.errors:
                        strays.close_retired(run.warehouse, place.project, place.destination_name, feeds)
                    sweep_spool(run)
                if not receive or before.received is not None:
                    story.end(before.and_then(result))
                    history.end(run.warehouse, run.project, story)
                    return story.result
        except AamError as error:
            result = RunResult(errors=[error])
        if receive and before.received is None and _is_built(place):
            before = before.and_then(_received(place, options, story))
        story.end(before.and_then(result))
        return story.result


def _received(place: Place, options: Options, story: history.Story) -> RunResult:
    with story.step("receive"):
        received = _receive(place, options)
    return RunResult(errors=received.errors, received=received)


def receive_alone(place: Place, names: list[str], options: Options, *, dry_run: bool) -> ReceiveResult:
    """`aam receive`: under the locks of these entries of vars.outbound. Raises LockedError and ConfigError."""
    from aam_onboard.api import opened_api
    from aam_onboard.receive import opened_sources, receive

    place = located(place)
    locks = [f"outbound {name}" for name in names]
    with (
        lock_feeds(place.target, place.warehouse, locks),
        _written_down(place, locks, options, is_said=not dry_run) as story,
        opened_sources(place.project, names, place.destination_name) as sources,
        opened_api(place.project) as api,
        closing(_open_to_receive(place)) as warehouse,
    ):
        if not dry_run:
            history.begin(warehouse, place.project, story)
        result = receive(warehouse, place.project, sources, force=options.force, dry_run=dry_run, api=api)
        story.end(RunResult(errors=result.errors, received=result))
        if not dry_run:
            history.end(warehouse, place.project, story)
        return result


def _open_to_receive(place: Place) -> Warehouse:
    """The warehouse, in which dbt has made the tables that receiving writes: now, where that is the first time.

    Raises ConfigError before anything is built.
    """
    warehouse = open_warehouse(place.target, place.warehouse)
    try:
        state.require_build(warehouse, place.project)
        is_there = all(
            # the second came with a later version
            state.is_there(warehouse, place.project, name)
            for name in ("received_batches", "outbound_history")
        )
    except AamError:
        warehouse.close()
        raise
    if is_there:
        return warehouse
    warehouse.close()  # dbt needs it for itself
    dbt_state(place.project, place.target, place.warehouse.type)
    return open_warehouse(place.target, place.warehouse)


@contextmanager
def _written_down(
    place: Place, feeds: Sequence[str], options: Options, *, is_said: bool = True
) -> Iterator[history.Story]:
    """What a run does inside is written down, well or not, as far as the warehouse lets us; under its lock.

    `is_said`: False for one that only looks, of which nobody hears.
    """
    story = history.Story(
        options.command, options.arguments, place.target, place.destination_name, list(feeds)
    )
    try:
        yield story
    except AamError as error:
        story.end(RunResult(errors=[error]))
        raise
    except BaseException as error:
        code = 130 if isinstance(error, KeyboardInterrupt) else 1
        story.end(RunResult(), code)
        raise
    finally:
        if is_said:
            if not story.is_ended:
                _on_warehouse(place, lambda warehouse, project: history.end(warehouse, project, story))
            _tell(place, options, story)


def _tell(place: Place, options: Options, story: history.Story) -> None:
    """Let those know who are to: vars.notify of what has changed, --metrics-file of the figures."""
    if options.metrics_file:
        metrics.write(options.metrics_file, metrics.of_run(story))
    told = notify.tell(place.project, story)
    if told is not None:
        _on_warehouse(place, lambda warehouse, project: history.keep_told(warehouse, project, story, told))


def _on_warehouse(place: Place, do: Callable[[Warehouse, Project], None]) -> None:
    """Do something at the end of a run that has closed its warehouse, if there is one."""
    relations = kept_relations(place.project, place.target, place.warehouse)
    is_there = not isinstance(place.warehouse, DuckDBSettings) or Path(place.warehouse.path).is_file()
    if relations is None or not is_there:  # nothing is built
        return
    try:
        warehouse = open_warehouse(place.target, place.warehouse)
    except AamError as error:  # the run's own error tells as much
        log.info("%s", f"the history of runs could not be written: {error}")
        return
    try:
        do(warehouse, _with(place, relations).project)
    finally:
        warehouse.close()


def refresh(place: Place, options: Options) -> list[DeliveryFile]:
    """`aam status --refresh`: look at the destination for files that were picked up; those that wait too long.

    Raises CannotListError, and ConfigError when nothing is built.
    """
    story = history.Story(options.command, options.arguments, place.target, place.destination_name, [])
    with beside_others(place.warehouse), opened(place, options, story) as run:
        state.require_build(run.warehouse, place.project)
        history.read_told(run.warehouse, place.project, story)
        late = pickup.refresh_picked_up(run)
        for file in late:
            delivery = state.find_delivery(run.warehouse, place.project, file.delivery_id)
            if delivery:
                story.late[delivery.feed] = pickup.not_picked_up(place.project, file)
        story.end(RunResult())
        history.end(run.warehouse, place.project, story)
    with beside_others(place.warehouse):
        _tell(place, replace(options, metrics_file=None), story)
    return late


def deliver_built(place: Place, feeds: list[str], options: Options) -> RunResult:
    """`aam deliver`: what the last build prepared, after finishing open deliveries."""
    if options.full:
        place.project.require_full_possible(feeds)
    with locked(place, feeds, options) as run:
        result = deliver(run, feeds)
        sweep_spool(run)
        if run.story:
            run.story.end(result)
            history.end(run.warehouse, run.project, run.story)
        return result


@contextmanager
def locked(place: Place, feeds: list[str], options: Options) -> Iterator[Run]:
    """A Run that no other run can disturb.

    Raises LockedError, and ConfigError when nothing is built or the destination takes no files of this target.
    """
    require_own_target(place)
    place = located(place)
    with (
        lock_feeds(place.target, place.warehouse, feeds),
        _written_down(place, feeds, options) as story,
        opened(place, options, story) as run,
    ):
        state.require_build(run.warehouse, place.project)
        history.begin(run.warehouse, place.project, story)
        yield run
        if not story.is_ended:
            story.end(RunResult())
            history.end(run.warehouse, place.project, story)


def _finish_before_build(place: Place, feeds: list[str], options: Options, story: history.Story) -> RunResult:
    if isinstance(place.warehouse, DuckDBSettings) and not Path(place.warehouse.path).is_file():
        # nothing to finish, but a wrong key or bucket is told before the build rather than after it
        with _proven_destination(place):
            return RunResult()
    place = located(place)
    with opened(place, options) as run:
        if not state.is_built(run.warehouse, place.project):
            return RunResult()
        history.begin(run.warehouse, place.project, story)
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
    with closing(open_warehouse(place.target, place.warehouse)) as warehouse:
        return state.is_built(warehouse, place.project)


def _receive(place: Place, options: Options) -> ReceiveResult:
    """What came back; an error stops no delivery, and is in the result."""
    from aam_onboard.api import opened_api
    from aam_onboard.receive import ReceiveResult, opened_sources, receive, select_outbound

    try:
        names = select_outbound(place.project, None)
        with (
            opened_sources(place.project, names, place.destination_name) as sources,
            opened_api(place.project) as api,
        ):
            place = located(place)
            with closing(_open_to_receive(place)) as warehouse:
                return receive(warehouse, place.project, sources, force=options.force, api=api)
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


def retire(place: Place, feed: str, options: Options, *, quiet: bool) -> tuple[strays.Stray, RunResult]:
    """`aam retire`: withdraw all that a feed of before has sent; what of an ID sync is there is forgotten here alone.

    Raises ConfigError for a feed that the project has as it was sent, and for one that has nothing there.
    """
    require_own_target(place)
    place = located(place)
    with looking(place) as warehouse:
        state.require_build(warehouse, place.project)
        stray = strays.stray_of(warehouse, place.project, place.destination_name, feed)
    if stray.last.kind == "id_sync":
        with locked(place, [feed], options) as run:
            state.forget_sent(run.warehouse, place.project, place.destination_name, feed)
        return stray, RunResult()
    variables = {**place.project.given_vars, **strays.as_retired(place.project, stray)}
    again = find_place(place.project.root, place.target, place.destination_name, variables)
    return stray, build_and_deliver(again, [feed], replace(options, force=True), quiet=quiet)


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


def keep_receipts(place: Place, paths: Sequence[str], *, ask_api: bool) -> list[receipts.Reading]:
    """`aam receipts`: read mails, ask the API, and write the receipts among them down. Raises ConfigError, ApiError."""
    from aam_onboard.api import opened_api

    readings = list(receipts.read_all(paths))  # before anything is locked: standard input may take its time
    if ask_api:
        with opened_api(place.project) as api:
            if api is None:
                raise ConfigError(
                    "dbt_project.yml: vars.api is missing: it says how to ask Audience Manager's API"
                )
            readings += receipts.ask_all(api, place.project)
    with _with_state_table(place, "receipts") as (warehouse, project):
        return receipts.keep(warehouse, project, readings)


@contextmanager
def _with_state_table(place: Place, name: str) -> Iterator[tuple[Warehouse, Project]]:
    """The warehouse, open and ours alone, with a table of the state that an earlier version had not."""
    place = located(place)
    with looking(place) as warehouse:
        state.require_build(warehouse, place.project)
        has_table = state.is_there(warehouse, place.project, name)
    with lock_feeds(place.target, place.warehouse, place.project.feed_names):
        if not has_table:
            dbt_state(place.project, place.target, place.warehouse.type)
        with closing(open_warehouse(place.target, place.warehouse)) as warehouse:
            yield warehouse, place.project


def ask_to_forget(place: Place, person: forget.Person) -> forget.Known:
    """`aam forget`: have the deliveries to come withdraw all of a person, and the ID forgotten. Raises ConfigError."""
    with _with_state_table(place, "forget_requests") as (warehouse, project):
        return forget.ask(warehouse, project, person)


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
