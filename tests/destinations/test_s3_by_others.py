"""Files that others send to S3 in this one's place: whole and proven, or one clear line and nothing left."""

import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from servers import Certificate, Proxy, S3Server, proxy_server, s3_server

from aam_onboard.destinations import Destination
from aam_onboard.destinations.s3 import S3
from aam_onboard.destinations.s3_pieces import Pieces
from aam_onboard.errors import AamError, ConfigError, DeliveryError
from destinations.helpers import KEY, MIB, PASSWORD, check_line, make_part, s3_client, s3_settings

Opened = Callable[..., S3]


@pytest.fixture
def to_s3(opened: Callable[..., Destination]) -> Opened:
    def open_it(**raw: Any) -> S3:
        destination = opened(**raw)
        assert isinstance(destination, S3)
        return destination

    return open_it


def each(work: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
    """Without executors: one after the other."""
    return [work(item) for item in items]


def uploads(server: S3Server) -> list[Any]:
    return list(s3_client(server).list_multipart_uploads(Bucket="clients").get("Uploads", ()))


def content(server: S3Server, key: str) -> bytes:
    found: bytes = s3_client(server).get_object(Bucket="clients", Key=key)["Body"].read()
    return found


@pytest.mark.parametrize("calculation", ["when_supported", "when_required"])
def test_whole_and_proven_as_if_sent_from_here(
    s3: S3Server, to_s3: Opened, tmp_path: Path, calculation: str
) -> None:
    files = [(make_part(tmp_path, size), f"{KEY}-{size}") for size in (1, 5 * MIB, 5 * MIB + 1, 11 * MIB + 7)]
    destination = to_s3(**s3_settings(s3, request_checksum_calculation=calculation))
    progress: list[int] = []
    destination.put_by(files, each, progress.append)
    assert sum(progress) == sum(part.bytes for part, _ in files)
    for part, key in files:
        assert content(s3, key) == part.path.read_bytes()
        there = destination.head(key)
        assert there is not None
        assert there.checksum == part.sha256
    first = next(n for n, request in enumerate(s3.requests) if request.startswith("POST"))
    assert s3.headers[first]["HTTP_X_AMZ_ACL"] == "bucket-owner-full-control"
    # or each piece would have to come with one, which the address would have to know
    assert "HTTP_X_AMZ_CHECKSUM_ALGORITHM" not in s3.headers[first]
    assert uploads(s3) == []
    s3.requests.clear()
    destination.put_by(files, each)  # the very same files are there
    assert {request.split()[0] for request in s3.requests} == {"HEAD"}
    with pytest.raises(DeliveryError) as caught:
        destination.put_by([(make_part(tmp_path, 5 * MIB, seed=2), files[1][1])], each)
    check_line(caught.value, "exists already with other content")


def test_addresses_hold_no_credentials_and_a_signature_of_version_4(
    s3: S3Server, to_s3: Opened, tmp_path: Path
) -> None:
    given: list[Pieces] = []

    def looked_at(work: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
        given.extend(items)
        return each(work, items)

    to_s3(**s3_settings(s3)).put_by([(make_part(tmp_path, 11 * MIB), KEY)], looked_at)
    [pieces] = given
    assert len(pieces.urls) == 3
    assert all("X-Amz-Algorithm=AWS4-HMAC-SHA256" in url for url in pieces.urls)
    assert "very-secret-key" not in str(pieces.urls)
    assert "http" not in repr(pieces), "an address is all that is needed to send a piece"


def test_which_are_sent_so(s3: S3Server, to_s3: Opened, tmp_path: Path) -> None:
    small, large = make_part(tmp_path), make_part(tmp_path, 5 * MIB)
    assert not to_s3(**s3_settings(s3)).spreads([large])
    assert to_s3(**s3_settings(s3)).spreads([large, small])
    assert not to_s3(**s3_settings(s3, executors=False)).spreads([large, small])


def test_the_store_is_busy_at_first(s3: S3Server, to_s3: Opened, tmp_path: Path) -> None:
    failed: list[str] = []

    def twice(environ: dict[str, Any]) -> int | str | None:
        if "partNumber=2" in environ["QUERY_STRING"] and len(failed) < 2:
            failed.append("")
            return 503 if len(failed) == 1 else "reset"
        return None

    s3.fault = twice
    part = make_part(tmp_path, 11 * MIB)
    to_s3(**s3_settings(s3, retries={"max_attempts": 3})).put_by([(part, KEY)], each)
    assert len(failed) == 2
    assert content(s3, KEY) == part.path.read_bytes()


@pytest.mark.parametrize("fault", [403, 500, "reset"])
def test_a_piece_that_fails_leaves_nothing_of_any_file(
    s3: S3Server,
    to_s3: Opened,
    tmp_path: Path,
    fault: int | str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    s3.fault = lambda environ: fault if "partNumber=2" in environ["QUERY_STRING"] else None
    files = [(make_part(tmp_path, size), f"{KEY}-{size}") for size in (MIB, 11 * MIB)]
    destination = to_s3(**s3_settings(s3))
    with pytest.raises(AamError) as caught:
        destination.put_by(files, each)
    says = "does not reach" if fault == "reset" else f"refuses what executor host .* ({fault}"
    check_line(caught.value, *says.split(" .* "), "`executors: false`")
    assert "Signature" not in str(caught.value) + caplog.text
    assert uploads(s3) == []
    assert [destination.head(key) for _, key in files] == [None, None]
    s3.fault = None
    destination.put_by(files, each)
    assert content(s3, files[1][1]) == files[1][0].path.read_bytes()


def test_a_store_that_others_do_not_reach(s3: S3Server, to_s3: Opened, tmp_path: Path) -> None:
    def from_elsewhere(work: Any, items: Sequence[Pieces]) -> list[Any]:
        nowhere = [url.replace(s3.endpoint, "http://127.0.0.1:1") for url in items[0].urls]
        return [work(Pieces(items[0].path, items[0].sha256, items[0].size, tuple(nowhere)))]

    with pytest.raises(ConfigError) as caught:
        to_s3(**s3_settings(s3)).put_by([(make_part(tmp_path, 6 * MIB), KEY)], from_elsewhere)
    check_line(caught.value, f"does not reach {s3.endpoint} (NewConnectionError)", "`executors: false`")
    assert uploads(s3) == []


@pytest.mark.parametrize("change", ["other", "longer", "gone"])
def test_a_file_that_others_do_not_see_as_it_was(
    s3: S3Server, to_s3: Opened, tmp_path: Path, change: str
) -> None:
    part = make_part(tmp_path, 6 * MIB)

    def changed(work: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
        match change:
            case "other":
                make_part(tmp_path, 6 * MIB, seed=2).path.rename(part.path)
            case "longer":
                with part.path.open("ab") as file:
                    file.write(b"more")
            case _:
                part.path.unlink()
        return each(work, items)

    destination = to_s3(**s3_settings(s3))
    with pytest.raises(DeliveryError) as caught:
        destination.put_by([(part, KEY)], changed)
    check_line(caught.value, str(part.path), "can't read" if change == "gone" else "is not as it was made")
    assert (destination.head(KEY), uploads(s3)) == (None, [])


def test_a_store_that_put_together_something_else(s3: S3Server, to_s3: Opened, tmp_path: Path) -> None:
    """Told by the ETag that it composes of the pieces'; then the file goes."""
    other = make_part(tmp_path, 6 * MIB, seed=2)

    def replaced(work: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
        sent = each(work, items)
        work(Pieces(other.path, other.sha256, items[0].size, items[0].urls))
        return sent

    part = make_part(tmp_path, 6 * MIB)
    destination = to_s3(**s3_settings(s3))
    with pytest.raises(DeliveryError):
        destination.put_by([(part, KEY)], replaced)
    assert destination.head(KEY) is None


def test_encrypted_by_a_key_of_the_store(s3: S3Server, to_s3: Opened, tmp_path: Path) -> None:
    """Then its ETags are no MD5s."""
    part = make_part(tmp_path, 6 * MIB)
    to_s3(**s3_settings(s3, sse="aws:kms", sse_kms_key_id="key-1")).put_by([(part, KEY)], each)
    assert content(s3, KEY) == part.path.read_bytes()


def test_over_tls_and_by_proxies(
    to_s3: Opened, tmp_path: Path, certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = make_part(tmp_path, 6 * MIB)
    with s3_server(certificate.certificate) as server:
        import boto3

        client = boto3.client(
            "s3", endpoint_url=server.endpoint, region_name="us-east-1", verify=str(certificate.ca_file)
        )
        client.create_bucket(Bucket="clients")
        to_s3(**s3_settings(server, ca_file=str(certificate.ca_file))).put_by([(part, KEY)], each)
        monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate.ca_file))
        port = int(server.endpoint.rpartition(":")[2])
        with proxy_server({"localhost": port}) as proxy:
            settings = s3_settings(server, endpoint_url="https://localhost")
            to_s3(**settings, proxy=proxy.url).put_by([(part, f"{KEY}.2")], each)
            assert proxy.asked_for
            proxy.asked_for.clear()
            monkeypatch.setenv("HTTPS_PROXY", proxy.url.replace("//", f"//me:{PASSWORD}@"))
            to_s3(**settings).put_by([(part, f"{KEY}.3")], each)
            assert proxy.asked_for
            _refused_by(proxy, to_s3(**settings), part)
        for number in ("", ".2", ".3"):
            client.delete_object(Bucket="clients", Key=KEY + number)
        client.delete_bucket(Bucket="clients")
        client.close()


def _refused_by(proxy: Proxy, destination: S3, part: Any) -> None:
    def refused(work: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
        proxy.refusal = "407 Proxy Authentication Required"
        try:
            return each(work, items)
        finally:
            proxy.refusal = None

    with pytest.raises(ConfigError) as caught:
        destination.put_by([(part, f"{KEY}.4")], refused)
    check_line(caught.value, "does not reach", "ProxyError")


KILLED = """
import sys
from pathlib import Path
from aam_onboard.destinations import open_destination, parse_destination
from aam_onboard.files import Part
settings = parse_destination("there", {"type": "s3", "partner_name": "acme", "bucket": "clients",
    "endpoint_url": sys.argv[1], "part_size": 5 * 2**20})
part = Part(Path(sys.argv[2]), 1, 16 * 2**20, 1, sys.argv[3])
open_destination("there", settings).put_by([(part, sys.argv[4])], lambda work, items: [work(item) for item in items])
"""


@pytest.mark.parametrize("at", ["partNumber=2", "complete"])
def test_what_a_killed_driver_left_goes_with_the_next(
    s3: S3Server, to_s3: Opened, tmp_path: Path, at: str
) -> None:
    part = make_part(tmp_path, 16 * MIB)
    reached, dead = threading.Event(), threading.Event()

    def hang(environ: dict[str, Any]) -> str | None:
        query = environ["QUERY_STRING"]
        completes = environ["REQUEST_METHOD"] == "POST" and "uploadId" in query
        if not (completes if at == "complete" else at in query):
            return None
        reached.set()
        dead.wait(30)
        return "reset"

    s3.fault = hang
    command = [sys.executable, "-c", KILLED, s3.endpoint, str(part.path), part.sha256, KEY]
    with subprocess.Popen(command) as driver:
        assert reached.wait(30)
        driver.kill()
    dead.set()
    s3.fault = None
    destination = to_s3(**s3_settings(s3))
    assert (destination.head(KEY), len(uploads(s3))) == (None, 1)
    destination.put_by([(part, KEY)], each)
    assert content(s3, KEY) == part.path.read_bytes()
    assert uploads(s3) == []
