"""dbt_project.yml, profiles.yml and destinations.yml as typed settings; every mistake in them is one clear line.

The `vars` of dbt_project.yml hold what a user configures and every rule that SQL and Python share, so that each rule
stands once.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from aam_onboard.destinations.settings import DestinationSettings, parse_destination
from aam_onboard.errors import ConfigError
from aam_onboard.filenames import MAX_DIGITS
from aam_onboard.package import NAME as PACKAGE
from aam_onboard.package import package_settings
from aam_onboard.reading import (
    LocalPath,
    LocalText,
    Number,
    Settings,
    SomeSettings,
    Text,
    Whole,
    read_as,
    read_yaml,
    render,
    shown,
)
from aam_onboard.relations import Relations

PROJECT_FILE = "dbt_project.yml"
DESTINATIONS_FILE = "destinations.yml"
PROFILES_FILE = "profiles.yml"


# AWS's and Adobe's own numbers are far below; the state tables keep counts as bigint.
_MOST = 10**15


def _compiles(pattern: str) -> str:
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"is no regular expression: {error}") from None
    return pattern


Dpid = Annotated[int, Field(ge=0, lt=10**MAX_DIGITS)]
Count = Annotated[int, Field(ge=1, le=_MOST)]
Share = Annotated[Number, Field(ge=0, le=1)]
Pattern = Annotated[str, AfterValidator(_compiles)]


class Guards(Settings):
    """Limits past which a delivery stops and asks; shares are between 0 and 1. Of one ID, dbt warns only."""

    max_removed: Share = 0.2
    max_shrink: Share = 0.2
    max_rejected: Share = 0.2
    max_first: int = Field(default=50_000_000, ge=0, le=_MOST)
    max_share_of_one_id: Share = 0.5


class Feed(Settings):
    """One SQL model whose rows go into one series of inbound files."""

    dpid: Dpid
    id_type: str
    mode: Literal["sync", "overwrite"]
    target_dpid: Dpid | None = None
    # What is set here goes before the project's.
    guard: Guards = Guards()

    @property
    def traits_dpid(self) -> int:
        """The data source whose traits the IDs qualify for."""
        return self.dpid if self.target_dpid is None else self.target_dpid


class IdSync(Settings):
    """A feed of ID pairs, or rows of more: one column an ID, in the order of `dpids`."""

    prefix: Literal["adobe_id", "c2c_id"]
    dpids: list[Dpid] = Field(min_length=2)
    columns: list[Text] = Field(min_length=2)
    newest_by: Text | None = None
    chained: bool = False
    guard: Guards = Guards()


class DataSource(Settings):
    """A data source as Audience Manager lists it."""

    name: str
    id_type: str
    owner: str = ""
    client_id_placement: str = ""
    cross_device: bool = False


class Limits(Settings):
    """Sizes in bytes; the rest are counts."""

    line_bytes: Count
    lines_per_user: Count
    split_bytes: Count
    max_compressed_bytes: Count
    max_plain_bytes: Count
    hashed_emails_per_customer: Count
    device_ids_per_user: Count
    user_ids_per_device: Count


class IdType(Settings):
    """`dpid`: the type's global data source · `kind`: which rules apply · `pattern`: the whole ID.

    `plain`: IDs that break none of the rules of `vars.plain.unbroken`.
    """

    kind: Literal["aam_uuid", "device", "dpuuid", "hashed_email"]
    dpid: Dpid | None = None
    pattern: Pattern | None = None
    plain: Pattern | None = None


class Rule(Settings):
    """A reason to keep a row back; see the comment above `rules` in dbt_project.yml."""

    reason: str
    says: str
    field: Literal["user_id", "signal_key", "signal_value"] | None = None
    kinds: list[str] | None = None
    matches: Pattern | None = None
    contains: Pattern | None = None
    unlike: Pattern | None = None
    guard: bool = False

    def is_broken_by(self, text: str, unlike: str | None = None) -> bool:
        """Whether a text breaks the rule; `unlike`: the pattern that `id_type` stands for."""
        if self.contains is not None:
            return re.search(self.contains, text) is not None
        if self.matches is not None:
            return re.fullmatch(self.matches, text) is not None
        pattern = unlike or self.unlike
        return pattern is None or re.fullmatch(pattern, text) is None


class Plain(SomeSettings):
    """Of vars.plain, the rules that no plain text breaks."""

    unbroken: list[str] = Field(default=[])


class Rules(Settings):
    """Audience Manager's rules: what the checker needs.

    `spaces`: the characters that {spaces} in a pattern means. `suspicious_ids`: whether the rule of that name holds.
    """

    limits: Limits
    id_types: dict[str, IdType]
    rules: list[Rule]
    plain: Plain = Plain()
    spaces: str = Field(default=" ", min_length=1)
    suspicious_ids: Literal["keep_back", "send"] = "keep_back"

    @model_validator(mode="before")
    @classmethod
    def _fill_in_spaces(cls, given: Any) -> Any:
        if not isinstance(given, dict) or not isinstance(given.get("rules"), list):
            return given
        spaces = str(given.get("spaces", " "))
        rules = [
            {
                key: value.replace("{spaces}", spaces) if isinstance(value, str) else value
                for key, value in rule.items()
            }
            if isinstance(rule, dict)
            else rule
            for rule in given["rules"]
        ]
        return {**given, "rules": rules}

    def global_id_type(self, dpid: int) -> str | None:
        """The id type of a global data source, or None for a DPID of one's own."""
        return next((name for name, kind in self.id_types.items() if kind.dpid == dpid), None)

    def of(self, about: str, kind: str) -> Iterator[tuple[int, Rule]]:
        """The rules of a field for an ID or signal of a kind, with their place in the list."""
        for place, rule in enumerate(self.rules):
            if rule.reason == "suspicious_id" and self.suspicious_ids == "send":
                continue
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


class Vars(Rules):
    """The vars that the loader reads; a project may hold others."""

    model_config = SomeSettings.model_config

    feeds: dict[str, Feed] = Field(default={})
    id_syncs: dict[str, IdSync] = Field(default={})
    data_sources: dict[Dpid, DataSource] = Field(default={})
    guards: Guards = Guards()
    on_unprocessed: Literal["warn", "hold"] = "warn"
    # Audience Manager keeps files for 30 days [amazon-s3]: nobody looks for older ones.
    not_picked_up_hours: Number = Field(default=24, ge=0, le=30 * 24)
    aam_state_schema: Text = "aam_state"
    destination: Text = "local"
    check: bool = True
    spool_dir: LocalPath = Path(".aam/spool")
    # ten years
    keep_days: Number = Field(default=0, ge=0, le=3650)

    @field_validator("feeds", "id_syncs", "data_sources", "guards", "plain", mode="before")
    @classmethod
    def _empty(cls, value: Any) -> Any:
        """A key with nothing behind it is what is left when all that stood there is a comment."""
        return {} if value is None else value


class Project(BaseModel):
    """A dbt project on disk with its vars."""

    model_config = ConfigDict(frozen=True)

    root: Path
    name: str
    profile: str
    macro_paths: list[str]
    seed_paths: list[str]
    target_path: Path
    vars: Vars
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

    def select(self, names: list[str] | None, option: str = "--select") -> list[str]:
        """The feeds that `option` names, in delivery order; all of them without it.

        Raises ConfigError for a name that is no feed, listing the known ones, and when it names nothing: a variable
        that is not set must not come to mean all feeds.
        """
        if not names:
            return self.feed_names
        wanted = [part for name in names for part in name.replace(",", " ").split()]
        if not wanted:
            raise ConfigError(f"{option} is empty: name a feed, or leave the option out")
        for name in wanted:
            if name not in self.feed_names:
                raise ConfigError(f"{option} {name}: no such feed; known feeds: {', '.join(self.feed_names)}")
        return [name for name in self.feed_names if name in wanted]


class _ProjectFile(SomeSettings):
    """What the loader reads of dbt_project.yml."""

    name: Text
    profile: Text | None = None
    model_paths: list[Text] = Field(default=["models"], validation_alias="model-paths")
    macro_paths: list[Text] = Field(default=["macros"], validation_alias="macro-paths")
    seed_paths: list[Text] = Field(default=["seeds"], validation_alias="seed-paths")
    target_path: Text = Field(default="target", validation_alias="target-path")
    vars: dict[str, Any] | None = None


def merge_vars(package: str, layers: Sequence[Mapping[str, Any]], given: Mapping[str, Any]) -> dict[str, Any]:
    """The vars of a package as dbt sees them: each whole, from the last that has it.

    `layers`: the `vars` of dbt_project.yml files, the package's own before the project's that uses it; in each, what
    stands under the package's name goes before the rest. `given`: --vars, before all of them.
    """
    merged: dict[str, Any] = {}
    for layer in layers:
        merged |= {**layer, **(layer.get(package) or {})}
    return merged | dict(given)


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
    read_as(dict[str, Any], layer.get(PACKAGE) or {}, PROJECT_FILE, "vars", PACKAGE)
    merged = merge_vars(PACKAGE, [package_settings()["vars"], layer], given or {})
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
        vars=read_as(Vars, merged, f"{PROJECT_FILE} with --vars" if given else PROJECT_FILE, "vars"),
        given_vars=dict(given or {}),
    )
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
    found = package_settings()["vars"]
    return read_as(Rules, {name: found[name] for name in Rules.model_fields}, PROJECT_FILE, "vars")


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


class _Outputs(SomeSettings):
    """A default and a choice: what destinations.yml holds, and a profile of profiles.yml."""

    target: Text | None = None
    outputs: dict[str, Any] | None = None

    def choose(self, name: str | None, where: str, kind: str) -> tuple[str, Any]:
        """The output `name`, or the default one, with its texts rendered. Raises ConfigError when there is none."""
        outputs = self.outputs or {}
        known = ", ".join(outputs) or "none"
        chosen = name or render(self.target, f"{where}: target")
        if not chosen:
            raise ConfigError(
                f"{where}: target is empty or missing: it names the {kind} to use; known are {known}"
            )
        if chosen not in outputs:
            raise ConfigError(f"{where}: no {kind} {chosen}; known are {known}")
        return chosen, render(outputs[chosen], f"{where}: {chosen}")


class _Profile(_Outputs):
    """A profile; dbt's default for the target is an output of that name."""

    target: Text = "default"


def load_destination(project: Project, name: str | None) -> tuple[str, DestinationSettings]:
    """The destination `name` of destinations.yml, or its default `target`.

    Raises ConfigError that names the output and the key.
    """
    path = project.root / DESTINATIONS_FILE
    raw = read_yaml(path)
    if raw is None:
        raise ConfigError(f"{path} is missing: it says where inbound files go; see the README")
    outputs = read_as(_Outputs, raw, DESTINATIONS_FILE)
    chosen, settings = outputs.choose(name, DESTINATIONS_FILE, "destination")
    return chosen, parse_destination(chosen, settings, project.root)


class _WarehouseSettings(SomeSettings):
    """A target of profiles.yml. Keys that only a build needs (threads, keep_open, …) are left to dbt."""

    schema_name: str = Field(default="", validation_alias="schema")

    @model_validator(mode="before")
    @classmethod
    def _leave_out_empty(cls, raw: Any) -> Any:
        """A key without a value is as good as none, for dbt too."""
        return {key: value for key, value in raw.items() if value is not None}


class Retries(SomeSettings):
    """How often dbt-duckdb tries to open the file while another program has it."""

    connect_attempts: Whole = Field(default=1, ge=1, le=20)


def _require_file(path: str) -> str:
    if path == ":memory:":
        raise ValueError("this ends with dbt, before aam could read it; give a file")
    scheme = path.partition(":")[0].lower()
    if scheme in ("md", "motherduck", "ducklake"):
        raise ValueError("aam needs a DuckDB file; give one, and attach this to it for your sources")
    return path


# What of a profile dbt-duckdb's own code prepares, for a view needs it when it is read as when it is built.
_BY_DBT = (
    "database",
    "extensions",
    "secrets",
    "use_credential_provider",
    "attach",
    "filesystems",
    "plugins",
    "module_paths",
)  # fmt: skip


class DuckDBSettings(_WarehouseSettings):
    """A DuckDB file, as dbt-duckdb's profile says."""

    type: Literal["duckdb"]
    path: Annotated[LocalText, BeforeValidator(_require_file)]
    config_options: dict[str, str | bool | int | float | list[str]] = Field(default={}, repr=False)
    settings: dict[str, str | bool | int | float | list[str]] = Field(default={}, repr=False)
    retries: Retries = Retries()
    by_dbt: dict[str, Any] = Field(default={}, repr=False)

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, raw: Any) -> Any:
        if raw.get("remote"):
            raise ValueError("aam works on a DuckDB file, not on a server (`remote`)")
        by_dbt = {name: raw[name] for name in _BY_DBT if raw.get(name)}
        return {**raw, "by_dbt": {**raw.get("by_dbt", {}), **by_dbt}}


class PostgresSettings(_WarehouseSettings):
    """A PostgreSQL server, as dbt-postgres's profile says."""

    type: Literal["postgres"]
    host: Text
    user: Text
    dbname: Text = Field(validation_alias=AliasChoices("dbname", "database"))
    port: Whole = Field(default=5432, ge=1, le=65535)
    password: str = Field(default="", repr=False, validation_alias=AliasChoices("password", "pass"))
    role: Text | None = None
    search_path: str | None = None
    sslmode: Text | None = None
    sslcert: Text | None = None
    sslkey: Text | None = None
    sslrootcert: Text | None = None
    keepalives_idle: Whole = Field(default=0, ge=0, le=86_400)  # seconds; 0: as the system does
    connect_timeout: Whole = Field(default=10, ge=0, le=86_400)
    retries: Whole = Field(default=1, ge=0, le=20)
    application_name: Text = "aam"


_WAREHOUSES: dict[str, type[DuckDBSettings] | type[PostgresSettings]] = {
    "duckdb": DuckDBSettings,
    "postgres": PostgresSettings,
}


def load_warehouse(project: Project, target: str | None) -> tuple[str, DuckDBSettings | PostgresSettings]:
    """The dbt target's name and connection: from DBT_PROFILES_DIR, the project, or ~/.dbt, as dbt itself looks.

    Raises ConfigError that names the file and the key.
    """
    folders = _profile_folders(project)
    found = ((folder / PROFILES_FILE, read_yaml(folder / PROFILES_FILE)) for folder in folders)
    path, raw = next(((path, raw) for path, raw in found if raw is not None), (None, None))
    if path is None or raw is None:
        raise ConfigError(f"no {PROFILES_FILE} in {', '.join(map(str, folders))}; see dbt's profiles")
    if project.profile not in raw:
        raise ConfigError(f"{path}: no profile {project.profile}, which {PROJECT_FILE} asks for")
    profile = read_as(_Profile, raw[project.profile], str(path), project.profile)
    chosen, output = profile.choose(target, str(path), "target")
    output = read_as(dict[str, Any], output, str(path), chosen)
    kind = output.get("type")
    if not isinstance(kind, str) or kind not in _WAREHOUSES:
        raise ConfigError(
            f"{path}: {chosen}.type: {shown(kind)} is no supported warehouse; use duckdb or postgres"
        )
    settings = read_as(_WAREHOUSES[kind], output, str(path), chosen)
    return chosen, _in_the_project(settings, project.root)


def _in_the_project(
    settings: DuckDBSettings | PostgresSettings, root: Path
) -> DuckDBSettings | PostgresSettings:
    """The settings with relative paths from the project's folder, where dbt works."""
    if isinstance(settings, PostgresSettings):
        files = {name: getattr(settings, name) for name in ("sslcert", "sslkey", "sslrootcert")}
        found = {name: str(root / file) for name, file in files.items() if file and file != "system"}
        return settings.model_copy(update=found)
    by_dbt = dict(settings.by_dbt)
    if isinstance(by_dbt.get("attach"), list):
        by_dbt["attach"] = [_attached_from(found, root) for found in by_dbt["attach"]]
    return settings.model_copy(update={"path": str(root / settings.path), "by_dbt": by_dbt})


def _attached_from(attached: Any, root: Path) -> Any:
    """Only a file has a folder: the path of other databases is an address."""
    path = attached.get("path") if isinstance(attached, dict) else None
    if not isinstance(path, str) or ":" in path or attached.get("type", "duckdb") not in ("duckdb", "sqlite"):
        return attached
    return {**attached, "path": str(root / path)}


def _profile_folders(project: Project) -> list[Path]:
    given = os.environ.get("DBT_PROFILES_DIR")
    if given == "":
        raise ConfigError("DBT_PROFILES_DIR is empty: name the folder of profiles.yml, or unset it")
    folders = [Path(given)] if given else [project.root, Path("~/.dbt")]
    expanded = []
    for folder in folders:
        with suppress(RuntimeError):  # this user has no home
            expanded.append(folder.expanduser())
    return expanded
