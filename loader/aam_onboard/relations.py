"""Where dbt puts what the loader reads. Schemas and names are dbt's to decide (generate_schema_name), so it is asked.

What it said is kept in `.aam/relations/`, a file a target, as long as the settings and macros are the same that it made
the names from; so that only the first look after a change waits for dbt.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from aam_onboard.errors import ConfigError
from aam_onboard.package import NAME as PACKAGE
from aam_onboard.package import package_root

if TYPE_CHECKING:
    from aam_onboard.config import Project, WarehouseSettings

FOLDER = Path(".aam") / "relations"


@dataclass(frozen=True)
class Relations:
    """Schema and name of each model and seed, by `<package>.<name>`."""

    places: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    def find(self, name: str, package: str = PACKAGE) -> tuple[str, str] | None:
        """Schema and table of a model; None where dbt knows none, or it is switched off."""
        return self.places.get(f"{package}.{name}")

    def of_any_package(self, name: str) -> tuple[str, str] | None:
        """The same of whichever package."""
        return next((place for full, place in self.places.items() if full.partition(".")[2] == name), None)

    def place(self, name: str, package: str = PACKAGE) -> tuple[str, str]:
        """The same of a model that must be there. Raises ConfigError."""
        found = self.find(name, package)
        if found is None:
            raise ConfigError(
                f"dbt knows no model {name} of {package}: run `dbt deps`; command and package must be of one version"
            )
        return found


def kept_relations(
    project: Project, target: str, settings: WarehouseSettings, *, reporting: bool = False
) -> Relations | None:
    """What dbt said last, when it would say the same today. `reporting`: of the models that `aam report` has made."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        kept = json.loads(_file(project, target, reporting).read_text(encoding="utf-8"))
        if kept["made_from"] == _made_from(project, target, settings, reporting):
            return Relations({name: (schema, table) for name, (schema, table) in kept["places"].items()})
    return None


def keep_relations(
    project: Project,
    target: str,
    settings: WarehouseSettings,
    places: Mapping[str, Any],
    *,
    reporting: bool = False,
) -> Relations:
    """Remember what dbt says of all its models, or of those of `aam report`: `<package>.<name>` to schema and table."""
    path = _file(project, target, reporting)
    kept = {"made_from": _made_from(project, target, settings, reporting), "places": places}
    if not project.vars.retired:  # else it is not all
        with suppress(OSError):  # then dbt is asked again
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(kept), encoding="utf-8")
    return Relations({name: (schema, table) for name, (schema, table) in places.items()})


def _file(project: Project, target: str, reporting: bool) -> Path:
    return project.root / FOLDER / f"{quote(target, safe='')}{'.reporting' if reporting else ''}.json"


def _made_from(project: Project, target: str, settings: WarehouseSettings, reporting: bool) -> str:
    """A digest of all that dbt makes names from."""
    digest = hashlib.sha256()
    given = sorted((name, value) for name, value in project.given_vars.items() if name != "retired")
    parts: Iterator[object] = iter((target, settings.type, settings.schema_name, given, package_root()))
    for part in parts:
        digest.update(f"{part}\n".encode(errors="surrogateescape"))
    # by names within the project, so that it is the same one wherever it lies and however it is called
    for name, path in sorted((str(path.relative_to(project.root)), path) for path in _read_by_dbt(project)):
        digest.update(f"{name}\n".encode(errors="surrogateescape"))
        digest.update(path.read_bytes())
    digest.update((package_root() / "dbt_project.yml").read_bytes())
    if reporting:  # views, which no build makes anew
        for path in sorted((package_root() / "models" / "reporting").glob("*.sql")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _read_by_dbt(project: Project) -> Iterator[Path]:
    for name in ("dbt_project.yml", "packages.yml", "dependencies.yml", "profiles.yml"):
        yield from project.root.glob(name)
    for folder in (*project.macro_paths, "models"):
        yield from (project.root / folder).rglob("*.yml")
    for folder in project.macro_paths:
        yield from (project.root / folder).rglob("*.sql")
