"""An inbound file → its lines, as Arrow: gzip, PGP or plain, LF or CRLF. What can't be read is a BrokenFileError."""

from __future__ import annotations

import codecs
import subprocess
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from aam_onboard.errors import AamError, ConfigError
from aam_onboard.filenames import Extension

if TYPE_CHECKING:
    import pyarrow as pa

LINE_BYTES = 102_400  # longer lines are dropped [inbound-file-contents]
_PLAIN_BYTES = 5_000_000_000  # of a file [inbound-s3-filenames]
_BLOCK = 4 << 20
_GZIP = b"\x1f\x8b"
# What stands for bytes that are no UTF-8: no line may hold it.
NO_TEXT = "\0"
codecs.register_error("aam_sandbox", lambda error: (NO_TEXT, cast(UnicodeDecodeError, error).end))


class BrokenFileError(AamError):
    """A file that Audience Manager can't process, and deletes."""


class NoKeyError(ConfigError):
    """A PGP file, and no key to read it with."""


def as_text(block: bytes) -> tuple[bytes, bool]:
    """A block of lines with LF and in UTF-8, and whether one may hold NO_TEXT."""
    text = block.replace(b"\r\n", b"\n") if b"\r" in block else block
    try:
        text.decode()
    except UnicodeDecodeError:
        return text.decode(errors="aam_sandbox").encode(), True
    return text, b"\0" in text


def lines_of(text: bytes) -> pa.Array:
    """The lines of a text."""
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.split_pattern(pa.array([text], pa.string()), "\n").flatten()


def blocks_of(path: Path, extension: Extension, gnupg_home: Path | None) -> Iterator[bytes]:
    """Blocks of whole lines, without the line end of the last. A line too long is cut off where that is sure.

    Memory: some blocks, however long a line is. Raises BrokenFileError, when the file is read to where it is broken.
    """
    keep = LINE_BYTES + 2
    rest, skipping, total = b"", False, 0
    with _opened(path, extension, gnupg_home) as stream:
        while data := _read(stream):
            total += len(data)
            if total > _PLAIN_BYTES:
                raise BrokenFileError(f"more than {_PLAIN_BYTES:,} bytes of text")
            if skipping:
                end = data.find(b"\n")
                if end < 0:
                    continue
                data, skipping = data[end:], False
            cut = data.rfind(b"\n")
            if cut < 0:
                rest += data
            else:
                yield (rest + data[:cut]).removesuffix(b"\r")
                rest = data[cut + 1 :]
            if len(rest) > keep:
                rest, skipping = rest[:keep], True
    if total == 0:
        raise BrokenFileError("the file is empty")
    if rest:
        yield rest.removesuffix(b"\r")


def _read(stream: BinaryIO) -> bytes:
    from isal import igzip_lib

    damages: Any = (EOFError, OSError, zlib.error, igzip_lib.IsalError)
    try:
        return stream.read(_BLOCK)
    except damages as error:
        raise BrokenFileError(f"gzip is broken: {error}") from None


@contextmanager
def _opened(path: Path, extension: Extension, gnupg_home: Path | None) -> Iterator[BinaryIO]:
    """The text. gzip or PGP, never both [inbound-file-compression]."""
    with path.open("rb") as file:
        head = file.read(2)
        file.seek(0)
        if extension == "gz":
            from isal import igzip

            if head and head != _GZIP:
                raise BrokenFileError("the name says gzip, the content is none")
            with igzip.open(file, "rb") as unpacked:  # type: ignore[no-untyped-call]
                yield cast(BinaryIO, unpacked)
        elif extension == "":
            if head == _GZIP:
                raise BrokenFileError("the content is gzip, the name does not say so")
            yield file
        elif not head:
            raise BrokenFileError("the file is empty")
        elif gnupg_home is None:
            raise NoKeyError("it is encrypted; put `gnupg_home` into sandbox.yml and make the sandbox anew")
        else:
            with _decrypted(path, gnupg_home).open("rb") as text:
                if text.read(2) == _GZIP:
                    raise BrokenFileError("gzip within PGP; a file is gzip or PGP, never both")
                text.seek(0)
                yield text


def _decrypted(path: Path, gnupg_home: Path) -> Path:
    """The text, in a file beside it, which goes when the job has ended."""
    plain = path.with_name(f"{path.name}.text")
    command = ["gpg", "--batch", "--quiet", "--no-tty", "--homedir", str(gnupg_home), "--output", str(plain)]
    try:
        done = subprocess.run([*command, "--decrypt", str(path)], capture_output=True, check=False)
    except FileNotFoundError:
        raise NoKeyError("it is encrypted, and the program gpg is not installed") from None
    if done.returncode != 0:
        raise BrokenFileError("gpg can't decrypt it with the keys of the sandbox")
    return plain
