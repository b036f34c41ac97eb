"""What the tests of destinations share: a file to send, settings of a server, and how a fault must read."""

import functools
import hashlib
import random
from pathlib import Path
from typing import Any

from servers import HOST, FtpServer, S3Server, SftpServer

from aam_onboard.errors import AamError
from aam_onboard.files import Part

MIB = 1024 * 1024
NAME = "ftp_dpm_58342_1700000000.sync.gz"
KEY = f"acme/date=2026-03-09/{NAME}"
PASSWORD = "s3cret-word"
SECRETS = (PASSWORD, "AKIAEXAMPLEKEY", "very-secret-key", "open-sesame")


def s3_settings(server: S3Server, **more: Any) -> dict[str, Any]:
    return {
        "type": "s3",
        "bucket": "clients",
        "endpoint_url": server.endpoint,
        "part_size": 5 * MIB,
        "retries": {"max_attempts": 1},
        **more,
    }


def sftp_settings(server: SftpServer, **more: Any) -> dict[str, Any]:
    return {
        "type": "sftp",
        "host": HOST,
        "port": server.port,
        "user": "loader",
        "key_file": str(server.key_file),
        "known_hosts": str(server.known_hosts),
        "backoff": 0,
        "retries": 0,
        "timeout": 10,
        **more,
    }


def ftp_settings(server: FtpServer, **more: Any) -> dict[str, Any]:
    return {
        "type": "ftp",
        "host": HOST,
        "port": server.port,
        "user": "loader",
        "password_env": "FTP_PASSWORD",
        "tls": False,
        "backoff": 0,
        "retries": 0,
        "timeout": 10,
        **more,
    }


def make_part(folder: Path, size: int = 100_000, seed: int = 1) -> Part:
    path = folder / f"part-{size}-{seed}"
    data = random.Random(seed).randbytes(size)
    path.write_bytes(data)
    return Part(path, 10, size, size * 3, hashlib.sha256(data).hexdigest())


def check_line(error: AamError, *said: str) -> None:
    """One line that says these things, what to do, and no secret."""
    message = str(error)
    for words in said:
        assert words in message
    assert "\n" not in message
    assert "there" in message  # the output's name
    for secret in SECRETS:
        assert secret not in message


def s3_client(server: S3Server, checksums: Any = "when_supported") -> Any:
    return _s3_client(server.endpoint, checksums)


@functools.cache  # making one is slow
def _s3_client(endpoint: str, checksums: Any) -> Any:
    import boto3
    from botocore.config import Config

    config = Config(request_checksum_calculation=checksums)
    return boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", config=config)


def leftovers(root: Path) -> list[str]:
    return sorted(path.name for path in root.rglob("*") if path.is_file() and path.name != NAME)
