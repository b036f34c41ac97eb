"""What every kind of destination asks of a key and of a finished file."""

from __future__ import annotations

import errno
import hashlib
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

from aam_onboard.errors import DeliveryError

if TYPE_CHECKING:
    from aam_onboard.files import Part

BLOCK = 1024 * 1024

NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}

OnBytes = Callable[[int], None]


def checked_key(key: str) -> str:
    """The key, when it is a plain relative path, so that none leads elsewhere; DeliveryError else."""
    steps = key.split("/")
    if not key.isprintable() or "\\" in key or any(step in ("", ".", "..") for step in steps):
        raise DeliveryError(
            f"key {key!r} is no plain path; expected <partner_name>/date=<yyyy-mm-dd>/<file name>"
        )
    return key


def check_part(part: Part) -> None:
    """DeliveryError when the finished file is not as it was recorded."""
    try:
        size = part.path.stat().st_size
    except OSError as error:
        raise DeliveryError(
            f"{part.path}: {reason(error)}; the file to send is gone, export it anew"
        ) from error
    if size != part.bytes:
        raise DeliveryError(
            f"{part.path}: {size} bytes, recorded were {part.bytes}; the file to send changed, export it anew"
        )
    if size == 0:
        raise DeliveryError(f"{part.path}: the file is empty, which Audience Manager refuses; send nothing")


def temporary_name(name: str, part: Part) -> str:
    """The name under which a file grows at a destination.

    It begins with a dot and ends otherwise than names of inbound files, so that nobody picks it up; it holds
    the content's digest, so that only the very same file goes on from it.
    """
    return f".{name}.{part.sha256[:16]}.part"


def is_temporary_name(name: str, of: str = "") -> bool:
    """Whether a file is what an interrupted `put` left (of the file named `of`, or of any)."""
    return re.fullmatch(rf"\.{re.escape(of) or '.+'}\.[0-9a-f]{{16}}\.part", name) is not None


def blocks(path: Path, offset: int = 0) -> Iterator[bytes]:
    """The file's content from `offset`, a MiB at a time."""
    with path.open("rb") as file:
        file.seek(offset)
        while block := file.read(BLOCK):
            yield block


@contextmanager
def arriving(path: Path) -> Iterator[IO[bytes]]:
    """A new file that only this user reads, to be filled from a destination; removed when it does not become whole.

    What this machine's file system refuses is told here; the other end's errors must be DeliveryErrors already.
    """
    try:
        with os.fdopen(os.open(path, os.O_CREAT | os.O_TRUNC | os.O_RDWR, 0o600), "wb") as file:
            yield file
    except BaseException as error:
        with suppress(OSError):
            path.unlink(missing_ok=True)
        if isinstance(error, OSError):
            todo = "make room there" if error.errno in NO_ROOM else "check `spool_dir`"
            raise DeliveryError(f"{path}: {reason(error)}; {todo}, and receive again") from error
        raise


def sha256_of(path: Path) -> str:
    """The file's SHA-256 as lower-case hex."""
    digest = hashlib.sha256()
    for block in blocks(path):
        digest.update(block)
    return digest.hexdigest()


def reason(error: BaseException) -> str:
    """An operating system's or server's words for an error, on one line."""
    words = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(words).split())[:300]
