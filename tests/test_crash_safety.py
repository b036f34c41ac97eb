"""After any kill, what the state says is delivered is at the destination, whole, and the rest is sent."""

import functools
import gzip
import hashlib
import json
import random
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import AWS, NO_CHECK, SOAK, Bucket, Stage, Workspace, process
from servers import FtpServer, SftpServer, ftp_server, sftp_server
from test_encryption import Keyring

from aam_onboard.filenames import parse

Prepare = Callable[[Stage], Workspace]
KILLER = Path(__file__).with_name("killed.py")
FEEDS = ("crm_traits", "crm_id_sync")
SELECT = ("--select", ",".join(FEEDS), *NO_CHECK)
KINDS = ("directory", "s3", "sftp")


@dataclass
class Place:
    """A destination, seen from outside."""

    settings: dict[str, object]
    environment: dict[str, str]
    read: Callable[[], dict[str, bytes]]  # what lies there, by key
    leftovers: Callable[[], list[str]]  # what should not: temporary files, unfinished uploads
    clear: Callable[[], object]
    lines_in: Callable[[bytes], list[str]]  # of a file's content
    files: int = 6  # at the least; three a feed


@pytest.fixture(scope="module")
def sftp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SftpServer]:
    with sftp_server(tmp_path_factory.mktemp("sftp") / "server") as server:
        yield server


@pytest.fixture(scope="module")
def ftp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FtpServer]:
    with ftp_server(tmp_path_factory.mktemp("ftp") / "server") as server:
        yield server


@pytest.fixture(scope="module")
def keyring() -> Iterator[Keyring]:
    # Not pytest's folder: the agent's socket may not have a long path.
    with tempfile.TemporaryDirectory(prefix="keys-") as folder:
        keys = Keyring(Path(folder))
        keys.gpg("--quick-gen-key", "Adobe <adobe@example.com>", "ed25519", "cert,sign", "never")
        keys.gpg("--quick-add-key", keys.fingerprint("adobe@"), "cv25519", "encr", "never")
        yield keys
        subprocess.run(["gpgconf", "--homedir", folder, "--kill", "all"], check=True)


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """The destination of the kind that the test is parametrised with."""
    kind = request.param
    if kind == "s3":
        bucket: Bucket = request.getfixturevalue("bucket")
        get = bucket.client.get_object
        return Place(
            bucket.settings,
            AWS,
            lambda: {key: get(Bucket=bucket.name, Key=key)["Body"].read() for key in bucket.stored()},
            lambda: bucket.client.list_multipart_uploads(Bucket=bucket.name).get("Uploads", []),
            lambda: [bucket.client.delete_object(Bucket=bucket.name, Key=key) for key in bucket.stored()],
            lines_in,
        )
    environment, read_lines, files = {}, lines_in, 6
    if kind == "sftp":
        server: SftpServer = request.getfixturevalue("sftp")
        folder = f"inbound-{abs(hash(request.node.nodeid))}"
        (server.root / folder).mkdir()
        root = server.root / folder
        settings: dict[str, object] = {
            "type": "sftp", "host": "127.0.0.1", "port": server.port, "user": "loader", "directory": folder,
            "key_file": str(server.key_file), "known_hosts": str(server.known_hosts),
        }  # fmt: skip
    elif kind == "ftp":
        ftp: FtpServer = request.getfixturevalue("ftp")
        root = ftp.root
        settings = {
            "type": "ftp", "host": "127.0.0.1", "port": ftp.port, "user": "loader", "tls": False,
            "password_env": "FTP_PASSWORD", "layout": "flat",
        }  # fmt: skip
        environment = {"FTP_PASSWORD": "s3cret-word"}
    else:
        root = tmp_path / "inbound"
        settings = {"type": "directory", "path": str(root)}
    if kind == "pgp":
        keys: Keyring = request.getfixturevalue("keyring")
        settings["encrypt"] = {"recipient": "adobe@example.com", "key_file": str(keys.public("adobe"))}
        read_lines, files = functools.partial(lines_decrypted, keys), 2  # not split: each file costs a gpg
    return Place(
        settings,
        environment,
        lambda: {
            path.relative_to(root).as_posix(): path.read_bytes()
            for path in root.rglob("*")
            if path.is_file() and not path.name.startswith(".")
        },
        lambda: [path.name for path in root.rglob(".*") if path.is_file()],
        lambda: [shutil.rmtree(path) if path.is_dir() else path.unlink() for path in root.glob("*")],
        read_lines,
        files,
    )


def prepare_splits(workspace: Prepare, place: Place) -> Workspace:
    """Changes built upon a delivery, to be delivered in several files a feed."""
    project = workspace("changed")
    if place.files > len(FEEDS):
        project.vars(lambda v: v["limits"].update(split_bytes=800))
    project.destination("local", **place.settings)
    project.environment.update(place.environment)
    return project


def killed(project: Workspace, step: int, *arguments: str, ends: tuple[int, ...] = (0,)) -> str:
    """Run `aam` until it is killed at a step: the step's name, or `end N`, with an exit code of `ends`."""
    log = project.root / "killed.log"
    log.unlink(missing_ok=True)
    done = project.python(str(KILLER), str(step), str(log), *arguments)
    assert log.exists(), done
    where = log.read_text()
    assert done.code in (ends if where.startswith("end") else (-signal.SIGKILL,)), done.err
    return where


def lines_in(content: bytes) -> list[str]:
    text = gzip.decompress(content).decode()
    assert text.endswith("\n")
    return text[:-1].split("\n")


def lines_decrypted(keys: Keyring, content: bytes) -> list[str]:
    path = keys.home / "received.gpg"
    path.write_bytes(content)
    text = keys.gpg("--decrypt", str(path))
    assert text.endswith("\n")
    return text[:-1].split("\n")


def assert_nothing_lost(
    project: Workspace, place: Place, before: dict[str, set[tuple[str, ...]]], feeds: tuple[str, ...] = FEEDS
) -> None:
    """What lies at the destination, read in the order of the deliveries, is what the state says, and the truth."""
    files = project.sql(
        "select d.delivery_id, d.feed, d.lines, f.object_key, f.sha256, f.lines, f.status, d.batch_id"
        " from aam_state.deliveries d inner join aam_state.delivery_files f on f.delivery_id = d.delivery_id"
        " where d.status = 'delivered' and f.status <> 'superseded' and f.object_key is not null"
        " order by d.started_at, f.split"
    )
    there = place.read()
    here = [row for row in files if row[3] in there]
    # everything that lies there belongs to a delivery that stands, and is the very file
    assert sorted(there) == sorted(row[3] for row in here)
    assert place.leftovers() == []
    held = {feed: set(signals) for feed, signals in before.items()}
    by_delivery: dict[str, list[tuple[Any, ...]]] = {}
    for row in here:
        by_delivery.setdefault(row[0], []).append(row)
    for rows in by_delivery.values():
        # one split series, whole, of one export; no line twice
        assert {row[6] for row in rows} == {"uploaded"}
        names = [parse(row[3].rpartition("/")[2]) for row in rows]
        assert len({name.timestamp for name in names}) == 1
        expected = [None] if len(names) == 1 else list(range(1, len(names) + 1))
        assert [name.split for name in names] == expected
        lines: list[str] = []
        for row in rows:
            content = there[row[3]]
            assert hashlib.sha256(content).hexdigest() == row[4]
            found = place.lines_in(content)
            lines += found
            process(held, row[3].rpartition("/")[2], found)
        assert len(lines) == len(set(lines)) == rows[0][2]
    state = project.state()
    for feed in feeds:
        assert held[feed] == state[feed], feed
        if feed != "crm_id_sync":
            assert state[feed] == project.feed_rows(feed), feed
    # one delivery a batch is in effect, and nothing is left open
    [(open_ones,)] = project.sql(
        "select count(*) from aam_state.deliveries where status in ('exporting', 'uploading', 'failed')"
    )
    assert open_ones == 0
    twice = project.sql(
        "select feed, batch_id from aam_state.deliveries where status = 'delivered'"
        " group by feed, batch_id having count(*) > 1"
    )
    assert twice == []


@pytest.mark.soak
@pytest.mark.parametrize("place", KINDS, indirect=True)
def test_killed_at_any_step(workspace: Prepare, engine: str, place: Place) -> None:
    kind = place.settings["type"]
    # every stretch of the way on each engine; `make soak` kills as often on the way to each destination, too
    times = 4 if kind == "directory" or SOAK > 1 else 2
    kill_and_repair(workspace, place, times, random.Random(f"{engine} {kind}"))


# How a connection breaks is the destination's matter and what is encrypted is the file's, whichever the engine.
@pytest.mark.parametrize("place", ["ftp"], indirect=True)
def test_killed_while_sending_by_ftp(duckdb_workspace: Prepare, place: Place) -> None:
    kill_and_repair(duckdb_workspace, place, 2, random.Random("ftp"))


@pytest.mark.skipif(shutil.which("gpg") is None, reason="needs gpg (apt-get install gnupg)")
@pytest.mark.parametrize("place", ["pgp"], indirect=True)
def test_killed_while_encrypting(postgres_workspace: Prepare, place: Place) -> None:
    kill_and_repair(postgres_workspace, place, 2, random.Random("pgp"))


def kill_and_repair(workspace: Prepare, place: Place, times: int, chance: random.Random) -> None:
    """Kills spread over all steps, each followed by one in the middle of the repair, then by a run that may end."""
    # how many steps there are: a run that is left alone
    project = prepare_splits(workspace, place)
    before = project.state()
    total = int(killed(project, 0, "deliver", *SELECT).removeprefix("end "))
    assert total > 20 + 6 * place.files
    assert_nothing_lost(project, place, before)
    assert len(place.read()) >= place.files
    kills = 0
    where_killed: list[tuple[str, str, int]] = []
    width = total // times
    for start in range(0, times * width, width):
        remove_project(project, place)
        project = prepare_splits(workspace, place)
        where = killed(project, start + chance.randint(1, width), "deliver", *SELECT)
        assert not where.startswith("end")
        again = killed(project, chance.randint(1, 30), "deliver", *SELECT)
        kills += 2 if not again.startswith("end") else 1
        delivered = project.deliver(*SELECT)
        where_killed.append((where, again, len(delivered)))
        assert_nothing_lost(project, place, before)
        assert project.deliver(*SELECT) == []
        assert project.spooled() == []
    assert kills >= 2 * times - 1, where_killed


def remove_project(project: Workspace, place: Place) -> None:
    """Begin anew: the project's folder, and what lies at the destination."""
    shutil.rmtree(project.root)
    place.clear()


@pytest.mark.parametrize("place", ["s3", "directory"], indirect=True)
def test_killed_at_a_random_moment(workspace: Prepare, place: Place) -> None:
    """From outside, wherever it is."""
    project = prepare_splits(workspace, place)
    before = project.state()
    chance = random.Random(7)
    for _ in range(4):
        running = project.start("deliver", *SELECT)
        try:
            running.wait(timeout=chance.uniform(0.1, 1.0))
        except subprocess.TimeoutExpired:
            running.kill()
        running.communicate()
    project.deliver(*SELECT)
    assert_nothing_lost(project, place, before)


def build_and_run(project: Workspace) -> list[dict[str, Any]]:
    return project.run(*NO_CHECK, "--select", "crm_traits,crm_id_sync")


@pytest.mark.parametrize("place", ["directory"], indirect=True)
def test_what_arrived_of_an_abandoned_delivery_is_made_good(workspace: Prepare, place: Place) -> None:
    """A part was picked up, the delivery was given up, and then the source took the changes back."""
    project = prepare_splits(workspace, place)
    before = project.state()
    # killed when the first files stand there
    step = 25
    while not place.read():
        assert not killed(project, step, "deliver", "--select", "crm_traits", *NO_CHECK).startswith("end")
        step += 5
    read_by_adobe = place.read()
    held = {feed: set(signals) for feed, signals in before.items()}
    for key, content in read_by_adobe.items():
        process(held, key.rpartition("/")[2], lines_in(content))
    assert held["crm_traits"] != before["crm_traits"]

    [(delivery_id,)] = project.sql(
        "select delivery_id from aam_state.deliveries where status in ('exporting', 'uploading')"
    )
    story = project.ok("status").out
    assert delivery_id in story and ("exporting" in story or "uploading" in story)
    assert delivery_id in project.ok("deliver", "--abandon", delivery_id).out
    assert place.read() == {}
    assert project.spooled() == []
    assert project.state() == before
    [(status, uncertain)] = project.sql(
        f"select status, uncertain from aam_state.deliveries where delivery_id = '{delivery_id}'"
    )
    assert (status, uncertain) == ("abandoned", True)
    assert "abandoned" in project.ok("status").out
    assert "only an open one" in project.refused(2, "deliver", "--abandon", delivery_id)
    assert "no delivery nonsense" in project.refused(2, "deliver", "--abandon", "nonsense")

    # the source is again as it was before those changes
    project.sql(
        "update raw.crm_customers set loyalty_tier = case loyalty_tier when 'gold' then 'silver' else 'gold' end"
        " where customer_id like '%4'"
    )
    project.run(*NO_CHECK, "--select", "crm_traits")
    for key, content in place.read().items():
        process(held, key.rpartition("/")[2], lines_in(content))
    assert held["crm_traits"] == project.state()["crm_traits"] == project.feed_rows("crm_traits")


@pytest.mark.parametrize("place", ["directory"], indirect=True)
def test_a_killed_delivery_is_finished_by_the_next_run(workspace: Prepare, place: Place) -> None:
    """`aam run` builds anew: it finishes what is whole in the spool, and gives up and sends again what is not."""
    project = prepare_splits(workspace, place)
    before = project.state()
    assert not killed(project, 30, "deliver", *SELECT).startswith("end")
    assert project.sql("select 1 from aam_state.deliveries where status in ('exporting', 'uploading')")
    project.sql("update raw.crm_customers set loyalty_tier = 'bronze' where customer_id like '%21'")
    build_and_run(project)
    assert_nothing_lost(project, place, before)
    assert project.deliver(*SELECT) == []


def test_a_key_that_somebody_else_took_leads_to_a_new_timestamp(workspace: Prepare) -> None:
    """The other file stays, and ours gets another name."""
    project = workspace("built")
    where = killed(project, 0, "deliver", "--select", "ios_traits", *NO_CHECK)
    assert where.startswith("end")
    [ours] = project.out()
    # as if it had been killed before the upload, and somebody had put a file there meanwhile
    project.sql(
        "update aam_state.deliveries set status = 'uploading'",
        "update aam_state.delivery_files set status = 'uploading'",
    )
    ours.unlink()
    ours.write_bytes(b"somebody else's")
    [delivery] = project.deliver("--select", "ios_traits", *NO_CHECK)
    [file] = delivery["files"]
    assert file["name"] != ours.name
    assert ours.read_bytes() == b"somebody else's"
    assert len(project.out()) == 2


@pytest.mark.parametrize("change", [{"mode": "overwrite", "target_dpid": 58344}, {"target_dpid": 58344}])
def test_build_is_refused_when_its_feed_was_changed_after_it(
    duckdb_workspace: Prepare, change: dict[str, object]
) -> None:
    """Its rows were checked for other data sources, or its lines are of another mode."""
    project = duckdb_workspace("built")
    project.vars(lambda v: v["feeds"].pop("crm_profile") and v["feeds"]["crm_traits"].update(change))
    message = project.refused(2, "deliver", *NO_CHECK, "--select", "crm_traits")
    assert "crm_traits" in message and "58342" in message and "aam run" in message


def test_torn_and_stale_builds_are_refused(workspace: Prepare) -> None:
    project = workspace("changed")
    files = project.out()
    torn = "update inbound.{} set batch_id = 'another'"
    for table in ("rejected_rows", "checked_id_rows"):
        [(batch_id,)] = project.sql("select distinct batch_id from inbound.batches")
        project.sql(torn.format(table))
        for command in ("deliver", "plan"):
            message = project.refused(2, command)
            assert "torn" in message and table in message and "aam run" in message
        project.sql(f"update inbound.{table} set batch_id = '{batch_id}'")
    # the ledger's rows of this build are gone: what is sent could not be written down
    project.sql(
        f"update aam_state.user_ledger set batch_id = 'another' where batch_id = '{batch_id}' and feed = 'crm_traits'"
    )
    assert "user_ledger" in project.refused(2, "deliver")
    project.sql("update aam_state.user_ledger set batch_id = '" + batch_id + "' where batch_id = 'another'")
    assert project.out() == files
    # built upon another delivery than the last one
    project.sql("update inbound.batches set base_delivery_id = null where feed = 'crm_traits'")
    message = project.refused(2, "deliver", "--select", "crm_traits")
    assert "crm_traits" in message and "older than delivery crm_traits-" in message and "aam run" in message
    assert project.out() == files
    # for another destination
    project.destination("elsewhere", type="directory", path="out2")
    message = project.refused(2, "deliver", "--to", "elsewhere")
    assert "built" in message or "for destination local" in message
    assert "aam run --to elsewhere" in message
    # and what it holds are changes
    assert "--full" in project.refused(2, "deliver", "--full")


# What settle_user_ledger does when a build begins.
FORGET = "delete from aam_state.user_ledger where batch_id not in (select batch_id from aam_state.deliveries)"
FORGETTING = f"""
import sys
from aam_onboard import cli, state
free_timestamp = state._free_timestamp
def forgotten_meanwhile(warehouse, *more):
    warehouse.execute({FORGET!r})
    return free_timestamp(warehouse, *more)
state._free_timestamp = forgotten_meanwhile
sys.argv = ["aam", "deliver", "--select", "crm_traits", "--no-check"]
cli.main()
"""


def test_a_batch_forgotten_at_the_last_moment_is_not_sent(workspace: Prepare) -> None:
    """Nothing could be written down of it: a build by hand, just when the delivery has looked."""
    project = workspace("changed")
    files, events = project.out(), project.sql("select count(*) from aam_state.delivery_events")
    done = project.python("-c", FORGETTING)
    assert done.code == 2
    assert "user_ledger knows nothing" in done.err and "aam run" in done.err
    assert (project.out(), project.sql("select count(*) from aam_state.delivery_events")) == (files, events)


def test_who_tidies_a_table_up_is_waited_for(postgres_workspace: Prepare) -> None:
    """PostgreSQL's autovacuum comes after a large build, with such a lock until somebody else wants one."""
    import psycopg2

    project = postgres_workspace("built")
    place = {"host": project.environment["AAM_PG_HOST"], "dbname": project.environment["AAM_PG_DATABASE"]}
    vacuum, looking = (psycopg2.connect(user="postgres", **place) for _ in range(2))
    looking.autocommit = True
    with vacuum.cursor() as tidy, looking.cursor() as look:
        tidy.execute("lock table aam_state.user_ledger in share update exclusive mode")
        delivery = project.start("deliver", *NO_CHECK)
        waiting = 0
        while not waiting:
            assert delivery.poll() is None
            look.execute("select count(*), pg_sleep(0.05) from pg_locks where not granted")
            [(waiting, _)] = look.fetchall()
        vacuum.rollback()
    _, err = delivery.communicate()
    assert delivery.returncode == 0, err
    vacuum.close()
    looking.close()


def test_a_dbt_at_work_beside_a_delivery(postgres_workspace: Prepare) -> None:
    """A build by hand takes no lock of ours: its moments are told from a build that was broken off."""
    import psycopg2

    project = postgres_workspace("changed")
    files, state = project.out(), project.state()
    dbt = psycopg2.connect(
        host=project.environment["AAM_PG_HOST"], user="postgres", dbname=project.environment["AAM_PG_DATABASE"],
        application_name="dbt",
    )  # fmt: skip
    with dbt.cursor() as cursor:
        cursor.execute(FORGET)
        line = project.refused(4, "deliver", "--select", "crm_traits", *NO_CHECK)
        assert "dbt is building the outbox anew; wait for it" in line
        dbt.rollback()
        cursor.execute("drop view inbound.trait_rows cascade")
        dbt.commit()
        for command in ("deliver", "plan"):
            line = project.refused(4, command)
            assert re.search(
                r"dbt is building \(server process \d+, since 2[^)]+\): inbound.trait_rows is missing", line
            )
    dbt.close()
    for command in ("deliver", "plan"):
        assert "the build is torn: inbound.trait_rows is missing" in project.refused(2, command)
    assert (project.out(), project.state()) == (files, state)
    assert project.sql("select count(*) from aam_state.deliveries where status <> 'delivered'") == [(0,)]


SECRETS = {
    "AWS_ACCESS_KEY_ID": "AKIASECRETKEYOFTHETEST",
    "AWS_SECRET_ACCESS_KEY": "aws-s3cr3t/of+the+test",
    "AAM_PG_PASSWORD": "pg-s3cr3t'of\\the test",
    "SFTP_PASSWORD": "sftp-s3cr3t-of-the-test",
}


def test_one_run_at_a_time_and_no_secret_anywhere(workspace: Prepare, bucket: Bucket) -> None:
    project = workspace("changed")
    project.destination(**bucket.settings)
    project.sql("update raw.crm_customers set loyalty_tier = 'bronze' where customer_id like '%21'")
    first = project.start("run", "--json", "--log-format", "json", "--no-check", extra=SECRETS, anew=True)
    assert first.stdout is not None and first.stderr is not None
    err = ""
    while "Running with dbt" not in err:  # it holds the lock before it calls dbt
        line = first.stderr.readline()
        assert line, err
        err += line
    second = project.aam("deliver", "--no-check", "--select", "ios_traits", extra=SECRETS)
    third = project.aam("run", "--no-check", extra=SECRETS)
    seen = [
        path.read_bytes().decode(errors="replace")
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if path.exists()
    ]
    err += first.stderr.read()
    out = first.stdout.read()
    assert first.wait() == 0, err
    for refused in (second, third):
        assert refused.code == 4
        [line] = refused.complaints
        assert f"process {first.pid}" in line
        assert re.search(r"since \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", line)
    # every line of the log is an object, dbt's apart
    entries = [json.loads(line) for line in err.splitlines() if line.startswith("{")]
    done = [entry for entry in entries if entry["message"] == "delivered"]
    assert done and all(
        {"delivery", "feed", "files", "rows", "bytes", "seconds"} <= set(entry) for entry in done
    )

    # a failure of each kind, with its secrets in the environment
    bucket.server.fault = lambda environ: (403, "SignatureDoesNotMatch")
    seen += [project.refused(1, "deliver", extra=SECRETS)]
    project.destination(
        type="sftp", host="127.0.0.1", port=1, user="loader", password_env="SFTP_PASSWORD", retries=0,
        known_hosts=str(project.root / "profiles.yml"),
    )  # fmt: skip
    failed = project.aam("deliver", extra=SECRETS)
    assert failed.code in (1, 2)
    seen += [failed.err, failed.out, out, err, second.err, third.err]
    seen += [
        path.read_bytes().decode(errors="replace") for path in project.root.rglob("*")
        if path.is_file() and not path.name.startswith("warehouse.duckdb")
    ]  # fmt: skip
    assert len(seen) > 100
    for secret in SECRETS.values():
        assert not any(secret in text for text in seen), secret


@pytest.mark.one_engine
@pytest.mark.parametrize("way", [signal.SIGTERM, signal.SIGKILL])
def test_dbt_ends_with_its_run(workspace: Prepare, way: signal.Signals) -> None:
    """As a scheduler ends a run, or the kernel: nothing goes on building, and the next run finds the warehouse free."""
    project = workspace("delivered")
    running = project.start("run", "--no-check", anew=True)
    assert running.stderr is not None
    assert any("START" in line for line in running.stderr)
    [dbt] = children_of(running.pid)
    running.send_signal(way)
    err = running.stderr.read()  # dbt's own, to its end
    running.communicate()
    if way == signal.SIGTERM:
        assert running.returncode == 130
        assert "aam: interrupted" in err and "Traceback" not in err
        assert not Path(f"/proc/{dbt}").exists()
    gone_after = time.monotonic() + 30
    while Path(f"/proc/{dbt}").exists():
        assert time.monotonic() < gone_after
        time.sleep(0.1)
    project.run()


def children_of(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in found.split()]
