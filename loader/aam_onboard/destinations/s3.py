"""A bucket of S3, or of a store that speaks its protocol [authorize-s3-inbound, amazon-s3].

The proof that a file arrived is HEAD after the upload: the size, and the store's own checksum where it keeps
one that we can compute (SHA-256 or CRC-32, of the whole or composed of the parts), else the ETag. Where it is no
MD5, as with KMS encryption, the size and the SHA-256 that travelled as metadata remain.
"""

from __future__ import annotations

import base64
import hashlib
import re
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aam_onboard.destinations import INBOUND, CannotListError, Stored
from aam_onboard.destinations.common import BLOCK, OnBytes, check_part, checked_key, reason, sha256_of
from aam_onboard.destinations.settings import S3Settings
from aam_onboard.errors import AamError, ConfigError, DeliveryError

if TYPE_CHECKING:
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.session import Session
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import HeadObjectOutputTypeDef

    from aam_onboard.files import Part

_NOT_THERE = {"404", "NoSuchKey", "NotFound"}
# HEAD has no body: 400 and 403 hide wrong, expired and insufficient credentials alike.
_DENIED = {
    "400",
    "403",
    "AccessDenied",
    "AccessDeniedException",
    "Forbidden",
    "AllAccessDisabled",
    "AccountProblem",
}
_WRONG_KEY = {
    "AuthFailure",
    "IncompleteSignature",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidSecurity",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
}
_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "InvalidToken", "TokenRefreshRequired"}
_OVERLOADED = {
    "500",
    "502",
    "503",
    "504",
    "InternalError",
    "ServiceUnavailable",
    "SlowDown",
    "RequestTimeout",
}
_NO_TRAILERS = {"411", "MissingContentLength", "NotImplemented", "501"}
_DAMAGED = {"BadDigest", "InvalidDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch"}


_SAID = {
    "NoSuchBucket": "there is no such bucket; check `bucket` or `environment` in destinations.yml",
    "AccessControlListNotSupported": (
        "the bucket takes no ACLs; set `acl: null`, unless it is Audience Manager's own"
    ),
    **dict.fromkeys(
        ("RequestTimeTooSkewed", "RequestExpired"),
        "this machine's clock is wrong, so that the store refuses its signatures; set the clock",
    ),
    **dict.fromkeys(
        (
            "301",
            "AuthorizationHeaderMalformed",
            "IllegalLocationConstraintException",
            "InvalidLocationConstraint",
            "PermanentRedirect",
            "TemporaryRedirect",
        ),
        "the bucket is in another region; put its `region` into destinations.yml",
    ),
}


class S3:
    """Destination `s3`."""

    abilities = INBOUND

    def __init__(self, name: str, settings: S3Settings) -> None:
        self.name = name
        self._settings = settings
        self._lock = threading.Lock()
        self._made: S3Client | None = None

    def check(self) -> None:
        """Log in and see the bucket. Whether the credentials may write shows only when they do."""
        prefix = f"{self._settings.partner_name}/"
        with self._told(f"s3://{self._settings.bucket}", denied=""):
            self._client.list_objects_v2(Bucket=self._settings.bucket, Prefix=prefix, MaxKeys=1)

    def uri(self, key: str) -> str:
        """`s3://bucket/key`, also for other stores than AWS."""
        return f"s3://{self._settings.bucket}/{checked_key(key)}"

    def put(self, part: Part, key: str, on_bytes: OnBytes | None = None) -> Stored:
        """Upload in parts at a time through boto3's transfer manager, which aborts a failed multipart upload.

        What a killed upload left of this key is aborted first. A file that proves to be damaged is removed.
        """
        uri = self.uri(key)
        # Who may not look can't know what is there; the upload itself then says whether anything is wrong.
        present = self._head(key, denied="")
        if present is None:
            check_part(part)
            if part.bytes >= self._settings.part_size:
                with suppress(AamError):  # who may not list uploads may still upload
                    self.abort_orphans(key)
            self._upload(part, key, on_bytes)
            arrived = self._head(
                key,
                "was sent, but can't be proven: the credentials may not read it (s3:GetObject); ask for that",
            )
            if arrived is None:
                raise DeliveryError(
                    f"output `{self.name}`: {uri} is not there after its upload; deliver again"
                )
            wrong = self._difference(arrived, part, uri)
            if wrong:
                with suppress(AamError):
                    self.delete(key)
                raise DeliveryError(
                    f"output `{self.name}`: {uri} arrived otherwise than it was sent: {wrong}; deliver again"
                )
            return _stored(key, arrived, part.sha256)
        wrong = self._difference(present, part, uri)
        if wrong:
            raise DeliveryError(
                f"output `{self.name}`: {uri} exists already with other content ({wrong}), and no file is "
                "replaced; deliver anew under another timestamp"
            )
        if on_bytes:
            on_bytes(part.bytes)
        return _stored(key, present, part.sha256)

    def head(self, key: str) -> Stored | None:
        """The SHA-256 is the store's own where it keeps the whole file's, else the one sent as metadata."""
        found = self._head(key)
        return None if found is None else _stored(key, found, _kept_sha256(found))

    def list(self, prefix: str) -> Iterator[Stored]:
        """In the order of the keys."""
        with self._told(f"s3://{self._settings.bucket}/{prefix}", listing=True):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._settings.bucket, Prefix=prefix
            )
            for page in pages:
                for found in page.get("Contents", ()):
                    modified = found["LastModified"].astimezone(timezone.utc)
                    yield Stored(found["Key"], found["Size"], None, modified)

    def delete(self, key: str) -> None:
        """Also aborts the uploads of this key that were never completed, where that is allowed."""
        with self._told(self.uri(key)):
            self._client.delete_object(Bucket=self._settings.bucket, Key=key)
        with suppress(AamError):
            self.abort_orphans(key)

    def abort_orphans(self, prefix: str) -> int:
        """Abort the multipart uploads of keys with this prefix that were never completed; returns how many.

        A killed process leaves them, invisible and paid for. Nobody else may be uploading there meanwhile.
        """
        aborted = 0
        with self._told(f"s3://{self._settings.bucket}/{prefix}"):
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

    def close(self) -> None:
        """End the connections."""
        with self._lock:
            if self._made is not None:
                self._made.close()
                self._made = None

    @property
    def _client(self) -> S3Client:
        # Making a client takes half a second: once, and not before it is needed.
        with self._lock:
            if self._made is None:
                self._made = _make_client(self.name, self._settings)
            return self._made

    def _head(self, key: str, denied: str | None = None) -> HeadObjectOutputTypeDef | None:
        from botocore.exceptions import ClientError

        # S3 answers 403 for what is not there to those who may not list the bucket.
        with self._told(self.uri(key), denied, listing=True):
            try:
                return self._client.head_object(Bucket=self._settings.bucket, Key=key, ChecksumMode="ENABLED")
            except ClientError as error:
                if _code(error) not in _NOT_THERE:
                    raise
        return None

    def _difference(self, found: HeadObjectOutputTypeDef, part: Part, uri: str) -> str | None:
        with self._told(uri):  # some proofs read the file again
            return _difference(found, part, self._settings.part_size)

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
        with self._told(self.uri(key)), create_transfer_manager(self._client, config) as manager:
            manager.upload(
                str(part.path), settings.bucket, key, _extra_arguments(settings, part), [Progress()]
            ).result()

    @contextmanager
    def _told(self, uri: str, denied: str | None = None, listing: bool = False) -> Iterator[None]:
        """Turn what boto3 raises into one clear line.

        `denied`: what to say of a lack of rights, in place of the usual; empty passes over it.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except ClientError as error:
            is_denied = _code(error) in _DENIED and error.operation_name != "AssumeRole"
            if is_denied and denied == "":
                return
            said = denied if is_denied and denied else _said(error, self._settings)
            kind = CannotListError if is_denied and listing else DeliveryError
            raise kind(f"output `{self.name}`: {uri}: {said}") from error
        except BotoCoreError as error:
            kind_of_error, said = _said_before_the_store(error, self._settings)
            raise kind_of_error(f"output `{self.name}`: {uri}: {said}") from error
        except OSError as error:
            raise DeliveryError(f"output `{self.name}`: {uri}: {reason(error)}; deliver again") from error
        except RecursionError as error:
            # botocore asks for the region, is redirected again, asks again…
            raise DeliveryError(
                f"output `{self.name}`: {uri}: {self._settings.endpoint_url or 'AWS'} redirects without naming a "
                "region; check `endpoint_url` (https:// perhaps) and `region`"
            ) from error


def _make_client(name: str, settings: S3Settings) -> S3Client:
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
            max_pool_connections=max(10, settings.max_concurrency * 2),
            request_checksum_calculation=settings.request_checksum_calculation,
            response_checksum_validation="when_required",
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
            _said_before_the_store(error, settings)[1] if isinstance(error, BotoCoreError) else reason(error)
        )
        raise ConfigError(f"output `{name}`: {said}") from error


def _assume_role(session: Session, settings: S3Settings, config: Config, region: str) -> None:
    """Make the session's credentials those of the role: fetched when needed, renewed before they expire."""
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
    arguments: dict[str, Any] = {"Metadata": {"sha256": part.sha256}}
    if settings.acl:
        arguments["ACL"] = settings.acl
    if settings.sse:
        arguments["ServerSideEncryption"] = settings.sse
    if settings.sse_kms_key_id:
        arguments["SSEKMSKeyId"] = settings.sse_kms_key_id
    if settings.request_checksum_calculation == "when_supported":
        # The store computes it too, refuses a damaged body, and keeps it.
        arguments["ChecksumAlgorithm"] = "SHA256"
        if part.bytes < settings.part_size:
            arguments["ChecksumSHA256"] = base64.b64encode(bytes.fromhex(part.sha256)).decode()
    return arguments


def _difference(found: HeadObjectOutputTypeDef, part: Part, part_size: int) -> str | None:
    """What HEAD says that the file is not; None when it proves to be the file."""
    if found["ContentLength"] != part.bytes:
        return f"{found['ContentLength']} bytes instead of {part.bytes}"
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
            and value == base64.b64encode(_composed(algorithm, part.path, part_size)).decode()
        ):
            return None
        return f"its {algorithm} differs"
    return _difference_by_etag(found, part, part_size)


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
        expected = _composed("MD5", part.path, part_size)
        return None if value == expected.hex() else "the MD5 of its parts differs"
    return None if found.get("Metadata", {}).get("sha256") == part.sha256 else "its SHA-256 differs"


def _composed(algorithm: str, path: Path, part_size: int) -> bytes:
    """The digest of the parts' digests, as S3 composes it for a multipart upload."""
    whole = _Digest(algorithm)
    for digest in _of_parts(algorithm, path, part_size):
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


def _kept_sha256(found: HeadObjectOutputTypeDef) -> str | None:
    whole = found.get("ChecksumSHA256", "")
    if whole and "-" not in whole and found.get("ChecksumType", "FULL_OBJECT") == "FULL_OBJECT":
        return base64.b64decode(whole).hex()
    return found.get("Metadata", {}).get("sha256")


def _stored(key: str, found: HeadObjectOutputTypeDef, sha256: str | None) -> Stored:
    modified: datetime = found["LastModified"].astimezone(timezone.utc)
    return Stored(key, found["ContentLength"], sha256, modified)


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _said(error: ClientError, settings: S3Settings) -> str:
    """The store's refusal in our words, and what to do."""
    code = _code(error)
    role = f" for role {settings.role_arn}" if settings.role_arn else ""
    if error.operation_name == "AssumeRole" and code in _DENIED:
        said = (
            f"the credentials may not assume {settings.role_arn}; check `role_arn`, and its trust with Adobe"
        )
    elif code in _WRONG_KEY:
        said = f"wrong credentials{role} ({code}); check AWS_ACCESS_KEY_ID and its secret, or `profile`"
    elif code in _EXPIRED:
        said = f"the credentials{role} have expired ({code}); renew them, and deliver again"
    elif code in _DENIED:
        said = (
            f"access denied{role}; ask Adobe to let these credentials write to {settings.partner_name}/ "
            "with ACL bucket-owner-full-control, or check `bucket`, `partner_name` and `role_arn`"
        )
    elif code in _OVERLOADED:
        attempts = settings.retries.max_attempts
        said = f"the store answers {code}, in {attempts} attempts; deliver again later, or raise `retries`"
    elif code == "407":
        said = f"the proxy refuses the connection (407); check {_where_the_proxy_stands(settings)}"
    elif code in _NO_TRAILERS:
        said = f"the store answers {code}; set `request_checksum_calculation: when_required`"
    elif code in _DAMAGED:
        said = f"the store received damaged bytes ({code}); deliver again"
    elif code in _SAID:
        said = _SAID[code]
    else:
        message = str(error.response.get("Error", {}).get("Message", ""))
        said = f"the store refuses {error.operation_name}: {code} {' '.join(message.split())[:200]}".strip()
    return said


def _where_the_proxy_stands(settings: S3Settings) -> str:
    return "`proxy` in destinations.yml" if settings.proxy else "HTTPS_PROXY, HTTP_PROXY and NO_PROXY"


def _said_before_the_store(error: BotoCoreError, settings: S3Settings) -> tuple[type[AamError], str]:
    """What went wrong before the store could answer: its kind of error and our words.

    botocore's own text is not shown where it may hold an address with a password in it, such as a proxy's.
    """
    from botocore import exceptions as e

    where = settings.endpoint_url or "AWS"
    kind: type[AamError] = DeliveryError
    match error:
        case e.NoCredentialsError() | e.PartialCredentialsError():
            kind = ConfigError
            said = "no AWS credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or `profile`"
        case e.ProfileNotFound():
            kind = ConfigError
            said = f"profile `{settings.profile}` is not in ~/.aws/config; check `profile` and AWS_PROFILE"
        case e.ProxyConnectionError() | e.InvalidProxiesConfigError():
            answer = re.search(
                "Tunnel connection failed: ([0-9]{3}[A-Za-z -]*)", str(error.kwargs.get("error"))
            )
            problem = f"refuses the connection ({answer[1].strip()})" if answer else "does not answer"
            said = f"the proxy {problem}; check {_where_the_proxy_stands(settings)}"
        case e.SSLError():
            said = f"the certificate of {where} does not verify; check `endpoint_url`, or name its `ca_file`"
        case e.ConnectTimeoutError() | e.EndpointConnectionError():
            said = f"{where} can't be reached; check the network, `endpoint_url`, `region` and `proxy`"
        case e.ConnectionClosedError() | e.ReadTimeoutError() | e.HTTPClientError():
            said = (
                f"the connection to {where} broke in {settings.retries.max_attempts} attempts; deliver again"
            )
        case e.CredentialRetrievalError() | e.SSOError() | e.UnauthorizedSSOTokenError():
            said = (
                f"AWS credentials can't be fetched ({type(error).__name__}); log in again, or check `profile`"
            )
        case _:
            said = f"{type(error).__name__}: {reason(error)}"
    return kind, said
