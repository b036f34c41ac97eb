"""A file of S3's that another machine sends in this one's place, piece by piece, by addresses that allow just that.

The addresses are signed here, so that no credentials travel; whoever has one can send one piece of one upload, of
which nothing is seen before its owner completes it.
"""

from __future__ import annotations

import hashlib
import logging
import os
import socket
from base64 import b64encode
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from aam_onboard.destinations.common import reason
from aam_onboard.errors import AamError, ConfigError, DeliveryError

if TYPE_CHECKING:
    from urllib3 import PoolManager

    from aam_onboard.destinations.settings import S3Settings


@dataclass(frozen=True)
class Pieces:
    """A file, and the signed address of each of its pieces, of `size` bytes but the last."""

    path: Path
    sha256: str
    size: int
    urls: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True)
class SentPiece:
    """What the store calls the piece, and its MD5, in hex."""

    etag: str
    md5: str


def send_pieces(output: str, settings: S3Settings, pieces: Pieces) -> list[SentPiece]:
    """Send the file, a piece in memory at a time; the store refuses one that does not have the MD5 sent with it.

    `output`: the destination's name.

    Raises DeliveryError: the file is gone or not the one it was, the store refuses a piece; ConfigError: this machine
    does not reach the store.
    """
    logging.getLogger("urllib3").setLevel(logging.CRITICAL)  # its warnings hold the addresses
    digest = hashlib.sha256()
    sent = []
    try:
        with _pool(settings, pieces.urls[0]) as pool, pieces.path.open("rb") as file:
            for url in pieces.urls:
                content = file.read(pieces.size)
                digest.update(content)
                sent.append(_send(output, settings, pool, url, content))
            digest.update(file.read(1))
    except OSError as error:
        raise DeliveryError(
            f"output `{output}`: executor host {socket.gethostname()} can't read {pieces.path}:"
            f" {reason(error)}; spool_dir must be on a storage that the driver and all executors have under the same"
            " path"
        ) from None
    if digest.hexdigest() != pieces.sha256:
        raise DeliveryError(
            f"output `{output}`: {pieces.path} is not as it was made; the file to send changed, export it anew"
        )
    return sent


def _pool(settings: S3Settings, url: str) -> PoolManager:
    """Connections as boto3 makes them: by the machine's proxies and certificates, where no others are named."""
    import urllib3
    from botocore.httpsession import get_cert_path
    from botocore.utils import get_environ_proxies

    proxy = settings.proxy or get_environ_proxies(url).get(urlsplit(url).scheme)
    bundle = settings.ca_file or os.environ.get("AWS_CA_BUNDLE")
    retry = urllib3.Retry(
        total=settings.retries.max_attempts - 1,
        backoff_factor=0.5,
        backoff_jitter=0.5,
        status_forcelist=[500, 502, 503, 504],
        allowed_methods=None,  # the same piece again is the same piece
        raise_on_status=False,
    )
    timeout = urllib3.Timeout(connect=settings.connect_timeout, read=settings.read_timeout)
    certificates = str(bundle or get_cert_path(True))
    if proxy:
        address = proxy if "//" in proxy else f"http://{proxy}"
        headers = urllib3.make_headers(proxy_basic_auth=urlsplit(address).netloc.rpartition("@")[0] or None)
        return urllib3.ProxyManager(
            address, proxy_headers=headers, retries=retry, timeout=timeout, ca_certs=certificates
        )
    return urllib3.PoolManager(retries=retry, timeout=timeout, ca_certs=certificates)


def _send(output: str, settings: S3Settings, pool: PoolManager, url: str, content: bytes) -> SentPiece:
    from urllib3.exceptions import HTTPError

    md5 = hashlib.md5(content, usedforsecurity=False)  # the store's own way to know a damaged piece
    try:
        answer = pool.request(
            "PUT", url, body=content, headers={"Content-MD5": b64encode(md5.digest()).decode()}
        )
    except HTTPError as error:  # which says the address
        raise _unreached(output, settings, error) from None
    if answer.status != HTTPStatus.OK:
        raise DeliveryError(
            f"output `{output}`: {_where(settings)} refuses what executor host {socket.gethostname()} sends"
            f" ({answer.status} {answer.reason}); deliver again, or have the driver send: `executors: false` in"
            " destinations.yml"
        )
    return SentPiece(answer.headers["ETag"], md5.hexdigest())


def _unreached(output: str, settings: S3Settings, error: Exception) -> AamError:
    from urllib3.exceptions import MaxRetryError

    cause = error.reason if isinstance(error, MaxRetryError) and error.reason else error
    return ConfigError(
        f"output `{output}`: executor host {socket.gethostname()} does not reach {_where(settings)}"
        f" ({type(cause).__name__}); let it, or have the driver send: `executors: false` in destinations.yml"
    )


def _where(settings: S3Settings) -> str:
    return settings.endpoint_url or f"s3://{settings.bucket}"
