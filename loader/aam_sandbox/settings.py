"""What a sandbox is made of: `sandbox.yml`, and what a project says of its data sources and traits."""

from __future__ import annotations

import csv
import json
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Field

from aam_onboard.errors import ConfigError
from aam_onboard.reading import Flag, LocalPath, Settings, Text, Whole, read_as, read_yaml, render, shown
from aam_onboard.rules import Dpid
from aam_sandbox.outbound import Layout
from aam_sandbox.segments import SegmentRuleError, parse_segment_rule
from aam_sandbox.trait_rules import TraitRuleError, parse_trait_rule

if TYPE_CHECKING:
    import duckdb

    from aam_onboard.config import Project
    from aam_onboard.rules import Rules

FILE = "sandbox.yml"
_TYPES = {"onboarded": "ON_BOARDED_TRAIT", "rule_based": "RULE_BASED_TRAIT", "algorithmic": "ALGO_TRAIT"}
_ROOTS = {"traits": "All Traits", "segments": "All Segments"}


def _trait_rule(rule: str) -> str:
    try:
        parse_trait_rule(rule)
    except TraitRuleError as error:
        raise ValueError(str(error)) from None
    return rule


def _segment_rule(rule: str) -> str:
    try:
        parse_segment_rule(rule)
    except SegmentRuleError as error:
        raise ValueError(str(error)) from None
    return rule


class DataSourceSettings(Settings):
    """A data source, as Audience Manager lists it."""

    name: Text | None = None
    id_type: Text = Field(default="dpuuid", description="of its IDs, a name of `id_types`")
    cross_device: Flag = Field(
        default=False, description="signals of IDs that are not synced are kept, not skipped"
    )
    owned: Flag = Field(
        default=True, description="whether files may name it as the data source of their traits"
    )
    integration_code: Text | None = None


class TraitSettings(Settings):
    """A trait. Without a rule it is known by its ID alone (`d_sid`)."""

    name: Text | None = None
    description: str | None = None
    dpid: Dpid
    type: Literal["onboarded", "rule_based", "algorithmic"] = "onboarded"
    rule: Annotated[str, AfterValidator(_trait_rule)] | None = None
    integration_code: Text | None = None
    ttl: Annotated[Whole, Field(ge=0, le=100_000)] = Field(default=120, description="days; 0: for ever")
    folder: Dpid = 0


class FolderSettings(Settings):
    """A folder of traits or segments; the root has the ID 0."""

    name: Text
    parent: Dpid = 0


class FoldersSettings(Settings):
    """Folders by their ID."""

    traits: dict[Dpid, FolderSettings] = Field(default={})
    segments: dict[Dpid, FolderSettings] = Field(default={})


class SegmentSettings(Settings):
    """A segment: a rule of trait IDs with AND, OR, NOT."""

    name: Text | None = None
    description: str | None = None
    dpid: Dpid | None = None
    rule: Annotated[str, AfterValidator(_segment_rule)]
    integration_code: Text | None = None
    folder: Dpid = 0
    merge_rule_dpid: Dpid | None = None
    status: Literal["ACTIVE", "INACTIVE"] = "ACTIVE"


class DestinationSettings(Settings):
    """A destination of Audience Manager's: who gets which segments and traits, in what layout."""

    name: Text | None = None
    master_dpid: Dpid | None = Field(default=None, description="whose IDs its files hold")
    mappings: list[Dpid] | dict[Dpid, Text | None] = Field(
        default=[], description="IDs of segments and traits; or `ID: alias`"
    )
    layout: dict[str, Any] = Field(default={}, description="how its files look")


class SandboxSettings(Settings):
    """All of `sandbox.yml`."""

    data_sources: dict[Dpid, DataSourceSettings] = Field(default={})
    folders: FoldersSettings = FoldersSettings()
    traits: dict[Dpid, TraitSettings] = Field(default={})
    segments: dict[Dpid, SegmentSettings] = Field(default={})
    destinations: dict[Dpid, DestinationSettings] = Field(default={})
    gnupg_home: LocalPath | None = Field(
        default=None,
        description="the folder of the gpg keys that PGP files are read with; without, they are left",
    )


def read_settings(file: Path | None, project: Project | None) -> SandboxSettings:
    """What a project says of its data sources and traits, and over it what the file says.

    Either may be missing. Raises ConfigError that names the file and the setting.
    """
    said = {} if project is None else _of_project(project)
    where = FILE if file is None else str(file)
    if file is not None:
        raw = read_yaml(file)
        if raw is None:
            raise ConfigError(
                f"{file}: no such file; it lists data sources, traits, segments and destinations"
            )
        for name, value in render(raw, where).items():
            below = said.get(name)
            said[name] = _over(below, value) if name in ("data_sources", "traits") and below else value
    settings = read_as(SandboxSettings, said, where)
    _prove(settings, where)
    home = settings.gnupg_home
    if home is not None and file is not None:
        settings = settings.model_copy(update={"gnupg_home": (file.parent / home).absolute()})
    return settings


def _over(below: dict[Any, Any], value: object) -> object:
    """Settings by their ID over others; those of one ID are mixed."""
    if not isinstance(value, dict):
        return value
    mixed = dict(below)
    for key, settings in value.items():
        known = below.get(key)
        mixed[key] = {**known, **settings} if known and isinstance(settings, dict) else settings
    return mixed


def _of_project(project: Project) -> dict[str, Any]:
    sources: dict[int, dict[str, Any]] = {
        dpid: {"name": found.name, "id_type": found.id_type, "cross_device": found.cross_device}
        for dpid, found in project.vars.data_sources.items()
    }
    traits = _of_taxonomy(project.taxonomy)
    for trait in traits.values():  # a partner's are in the taxonomy too
        if project.rules.global_id_type(trait["dpid"]) is None:
            sources.setdefault(trait["dpid"], {"owned": False})
    return {"data_sources": sources, "traits": traits}


def _of_taxonomy(path: Path | None) -> dict[int, dict[str, Any]]:
    """The seed traits.csv; a rule may stand in a column `trait_rule`, and so may `integration_code` and `ttl`."""
    if path is None:
        return {}
    traits: dict[int, dict[str, Any]] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for row in csv.DictReader(file):
                trait: dict[str, Any] = {
                    "name": row["trait_name"],
                    "dpid": int(row["dpid"]),
                    "type": row["trait_type"],
                    "description": row.get("description"),
                }
                if row.get("ttl"):
                    trait["ttl"] = int(row["ttl"])
                for column, setting in {"trait_rule": "rule", "integration_code": "integration_code"}.items():
                    if row.get(column):
                        trait[setting] = row[column]
                traits[int(row["trait_id"])] = trait
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"the taxonomy {path} can't be read: {error}") from None
    except KeyError as error:
        raise ConfigError(f"{path}: the taxonomy has no column {error.args[0]}") from None
    except ValueError as error:
        raise ConfigError(
            f"{path}: a trait has no number for an ID, data source or ttl: {shown(error)}"
        ) from None
    return traits


def _prove(settings: SandboxSettings, where: str) -> None:
    """Raise ConfigError for what names something that is not there."""
    from aam_onboard.config import package_rules

    rules = package_rules()
    known = set(settings.data_sources) | {kind.dpid for kind in rules.id_types.values()}
    for dpid, source in settings.data_sources.items():
        if source.id_type not in rules.id_types:
            raise ConfigError(
                f"{where}: data_sources.{dpid}.id_type: {shown(source.id_type)} is no id type; known are"
                f" {', '.join(rules.id_types)}"
            )
        if global_type := rules.global_id_type(dpid):
            raise ConfigError(
                f"{where}: data_sources.{dpid}: this is the global data source of {global_type}, which needs no entry"
            )
    named: list[tuple[str, int | None]] = []
    named += [(f"traits.{sid}.dpid", trait.dpid) for sid, trait in settings.traits.items()]
    named += [(f"segments.{sid}.dpid", segment.dpid) for sid, segment in settings.segments.items()]
    named += [
        (f"destinations.{one}.master_dpid", of.master_dpid) for one, of in settings.destinations.items()
    ]
    for place, named_dpid in named:
        if named_dpid is not None and named_dpid not in known:
            raise ConfigError(
                f"{where}: {place}: there is no data source {named_dpid}; add it to data_sources"
            )
    for sid in settings.segments.keys() & settings.traits.keys():
        raise ConfigError(f"{where}: segments.{sid}: a trait has the same ID")
    for sid, segment in settings.segments.items():
        for trait in parse_segment_rule(segment.rule).sids:
            if trait not in settings.traits:
                raise ConfigError(f"{where}: segments.{sid}.rule: there is no trait {trait}")
    for one, destination in settings.destinations.items():
        read_as(Layout, destination.layout, where, "destinations", str(one), "layout")
        for sid in destination.mappings:
            if sid not in settings.traits and sid not in settings.segments:
                raise ConfigError(f"{where}: destinations.{one}.mappings: there is no segment or trait {sid}")


def fill(connection: duckdb.DuckDBPyConnection, settings: SandboxSettings, rules: Rules) -> None:
    """Put the settings into a new sandbox's tables, with the global data sources and the roots of the folders."""
    import pyarrow as pa

    now = datetime.now(timezone.utc).replace(tzinfo=None)
    sources: list[list[Any]] = [
        [kind.dpid, name, None, name, False, False]
        for name, kind in rules.id_types.items()
        if kind.dpid is not None
    ]
    sources += [
        [
            dpid,
            one.name or f"Data source {dpid}",
            one.integration_code,
            one.id_type,
            one.cross_device,
            one.owned,
        ]
        for dpid, one in settings.data_sources.items()
    ]
    folders: list[list[Any]] = []
    for kind, root in _ROOTS.items():
        of_kind: dict[int, FolderSettings] = getattr(settings.folders, kind)
        folders.append([0, kind, None, root])
        folders += [[number, kind, one.parent, one.name] for number, one in of_kind.items()]
    traits = [
        [sid, one.dpid, one.name or f"Trait {sid}", one.description, one.integration_code, _TYPES[one.type],
         one.rule, one.ttl, one.folder, "ACTIVE", now, now, None]
        for sid, one in settings.traits.items()
    ]  # fmt: skip
    segments = [
        [sid, one.dpid, one.name or f"Segment {sid}", one.description, one.integration_code, one.rule, one.folder,
         one.merge_rule_dpid, one.status, now]
        for sid, one in settings.segments.items()
    ]  # fmt: skip
    destinations = [
        [number, one.name or f"Destination {number}", one.master_dpid, json.dumps(one.layout)]
        for number, one in settings.destinations.items()
    ]
    mappings = [
        [number, sid, one.mappings[sid] if isinstance(one.mappings, dict) else None]
        for number, one in settings.destinations.items()
        for sid in one.mappings
    ]
    for table, rows in {
        "data_sources": sources,
        "folders": folders,
        "traits": traits,
        "segments": segments,
        "destinations": destinations,
        "destination_mappings": mappings,
    }.items():
        if rows:
            columns = [list(column) for column in zip(*rows, strict=True)]
            given = pa.table({f"column_{place}": column for place, column in enumerate(columns)})
            connection.register("given", given)
            connection.execute(f"insert into {table} select * from given")
            connection.unregister("given")
    home = None if settings.gnupg_home is None else str(settings.gnupg_home)
    connection.execute("update sandbox set gnupg_home = ?", [home])
