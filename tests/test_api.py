"""Audience Manager's REST API as the loader asks it: a real one of the sandbox's, and servers that answer badly."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import sandboxes
import yaml
from conftest import set_sleep
from sandboxes import DESTINATION, set_destination

from aam_onboard import api as apis
from aam_onboard.api import Api, ApiError, opened_api
from aam_onboard.config import load_project
from aam_onboard.errors import ConfigError

NOW = datetime.now(timezone.utc)
SECRET = "keep-me"


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Of any client, and waits that take no time."""
    monkeypatch.setenv("AAM_API_CLIENT_ID", "tests")
    monkeypatch.setenv("AAM_API_CLIENT_SECRET", SECRET)
    waited: list[float] = []
    set_sleep(monkeypatch, "aam_onboard.api", waited.append)
    return waited


@contextmanager
def asking(root: Path, address: str, **more: Any) -> Iterator[Api]:
    settings = {
        "scope": "openid",
        "base_url": f"{address}/v1",
        "token_url": f"{address}/ims/token/v3",
        **more,
    }
    content = {"name": "shop", "profile": "shop", "vars": {"api": settings}}
    (root / "dbt_project.yml").write_text(yaml.safe_dump(content))
    with opened_api(load_project(root)) as api:
        assert api is not None
        yield api


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sandbox") / "there"
    with sandboxes.sandbox(folder) as store:
        set_destination(store)
    return folder


Answer = tuple[int, dict[str, str], bytes]
TOKEN: Answer = (200, {}, b'{"access_token": "t", "expires_in": 86399}')


@contextmanager
def scripted(*answers: Answer, token: Answer = TOKEN) -> Iterator[tuple[str, list[str]]]:
    """A server that gives these answers, the last one again and again; where, and what it was asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            is_token = self.path.startswith("/ims")
            asked.append(f"{self.command} {self.path}")
            turn = sum(not one.startswith("POST") for one in asked) - 1
            status, headers, body = token if is_token else answers[min(turn, len(answers) - 1)]
            self.send_response(status)
            for name, value in {**headers, "content-length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = answer

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()


def said(said: Any, status: int = 200, **headers: str) -> Answer:
    return (status, headers, said if isinstance(said, bytes) else json.dumps(said).encode())


def test_a_real_one_is_asked(tmp_path: Path, sandbox: Path) -> None:
    with sandboxes.serving(sandbox) as address, asking(tmp_path, address) as api:
        api.reach()
        assert api.destination(DESTINATION)["name"] == "Partner"
        everything = api.listed("datasources", {})
        assert len(everything) == 3
        for size in (1, 2, 3, 10):
            assert api.listed("datasources", {"pageSize": size}) == everything
        assert api.outbound_history(DESTINATION, NOW - timedelta(days=8), NOW) == []
        with pytest.raises(
            ConfigError, match=r"destinations/1: .* knows no such thing \(HTTP 404, there is no"
        ):
            api.destination(1)


def test_a_token_that_is_refused_is_asked_for_anew_once(tmp_path: Path, sandbox: Path) -> None:
    with (
        sandboxes.serving(sandbox, token_seconds=0) as address,
        asking(tmp_path, address) as api,
        pytest.raises(ConfigError, match=r"users/self refuses us \(HTTP 401, the token is missing"),
    ):
        api.reach()
    with scripted(said(b"", 401), said([{"a": 1}])) as (address, asked), asking(tmp_path, address) as api:
        assert api.listed("traits", {}) == [{"a": 1}]
        assert api.listed("traits", {}) == [{"a": 1}]
    assert [one.split()[0] for one in asked] == ["POST", "GET", "POST", "GET", "GET"]


def test_wrong_credentials_are_a_matter_of_configuration(tmp_path: Path) -> None:
    refused = said(f'{{"error": "invalid_client", "secret": "{SECRET}"}}'.encode(), 400)
    with (
        scripted(token=refused) as (address, asked),
        asking(tmp_path, address) as api,
        pytest.raises(ConfigError) as caught,
    ):
        api.reach()
    assert "token/v3 gives no token (HTTP 400, " in str(caught.value) and "vars.api.scope" in str(
        caught.value
    )
    assert SECRET not in str(caught.value)
    assert asked == ["POST /ims/token/v3"]


def test_a_busy_server_is_asked_again_as_it_wants(tmp_path: Path, credentials: list[float]) -> None:
    soon = format_datetime(datetime.now(timezone.utc) + timedelta(seconds=40), usegmt=True)
    answers = [
        said(b"", 503),
        said(b"", 429, **{"retry-after": "7"}),
        said(b"", 500, **{"retry-after": soon}),
        said([]),
    ]
    with scripted(*answers) as (address, _), asking(tmp_path, address) as api:
        assert api.listed("traits", {}) == []
    assert credentials[:2] == [1, 7] and 30 < credentials[2] <= 40


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (said(b"down for\ntoday", 503), "traits answers HTTP 503, down for today; tried 4 times"),
        (said(b"", 429, **{"retry-after": "86400"}), "HTTP 429; it wants to be asked again after 86,400 seconds"),
        (said(b"<html>"), "traits answers with no JSON, <html>"),
        (said(b"[" * 100_000), "traits answers with no JSON"),
        (said({"error": "no"}), "traits answers with no list; is vars.api.base_url that of the API?"),
        (said([1]), "traits answers with no list"),
        (said(b"", 302, location="http://127.0.0.1:1/"), "traits answers HTTP 302"),
        (said(b"x" * 9, 400), "traits answers HTTP 400, xxxxxxxxx"),
        (said(b"[]", **{"content-encoding": "gzip"}), "answers with what can't be read"),
    ],
)  # fmt: skip
def test_a_bad_answer_is_one_clear_line(tmp_path: Path, answer: Answer, says: str) -> None:
    with (
        scripted(answer) as (address, _),
        asking(tmp_path, address) as api,
        pytest.raises(ApiError) as caught,
    ):
        api.listed("traits", {})
    assert says in str(caught.value) and "\n" not in str(caught.value)
    assert caught.value.exit_code == 1


@pytest.mark.parametrize("token", [said([]), said({"access_token": "a\nb"}), said(b"hello")])
def test_what_is_no_token_goes_into_no_header(tmp_path: Path, token: Answer) -> None:
    with (
        scripted(token=token) as (address, _),
        asking(tmp_path, address) as api,
        pytest.raises(ApiError, match="token/v3 answers with"),
    ):
        api.reach()


def test_nobody_there(tmp_path: Path) -> None:
    with asking(tmp_path, "http://127.0.0.1:1") as api, pytest.raises(ApiError, match="can't be reached"):
        api.reach()


def test_pages_without_a_total_and_pages_that_never_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = [said({"list": [{"sid": page}]}) for page in range(9)]
    for last in (said({"list": []}), pages[2], said({"total": 3, "list": []})):
        with scripted(*pages[:3], last) as (address, _), asking(tmp_path, address) as api:
            assert [row["sid"] for row in api.listed("traits", {})] == [0, 1, 2]
    monkeypatch.setattr("aam_onboard.api._MOST_PAGES", 5)
    with scripted(*pages) as (address, _), asking(tmp_path, address) as api:
        assert len(api.listed("traits", {})) == 5


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({}, "vars.api.scope: is missing"),
        ({"scope": "a", "base_url": "http://aam.adobe.io/v1"}, "vars.api.base_url: .*is no https URL"),
        ({"scope": "a", "token_url": "file:///etc/passwd"}, "vars.api.token_url: .*is no https URL"),
        ({"scope": "a", "base_url": "https://me:it@aam.adobe.io"}, "holds more than scheme"),
        ({"scope": "a", "base_url": "https://[::1"}, "is no URL"),
        ({"scope": "a", "client_secret": "it"}, "vars.api.client_secret: no such setting"),
    ],
)
def test_settings_that_would_tell_secrets_are_refused(tmp_path: Path, settings: Any, says: str) -> None:
    (tmp_path / "dbt_project.yml").write_text(
        yaml.safe_dump({"name": "a", "profile": "a", "vars": {"api": settings}})
    )
    with pytest.raises(ConfigError, match=says):
        load_project(tmp_path)


def test_credentials_that_are_missing_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AAM_API_CLIENT_SECRET")
    with pytest.raises(ConfigError, match="environment variable AAM_API_CLIENT_SECRET is not"):
        asking(tmp_path, "http://127.0.0.1:1").__enter__()


@pytest.mark.parametrize(
    ("row", "number", "at", "name"),
    [
        (
            {"n": 1, "t": 1795608000000, "dataFileName": "s3n://b/x/a.sync"},
            1,
            "2026-11-25 12:00:00+00:00",
            "a.sync",
        ),
        ({"n": "12", "t": "0", "dataFileName": "a"}, 12, "1970-01-01 00:00:00+00:00", "a"),
        ({"n": True, "t": 10**18, "dataFileName": 7}, None, "None", None),
        ({"n": -1, "t": 1.5, "dataFileName": "a\0b"}, None, "None", None),
        ({"n": 2**63, "t": None}, None, "None", None),
    ],
)
def test_fields_are_what_they_should_be_or_none(row: Any, number: Any, at: str, name: Any) -> None:
    assert (apis.whole(row, "m", "n"), str(apis.moment(row, "t")), apis.file_name(row)) == (number, at, name)
