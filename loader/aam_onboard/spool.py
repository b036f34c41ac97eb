"""Where a delivery's files lie on their way: one folder a delivery, kept as long as the project says."""

from __future__ import annotations

import shutil
from datetime import datetime, timedelta, timezone
from pathlib import Path

from aam_onboard import state
from aam_onboard.destinations.common import sha256_of
from aam_onboard.running import Run
from aam_onboard.state import DeliveryFile


def spool_of(run: Run, delivery_id: str) -> Path:
    """The folder of a delivery's files."""
    return _folder(run) / delivery_id


def empty_spool(run: Run, delivery_id: str) -> None:
    """Remove a delivery's files; what can't be removed does no harm."""
    shutil.rmtree(spool_of(run, delivery_id), ignore_errors=True)


def is_spooled_whole(file: DeliveryFile) -> bool:
    """Whether the file lies in the spool as it was made."""
    path = Path(file.spool_path)
    if not path.is_file() or path.stat().st_size != file.bytes:
        return False
    return sha256_of(path) == file.sha256


def sweep_spool(run: Run) -> None:
    """Remove spool folders of deliveries that ended longer than `keep_days` ago."""
    keep = timedelta(days=run.project.vars.keep_days)
    if not _folder(run).is_dir():
        return
    for folder in _folder(run).iterdir():
        # one that the warehouse does not know may be on its way from another warehouse
        delivery = state.find_delivery(run.warehouse, run.project, folder.name)
        if delivery is None or delivery.status not in ("delivered", "abandoned"):
            continue
        if datetime.now(timezone.utc) - delivery.changed_at > keep:
            empty_spool(run, delivery.delivery_id)


def _folder(run: Run) -> Path:
    """Of a dbt target: another one has another folder, for its deliveries may be named alike."""
    return run.project.root / run.project.vars.spool_dir / run.warehouse.name
