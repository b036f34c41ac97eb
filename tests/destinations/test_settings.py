"""Outputs of destinations.yml: what they fill in, and how a mistake in them reads."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from aam_onboard.destinations import parse_destination
from aam_onboard.errors import ConfigError
from destinations.helpers import PASSWORD, check_line

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
