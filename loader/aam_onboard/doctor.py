"""`aam doctor`: is everything set up, and if not, what to do. Each look is on its own; none stops the others."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from aam_onboard import notify, state
from aam_onboard.config import (
    DuckDBSettings,
    Project,
    SparkSettings,
    WarehouseSettings,
    load_project,
    load_warehouse,
)
from aam_onboard.destinations import Destination, DestinationSettings, load_destination, open_destination
from aam_onboard.destinations.common import sha256_of
from aam_onboard.encryption import prepare_encryption
from aam_onboard.errors import AamError, ConfigError
from aam_onboard.files import Part
from aam_onboard.package import package_version, require_package
from aam_onboard.reading import shown
from aam_onboard.relations import Relations
from aam_onboard.run import find_relations
from aam_onboard.warehouse import Warehouse, beside_others, open_warehouse, quoted

DISTRIBUTION = "aam-onboard"
# S3 refuses signatures of a clock that is a quarter of an hour off; file names carry the time, too.
MOST_SECONDS_OFF = 300
NOT_BUILT = "not built yet: run `aam run`"


@dataclass(frozen=True)
class Finding:
    """What one look has found: `ok`, `not yet` where a build or delivery is still to come, or `to do` by a person."""

    about: str
    verdict: Literal["ok", "not yet", "to do"]
    says: str

    def to_json(self) -> dict[str, Any]:
        """The stable form for scripts."""
        return asdict(self)


class _NotYetError(Exception):
    """Nothing is wrong, but there is nothing to see."""


def examine(root: Path, target: str | None, to: str | None, *, write: bool = False) -> Iterator[Finding]:
    """Look at all that a run needs, in the order in which it needs it; what hangs on a failed look is left out.

    `target`, `to`: the dbt target and the destination, or None for the defaults · `write`: also put a probe at the
    destination and delete it again. Nothing is changed otherwise, but that a link to the dbt package is mended.
    """
    yield _find("versions", _versions)
    projects: list[Project] = []
    yield _find("project", _project, root, projects)
    for project in projects:
        yield _find("data sources", _data_sources, project)
        if project.vars.notify is not None:
            yield _find("notify", _notify, project.vars.notify)
        package = _find("dbt package", _package, project)
        yield package
        yield from _examine_warehouse(project, target, with_models=package.verdict == "ok")
        yield from _examine_destination(project, to, write)
        for name in project.vars.outbound:
            yield _find(f"outbound {name}", _outbound, project, name, to)
        if project.vars.api is not None:
            yield _find("API", _api, project)


def _find(about: str, look: Callable[..., str], *arguments: object) -> Finding:
    """What a look says, be it well or not. What it opens, it appends to a list among its arguments."""
    try:
        return Finding(about, "ok", look(*arguments))
    except _NotYetError as error:
        return Finding(about, "not yet", str(error))
    except AamError as error:
        return Finding(about, "to do", " ".join(str(error).split()))


def _versions() -> str:
    installed = version(DISTRIBUTION)
    if installed != package_version():
        raise ConfigError(
            f"the command says that it is {installed}, but its dbt package is of version {package_version()}:"
            f" install {DISTRIBUTION} anew"
        )
    found = [f"aam {installed}", f"Python {platform.python_version()}"]
    for name in ("dbt-core", "dbt-duckdb", "dbt-postgres"):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            raise ConfigError(f"{name} is not installed: install {DISTRIBUTION} anew") from None
    return ", ".join(found)


def _project(root: Path, projects: list[Project]) -> str:
    projects.append(load_project(root))
    return (
        f"{projects[0].name}: {len(projects[0].vars.feeds)} feeds, {len(projects[0].vars.id_syncs)} ID syncs"
    )


def _package(project: Project) -> str:
    require_package(project.root, project.installed_package)
    return f"{package_version()}, as the command"


def _data_sources(project: Project) -> str:
    # that they are listed, with IDs of the right type, is proven wherever a project is read
    used = {dpid for feed in project.feed_names for dpid in project.dpids_of(feed)}
    own = sorted(dpid for dpid in used if project.rules.global_id_type(dpid) is None)
    missing = [dpid for dpid in own if dpid not in project.vars.data_sources]
    if missing:
        raise ConfigError(f"dbt_project.yml: add {', '.join(map(str, missing))} to vars.data_sources")
    return f"all that feeds and ID syncs use are listed: {', '.join(map(str, own)) or 'none'}"


def _notify(to: str) -> str:
    if problem := notify.problem_of(to):
        raise ConfigError(f"dbt_project.yml: vars.notify: {problem}")
    return f"the webhook of {to}" if notify.is_webhook(to) else "a command"


def _examine_warehouse(project: Project, target: str | None, *, with_models: bool) -> Iterator[Finding]:
    profiles: list[tuple[str, WarehouseSettings]] = []
    located: list[Project] = []
    connected: list[Warehouse] = []
    yield _find("profile", _profile, project, target, profiles)
    for name, settings in profiles:
        if with_models:
            yield _find("models", _models, project, name, settings, located)
        try:
            with beside_others(settings):
                yield _find("warehouse", _connect, name, settings, connected)
                if isinstance(settings, SparkSettings) and connected:
                    yield _find("executors", _executors, project, connected[0])
                for found in located:
                    yield from _examine_relations(found, settings, connected[0] if connected else None)
        except AamError as error:  # a run is under way
            yield Finding("warehouse", "to do", str(error))
        finally:
            for warehouse in connected:
                warehouse.close()


def _profile(project: Project, target: str | None, profiles: list[tuple[str, WarehouseSettings]]) -> str:
    name, settings = load_warehouse(project, target)
    profiles.append((name, settings))
    return f"{project.profile}, target {name} ({settings.type})"


def _models(project: Project, target: str, settings: WarehouseSettings, located: list[Project]) -> str:
    relations = find_relations(project, target, settings)
    relations.place("batches")
    located.append(project.model_copy(update={"relations": relations}))
    return f"dbt reads the project: {len(relations.places)} models and seeds for Audience Manager"


def _connect(name: str, settings: WarehouseSettings, connected: list[Warehouse]) -> str:
    if isinstance(settings, DuckDBSettings) and not Path(settings.path).exists():
        raise _NotYetError(NOT_BUILT)
    connected.append(open_warehouse(name, settings, read_only=True))
    return f"{name} answers"


def _executors(project: Project, warehouse: Warehouse) -> str:
    """Whether Spark's executors have the loader, and what they write in the spool is there for us."""
    folder = project.root / project.vars.spool_dir / "doctor"
    try:
        [part] = warehouse.write_parts(
            "select 'a line' || chr(10) as line, 1 as lines",
            [],
            folder,
            split_bytes=1 << 20,
            max_plain_bytes=1 << 20,
            encryption=None,
            check=None,
            expected_lines=1,
            on_progress=lambda *_: None,
        )
        if sha256_of(part.path) != part.sha256:
            raise ConfigError(
                f"what an executor wrote into {folder} is another file here: set vars.spool_dir"
            )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    [found] = warehouse.rows("select version() as version")
    return (
        f"of Spark {found['version'].partition(' ')[0]} have aam_onboard, and write where this machine reads"
    )


def _examine_relations(
    project: Project, settings: WarehouseSettings, warehouse: Warehouse | None
) -> Iterator[Finding]:
    yield _find("schemas", _schemas, project.relations, settings, warehouse)
    yield _find("state", _state, project, warehouse)
    for name in project.vars.feeds:
        yield _find(
            f"feed {name}", _model, project, warehouse, name, ("user_id", "signal_key", "signal_value")
        )
    for name, sync in project.vars.id_syncs.items():
        columns = (*sync.columns, *([sync.newest_by] if sync.newest_by else []))
        yield _find(f"ID sync {name}", _model, project, warehouse, name, columns)
    yield _find("taxonomy", _taxonomy, project, warehouse)


def _schemas(relations: Relations, settings: WarehouseSettings, warehouse: Warehouse | None) -> str:
    """Whether a build may write where dbt puts the models."""
    schemas = sorted({schema for schema, _ in relations.places.values()})
    if isinstance(settings, DuckDBSettings):
        path = Path(settings.path)
        for place in (path.parent, *([path] if path.exists() else [])):
            if not os.access(place, os.W_OK):
                raise ConfigError(f"{place} can't be written: change its rights, or `path` in profiles.yml")
    elif warehouse is None:
        raise _NotYetError("not known before the warehouse answers")
    elif isinstance(settings, SparkSettings):
        return f"{', '.join(schemas)}: whether they can be written, a build tells"
    else:
        for schema in schemas:
            [found] = warehouse.rows(
                "select case when exists (select 1 from pg_namespace where nspname = $1)"
                " then has_schema_privilege($1, 'create') else has_database_privilege(current_database(), 'create') end"
                " as may, current_user::text as who",
                [schema],
            )
            if not found["may"]:
                raise ConfigError(
                    f"{found['who']} may not write schema {schema}: grant create on it, or on the database"
                )
    return f"{', '.join(schemas)} can be written"


def _state(project: Project, warehouse: Warehouse | None) -> str:
    found = state.found_version(warehouse, project) if warehouse else None
    if found is None:
        raise _NotYetError(NOT_BUILT)
    if found > state.VERSION:
        raise ConfigError(
            f"the state is of version {found}, this command's is {state.VERSION}: install a later {DISTRIBUTION}"
        )
    if found < state.VERSION:
        raise _NotYetError(f"of version {found}: `aam run` brings it to {state.VERSION}")
    return f"version {found}, as the command's"


def _model(project: Project, warehouse: Warehouse | None, name: str, columns: Sequence[str]) -> str:
    place = project.relations.of_any_package(name)
    if place is None:
        raise ConfigError(f"dbt knows no model {name}: write models/feeds/{name}.sql, or remove the feed")
    there = _columns(warehouse, place)
    missing = [column for column in columns if column.lower() not in there]
    if missing:
        raise ConfigError(
            f"{'.'.join(place)} has no column {', '.join(missing)}: add it to the model, and run `aam run`"
        )
    return ".".join(place)


def _taxonomy(project: Project, warehouse: Warehouse | None) -> str:
    place = project.relations.of_any_package("traits")
    if place is None:
        raise ConfigError("dbt knows no seed traits: put your traits into seeds/traits.csv")
    _columns(warehouse, place)
    assert warehouse is not None  # noqa: S101  # it has columns
    [found] = warehouse.rows(f"select count(*) as traits from {quoted(*place)}")
    if not found["traits"]:
        raise ConfigError(f"{'.'.join(place)} is empty: put your traits into seeds/traits.csv")
    return f"{'.'.join(place)}, number of traits: {found['traits']:,}"


def _columns(warehouse: Warehouse | None, place: tuple[str, str]) -> set[str]:
    if warehouse is None or not warehouse.has_table(*place):
        raise _NotYetError(NOT_BUILT)
    warehouse.rows(f"select 1 from {quoted(*place)} limit 1")  # that it can be read, too
    return {name.lower() for name in warehouse.columns(*place)}


def _examine_destination(project: Project, to: str | None, write: bool) -> Iterator[Finding]:
    chosen: list[DestinationSettings] = []
    reached: list[Destination] = []
    yield _find("destination", _destination, project, to, chosen, reached)
    for settings in chosen:
        if settings.encrypt:
            yield _find("gpg and key", _encryption, settings)
        for destination in reached:
            if write:
                yield _find("probe", _probe, settings, destination)
            clock = _find("clock", _clock, destination)
            if clock.says:  # not all destinations tell their time
                yield clock
            destination.close()


def _destination(
    project: Project,
    to: str | None,
    chosen: list[DestinationSettings],
    reached: list[Destination],
) -> str:
    name, settings = load_destination(project, to)
    chosen.append(settings)
    destination = open_destination(name, settings)
    try:
        destination.reach()
        key = settings.key(_now().date(), "ftp_dpm_")
        waiting = sum(1 for _ in destination.list(key.removesuffix("ftp_dpm_")))
    except AamError:
        destination.close()
        raise
    reached.append(destination)
    return f"{name} ({settings.type}) can be reached and listed; files of today there: {waiting}"


def _outbound(project: Project, name: str, to: str | None) -> str:
    """Whether outbound files can be listed where they lie, and read by their names. Nothing is received."""
    from aam_onboard.receive import look

    outbound, others = look(project, name, to)
    if not outbound:
        raise _NotYetError(
            f"no file of destination {project.vars.outbound[name].destination_id} there; others: {others:,}"
        )
    last = max(outbound, key=lambda one: one.name.made_at)
    return f"{len(outbound):,} files and control files there, the last made {last.name.made_at:%Y-%m-%d %H:%M} UTC"


def _api(project: Project) -> str:
    """Whether Audience Manager's API lets us in, and knows the destinations that come back."""
    from aam_onboard.api import UnknownToApiError, opened_api

    with opened_api(project) as api:
        assert api is not None  # noqa: S101  # or nobody asks
        api.reach()
        known = []
        for name, settings in project.vars.outbound.items():
            try:
                found = api.destination(settings.destination_id)
            except UnknownToApiError as error:
                raise ConfigError(f"dbt_project.yml: vars.outbound.{name}.destination_id: {error}") from None
            known.append(f"{settings.destination_id} ({shown(found.get('name', 'without a name'))})")
    assert project.vars.api is not None  # noqa: S101
    return f"{project.vars.api.base_url} lets us in, and knows destinations: {', '.join(known) or 'none asked for'}"


def _encryption(settings: DestinationSettings) -> str:
    assert settings.encrypt  # noqa: S101  # or nobody asks
    return f"files can be encrypted to {prepare_encryption(settings.encrypt).fingerprint}"


def _probe(settings: DestinationSettings, destination: Destination) -> str:
    """A file whose name is none of an inbound file's, put, read back and deleted."""
    content = os.urandom(16).hex().encode()
    key = settings.key(_now().date(), f"aam_doctor_{content.decode()}.probe")
    with tempfile.TemporaryDirectory(prefix="aam-doctor-") as folder:
        path = Path(folder) / "probe"
        path.write_bytes(content)
        part = Part(path, 1, len(content), len(content), hashlib.sha256(content).hexdigest())
        try:
            destination.put(part, key)
            if destination.head(key) is None:
                raise ConfigError(f"{destination.uri(key)} was put, but is not there")
        finally:
            destination.delete(key)
    if destination.head(key) is not None:
        raise ConfigError(f"{destination.uri(key)} can't be deleted: delete it, and ask for the right to")
    return "a file was put, read back and deleted"


def _clock(destination: Destination) -> str:
    there = destination.clock()
    if there is None:
        return ""
    seconds = round((_now() - there).total_seconds())
    if abs(seconds) > MOST_SECONDS_OFF:
        way = "ahead of" if seconds > 0 else "behind"
        raise ConfigError(f"this machine's clock is {abs(seconds):,} seconds {way} the destination's: set it")
    return f"within {max(1, abs(seconds))} s of the destination's"


def _now() -> datetime:
    return datetime.now(timezone.utc)
