"""A bucket of S3, or of a store that speaks its protocol [authorize-s3-inbound, amazon-s3].

The proof that a file arrived is HEAD after the upload: the size, and the store's own checksum where it keeps
one that we can compute (SHA-256 or CRC-32, of the whole or composed of the parts), else the ETag. Where it is no
MD5, as with KMS encryption, the size and the SHA-256 that travelled as metadata remain.
"""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aam_onboard.destinations import INBOUND, CannotListError, Each, Stored
from aam_onboard.destinations.common import BLOCK, OnBytes, arriving, check_part, checked_key, reason
from aam_onboard.destinations.s3_faults import DENIED, NOT_THERE, code_of, said_before_the_store, said_of
from aam_onboard.destinations.s3_pieces import Pieces, SentPiece, send_pieces
from aam_onboard.destinations.s3_proof import difference, difference_of_sent, kept_sha256
from aam_onboard.destinations.settings import S3Settings
from aam_onboard.errors import AamError, ConfigError, DeliveryError

if TYPE_CHECKING:
    from botocore.config import Config
    from botocore.session import Session
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef, CopySourceTypeDef, HeadObjectOutputTypeDef

    from aam_onboard.files import Part


# Of `put_by`: what a machine holds of a file at a time; seconds for which an address is good; files at once.
MOST_IN_MEMORY = 64 << 20
SIGNED_FOR = 12 * 3600
_AT_ONCE = 16

_NOT_READABLE = "the credentials may not read it (s3:GetObject); ask for that"


@dataclass(frozen=True)
class _Begun:
    part: Part
    key: str
    upload_id: str
    pieces: Pieces


class S3:
    """Destination `s3`."""

    abilities = INBOUND

    def __init__(self, name: str, settings: S3Settings) -> None:
        self.name = name
        self._settings = settings
        self._lock = threading.Lock()
        self._made: dict[str | None, S3Client] = {}  # by the version of its signature

    def reach(self) -> None:
        """Log in and see the bucket. Whether the credentials may write shows only when they do."""
        prefix = f"{self._settings.partner_name}/"
        with self._our_errors(f"s3://{self._settings.bucket}", denied=""):
            self._client.list_objects_v2(Bucket=self._settings.bucket, Prefix=prefix, MaxKeys=1)

    def uri(self, key: str) -> str:
        """`s3://bucket/key`, also for other stores than AWS."""
        return f"s3://{self._settings.bucket}/{checked_key(key)}"

    def put(self, part: Part, key: str, on_bytes: OnBytes | None = None) -> Stored:
        """Upload in parts at a time through boto3's transfer manager, which aborts a failed multipart upload.

        What a killed upload left of this key is aborted first. A file that proves to be damaged is removed.
        """
        present = self._present(part, key)
        if present:
            if on_bytes:
                on_bytes(part.bytes)
            return present
        if part.bytes >= self._settings.part_size:
            self._abort_earlier(key)
        self._upload(part, key, on_bytes)
        return self._proven(part, key, lambda found: self._difference(found, part, self.uri(key)))

    def spreads(self, parts: Sequence[Part]) -> bool:
        """Whether others are to send these, by `put_by`: they are large together, and the settings allow it."""
        return self._settings.executors and sum(part.bytes for part in parts) > self._settings.part_size

    def put_by(self, files: Sequence[tuple[Part, str]], each: Each, on_bytes: OnBytes | None = None) -> None:
        """See SpreadingDestination: no byte of the files passes through here.

        Each is begun here as a multipart upload under its key, where nothing is seen of it before it is completed,
        here again, when all have been sent.
        """
        begun: list[_Begun] = []
        try:
            _at_once(lambda file: self._begin(file[0], file[1], begun), files)
            send = partial(send_pieces, self.name, self._settings)
            sent = each(send, [upload.pieces for upload in begun])
            _at_once(lambda one: self._complete(*one), list(zip(begun, sent, strict=True)))
        except BaseException:
            _at_once(self._abort, begun)
            raise
        if on_bytes:
            on_bytes(sum(part.bytes for part, _ in files))

    def _begin(self, part: Part, key: str, begun: list[_Begun]) -> None:
        """Begin a multipart upload that others can send, unless the very file is there."""
        if self._present(part, key):
            return
        self._abort_earlier(key)
        bucket, client = self._settings.bucket, self._signing
        size = min(self._settings.part_size, MOST_IN_MEMORY)
        with self._our_errors(self.uri(key)):
            created = client.create_multipart_upload(Bucket=bucket, Key=key, **_of_file(self._settings, part))
            place = {"Bucket": bucket, "Key": key, "UploadId": created["UploadId"]}
            urls = tuple(
                client.generate_presigned_url(
                    "upload_part", {**place, "PartNumber": number}, ExpiresIn=SIGNED_FOR
                )
                for number in range(1, -(-part.bytes // size) + 1)
            )
        pieces = Pieces(part.path.absolute(), part.sha256, size, urls)
        begun.append(_Begun(part, key, created["UploadId"], pieces))

    def _complete(self, upload: _Begun, sent: Sequence[SentPiece]) -> None:
        pieces: list[CompletedPartTypeDef] = [
            {"ETag": piece.etag, "PartNumber": number} for number, piece in enumerate(sent, start=1)
        ]
        with self._our_errors(self.uri(upload.key)):
            self._client.complete_multipart_upload(
                Bucket=self._settings.bucket,
                Key=upload.key,
                UploadId=upload.upload_id,
                MultipartUpload={"Parts": pieces},
            )
        self._proven(upload.part, upload.key, lambda found: difference_of_sent(found, upload.part, sent))

    def _abort(self, upload: _Begun) -> None:
        with suppress(AamError), self._our_errors(self.uri(upload.key)):
            self._client.abort_multipart_upload(
                Bucket=self._settings.bucket, Key=upload.key, UploadId=upload.upload_id
            )

    def _present(self, part: Part, key: str) -> Stored | None:
        """The very file, where it is there; DeliveryError where another one is, or this one is not what it was."""
        uri = self.uri(key)
        # Who may not look can't know what is there; the upload itself then says whether anything is wrong.
        found = self._head(key, denied="")
        if found is None:
            check_part(part)
            return None
        wrong = self._difference(found, part, uri)
        if wrong:
            raise DeliveryError(
                f"output `{self.name}`: {uri} exists already with other content ({wrong}), and no file is "
                "replaced; deliver anew under another timestamp"
            )
        return _stored(key, found, part.sha256)

    def _proven(
        self, part: Part, key: str, difference: Callable[[HeadObjectOutputTypeDef], str | None]
    ) -> Stored:
        """What stands there after an upload, when it is the file; else it goes."""
        uri = self.uri(key)
        arrived = self._head(
            key,
            "was sent, but can't be proven: the credentials may not read it (s3:GetObject); ask for that",
        )
        if arrived is None:
            raise DeliveryError(f"output `{self.name}`: {uri} is not there after its upload; deliver again")
        wrong = difference(arrived)
        if wrong:
            with suppress(AamError):
                self.delete(key)
            raise DeliveryError(
                f"output `{self.name}`: {uri} arrived otherwise than it was sent: {wrong}; deliver again"
            )
        return _stored(key, arrived, part.sha256)

    def _abort_earlier(self, key: str) -> None:
        with suppress(AamError):  # who may not list uploads may still upload
            self.abort_orphans(key)

    def head(self, key: str) -> Stored | None:
        """The SHA-256 is the store's own where it keeps the whole file's, else the one sent as metadata."""
        found = self._head(key)
        return None if found is None else _stored(key, found, kept_sha256(found))

    def list(self, prefix: str) -> Iterator[Stored]:
        """In the order of the keys."""
        with self._our_errors(f"s3://{self._settings.bucket}/{prefix}", listing=True):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._settings.bucket, Prefix=prefix
            )
            for page in pages:
                for found in page.get("Contents", ()):
                    modified = found["LastModified"].astimezone(timezone.utc)
                    yield Stored(found["Key"], found["Size"], None, modified)

    def fetch(self, key: str, path: Path) -> Stored:
        """By one GET, gone on with where the connection broke, as long as the object is the same one."""
        found = self._existing(key)
        with arriving(path) as file:
            for _ in range(self._settings.retries.max_attempts):
                for block in self._read(key, found, file.tell()):
                    file.write(block)
                if file.tell() == found["ContentLength"]:
                    return _stored(key, found, kept_sha256(found))
            raise DeliveryError(
                f"output `{self.name}`: {self.uri(key)}: {file.tell()} bytes arrived of {found['ContentLength']}, in"
                f" {self._settings.retries.max_attempts} attempts; receive again later, or raise `retries`"
            )

    def rename(self, key: str, new: str) -> None:
        """S3 knows no renaming: a copy that it makes itself, proven by its size, then the old object is deleted."""
        there = self._head(new)
        if there is not None and self._head(key) is None:
            return  # renamed before
        found = self._existing(key)
        if there is None:
            more = {} if self._settings.acl is None else {"ACL": self._settings.acl}
            with self._our_errors(self.uri(new)):
                source: CopySourceTypeDef = {"Bucket": self._settings.bucket, "Key": key}
                self._client.copy(source, self._settings.bucket, new, more)
            there = self._existing(new)
        if there["ContentLength"] != found["ContentLength"]:
            raise DeliveryError(
                f"output `{self.name}`: {self.uri(key)} can't become {self.uri(new)}, which is there already; move one"
                " of them away"
            )
        with self._our_errors(self.uri(key)):
            self._client.delete_object(Bucket=self._settings.bucket, Key=key)

    def delete(self, key: str) -> None:
        """Also aborts the uploads of this key that were never completed, where that is allowed."""
        with self._our_errors(self.uri(key)):
            self._client.delete_object(Bucket=self._settings.bucket, Key=key)
        with suppress(AamError):
            self.abort_orphans(key)

    def abort_orphans(self, prefix: str) -> int:
        """Abort the multipart uploads of keys with this prefix that were never completed; returns how many.

        A killed process leaves them, invisible and paid for. Nobody else may be uploading there meanwhile.
        """
        aborted = 0
        with self._our_errors(f"s3://{self._settings.bucket}/{prefix}"):
            pages = self._client.get_paginator("list_multipart_uploads").paginate(
                Bucket=self._settings.bucket, Prefix=prefix
            )
            for page in pages:
                for upload in page.get("Uploads", ()):
                    self._client.abort_multipart_upload(
                        Bucket=self._settings.bucket, Key=upload["Key"], UploadId=upload["UploadId"]
                    )
                    aborted += 1
        return aborted

    def clock(self) -> datetime | None:
        """By the header `Date` of an answer."""
        with self._our_errors(f"s3://{self._settings.bucket}"):
            found = self._client.list_objects_v2(
                Bucket=self._settings.bucket, Prefix=f"{self._settings.partner_name}/", MaxKeys=1
            )
        date = found["ResponseMetadata"]["HTTPHeaders"].get("date")
        return parsedate_to_datetime(date) if date else None

    def close(self) -> None:
        """End the connections."""
        with self._lock:
            for client in self._made.values():
                client.close()
            self._made.clear()

    @property
    def _client(self) -> S3Client:
        return self._made_client(None)

    @property
    def _signing(self) -> S3Client:
        # For addresses, botocore would still take the signature of version 2 in some regions. What is signed by it is
        # begun by it, so that it has been told of the bucket's region.
        return self._made_client("s3v4")

    def _made_client(self, signature: str | None) -> S3Client:
        # Making a client takes half a second: once, and not before it is needed.
        with self._lock:
            if signature not in self._made:
                self._made[signature] = _make_client(self.name, self._settings, signature)
            return self._made[signature]

    def _head(self, key: str, denied: str | None = None) -> HeadObjectOutputTypeDef | None:
        from botocore.exceptions import ClientError

        # S3 answers 403 for what is not there to those who may not list the bucket.
        with self._our_errors(self.uri(key), denied, listing=True):
            try:
                return self._client.head_object(Bucket=self._settings.bucket, Key=key, ChecksumMode="ENABLED")
            except ClientError as error:
                if code_of(error) not in NOT_THERE:
                    raise
        return None

    def _existing(self, key: str) -> HeadObjectOutputTypeDef:
        found = self._head(key, _NOT_READABLE)
        if found is None:
            raise DeliveryError(
                f"output `{self.name}`: {self.uri(key)} is not there; somebody took it away since it was listed"
            )
        return found

    def _read(self, key: str, found: HeadObjectOutputTypeDef, begin: int) -> Iterator[bytes]:
        """The object's content from there, until the connection breaks."""
        from botocore.exceptions import HTTPClientError, IncompleteReadError

        with self._our_errors(self.uri(key), _NOT_READABLE):
            more: Any = {"Range": f"bytes={begin}-"} if begin else {}
            body = self._client.get_object(
                Bucket=self._settings.bucket, Key=key, IfMatch=found["ETag"], **more
            )["Body"]
            with suppress(HTTPClientError, IncompleteReadError):  # how much has arrived tells
                yield from body.iter_chunks(BLOCK)

    def _difference(self, found: HeadObjectOutputTypeDef, part: Part, uri: str) -> str | None:
        with self._our_errors(uri):  # some proofs read the file again
            return difference(found, part, self._settings.part_size)

    def _upload(self, part: Part, key: str, on_bytes: OnBytes | None) -> None:
        from boto3.s3.transfer import TransferConfig, create_transfer_manager
        from s3transfer.subscribers import BaseSubscriber

        class Progress(BaseSubscriber):
            def on_progress(self, future: object, bytes_transferred: int, **_: object) -> None:
                if on_bytes:
                    on_bytes(bytes_transferred)

        settings = self._settings
        config = TransferConfig(
            multipart_threshold=settings.part_size,
            multipart_chunksize=settings.part_size,
            max_concurrency=settings.max_concurrency,
            preferred_transfer_client="classic",
        )
        with self._our_errors(self.uri(key)), create_transfer_manager(self._client, config) as manager:
            manager.upload(
                str(part.path), settings.bucket, key, _extra_arguments(settings, part), [Progress()]
            ).result()

    @contextmanager
    def _our_errors(self, uri: str, denied: str | None = None, listing: bool = False) -> Iterator[None]:
        """Turn what boto3 raises into one clear line.

        `denied`: what to say of a lack of rights, in place of the usual; empty passes over it.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except ClientError as error:
            is_denied = code_of(error) in DENIED and error.operation_name != "AssumeRole"
            if is_denied and denied == "":
                return
            said = denied if is_denied and denied else said_of(error, self._settings)
            kind = CannotListError if is_denied and listing else DeliveryError
            raise kind(f"output `{self.name}`: {uri}: {said}") from error
        except BotoCoreError as error:
            kind_of_error, said = said_before_the_store(error, self._settings)
            raise kind_of_error(f"output `{self.name}`: {uri}: {said}") from error
        except OSError as error:
            raise DeliveryError(f"output `{self.name}`: {uri}: {reason(error)}; deliver again") from error
        except RecursionError as error:
            # botocore asks for the region, is redirected again, asks again…
            raise DeliveryError(
                f"output `{self.name}`: {uri}: {self._settings.endpoint_url or 'AWS'} redirects without naming a "
                "region; check `endpoint_url` (https:// perhaps) and `region`"
            ) from error


def _make_client(name: str, settings: S3Settings, signature: str | None) -> S3Client:
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError
    from botocore.session import get_session

    try:
        core = get_session()
        session = boto3.Session(
            botocore_session=core, profile_name=settings.profile, region_name=settings.region
        )
        config = Config(
            connect_timeout=settings.connect_timeout,
            read_timeout=settings.read_timeout,
            retries={"mode": settings.retries.mode, "total_max_attempts": settings.retries.max_attempts},
            proxies={"http": settings.proxy, "https": settings.proxy} if settings.proxy else None,
            max_pool_connections=max(_AT_ONCE, settings.max_concurrency * 2),
            request_checksum_calculation=settings.request_checksum_calculation,
            response_checksum_validation="when_required",
            signature_version=signature,
            s3={"addressing_style": settings.addressing_style},
        )
        region = session.region_name or "us-east-1"
        if settings.role_arn:
            _assume_role(core, settings, config, region)
        return session.client(
            "s3",
            region_name=region,
            endpoint_url=settings.endpoint_url,
            verify=str(settings.ca_file) if settings.ca_file else None,
            config=config,
        )
    except (BotoCoreError, ValueError) as error:
        said = (
            said_before_the_store(error, settings)[1] if isinstance(error, BotoCoreError) else reason(error)
        )
        raise ConfigError(f"output `{name}`: {said}") from error


def _assume_role(session: Session, settings: S3Settings, config: Config, region: str) -> None:
    """Make the session's credentials those of the role: fetched when needed, renewed before they expire.

    AWS's own configuration does that for the role of a profile (`role_arn` and `source_profile` in ~/.aws/config),
    which `profile` may name. For a role that stands in destinations.yml alone botocore has no setting, and STS's answer
    by itself would end after an hour, in the midst of an upload. So we register a provider of our own, by what
    botocore's session offers for that; `test_s3_credentials_of_a_role_are_renewed` holds both ways against a server.
    """
    from botocore.credentials import (
        AssumeRoleCredentialFetcher,
        CredentialProvider,
        CredentialResolver,
        DeferredRefreshableCredentials,
    )
    from botocore.exceptions import NoCredentialsError

    source = session.get_component("credential_provider").load_credentials()
    if source is None:
        raise NoCredentialsError
    arguments = {"RoleSessionName": "aam-onboard"}
    if settings.external_id:
        arguments["ExternalId"] = settings.external_id
    # The checksum settings are S3's; what STS needs of the rest is the proxy, timeouts and retries.
    create_client = partial(session.create_client, region_name=region, config=config)
    fetcher = AssumeRoleCredentialFetcher(
        create_client, source, settings.role_arn or "", extra_args=arguments, cache={}
    )

    class Role(CredentialProvider):
        METHOD = "assume-role"

        def load(self) -> DeferredRefreshableCredentials:
            return DeferredRefreshableCredentials(fetcher.fetch_credentials, self.METHOD)

    session.register_component("credential_provider", CredentialResolver([Role()]))


def _extra_arguments(settings: S3Settings, part: Part) -> dict[str, Any]:
    arguments = _of_file(settings, part)
    if settings.request_checksum_calculation == "when_supported":
        # The store computes it too, refuses a damaged body, and keeps it.
        arguments["ChecksumAlgorithm"] = "SHA256"
        if part.bytes < settings.part_size:
            arguments["ChecksumSHA256"] = base64.b64encode(bytes.fromhex(part.sha256)).decode()
    return arguments


def _at_once(work: Callable[[Any], object], items: Sequence[Any]) -> None:
    """Do the work for all items, or raise the error of one when no other is under way."""
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="upload") as pool:
        list(pool.map(work, items))


def _of_file(settings: S3Settings, part: Part) -> dict[str, Any]:
    """What an object gets along, however it is sent."""
    arguments: dict[str, Any] = {"Metadata": {"sha256": part.sha256}}
    if settings.acl:
        arguments["ACL"] = settings.acl
    if settings.sse:
        arguments["ServerSideEncryption"] = settings.sse
    if settings.sse_kms_key_id:
        arguments["SSEKMSKeyId"] = settings.sse_kms_key_id
    return arguments


def _stored(key: str, found: HeadObjectOutputTypeDef, sha256: str | None) -> Stored:
    modified: datetime = found["LastModified"].astimezone(timezone.utc)
    return Stored(key, found["ContentLength"], sha256, modified)
