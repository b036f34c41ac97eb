"""The dbt package that comes with the command: its defaults and Audience Manager's rules, and how a project's own
settings go before them.
"""

from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path
from typing import Any

import yaml

NAME = "aam_onboard"
# Where a project's packages.yml looks for the package: in the project, so that the entry is the same on every machine.
LINK = ".aam/dbt_package"


@cache
def package_root() -> Path:
    """Where the dbt package lies: within the installed command, or around it in a clone of the repository."""
    here = Path(__file__).parent
    carried = here / "dbt_package"
    return carried if carried.is_dir() else here.parents[1]


@cache
def package_settings() -> dict[str, Any]:
    """The package's dbt_project.yml."""
    settings: dict[str, Any] = yaml.safe_load(
        (package_root() / "dbt_project.yml").read_text(encoding="utf-8")
    )
    return settings


def link_package(project: Path) -> None:
    """Let `LINK` in a project lead to the package of this command; a copy where the file system knows no links.

    Raises OSError.
    """
    link = project / LINK
    root = package_root()
    if link.is_symlink() or not link.exists():
        if link.is_symlink() and link.resolve() == root:
            return
        link.unlink(missing_ok=True)
        link.parent.mkdir(parents=True, exist_ok=True)
        try:
            link.symlink_to(root, target_is_directory=True)
        except NotImplementedError:
            shutil.copytree(root, link)
