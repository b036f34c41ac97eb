"""`aam init`: a project of one's own, or what an existing dbt project lacks for Audience Manager.

Nothing that is there is ever overwritten, and what is added to a file leaves its other lines as they are.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
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


# Texts to be written, by their names within the project; all at once, when it is known that all can be.
Texts = dict[str, str]


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
    if example and folder.is_dir() and any(folder.iterdir()):
        raise ConfigError(f"{folder} is not empty: --example makes a project of its own; choose a new folder")
    texts: Texts = {}
    try:
        if existing is not None:
            changes = list(_complete(folder, texts, existing))
        else:
            changes = list((_example if example else _new)(folder, texts, warehouse))
        _write_all(folder, texts)
    except OSError as error:
        raise ConfigError(f"{error.filename or folder} can't be read or written: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"a file in {folder} is no UTF-8: {error.reason}") from None
    return changes


def next_commands(folder: Path) -> list[str]:
    """What to call next, in a shell that stands where `aam init` was called."""
    here = folder.resolve() == Path.cwd()
    return [*([] if here else [f"cd {folder}"]), "dbt deps", "aam doctor", "aam run"]


def _template(name: str) -> str:
    return files("aam_onboard").joinpath("template", *name.split("/")).read_text(encoding="utf-8")


def _new(folder: Path, texts: Texts, warehouse: str) -> Iterator[Change]:
    project = re.sub(r"[^a-z0-9_]+", "_", folder.resolve().name.lower()).strip("_") or "audience"
    project = f"p_{project}" if project[0].isdigit() else project

    def filled(name: str) -> str:
        return _template(name).replace("__project__", project).replace("__warehouse__", warehouse)

    block = _indented(_template("vars.yml"), 2)
    yield _make(folder, texts, PROJECT_FILE, filled(PROJECT_FILE) + block)
    yield _make(folder, texts, PACKAGES_FILE, _template(PACKAGES_FILE))
    yield _make(folder, texts, PROFILES_FILE, filled(PROFILES_FILE))
    yield from _common(folder, texts, "models", "seeds", with_feed=True)


def _example(folder: Path, texts: Texts, warehouse: str) -> Iterator[Change]:
    carried = Path(str(files("aam_onboard"))) / "demo"
    demo = carried if carried.is_dir() else package_root() / "demo"
    for name in sorted(_shipped(demo)):
        text = (demo / name).read_text(encoding="utf-8")
        if name == PROFILES_FILE:
            text = text.replace("'AAM_TARGET', 'duckdb'", f"'AAM_TARGET', '{warehouse}'")
        yield _make(folder, texts, name, text)
    yield _make(folder, texts, PACKAGES_FILE, _template(PACKAGES_FILE))
    yield _make(folder, texts, ".gitignore", _template("gitignore"))


def _shipped(demo: Path) -> Iterator[str]:
    for place, folders, names in os.walk(demo):
        left_out = _MADE(place, [*folders, *names])
        folders[:] = [name for name in folders if name not in left_out]
        yield from (str((Path(place) / name).relative_to(demo)) for name in names if name not in left_out)


def _complete(folder: Path, texts: Texts, existing: dict[Any, Any]) -> Iterator[Change]:
    models, seeds = _first(existing, "model-paths", "models"), _first(existing, "seed-paths", "seeds")
    change = _add_vars(folder, texts, existing)
    yield change
    yield _add_package(folder, texts)
    yield from _common(folder, texts, models, seeds, with_feed=change.kind != "kept")


def _common(folder: Path, texts: Texts, models: str, seeds: str, *, with_feed: bool) -> Iterator[Change]:
    """What a new project and an existing one need alike."""
    yield _make(folder, texts, DESTINATIONS_FILE, _template(DESTINATIONS_FILE))
    if with_feed:
        for name in ("first_traits.sql", "_feeds__models.yml"):
            yield _make(folder, texts, f"{models}/feeds/{name}", _template(f"models/feeds/{name}"))
    if list((folder / seeds).rglob("traits.csv")):
        yield Change("kept", f"{seeds}/traits.csv")
    else:
        for name in ("traits.csv", "_traits.yml"):
            yield _make(folder, texts, f"{seeds}/{name}", _template(f"seeds/{name}"))
    yield _add_lines(folder, texts, ".gitignore", _template("gitignore"))


def _first(settings: dict[Any, Any], key: str, otherwise: str) -> str:
    found = settings.get(key)
    return str(found[0]) if isinstance(found, list) and found else otherwise


def _add_vars(folder: Path, texts: Texts, existing: dict[Any, Any]) -> Change:
    own = existing.get("vars") or {}
    if not isinstance(own, dict) or not isinstance(own.get("aam_onboard") or {}, dict):
        raise ConfigError(f"{folder / PROJECT_FILE}: vars: expected `key: value` lines")
    if "feeds" in own or own.get("aam_onboard"):
        return Change("kept", PROJECT_FILE, "it has settings for Audience Manager")
    block = "aam_onboard:\n" + _indented(_template("vars.yml"), 2)

    def with_block(text: str) -> str:
        if "vars" not in existing:
            return text.rstrip() + "\n\nvars:\n" + _indented(block, 2)
        head = re.search(r"^vars:[ ]*(#.*)?\n", text, re.MULTILINE)
        if head is None:
            return text
        child = re.match(r"(?:[ ]*(?:#.*)?\n)*([ ]+)\S", text[head.end() :])
        return text[: head.end()] + _indented(block, len(child[1]) if child else 2) + text[head.end() :]

    whole = {**existing, "vars": {**own, **parse_yaml(block, "vars")}}
    return _edit(folder, texts, PROJECT_FILE, with_block, whole, "put this into `vars`:\n" + block)


def _add_package(folder: Path, texts: Texts) -> Change:
    for name in (PACKAGES_FILE, "dependencies.yml"):
        packages = (read_yaml(folder / name) or {}).get("packages")
        if any(isinstance(package, dict) and package.get("local") == LINK for package in packages or []):
            return Change("kept", name, "it names the package")
    found = read_yaml(folder / PACKAGES_FILE)
    if found is None:
        return _make(folder, texts, PACKAGES_FILE, _template(PACKAGES_FILE))

    def with_entry(text: str) -> str:
        item = re.search(r"^([ ]*)- ", text, re.MULTILINE)
        return text.rstrip() + f"\n{item[1] if item else '  '}- local: {LINK}\n"

    whole = {**found, "packages": [*(found.get("packages") or []), {"local": LINK}]}
    return _edit(folder, texts, PACKAGES_FILE, with_entry, whole, f"add the package `- local: {LINK}`")


def _edit(
    folder: Path,
    texts: Texts,
    name: str,
    change: Callable[[str], str],
    wanted: dict[Any, Any],
    otherwise: str,
) -> Change:
    """Change a YAML file's text if it then says what is wanted and nothing else; or it is for the person to do."""
    text = (folder / name).read_bytes().decode("utf-8-sig")
    line_end = "\r\n" if "\r\n" in text else "\n"
    changed = change(text.replace("\r\n", "\n"))
    try:
        is_right = yaml.safe_load(changed) == wanted
    except yaml.YAMLError:
        is_right = False
    if not is_right:
        return Change("to do", name, otherwise)
    texts[name] = changed.replace("\n", line_end)
    return Change("added to", name)


def _make(folder: Path, texts: Texts, name: str, text: str) -> Change:
    path = folder / name
    if not path.exists():
        texts[name] = text
        return Change("made", name)
    is_same = path.is_file() and path.read_bytes() == text.encode()
    return Change("kept", name, "" if is_same else "it is your own")


def _add_lines(folder: Path, texts: Texts, name: str, lines: str) -> Change:
    path = folder / name
    if not path.exists():
        return _make(folder, texts, name, lines)
    text = path.read_bytes().decode()
    missing = [line for line in lines.splitlines() if line not in text.splitlines()]
    if not missing:
        return Change("kept", name)
    texts[name] = "".join(
        [text, "" if text.endswith("\n") or not text else "\n", *(f"{line}\n" for line in missing)]
    )
    return Change("added to", name)


def _write_all(folder: Path, texts: Texts) -> None:
    """Write the texts and the link to the package; where one can't be written, leave all as it was. Raises OSError."""
    former = {name: path.read_bytes() for name in texts if (path := folder / name).exists()}
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    written: list[str] = []
    try:
        for name, text in texts.items():
            path = folder / name
            made += [place for place in path.parents if not place.exists() and place not in made]
            path.parent.mkdir(parents=True, exist_ok=True)
            written.append(name)
            path.write_bytes(text.encode())
        link_package(folder)
    except OSError:
        for name in written:
            with suppress(OSError):
                if name in former:
                    (folder / name).write_bytes(former[name])
                else:
                    (folder / name).unlink()
        for place in sorted(made, key=lambda path: len(path.parts), reverse=True):
            with suppress(OSError):
                place.rmdir()
        raise


def _indented(text: str, spaces: int) -> str:
    return "".join((" " * spaces + line if line.strip() else line) for line in text.splitlines(keepends=True))
