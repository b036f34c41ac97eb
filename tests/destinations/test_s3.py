"""S3, and stores that speak its protocol: what arrives is proven, whatever checksum the store keeps."""

import io
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from servers import Certificate, Proxy, S3Server, make_certificate, proxy_server, s3_server

from aam_onboard.destinations import CannotListError, Destination
from aam_onboard.errors import ConfigError, DeliveryError
from destinations.helpers import KEY, MIB, PASSWORD, check_line, make_part, s3_client, s3_settings


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
    opened(**settings, endpoint_url=server.endpoint).reach()
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
    for act in (lambda: destination.put(make_part(tmp_path), KEY), destination.reach):
        with pytest.raises(DeliveryError) as caught:
            act()
        check_line(caught.value, "s3://nowhere", "there is no such bucket", "`bucket` or `environment`")


def test_s3_wrong_credentials_at_once(
    s3: S3Server, opened: Callable[..., Destination], tmp_path: Path
) -> None:
    s3.fault = lambda environ: (403, "InvalidAccessKeyId")
    destination = opened(**s3_settings(s3))
    for act in (lambda: destination.put(make_part(tmp_path), KEY), destination.reach):
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
    destination.reach()
    with pytest.raises(DeliveryError) as caught:
        destination.put(make_part(tmp_path), KEY)
    check_line(caught.value, "was sent, but can't be proven", "s3:GetObject")
    with pytest.raises(CannotListError):
        list(destination.list("acme/"))
