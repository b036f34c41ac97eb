"""What SFTP and FTP have in common: a session with a server, and the promise of `put` on top of it.

A file grows under a temporary name, its size is proven there, then it is renamed: whoever watches the folder sees it
whole or not at all. A lost connection is made anew and the upload goes on from what the server has.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol, TypeVar
from urllib.parse import quote

from aam_onboard.destinations import INBOUND, CannotListError, Stored
from aam_onboard.destinations.common import (
    BLOCK,
    OnBytes,
    arriving,
    check_part,
    checked_key,
    is_temporary_name,
    temporary_name,
)
from aam_onboard.destinations.settings import FtpSettings, SftpSettings
from aam_onboard.errors import ConfigError, DeliveryError

if TYPE_CHECKING:
    from aam_onboard.files import Part

# How much of an interrupted upload is read back and compared before more is appended. Before a write is acknowledged
# no more than this can be under way (SSH's window is 2 MiB), so that no gap can lie further up.
TAIL = 8 * BLOCK


class ServerFault(Exception):
    """The connection broke or the server is busy: connecting anew may help."""


class ServerRefusal(Exception):
    """The server said no: trying again won't help."""


class RefusedError(DeliveryError):
    """A server's refusal, as the user sees it."""


@dataclass(frozen=True)
class Entry:
    """One entry of a folder; `bytes` is None for a folder."""

    name: str
    bytes: int | None
    modified: datetime | None


class Session(Protocol):
    """A connection, used by one thread at a time. Its methods raise ServerFault or ServerRefusal."""

    def size(self, path: str) -> int | None:
        """Bytes of the file; None when it is not there."""

    def send(self, source: Path, path: str, offset: int, on_bytes: OnBytes) -> None:
        """Write the source from `offset` to the file, which has that many bytes; 0 begins it anew."""

    def read(self, path: str, offset: int) -> Generator[bytes, None, None]:
        """The file's content from `offset`."""

    def rename(self, path: str, new_path: str) -> None:
        """Rename a file."""

    def remove(self, path: str) -> None:
        """Remove a file; no error when it is not there."""

    def has_folder(self, path: str) -> bool:
        """Whether the folder is there and may be entered."""

    def make_folder(self, path: str) -> None:
        """Create a folder; no error when it is there."""

    def entries(self, folder: str) -> list[Entry]:
        """What is in the folder; nothing when it is not there."""

    def close(self) -> None:
        """End the connection; never raises."""


Result = TypeVar("Result")


class Remote:
    """Destinations `sftp` and `ftp`: several sessions at a time, one a thread that needs one."""

    abilities = INBOUND

    def __init__(
        self, name: str, settings: SftpSettings | FtpSettings, scheme: str, connect: Callable[[], Session]
    ) -> None:
        self.name = name
        self._settings = settings
        self._scheme = scheme
        self._connect = connect
        self._folder = settings.directory.rstrip("/") + "/" if settings.directory else ""
        self._idle: list[Session] = []
        self._lock = threading.Lock()

    def reach(self) -> None:
        """Connect, log in, enter `directory`. Whether files may be written shows only when they are."""
        folder = self._settings.directory or "."
        if not self._try(lambda session: session.has_folder(folder), self._server()):
            raise DeliveryError(
                f"output `{self.name}`: {self._server()}: there is no folder {folder} that user "
                f"{self._settings.user} may enter; check `directory` in destinations.yml"
            )

    def uri(self, key: str) -> str:
        """The server, the folder and the key."""
        return f"{self._server()}/{quote((self._folder + checked_key(key)).lstrip('/'), safe='/=')}"

    def put(self, part: Part, key: str, on_bytes: OnBytes | None = None) -> Stored:
        """Goes on from what an interrupted `put` of the very same file left at the server."""
        reported = 0

        def report(sent: int) -> None:
            nonlocal reported
            if on_bytes and sent != reported:
                on_bytes(sent - reported)
            reported = sent

        return self._try(lambda session: self._put(session, part, key, report), self.uri(key))

    def head(self, key: str) -> Stored | None:
        """Size only: these protocols know no checksum that all servers have."""
        try:
            size = self._try(lambda session: session.size(self._path(key)), self.uri(key))
        except RefusedError as refusal:
            raise CannotListError(str(refusal)) from refusal
        return None if size is None else Stored(key, size)

    def list(self, prefix: str) -> Iterator[Stored]:
        """Folder by folder, in the order of the keys."""
        yield from self._below(prefix.rpartition("/")[0], prefix)

    def fetch(self, key: str, path: Path) -> Stored:
        """Goes on after a lost connection from what has arrived."""
        with arriving(path) as file:
            return self._try(lambda session: self._fetch(session, key, file), self.uri(key))

    def rename(self, key: str, new: str) -> None:
        """See Destination."""
        self._try(lambda session: self._rename(session, key, new), self.uri(key))

    def delete(self, key: str) -> None:
        """Folders stay."""
        path = self._path(key)
        name = key.rpartition("/")[2]
        folder = path.removesuffix(name)

        def remove(session: Session) -> None:
            session.remove(path)
            with suppress(ServerRefusal):  # who may not list can't know of any
                for entry in session.entries(folder.rstrip("/") or "."):
                    if is_temporary_name(entry.name, of=name):
                        session.remove(folder + entry.name)

        self._try(remove, self.uri(key))

    def clock(self) -> datetime | None:
        """These protocols tell none."""
        return None

    def close(self) -> None:
        """End the connections."""
        with self._lock:
            idle, self._idle = self._idle, []
        for session in idle:
            session.close()

    def _fetch(self, session: Session, key: str, file: IO[bytes], begin: int | None = None) -> Stored:
        path = self._path(key)
        size = session.size(path)
        if size is None:
            raise ServerRefusal("it is not there; somebody took it away since it was listed")
        begin = file.tell() if begin is None else begin
        file.seek(begin if begin <= size else 0)
        file.truncate()
        try:
            with closing(session.read(path, file.tell())) as data:
                for block in data:
                    file.write(block)
        except ServerRefusal:
            if begin == 0:
                raise
            return self._fetch(session, key, file, 0)  # perhaps the server only won't begin in the middle
        if file.tell() != size:
            raise ServerFault(f"{file.tell()} bytes arrived of {size}")
        return Stored(key, size)

    def _rename(self, session: Session, key: str, new: str) -> None:
        path, target = self._path(key), self._path(new)
        there = session.size(path)
        if session.size(target) is not None:
            if there is None:
                return  # perhaps our own rename, of which the answer was lost
            raise ServerRefusal(f"it can't become {target}, which is there already; move one of them away")
        if there is None:
            raise ServerRefusal("it is not there; somebody took it away since it was listed")
        self._make_folders(session, new.rpartition("/")[0])
        session.rename(path, target)

    def _put(self, session: Session, part: Part, key: str, report: Callable[[int], None]) -> Stored:
        path = self._path(key)
        folder, _, name = key.rpartition("/")
        size = session.size(path)
        if size is not None:
            # Perhaps our own rename, of which the answer was lost.
            # Where we may not read, its name and size must do, as they must after an upload.
            if size != part.bytes or _same(session, path, part, size) is False:
                raise DeliveryError(
                    f"output `{self.name}`: {self.uri(key)} exists already with other content, and no file is "
                    "replaced; deliver anew under another timestamp"
                )
            report(part.bytes)
            return Stored(key, size, part.sha256)
        check_part(part)
        temporary = path.removesuffix(name) + temporary_name(name, part)
        offset = session.size(temporary)
        if offset is None:
            self._make_folders(session, folder)
            offset = 0
        elif offset > part.bytes or not _same(session, temporary, part, offset, begin=max(0, offset - TAIL)):
            offset = 0
        report(offset)
        if offset < part.bytes:
            self._send(session, part, temporary, offset, report)
        arrived = session.size(temporary)
        if arrived != part.bytes:
            session.remove(temporary)
            raise DeliveryError(
                f"output `{self.name}`: {self.uri(key)}: {arrived or 0} bytes arrived of {part.bytes}; "
                "check the server's free space and quota, and deliver again"
            )
        try:
            session.rename(temporary, path)
        except ServerRefusal as refusal:
            raise ServerRefusal(
                f"the file arrived whole as {temporary}, but {refusal}; let this user rename files there"
            ) from refusal
        final = session.size(path)
        # None: already picked up. The size was proven before the rename.
        if final not in (None, part.bytes):
            raise DeliveryError(
                f"output `{self.name}`: {self.uri(key)} has {final} bytes instead of {part.bytes} after its "
                "rename; somebody else writes there"
            )
        return Stored(key, part.bytes, part.sha256)

    def _send(
        self, session: Session, part: Part, temporary: str, offset: int, report: Callable[[int], None]
    ) -> None:
        try:
            session.send(part.path, temporary, offset, lambda count: report(offset + count))
        except ServerRefusal:
            with suppress(ServerFault, ServerRefusal):
                session.remove(temporary)  # a full disk is not helped by half a file
            if offset == 0:
                raise
            # Perhaps the server only won't append.
            report(0)
            self._send(session, part, temporary, 0, report)

    def _make_folders(self, session: Session, folder: str) -> None:
        # Those of `directory` are the server's own; we make what a key needs.
        made = self._folder
        for step in folder.split("/") if folder else ():
            made += step
            try:
                session.make_folder(made)
            except ServerRefusal as refusal:
                # As in a chroot, whose top belongs to root.
                raise ServerRefusal(
                    f"{refusal}; name the folder that you may write to with `directory`, or say `layout: flat`"
                ) from refusal
            made += "/"

    def _below(self, folder: str, wanted: str) -> Iterator[Stored]:
        path = (self._folder + folder).rstrip("/") or "."
        try:
            entries = self._try(lambda session: session.entries(path), f"{self._server()}/{path}")
        except RefusedError as refusal:
            raise CannotListError(str(refusal)) from refusal
        for entry in sorted(entries, key=lambda entry: entry.name):
            key = f"{folder}/{entry.name}" if folder else entry.name
            if not key.startswith(wanted):
                continue
            if entry.bytes is None:
                yield from self._below(key, wanted)
            elif not is_temporary_name(entry.name):
                yield Stored(key, entry.bytes, None, entry.modified)

    def _path(self, key: str) -> str:
        return self._folder + checked_key(key)

    def _server(self) -> str:
        host = f"[{self._settings.host}]" if ":" in self._settings.host else self._settings.host
        default = 22 if self._scheme == "sftp" else 21
        return f"{self._scheme}://{host}" + (
            "" if self._settings.port == default else f":{self._settings.port}"
        )

    def _try(self, act: Callable[[Session], Result], what: str) -> Result:
        """Act on a session; after a fault on a new one, as often as `retries` says."""
        attempts = self._settings.retries + 1
        failed = 0
        while True:
            with self._lock:
                idle = self._idle.pop() if self._idle else None
            session, sound = idle, False
            try:
                session = session or self._connect()
                result = act(session)
                sound = True
                return result
            except ServerFault as fault:
                if idle is not None:
                    continue  # the server has hung up on a session that nobody used: no attempt yet
                failed += 1
                if failed == attempts:
                    tried = f" in {attempts} attempts" if attempts > 1 else ""
                    raise DeliveryError(
                        f"output `{self.name}`: {what}: {fault}{tried}; deliver again, it goes on from there"
                    ) from fault
                time.sleep(self._settings.backoff * 2 ** (failed - 1))
            except ServerRefusal as refusal:
                sound = session is not None
                raise RefusedError(f"output `{self.name}`: {what}: {refusal}") from refusal
            finally:
                if session is not None:
                    self._give_back(session, sound)

    def _give_back(self, session: Session, sound: bool) -> None:
        if sound:
            with self._lock:
                self._idle.append(session)
        else:
            session.close()


def secret(name: str, setting: str, variable: str | None) -> str | None:
    """The secret that an environment variable holds; ConfigError when it is not set."""
    if variable is None:
        return None
    value = os.environ.get(variable)
    if not value:
        raise ConfigError(
            f"output `{name}`: environment variable {variable} is not set; `{setting}` names it"
        )
    return value


def _same(session: Session, path: str, part: Part, end: int, *, begin: int = 0) -> bool | None:
    """Whether the server's file equals ours from `begin` to `end`; None when we may not read it.

    It may be longer meanwhile: a server may still be writing what it had received when the connection broke.
    """
    place = begin
    try:
        with part.path.open("rb") as file:
            file.seek(begin)
            for theirs in session.read(path, begin):
                wanted = theirs[: end - place]
                if file.read(len(wanted)) != wanted:
                    return False
                place += len(wanted)
                if place == end:
                    return True
    except ServerRefusal:
        return None
    return place == end
