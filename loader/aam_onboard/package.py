"""The dbt package that comes with the command: its defaults and Audience Manager's rules, and how a project's own
settings go before them.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from aam_onboard.errors import ConfigError
from aam_onboard.reading import read_as, read_yaml

NAME = "aam_onboard"
PROJECT_FILE = "dbt_project.yml"
# Where a project's packages.yml looks for the package: in the project, so that the entry is the same on every machine.
LINK = ".aam/dbt_package"
PACKAGES_FILE = "packages.yml"
DEPENDENCIES_FILE = "dependencies.yml"


@cache
def package_root() -> Path:
    """Where the dbt package lies: within the installed command, or around it in a clone of the repository."""
    here = Path(__file__).parent
    carried = here / "dbt_package"
    return carried if carried.is_dir() else here.parents[1]


@cache
def package_settings() -> dict[str, Any]:
    """The package's dbt_project.yml. Raises ConfigError when it can't be read."""
    path = package_root() / PROJECT_FILE
    settings: dict[str, Any] | None = None
    # Ours, and long: read with less suspicion than a user's, which takes ten times as long.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    with suppress(OSError, ValueError, yaml.YAMLError):
        settings = yaml.load(path.read_bytes(), loader)  # noqa: S506  # both are safe
    if not isinstance(settings, dict):
        settings = read_yaml(path)  # which says what is wrong
    if settings is None:
        raise ConfigError(f"{path} is missing: install aam-onboard again")
    return settings


def package_version() -> str:
    """The version of this command and of its dbt package, which are released together."""
    return str(package_settings()["version"])


def named_packages(project: Path) -> list[Any]:
    """The packages that a project's packages.yml and dependencies.yml name, as they stand there. Raises ConfigError."""
    named: list[Any] = []
    for name in (PACKAGES_FILE, DEPENDENCIES_FILE):
        found = (read_yaml(project / name) or {}).get("packages") or []
        named += read_as(list[Any], found, str(project / name), "packages")
    return named


def names_link(packages: list[Any]) -> bool:
    """Whether the package of this command is among them."""
    locals_ = (package.get("local") for package in packages if isinstance(package, dict))
    return any(isinstance(local, str) and Path(local) == Path(LINK) for local in locals_)


def link_package(project: Path) -> None:
    """Let `LINK` in a project lead to the package of this command; a copy where the file system knows no links.

    Raises OSError, and leaves what was there.
    """
    link, root = project / LINK, package_root()
    if link.resolve() == root.resolve():
        return
    if link.is_dir() and not link.is_symlink() and installed_version(link) == package_version():
        return
    link.parent.mkdir(parents=True, exist_ok=True)
    new = link.with_name(f".{link.name}.{os.getpid()}")
    try:
        try:
            new.symlink_to(root, target_is_directory=True)
        except OSError:
            _copy_package(root, new)
        if link.is_dir() and not link.is_symlink():
            shutil.rmtree(link)
        elif new.is_dir() and not new.is_symlink():
            link.unlink(missing_ok=True)
        new.replace(link)
    except OSError:
        shutil.rmtree(new, ignore_errors=True)
        new.unlink(missing_ok=True)
        raise


def _copy_package(root: Path, new: Path) -> None:
    """What the wheel carries; in a clone, more lies around it."""
    for part in ("macros", "models", "tests/dbt", "docs"):
        shutil.copytree(root / part, new / part)
    shutil.copy(root / "dbt_project.yml", new)


def installed_version(package: Path) -> str | None:
    """The version of a dbt package on disk; None when there is none. Raises ConfigError for one that can't be read."""
    if package.resolve() == package_root().resolve():
        return package_version()
    settings = read_yaml(package / "dbt_project.yml")
    return None if settings is None else str(settings.get("version"))


def require_package(project: Path, installed: Path) -> None:
    """Prove that dbt uses the package of this command in a project; mend the link to it, if the project goes by it.

    `installed`: where `dbt deps` puts the package. Raises ConfigError that says what to do.
    """
    packages = named_packages(project)
    if names_link(packages):
        try:
            link_package(project)
        except OSError as error:
            if not (project / LINK).is_dir():
                raise ConfigError(f"{project / LINK} can't be made: {error.strerror}") from None
    found = installed_version(installed)
    if found is None and not packages:
        raise ConfigError(
            f"{project / PACKAGES_FILE} does not name the package {NAME}: run `aam init`, then `dbt deps`"
        )
    if found is None:
        raise ConfigError(f"{installed} is missing: run `dbt deps`")
    if found != package_version():
        change = (
            "run `dbt deps`"
            if names_link(packages)
            else f"let {PACKAGES_FILE} name `- local: {LINK}`, run `dbt deps`"
        )
        raise ConfigError(
            f"{installed} is of version {found}, but this command of {package_version()}: {change},"
            f" or install aam-onboard {found}"
        )
