"""The proof that a file arrived: the store's own checksum, of the whole or composed of the parts, else the ETag."""

from __future__ import annotations

import base64
import hashlib
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from aam_onboard.destinations.common import BLOCK, sha256_of

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import HeadObjectOutputTypeDef

    from aam_onboard.destinations.s3_pieces import SentPiece
    from aam_onboard.files import Part


def difference(found: HeadObjectOutputTypeDef, part: Part, part_size: int) -> str | None:
    """What HEAD says that the file is not; None when it proves to be the file."""
    if found["ContentLength"] != part.bytes:
        return _other_size(found, part)
    # In the order in which we trust them. Of AWS's others (CRC32C, CRC64NVME) Python has none.
    for algorithm, kept in (("SHA256", found.get("ChecksumSHA256")), ("CRC32", found.get("ChecksumCRC32"))):
        value, composed, count = (kept or "").partition("-")
        if not value or (composed and count != str(-(-part.bytes // part_size))):
            continue  # none, or uploaded with another part size: not comparable
        if algorithm == "SHA256":
            of_whole = bytes.fromhex(part.sha256)
        else:
            of_whole = next(_of_parts(algorithm, part.path, part.bytes))
        # AWS marks a checksum that it composed of the parts' with their number; not every store does.
        if value == base64.b64encode(of_whole).decode() or (
            "-" in found["ETag"]
            and value
            == base64.b64encode(_composed(algorithm, _of_parts(algorithm, part.path, part_size))).decode()
        ):
            return None
        return f"its {algorithm} differs"
    return _difference_by_etag(found, part, part_size)


def difference_of_sent(found: HeadObjectOutputTypeDef, part: Part, sent: Sequence[SentPiece]) -> str | None:
    """The same of a file that others have sent and proven to be that, without another reading of it.

    The store has compared each piece with its MD5; it has put together those if its ETag is the MD5 of their MD5s,
    where its ETags are MD5s at all, which they are not with KMS encryption.
    """
    if found["ContentLength"] != part.bytes:
        return _other_size(found, part)
    if any(piece.etag.strip('"').lower() != piece.md5 for piece in sent):
        return None
    composed = _composed("MD5", (bytes.fromhex(piece.md5) for piece in sent))
    is_same = found["ETag"].strip('"').lower() == f"{composed.hex()}-{len(sent)}"
    return None if is_same else "the MD5 of its parts differs"


def kept_sha256(found: HeadObjectOutputTypeDef) -> str | None:
    """The whole file's SHA-256, as the store computed it, else as it was sent beside the file."""
    whole = found.get("ChecksumSHA256", "")
    if whole and "-" not in whole and found.get("ChecksumType", "FULL_OBJECT") == "FULL_OBJECT":
        return base64.b64decode(whole).hex()
    return found.get("Metadata", {}).get("sha256")


def _other_size(found: HeadObjectOutputTypeDef, part: Part) -> str:
    return f"{found['ContentLength']} bytes instead of {part.bytes}"


def _difference_by_etag(found: HeadObjectOutputTypeDef, part: Part, part_size: int) -> str | None:
    value, composed, count = found["ETag"].strip('"').lower().partition("-")
    encrypted = str(found.get("ServerSideEncryption", "")).startswith("aws:kms")
    is_md5 = re.fullmatch("[0-9a-f]{32}", value) and not encrypted
    if is_md5 and (not composed or count == str(-(-part.bytes // part_size))):
        if sha256_of(part.path) != part.sha256:  # or the MD5 would prove another file
            return "the file to send changed meanwhile"
        if not composed:
            expected = next(_of_parts("MD5", part.path, part.bytes))
            return None if value == expected.hex() else "its MD5 differs"
        expected = _composed("MD5", _of_parts("MD5", part.path, part_size))
        return None if value == expected.hex() else "the MD5 of its parts differs"
    return None if found.get("Metadata", {}).get("sha256") == part.sha256 else "its SHA-256 differs"


def _composed(algorithm: str, of_parts: Iterable[bytes]) -> bytes:
    """The digest of the parts' digests, as S3 composes it for a multipart upload."""
    whole = _Digest(algorithm)
    for digest in of_parts:
        whole.update(digest)
    return whole.digest()


def _of_parts(algorithm: str, path: Path, part_size: int) -> Iterator[bytes]:
    """The digest of each part of the file, a MiB in memory at a time."""
    digest, room = _Digest(algorithm), part_size
    with path.open("rb") as file:
        while block := file.read(min(BLOCK, room)):
            digest.update(block)
            room -= len(block)
            if room == 0:
                yield digest.digest()
                digest, room = _Digest(algorithm), part_size
    if room < part_size:
        yield digest.digest()


class _Digest:
    """hashlib's digests and CRC-32 under one shape."""

    def __init__(self, algorithm: str) -> None:
        # MD5 stands here for what the ETag is, not for security.
        self._hash = None if algorithm == "CRC32" else hashlib.new(algorithm, usedforsecurity=False)
        self._crc = 0

    def update(self, data: bytes) -> None:
        if self._hash is None:
            self._crc = zlib.crc32(data, self._crc)
        else:
            self._hash.update(data)

    def digest(self) -> bytes:
        return self._crc.to_bytes(4, "big") if self._hash is None else self._hash.digest()
