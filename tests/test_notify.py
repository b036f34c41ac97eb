"""Who is told of a run, when, and in what words; and the figures for Prometheus."""

import json
import logging
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from conftest import NO_CHECK, Stage, Workspace

from aam_onboard import history, metrics, notify
from aam_onboard.config import load_project
from aam_onboard.errors import DeliveryError, GuardError
from aam_onboard.running import FeedError, RunResult

pytestmark = pytest.mark.one_engine

Prepare = Callable[[Stage], Workspace]


class Hook(ThreadingHTTPServer):
    """A webhook that keeps what it gets; `answers`: what it says, a status or a place to go, one after the other."""

    def __init__(self) -> None:
        self.got: list[dict[str, Any]] = []
        self.answers: list[int | str] = []
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/services/s3cret"


class _Handler(BaseHTTPRequestHandler):
    server: Hook

    def do_POST(self) -> None:
        answer = self.server.answers.pop(0) if self.server.answers else 200
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if answer == 200:
            self.server.got.append(json.loads(body))
        self.send_response(answer if isinstance(answer, int) else 307)
        if isinstance(answer, str):
            self.send_header("Location", answer)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving() -> Iterator[Hook]:
    with Hook() as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def hook() -> Iterator[Hook]:
    with serving() as server:
        yield server


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hook: Hook) -> Any:
    (tmp_path / "dbt_project.yml").write_text("name: shop\nprofile: shop\nvars: {notify: HOOK}\n")
    monkeypatch.setenv("HOOK", hook.url)
    monkeypatch.setattr(notify, "_WAITS", (0.0, 0.0))
    return load_project(tmp_path)


def story(*errors: Any, feeds: tuple[str, ...] = ("a", "b"), **more: Any) -> history.Story:
    told = history.Story("run", "", "prod", "production", feeds, **more)
    told.end(RunResult(errors=list(errors)))
    return told


GUARD = FeedError.of("a", GuardError("9 of 9 <signals> & more removed"))
FAILED = FeedError.of("a", DeliveryError("the disk is full"))


def test_once_a_change(project: Any, hook: Hook) -> None:
    """Not once a run: each is a run, and whether something is told of it, and what."""
    late = history.Story("status", "", "prod", "production", [], late={"b": "b.gz waits"})
    late.end(RunResult())
    no_more = history.Story("status", "", "prod", "production", [])
    no_more.end(RunResult())
    busy = story(FeedError.of("a", GuardError("x")))
    busy.end(RunResult(), 4)
    for run, event, new, recovered in [
        (story(), None, [], []),
        (story(GUARD), "stopped", [("stopped", "a")], []),
        (story(GUARD), None, [], []),
        (story(feeds=("b",)), None, [], []),  # it knows nothing of the other feed
        (busy, None, [], []),
        (story(FAILED), "failed", [("failed", "a")], []),
        (story(FAILED, DeliveryError("dbt build failed")), "failed", [("failed", None)], []),
        (late, "late", [("late", "b")], []),
        (story(FAILED), "recovered", [], [None]),
        (no_more, "recovered", [], ["b"]),
        (story(), "recovered", [], ["a"]),
        (story(), None, [], []),
    ]:
        told = notify.tell(project, run)
        if event is None:
            assert (told, hook.got) == (None, []), run
            continue
        [message] = hook.got
        hook.got.clear()
        assert message["event"] == event
        assert [(one["condition"], one["feed"]) for one in message["new"]] == new
        assert message["recovered"] == recovered
        assert (message["destination"], message["run_id"]) == ("production", run.run_id)
        if event == "stopped":
            assert message["text"] == (
                "aam run to production (target prod): a was stopped:"
                " feed a: 9 of 9 &lt;signals&gt; &amp; more removed"
            )


def test_what_was_told_is_known_where_the_folder_does_not_stay(project: Any, hook: Hook) -> None:
    assert notify.tell(project, story(GUARD, told='[["stopped", "a"]]')) is None
    assert json.loads(notify.tell(project, story(told='[["stopped", "a"]]')) or "") == []
    assert hook.got[0]["event"] == "recovered"


def test_a_webhook_that_does_not_listen(
    project: Any, hook: Hook, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Never a failure: one warning without the URL, and the next run tries again."""

    def warning() -> str:
        assert notify.tell(project, story(GUARD)) is None
        [record] = caplog.records
        caplog.clear()
        text = record.getMessage()
        assert "the next run tries again" in text and "s3cret" not in text and "127.0.0.1" not in text
        return text

    monkeypatch.setattr(logging.getLogger("aam"), "propagate", True)
    hook.answers[:] = [503, 500, 429]
    assert "HTTP 429" in warning()
    hook.answers[:] = [404]
    assert "HTTP 404" in warning() and not hook.answers
    with serving() as other:
        hook.answers[:] = [other.url]
        assert "redirects to another host" in warning()
        assert other.got == []
    hook.answers[:] = [hook.url.replace("http:", "file:")]
    assert "HTTP 307" in warning()
    hook.answers[:] = [hook.url] * 30
    assert "HTTP 307" in warning()
    hook.answers.clear()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("HOOK", f"http://127.0.0.1:{silent.getsockname()[1]}/s3cret")
        monkeypatch.setattr(notify, "TIMEOUT_SECONDS", 0.3)
        began = time.monotonic()
        assert "no answer within 0.3 seconds" in warning()
        assert time.monotonic() - began < 2
    assert "ConnectionRefusedError" in warning()
    for value, says in (("file:///etc/passwd?s3cret", "no http or https URL"), ("", "HOOK is not set")):
        monkeypatch.setenv("HOOK", value)
        assert says in warning()
    # after all that, it listens; a redirect on the same host is followed
    monkeypatch.setenv("HOOK", hook.url)
    monkeypatch.setattr(notify, "TIMEOUT_SECONDS", 10.0)
    hook.answers[:] = [503, hook.url, 200]
    assert notify.tell(project, story(GUARD)) is not None
    assert len(hook.got) == 1


def test_a_command(
    project: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def with_command(command: str) -> Any:
        return project.model_copy(update={"vars": project.vars.model_copy(update={"notify": command})})

    monkeypatch.setattr(logging.getLogger("aam"), "propagate", True)
    for command, says in (
        (f"{sys.executable} -c 'raise SystemExit(3)'", "the command ended with 3"),
        ("no-such-command", "the command can't be run: No such file"),
        ("'", "no command can be read from it: no closing quotation"),
        (" ", "no command can be read from it"),
    ):
        assert notify.tell(with_command(command), story(GUARD)) is None
        assert says in caplog.records[-1].getMessage()
    with monkeypatch.context() as patch:
        patch.setattr(notify, "TIMEOUT_SECONDS", 0.3)
        assert notify.tell(with_command("sleep 30"), story(GUARD)) is None
        assert "did not end within 0.3 seconds" in caplog.records[-1].getMessage()
    assert notify.tell(with_command("tee told.json"), story(GUARD))
    assert json.loads((tmp_path / "told.json").read_text())["event"] == "stopped"


def test_a_url_is_no_setting(tmp_path: Path) -> None:
    (tmp_path / "dbt_project.yml").write_text(
        "name: shop\nprofile: shop\nvars: {notify: 'https://hooks.example.com/s3cret'}\n"
    )
    with pytest.raises(Exception, match="a secret: put it into an environment variable") as error:
        load_project(tmp_path)
    assert "hooks.example.com" not in str(error.value)


def test_figures_for_prometheus(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    told = story(GUARD)
    told.destination = 'a "b"\\\n'
    told.result.rejected = {"a": 3, "b": 4}
    told.steps["build"] = 1.5
    path = tmp_path / "aam.prom"
    path.write_text("older")
    metrics.write(path, metrics.of_run(told))
    lines = path.read_text().splitlines()
    where = 'command="run",target="prod",destination="a \\"b\\"\\\\\\n"'
    assert f"aam_run_exit_code{{{where}}} 3.0" in lines
    assert f'aam_run_step_seconds{{{where},step="build"}} 1.5' in lines
    assert f'aam_feed_ok{{{where},feed="a"}} 0.0' in lines
    assert f'aam_feed_rejected_rows{{{where},feed="b"}} 4.0' in lines
    assert lines[-1] == "# EOF" and path.stat().st_mode & 0o777 == 0o644
    names = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(names) == len(set(names)) and list(tmp_path.iterdir()) == [path]


def test_a_run_tells(workspace: Prepare, hook: Hook) -> None:
    project = workspace("built")
    project.vars(lambda v: v.update(notify="HOOK", guards={"max_first": 0}))
    project.environment["HOOK"] = hook.url
    ios = ("-s", "ios_traits", *NO_CHECK)
    message = project.refused(3, "deliver", *ios, "--metrics-file", "aam.prom")
    assert hook.got[0]["event"] == "stopped" and hook.got[0]["new"][0]["feed"] == "ios_traits"
    assert "max_first" in message and "max_first" in hook.got[0]["text"]
    assert "aam_run_exit_code" in (project.root / "aam.prom").read_text()
    # the folder did not stay
    for told in (project.root / ".aam" / "told").iterdir():
        told.unlink()
    project.refused(3, "deliver", *ios)
    assert len(hook.got) == 1
    done = project.ok("deliver", *ios, "--force", "--metrics-file", "no/such/folder")
    assert [message["event"] for message in hook.got] == ["stopped", "recovered"]
    assert "--metrics-file no/such/folder can't be written: No such file" in done.err
    project.ok("status", "--metrics-file", "status.prom")
    assert (
        'aam_feed_waiting_files{destination="local",feed="ios_traits"} 1.0'
        in (project.root / "status.prom").read_text()
    )
