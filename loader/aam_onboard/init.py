"""`aam init`: a project of one's own, or what an existing dbt project lacks for Audience Manager.

Nothing that is there is ever overwritten, and what is added to a file leaves its other lines as they are.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import yaml

from aam_onboard.config import PROFILES_FILE, PROJECT_FILE
from aam_onboard.destinations.settings import DESTINATIONS_FILE
from aam_onboard.errors import ConfigError
from aam_onboard.package import LINK, link_package, package_root
from aam_onboard.reading import parse_yaml, read_yaml

PACKAGES_FILE = "packages.yml"
# What dbt and `aam` make of the demo, where it has been run in a clone.
_MADE = shutil.ignore_patterns(
    ".*",
    "target",
    "logs",
    "out",
    "dbt_packages",
    "*.duckdb*",
    "package-lock.yml",
    "make_demo_data.py",
    PACKAGES_FILE,
)


@dataclass(frozen=True)
class Change:
    """What became of one file: `made`, `added to`, `kept` as it was, or `to do` by the person; `what`: more words."""

    kind: Literal["made", "added to", "kept", "to do"]
    path: str
    what: str = ""


def init_project(
    folder: Path, *, warehouse: Literal["duckdb", "postgres"], example: bool = False
) -> list[Change]:
    """Make a project in `folder`, or add to the dbt project there what it lacks; what was done, file by file.

    `warehouse`: the default target of a new project · `example`: with the demo's models and data.
    Raises ConfigError, with nothing changed, where `folder` can't take a project.
    """
    existing = read_yaml(folder / PROJECT_FILE)
    if existing is not None and example:
        raise ConfigError(
            f"{folder / PROJECT_FILE} is there: --example makes a project of its own; choose a new folder"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if existing is not None:
            changes = list(_complete(folder, existing))
        elif example:
            changes = list(_example(folder, warehouse))
        else:
            changes = list(_new(folder, warehouse))
        link_package(folder)
    except OSError as error:
        raise ConfigError(f"{error.filename or folder} can't be written: {error.strerror}") from None
    return changes


def next_commands(folder: Path) -> list[str]:
    """What to call next, in a shell that stands where `aam init` was called."""
    here = folder.resolve() == Path.cwd()
    return [*([] if here else [f"cd {folder}"]), "dbt deps", "aam doctor", "aam run"]


def _template(name: str) -> str:
    return files("aam_onboard").joinpath("template", *name.split("/")).read_text(encoding="utf-8")


def _new(folder: Path, warehouse: str) -> Iterator[Change]:
    project = re.sub(r"[^a-z0-9_]+", "_", folder.resolve().name.lower()).strip("_") or "audience"
    project = f"p_{project}" if project[0].isdigit() else project

    def filled(name: str) -> str:
        return _template(name).replace("__project__", project).replace("__warehouse__", warehouse)

    block = _indented(_template("vars.yml"), 2)
    yield _write(folder, PROJECT_FILE, filled(PROJECT_FILE) + block)
    yield _write(folder, PACKAGES_FILE, _template(PACKAGES_FILE))
    yield _write(folder, PROFILES_FILE, filled(PROFILES_FILE))
    yield from _common(folder, "models", "seeds")


def _example(folder: Path, warehouse: str) -> Iterator[Change]:
    carried = Path(str(files("aam_onboard"))) / "demo"
    demo = carried if carried.is_dir() else package_root() / "demo"
    if any(folder.iterdir()):
        raise ConfigError(f"{folder} is not empty: --example makes a project of its own; choose a new folder")
    shutil.copytree(demo, folder, ignore=_MADE, dirs_exist_ok=True)
    profiles = folder / PROFILES_FILE
    text = profiles.read_text(encoding="utf-8")
    profiles.write_text(
        text.replace("'AAM_TARGET', 'duckdb'", f"'AAM_TARGET', '{warehouse}'"), encoding="utf-8"
    )
    yield _write(folder, PACKAGES_FILE, _template(PACKAGES_FILE))
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.name != PACKAGES_FILE):
        yield Change("made", str(path.relative_to(folder)))
    yield _write(folder, ".gitignore", _template("gitignore"))


def _complete(folder: Path, existing: dict[Any, Any]) -> Iterator[Change]:
    yield _add_vars(folder, existing)
    yield _add_package(folder)
    yield from _common(
        folder, _first(existing, "model-paths", "models"), _first(existing, "seed-paths", "seeds")
    )


def _common(folder: Path, models: str, seeds: str) -> Iterator[Change]:
    """What a new project and an existing one need alike."""
    yield _write(folder, DESTINATIONS_FILE, _template(DESTINATIONS_FILE))
    if not list((folder / models).rglob("first_traits.sql")) and _is_ours(folder):
        for name in ("first_traits.sql", "_feeds__models.yml"):
            yield _write(folder, f"{models}/feeds/{name}", _template(f"models/feeds/{name}"))
    if list((folder / seeds).rglob("traits.csv")):
        yield Change("kept", f"{seeds}/traits.csv")
    else:
        yield _write(folder, f"{seeds}/traits.csv", _template("seeds/traits.csv"))
        yield _write(folder, f"{seeds}/_traits.yml", _template("seeds/_traits.yml"))
    yield _add_lines(folder, ".gitignore", _template("gitignore"))


def _is_ours(folder: Path) -> bool:
    """Whether the first feed of the template is one of the project's feeds."""
    own = (read_yaml(folder / PROJECT_FILE) or {}).get("vars") or {}
    feeds = (own.get("aam_onboard") or own).get("feeds") or {}
    return "first_traits" in feeds


def _first(settings: dict[Any, Any], key: str, otherwise: str) -> str:
    found = settings.get(key)
    return str(found[0]) if isinstance(found, list) and found else otherwise


def _add_vars(folder: Path, existing: dict[Any, Any]) -> Change:
    own = existing.get("vars") or {}
    if "feeds" in own or "feeds" in (own.get("aam_onboard") or {}):
        return Change("kept", PROJECT_FILE, "it has feeds")
    block = "aam_onboard:\n" + _indented(_template("vars.yml"), 2)

    def with_block(text: str) -> str:
        if "vars" not in existing:
            return text.rstrip() + "\n\nvars:\n" + _indented(block, 2)
        head = re.search(r"^vars:[ ]*(#.*)?\n", text, re.MULTILINE)
        if head is None:
            return text
        child = re.match(r"(?:[ ]*(?:#.*)?\n)*([ ]+)\S", text[head.end() :])
        return text[: head.end()] + _indented(block, len(child[1]) if child else 2) + text[head.end() :]

    wanted = parse_yaml(block, "vars")
    return _edit(
        folder,
        PROJECT_FILE,
        with_block,
        {**existing, "vars": {**own, **wanted}},
        "put this into `vars`:\n" + block,
    )


def _add_package(folder: Path) -> Change:
    entry = _template(PACKAGES_FILE)
    for name in (PACKAGES_FILE, "dependencies.yml"):
        packages = (read_yaml(folder / name) or {}).get("packages")
        if any(isinstance(package, dict) and package.get("local") == LINK for package in packages or []):
            return Change("kept", name, "it names the package")
    found = read_yaml(folder / PACKAGES_FILE)
    if found is None:
        return _write(folder, PACKAGES_FILE, entry)

    def with_entry(text: str) -> str:
        item = re.search(r"^([ ]*)- ", text, re.MULTILINE)
        return text.rstrip() + f"\n{item[1] if item else '  '}- local: {LINK}\n"

    packages = [*(found.get("packages") or []), {"local": LINK}]
    return _edit(
        folder,
        PACKAGES_FILE,
        with_entry,
        {**found, "packages": packages},
        f"add the package `- local: {LINK}`",
    )


def _edit(
    folder: Path, name: str, change: Callable[[str], str], wanted: dict[Any, Any], otherwise: str
) -> Change:
    """Change a YAML file's text if it then says what is wanted and nothing else; or it is for the person to do."""
    path = folder / name
    text = path.read_text(encoding="utf-8")
    changed = change(text)
    try:
        is_right = yaml.safe_load(changed) == wanted
    except yaml.YAMLError:
        is_right = False
    if not is_right:
        return Change("to do", name, otherwise)
    path.write_text(changed, encoding="utf-8")
    return Change("added to", name)


def _write(folder: Path, name: str, text: str) -> Change:
    path = folder / name
    if path.exists():
        return Change(
            "kept",
            name,
            "" if path.read_text(encoding="utf-8", errors="replace") == text else "it is your own",
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return Change("made", name)


def _add_lines(folder: Path, name: str, lines: str) -> Change:
    path = folder / name
    if not path.exists():
        return _write(folder, name, lines)
    text = path.read_text(encoding="utf-8")
    missing = [line for line in lines.splitlines() if line not in text.splitlines()]
    if not missing:
        return Change("kept", name)
    path.write_text("\n".join([*([text.rstrip("\n")] if text else []), *missing]) + "\n", encoding="utf-8")
    return Change("added to", name)


def _indented(text: str, spaces: int) -> str:
    return "".join((" " * spaces + line if line.strip() else line) for line in text.splitlines(keepends=True))
