"""An outbound file as it was delivered → its text as DuckDB reads it at once, and the proof of both."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from aam_onboard.errors import AamError, DeliveryError
from aam_onboard.outbound.control import ControlledFile
from aam_onboard.outbound.names import OutboundName
from aam_onboard.warehouse import SEPARATOR

# Of text: a piece is read while the next one is unpacked.
PIECE_BYTES = 1 << 26
# What a block unpacks to still fits the processor's caches.
_BLOCK = 1 << 17
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_GZIP = b"\x1f\x8b"
# Of one line; a profile has at most 150,000 traits [usage-limits].
LONGEST_LINE = 8_000_000
# Stand in no line that is read, so that DuckDB takes each for one column, and none for nothing.
NO_COLUMN, NO_NULL = "\x02", "\x03"
_STRANGE = (b"\0", NO_COLUMN.encode(), NO_NULL.encode(), SEPARATOR.encode())


class _Digest(Protocol):
    def update(self, data: bytes, /) -> None: ...
    def hexdigest(self) -> str: ...


@dataclass
class Text:
    """A file's text: `pieces`, files of whole lines; `lines`, with header and blank ones; `md5` of what was delivered.

    `unreadable`: lines that are no text, by reason.
    """

    pieces: list[Path] = field(default_factory=list)
    lines: int = 0
    md5: str = ""
    unreadable: list[tuple[str, str]] = field(default_factory=list)


def unpack(
    source: Path,
    folder: Path,
    name: OutboundName,
    header_lines: int,
    each_piece: Callable[[Path], None],
) -> Text:
    """Write the lines after the header to the folder: in UTF-8, LF between them, no byte-order mark.

    `each_piece` is told of a piece as soon as it is whole. Raises DeliveryError for a file that is cut off, damaged, or
    packed otherwise than its name says.
    """
    text = Text()
    found = hashlib.md5(usedforsecurity=False)
    blocks = _readable_blocks(_plain(source, name, found), text, header_lines)
    block = next(blocks, b"")
    while block or not text.pieces:  # at least one piece, and be it empty
        piece = folder / f"text.{len(text.pieces)}"
        text.pieces.append(piece)
        with piece.open("wb") as out:
            while block and out.tell() < PIECE_BYTES:
                out.write(block)
                block = next(blocks, b"")
        each_piece(piece)
    text.md5 = found.hexdigest()
    return text


def prove(source: Path, name: OutboundName, text: Text, said: ControlledFile) -> str | None:
    """Raise DeliveryError where a file is not what its `.info` says. A note where it is, but by another reading."""
    anew = "the file is not what its .info says; ask Adobe for it anew (they keep it for 8 days)"
    size = source.stat().st_size
    if said.bytes not in (None, size):
        raise DeliveryError(f"{name.name}: {size:,} bytes, its .info says {said.bytes:,}: {anew}")
    if said.lines not in (None, text.lines):
        raise DeliveryError(f"{name.name}: {text.lines:,} lines, its .info says {said.lines:,}: {anew}")
    if said.md5 in (None, text.md5):
        return None
    within = hashlib.md5(usedforsecurity=False)
    for block in _plain(source, name, hashlib.md5(usedforsecurity=False)):
        within.update(block)
    if said.md5 == within.hexdigest():
        return f"{name.name}: the MD5 of its .info is that of the text within, not of the file"
    raise DeliveryError(f"{name.name}: its MD5 is {text.md5}, its .info says {said.md5}: {anew}")


def _plain(source: Path, name: OutboundName, digest: _Digest) -> Iterator[bytes]:
    """The plain bytes; the digest is told the delivered ones."""
    if name.is_pgp:
        from aam_onboard.encryption import decrypt_stream

        with source.open("rb") as file:
            while data := file.read(_BLOCK):
                digest.update(data)
        try:
            with decrypt_stream(source) as plain:
                yield from _gunzipped(_blocks(plain), name) if name.is_gzip else _blocks(plain)
        except DeliveryError:
            raise
        except AamError as error:
            raise DeliveryError(f"{name.name}: {str(error).replace(str(source), 'it')}") from None
        return
    with source.open("rb") as file:
        delivered = _told(file, digest)
        yield from _gunzipped(delivered, name) if name.is_gzip else _not_packed(delivered, name)


def _blocks(stream: BinaryIO) -> Iterator[bytes]:
    while data := stream.read(_BLOCK):
        yield data


def _told(stream: BinaryIO, digest: _Digest) -> Iterator[bytes]:
    for data in _blocks(stream):
        digest.update(data)
        yield data


def _not_packed(blocks: Iterator[bytes], name: OutboundName) -> Iterator[bytes]:
    first = True
    for block in blocks:
        if first and block.startswith(_GZIP):
            raise DeliveryError(
                f"{name.name}: it is gzip, but its name says plain text; have Adobe mend the template"
            )
        first = False
        yield block


def _gunzipped(blocks: Iterator[bytes], name: OutboundName) -> Iterator[bytes]:
    from isal import igzip_lib, isal_zlib

    damage: Any = igzip_lib.IsalError

    again = "ask Adobe for it anew (they keep it for 8 days)"
    inflate = isal_zlib.decompressobj(wbits=31)
    begun = False
    try:
        for block in blocks:
            if not begun and not block.startswith(_GZIP):
                raise DeliveryError(f"{name.name}: it is no gzip, though its name ends in .gz; {again}")
            begun, packed = True, block
            while packed:
                if inflate.eof:  # another member follows, or zeros to the end of a tape's block
                    packed = packed.lstrip(b"\0")
                    inflate = isal_zlib.decompressobj(wbits=31) if packed else inflate
                yield inflate.decompress(packed)
                packed = inflate.unused_data if inflate.eof and packed else b""
    except damage as error:
        raise DeliveryError(f"{name.name}: the gzip is damaged ({error}); {again}") from None
    if begun and not inflate.eof:
        raise DeliveryError(f"{name.name}: the gzip is cut off; {again}")


def _readable_blocks(plain: Iterator[bytes], text: Text, header_lines: int) -> Iterator[bytes]:
    """Blocks of what DuckDB is to read; the text is told of all lines."""
    left = header_lines
    for block in _whole_lines(plain, text):
        text.lines += block.count(b"\n")
        begin = 0
        while left and begin < len(block):
            begin, left = block.find(b"\n", begin) + 1, left - 1
        if readable := _readable(block[begin:], text):
            yield readable


def _whole_lines(plain: Iterator[bytes], text: Text) -> Iterator[bytes]:
    """Blocks of whole lines, each line with its LF; the last one gets one."""
    rest, skipping, first = b"", False, True
    for data in plain:
        block = rest + data if rest else data
        if first and len(block) >= len(_BYTE_ORDER_MARK):
            block, first = block.removeprefix(_BYTE_ORDER_MARK), False
        cut = block.rfind(b"\n") + 1
        rest = block[cut:]
        block = block[:cut]
        if skipping and block:  # the end of a line that was too long
            block, skipping = b"\n" + block[block.find(b"\n") + 1 :], False
        if len(rest) > LONGEST_LINE and not skipping:
            text.unreadable.append(("line_too_long", rest[:1000].decode(errors="replace")))
            skipping = True
        if skipping:
            rest = b""
        if block:
            yield block
    if rest or skipping:
        yield rest + b"\n"


def _readable(block: bytes, text: Text) -> bytes:
    """The block without CRs before line ends, and without lines that are no text."""
    if b"\r" in block:
        block = block.replace(b"\r\n", b"\n")
    try:
        if not block.isascii():
            block.decode()
        if not any(strange in block for strange in _STRANGE):
            return block
    except UnicodeDecodeError:
        pass
    kept = []
    for line in re.findall(rb"[^\n]*\n", block):
        try:
            line.decode()
        except UnicodeDecodeError:
            text.unreadable.append(("no_utf8", line[:-1].decode(errors="backslashreplace")))
            continue
        if any(strange in line for strange in _STRANGE):
            text.unreadable.append(("control_character", line[:-1].decode().replace("\0", "\\0")))
            continue
        kept.append(line)
    return b"".join(kept)
