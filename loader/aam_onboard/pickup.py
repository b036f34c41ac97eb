"""Whether Audience Manager has picked a file up, and what must not be sent before it has."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta, timezone
from typing import Literal

from aam_onboard import state
from aam_onboard.config import Project
from aam_onboard.destinations import CannotListError
from aam_onboard.errors import GuardError
from aam_onboard.filenames import picked_up_names
from aam_onboard.running import Run
from aam_onboard.state import Batch, Delivery, DeliveryFile

log = logging.getLogger("aam")


def mind_the_order(run: Run, last: Delivery, batch: Batch) -> bool:
    """Audience Manager processes files in any order [amazon-s3]: two that contradict must not wait together.

    Returns whether that was passed by force. Where the destination does not tell what is there, nobody can know.
    """
    if not run.destination.abilities.picked_up or batch.kind == "id_sync":
        return False  # ID pairs contradict nothing
    files = state.read_files(run.warehouse, run.project, last.delivery_id)
    unseen = [file for file in files if file.status == "uploaded" and file.picked_up_at is None]
    if not unseen:
        return False
    users = state.opposite_users(run.warehouse, run.project, last, batch)
    if not users:
        return False
    try:
        waiting = [file for file in unseen if _whereabouts(run, file) == "waiting"]
    except CannotListError as error:
        log.info("%s", f"feed {batch.feed}: whether earlier files were picked up can't be known: {error}")
        return False
    if not waiting:
        return False
    message = (
        f"{waiting[0].name} is not picked up yet and says the opposite of this delivery for {users:,} users;"
        " Audience Manager may process them in any order"
    )
    held = run.project.vars.on_unprocessed == "hold"
    if held and not run.options.forces(batch.feed):
        raise GuardError(
            f"{message}; deliver again once it is picked up, or send it with --force-feed {batch.feed}"
        )
    log.warning("%s", f"feed {batch.feed}: {message}")
    return held


def refresh_picked_up(run: Run) -> list[DeliveryFile]:
    """Look for `.processed` beside or in place of each delivered file, and record when it was seen [amazon-s3].

    Returns the files that wait though older than `not_picked_up_hours`. Passed over are files that the destination
    keeps no longer, and all of one where nobody picks files up. Raises CannotListError.
    """
    late: list[DeliveryFile] = []
    abilities = run.destination.abilities
    if not abilities.picked_up:
        return late
    hours = run.project.vars.not_picked_up_hours
    now = datetime.now(timezone.utc)
    for delivery in state.read_deliveries(
        run.warehouse, run.project, destination=run.destination.name, statuses=("delivered",)
    ):
        for file in state.read_files(run.warehouse, run.project, delivery.delivery_id):
            age = now - (file.uploaded_at or delivery.changed_at)
            is_gone = abilities.keeps is not None and age > abilities.keeps
            if file.status != "uploaded" or file.picked_up_at is not None or is_gone:
                continue
            if _whereabouts(run, file) == "waiting" and age > timedelta(hours=hours):
                late.append(file)
    return late


def not_picked_up(project: Project, file: DeliveryFile) -> str:
    """The warning about a file that waits too long."""
    return (
        f"{file.name} lies at the destination for more than {project.vars.not_picked_up_hours:g} hours and is not"
        " picked up; ask Adobe whether the partner name and data source are set up for inbound files"
    )


def seen_picked_up(run: Run, file: DeliveryFile) -> bool:
    """Whether Audience Manager was seen to have renamed the file; False also where the destination won't tell."""
    try:
        return _whereabouts(run, file) == "picked up"
    except CannotListError:
        return False


def _whereabouts(run: Run, file: DeliveryFile) -> Literal["waiting", "picked up", "gone"]:
    """What has become of a file that stood at the destination; records when it was picked up. Raises CannotListError.

    Once read, it has another name [amazon-s3], or is gone, as by FTP; on S3 it goes after 30 days, read or not.
    """
    folder = file.object_key.removesuffix(file.name)
    there = {
        stored.key: stored for stored in run.destination.list(folder + file.name.partition(".")[0] + ".")
    }
    for name in picked_up_names(file.name):
        if folder + name in there:
            seen = there[folder + name].modified or datetime.now(timezone.utc)
            state.mark_picked_up(run.warehouse, run.project, file.name, seen)
            return "picked up"
    return "waiting" if file.object_key in there else "gone"
