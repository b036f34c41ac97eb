"""A folder of this machine, with the same keys as the bucket."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from aam_onboard.destinations import Abilities, CannotListError, Stored
from aam_onboard.destinations.common import (
    NO_ROOM,
    arriving,
    blocks,
    check_part,
    checked_key,
    is_temporary_name,
    reason,
    sha256_of,
    temporary_name,
)
from aam_onboard.destinations.settings import DirectorySettings
from aam_onboard.errors import DeliveryError
from aam_onboard.files import make_private_folder, sync_folder

if TYPE_CHECKING:
    from aam_onboard.files import Part

# What a file system answers that can't give a file a second name: other device, no such feature, too many.
_NO_LINK = {errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


class Directory:
    """Destination `directory`."""

    abilities = Abilities(picked_up=False, keeps=None)

    def __init__(self, name: str, settings: DirectorySettings) -> None:
        self.name = name
        self._root = settings.path.absolute()

    def reach(self) -> None:
        """Create the folder when it is missing, and a file in it."""
        trial = self._root / f".{os.getpid()}.part"
        with self._our_errors(self._root):
            make_private_folder(self._root)
            os.close(os.open(trial, os.O_CREAT | os.O_WRONLY, 0o600))
            trial.unlink()

    def uri(self, key: str) -> str:
        """`file:///…`; `=` stands as it is, for every key has one."""
        return "file://" + quote(str(self._root / checked_key(key)), safe="/=")

    def put(self, part: Part, key: str, on_bytes: Callable[[int], None] | None = None) -> Stored:
        """On one file system the file gets a second name, no byte moves; else it is copied and read back."""
        target = self._path(key)
        with self._our_errors(target):
            present = self._present(target, part)
            if present is None:
                check_part(part)
                make_private_folder(target.parent)
                if not _link(part, target):
                    _copy(part, target)
                sync_folder(target.parent)
                present = self._stored(target, part.sha256)
        if on_bytes:
            on_bytes(part.bytes)
        return present

    def head(self, key: str) -> Stored | None:
        """Reads the whole file, for its SHA-256."""
        path = self._path(key)
        with self._our_errors(path, CannotListError):
            return self._stored(path, sha256_of(path)) if path.is_file() else None

    def list(self, prefix: str) -> Iterator[Stored]:
        """In the order of the keys."""
        folder = self._root / prefix.rpartition("/")[0]
        with self._our_errors(folder, CannotListError):
            paths = [Path(place, name) for place, _, names in _walk(folder) for name in names]
            for path in sorted(path for path in paths if path.is_file()):
                if is_temporary_name(path.name) or not self._key(path).startswith(prefix):
                    continue
                with suppress(FileNotFoundError):  # picked up since
                    yield self._stored(path)

    def fetch(self, key: str, path: Path) -> Stored:
        """Copied, so that nobody who writes there changes what was proven here."""
        source = self._path(key)
        with self._our_errors(source, right="read"):
            stored = self._stored(source)
        with arriving(path) as file:
            for block in self._read(source):
                file.write(block)
            if file.tell() != stored.bytes:
                raise DeliveryError(
                    f"output `{self.name}`: {source}: {file.tell()} bytes were read of {stored.bytes}; somebody still"
                    " writes there, so receive again later"
                )
        return stored

    def rename(self, key: str, new: str) -> None:
        """See Destination."""
        source, target = self._path(key), self._path(new)
        with self._our_errors(source):
            if not os.path.lexists(target):
                make_private_folder(target.parent)
                source.rename(target)
            elif os.path.lexists(source):
                raise DeliveryError(
                    f"output `{self.name}`: {source} can't become {target}, which is there already; move one of them"
                    " away"
                )

    def delete(self, key: str) -> None:
        """Folders stay."""
        path = self._path(key)
        with self._our_errors(path):
            path.unlink(missing_ok=True)
            if path.parent.is_dir():
                for other in path.parent.iterdir():
                    if is_temporary_name(other.name, of=path.name):
                        other.unlink(missing_ok=True)

    def clock(self) -> datetime | None:
        """It is this machine's."""
        return None

    def close(self) -> None:
        """There is no connection."""

    def _read(self, source: Path) -> Iterator[bytes]:
        with self._our_errors(source, right="read"):
            yield from blocks(source)

    def _path(self, key: str) -> Path:
        return self._root / checked_key(key)

    def _key(self, path: Path) -> str:
        return path.relative_to(self._root).as_posix()

    def _stored(self, path: Path, sha256: str | None = None) -> Stored:
        status = path.stat()
        modified = datetime.fromtimestamp(status.st_mtime, timezone.utc)
        return Stored(self._key(path), status.st_size, sha256, modified)

    def _present(self, target: Path, part: Part) -> Stored | None:
        """The file when it is there already; DeliveryError when something else is."""
        if not os.path.lexists(target):
            return None
        if target.is_file() and target.stat().st_size == part.bytes and sha256_of(target) == part.sha256:
            return self._stored(target, part.sha256)
        raise DeliveryError(
            f"output `{self.name}`: {target} exists already with other content, and no file is replaced; "
            "move it away or deliver anew under another timestamp"
        )

    @contextmanager
    def _our_errors(
        self, path: Path, kind: type[DeliveryError] = DeliveryError, right: str = "write to"
    ) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in NO_ROOM:
                todo = "make room there and deliver again"
            elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
                todo = f"let this user {right} {self._root}, or change `path` in destinations.yml"
            else:
                todo = "check `path` in destinations.yml"
            raise kind(f"output `{self.name}`: {path}: {reason(error)}; {todo}") from error


def _walk(folder: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """os.walk, which else passes over folders that can't be read, as if nothing were there."""

    def complain(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            raise error

    yield from os.walk(folder, onerror=complain)


def _link(part: Part, target: Path) -> bool:
    """Give the finished file its second name; False where the file system can't. OSError when it is taken."""
    with part.path.open("rb") as file:
        os.fsync(file.fileno())
    # Before it has its name there, so that nobody else can read it even for a moment.
    part.path.chmod(0o600)
    try:
        os.link(part.path, target)
    except OSError as error:
        if error.errno in _NO_LINK:
            return False
        raise
    return True


def _copy(part: Part, target: Path) -> None:
    """Copy under a temporary name, read it back, and rename; nothing is left when that fails."""
    temporary = target.with_name(temporary_name(target.name, part))
    try:
        descriptor = os.open(temporary, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            for block in blocks(part.path):
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
        if temporary.stat().st_size != part.bytes or sha256_of(temporary) != part.sha256:
            raise DeliveryError(
                f"{target}: what was written reads back otherwise than the finished file; "
                "check the disk, and export the batch anew"
            )
        temporary.rename(target)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
