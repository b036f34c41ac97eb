"""profiles.yml: the warehouse that dbt builds in, for the loader to connect to as dbt does."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias
from urllib.parse import quote

from pydantic import AliasChoices, BeforeValidator, Field, model_validator

from aam_onboard.config.project import Project
from aam_onboard.errors import ConfigError
from aam_onboard.package import PROJECT_FILE
from aam_onboard.reading import LocalText, Outputs, SomeSettings, Text, Whole, read_as, read_yaml, shown

PROFILES_FILE = "profiles.yml"


class _Profile(Outputs):
    """A profile; dbt's default for the target is an output of that name."""

    target: Text = "default"


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


class SparkSettings(_WarehouseSettings):
    """A Spark session, as dbt-spark's profile says: by Spark Connect (`spark.remote`), or with a driver of our own.

    `lock`: what a run holds; with the files on their way, so that other hosts with the same storage see it.
    """

    type: Literal["spark"]
    method: Literal["session"]
    server_side_parameters: dict[str, str | bool | int | float] = Field(default={}, repr=False)
    lock: str = ""

    @model_validator(mode="before")
    @classmethod
    def _only_a_session(cls, raw: Any) -> Any:
        if raw.get("method") != "session":
            raise ValueError(
                f"method {shown(raw.get('method'))} is none that files can be written by; use method: session, with"
                " spark.remote in server_side_parameters for a Spark Connect server"
            )
        speculation = str((raw.get("server_side_parameters") or {}).get("spark.speculation", "false"))
        if speculation.lower() != "false":
            raise ValueError("spark.speculation is on: a file would be written twice; set it to false")
        return raw


WarehouseSettings: TypeAlias = DuckDBSettings | PostgresSettings | SparkSettings
_WAREHOUSES: dict[str, type[DuckDBSettings] | type[PostgresSettings] | type[SparkSettings]] = {
    "duckdb": DuckDBSettings,
    "postgres": PostgresSettings,
    "spark": SparkSettings,
}


def load_warehouse(project: Project, target: str | None) -> tuple[str, WarehouseSettings]:
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
            f"{path}: {chosen}.type: {shown(kind)} is no supported warehouse; use duckdb, postgres or spark"
        )
    settings = read_as(_WAREHOUSES[kind], output, str(path), chosen)
    return chosen, _in_the_project(settings, project, chosen)


def _in_the_project(settings: WarehouseSettings, project: Project, target: str) -> WarehouseSettings:
    """The settings with relative paths from the project's folder, where dbt works."""
    root = project.root
    if isinstance(settings, PostgresSettings):
        files = {name: getattr(settings, name) for name in ("sslcert", "sslkey", "sslrootcert")}
        found = {name: str(root / file) for name, file in files.items() if file and file != "system"}
        return settings.model_copy(update=found)
    if isinstance(settings, SparkSettings):
        lock = root / project.vars.spool_dir / f"{quote(target, safe='')}.spark"
        return settings.model_copy(update={"lock": str(lock)})
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
