"""Record batches → files: split, compressed or encrypted, counted and hashed in one pass.

No row is ever touched in Python. An Arrow text column is one contiguous UTF-8 buffer; slices of that buffer
go to the compressor as they are, and its output goes to the disk and through the hash as it comes.
Making a file ends here: it lies under a temporary name, and publishing gives it the name that Audience
Manager expects. The functions share no state, so that many processes may write into one directory.
"""

from __future__ import annotations

import bisect
import errno
import hashlib
import io
import os
import struct
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from aam_onboard.errors import AamError, DeliveryError

if TYPE_CHECKING:
    import pyarrow as pa
    from _typeshed import WriteableBuffer

    from aam_onboard.encryption import Encryption

# What a killed run leaves behind in its directory; nothing else has such a name.
UNFINISHED = ".part-*.tmp"

# Plain bytes that one thread compresses at a time; smaller ones cost speed, larger ones memory.
_BLOCK = 1 << 20
_WINDOW = 1 << 15  # deflate looks back this far, also into the block before
_THREADS = min(4, os.cpu_count() or 1)
_ENOUGH_TO_TELL = 8_000_000  # plain bytes after which the size of all can be told from those
_NO_LIMIT = 1 << 62


@dataclass(frozen=True)
class Part:
    """One finished file under a temporary name; publishing gives it its spec name.

    `bytes` and `sha256` are those of the file as it lies there (compressed or encrypted), `plain_bytes` and
    `lines` those of the text in it. `more`: another part follows.
    """

    path: Path
    lines: int
    bytes: int
    plain_bytes: int
    sha256: str
    more: bool = False


class Encoder(Protocol):
    """What turns text into the bytes of a file. It hands them to the function that it was made with."""

    def write(self, text: memoryview) -> None:
        """Take more text; the buffer must stay as it is."""

    def most(self, wait: bool) -> int:
        """The most bytes that the text taken so far can come to in the file; to wait for it makes it exact.

        How long it takes has no influence on what gzip answers, or the same text would not give the same files.
        """

    def finish(self) -> None:
        """No more text: hand out the rest."""

    def stop(self) -> None:
        """Give up: end threads and processes. Harmless after `finish`."""


def write_parts(
    batches: Iterable[pa.RecordBatch],
    directory: Path,
    *,
    split_bytes: int,
    max_plain_bytes: int,
    encryption: Encryption | None = None,
    level: int = 1,
    threads: int = _THREADS,
    expected_lines: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> Iterator[Part]:
    """Write the lines of `batches` to as many files as their size asks for, and yield each as soon as it is
    on the disk.

    Column 0 of a batch holds text: all lines of one user in one value, each ended by a newline; a value is
    never divided. Column 1 holds the number of lines in the value. Without rows there is no file: an empty
    one is invalid [inbound-s3-filenames].

    When `expected_lines` make several encrypted files anyway, two are written at a time, batch by batch in turn: each
    has a gpg of its own, which uses one core. The last two are then smaller than the others.

    A file is closed between 95 % and 100 % of `split_bytes` (of its size on the disk; encrypted files a
    quarter of a megabyte earlier), and before its text exceeds `max_plain_bytes` [inbound-file-
    compression]. Only a value that is larger than a limit makes a file that is larger. gzip of `level` 0 to
    3, in so many `threads`, or what `encryption` asks for. `on_progress` is called with the lines and plain bytes
    taken since its last call.

    The same batches give the same bytes (gzip). The directory is created with mode 0700, before the first file only:
    who takes it away meanwhile ends the work. Files have 0600.
    Whatever ends the work early, an exception or the closing of the iterator, the unfinished file is removed;
    those yielded stay. Consume the iterator in one thread.

    Raises DeliveryError: the directory can't be written, a line is null or unended, gpg failed.
    """
    parts: list[_OpenPart] = []  # those open, the one whose turn it is first
    at_once = None if encryption else 1  # None: not known yet
    there = False
    try:
        for batch in batches:
            values = _Values(batch)
            row = 0
            while row < values.rows:
                if at_once is None and parts and parts[0].plain >= _ENOUGH_TO_TELL:
                    at_once = 2 if parts[0].size_of(expected_lines) > split_bytes else 1
                if not there:
                    with _disk_errors(directory):
                        make_private_folder(directory)
                    there = True
                if len(parts) < (at_once or 1):
                    encoder = partial(_encoder, encryption, level, threads)
                    parts.insert(0, _OpenPart(directory, encoder, split_bytes, max_plain_bytes))
                part = parts[0]
                end = values.fitting(row, part.room(values.size(row)))
                if end == row and part.lines:
                    finished = part.finish(more=True)
                    parts.remove(part)
                    yield finished
                    continue
                end = max(end, row + 1)
                lines, text = values.slice(row, end)
                part.write(text, lines)
                if on_progress:
                    on_progress(lines, len(text))
                row = end
            if parts:
                parts.append(parts.pop(0))
        while parts:
            finished = parts[0].finish(more=len(parts) > 1)
            del parts[0]
            yield finished
    finally:
        for part in parts:
            part.discard()


def write_part(
    batches: Iterable[pa.RecordBatch],
    directory: Path,
    *,
    encryption: Encryption | None = None,
    level: int = 1,
    on_progress: Callable[[int, int], None] | None = None,
) -> Part | None:
    """Write all lines of `batches` to one file, as `write_parts` does; None when there are no rows."""
    parts = write_parts(
        batches,
        directory,
        split_bytes=_NO_LIMIT,
        max_plain_bytes=_NO_LIMIT,
        encryption=encryption,
        level=level,
        on_progress=on_progress,
    )
    return next(parts, None)


class BatchText(io.RawIOBase):
    """The lines of record batches, shaped as for `write_parts`, as one binary stream to read once."""

    def __init__(self, batches: Iterable[pa.RecordBatch]) -> None:
        self._texts = (values.slice(0, values.rows)[1] for values in map(_Values, batches) if values.rows)
        self._text = memoryview(b"")

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Fill the buffer as far as the current batch goes; 0 at the end."""
        if not self._text:
            self._text = next(self._texts, memoryview(b"")).cast("B")
        target = memoryview(buffer).cast("B")
        size = min(len(target), len(self._text))
        target[:size] = self._text[:size]
        self._text = self._text[size:]
        return size


class _Values:
    """The text column of a batch as one buffer and the offsets of its values, without a copy."""

    def __init__(self, batch: pa.RecordBatch) -> None:
        import pyarrow as pa

        text, self._lines = batch.column(0), batch.column(1)
        if text.null_count or self._lines.null_count:
            raise DeliveryError(
                "The query of the inbound lines returned a null line, which no file can hold."
                " Check user_id and signals in the model inbound_lines, then build it again."
            )
        if pa.types.is_string_view(text.type):
            text = text.cast(pa.large_string())
        if not (pa.types.is_string(text.type) or pa.types.is_large_string(text.type)):
            raise DeliveryError(
                f"Column {batch.schema.names[0]} of the inbound lines is {text.type} where text belongs:"
                " look at the model inbound_lines."
            )
        self.rows = len(text)
        if not self.rows:
            return
        _, offsets, data = text.buffers()
        # A slice shares its parent's buffers; its own values begin at `offset`.
        raw = memoryview(offsets)
        wide = raw.cast("q") if pa.types.is_large_string(text.type) else raw.cast("i")
        self._offsets: Sequence[int] = wide[text.offset : text.offset + self.rows + 1]
        self._data = memoryview(data if data is not None else b"")

    def size(self, row: int) -> int:
        """Bytes of one value."""
        return self._offsets[row + 1] - self._offsets[row]

    def fitting(self, row: int, room: int) -> int:
        """The row after the last of those that together, from `row` on, hold at most `room` bytes."""
        if room < self.size(row):
            return row
        return bisect.bisect_right(self._offsets, self._offsets[row] + room, lo=row) - 1

    def slice(self, start: int, end: int) -> tuple[int, memoryview]:
        """Lines and text of the rows from `start` to before `end`."""
        import pyarrow.compute as pc

        text = self._data[self._offsets[start] : self._offsets[end]]
        if not text or text[-1] != ord("\n"):
            # Seen only at the end of a slice: it costs nothing there, and a query without newlines never
            # passes.
            raise DeliveryError(
                "The query of the inbound lines returned a line without a newline at its end;"
                " lines of two users would run together."
            )
        return int(pc.sum(self._lines.slice(start, end - start)).as_py()), text


class _OpenPart:
    """A file that is being written, and how much room is left in it."""

    def __init__(
        self,
        directory: Path,
        encoder: Callable[[Callable[[bytes], None]], Encoder],
        split_bytes: int,
        max_plain_bytes: int,
    ) -> None:
        self.lines = 0
        self.plain = 0
        self._split_bytes = split_bytes
        self._max_plain_bytes = max_plain_bytes
        self._directory = directory
        with _disk_errors(directory):
            self._file = _HashedFile(directory)
        try:
            self._encoder = encoder(self._file.append)
            self._measured_at = 0
            self._measured = self._encoder.most(wait=True)
        except BaseException:
            self._file.discard()
            raise

    def room(self, needed: int) -> int:
        """Plain bytes that are sure to fit, or 0 when the file should be closed before a value of `needed`
        bytes.

        Text may shrink to anything, but it grows by next to nothing. So what is missing to the limit may be
        written without a look; then the encoder says what it came to, and what is missing now may be
        written, until little is. Only then is it worth to wait for an exact answer.
        """
        plain_room = self._max_plain_bytes - self.plain
        if needed > plain_room:
            return 0
        if needed > self._sure_room():
            enough = max(needed, self._split_bytes // 20)
            if not any(self._measure(wait) >= enough for wait in (False, True)):
                return 0
        return min(self._sure_room(), plain_room)

    def _measure(self, wait: bool) -> int:
        with _disk_errors(self._directory):
            self._measured = self._encoder.most(wait)
        self._measured_at = self.plain
        return self._sure_room()

    def size_of(self, lines: int) -> int:
        """What as many lines like those so far come to in files."""
        with _disk_errors(self._directory):
            return self._encoder.most(wait=True) * lines // self.lines

    def _sure_room(self) -> int:
        missing = self._split_bytes - self._measured
        overhead = 128 + missing // 1000  # of headers and of blocks that don't compress
        return missing - overhead - (self.plain - self._measured_at)

    def write(self, text: memoryview, lines: int) -> None:
        with _disk_errors(self._directory):
            self._encoder.write(text)
        self.lines += lines
        self.plain += len(text)

    def finish(self, more: bool = False) -> Part:
        with _disk_errors(self._directory):
            self._encoder.finish()
            self._file.close()
        file = self._file
        return Part(
            path=file.path,
            lines=self.lines,
            bytes=file.bytes,
            plain_bytes=self.plain,
            sha256=file.sha256.hexdigest(),
            more=more,
        )

    def discard(self) -> None:
        try:
            self._encoder.stop()
        finally:
            self._file.discard()


def _encoder(
    encryption: Encryption | None, level: int, threads: int, append: Callable[[bytes], None]
) -> Encoder:
    return encryption.encoder(append) if encryption else _Gzip(append, level, threads)


class _HashedFile:
    """A temporary file whose bytes are counted and hashed on their way to the disk."""

    def __init__(self, directory: Path) -> None:
        self.sha256 = hashlib.sha256()
        self.bytes = 0
        prefix, suffix = UNFINISHED.split("*")
        self._descriptor, name = tempfile.mkstemp(prefix=prefix, suffix=suffix, dir=directory)
        self.path = Path(name)
        self._closed = False

    def append(self, data: bytes) -> None:
        """Write all of `data`. Runs in the encoder's thread, so that hashing overlaps compressing."""
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]
        self.sha256.update(data)
        self.bytes += len(data)

    def close(self) -> None:
        """Return only when file and name are on the disk."""
        os.fsync(self._descriptor)
        self._closed = True
        os.close(self._descriptor)
        sync_folder(self.path.parent)

    def discard(self) -> None:
        if not self._closed:
            self._closed = True
            os.close(self._descriptor)
        self.path.unlink(missing_ok=True)


class _Gzip:
    """gzip in several threads: one member, whose blocks look back into the block before.

    Blocks are compressed side by side and written in order by a thread of their own. Errors of either
    travel in the futures, and stopping waits for nothing but the blocks under way: no interrupt can leave a
    thread stuck.
    """

    def __init__(self, append: Callable[[bytes], None], level: int, threads: int) -> None:
        self._append = append
        self._level = level
        self._most_pending = 2 * threads
        self._compressing = ThreadPoolExecutor(threads, "compress")
        self._writing = ThreadPoolExecutor(1, "write")
        # plain bytes of a block, and bytes of the file after it
        self._pending: deque[tuple[int, Future[int]]] = deque()
        self._settled = 0  # the latter, of the last block that is pending no more
        self._before: memoryview | bytes = b""
        self._crc = self._plain = self._bytes = 0
        # No name and no time in the header: the same text gives the same file.
        self._out(bytes([0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 0xFF]))

    def write(self, text: memoryview) -> None:
        for start in range(0, len(text), _BLOCK):
            block = text[start : start + _BLOCK]
            deflated = self._compressing.submit(_deflate, block, self._before, self._level)
            self._pending.append((len(block), self._writing.submit(self._write_block, deflated, len(block))))
            self._before = block[-_WINDOW:]
            self._settle(most_pending=self._most_pending)

    def most(self, wait: bool) -> int:
        if wait:
            self._settle(most_pending=0)
        pending = sum(plain for plain, _ in self._pending)
        return self._settled + pending + pending // 1000  # what does not compress grows a little

    def _settle(self, most_pending: int) -> None:
        while len(self._pending) > most_pending:
            self._settled = self._pending.popleft()[1].result()

    def finish(self) -> None:
        self._settle(most_pending=0)
        last_block = b"\x03\x00"
        self._out(last_block + struct.pack("<II", self._crc, self._plain & 0xFFFFFFFF))
        self.stop()

    def stop(self) -> None:
        self._compressing.shutdown(cancel_futures=True)
        self._writing.shutdown(cancel_futures=True)

    def _write_block(self, deflated: Future[tuple[bytes, int]], plain: int) -> int:
        from isal import isal_zlib

        data, crc = deflated.result()
        self._crc = isal_zlib.crc32_combine(self._crc, crc, plain)
        self._plain += plain
        self._out(data)
        return self._bytes

    def _out(self, data: bytes) -> None:
        self._append(data)
        self._bytes += len(data)


def _deflate(block: memoryview, before: memoryview | bytes, level: int) -> tuple[bytes, int]:
    """A block as a piece of a deflate stream, and its CRC."""
    from isal import isal_zlib

    compressor = isal_zlib.compressobj(level, wbits=-15, zdict=before)
    return compressor.compress(block) + compressor.flush(isal_zlib.Z_SYNC_FLUSH), isal_zlib.crc32(block)


def make_private_folder(folder: Path) -> None:
    """Create the folder and those above it that are missing, for the user alone (0700), durably. Raises OSError."""
    if folder.is_dir():
        return
    make_private_folder(folder.parent)
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Return only when the folder's names are on the disk. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _disk_errors(directory: Path) -> Iterator[None]:
    """Tell what is wrong with the directory; only around our own calls, since batches may raise an OSError
    too.
    """
    try:
        yield
    except AamError:
        raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            say = f"No space left in {directory}: free some, or set spool_dir to a directory that has more."
        elif error.errno == errno.EFBIG:
            say = f"A file in {directory} may not grow further (ulimit -f): raise that, or lower split_bytes."
        elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            say = f"{directory} can't be written: give this user the right to, or set spool_dir to another."
        else:
            say = (
                f"{directory} can't be written ({error.strerror or error}): check the disk, or set spool_dir."
            )
        raise DeliveryError(say) from error
