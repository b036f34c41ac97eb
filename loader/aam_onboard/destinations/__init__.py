"""Where inbound files go and outbound files come from: a directory, S3, SFTP or FTP.

A key is `<partner_name>/date=<yyyy-mm-dd>/<file name>` (filenames.object_key), or the file name alone with
`layout: flat`. Whatever the kind, no half file ever stands under its key, a file that is there is never replaced,
and `put` may be called again after any failure: it goes on from what is there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from aam_onboard.destinations.settings import (
    DestinationSettings,
    DirectorySettings,
    FtpSettings,
    S3Settings,
    SftpSettings,
    destination_names,
    load_destination,
    parse_destination,
    place_of,
)
from aam_onboard.errors import DeliveryError

if TYPE_CHECKING:
    from aam_onboard.files import Part

__all__ = [
    "INBOUND",
    "Abilities",
    "CannotListError",
    "Destination",
    "DestinationSettings",
    "SpreadingDestination",
    "Stored",
    "destination_names",
    "load_destination",
    "open_destination",
    "parse_destination",
    "place_of",
]


# Does a thing for each item, elsewhere, and returns what came of them in their order.
Each = Callable[[Callable[[Any], Any], Sequence[Any]], list[Any]]


class CannotListError(DeliveryError):
    """The destination does not tell what is there: whether a file was picked up can't be known."""


@dataclass(frozen=True)
class Stored:
    """What a destination says of a file.

    `checksum`: the content's SHA-256 as lower-case hex, where the destination can tell (`list` never does);
    `modified`: UTC.
    """

    key: str
    bytes: int
    checksum: str | None = None
    modified: datetime | None = None


@dataclass(frozen=True)
class Abilities:
    """What is so of a kind of destination. Whether it lets us look hangs on rights: see CannotListError.

    `picked_up`: somebody reads the files there, in any order, and renames or removes them · `keeps`: how long a file
    stays there that nobody removes; None: for good.
    """

    picked_up: bool
    keeps: timedelta | None


# Of Audience Manager's own buckets and servers, and of those that pass files on to it. [amazon-s3]
INBOUND = Abilities(picked_up=True, keeps=timedelta(days=30))


class Destination(Protocol):
    """One output of destinations.yml. Its methods may be called from several threads at a time."""

    name: str
    abilities: Abilities

    def reach(self) -> None:
        """Reach it and log in; DeliveryError or ConfigError with one clear line else."""

    def uri(self, key: str) -> str:
        """The file's address, without user or password."""

    def put(self, part: Part, key: str, on_bytes: Callable[[int], None] | None = None) -> Stored:
        """Bring the file there and prove it: size always, checksum where the destination can tell.

        The same file already there counts as delivered; another one under that key is a DeliveryError, as is
        everything else that fails. `on_bytes` gets the bytes sent since its last call, maybe in a thread;
        a negative number when some have to be sent again.
        """

    def head(self, key: str) -> Stored | None:
        """What stands under the key; None when nothing does. CannotListError when we may not know."""

    def list(self, prefix: str) -> Iterator[Stored]:
        """The files whose keys begin with the prefix; CannotListError when that can't be known."""

    def fetch(self, key: str, path: Path) -> Stored:
        """Bring the file into a new one of this machine, for this user alone, and prove it by its size.

        Raises DeliveryError when it is not there, may not be read, does not arrive whole, or finds no room here; then
        nothing is left under `path`.
        """

    def rename(self, key: str, new: str) -> None:
        """Give the file another key, in folders that are made where they are missing; done when it has it already.

        Raises DeliveryError when it is not there, or another file has the new key.
        """

    def delete(self, key: str) -> None:
        """Remove the file and what an interrupted `put` left of it; no error when it is not there."""

    def clock(self) -> datetime | None:
        """Its time of day, UTC, where it tells one."""

    def close(self) -> None:
        """End the connections."""


@runtime_checkable
class SpreadingDestination(Protocol):
    """A destination to which other machines can bring files, in this one's place."""

    def spreads(self, parts: Sequence[Part]) -> bool:
        """Whether others are to bring these, by `put_by`."""

    def put_by(
        self, files: Sequence[tuple[Part, str]], each: Each, on_bytes: Callable[[int], None] | None = None
    ) -> None:
        """`Destination.put` for files and their keys, all at once: `each` has others do the sending of each file.

        They must see the files under the same path. Whatever fails, no half file stands there.
        """


def open_destination(name: str, settings: DestinationSettings) -> Destination:
    """The destination for these settings; it connects when it is first used. Only its kind is imported."""
    match settings:
        case DirectorySettings():
            from aam_onboard.destinations.directory import Directory

            return Directory(name, settings)
        case S3Settings():
            from aam_onboard.destinations.s3 import S3

            return S3(name, settings)
        case SftpSettings():
            from aam_onboard.destinations.sftp import open_sftp

            return open_sftp(name, settings)
        case FtpSettings():
            from aam_onboard.destinations.ftp import open_ftp

            return open_ftp(name, settings)
