"""A dbt project as the loader sees it: dbt_project.yml, with the package's vars beneath; its feeds are proven here."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from aam_onboard.config.vars import Guards, Vars, merge_vars, read_vars
from aam_onboard.errors import ConfigError
from aam_onboard.package import NAME as PACKAGE
from aam_onboard.package import PROJECT_FILE
from aam_onboard.reading import SomeSettings, Text, read_as, read_yaml, render
from aam_onboard.relations import Relations
from aam_onboard.rules import Rules


class Project(BaseModel):
    """A dbt project on disk with its vars."""

    model_config = ConfigDict(frozen=True)

    root: Path
    name: str
    profile: str
    macro_paths: list[str]
    seed_paths: list[str]
    target_path: Path
    installed_package: Path  # where `dbt deps` puts ours
    vars: Vars
    places: dict[str, str]  # where each var stands, as a message names it
    given_vars: dict[str, Any] = {}  # of --vars: in `vars` already; dbt is told them
    relations: Relations = Relations()

    @property
    def rules(self) -> Rules:
        """The rules alone, as the checker takes them."""
        return Rules(**{name: getattr(self.vars, name) for name in Rules.model_fields})

    @property
    def taxonomy(self) -> Path | None:
        """The seed `traits` as it stands on disk; None where the project has none."""
        seeds = (
            path for folder in self.seed_paths for path in sorted((self.root / folder).rglob("traits.csv"))
        )
        return next(seeds, None)

    @property
    def feed_names(self) -> list[str]:
        """ID syncs first: user IDs are synchronised before data is sent. [batch-data-transfer-overview]"""
        return [*self.vars.id_syncs, *self.vars.feeds]

    def guards_of(self, feed: str) -> Guards:
        """The guards of a feed: its own over the project's."""
        own = (self.vars.feeds.get(feed) or self.vars.id_syncs[feed]).guard
        return self.vars.guards.model_copy(update=own.model_dump(exclude_unset=True))

    def dpids_of(self, feed: str) -> list[int]:
        """The DPIDs in the name of a feed's files, in their order."""
        if feed in self.vars.id_syncs:
            return list(self.vars.id_syncs[feed].dpids)
        settings = self.vars.feeds[feed]
        return [settings.dpid] + ([] if settings.target_dpid is None else [settings.target_dpid])

    def data_source_name(self, dpid: int) -> str:
        """The name of a data source, for people: `CRM customers`, `idfa (global)`."""
        if dpid in self.vars.data_sources:
            return self.vars.data_sources[dpid].name
        return f"{self.rules.global_id_type(dpid)} (global)"

    def require_full_possible(self, feeds: Sequence[str], where: str = "--full") -> None:
        """Raise ConfigError when one of `feeds`, sent as .overwrite, would erase what another feed has sent.

        `where`: what asks for the overwrite, as the message names it.
        """
        for name in feeds:
            if name in self.vars.feeds:
                _prove_overwrites_nobody(self, where, name)

    def select(
        self,
        names: list[str] | None,
        option: str = "--select",
        also: Callable[[], Sequence[str]] = list,
    ) -> list[str]:
        """The feeds that `option` names, in delivery order; all of them without it.

        `also`: names of before, asked for where a name is not known. Raises ConfigError for a name that is no feed,
        listing the known ones, and when it names nothing: a variable that is not set must not come to mean all feeds.
        """
        if not names:
            return self.feed_names
        wanted = [part for name in names for part in name.replace(",", " ").split()]
        if not wanted:
            raise ConfigError(f"{option} is empty: name a feed, or leave the option out")
        known = list(self.feed_names)
        if set(wanted) - set(known):
            known += [name for name in also() if name not in known]
        for name in wanted:
            if name not in known:
                raise ConfigError(f"{option} {name}: no such feed; known feeds: {', '.join(known)}")
        return [name for name in known if name in wanted]


class _ProjectFile(SomeSettings):
    """What the loader reads of dbt_project.yml."""

    name: Text
    profile: Text | None = None
    model_paths: list[Text] = Field(default=["models"], validation_alias="model-paths")
    macro_paths: list[Text] = Field(default=["macros"], validation_alias="macro-paths")
    seed_paths: list[Text] = Field(default=["seeds"], validation_alias="seed-paths")
    target_path: Text = Field(default="target", validation_alias="target-path")
    packages_path: Text = Field(default="dbt_packages", validation_alias="packages-install-path")
    vars: dict[str, Any] | None = None


def load_project(root: Path, given: Mapping[str, Any] | None = None) -> Project:
    """Read dbt_project.yml in `root`, with the vars `given` before its own; prove feeds, ID syncs and data sources.

    Raises ConfigError that names the setting.
    """
    raw = read_yaml(root / PROJECT_FILE)
    if raw is None:
        raise ConfigError(
            f"{root / PROJECT_FILE} is missing: run aam in the folder of your dbt project, or pass --project-dir"
        )
    file = read_as(_ProjectFile, raw, PROJECT_FILE)
    layer = file.vars or {}
    read_as(
        dict[str, Any], layer.get(PACKAGE, {}), PROJECT_FILE, "vars", PACKAGE
    )  # dbt fails over an empty one
    merged = merge_vars(layer, given or {})
    target_path = os.environ.get("DBT_TARGET_PATH") or render(
        file.target_path, f"{PROJECT_FILE}: target-path"
    )
    project = Project(
        root=root,
        name=file.name,
        profile=render(file.profile, f"{PROJECT_FILE}: profile") or file.name,
        macro_paths=file.macro_paths,
        seed_paths=file.seed_paths,
        target_path=root / target_path,
        installed_package=root
        / render(file.packages_path, f"{PROJECT_FILE}: packages-install-path")
        / PACKAGE,
        vars=read_vars(Vars, merged),
        places={name: found.where for name, found in merged.items()},
        given_vars=dict(given or {}),
    )
    if project.vars.retired:  # nothing of it need fit today's models and data sources
        only = {"feeds": project.vars.retired, "id_syncs": {}}
        return project.model_copy(update={"vars": project.vars.model_copy(update=only)})
    model_files = {path.stem for folder in file.model_paths for path in (root / folder).rglob("*.sql")}
    for feed in project.feed_names:
        if feed not in model_files:
            raise ConfigError(
                f"{PROJECT_FILE}: feed {feed} has no model; write models/feeds/{feed}.sql or remove the feed"
            )
    _prove_feeds(project)
    _prove_id_syncs(project)
    return project


def find_project(root: Path) -> Project | None:
    """The project in `root`; None where the folder that one is in holds none. For what works without a project.

    Raises ConfigError as load_project, and for another folder that holds none: it was meant to.
    """
    if root == Path() and not (root / PROJECT_FILE).exists():
        return None
    return load_project(root)


def package_rules() -> Rules:
    """Audience Manager's rules as the package has them, before any project's settings."""
    return read_vars(Rules, merge_vars({}, {}))


def _prove_feeds(project: Project) -> None:
    for name, feed in project.vars.feeds.items():
        where = f"{project.places['feeds']}.{name}"
        if name in project.vars.id_syncs:
            raise ConfigError(f"{where}: an ID sync has the same name; rename one of them")
        if feed.id_type not in project.vars.id_types:
            known = ", ".join(project.vars.id_types)
            raise ConfigError(f"{where}.id_type: {feed.id_type} is no id type; known are {known}")
        _prove_id_type(project, f"{where}.dpid", feed.dpid, feed.id_type)
        if feed.target_dpid is None and project.rules.global_id_type(feed.dpid):
            raise ConfigError(
                f"{where}: target_dpid is missing; DPID {feed.dpid} is the global data source of {feed.id_type}, "
                "so the file must say whose traits the IDs qualify for"
            )
        if feed.target_dpid is not None and feed.target_dpid not in project.vars.data_sources:
            raise ConfigError(
                f"{where}.target_dpid: data source {feed.target_dpid} is not in vars.data_sources; add it there"
            )
        if feed.mode == "overwrite":
            _prove_overwrites_nobody(project, where, name)


def _prove_overwrites_nobody(project: Project, where: str, name: str) -> None:
    """An .overwrite replaces all that a user has in the data source of the traits. [inbound-s3-filenames]"""
    feeds = project.vars.feeds
    place = feeds[name].dpid, feeds[name].traits_dpid
    for other, feed in feeds.items():
        if other != name and (feed.dpid, feed.traits_dpid) == place:
            raise ConfigError(
                f"{where}: an overwrite of feed {name} would erase what feed {other} sends, for both go into data"
                f" source {place[1]} with the same IDs; give one of them a target_dpid of its own"
            )


def _prove_id_syncs(project: Project) -> None:
    for name, sync in project.vars.id_syncs.items():
        where = f"{project.places['id_syncs']}.{name}"
        if len(sync.columns) != len(sync.dpids):
            raise ConfigError(
                f"{where}: {len(sync.columns)} columns but {len(sync.dpids)} dpids; one column an ID, in their order"
            )
        if len(set(sync.dpids)) != len(sync.dpids):
            raise ConfigError(f"{where}.dpids: the same DPID twice; each column is another data source")
        types = [_id_type_of(project, f"{where}.dpids", dpid) for dpid in sync.dpids]
        kinds = [project.vars.id_types[id_type].kind for id_type in types]
        if sync.prefix == "c2c_id":
            if len(sync.dpids) != 2 or kinds != ["dpuuid", "hashed_email"]:
                raise ConfigError(
                    f"{where}: a c2c_id sync has two columns: a dpuuid source, then a hashed_email source "
                    f"(these are {', '.join(types)})"
                )
        elif kinds[0] not in ("aam_uuid", "device") and not sync.chained:
            raise ConfigError(
                f"{where}: the first column of an adobe_id sync holds device IDs, but DPID {sync.dpids[0]} is a "
                f"{types[0]} source; put the device IDs first, or set `chained: true` if that source is synced already"
            )


def _id_type_of(project: Project, where: str, dpid: int) -> str:
    id_type = project.rules.global_id_type(dpid)
    if id_type is None and dpid in project.vars.data_sources:
        id_type = project.vars.data_sources[dpid].id_type
        if id_type not in project.vars.id_types:
            known = ", ".join(project.vars.id_types)
            raise ConfigError(
                f"{project.places['data_sources']}.{dpid}.id_type: {id_type} is no id type; known are {known}"
            )
    if id_type is None:
        raise ConfigError(
            f"{where}: data source {dpid} is not in vars.data_sources; add it there with its id type"
        )
    return id_type


def _prove_id_type(project: Project, where: str, dpid: int, id_type: str) -> None:
    registered = _id_type_of(project, where, dpid)
    if registered != id_type:
        raise ConfigError(
            f"{where}: data source {dpid} holds {registered} IDs, but the feed says {id_type}; correct one of them"
        )
