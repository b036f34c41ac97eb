"""Files that executors make: every line once, whatever is killed, or one clear error and nothing left."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from conftest import PROJECT, SOAK
from destinations.helpers import s3_client, s3_settings
from servers import S3Server, s3_server

from aam_onboard.destinations import open_destination, parse_destination
from aam_onboard.destinations.s3 import S3
from aam_onboard.errors import AamError, CheckFailedError, ConfigError, DeliveryError, MissingTableError
from aam_onboard.executors import LEAST_LINES, Check, clear_errors, each, export
from aam_onboard.files import Part
from aam_onboard.rules import Rules
from spark.cluster import Cluster
from spark.conftest import end_session

HUGE = 1 << 40
KILLS = 8 if SOAK > 1 else 1  # of each kind of process: executor, worker, Python worker, driver
ROOT = "ftp_dpm_58342_1700000000.sync"
NAME = f"{ROOT}.gz"


def query(users: int, partitions: int = 4, *, source: str = "", trait: str = "xxhash64(id)") -> str:
    """Lines of so many users, each tenth with two."""
    return (
        f"select concat('user', id, '\\t', 'd_sid=', 1000000 + pmod({trait}, 9000), '\\n',"
        " if(id % 10 = 0, concat('user', id, '\\t', 'd_sid=5000000', '\\n'), '')) as line,"
        f" if(id % 10 = 0, 2L, 1L) as lines from {source or f'range(0, {users}, 1, {partitions})'}"
    )


def long_query(users: int) -> str:
    """The same from a group by, so that each partition needs something of all executors; for somebody to kill those."""
    ids = f"range(0, {users}, 1, 6) cross join (select explode(sequence(1, 200)) as k)"
    return query(
        users, source=f"(select id, max(xxhash64(id, k)) as found from {ids} group by id)", trait="found"
    )


def lines_of(parts: Iterable[Part]) -> list[bytes]:
    """What is in the files, which are what the parts say and one series."""
    parts = list(parts)
    lines: list[bytes] = []
    for part in parts:
        content = part.path.read_bytes()
        text = gzip.decompress(content)
        assert (len(content), len(text), text.count(b"\n")) == (part.bytes, part.plain_bytes, part.lines)
        assert hashlib.sha256(content).hexdigest() == part.sha256
        lines += text.splitlines()
    assert [part.more for part in parts] == [True] * (len(parts) - 1) + [False]
    return lines


def assert_whole(lines: list[bytes], users: int) -> None:
    of_user = Counter(line.partition(b"\t")[0] for line in lines)
    assert of_user == {b"user%d" % n: 1 if n % 10 else 2 for n in range(users)}
    assert len(set(lines)) == len(lines)


def left(spool: Path) -> list[str]:
    return sorted(str(path.relative_to(spool)) for path in spool.rglob("*"))


def rules(**limits: int) -> Rules:
    project = yaml.safe_load((PROJECT / "dbt_project.yml").read_text())["vars"]
    found = {name: project[name] for name in Rules.model_fields if name in project}
    found["limits"] |= limits
    return Rules(**found)


def test_every_line_once_in_files_by_partition(session: Any, spool: Path) -> None:
    progress: list[tuple[int, int]] = []
    parts = list(
        export(
            session,
            query(20_000),
            spool,
            split_bytes=HUGE,
            max_plain_bytes=HUGE,
            check=Check(NAME, rules()),
            on_progress=lambda *done: progress.append(done),
        )
    )
    assert_whole(lines_of(parts), 20_000)
    assert progress == [(part.lines, part.plain_bytes) for part in parts]
    assert len(parts) == 4
    assert left(spool) == sorted(part.path.name for part in parts)
    # the first user of each: the order is that of partitions
    assert [gzip.decompress(part.path.read_bytes()).split(b"\t")[0] for part in parts] == [
        b"user%d" % n for n in (0, 5000, 10_000, 15_000)
    ]


def test_a_large_partition_is_split(session: Any, spool: Path) -> None:
    parts = list(export(session, query(60_000, 2), spool, split_bytes=60_000, max_plain_bytes=500_000))
    assert_whole(lines_of(parts), 60_000)
    assert len(parts) > 4
    assert all(part.bytes <= 60_000 and part.plain_bytes <= 500_000 for part in parts)


def test_small_partitions_are_joined(session: Any, spool: Path) -> None:
    parts = list(
        export(
            session,
            query(1000, 8),
            spool,
            split_bytes=HUGE,
            max_plain_bytes=HUGE,
            expected_lines=LEAST_LINES,
        )
    )
    assert len(parts) == 1
    assert_whole(lines_of(parts), 1000)


def test_no_lines_no_file(session: Any, spool: Path) -> None:
    assert list(export(session, query(0), spool, split_bytes=HUGE, max_plain_bytes=HUGE)) == []
    assert left(spool) == []


def test_closing_it_leaves_what_was_yielded(session: Any, spool: Path) -> None:
    parts = export(session, query(1000), spool, split_bytes=HUGE, max_plain_bytes=HUGE)
    first = next(parts)
    parts.close()
    assert left(spool) == [first.path.name]


BAD = " union all select 'some body\td_sid=x\n', 1L"


@pytest.mark.parametrize(
    ("sql", "error", "says"),
    [
        (query(1000, 1) + BAD, CheckFailedError, "ftp_dpm_58342_1700000000.sync.gz was not sent"),
        (query(1000, 1) + " union all select null, 1L", DeliveryError, "a null line"),
        (query(1000, 1) + " union all select 'open\td_sid=5', 1L", DeliveryError, "without a newline"),
        ("select 1 as line, 1L as lines", DeliveryError, "Column line of the inbound lines is int32"),
        ("select * from nowhere", MissingTableError, "`nowhere` cannot be found"),
        ("selec line", DeliveryError, "Syntax error"),
        (
            "select raise_error('it''s ''some body''') as line, 1L as lines",
            DeliveryError,
            "USER_RAISED_EXCEPTION",
        ),
    ],
)
def test_an_error_is_one_line_and_leaves_nothing(
    session: Any, spool: Path, sql: str, error: type[AamError], says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    check = Check(NAME, rules())
    with pytest.raises(AamError) as caught:
        list(export(session, sql, spool, split_bytes=HUGE, max_plain_bytes=HUGE, check=check))
    told = str(caught.value)
    assert (type(caught.value), says in told) == (error, True), told
    assert "\n" not in told and "java" not in told and "some body" not in told and len(told) < 400
    assert left(spool) == []
    assert "some body" not in capfd.readouterr().err


def test_executors_that_do_not_reach_the_folder(
    session: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    elsewhere = Path("/proc/self/cwd/spool")  # in each process another folder
    with pytest.raises(ConfigError, match="does not see /proc/self/cwd/spool as the driver does"):
        list(export(session, query(1000, 1), elsewhere, split_bytes=HUGE, max_plain_bytes=HUGE))
    assert left(tmp_path / "spool") == []


def test_executors_without_the_package(session: Any) -> None:
    def task(batches: Any) -> Any:
        import aam_elsewhere  # type: ignore[import-not-found]

        yield from aam_elsewhere.lines

    with pytest.raises(ConfigError, match="executors have no Python package aam_elsewhere"), clear_errors():
        session.range(1).coalesce(1).mapInArrow(task, "id bigint").collect()


def test_speculative_execution_is_refused(spool: Path) -> None:
    session: Any = SimpleNamespace(conf={"spark.speculation": "true"})
    with pytest.raises(ConfigError, match="set it to false"):
        next(export(session, query(1), spool, split_bytes=HUGE, max_plain_bytes=HUGE))
    assert not spool.exists()


def test_a_folder_that_is_a_file(session: Any, spool: Path) -> None:
    spool.parent.parent.mkdir(exist_ok=True)
    spool.parent.write_text("")
    with pytest.raises(DeliveryError, match="set spool_dir"):
        next(export(session, query(1), spool, split_bytes=HUGE, max_plain_bytes=HUGE))


@pytest.mark.skipif(shutil.which("gpg") is None, reason="needs gpg (apt-get install gnupg)")
def test_lines_are_checked_before_they_are_encrypted(
    session: Any, spool: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    from aam_onboard.destinations.settings import EncryptSettings
    from aam_onboard.encryption import prepare_encryption

    home = tmp_path_factory.mktemp("gpg")
    gpg = [
        "gpg",
        "--homedir",
        str(home),
        "--batch",
        "--quiet",
        "--pinentry-mode",
        "loopback",
        "--passphrase",
        "",
    ]
    subprocess.run(
        [*gpg, "--quick-gen-key", "Adobe <adobe@example.com>", "future-default", "default"], check=True
    )
    subprocess.run([*gpg, "--output", str(home / "key"), "--export", "adobe@example.com"], check=True)
    encryption = prepare_encryption(EncryptSettings(recipient="adobe@example.com", key_file=home / "key"))
    check = Check(ROOT, rules())

    def exported(sql: str) -> list[Part]:
        return list(
            export(
                session,
                sql,
                spool,
                split_bytes=HUGE,
                max_plain_bytes=HUGE,
                encryption=encryption,
                check=check,
            )
        )

    try:
        with pytest.raises(CheckFailedError, match=r"sync was not sent"):
            exported(query(1000, 1) + BAD)
        assert left(spool) == []
        text = b""
        for part in exported(query(1000, 2)):
            text += subprocess.run(
                [*gpg, "--decrypt", str(part.path)], check=True, capture_output=True
            ).stdout
        assert_whole(text.splitlines(), 1000)
    finally:
        subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=True)


Sending = tuple[S3Server, S3, list[tuple[Part, str]]]


@pytest.fixture
def sending(session: Any, spool: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sending]:
    """A bucket, and files for it that executors have made; who sends them has no credentials."""
    files = list(export(session, query(60_000), spool, split_bytes=200_000, max_plain_bytes=HUGE))
    named = [(part, f"acme/date=2026-03-09/file-{number}") for number, part in enumerate(files)]
    with s3_server() as server:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        s3_client(server).create_bucket(Bucket="clients")
        settings = s3_settings(server, partner_name="acme", retries={"max_attempts": 2})
        destination = open_destination("there", parse_destination("there", settings))
        assert isinstance(destination, S3)
        yield server, destination, named
        destination.close()
        client = s3_client(server)
        for key in stored(server):
            client.delete_object(Bucket="clients", Key=key)
        client.delete_bucket(Bucket="clients")


def stored(server: S3Server) -> dict[str, bytes]:
    """The files there, of which none is only begun."""
    client = s3_client(server)
    assert "Uploads" not in client.list_multipart_uploads(Bucket="clients")
    keys = [found["Key"] for found in client.list_objects_v2(Bucket="clients").get("Contents", ())]
    return {key: client.get_object(Bucket="clients", Key=key)["Body"].read() for key in keys}


def test_executors_send_what_they_made(session: Any, sending: Sending) -> None:
    server, destination, files = sending
    sent_by = set()

    def seen(environ: dict[str, Any]) -> None:
        if "partNumber" in environ["QUERY_STRING"]:
            sent_by.add(environ["HTTP_USER_AGENT"].partition("/")[0])

    server.fault = seen
    destination.put_by(files, partial(each, session))
    assert stored(server) == {key: part.path.read_bytes() for part, key in files}
    assert sent_by == {"python-urllib3"}, "not boto3"


def test_an_error_of_executors_that_send_is_one_line(
    session: Any, sending: Sending, capfd: pytest.CaptureFixture[str]
) -> None:
    server, destination, files = sending
    server.fault = lambda environ: 403 if "partNumber" in environ["QUERY_STRING"] else None
    with pytest.raises(
        DeliveryError, match=r"output `there`: .* refuses what executor host .* \(403"
    ) as caught:
        destination.put_by(files, partial(each, session))
    server.fault = lambda environ: "reset" if "partNumber" in environ["QUERY_STRING"] else None
    with pytest.raises(ConfigError, match=r"executor host .* does not reach .*`executors: false`"):
        destination.put_by(files, partial(each, session))
    server.fault = None
    assert stored(server) == {}
    assert "Signature" not in str(caught.value) + capfd.readouterr().err


@pytest.mark.parametrize("victim", ["executor", "python"])
def test_a_file_is_sent_though_who_sends_it_is_killed(
    cluster: Cluster, session: Any, sending: Sending, victim: str
) -> None:
    server, destination, files = sending
    sent = []

    def kill(environ: dict[str, Any]) -> None:
        if "partNumber" in environ["QUERY_STRING"]:
            sent.append(environ["PATH_INFO"])
            if len(sent) == len(files) // 2:
                os.kill(VICTIMS[victim](cluster)[0], signal.SIGKILL)

    server.fault = kill
    destination.put_by(files, partial(each, session))
    server.fault = None
    assert stored(server) == {key: part.path.read_bytes() for part, key in files}


def test_the_drivers_memory_does_not_grow_with_the_lines(session: Any, spool: Path) -> None:
    def most() -> int:
        for _ in export(session, query(users), spool, split_bytes=HUGE, max_plain_bytes=HUGE):
            pass
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    users = 1000
    few = most()
    users = 1_000_000
    assert most() < few + 10_000, "a million lines are 24 MB of text"


VICTIMS: dict[str, Callable[[Cluster], list[int]]] = {
    "executor": Cluster.executors,
    "worker": lambda cluster: [worker.pid for worker in cluster.running.values()],
    "python": Cluster.python_workers,
}


@pytest.mark.soak
@pytest.mark.parametrize("victim", VICTIMS)
def test_nothing_is_lost_or_doubled_whatever_is_killed(
    cluster: Cluster, session: Any, spool: Path, victim: str
) -> None:
    chance = random.Random(victim)
    users, sql = 120_000, long_query(120_000)
    began = time.monotonic()
    lines_of(export(session, sql, spool, split_bytes=200_000, max_plain_bytes=HUGE))
    seconds = time.monotonic() - began
    killed = 0
    while killed < KILLS:
        shutil.rmtree(spool)
        cluster.mend()

        def kill() -> None:
            nonlocal killed
            alive = VICTIMS[victim](cluster)
            if alive:
                os.kill(chance.choice(alive), signal.SIGKILL)
                killed += 1

        killing = threading.Timer(chance.uniform(0.1, 0.9) * seconds, kill)
        killing.start()
        try:
            parts = list(export(session, sql, spool, split_bytes=200_000, max_plain_bytes=HUGE))
        finally:
            killing.join()
        assert left(spool) == sorted(part.path.name for part in parts)
        assert_whole(lines_of(parts), users)


@pytest.mark.soak
def test_a_killed_driver_leaves_nothing_that_the_next_one_counts(cluster: Cluster, spool: Path) -> None:
    end_session()  # or its executors would keep the cores
    cluster.mend()
    chance = random.Random("driver")
    users, sql = 120_000, long_query(120_000)
    program = str(Path(__file__).with_name("exporting.py"))
    command = [sys.executable, program, json.dumps(cluster.settings), str(spool), sql]
    killed = 0
    while True:
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as driver:
            assert driver.stdout is not None
            assert driver.stdout.readline() == "ready\n"
            killing = threading.Timer(chance.uniform(0.5, 6), driver.kill)
            if killed < KILLS:
                killing.start()
            said = driver.stdout.read()
            driver.wait()
            killing.cancel()
        if driver.returncode:
            assert driver.returncode == -signal.SIGKILL
            killed += 1
            continue
        files = json.loads(said)
        assert left(spool) == sorted(Path(name).name for name, *_ in files)
        text = b"".join(gzip.decompress(Path(name).read_bytes()) for name, *_ in files)
        assert_whole(text.splitlines(), users)
        assert [more for *_, more in files] == [True] * (len(files) - 1) + [False]
        if killed >= KILLS:
            break
