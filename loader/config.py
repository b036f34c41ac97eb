"""dbt_project.yml, profiles.yml and destinations.yml as typed settings; every mistake in them is one clear line.

The `vars` of dbt_project.yml hold what a user configures and every rule that SQL and Python share, so that each rule
stands once.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from loader.destinations.settings import DestinationSettings, parse_destination
from loader.errors import ConfigError

PROJECT_FILE = "dbt_project.yml"
DESTINATIONS_FILE = "destinations.yml"
PROFILES_FILE = "profiles.yml"


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Guards(_Settings):
    """Limits past which a delivery stops and asks; shares are between 0 and 1."""

    max_removed: float = Field(0.2, ge=0, le=1, strict=False)
    max_shrink: float = Field(0.2, ge=0, le=1, strict=False)
    max_rejected: float = Field(0.2, ge=0, le=1, strict=False)
    max_first: int = Field(50_000_000, ge=0)


class Feed(_Settings):
    """One SQL model whose rows go into one series of inbound files."""

    dpid: int = Field(ge=0)
    id_type: str
    mode: Literal["sync", "overwrite"]
    target_dpid: int | None = Field(None, ge=0)
    guard: dict[str, Any] = {}

    @property
    def traits_dpid(self) -> int:
        """The data source whose traits the IDs qualify for."""
        return self.dpid if self.target_dpid is None else self.target_dpid


class IdSync(_Settings):
    """A feed of ID pairs, or rows of more: one column an ID, in the order of `dpids`."""

    prefix: Literal["adobe_id", "c2c_id"]
    dpids: list[int] = Field(min_length=2)
    columns: list[str] = Field(min_length=2)
    newest_by: str | None = None
    chained: bool = False
    guard: dict[str, Any] = {}


class DataSource(_Settings):
    """A data source as Audience Manager lists it."""

    name: str
    id_type: str
    owner: str = ""
    client_id_placement: str = ""


class Limits(_Settings):
    """Sizes in bytes; the rest are counts."""

    line_bytes: int
    lines_per_user: int
    split_bytes: int = Field(gt=0)
    max_compressed_bytes: int
    max_plain_bytes: int
    hashed_emails_per_customer: int
    device_ids_per_user: int
    user_ids_per_device: int


class IdType(_Settings):
    """`dpid`: the type's global data source · `kind`: which rules apply · `pattern`: the whole ID.

    `plain`: IDs that break none of the rules of `vars.plain.unbroken`.
    """

    kind: Literal["aam_uuid", "device", "dpuuid", "hashed_email"]
    dpid: int | None = None
    pattern: str | None = None
    plain: str | None = None


class Rule(_Settings):
    """A reason to keep a row back; see the comment above `rules` in dbt_project.yml."""

    reason: str
    says: str
    field: Literal["user_id", "signal_key", "signal_value"] | None = None
    kinds: list[str] | None = None
    matches: str | None = None
    contains: str | None = None
    unlike: str | None = None

    def is_broken_by(self, text: str, unlike: str | None = None) -> bool:
        """Whether a text breaks the rule; `unlike`: the pattern that `id_type` stands for."""
        if self.contains is not None:
            return re.search(self.contains, text) is not None
        if self.matches is not None:
            return re.fullmatch(self.matches, text) is not None
        pattern = unlike or self.unlike
        return pattern is None or re.fullmatch(pattern, text) is None


class Plain(_Settings):
    """Of vars.plain, the rules that no plain text breaks."""

    model_config = ConfigDict(extra="ignore")

    unbroken: list[str] = []


class Rules(_Settings):
    """Audience Manager's rules: what the checker needs."""

    limits: Limits
    id_types: dict[str, IdType]
    rules: list[Rule]
    plain: Plain = Plain()

    def global_id_type(self, dpid: int) -> str | None:
        """The id type of a global data source, or None for a DPID of one's own."""
        return next((name for name, kind in self.id_types.items() if kind.dpid == dpid), None)

    def of(self, about: str, kind: str) -> Iterator[tuple[int, Rule]]:
        """The rules of a field for an ID or signal of a kind, with their place in the list."""
        for place, rule in enumerate(self.rules):
            if rule.field == about and (rule.kinds is None or kind in rule.kinds):
                yield place, rule

    def sure_ids(self, id_type: str) -> str | None:
        """What an ID is like that breaks no rule for sure; None when there are more rules to try."""
        rules = self.of("user_id", self.id_types[id_type].kind)
        is_sure = all(rule.reason in self.plain.unbroken for _, rule in rules)
        return self.id_types[id_type].plain if is_sure else None

    def pattern_of(self, rule: Rule, id_type: str) -> str:
        """What a text must be like for a rule with `unlike`. Raises ConfigError when its id type has no pattern."""
        pattern = self.id_types[id_type].pattern if rule.unlike == "id_type" else rule.unlike
        if pattern is None:
            raise ConfigError(f"vars.rules: {rule.reason} needs a pattern: give vars.id_types.{id_type} one")
        return pattern

    def says(self, reason: str) -> str:
        """What a reason code means, in words."""
        return next((rule.says for rule in self.rules if rule.reason == reason), reason)


class Vars(_Settings):
    """The vars that the loader reads; a project may hold others."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    feeds: dict[str, Feed] = {}
    id_syncs: dict[str, IdSync] = {}
    data_sources: dict[int, DataSource] = {}
    guards: Guards = Guards.model_construct()
    on_unprocessed: Literal["warn", "hold"] = "warn"
    not_picked_up_hours: float = Field(24, strict=False)
    aam_state_schema: str = "aam_state"
    destination: str = "local"
    check: bool = True
    spool_dir: str = ".aam/spool"
    keep_days: float = Field(0, ge=0, strict=False)
    limits: Limits
    id_types: dict[str, IdType]
    rules: list[Rule]
    plain: Plain = Plain()


class Project(BaseModel):
    """A dbt project on disk with its vars."""

    model_config = ConfigDict(frozen=True)

    root: Path
    profile: str
    inbound_schema: str
    vars: Vars

    @property
    def rules(self) -> Rules:
        """The rules alone, as the checker takes them."""
        read = self.vars
        return Rules(limits=read.limits, id_types=read.id_types, rules=read.rules, plain=read.plain)

    @property
    def feed_names(self) -> list[str]:
        """ID syncs first: user IDs are synchronised before data is sent. [batch-data-transfer-overview]"""
        return [*self.vars.id_syncs, *self.vars.feeds]

    def guards_of(self, feed: str) -> Guards:
        """The guards of a feed: its own over the project's."""
        own = (self.vars.feeds.get(feed) or self.vars.id_syncs[feed]).guard
        return Guards(**{**self.vars.guards.model_dump(), **own})

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

    def require_full_possible(self, feeds: Sequence[str]) -> None:
        """Raise ConfigError when one of `feeds`, sent as .overwrite, would erase what another feed has sent."""
        for name in feeds:
            if name in self.vars.feeds:
                _prove_overwrites_nobody(self, "--full", name)

    def select(self, names: list[str] | None) -> list[str]:
        """The feeds that `--select` names, in delivery order; all of them without it.

        Raises ConfigError for a name that is no feed, listing the known ones.
        """
        wanted = [part for name in names or [] for part in name.replace(",", " ").split()]
        for name in wanted:
            if name not in self.feed_names:
                raise ConfigError(f"--select {name}: no such feed; known feeds: {', '.join(self.feed_names)}")
        return [name for name in self.feed_names if not wanted or name in wanted]


def load_project(root: Path) -> Project:
    """Read dbt_project.yml in `root` and prove its feeds, ID syncs and data sources.

    Raises ConfigError that names the setting.
    """
    path = root / PROJECT_FILE
    if not path.is_file():
        raise ConfigError(
            f"{path} is missing: run aam in the folder of your dbt project, or pass --project-dir"
        )
    raw = _read_yaml(path)
    name = str(raw.get("name"))
    all_vars = raw.get("vars") or {}
    merged = {**all_vars, **(all_vars.get(name) or {})}
    try:
        settings = Vars.model_validate(merged)
    except ValidationError as error:
        raise ConfigError(f"{PROJECT_FILE}: {_first_error('vars', error)}") from None
    inbound = ((raw.get("models") or {}).get(name) or {}).get("inbound") or {}
    project = Project(
        root=root,
        profile=str(raw.get("profile", name)),
        inbound_schema=str(inbound.get("+schema") or inbound.get("schema") or "inbound"),
        vars=settings,
    )
    model_files = {
        file.stem
        for folder in raw.get("model-paths") or ["models"]
        for file in (root / folder).rglob("*.sql")
    }
    for feed in project.feed_names:
        if feed not in model_files:
            raise ConfigError(
                f"{PROJECT_FILE}: feed {feed} has no model; write models/feeds/{feed}.sql or remove the feed"
            )
    _prove_feeds(project)
    _prove_id_syncs(project)
    return project


def _prove_feeds(project: Project) -> None:
    for name, feed in project.vars.feeds.items():
        where = f"{PROJECT_FILE}: vars.feeds.{name}"
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
        _prove_guard(project, where, name)


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
        where = f"{PROJECT_FILE}: vars.id_syncs.{name}"
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
        _prove_guard(project, where, name)


def _prove_guard(project: Project, where: str, name: str) -> None:
    try:
        project.guards_of(name)
    except ValidationError as error:
        raise ConfigError(f"{where}.{_first_error('guard', error)}") from None


def _id_type_of(project: Project, where: str, dpid: int) -> str:
    id_type = project.rules.global_id_type(dpid)
    if id_type is None and dpid in project.vars.data_sources:
        id_type = project.vars.data_sources[dpid].id_type
        if id_type not in project.vars.id_types:
            known = ", ".join(project.vars.id_types)
            raise ConfigError(
                f"{PROJECT_FILE}: vars.data_sources.{dpid}.id_type: {id_type} is no id type; known are {known}"
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


def load_destination(project: Project, name: str | None) -> tuple[str, DestinationSettings]:
    """The destination `name` of destinations.yml, or its default `target`.

    Raises ConfigError that names the output and the key.
    """
    path = project.root / DESTINATIONS_FILE
    if not path.is_file():
        raise ConfigError(f"{path} is missing: it says where inbound files go; see the README")
    raw = _render(_read_yaml(path), DESTINATIONS_FILE, only=None if name else "target")
    outputs = raw.get("outputs") or {}
    chosen = name or raw.get("target")
    if chosen not in outputs:
        raise ConfigError(f"{DESTINATIONS_FILE}: no destination {chosen}; known are {', '.join(outputs)}")
    settings = _render(outputs[chosen], f"{DESTINATIONS_FILE}: {chosen}")
    return str(chosen), parse_destination(str(chosen), settings, project.root)


class DuckDBSettings(_Settings):
    """A DuckDB file, as dbt-duckdb's profile says."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=False)

    type: Literal["duckdb"]
    path: str
    settings: dict[str, Any] = {}


class PostgresSettings(_Settings):
    """A PostgreSQL server, as dbt-postgres's profile says."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=False)

    type: Literal["postgres"]
    host: str
    user: str
    dbname: str = Field(validation_alias="dbname")
    port: int = 5432
    password: str = Field("", repr=False)
    sslmode: str | None = None
    sslrootcert: str | None = None
    connect_timeout: int = 10


def load_warehouse(project: Project, target: str | None) -> tuple[str, DuckDBSettings | PostgresSettings]:
    """The dbt target's name and connection: from DBT_PROFILES_DIR, the project, or ~/.dbt, as dbt itself looks.

    Raises ConfigError that names the file and the key.
    """
    folders = [os.environ.get("DBT_PROFILES_DIR"), str(project.root), "~/.dbt"]
    paths = [Path(folder).expanduser() / PROFILES_FILE for folder in folders if folder]
    path = next((candidate for candidate in paths if candidate.is_file()), None)
    if path is None:
        raise ConfigError(
            f"no {PROFILES_FILE} in {', '.join(str(p.parent) for p in paths)}; see dbt's profiles"
        )
    profile = _read_yaml(path).get(project.profile)
    if not isinstance(profile, dict):
        raise ConfigError(f"{path}: no profile {project.profile}, which {PROJECT_FILE} asks for")
    chosen = target or str(_render(profile.get("target", "default"), f"{path}: target"))
    outputs = profile.get("outputs") or {}
    if chosen not in outputs:
        raise ConfigError(f"{path}: no target {chosen}; known are {', '.join(outputs)}")
    raw = _render(outputs[chosen], f"{path}: {chosen}")
    if raw.get("pass") and not raw.get("password"):
        raw["password"] = raw["pass"]
    kinds: dict[str, type[DuckDBSettings] | type[PostgresSettings]] = {
        "duckdb": DuckDBSettings,
        "postgres": PostgresSettings,
    }
    if raw.get("type") not in kinds:
        raise ConfigError(
            f"{path}: {chosen}.type: {raw.get('type')} is no supported warehouse; use duckdb or postgres"
        )
    try:
        settings = kinds[raw["type"]].model_validate(raw)
    except ValidationError as error:
        raise ConfigError(f"{path}: {_first_error(chosen, error)}") from None
    if isinstance(settings, DuckDBSettings):
        settings = settings.model_copy(update={"path": str(project.root / Path(settings.path).expanduser())})
    return chosen, settings


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{path}{place}: this is no YAML: {getattr(error, 'problem', error)}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: expected `key: value` lines")
    return content


def _render(value: Any, where: str, only: str | None = None) -> Any:
    """Render `{{ env_var('NAME', 'default') }}` in every text of a YAML value, as dbt does in profiles.yml."""
    if isinstance(value, dict):
        return {
            key: _render(item, f"{where}.{key}") if only in (None, key) and key != "outputs" else item
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_render(item, where) for item in value]
    if not isinstance(value, str) or "{{" not in value:
        return value
    from jinja2 import StrictUndefined, TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def env_var(name: str, default: str | None = None) -> str:
        found = os.environ.get(name, default)
        if found is None:
            raise ConfigError(f"{where}: the environment variable {name} is not set")
        return found

    # values stay text here; pydantic makes the numbers
    environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined)
    for name in ("as_number", "as_bool", "as_text", "as_native"):
        environment.filters[name] = lambda text: text
    try:
        return environment.from_string(value).render(env_var=env_var)
    except TemplateError as error:
        raise ConfigError(f"{where}: {error}") from None


def _first_error(prefix: str, error: ValidationError) -> str:
    """The first mistake of several, as `path: what is wrong`."""
    first = error.errors(include_url=False)[0]
    place = ".".join([prefix, *(str(part) for part in first["loc"])])
    message = str(first["msg"])
    if first["type"] == "extra_forbidden":
        message = "no such setting; is it misspelt?"
    elif first["type"] == "missing":
        message = "is missing"
    elif not isinstance(first["input"], (dict, list)) and "password" not in place:
        message = f"`{first['input']}`: {message[0].lower()}{message[1:]}"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"{place}: {message}{more}"
