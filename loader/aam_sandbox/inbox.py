"""What waits in a destination, and in what order it is taken in: ID syncs, then data files."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aam_onboard import filenames
from aam_onboard.filenames import FileName, IdSyncName
from aam_sandbox.ids import DEVICES

if TYPE_CHECKING:
    from aam_onboard.destinations import Destination

PROCESSED = ".processed"
_PREFIXES = ("ftp_dpm_", "adobe_id_", "c2c_id_")


@dataclass(frozen=True)
class Arrived:
    """A file that waits. `name` None: one whose name Audience Manager can't read, for this `problem`."""

    key: str
    address: str
    bytes: int
    name: FileName | None
    problem: str | None = None

    @property
    def file(self) -> str:
        """Its name, without folders."""
        return self.key.rpartition("/")[2]


@dataclass(frozen=True)
class Waiting:
    """The files of one job: those of a delivery, which have one name but for the split number."""

    files: tuple[Arrived, ...]

    @property
    def name(self) -> FileName | None:
        """The name of the first."""
        return self.files[0].name


def look_in(inbox: Destination, prefix: str = "") -> list[Arrived]:
    """The files that Audience Manager would take in, by their names.

    A file still on its way has another name, and what was taken in ends in `.processed`; what is not named like an
    inbound file is somebody else's. Raises DeliveryError when nobody may look.
    """
    found = []
    for stored in inbox.list(prefix):
        file = stored.key.rpartition("/")[2]
        if not file.lower().startswith(_PREFIXES) or PROCESSED in file:
            continue
        name, problem = None, None
        try:
            name = filenames.parse(file)
        except filenames.FileNameError as error:
            problem = str(error)
        found.append(Arrived(stored.key, inbox.uri(stored.key), stored.bytes, name, problem))
    return sorted(found, key=lambda one: (_split_of(one), one.key))


def in_order(arrived: Iterable[Arrived], seed: int | None) -> list[Waiting]:
    """The jobs, ID syncs first.

    Without a seed a job takes all files of a delivery, in the order of their names. Audience Manager promises no order,
    not even that the files of a delivery are taken in together: a seed shuffles the data files, and may part them.
    """
    chance = None if seed is None else random.Random(seed)  # noqa: S311  # an order, no secret
    together: dict[object, list[Arrived]] = {}
    for one in arrived:
        apart = one.name is None or (chance is not None and chance.random() < 0.5)
        together.setdefault(one.key if apart else _delivery_of(one), []).append(one)
    jobs = [Waiting(tuple(files)) for files in together.values()]
    if chance is not None:
        chance.shuffle(jobs)
        return sorted(jobs, key=_rank)
    return sorted(jobs, key=lambda job: (_rank(job), job.files[0].key))


def _rank(job: Waiting) -> int:
    """Devices' IDs come before the IDs that are chained to them, and these before data."""
    if not isinstance(job.name, IdSyncName):
        return 2
    return 0 if job.name.dpids[0] in DEVICES else 1


def _delivery_of(one: Arrived) -> object:
    folder = one.key.rpartition("/")[0]
    name = one.name
    if isinstance(name, IdSyncName):
        return folder, name.prefix, name.dpids, name.timestamp
    assert name is not None  # noqa: S101
    return folder, name.partner, name.dpid, name.target_dpid, name.mode, name.timestamp


def _split_of(one: Arrived) -> int:
    return (one.name.split if one.name is not None else None) or 0
