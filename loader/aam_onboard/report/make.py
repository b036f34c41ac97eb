"""From a project to a file: see to the models, read them, write the page."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from aam_onboard.build import dbt_reporting
from aam_onboard.destinations import destination_names, load_destination
from aam_onboard.destinations.settings import DirectorySettings
from aam_onboard.errors import AamError, ConfigError
from aam_onboard.package import package_version
from aam_onboard.relations import Relations, keep_relations, kept_relations
from aam_onboard.report.figures import read_figures
from aam_onboard.run import Place, located, looking
from aam_onboard.state import require_build
from aam_onboard.warehouse import lock_feeds

log = logging.getLogger("aam")


def make_report(place: Place, out: Path | None, days: int, *, anonymous: bool = False) -> Path:
    """Write the page of the last `days` days; where it is. `out` None: beside what dbt makes.

    Raises ConfigError where nothing is built yet, the file can't be written, or the library that draws is missing.
    """
    if find_spec("vl_convert") is None:
        raise ConfigError(
            "aam report draws with vl-convert-python; install it: pip install 'aam-onboard[report]'"
        )
    from aam_onboard.report.page import render

    path = out or place.project.target_path / "aam_report.html"
    if out is None:
        with suppress(OSError):  # told below, with what else there is to tell of the file
            path.parent.mkdir(parents=True, exist_ok=True)
    with _replaced(path) as draft:
        place = _with_models(located(place))
        with looking(place) as warehouse:
            figures = read_figures(
                warehouse,
                place.project,
                days,
                with_samples=not anonymous,
                read_by_nobody=_read_by_nobody(place),
            )
        draft.write_text(
            render(figures, place.project, place.target, package_version()), encoding="utf-8", newline="\n"
        )
    return path


@contextmanager
def _replaced(path: Path) -> Iterator[Path]:
    """A file to write, which takes the place of `path` once it is whole. That it can be is found out at once."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        if path.is_dir():
            raise IsADirectoryError(None, "it is a folder; name a file in it")
        draft.touch()
        try:
            yield draft
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(f"{path} can't be written: {error.strerror}") from None


def _with_models(place: Place) -> Place:
    """The place with the models that the page reads: views, made anew when the project or they have changed since."""
    found = kept_relations(place.project, place.target, place.warehouse, reporting=True)
    with looking(place) as warehouse:
        require_build(warehouse, place.project)
        if found is not None and not all(warehouse.has_table(*there) for there in found.places.values()):
            found = None
    if found is None:
        with lock_feeds(place.target, place.warehouse, place.project.feed_names):
            log.info("making the models that the page reads")
            places = dbt_reporting(place.project, place.target, place.warehouse.type)
        found = keep_relations(place.project, place.target, place.warehouse, places, reporting=True)
    both = Relations({**place.project.relations.places, **found.places})
    return replace(place, project=place.project.model_copy(update={"relations": both}))


def _read_by_nobody(place: Place) -> set[str]:
    """Destinations where files lie, and nobody picks them up: directories, and those that are no longer ours."""
    found = set()
    for name in destination_names(place.project):
        with suppress(AamError):  # one that lacks a setting here may be read all the same
            if isinstance(load_destination(place.project, name)[1], DirectorySettings):
                found.add(name)
    return found
