"""Destinations for tests: real servers, and credentials that no other program has set."""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from servers import (
    Certificate,
    FtpServer,
    S3Server,
    SftpServer,
    ftp_server,
    make_certificate,
    s3_server,
    sftp_server,
)

from aam_onboard.destinations import Destination, open_destination, parse_destination
from destinations.helpers import PASSWORD, ftp_settings, s3_client, s3_settings, sftp_settings


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


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="session")
def other_certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("other-certificate"), "other")


@pytest.fixture(scope="session")
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
