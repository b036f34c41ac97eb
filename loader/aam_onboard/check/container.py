"""Gzip, PGP or plain bytes → the text within, in blocks of whole lines."""

from __future__ import annotations

import gzip
import io
import os
import stat
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from aam_onboard import filenames
from aam_onboard.check.report import Tally
from aam_onboard.errors import AamError, ConfigError, DeliveryError

if TYPE_CHECKING:
    from aam_onboard.rules import Limits, Rules

Opener = Callable[[], AbstractContextManager[BinaryIO]]  # → the plain text
_Block = tuple[int, bytes]
_BLOCK = 1 << 21  # plain bytes examined at a time
_GZIP = b"\x1f\x8b"
_UTF8_MARK = b"\xef\xbb\xbf"
_NO_TEXT = {
    b"\xff\xfe": ("byte_order_mark", "UTF-16, which is neither ASCII nor UTF-8"),
    b"\xfe\xff": ("byte_order_mark", "UTF-16, which is neither ASCII nor UTF-8"),
    _GZIP: ("packed_twice", "gzip within"),
}


def size_of(path: Path) -> int:
    """Bytes of a file that can be read. Raises ConfigError for one that can't, and for what is no file."""
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise ConfigError(f"{path} is a directory; give files, or a pattern such as {path}/*.gz")
        if not stat.S_ISREG(
            status.st_mode
        ):  # opened, a pipe waits for a writer, and a device may have no end
            raise ConfigError(
                f"{path} is a device, named pipe or socket, no file;"
                " a program's output goes in by `aam check - --name NAME`"
            )
        path.open("rb").close()
    except (FileNotFoundError, NotADirectoryError):
        raise ConfigError(f"{path}: no such file; check the path") from None
    except OSError as error:
        raise ConfigError(f"{path} can't be read: {error.strerror}; check its permissions") from None
    return status.st_size


@contextmanager
def read_twice(source: Path | BinaryIO, name: str, rules: Rules) -> Iterator[tuple[Path | BinaryIO, int]]:
    """What can be read twice, and its size in bytes: users with too many lines are looked up in a second reading."""
    if isinstance(source, Path):
        yield source, size_of(source)
    elif source.seekable():
        start = source.tell()
        size = source.seek(0, os.SEEK_END) - start
        source.seek(start)
        yield source, size
    else:
        with _copied(source, name, rules) as copied:
            yield copied


@contextmanager
def _copied(stream: BinaryIO, name: str, rules: Rules) -> Iterator[tuple[BinaryIO, int]]:
    # One byte past the largest file is enough to call it too large: a stream may have no end.
    most = max(rules.limits.max_plain_bytes, rules.limits.max_compressed_bytes) + 1
    # It has no name, so that nobody else can open it and nothing stays behind, however the check ends.
    with tempfile.TemporaryFile(prefix="aam-check-") as file:
        left = most
        try:
            while left > 0 and (data := stream.read(min(_BLOCK, left))):
                file.write(data)
                left -= len(data)
            file.flush()
        except OSError as error:
            raise AamError(
                f"{name} can't be copied to {tempfile.gettempdir()} ({error.strerror}): set TMPDIR to a directory "
                "with space, or give the file by its path"
            ) from error
        file.seek(0)
        yield cast(BinaryIO, file), most - left


def find_opener(
    path: Path | BinaryIO,
    name: str,
    extension: filenames.Extension,
    size: int,
    rules: Rules,
    tally: Tally,
    decrypt: bool,
) -> Opener | None:
    """How to read the plain text, or None when there is nothing to read; faults of the container go to the tally."""
    limits = rules.limits
    start = 0 if isinstance(path, Path) else path.tell()

    @contextmanager
    def raw() -> Iterator[BinaryIO]:
        if isinstance(path, Path):
            with path.open("rb") as file:
                yield cast(BinaryIO, file)
        else:
            path.seek(start)
            yield path

    with raw() as stream:
        head = stream.read(32)
    packed = "gzip" if head.startswith(_GZIP) else "pgp" if _is_pgp(head) else ""
    if not head:
        tally.fault("empty_file", "0 bytes")
        return None
    if extension == "gz" and packed != "gzip":
        tally.fault("not_gzip", f"the content begins with {head[:8]!r}")
    if extension in ("gpg", "pgp") and packed != "pgp":
        tally.fault("not_pgp", f"the content begins with {head[:8]!r}")
    if packed == "gzip" and extension != "gz":
        tally.fault("gzip_without_extension", "the content begins with gzip's 1f 8b")
    if packed == "pgp" and extension not in ("gpg", "pgp"):
        tally.fault("pgp_without_extension", f"the content begins with {head[:8]!r}")
    if packed and size > limits.max_compressed_bytes:
        tally.fault("compressed_too_large", f"{size:,} bytes; at most {limits.max_compressed_bytes:,}")
    if not packed and size > limits.max_plain_bytes:
        tally.report.plain_bytes = size
        tally.fault("plain_too_large", f"{size:,} bytes; at most {limits.max_plain_bytes:,}")
        return None
    if packed == "gzip":

        @contextmanager
        def gunzipped() -> Iterator[BinaryIO]:
            with raw() as stream, closing(_Gunzipped(stream)) as plain:
                yield cast(BinaryIO, plain)

        return gunzipped
    if packed != "pgp":
        return raw
    if not decrypt:
        tally.note("not_decrypted", name)
        return None
    if isinstance(path, io.BytesIO):
        raise ConfigError(f"{name}: PGP can't be decrypted from memory; give the file by its path")
    from aam_onboard.encryption import decrypt_stream

    @contextmanager
    def decrypted() -> Iterator[BinaryIO]:
        with raw() as stream, decrypt_stream(Path(name), stream) as plain:
            yield plain

    return decrypted


class _Gunzipped:
    """The text of a gzip file; of a damaged one, all that stands before the damage, and then the error."""

    def __init__(self, stream: BinaryIO) -> None:
        from isal import igzip_threaded

        self._stream, self._start = stream, stream.tell()
        self._fast: BinaryIO = igzip_threaded.open(stream, "rb", threads=1)  # type: ignore[no-untyped-call]
        self._given = 0
        self._rest: Iterator[bytes] | None = None

    def read(self, size: int) -> bytes:
        """Up to `size` bytes, or a few more; none at the end."""
        if self._rest is None:
            try:
                data = self._fast.read(size)
            except (EOFError, *_damages()) as error:
                # it has read ahead, and lost what it had
                self._fast.close()
                self._stream.seek(self._start)
                self._rest = self._anew(error)
            else:
                self._given += len(data)
                return data
        return next(self._rest)

    def close(self) -> None:
        """End the thread; the stream stays open."""
        self._fast.close()

    def _anew(self, error: Exception) -> Iterator[bytes]:
        known = self._given
        for text in _inflated(self._stream):
            if len(text) > known:
                yield text[known:]
            known = max(known - len(text), 0)
        raise error


def _inflated(stream: BinaryIO) -> Iterator[bytes]:
    """The text of a gzip file to the very byte where it is damaged; slow."""
    inflate = zlib.decompressobj(wbits=31)
    while piece := stream.read(1 << 14):
        while piece:
            before = inflate.copy()
            try:
                text = inflate.decompress(piece, _BLOCK)
            except zlib.error:
                with suppress(zlib.error):
                    for place in range(len(piece)):
                        yield before.decompress(piece[place : place + 1])
                return
            yield text
            piece = inflate.unconsumed_tail
            if inflate.eof:  # another member may follow, and zeros before it
                piece = inflate.unused_data.lstrip(b"\0")
                inflate = zlib.decompressobj(wbits=31)
    yield inflate.flush()


def _damages() -> Any:
    from isal import igzip_lib

    return igzip_lib.IsalError, gzip.BadGzipFile


def _is_pgp(head: bytes) -> bool:
    """A message of RFC 9580: armored, or a packet that a message begins with (session key, encrypted data)."""
    if head.startswith(b"-----BEGIN PGP MESSAGE"):
        return True
    if not head or not head[0] & 0x80:
        return False
    # A UTF-8 text may begin with such a byte too; its second byte is then a continuation byte.
    tag = head[0] & 0x3F if head[0] & 0x40 else head[0] >> 2 & 0x0F
    utf8 = head[0] >= 0xC2 and len(head) > 1 and 0x80 <= head[1] < 0xC0
    return tag in (1, 3, 8, 9, 18, 20) and not utf8


def blocks(opener: Opener, limits: Limits, tally: Tally) -> Iterator[_Block]:
    """(number of the first line, whole lines): LF between the lines, no line end after the last.

    Trailing blank lines are left out. A line over the limit is cut off just after it, so that no block grows with it.
    A fault of the container ends the lines and goes to the tally.
    """
    import numpy as np

    number, blank = 1, 0
    for raw in _whole_lines(opener, limits, tally):
        text = (raw + b"\n").replace(b"\r\n", b"\n")[:-1] if b"\r" in raw else raw
        lines = text.rstrip(b"\n")
        if lines:
            while blank:  # so they were not the last
                some = min(blank, _BLOCK >> 3)
                yield number, b"\n" * (some - 1)
                number += some
                blank -= some
            yield number, lines
            number += int(np.count_nonzero(np.frombuffer(lines, np.uint8) == ord("\n"))) + 1
            blank = len(text) - len(lines)
        else:
            blank += len(text) + 1


def _whole_lines(opener: Opener, limits: Limits, tally: Tally) -> Iterator[bytes]:
    """Blocks of lines, without the line end of the last."""
    keep = limits.line_bytes + 2  # one too many, even if a CR is the last of them
    rest, skipping = b"", False
    for data in _text(opener, limits, tally):
        end = data.find(b"\n") if skipping else 0
        if end < 0:
            continue
        cut = data.rfind(b"\n", end)
        if cut >= 0:
            yield b"".join((rest, memoryview(data)[end:cut]))
            rest = b""
        rest += data[max(cut + 1, end) :]
        skipping = len(rest) > keep
        rest = rest[:keep]
    if rest and not tally.is_cut_off:
        yield rest.removesuffix(b"\r")


def _text(opener: Opener, limits: Limits, tally: Tally) -> Iterator[bytes]:
    """The text as it comes, without a byte-order mark; a fault of the container ends it and goes to the tally."""
    total = 0
    try:
        with opener() as stream:
            while data := stream.read(_BLOCK):
                if total == 0:
                    fault = next((fault for start, fault in _NO_TEXT.items() if data.startswith(start)), None)
                    if fault is not None:
                        tally.fault(*fault)
                        return
                    if data.startswith(_UTF8_MARK):
                        tally.fault("byte_order_mark", "UTF-8")
                        data = data[len(_UTF8_MARK) :]
                total += len(data)
                tally.report.plain_bytes = total
                if total > limits.max_plain_bytes:
                    tally.fault("plain_too_large", f"more than {limits.max_plain_bytes:,} bytes")
                    return
                yield data
    except EOFError:
        tally.cut_off("truncated_gzip", f"readable up to byte {total:,} of the text")
    except _damages() as error:
        tally.cut_off("corrupt_gzip", f"{error}, after byte {total:,} of the text")
    except (ConfigError, DeliveryError):
        raise
    except AamError as error:
        tally.cut_off("cannot_decrypt", str(error))
