"""Destinations against real servers: what arrives is proven, faults are one clear line, and `put` goes on."""

import contextlib
import errno
import functools
import hashlib
import io
import os
import random
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from servers import (
    HOST,
    Certificate,
    FtpServer,
    Proxy,
    S3Server,
    SftpServer,
    ftp_server,
    make_certificate,
    proxy_server,
    s3_server,
    sftp_server,
)

from aam_onboard.destinations import CannotListError, Destination, open_destination, parse_destination
from aam_onboard.destinations.common import temporary_name
from aam_onboard.errors import AamError, ConfigError, DeliveryError
from aam_onboard.files import Part

MIB = 1024 * 1024
NAME = "ftp_dpm_58342_1700000000.sync.gz"
KEY = f"acme/date=2026-03-09/{NAME}"
PASSWORD = "s3cret-word"
SECRETS = (PASSWORD, "AKIAEXAMPLEKEY", "very-secret-key", "open-sesame")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for variable in list(os.environ):
        if variable.startswith("AWS_") or variable.upper().endswith("_PROXY"):
            monkeypatch.delenv(variable)
    for variable, value in {
        "AWS_ACCESS_KEY_ID": "AKIAEXAMPLEKEY",
        "AWS_SECRET_ACCESS_KEY": "very-secret-key",
        "AWS_CONFIG_FILE": str(tmp_path / "no-aws-config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "no-aws-credentials"),
        "AWS_EC2_METADATA_DISABLED": "true",
        "FTP_PASSWORD": PASSWORD,
    }.items():
        monkeypatch.setenv(variable, value)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="module")
def other_certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("other-certificate"), "other")


@pytest.fixture(scope="module")
def _s3() -> Iterator[S3Server]:
    with s3_server() as server:
        yield server


@pytest.fixture
def s3(_s3: S3Server) -> Iterator[S3Server]:
    client = s3_client(_s3)
    client.create_bucket(Bucket="clients")
    _s3.requests.clear()
    _s3.headers.clear()
    yield _s3
    _s3.fault, _s3.role_expires_in = None, None
    for upload in client.list_multipart_uploads(Bucket="clients").get("Uploads", ()):
        client.abort_multipart_upload(Bucket="clients", Key=upload["Key"], UploadId=upload["UploadId"])
    for found in client.list_objects_v2(Bucket="clients").get("Contents", ()):
        client.delete_object(Bucket="clients", Key=found["Key"])
    client.delete_bucket(Bucket="clients")


@pytest.fixture
def sftp(tmp_path: Path) -> Iterator[SftpServer]:
    with sftp_server(tmp_path / "sftp") as server:
        yield server


@pytest.fixture
def ftp(tmp_path: Path) -> Iterator[FtpServer]:
    with ftp_server(tmp_path / "ftp") as server:
        yield server


@pytest.fixture
def ftps(tmp_path: Path, certificate: Certificate) -> Iterator[FtpServer]:
    with ftp_server(tmp_path / "ftps", certificate.certificate, demand_reuse=True) as server:
        yield server


@pytest.fixture
def implicit_ftps(tmp_path: Path, certificate: Certificate) -> Iterator[FtpServer]:
    folder = tmp_path / "implicit-ftps"
    with ftp_server(folder, certificate.certificate, demand_reuse=True, implicit=True) as server:
        yield server


@pytest.fixture
def opened() -> Iterator[Callable[..., Destination]]:
    """Opens destinations from raw settings, and closes them."""
    with contextlib.ExitStack() as stack:

        def open_it(**raw: Any) -> Destination:
            destination = open_destination(
                "there", parse_destination("there", {"partner_name": "acme", **raw})
            )
            stack.callback(destination.close)
            return destination

        yield open_it


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


@pytest.fixture(params=["directory", "s3", "sftp", "ftp", "ftps", "ftps-implicit"])
def destination(
    request: pytest.FixtureRequest, opened: Callable[..., Destination], tmp_path: Path
) -> Destination:
    match request.param:
        case "directory":
            return opened(type="directory", path=str(tmp_path / "out"))
        case "s3":
            return opened(**s3_settings(request.getfixturevalue("s3")))
        case "sftp":
            return opened(**sftp_settings(request.getfixturevalue("sftp")))
        case "ftp":
            return opened(**ftp_settings(request.getfixturevalue("ftp")))
        case _:
            ca_file = request.getfixturevalue("certificate").ca_file
            implicit = request.param == "ftps-implicit"
            server = request.getfixturevalue("implicit_ftps" if implicit else "ftps")
            return opened(**ftp_settings(server, tls="implicit" if implicit else True, ca_file=str(ca_file)))


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


# --- what every destination promises -----------------------------------------------------------------------


def test_put_head_list_delete(destination: Destination, tmp_path: Path) -> None:
    destination.check()
    assert destination.head(KEY) is None
    assert list(destination.list("acme/")) == []
    part = make_part(tmp_path)
    progress: list[int] = []
    stored = destination.put(part, KEY, progress.append)
    assert (stored.key, stored.bytes, stored.checksum) == (KEY, part.bytes, part.sha256)
    assert sum(progress) == part.bytes
    found = destination.head(KEY)
    assert found is not None
    assert (found.key, found.bytes) == (KEY, part.bytes)
    assert found.checksum in (None, part.sha256)
    other = KEY.replace("03-09", "03-10")
    destination.put(make_part(tmp_path, 7, seed=2), other)
    assert [(found.key, found.bytes) for found in destination.list("acme/")] == [
        (KEY, part.bytes),
        (other, 7),
    ]
    assert [found.key for found in destination.list("acme/date=2026-03-10/ftp_")] == [other]
    assert list(destination.list("acme/date=2026-03-11/")) == []
    modified = next(destination.list("acme/")).modified
    assert modified is not None
    assert modified.utcoffset() is not None
    destination.delete(KEY)
    destination.delete(KEY)
    assert destination.head(KEY) is None
    assert [found.key for found in destination.list("acme/")] == [other]
    assert destination.uri(KEY).endswith(f"/{KEY}")


def test_the_same_file_again_counts_as_there(destination: Destination, tmp_path: Path) -> None:
    part = make_part(tmp_path)
    destination.put(part, KEY)
    progress: list[int] = []
    assert destination.put(part, KEY, progress.append).checksum == part.sha256
    assert sum(progress) == part.bytes


def test_another_file_under_the_same_key_is_refused(destination: Destination, tmp_path: Path) -> None:
    part = make_part(tmp_path)
    destination.put(part, KEY)
    for other in (make_part(tmp_path, seed=2), make_part(tmp_path, size=99)):
        with pytest.raises(DeliveryError) as caught:
            destination.put(other, KEY)
        check_line(caught.value, KEY, "exists already with other content")
    assert destination.put(part, KEY).bytes == part.bytes  # what was there is there still


def test_many_files_at_a_time(destination: Destination, tmp_path: Path) -> None:
    parts = {f"{KEY}.{seed}": make_part(tmp_path, 300_000, seed) for seed in range(8)}
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda item: destination.put(item[1], item[0]), parts.items()))
    assert {found.key: found.bytes for found in destination.list("acme/")} == dict.fromkeys(parts, 300_000)


@pytest.mark.parametrize("key", ["../x", "/x", "a//b", "a/./b", "a\\b", "a\nDELE b", ""])
def test_no_key_leads_out(destination: Destination, tmp_path: Path, key: str) -> None:
    with pytest.raises(DeliveryError, match="no plain path"):
        destination.put(make_part(tmp_path), key)


def test_a_part_that_changed_is_not_sent(destination: Destination, tmp_path: Path) -> None:
    part = make_part(tmp_path)
    part.path.write_bytes(b"other")
    with pytest.raises(DeliveryError, match="5 bytes, recorded were 100000"):
        destination.put(part, KEY)
    part.path.unlink()
    with pytest.raises(DeliveryError, match="the file to send is gone"):
        destination.put(part, KEY)
    empty = make_part(tmp_path, 0)
    with pytest.raises(DeliveryError, match="empty"):
        destination.put(empty, KEY)
    assert list(destination.list("")) == []


# --- directory ---------------------------------------------------------------------------------------------


def test_directory_moves_no_byte_and_keeps_others_out(
    opened: Callable[..., Destination], tmp_path: Path
) -> None:
    destination = opened(type="directory", path=str(tmp_path / "new" / "out"))
    part = make_part(tmp_path)
    destination.put(part, KEY)
    target = tmp_path / "new" / "out" / KEY
    assert target.stat().st_ino == part.path.stat().st_ino
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    for folder in (target.parent, target.parent.parent, tmp_path / "new" / "out", tmp_path / "new"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert destination.uri(KEY) == f"file://{target}"


def test_directory_accepts_a_file_whose_part_is_gone_since(
    opened: Callable[..., Destination], tmp_path: Path
) -> None:
    destination = opened(type="directory", path=str(tmp_path / "out"))
    part = make_part(tmp_path)
    destination.put(part, KEY)
    part.path.unlink()
    assert destination.put(part, KEY).checksum == part.sha256


def without_links(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)


def test_directory_on_another_file_system_copies(
    opened: Callable[..., Destination], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_links(monkeypatch)
    destination = opened(type="directory", path=str(tmp_path / "out"))
    part = make_part(tmp_path, 3 * MIB + 1)
    destination.put(part, KEY)
    target = tmp_path / "out" / KEY
    assert target.read_bytes() == part.path.read_bytes()
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert [path.name for path in target.parent.iterdir()] == [NAME]


def test_directory_reads_a_copy_back(
    opened: Callable[..., Destination], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_links(monkeypatch)
    destination = opened(type="directory", path=str(tmp_path / "out"))
    damaged = replace(make_part(tmp_path), sha256="0" * 64)
    with pytest.raises(DeliveryError, match="reads back otherwise"):
        destination.put(damaged, KEY)
    assert list((tmp_path / "out/acme/date=2026-03-09").iterdir()) == []


REFUSED = """
import os, resource, sys
from pathlib import Path
from aam_onboard.destinations import open_destination, parse_destination
from aam_onboard.errors import DeliveryError
from aam_onboard.files import Part

def no_link(*_):
    raise OSError(18, "Invalid cross-device link")

os.link = no_link
settings = parse_destination("there", {"type": "directory", "path": sys.argv[2], "partner_name": "acme"})
destination = open_destination("there", settings)
if sys.argv[1] == "full":
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
else:
    os.setuid(65534)
try:
    if sys.argv[1] == "head":
        print(destination.head(sys.argv[4]))
    if sys.argv[1] == "list":
        print(*destination.list("acme/"))
    destination.put(Part(Path(sys.argv[3]), 1, 100_000, 1, "0" * 64, ""), sys.argv[4])
except DeliveryError as error:
    print(type(error).__name__, error)
"""


def refused(how: str, out: Path, part: Part) -> str:
    said = subprocess.run(
        [sys.executable, "-c", REFUSED, how, out, part.path, KEY], capture_output=True, text=True, check=True
    )
    assert said.stderr == ""
    assert said.stdout.count("\n") == 1
    return said.stdout


def test_directory_full(tmp_path: Path) -> None:
    said = refused("full", tmp_path / "out", make_part(tmp_path))
    assert "File too large; make room there and deliver again" in said
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user, and others need not")
def test_directory_not_writable() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        part = make_part(Path(folder))
        (Path(folder) / "out").mkdir(mode=0o755)
        said = refused("nobody", Path(folder) / "out", part)
    assert "Permission denied; let this user write to" in said


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user, and others need not")
@pytest.mark.parametrize("how", ["head", "list"])
def test_directory_that_can_not_be_read_is_not_an_empty_one(how: str) -> None:
    """Else a file that waits there would count as gone."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        target = Path(folder) / "out" / KEY
        target.parent.mkdir(parents=True)
        target.write_bytes(b"waits")
        (Path(folder) / "out/acme").chmod(0o700)
        said = refused(how, Path(folder) / "out", make_part(Path(folder)))
    assert said.startswith("CannotListError ")
    assert "Permission denied; let this user" in said


def test_directory_delete_takes_what_an_interrupted_put_left(
    opened: Callable[..., Destination], tmp_path: Path
) -> None:
    destination = opened(type="directory", path=str(tmp_path / "out"))
    part = make_part(tmp_path)
    destination.put(part, f"{KEY}.other")
    folder = tmp_path / "out/acme/date=2026-03-09"
    (folder / temporary_name(NAME, part)).write_bytes(b"half")
    assert [found.key for found in destination.list("acme/")] == [f"{KEY}.other"]
    destination.delete(KEY)
    assert [path.name for path in folder.iterdir()] == [f"{NAME}.other"]


# --- S3 ----------------------------------------------------------------------------------------------------


def s3_client(server: S3Server, checksums: Any = "when_supported") -> Any:
    return _s3_client(server.endpoint, checksums)


@functools.cache  # making one is slow
def _s3_client(endpoint: str, checksums: Any) -> Any:
    import boto3
    from botocore.config import Config

    config = Config(request_checksum_calculation=checksums)
    return boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", config=config)


def test_s3_key_acl_metadata_and_checksum(
    s3: S3Server, opened: Callable[..., Destination], tmp_path: Path
) -> None:
    destination = opened(**s3_settings(s3, request_checksum_calculation="when_supported"))
    part = make_part(tmp_path)
    destination.put(part, KEY)
    client = s3_client(s3)
    found = client.get_object(Bucket="clients", Key=KEY)
    assert found["Body"].read() == part.path.read_bytes()
    assert found["Metadata"] == {"sha256": part.sha256}
    sent = s3.headers[[request.startswith("PUT /clients/acme") for request in s3.requests].index(True)]
    assert sent["HTTP_X_AMZ_ACL"] == "bucket-owner-full-control"
    assert "HTTP_X_AMZ_CHECKSUM_SHA256" in sent
    head = destination.head(KEY)
    assert head is not None
    assert head.checksum == part.sha256
    assert destination.uri(KEY) == f"s3://clients/{KEY}"


@pytest.mark.parametrize("calculation", ["when_supported", "when_required"])
@pytest.mark.parametrize("size", [5 * MIB - 1, 5 * MIB, 11 * MIB + 7])
def test_s3_multipart_is_proven(
    s3: S3Server, opened: Callable[..., Destination], tmp_path: Path, calculation: str, size: int
) -> None:
    destination = opened(**s3_settings(s3, request_checksum_calculation=calculation))
    part = make_part(tmp_path, size)
    progress: list[int] = []
    assert destination.put(part, KEY, progress.append).checksum == part.sha256
    assert sum(progress) == size
    head = s3_client(s3).head_object(Bucket="clients", Key=KEY, ChecksumMode="ENABLED")
    assert ("ChecksumSHA256" in head) == (calculation == "when_supported")
    assert ("-" in head["ETag"]) == (size >= 5 * MIB)
    s3.requests.clear()
    destination.put(part, KEY)  # proven by the composed checksum or ETag, and not sent again
    assert [request for request in s3.requests if not request.startswith("HEAD")] == []


@pytest.mark.parametrize("checksum", ["SHA256", "CRC32", "COMPOSITE-CRC32", "ETag", "multipart-ETag", "kms"])
@pytest.mark.parametrize("damaged", [False, True])
def test_s3_compares_whatever_checksum_the_store_keeps(
    s3: S3Server, opened: Callable[..., Destination], tmp_path: Path, checksum: str, damaged: bool
) -> None:
    """Files of the right size that others uploaded in their ways: told apart by what the store keeps of them."""
    size = 11 * MIB if checksum in ("COMPOSITE-CRC32", "multipart-ETag") else 100_000
    part = make_part(tmp_path, size)
    lying = make_part(tmp_path, size, seed=2) if damaged else part
    metadata = {"Metadata": {"sha256": lying.sha256}}
    client = s3_client(s3, "when_required" if "ETag" in checksum or checksum == "kms" else "when_supported")
    match checksum:
        case "SHA256" | "CRC32":
            client.put_object(
                Bucket="clients",
                Key=KEY,
                Body=lying.path.read_bytes(),
                ChecksumAlgorithm=checksum,
                **metadata,
            )
        case "kms":
            client.put_object(
                Bucket="clients",
                Key=KEY,
                Body=lying.path.read_bytes(),
                ServerSideEncryption="aws:kms",
                **metadata,
            )
        case _:
            from boto3.s3.transfer import TransferConfig

            config = TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB)
            algorithm = {"ChecksumAlgorithm": "CRC32"} if checksum == "COMPOSITE-CRC32" else {}
            client.upload_file(
                str(lying.path), "clients", KEY, ExtraArgs={**algorithm, **metadata}, Config=config
            )
    destination = opened(**s3_settings(s3))
    if damaged:
        with pytest.raises(DeliveryError, match="other content"):
            destination.put(part, KEY)
    else:
        assert destination.put(part, KEY).checksum == part.sha256


def test_s3_encryption_settings_are_sent(
    s3: S3Server, opened: Callable[..., Destination], tmp_path: Path
) -> None:
    opened(**s3_settings(s3, sse="aws:kms", sse_kms_key_id="key-1", acl=None)).put(make_part(tmp_path), KEY)
    sent = next(headers for headers in s3.headers if "HTTP_X_AMZ_SERVER_SIDE_ENCRYPTION" in headers)
    assert sent["HTTP_X_AMZ_SERVER_SIDE_ENCRYPTION"] == "aws:kms"
    assert sent["HTTP_X_AMZ_SERVER_SIDE_ENCRYPTION_AWS_KMS_KEY_ID"] == "key-1"
    assert "HTTP_X_AMZ_ACL" not in sent


def test_s3_role_is_assumed(
    s3: S3Server, opened: Callable[..., Destination], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", s3.endpoint)
    role = "arn:aws:iam::123456789012:role/adobe-upload"
    opened(**s3_settings(s3, role_arn=role, external_id="acme-7")).put(make_part(tmp_path), KEY)
    assert s3.requests[0] == "POST /"
    assert "HTTP_X_AMZ_SECURITY_TOKEN" not in s3.headers[0]
    assert all("HTTP_X_AMZ_SECURITY_TOKEN" in headers for headers in s3.headers[1:])
    s3.fault = lambda environ: 403 if environ["PATH_INFO"] == "/" else None
    with pytest.raises(DeliveryError) as caught:
        opened(**s3_settings(s3, role_arn=role)).put(make_part(tmp_path), KEY + ".2")
    check_line(caught.value, f"may not assume {role}", "`role_arn`")


@pytest.mark.parametrize("by", ["role_arn", "profile"])
def test_s3_credentials_of_a_role_are_renewed(
    s3: S3Server, opened: Callable[..., Destination], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    """In the middle of an upload; also where AWS's own configuration names the role."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", s3.endpoint)
    role = "arn:aws:iam::123456789012:role/adobe-upload"
    config = tmp_path / "aws-config"
    config.write_text(f"[profile adobe]\nrole_arn = {role}\ncredential_source = Environment\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    tokens: list[str] = []

    def expire(environ: dict[str, Any]) -> tuple[int, str] | None:
        """A token is good for two requests."""
        token = environ.get("HTTP_X_AMZ_SECURITY_TOKEN")
        if token:
            tokens.append(token)
        return (400, "ExpiredToken") if token and tokens.count(token) > 2 else None

    s3.fault = expire
    s3.role_expires_in = 60  # so soon that the next request needs a new one
    part = make_part(tmp_path, 26 * MIB)
    given = {"role_arn": role} if by == "role_arn" else {"profile": "adobe"}
    opened(**s3_settings(s3, max_concurrency=1, **given)).put(part, KEY)
    assert len(set(tokens)) >= len(tokens) / 2 >= 4
    assert s3.requests.count("POST /") == len(set(tokens))


AWS_HOSTS = ["*.s3.amazonaws.com", "*.s3.us-east-1.amazonaws.com", "*.s3.eu-west-1.amazonaws.com"]


@pytest.fixture
def aws(tmp_path: Path) -> Iterator[tuple[S3Server, Proxy, dict[str, Any]]]:
    """AWS's own host names, which a proxy leads to a server of ours; settings that have no `endpoint_url`."""
    own = make_certificate(tmp_path / "aws", "aws", AWS_HOSTS)
    with s3_server(own.certificate) as server, proxy_server({}) as proxy:
        import boto3

        client = boto3.client(
            "s3", endpoint_url=server.endpoint, region_name="us-east-1", verify=str(own.ca_file)
        )
        client.create_bucket(Bucket="clients")
        port = int(server.endpoint.rpartition(":")[2])
        proxy.hosts = {name.replace("*", "clients"): port for name in AWS_HOSTS}
        yield (
            server,
            proxy,
            {"type": "s3", "bucket": "clients", "ca_file": str(own.ca_file), "retries": {"max_attempts": 1}},
        )
        for found in client.list_objects_v2(Bucket="clients").get("Contents", ()):
            client.delete_object(Bucket="clients", Key=found["Key"])
        client.delete_bucket(Bucket="clients")
        client.close()


@pytest.mark.parametrize("answer", [(301, "PermanentRedirect"), (307, "TemporaryRedirect")])
def test_s3_bucket_of_another_region(
    aws: tuple[S3Server, Proxy, dict[str, Any]],
    opened: Callable[..., Destination],
    tmp_path: Path,
    answer: tuple[int, str],
) -> None:
    """Found by itself where the store names the region, else one line."""
    server, proxy, settings = aws
    server.fault = lambda environ: answer if "/us-east-1/" in environ.get("HTTP_AUTHORIZATION", "") else None
    with pytest.raises(DeliveryError) as caught:
        opened(**settings, proxy=proxy.url).put(make_part(tmp_path), KEY)
    check_line(caught.value, KEY, "redirects without naming a region", "`endpoint_url`", "`region`")
    proxy.asked_for.clear()
    server.fault_headers = [("x-amz-bucket-region", "eu-west-1")]
    opened(**settings, proxy=proxy.url).put(make_part(tmp_path), KEY)
    assert {"clients.s3.amazonaws.com:443", "clients.s3.eu-west-1.amazonaws.com:443"} == set(proxy.asked_for)
    proxy.asked_for.clear()
    opened(**settings, proxy=proxy.url, region="eu-west-1").put(make_part(tmp_path), KEY)
    assert {"clients.s3.eu-west-1.amazonaws.com:443"} == set(proxy.asked_for)


def test_s3_proxies(
    aws: tuple[S3Server, Proxy, dict[str, Any]],
    opened: Callable[..., Destination],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """HTTPS_PROXY and NO_PROXY count, `proxy` counts more; a refusal names the one that refused."""
    server, proxy, settings = aws
    part = make_part(tmp_path)
    monkeypatch.setenv("HTTPS_PROXY", proxy.url.replace("//", f"//me:{PASSWORD}@"))
    opened(**settings).put(part, KEY)
    assert len(proxy.asked_for) >= 1
    for refusal in ("407 Proxy Authentication Required", "403 Forbidden"):
        proxy.refusal = refusal
        with pytest.raises(DeliveryError) as caught:
            opened(**settings).put(part, KEY)
        check_line(caught.value, f"the proxy refuses the connection ({refusal}); check HTTPS_PROXY")
    proxy.asked_for.clear()
    monkeypatch.setenv("NO_PROXY", ".amazonaws.com,127.0.0.1")
    with pytest.raises(DeliveryError) as caught:
        opened(**settings).put(part, KEY)
    check_line(caught.value, "AWS can't be reached", "`proxy`")
    opened(**settings, endpoint_url=server.endpoint).check()
    assert proxy.asked_for == []
    with pytest.raises(DeliveryError) as caught:
        opened(**settings, proxy=proxy.url).put(part, KEY)
    check_line(
        caught.value, "the proxy refuses the connection (403 Forbidden); check `proxy` in destinations"
    )


def test_s3_addressing_style(s3: S3Server, opened: Callable[..., Destination], tmp_path: Path) -> None:
    """By a proxy that knows the host's name, since there is none for every bucket on this machine."""
    port = int(s3.endpoint.rpartition(":")[2])
    with proxy_server({"store": port, "clients.store": port}) as proxy:
        settings = s3_settings(s3, endpoint_url="http://store", tls=False, proxy=proxy.url)
        for style, host in (("auto", "store"), ("path", "store"), ("virtual", "clients.store")):
            proxy.asked_for.clear()
            opened(**settings, addressing_style=style).put(make_part(tmp_path), f"{KEY}.{style}")
            assert set(proxy.asked_for) == {host}
        proxy.refusal = "407 Proxy Authentication Required"
        with pytest.raises(DeliveryError) as caught:
            opened(**settings).put(make_part(tmp_path), KEY)
        check_line(caught.value, "the proxy refuses the connection (407); check `proxy`")


@pytest.mark.parametrize("size", [100_000, 11 * MIB])
def test_s3_store_that_refuses_checksum_trailers(
    s3: S3Server, opened: Callable[..., Destination], tmp_path: Path, size: int
) -> None:
    """As many stores other than AWS do: nothing needs to be set for them."""

    def refuse(environ: dict[str, Any]) -> tuple[int, str] | None:
        asked = ("HTTP_X_AMZ_TRAILER", "HTTP_X_AMZ_SDK_CHECKSUM_ALGORITHM", "HTTP_X_AMZ_CHECKSUM_ALGORITHM")
        return (501, "NotImplemented") if any(name in environ for name in asked) else None

    s3.fault = refuse
    part = make_part(tmp_path, size)
    assert opened(**s3_settings(s3)).put(part, KEY).checksum == part.sha256
    with pytest.raises(DeliveryError) as caught:
        opened(**s3_settings(s3, request_checksum_calculation="when_supported")).put(part, f"{KEY}.2")
    check_line(caught.value, "NotImplemented", "`request_checksum_calculation: when_required`")


def test_s3_over_tls_with_an_own_authority(
    opened: Callable[..., Destination],
    tmp_path: Path,
    certificate: Certificate,
    other_certificate: Certificate,
) -> None:
    with s3_server(certificate.certificate) as server:
        import boto3

        client = boto3.client(
            "s3", endpoint_url=server.endpoint, region_name="us-east-1", verify=str(certificate.ca_file)
        )
        client.create_bucket(Bucket="clients")
        part = make_part(tmp_path, 6 * MIB)
        opened(**s3_settings(server, ca_file=str(certificate.ca_file))).put(part, KEY)
        with pytest.raises(DeliveryError) as caught:
            opened(**s3_settings(server, ca_file=str(other_certificate.ca_file))).put(part, KEY)
        check_line(caught.value, "certificate", "does not verify", "`ca_file`")
        client.delete_object(Bucket="clients", Key=KEY)
        client.delete_bucket(Bucket="clients")
        client.close()


S3_REFUSALS = {
    (403, "InvalidAccessKeyId"): "wrong credentials (InvalidAccessKeyId)",
    (403, "SignatureDoesNotMatch"): "wrong credentials (SignatureDoesNotMatch)",
    (403, "AccessDenied"): "access denied; ask Adobe",
    (403, "RequestTimeTooSkewed"): "clock is wrong",
    (400, "ExpiredToken"): "the credentials have expired",
    (400, "AuthorizationHeaderMalformed"): "the bucket is in another region",
    (400, "BadDigest"): "damaged bytes",
    (400, "AccessControlListNotSupported"): "`acl: null`",
    (411, "MissingContentLength"): "`request_checksum_calculation: when_required`",
    (500, "InternalError"): "the store answers InternalError",
    (503, "SlowDown"): "the store answers SlowDown",
    (418, "Teapot"): "the store refuses PutObject: Teapot as told",
}


@pytest.mark.parametrize("refusal", S3_REFUSALS)
def test_s3_refusals_say_what_to_do(
    s3: S3Server, opened: Callable[..., Destination], tmp_path: Path, refusal: tuple[int, str]
) -> None:
    s3.fault = lambda environ: refusal
    with pytest.raises(DeliveryError) as caught:
        # What HEAD answers has no body: the code must come from the upload.
        s3.fault = lambda environ: refusal if environ["REQUEST_METHOD"] == "PUT" else None
        opened(**s3_settings(s3)).put(make_part(tmp_path), KEY)
    check_line(caught.value, f"s3://clients/{KEY}", S3_REFUSALS[refusal])


def test_s3_no_such_bucket(s3: S3Server, opened: Callable[..., Destination], tmp_path: Path) -> None:
    destination = opened(**s3_settings(s3, bucket="nowhere"))
    for act in (lambda: destination.put(make_part(tmp_path), KEY), destination.check):
        with pytest.raises(DeliveryError) as caught:
            act()
        check_line(caught.value, "s3://nowhere", "there is no such bucket", "`bucket` or `environment`")


def test_s3_wrong_credentials_at_once(
    s3: S3Server, opened: Callable[..., Destination], tmp_path: Path
) -> None:
    s3.fault = lambda environ: (403, "InvalidAccessKeyId")
    destination = opened(**s3_settings(s3))
    for act in (lambda: destination.put(make_part(tmp_path), KEY), destination.check):
        with pytest.raises(DeliveryError) as caught:
            act()
        check_line(caught.value, "wrong credentials (InvalidAccessKeyId)", "AWS_ACCESS_KEY_ID")


def test_s3_no_credentials(
    s3: S3Server, opened: Callable[..., Destination], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    for more in ({}, {"role_arn": "arn:aws:iam::123456789012:role/adobe-upload"}):
        with pytest.raises(ConfigError) as caught:
            opened(**s3_settings(s3, **more)).put(make_part(tmp_path), KEY)
        check_line(caught.value, "no AWS credentials", "`profile`")
    with pytest.raises(ConfigError) as caught:
        opened(**s3_settings(s3, profile="elsewhere")).put(make_part(tmp_path), KEY)
    check_line(caught.value, "profile `elsewhere`")


def test_s3_unreachable(opened: Callable[..., Destination], tmp_path: Path) -> None:
    nobody = S3Server("http://127.0.0.1:1")
    with pytest.raises(DeliveryError) as caught:
        opened(**s3_settings(nobody)).put(make_part(tmp_path), KEY)
    check_line(caught.value, "http://127.0.0.1:1 can't be reached")
    with pytest.raises(DeliveryError) as caught:
        opened(**s3_settings(nobody, proxy=f"http://me:{PASSWORD}@127.0.0.1:1")).put(make_part(tmp_path), KEY)
    check_line(caught.value, "the proxy does not answer")


def test_s3_retries_as_told(s3: S3Server, opened: Callable[..., Destination], tmp_path: Path) -> None:
    failed: list[str] = []

    def twice(environ: dict[str, Any]) -> int | None:
        if environ["REQUEST_METHOD"] == "PUT" and len(failed) < 2:
            failed.append("")
            return 503
        return None

    s3.fault = twice
    opened(**s3_settings(s3, retries={"mode": "standard", "max_attempts": 3})).put(make_part(tmp_path), KEY)
    assert len(failed) == 2


@pytest.mark.parametrize("fault", [500, 403, "reset"])
def test_s3_a_failed_multipart_upload_leaves_no_parts(
    s3: S3Server, opened: Callable[..., Destination], tmp_path: Path, fault: int | str
) -> None:
    s3.fault = lambda environ: fault if "partNumber=2" in environ["QUERY_STRING"] else None
    destination = opened(**s3_settings(s3, retries={"max_attempts": 1}))
    part = make_part(tmp_path, 16 * MIB)
    with pytest.raises(DeliveryError) as caught:
        destination.put(part, KEY)
    check_line(caught.value, KEY)
    client = s3_client(s3)
    assert "Uploads" not in client.list_multipart_uploads(Bucket="clients")
    assert destination.head(KEY) is None
    s3.fault = None
    destination.put(part, KEY)
    assert client.get_object(Bucket="clients", Key=KEY)["Body"].read() == part.path.read_bytes()


KILLED = """
import sys
from pathlib import Path
from aam_onboard.destinations import open_destination, parse_destination
from aam_onboard.files import Part
settings = parse_destination("there", {"type": "s3", "partner_name": "acme", "bucket": "clients",
    "endpoint_url": sys.argv[1], "part_size": 5 * 2**20, "max_concurrency": 1})
open_destination("there", settings).put(Part(Path(sys.argv[2]), 1, 16 * 2**20, 1, "0" * 64), sys.argv[3])
"""


@pytest.mark.parametrize("then", ["put", "delete", "abort_orphans"])
def test_s3_what_a_killed_upload_left_is_aborted(
    s3: S3Server, opened: Callable[..., Destination], tmp_path: Path, then: str
) -> None:
    part = make_part(tmp_path, 16 * MIB)
    second_part = threading.Event()
    dead = threading.Event()

    def hang(environ: dict[str, Any]) -> str | None:
        if "partNumber=2" not in environ["QUERY_STRING"]:
            return None
        second_part.set()
        dead.wait(30)
        return "reset"

    s3.fault = hang
    process = subprocess.Popen([sys.executable, "-c", KILLED, s3.endpoint, part.path, KEY])
    assert second_part.wait(30)
    process.send_signal(signal.SIGKILL)
    process.wait()
    dead.set()
    s3.fault = None
    client = s3_client(s3)
    assert len(client.list_multipart_uploads(Bucket="clients")["Uploads"]) == 1
    destination = opened(**s3_settings(s3))
    match then:
        case "put":
            destination.put(part, KEY)
        case "delete":
            destination.delete(KEY)
        case _:
            assert destination.abort_orphans("acme/") == 1  # type: ignore[attr-defined]
    assert "Uploads" not in client.list_multipart_uploads(Bucket="clients")


def test_s3_a_file_that_arrives_damaged_is_removed(
    s3: S3Server, opened: Callable[..., Destination], tmp_path: Path
) -> None:
    def damage(environ: dict[str, Any]) -> None:
        if environ["REQUEST_METHOD"] == "PUT":
            body = bytearray(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
            body[1000] ^= 1
            environ["wsgi.input"] = io.BytesIO(body)

    destination = opened(**s3_settings(s3, request_checksum_calculation="when_required"))
    part = make_part(tmp_path)
    s3.fault = damage
    with pytest.raises(DeliveryError, match="arrived otherwise than it was sent: its MD5 differs"):
        destination.put(part, KEY)
    assert destination.head(KEY) is None
    s3.fault = None
    with pytest.raises(DeliveryError, match="the file to send changed meanwhile"):
        destination.put(replace(part, sha256="0" * 64), KEY)
    assert destination.head(KEY) is None

    destination.put(part, KEY)
    part.path.unlink()  # what stands there is proven by reading the file
    with pytest.raises(DeliveryError) as caught:
        destination.put(part, KEY)
    check_line(caught.value, KEY, "No such file", "deliver again")


def test_s3_without_the_right_to_look(
    s3: S3Server, opened: Callable[..., Destination], tmp_path: Path
) -> None:
    """Write-only rights: the upload itself works, but it can't be proven, which is said."""
    s3.fault = lambda environ: 403 if environ["REQUEST_METHOD"] in ("HEAD", "GET") else None
    destination = opened(**s3_settings(s3))
    destination.check()
    with pytest.raises(DeliveryError) as caught:
        destination.put(make_part(tmp_path), KEY)
    check_line(caught.value, "was sent, but can't be proven", "s3:GetObject")
    with pytest.raises(CannotListError):
        list(destination.list("acme/"))


# --- SFTP --------------------------------------------------------------------------------------------------


def leftovers(root: Path) -> list[str]:
    return sorted(path.name for path in root.rglob("*") if path.is_file() and path.name != NAME)


def test_sftp_directory_and_uri(sftp: SftpServer, opened: Callable[..., Destination], tmp_path: Path) -> None:
    (sftp.root / "inbound").mkdir()
    destination = opened(**sftp_settings(sftp, directory="/inbound/"))
    part = make_part(tmp_path, 2 * MIB)
    destination.put(part, KEY)
    assert (sftp.root / "inbound" / KEY).read_bytes() == part.path.read_bytes()
    assert destination.uri(KEY) == f"sftp://{HOST}:{sftp.port}/inbound/{KEY}"
    assert [found.key for found in destination.list("acme/")] == [KEY]


def test_sftp_unknown_host(sftp: SftpServer, opened: Callable[..., Destination], tmp_path: Path) -> None:
    known = sftp.known_hosts.read_text()
    for known_hosts in (tmp_path / "missing", tmp_path / "others"):
        (tmp_path / "others").write_text(known.replace(HOST, "other.example.com"))
        with pytest.raises(DeliveryError) as caught:
            opened(**sftp_settings(sftp, known_hosts=str(known_hosts))).check()
        check_line(
            caught.value,
            f"{HOST}:{sftp.port} is not in {known_hosts}",
            "ssh-ed25519 SHA256:",
            f"ssh-keyscan -p {sftp.port} {HOST} >> {known_hosts}",
        )
    assert not (tmp_path / "missing").exists()


def test_sftp_changed_host_key(sftp: SftpServer, opened: Callable[..., Destination], tmp_path: Path) -> None:
    import asyncssh

    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode().strip()
    sftp.known_hosts.write_text(f"[{HOST}]:{sftp.port} {other}\n")
    with pytest.raises(DeliveryError) as caught:
        opened(**sftp_settings(sftp, retries=3)).put(make_part(tmp_path), KEY)
    check_line(caught.value, "the host key has changed", f"ssh-keygen -R '[{HOST}]:{sftp.port}'")
    assert sftp.operations == []


def new_host_key(kind: str) -> str:
    import asyncssh

    return asyncssh.generate_private_key(kind).export_public_key().decode().strip()


def test_sftp_known_hosts_as_ssh_reads_it(
    opened: Callable[..., Destination], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several kinds and several keys of one kind, whichever comes first; hashed names, patterns, markers, comments."""
    monkeypatch.setenv("HOME", str(tmp_path))
    old_ed25519, old_ecdsa = new_host_key("ssh-ed25519"), new_host_key("ecdsa-sha2-nistp256")
    with sftp_server(tmp_path / "sftp", host_keys=("ssh-rsa", "ssh-ed25519")) as server:
        rsa, ed25519 = server.host_keys
        place = f"[{HOST}]:{server.port}"
        hashed = tmp_path / "hashed"
        hashed.write_text(f"{place} {rsa}\n")
        subprocess.run(["ssh-keygen", "-q", "-H", "-f", hashed], check=True, capture_output=True)
        assert HOST not in hashed.read_text()
        for lines in (
            [f"{place} {rsa}"],  # the server would rather show its Ed25519 key
            [f"{place} {old_ecdsa}", f"{place} {rsa}"],  # a kind that it has no more
            [f"{place} {ed25519}", f"{place} {rsa}"],
            [f"{place} {old_ed25519}", f"{place} {ed25519}"],  # a new key, announced while the old one held
            [hashed.read_text()],
            [f"other.example.com,{HOST},10.0.0.1 {rsa} a comment"],  # without the port
            [f"*.example.com,[127.0.0.*]:{server.port} {rsa}"],
            [f"[127.0.0.?]:* {rsa}"],
            ["# comment", "", "garbage", "@cert-authority *.example.com " + rsa, f"\t {place}\t{rsa}"],
            [
                "other.example.com ssh-ed25519 AAAAgarbage",
                f"{place} sk-new@example.com AAAA",
                f"{place} {rsa}",
            ],
            [f"@revoked {place} {ed25519}", f"{place} {rsa}"],
        ):
            server.known_hosts.write_text("\n".join(lines))
            opened(**sftp_settings(server)).check()
        server.operations.clear()
        for lines, said in (
            ([f"{place} {old_ecdsa}"], "the host key has changed: it is ssh-"),
            ([f"{place} {old_ed25519}", f"{place} {rsa}"], "the host key has changed: it is ssh-ed25519"),
            ([f"[*]:*,!{place} {rsa}"], f"{HOST}:{server.port} is not in"),
            ([f"@revoked * {ed25519}", f"{place} {ed25519}"], "ssh-ed25519 SHA256:"),
            ([f"@cert-authority {place} {ed25519}"], "is not in"),
        ):
            server.known_hosts.write_text("\n".join(lines))
            with pytest.raises(DeliveryError) as caught:
                opened(**sftp_settings(server)).check()
            check_line(caught.value, said)
        assert server.operations == []
        for damaged in ("AAAAC3NzaC1lZDI1NTE5", "AAAA!", "c3NoLWVkMjU1MTk="):
            server.known_hosts.write_text(f"# ours\n{place} ssh-ed25519 {damaged}\n")
            with pytest.raises(ConfigError) as caught_config:
                opened(**sftp_settings(server)).check()
            check_line(
                caught_config.value, "`known_hosts`", "the key in line 2 can't be read", "ssh-keygen -R"
            )
        with pytest.raises(ConfigError) as caught_config:
            opened(**sftp_settings(server, known_hosts=str(tmp_path))).check()
        check_line(caught_config.value, "`known_hosts`", "Is a directory")


@contextlib.contextmanager
def ssh_agent(folder: Path) -> Iterator[str]:
    """A real ssh-agent; yields its socket."""
    socket = str(folder / "agent")
    with subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.PIPE) as agent:
        assert agent.stdout is not None
        agent.stdout.readline()  # it listens
        try:
            yield socket
        finally:
            agent.terminate()


def test_sftp_keys_of_ssh_agent(
    opened: Callable[..., Destination], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also after keys that the server does not take."""
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    with sftp_server(tmp_path / "sftp") as server, tempfile.TemporaryDirectory() as folder:
        with pytest.raises(ConfigError) as caught:
            opened(**sftp_settings(server, key_file=None)).check()
        check_line(caught.value, "`key_file` is missing", "SSH_AUTH_SOCK is not set", "`password_env`")
        with ssh_agent(Path(folder)) as socket:
            monkeypatch.setenv("SSH_AUTH_SOCK", socket)
            with pytest.raises(ConfigError) as caught:
                opened(**sftp_settings(server, key_file=None)).check()
            check_line(caught.value, "ssh-agent has no key")
            for kind in ("ecdsa", "rsa"):
                other = tmp_path / kind
                subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", other], check=True)
                subprocess.run(["ssh-add", "-q", other], check=True)
            with pytest.raises(DeliveryError) as refused:
                opened(**sftp_settings(server, key_file=None)).check()
            check_line(refused.value, "refuses user loader with the keys of ssh-agent")
            server.key_file.chmod(0o600)
            subprocess.run(["ssh-add", "-q", server.key_file], check=True)
            opened(**sftp_settings(server, key_file=None)).put(make_part(tmp_path), KEY)
            # a `key_file` that is given is the one that counts
            with pytest.raises(DeliveryError) as refused:
                opened(**sftp_settings(server, key_file=str(other))).check()
            check_line(refused.value, "`key_file`")
        with pytest.raises(ConfigError) as caught:
            opened(**sftp_settings(server, key_file=None)).check()
        check_line(caught.value, "ssh-agent")
        assert (server.root / KEY).exists()


def test_sftp_wrong_user_or_key(sftp: SftpServer, opened: Callable[..., Destination], tmp_path: Path) -> None:
    import asyncssh

    other = tmp_path / "other_key"
    other.write_bytes(asyncssh.generate_private_key("ssh-ed25519").export_private_key())
    for more in ({"user": "stranger"}, {"key_file": str(other)}):
        with pytest.raises(DeliveryError) as caught:
            opened(**sftp_settings(sftp, **more)).check()
        check_line(caught.value, "refuses user", "`key_file`")
    for key_file, said in (
        (tmp_path / "none", "No such file"),
        (sftp.known_hosts, "can't be read as a private key"),
    ):
        with pytest.raises(ConfigError) as caught_config:
            opened(**sftp_settings(sftp, key_file=str(key_file))).check()
        check_line(caught_config.value, f"`key_file` {key_file}", said)


@pytest.mark.parametrize("kind", ["rsa", "ecdsa", "ed25519"])
def test_sftp_kinds_of_keys(
    tmp_path: Path, opened: Callable[..., Destination], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """In every form that ssh-keygen writes; an empty comment too."""
    monkeypatch.setenv("KEY_PASSPHRASE", "open-sesame")
    forms = ("RFC4716",) if kind == "ed25519" else ("RFC4716", "PEM", "PKCS8")
    with sftp_server(tmp_path / "sftp") as server:
        for form in forms:
            for passphrase in ("", "open-sesame") if form != "RFC4716" or kind == "ed25519" else ("",):
                key = tmp_path / f"key-{form}-{passphrase}"
                subprocess.run(
                    [
                        "ssh-keygen",
                        "-q",
                        "-t",
                        kind,
                        *(["-b", "2048"] if kind == "rsa" else []),
                        "-m",
                        form,
                        "-C",
                        "",
                        "-N",
                        passphrase,
                        "-f",
                        key,
                    ],
                    check=True,
                )
                server.authorize(key.with_name(f"{key.name}.pub"))
                variable = {"passphrase_env": "KEY_PASSPHRASE"} if passphrase else {}
                opened(**sftp_settings(server, key_file=str(key), **variable)).check()


def test_sftp_passphrase(
    tmp_path: Path, opened: Callable[..., Destination], monkeypatch: pytest.MonkeyPatch
) -> None:
    with sftp_server(tmp_path / "sftp", passphrase="open-sesame") as server:
        with pytest.raises(ConfigError) as caught:
            opened(**sftp_settings(server)).check()
        check_line(caught.value, "is encrypted", "`passphrase_env`")
        with pytest.raises(ConfigError) as caught:
            opened(**sftp_settings(server, passphrase_env="KEY_PASSPHRASE")).check()
        check_line(caught.value, "KEY_PASSPHRASE is not set")
        monkeypatch.setenv("KEY_PASSPHRASE", "open-sesam")
        with pytest.raises(ConfigError) as caught:
            opened(**sftp_settings(server, passphrase_env="KEY_PASSPHRASE")).check()
        check_line(caught.value, "perhaps the passphrase is wrong")
        monkeypatch.setenv("KEY_PASSPHRASE", "open-sesame")
        opened(**sftp_settings(server, passphrase_env="KEY_PASSPHRASE")).check()


def test_sftp_password(
    tmp_path: Path, opened: Callable[..., Destination], monkeypatch: pytest.MonkeyPatch
) -> None:
    with sftp_server(tmp_path / "sftp", password=PASSWORD) as server:
        opened(**sftp_settings(server, key_file=None, password_env="FTP_PASSWORD")).put(
            make_part(tmp_path), KEY
        )
        monkeypatch.setenv("FTP_PASSWORD", "wrong-word")
        with pytest.raises(DeliveryError) as caught:
            opened(**sftp_settings(server, key_file=None, password_env="FTP_PASSWORD")).check()
        check_line(caught.value, "refuses user loader with `FTP_PASSWORD`")


@pytest.mark.parametrize("how", ["drop", "gap"])
def test_sftp_goes_on_after_a_lost_connection(
    sftp: SftpServer, opened: Callable[..., Destination], tmp_path: Path, how: str
) -> None:
    """What came in order is built upon; where a gap may be, the upload begins anew."""
    part = make_part(tmp_path, 20 * MIB)
    lost: list[int] = []

    def drop(operation: str, about: Any) -> str | None:
        if operation == "write" and about >= 12 * MIB and not lost:
            lost.append(about)
            return how
        return None

    sftp.fault = drop
    progress: list[int] = []
    opened(**sftp_settings(sftp, retries=1)).put(part, KEY, progress.append)
    assert (sftp.root / KEY).read_bytes() == part.path.read_bytes()
    assert leftovers(sftp.root) == []
    assert sum(progress) == part.bytes
    assert len(lost) == 1
    written = sum(count for count in progress if count > 0)
    if how == "drop":
        assert written < 24 * MIB, "it went on, instead of beginning anew"


@pytest.mark.parametrize("state", ["prefix", "damaged", "longer", "whole"])
def test_sftp_goes_on_only_from_a_true_prefix(
    sftp: SftpServer, opened: Callable[..., Destination], tmp_path: Path, state: str
) -> None:
    part = make_part(tmp_path, 3 * MIB)
    data = part.path.read_bytes()
    temporary = sftp.root / KEY
    temporary = temporary.with_name(temporary_name(NAME, part))
    temporary.parent.mkdir(parents=True)
    content = {"prefix": data[: 2 * MIB], "damaged": bytes(2 * MIB), "longer": data + b"x", "whole": data}[
        state
    ]
    temporary.write_bytes(content)
    progress: list[int] = []
    opened(**sftp_settings(sftp)).put(part, KEY, progress.append)
    assert (sftp.root / KEY).read_bytes() == data
    assert leftovers(sftp.root) == []
    first = progress[0] if progress else 0
    assert (first >= 2 * MIB) == (state in ("prefix", "whole"))
    assert sum(progress) == part.bytes


def test_sftp_lost_for_good_then_delivered(
    sftp: SftpServer, opened: Callable[..., Destination], tmp_path: Path
) -> None:
    part = make_part(tmp_path, 2 * MIB)
    sftp.fault = lambda operation, about: "drop" if operation == "write" else None
    destination = opened(**sftp_settings(sftp, retries=2))
    with pytest.raises(DeliveryError) as caught:
        destination.put(part, KEY)
    check_line(caught.value, KEY, "the connection broke", "in 3 attempts", "deliver again")
    assert not (sftp.root / KEY).exists()
    sftp.fault = None
    destination.put(part, KEY)
    assert (sftp.root / KEY).read_bytes() == part.path.read_bytes()
    assert leftovers(sftp.root) == []


@pytest.mark.parametrize("at", [1, MIB, 2 * MIB])
def test_sftp_disk_full(
    sftp: SftpServer, opened: Callable[..., Destination], tmp_path: Path, at: int
) -> None:
    """Also when the very last of the pipelined writes fails."""
    part = make_part(tmp_path, 2 * MIB)

    def full(operation: str, about: Any) -> None:
        if operation == "write" and about >= at:
            raise OSError(errno.ENOSPC, "No space left on device")

    sftp.fault = full
    with pytest.raises(DeliveryError) as caught:
        opened(**sftp_settings(sftp)).put(part, KEY)
    check_line(caught.value, KEY, "No space left on device")
    assert [path for path in sftp.root.rglob("*") if path.is_file()] == []


def test_sftp_one_failed_write_among_many_is_seen(
    sftp: SftpServer, opened: Callable[..., Destination], tmp_path: Path
) -> None:
    """A gap that the size would not show: a single write fails, those after it succeed."""
    part = make_part(tmp_path, 2 * MIB)
    failed: list[int] = []

    def once(operation: str, about: Any) -> None:
        if operation == "write" and about > MIB and not failed:
            failed.append(about)
            raise OSError(errno.EDQUOT, "Disk quota exceeded")

    sftp.fault = once
    with pytest.raises(DeliveryError, match="Disk quota exceeded"):
        opened(**sftp_settings(sftp)).put(part, KEY)
    assert not (sftp.root / KEY).exists()


def test_sftp_rename_without_the_extension(
    sftp: SftpServer, opened: Callable[..., Destination], tmp_path: Path
) -> None:
    sftp.posix_rename = False
    opened(**sftp_settings(sftp)).put(make_part(tmp_path), KEY)
    assert (sftp.root / KEY).exists()
    assert [name for name in sftp.operations if "rename" in name] == ["posix_rename", "rename"]


def test_sftp_rename_refused(sftp: SftpServer, opened: Callable[..., Destination], tmp_path: Path) -> None:
    def refuse(operation: str, about: Any) -> None:
        if "rename" in operation:
            raise PermissionError(errno.EACCES, "Permission denied")

    sftp.fault = refuse
    part = make_part(tmp_path)
    destination = opened(**sftp_settings(sftp))
    with pytest.raises(DeliveryError) as caught:
        destination.put(part, KEY)
    check_line(caught.value, "arrived whole as", "won't rename", "let this user rename")
    assert not (sftp.root / KEY).exists()
    sftp.fault = None
    sftp.operations.clear()
    destination.put(part, KEY)
    assert "write" not in sftp.operations
    assert leftovers(sftp.root) == []


def test_sftp_folder_refused_and_listing_refused(
    sftp: SftpServer, opened: Callable[..., Destination], tmp_path: Path
) -> None:
    def refuse(operation: str, about: Any) -> None:
        if operation in ("mkdir", "list"):
            raise PermissionError(errno.EACCES, "Permission denied")

    sftp.fault = refuse
    destination = opened(**sftp_settings(sftp))
    with pytest.raises(DeliveryError) as caught:
        destination.put(make_part(tmp_path), KEY)
    check_line(caught.value, "won't create folder acme")
    with pytest.raises(CannotListError):
        list(destination.list(""))


def test_sftp_chroot_whose_top_is_not_ours(
    sftp: SftpServer, opened: Callable[..., Destination], tmp_path: Path
) -> None:
    """As sshd demands it: only a folder below may be written to."""
    (sftp.root / "in").mkdir()

    def refuse(operation: str, about: Any) -> None:
        if operation in ("mkdir", "open") and "/in/" not in about:
            raise PermissionError(errno.EACCES, "Permission denied")

    sftp.fault = refuse
    with pytest.raises(DeliveryError) as caught:
        opened(**sftp_settings(sftp, directory="/")).put(make_part(tmp_path), KEY)
    check_line(caught.value, "won't create folder /acme: Permission denied", "`directory`", "`layout: flat`")
    with pytest.raises(DeliveryError) as caught:
        opened(**sftp_settings(sftp, layout="flat")).put(make_part(tmp_path), NAME)
    check_line(caught.value, "won't write .ftp_dpm")
    opened(**sftp_settings(sftp, directory="/in")).put(make_part(tmp_path), KEY)
    opened(**sftp_settings(sftp, directory="/in/", layout="flat")).put(make_part(tmp_path), NAME)
    assert (sftp.root / "in" / KEY).exists() and (sftp.root / "in" / NAME).exists()


def test_sftp_where_nobody_may_read(
    sftp: SftpServer, opened: Callable[..., Destination], tmp_path: Path
) -> None:
    """A drop box: the size must do for what is there already, and nothing is appended to what can't be compared."""

    def refuse(operation: str, about: Any) -> None:
        if operation == "read":
            raise PermissionError(errno.EACCES, "Permission denied")

    part = make_part(tmp_path)
    destination = opened(**sftp_settings(sftp))
    destination.put(part, KEY)
    sftp.fault = refuse
    assert destination.put(part, KEY).bytes == part.bytes
    other = f"{KEY}.2"
    temporary = (sftp.root / other).with_name(temporary_name(f"{NAME}.2", part))
    temporary.write_bytes(part.path.read_bytes()[:10])
    progress: list[int] = []
    destination.put(part, other, progress.append)
    assert (sftp.root / other).read_bytes() == part.path.read_bytes()
    assert 10 not in progress


def test_a_session_that_the_server_ended_is_replaced(
    sftp: SftpServer, opened: Callable[..., Destination], tmp_path: Path
) -> None:
    """With no retries: an idle session's end is no failed attempt."""
    destination = opened(**sftp_settings(sftp))
    destination.check()
    sftp.fault = lambda operation, about: "drop" if operation == "list" else None
    with pytest.raises(DeliveryError):
        list(destination.list(""))
    sftp.fault = None
    destination.put(make_part(tmp_path), KEY)


def test_check_finds_a_wrong_folder(
    sftp: SftpServer, ftp: FtpServer, opened: Callable[..., Destination]
) -> None:
    (sftp.root / "inbound").mkdir()
    (ftp.root / "inbound").mkdir()
    for settings in (sftp_settings(sftp), ftp_settings(ftp)):
        opened(**settings, directory="inbound").check()
        with pytest.raises(DeliveryError) as caught:
            opened(**settings, directory="outbound").check()
        check_line(caught.value, "no folder outbound", "`directory`")


def test_delete_takes_what_interrupted_puts_left(
    sftp: SftpServer, ftp: FtpServer, opened: Callable[..., Destination], tmp_path: Path
) -> None:
    part = make_part(tmp_path)
    for server, destination in (
        (sftp, opened(**sftp_settings(sftp))),
        (ftp, opened(**ftp_settings(ftp))),
    ):
        folder = (server.root / KEY).parent
        folder.mkdir(parents=True)
        (folder / temporary_name(NAME, part)).write_bytes(b"half")
        (folder / "ours.csv").write_bytes(b"another's")
        assert [found.key for found in destination.list("acme/")] == ["acme/date=2026-03-09/ours.csv"]
        destination.delete(KEY)
        assert leftovers(server.root) == ["ours.csv"]


@pytest.mark.parametrize("directory", ["", "in/bound"])
@pytest.mark.parametrize("kind", ["sftp", "ftp"])
def test_flat_layout(
    request: pytest.FixtureRequest,
    opened: Callable[..., Destination],
    tmp_path: Path,
    kind: str,
    directory: str,
) -> None:
    """No folders are made; what lies around in folders and beside is not looked at."""
    server = request.getfixturevalue(kind)
    (server.root / directory / "acme").mkdir(parents=True)
    (server.root / directory / "acme" / NAME).write_bytes(b"another's")
    raw = {"sftp": sftp_settings, "ftp": ftp_settings}[kind](server, directory=directory, layout="flat")
    settings = parse_destination("there", {"partner_name": "acme", **raw})
    assert settings.key(date(2026, 3, 9), NAME) == NAME
    destination = opened(**raw)
    part = make_part(tmp_path)
    assert destination.head(NAME) is None
    destination.put(part, NAME)
    destination.put(part, NAME)
    assert (server.root / directory / NAME).read_bytes() == part.path.read_bytes()
    assert destination.uri(NAME).endswith(f":{server.port}/{directory}/{NAME}".replace("//", "/"))
    (server.root / directory / temporary_name(NAME, part)).write_bytes(b"half")
    assert [(found.key, found.bytes) for found in destination.list("ftp_dpm_")] == [(NAME, part.bytes)]
    destination.delete(NAME)
    assert [found.key for found in destination.list("")] == [f"acme/{NAME}"]
    found = [path for path in (server.root / directory).rglob("*") if path.is_file()]
    assert found == [server.root / directory / "acme" / NAME]


# --- FTP ---------------------------------------------------------------------------------------------------


def test_ftp_is_binary_and_data_sessions_are_resumed(
    opened: Callable[..., Destination], tmp_path: Path, certificate: Certificate
) -> None:
    for version, tls_1_2 in (("1.3", False), ("1.2", True)):
        root = tmp_path / version
        with ftp_server(root, certificate.certificate, demand_reuse=True, tls_1_2=tls_1_2) as server:
            destination = opened(**ftp_settings(server, tls=True, ca_file=str(certificate.ca_file)))
            part = make_part(tmp_path, 2 * MIB)
            destination.put(part, KEY)
            destination.put(part, f"{KEY}.2")
            assert len(list(destination.list(""))) == 2
            assert (root / KEY).read_bytes() == part.path.read_bytes()
            assert server.reused_sessions
            assert all(server.reused_sessions)
            assert "TYPE I" in server.commands
            assert "PROT P" in server.commands
            assert destination.uri(KEY) == f"ftps://{HOST}:{server.port}/{KEY}"


def test_the_test_server_refuses_data_sessions_that_are_new(tmp_path: Path, certificate: Certificate) -> None:
    """Else the test above would prove nothing: ftplib's own client must fail."""
    import ftplib
    import ssl

    with ftp_server(tmp_path / "ftp", certificate.certificate, demand_reuse=True) as server:
        (server.root / "file").write_bytes(bytes(MIB))
        client = ftplib.FTP_TLS(
            context=ssl.create_default_context(cafile=str(certificate.ca_file)), timeout=10
        )
        client.connect(HOST, server.port)
        client.login("loader", PASSWORD)
        client.prot_p()
        with pytest.raises(ftplib.all_errors):
            client.retrbinary("RETR file", lambda _: None)
        client.close()
        assert server.reused_sessions == [False]


def test_ftps_wrong_authority(
    ftps: FtpServer, opened: Callable[..., Destination], other_certificate: Certificate
) -> None:
    for more in ({"ca_file": str(other_certificate.ca_file)}, {}):
        with pytest.raises(DeliveryError) as caught:
            opened(**ftp_settings(ftps, tls=True, retries=2, **more)).check()
        check_line(caught.value, "certificate does not verify", "`ca_file`")
    assert not any(command.startswith(("USER", "PASS")) for command in ftps.commands)


def test_ftps_server_without_tls_gets_no_password(ftp: FtpServer, opened: Callable[..., Destination]) -> None:
    with pytest.raises(DeliveryError) as caught:
        opened(**ftp_settings(ftp, tls=True)).check()
    check_line(caught.value, "offers no TLS", "`tls: false`")
    assert not any(command.startswith(("USER", "PASS")) for command in ftp.commands)


def test_ftps_of_the_other_kind(
    ftps: FtpServer, implicit_ftps: FtpServer, opened: Callable[..., Destination], certificate: Certificate
) -> None:
    """One waits for the other's first word, or takes it for nonsense."""
    more = {"ca_file": str(certificate.ca_file), "timeout": 0.5}
    with pytest.raises(DeliveryError) as caught:
        opened(**ftp_settings(ftps, tls="implicit", **more)).check()
    check_line(caught.value, "no TLS comes about", "`port` and `tls`", "on port 990")
    with pytest.raises(DeliveryError) as caught:
        opened(**ftp_settings(implicit_ftps, tls=True, **more)).check()
    check_line(caught.value, "timed out", "whether it wants `tls: implicit`")
    with pytest.raises(DeliveryError) as caught:
        opened(**ftp_settings(implicit_ftps, tls="implicit", timeout=5)).check()
    check_line(caught.value, "certificate does not verify", "`ca_file`")
    for server in (ftps, implicit_ftps):
        assert not any(command.startswith(("USER", "PASS")) for command in server.commands)


@pytest.mark.parametrize("tls", [False, True])
def test_ftp_server_that_tells_a_private_address(
    opened: Callable[..., Destination], tmp_path: Path, certificate: Certificate, tls: bool
) -> None:
    """Behind a NAT that it does not know of: the data go to where the commands go."""
    own = certificate.certificate if tls else None
    with ftp_server(tmp_path / "ftp", own, passive_address="10.1.2.3") as server:
        destination = opened(**ftp_settings(server, tls=tls, ca_file=str(certificate.ca_file)))
        part = make_part(tmp_path)
        destination.put(part, KEY)
        assert [found.bytes for found in destination.list("acme/")] == [part.bytes]


def test_ftp_wrong_ca_file(ftp: FtpServer, opened: Callable[..., Destination], tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        opened(**ftp_settings(ftp, tls=True, ca_file=str(tmp_path / "none.pem"))).check()
    check_line(caught.value, "`ca_file`", "No such file")


def test_ftp_wrong_password(
    ftp: FtpServer, opened: Callable[..., Destination], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FTP_PASSWORD", "wrong-word")
    with pytest.raises(DeliveryError) as caught:
        opened(**ftp_settings(ftp)).check()
    check_line(caught.value, "refuses user loader with the password of FTP_PASSWORD (530)")
    assert "wrong-word" not in str(caught.value)
    monkeypatch.delenv("FTP_PASSWORD")
    with pytest.raises(ConfigError) as caught_config:
        opened(**ftp_settings(ftp)).check()
    check_line(caught_config.value, "FTP_PASSWORD is not set", "`password_env`")


def test_ftp_unreachable(opened: Callable[..., Destination], tmp_path: Path) -> None:
    with pytest.raises(DeliveryError) as caught:
        opened(**ftp_settings(FtpServer(1, tmp_path))).check()
    check_line(caught.value, "can't be reached", "`host` and `port`")
    with pytest.raises(DeliveryError) as caught:
        opened(**ftp_settings(FtpServer(1, tmp_path), host="no-such-host.invalid")).check()
    check_line(caught.value, "the host is unknown", "`host`")


@pytest.mark.parametrize("unknown", [set(), {"REST"}, {"REST", "APPE"}])
@pytest.mark.parametrize("tls", [False, True])
def test_ftp_goes_on_after_a_lost_connection(
    opened: Callable[..., Destination],
    tmp_path: Path,
    certificate: Certificate,
    unknown: set[str],
    tls: bool,
) -> None:
    part = make_part(tmp_path, 4 * MIB)
    with ftp_server(tmp_path / "ftp", certificate.certificate if tls else None, demand_reuse=tls) as ftp:
        ftp.unknown = unknown
        lost: list[int] = []

        def drop(operation: str, about: Any) -> str | None:
            if operation == "write" and about > MIB and not lost:
                lost.append(about)
                return "drop"
            return None

        ftp.fault = drop
        more = {"tls": True, "ca_file": str(certificate.ca_file)} if tls else {}
        progress: list[int] = []
        opened(**ftp_settings(ftp, retries=1, **more)).put(part, KEY, progress.append)
        assert len(lost) == 1
        assert (ftp.root / KEY).read_bytes() == part.path.read_bytes()
        assert leftovers(ftp.root) == []
        assert sum(progress) == part.bytes


def test_ftp_a_server_that_stops_for_good(
    ftp: FtpServer, opened: Callable[..., Destination], tmp_path: Path
) -> None:
    ftp.fault = lambda operation, about: "drop" if operation == "write" and about > MIB else None
    with pytest.raises(DeliveryError) as caught:
        opened(**ftp_settings(ftp)).put(make_part(tmp_path, 4 * MIB), KEY)
    check_line(caught.value, KEY, "the connection broke", "deliver again")
    assert not (ftp.root / KEY).exists()


def test_ftp_disk_full(ftp: FtpServer, opened: Callable[..., Destination], tmp_path: Path) -> None:
    ftp.fault = lambda operation, about: "552 Disk full" if operation == "write" and about > MIB else None
    with pytest.raises(DeliveryError) as caught:
        opened(**ftp_settings(ftp, retries=2)).put(make_part(tmp_path, 4 * MIB), KEY)
    check_line(caught.value, KEY, "552 Disk full")
    assert [path for path in ftp.root.rglob("*") if path.is_file()] == []
    assert sum(command.startswith("STOR") for command in ftp.commands) == 1


def test_ftp_rename_and_folder_refused(
    ftp: FtpServer, opened: Callable[..., Destination], tmp_path: Path
) -> None:
    refused = ""

    def refuse(operation: str, about: Any) -> None:
        if operation == refused:
            raise PermissionError(errno.EACCES, "Permission denied")

    ftp.fault = refuse
    destination = opened(**ftp_settings(ftp))
    for operation, said in (("mkdir", "won't create folder acme"), ("rename", "arrived whole as")):
        refused = operation
        with pytest.raises(DeliveryError) as caught:
            destination.put(make_part(tmp_path), KEY)
        check_line(caught.value, said)
    ftp.fault = None
    ftp.commands.clear()
    destination.put(make_part(tmp_path), KEY)
    assert not any(command.startswith("STOR") for command in ftp.commands)
    assert leftovers(ftp.root) == []


@pytest.mark.parametrize("unknown", [{"SIZE"}, {"FEAT", "MLSD"}])
def test_ftp_old_servers(
    ftp: FtpServer, opened: Callable[..., Destination], tmp_path: Path, unknown: set[str]
) -> None:
    ftp.unknown = unknown
    destination = opened(**ftp_settings(ftp, directory="/"))
    part = make_part(tmp_path)
    destination.put(part, KEY)
    assert (ftp.root / KEY).read_bytes() == part.path.read_bytes()
    assert [found.bytes for found in destination.list("acme/date=2026-03-09/")] == [part.bytes]


@pytest.mark.parametrize("directory", ["", "/in"])
def test_ftp_folder_that_must_not_be_entered_is_not_an_absent_one(
    ftp: FtpServer, opened: Callable[..., Destination], tmp_path: Path, directory: str
) -> None:
    """Servers answer 550 to both; else a file that waits there would count as gone."""
    (ftp.root / "in").mkdir()
    destination = opened(**ftp_settings(ftp, directory=directory))
    assert list(destination.list("acme/date=2026-03-09/")) == []
    destination.put(make_part(tmp_path), KEY)

    def forbid(operation: str, about: Any) -> None:
        if operation == "chdir" and about.endswith("date=2026-03-09"):
            raise PermissionError(errno.EACCES, "Permission denied")

    ftp.fault = forbid
    with pytest.raises(CannotListError, match="550"):
        list(destination.list("acme/date=2026-03-09/ftp_"))
    assert list(destination.list("acme/date=2026-03-10/")) == []


@pytest.mark.parametrize("kind", ["sftp", "ftp"])
def test_a_look_that_is_refused_is_not_an_absent_file(
    request: pytest.FixtureRequest, opened: Callable[..., Destination], kind: str
) -> None:
    server = request.getfixturevalue(kind)
    if kind == "ftp":
        server.refused = {"SIZE"}
        destination = opened(**ftp_settings(server))
    else:

        def forbid(operation: str, about: Any) -> None:
            if operation == "stat":
                raise PermissionError(errno.EACCES, "Permission denied")

        server.fault = forbid
        destination = opened(**sftp_settings(server))
    with pytest.raises(CannotListError, match=r"tell the size|look at"):
        destination.head(KEY)


def test_ftp_that_can_not_list(ftp: FtpServer, opened: Callable[..., Destination], tmp_path: Path) -> None:
    destination = opened(**ftp_settings(ftp))
    destination.put(make_part(tmp_path), KEY)
    ftp.unknown = {"FEAT", "MLSD", "NLST"}
    with pytest.raises(CannotListError, match="502"):
        list(destination.list("acme/"))


# --- settings ----------------------------------------------------------------------------------------------

SFTP = {"type": "sftp", "user": "u", "key_file": "k"}
FTP = {"type": "ftp", "user": "u", "password_env": "P"}


@pytest.mark.parametrize(
    ("raw", "place"),
    [
        ({"type": "s3", "environment": "production"}, "demdex-s2s-clients"),
        ({"type": "s3", "environment": "beta"}, "demdex-s2s-clients-sandbox-us-east-1"),
        ({"type": "s3", "environment": "beta", "bucket": "own"}, "own"),
        ({**SFTP, "environment": "production"}, "ftp-in-gtw.demdex.com"),
        ({**FTP, "environment": "production"}, "ftp-in.demdex.com"),
        ({**FTP, "environment": "beta"}, "sandbox-ftp-in.demdex.com"),
    ],
)
def test_environment_fills_bucket_and_host(raw: dict[str, Any], place: str) -> None:
    settings = parse_destination("there", {"partner_name": "acme", **raw})
    assert getattr(settings, "bucket", getattr(settings, "host", None)) == place


@pytest.mark.parametrize(
    ("raw", "setting", "value"),
    [
        # Audience Manager's own servers take the files in the folder itself; other servers as the bucket does.
        ({**FTP, "environment": "production"}, "layout", "flat"),
        ({**FTP, "host": "h"}, "layout", "dated"),
        ({**SFTP, "environment": "production", "layout": "dated"}, "layout", "dated"),
        ({**FTP, "host": "h", "tls": "implicit"}, "port", 990),
        ({**FTP, "host": "h", "tls": "implicit", "port": 9990}, "port", 9990),
        ({"type": "s3", "bucket": "b"}, "request_checksum_calculation", "when_supported"),
        (
            {"type": "s3", "bucket": "b", "endpoint_url": "https://minio"},
            "request_checksum_calculation",
            "when_required",
        ),
    ],
)
def test_defaults_that_depend_on_others(raw: dict[str, Any], setting: str, value: object) -> None:
    assert getattr(parse_destination("there", {"partner_name": "acme", **raw}), setting) == value


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ({}, "key `type` is missing: directory, s3, sftp or ftp"),
        ({"type": "gcs"}, "key `type` is 'gcs'"),
        ({"type": "directory"}, "key `path` is missing"),
        ({"type": "directory", "path": 7}, "key `path` is no path"),
        ({"type": "directory", "path": ""}, "key `path` is no path"),
        ({"type": "directory", "path": "~nobody-here/x"}, "key `path` begins with the home folder of a user"),
        ({"type": "directory", "path": "o", "partner_name": ""}, "key `partner_name`"),
        ({"type": "directory", "path": "o", "partner_name": "a/b"}, "key `partner_name` holds a slash"),
        (
            {"type": "directory", "path": "o", "bucket": "b"},
            "key `bucket` is unknown; known: encrypt, partner_name",
        ),
        (
            {"type": "directory", "path": "o", "encrypt": {"recipient": "a"}},
            "key `encrypt.key_file` is missing",
        ),
        ({"type": "s3"}, "key `bucket` is missing (`environment: production` fills it in)"),
        ({"type": "s3", "environment": "prod"}, "key `environment`"),
        ({"type": "s3", "bucket": "s3://b/c"}, "key `bucket` is the bucket's name alone"),
        ({"type": "s3", "bucket": "b", "acl": "public-read"}, "key `acl`"),
        ({"type": "s3", "bucket": "b", "part_size": "4194304"}, "key `part_size`"),
        ({"type": "s3", "bucket": "b", "part_size": True}, "key `part_size`"),
        ({"type": "s3", "bucket": "b", "part_size": "9" * 5000}, "key `part_size`"),
        (
            {"type": "s3", "bucket": "b", "retries": {"tries": 1}},
            "key `retries.tries` is unknown; known: max_att",
        ),
        ({"type": "s3", "bucket": "b", "retries": {"mode": "legacy"}}, "key `retries.mode`"),
        ({"type": "s3", "bucket": "b", "sse_kms_key_id": "k"}, "key `sse_kms_key_id` needs `sse: aws:kms`"),
        ({"type": "s3", "bucket": "b", "external_id": "k"}, "key `external_id` needs `role_arn`"),
        ({"type": "s3", "bucket": "b", "endpoint_url": "minio"}, "key `endpoint_url` is an address such as"),
        ({"type": "s3", "bucket": "b", "endpoint_url": "https://[minio"}, "key `endpoint_url` is an address"),
        (
            {"type": "s3", "bucket": "b", "endpoint_url": "https://minio:port"},
            "key `endpoint_url` is an addr",
        ),
        ({"type": "s3", "bucket": "b", "proxy": "http://[proxy"}, "key `proxy` is an address such as http"),
        ({"type": "s3", "environment": ["production"]}, "key `environment`"),
        ({"type": "s3", "bucket": "b", "endpoint_url": "http://minio:9000"}, "unencrypted; use https://"),
        (
            {"type": "s3", "bucket": "b", "endpoint_url": f"https://a:{PASSWORD}@b"},
            "holds a user or password",
        ),
        (
            {"type": "s3", "bucket": "b", "aws_secret_access_key": "very-secret-key"},
            "no secret stands in this file",
        ),
        ({**SFTP, "environment": "beta"}, "key `host` is missing: Adobe names no SFTP host for beta"),
        (
            {"type": "sftp", "host": "h", "user": "u", "passphrase_env": "P"},
            "key `passphrase_env` needs `key",
        ),
        ({**FTP, "host": "h", "layout": "by_day"}, "key `layout`: Input should be 'dated' or 'flat'"),
        ({**SFTP, "host": "h", "port": 0}, "key `port`"),
        ({**SFTP, "host": "sftp://h"}, "key `host` is the server's name alone"),
        (
            {**SFTP, "host": "h", "password": PASSWORD},
            "key `password` is unknown, and no secret stands in this file",
        ),
        ({**SFTP, "host": "a..b"}, "key `host` is no name of a server"),
        ({**SFTP, "host": "x" * 64}, "key `host` is no name of a server"),
        ({**SFTP, "host": "h", "timeout": "inf"}, "key `timeout`"),
        ({**SFTP, "host": "h", "timeout": 1e12}, "key `timeout`"),
        ({**SFTP, "host": "h", "timeout": True}, "key `timeout`"),
        ({**FTP, "host": "h", "backoff": -1}, "key `backoff`"),
        (
            {"type": "s3", "bucket": "b", "endpoint_url": "http://[::1"},
            "key `endpoint_url` is an address such as",
        ),
        (
            {"type": "s3", "bucket": "b", "endpoint_url": "https://h:x"},
            "key `endpoint_url` is an address such as",
        ),
        ({"type": "s3", "bucket": "b", "proxy": "http://a..b:80"}, "key `proxy` is an address such as"),
        ({"type": "s3", "bucket": "b", "region": "no region"}, "key `region` is a name such as us-east-1"),
        ({**SFTP, "host": "h", "directory": "../up"}, "key `directory` is a folder of the server"),
        ({**FTP, "host": "h", "directory": "in\nDELE x"}, "key `directory` is a folder of the server"),
        ({**FTP, "host": "h", "user": "u\r\nDELE x"}, "key `user` holds a control character"),
        ({**FTP, "host": "h", "tls": "perhaps"}, "key `tls`"),
        ({"type": "ftp", "host": "h", "user": "u"}, "key `password_env` is missing"),
    ],
)
def test_wrong_settings_name_output_and_key(raw: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_destination("there", {"partner_name": "acme", **raw})
    check_line(caught.value, "destinations.yml: output `there`: ", said)


def test_settings_that_are_no_mapping() -> None:
    with pytest.raises(ConfigError, match="output `there`: is no mapping"):
        parse_destination("there", None)  # type: ignore[arg-type]


def test_settings_take_what_env_var_renders(tmp_path: Path) -> None:
    settings: Any = parse_destination(
        "there",
        {**FTP, "partner_name": "acme", "host": "h", "port": "2121", "tls": "False", "timeout": "1.5"},
    )
    assert (settings.port, settings.tls, settings.timeout) == (2121, False, 1.5)


def test_relative_paths_begin_at_the_project(tmp_path: Path) -> None:
    raw = {"type": "directory", "path": "out", "partner_name": "acme"}
    encrypt = {"recipient": "a@example.com", "key_file": "key.asc"}
    settings: Any = parse_destination("there", {**raw, "encrypt": encrypt}, tmp_path)
    assert settings.path == tmp_path / "out"
    assert settings.encrypt.key_file == tmp_path / "key.asc"
    absolute: Any = parse_destination("there", {**raw, "path": "/srv/out"}, tmp_path)
    assert absolute.path == Path("/srv/out")
    at_home: Any = parse_destination("there", {**raw, "path": "~/out"}, tmp_path)
    assert at_home.path == Path.home() / "out"


def test_opening_imports_only_its_kind() -> None:
    code = (
        "import sys; from aam_onboard.destinations import open_destination, parse_destination as p; "
        "open_destination('x', p('x', {'type': 'directory', 'path': 'o', 'partner_name': 'a'})); "
        "print([m for m in ('boto3', 'botocore', 'paramiko', 'ftplib', 'pyarrow') if m in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"
