"""What any warehouse must do alike: the same lines as on DuckDB, the same state, and nothing lost when it is killed.

The project is the demo with an eighth of its customers, and all its bad rows; its source changes as seeds do. A
warehouse that is added passes this file with a workspace of its own (docs/add-a-warehouse.md).
"""

from __future__ import annotations

import csv
import gzip
import os
import random
import shutil
import socket
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import (
    COPIED,
    DEMO,
    NO_CHECK,
    SOAK,
    Workspace,
    all_vars,
    copy_package_tests,
    feed_of,
    install_package,
    lines_of,
    process,
)
from destinations.helpers import s3_client, s3_settings
from servers import s3_server
from test_crash_safety import FEEDS, Place, assert_nothing_lost, killed, lines_in

from aam_onboard.warehouse.duckdb import file_lock
from spark.connect import connect_server

Signals = dict[str, set[tuple[str, ...]]]
ID_SYNCS = {"crm_id_sync", "mobile_id_sync", "hashed_email_sync"}
VECTORS = ("hashed_email_vectors", "id_sync_urls", "integration_codes", "percent_encoding_vectors")
Row = dict[str, str]


class SparkWorkspace(Workspace):
    """A project whose warehouse is Spark."""

    def sql(self, *statements: str) -> list[tuple[Any, ...]]:
        """Run statements; the rows of the last one."""
        from pyspark.sql import SparkSession

        # a session of its own: another would remember files of tables that have been built anew since
        session = SparkSession.builder.remote(self.environment["AAM_SPARK_REMOTE"]).create()
        try:
            rows: list[tuple[Any, ...]] = []
            for statement in statements:
                rows = [tuple(row) for row in session.sql(statement).collect()]
            return rows
        finally:
            session.stop()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with connect_server(tmp_path_factory.mktemp("connect") / "server") as address:
        yield address


def small_project(root: Path) -> Path:
    for name in COPIED:
        source, target = DEMO / name, root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
    install_package(root)
    settings = yaml.safe_load((root / "dbt_project.yml").read_text())
    # they are proven by the tests of each model, and cost half of a build here
    settings["data_tests"] = {"+enabled": False}
    settings["models"]["aam_onboard"] = {"identity": {"+enabled": False}}
    if SOAK == 1:  # half the feeds are half the SQL, on which Spark spends its time here
        for name in ("android_traits", "mobile_id_sync", "hashed_email_sync"):
            settings["vars"]["feeds"].pop(name, None)
            settings["vars"]["id_syncs"].pop(name, None)
    # so short that some users need two lines, and some more than they may have
    settings["vars"]["limits"] = all_vars({})["limits"] | {"line_bytes": 80, "lines_per_user": 2}
    settings["vars"]["guards"] = {"max_removed": 1, "max_shrink": 1, "max_rejected": 1}
    (root / "dbt_project.yml").write_text(yaml.safe_dump(settings, allow_unicode=True, sort_keys=False))
    (root / "models" / "exposures.yml").unlink()
    for table in (root / "seeds" / "shop").glob("*.csv"):
        edit(root, table.stem, lambda rows: [row for row in rows if is_chosen(row["customer_id"])])
    return root


def is_chosen(customer: str) -> bool:
    return not customer.isdigit() or len(customer) != 5 or zlib.crc32(customer.encode()) % 8 == 0


def edit(root: Path, table: str, change: Callable[[list[Row]], list[Row]]) -> None:
    """Change the rows of a seed."""
    path = root / "seeds" / "shop" / f"{table}.csv"
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        rows, names = list(reader), list(reader.fieldnames or ())
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(change(rows))


def change_some(root: Path) -> None:
    """Both ways, for a few customers each, so that no guard minds and every feed has something to say."""
    other = {"gold": "silver", "silver": "gold", "bronze": "gold"}

    def every(number: int, change: Callable[[Row], Row | None]) -> Callable[[list[Row]], list[Row]]:
        def changed(rows: list[Row]) -> list[Row]:
            found = (row if place % 10 != number else change(row) for place, row in enumerate(rows))
            return [row for row in found if row is not None]

        return changed

    edit(
        root,
        "crm_customers",
        every(4, lambda row: row | {"loyalty_tier": other.get(row["loyalty_tier"], "gold")}),
    )
    edit(root, "crm_customers", every(7, lambda row: row | {"opted_out": "true"}))
    edit(root, "registrations", every(5, lambda row: row | {"city": "Wien, Österreich"}))
    edit(root, "mobile_devices", every(6, lambda row: None))
    edit(root, "web_id_captures", every(3, lambda row: row | {"aam_uuid": "7" + row["aam_uuid"][1:]}))


def read_files(project: Workspace, read: set[Path], held: Signals) -> dict[str, list[str]]:
    """The lines of each feed in the files that have come since, sorted; the receiver reads them."""
    sent: dict[str, list[str]] = {}
    for path in project.out():
        if path not in read:
            lines = lines_of(path)
            process(held, path.name, lines)
            sent.setdefault(feed_of(path.name), []).extend(lines)
            read.add(path)
    return {feed: sorted(lines) for feed, lines in sent.items()}


def rejected(project: Workspace) -> list[str]:
    rows = project.sql("select feed, reason, user_id, signal_key, signal_value from inbound.rejected_rows")
    return sorted(map(repr, rows))


def go_through(project: Workspace, disturb: Callable[[Workspace], object] = lambda _: None) -> dict[str, Any]:
    """The main job; what was sent and kept back at each step. `disturb`: what is done to the delivery of changes."""
    told: dict[str, Any] = {}
    held: Signals = {}
    read: set[Path] = set()

    def deliver_changes() -> None:
        change_some(project.root)
        project.vars(lambda found: found["limits"].update(split_bytes=1500))
        project.build()
        disturb(project)
        project.deliver()

    steps = {"first": project.run, "changed": deliver_changes}
    if SOAK > 1:
        steps |= {"again": project.run, "full": lambda: project.run("--full")}
    for name, step in steps.items():
        step()
        told[name] = read_files(project, read, held)
        told[f"{name}, kept back"] = rejected(project)
        state = project.state()
        assert held == state
        for feed in state.keys() - ID_SYNCS:
            assert state[feed] == project.feed_rows(feed), feed
        assert project.spooled() == []
    return told


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, address: str) -> Workspace:
    """What the tests below go on with, one after the other."""
    root = small_project(tmp_path_factory.mktemp("conformance") / "spark")
    return SparkWorkspace(root, "spark", {"AAM_SPARK_REMOTE": address})


def test_the_lines_are_those_of_duckdb_though_it_is_killed(project: Workspace, tmp_path: Path) -> None:
    expected = go_through(Workspace(small_project(tmp_path / "duckdb"), "duckdb"))
    assert len(expected["first"]) == (4 if SOAK == 1 else 7)
    assert len(expected["changed"]) == len(expected["first"])
    assert go_through(project, kill_twice) == expected
    assert_nothing_lost(
        project, Place({}, {}, *seen_in(project.root / "out")), {feed: set() for feed in FEEDS}
    )


def kill_twice(project: Workspace) -> None:
    """On its way, and as it repairs that."""
    chance = random.Random("spark")
    assert not killed(project, chance.randint(5, 40), "deliver").startswith("end")
    killed(project, chance.randint(1, 20), "deliver")


@pytest.mark.skipif(SOAK == 1, reason="a quarter of an hour: make test-spark AAM_SOAK=2")
def test_killed_at_any_step(project: Workspace) -> None:
    kill_and_repair(project, random.Random("spark"))


@pytest.mark.skipif(SOAK == 1, reason="two minutes: make test-spark AAM_SOAK=2")
def test_executors_send_a_large_delivery(project: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """To S3; the driver sends nothing of it."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
        monkeypatch.setitem(project.environment, name, "test")
    feed = project.root / "models" / "feeds" / "crm_traits.sql"
    before = feed.read_text()
    many = "select substr(sha2(cast(id as string), 256), 1, 36), 'd_sid', signal_value from range(300000)"
    one_trait = "cross join (select min(signal_value) as signal_value from final where signal_key = 'd_sid')"
    feed.write_text(f"{before.strip()}\nunion all {many} {one_trait}\n")
    sent_by = set()

    def seen(environ: dict[str, Any]) -> None:
        if environ["REQUEST_METHOD"] == "PUT" and environ["PATH_INFO"] != "/clients":
            sent_by.add(environ["HTTP_USER_AGENT"].partition("/")[0])

    with s3_server() as server:
        server.fault = seen
        client = s3_client(server)
        client.create_bucket(Bucket="clients")
        project.destination("store", **s3_settings(server), partner_name="demo_partner")
        project.vars(lambda found: found["limits"].update(split_bytes=3 << 20))
        project.build(destination="store")
        [batch] = project.sql("select batch_id from inbound.batches where feed = 'crm_traits'")
        expected = "".join(
            line
            for (line,) in project.sql(
                f"select line from inbound.file_lines where feed = 'crm_traits' and batch_id = '{batch[0]}'"
            )
        )
        project.deliver("--to", "store", "--select", "crm_traits")
        keys = [found["Key"] for found in client.list_objects_v2(Bucket="clients")["Contents"]]
        bodies = [client.get_object(Bucket="clients", Key=key)["Body"].read() for key in keys]
        assert "Uploads" not in client.list_multipart_uploads(Bucket="clients")
    lines = b"".join(map(gzip.decompress, bodies)).decode()
    assert sorted(lines.splitlines()) == sorted(expected.splitlines())
    assert len(keys) > 1
    assert sent_by == {"python-urllib3"}
    assert project.spooled() == []
    feed.write_text(before)


@pytest.mark.skipif(SOAK == 1, reason="minutes each: make test-spark AAM_SOAK=2")
@pytest.mark.parametrize("number", range(SOAK))
def test_any_history(number: int, tmp_path: Path) -> None:
    """Random changes, runs, deliveries of all, kills: the lines are DuckDB's, and so is what Audience Manager has."""
    with connect_server(tmp_path / "server") as address:
        spark = SparkWorkspace(small_project(tmp_path / "spark"), "spark", {"AAM_SPARK_REMOTE": address})
        duckdb = Workspace(small_project(tmp_path / "duckdb"), "duckdb")
        told, expected = (play(project, random.Random(number)) for project in (spark, duckdb))
        assert told == expected


def play(project: Workspace, chance: random.Random) -> list[Any]:
    """A history; at each step what was sent and kept back, and at the end what Audience Manager made of it."""
    told: list[Any] = []
    held: Signals = {}
    read: set[Path] = set()
    project.ok("sandbox", "init")
    for _ in range(5):
        change_at_random(project.root, random.Random(chance.random()))
        step, at = chance.choice(["run", "run", "full", "built twice", "killed"]), chance.randint(1, 40)
        if step == "built twice":  # what was built and not delivered says nothing
            project.build()
            change_at_random(project.root, random.Random(chance.random()))
        if step == "killed":
            project.build()
            if project.engine == "spark":
                killed(project, at, "deliver", ends=(0,))
            project.deliver()
        else:
            project.run(*["--full"] * (step == "full"))
        told.append((step, read_files(project, read, held), rejected(project)))
        assert held == project.state()
    project.ok("sandbox", "ingest", "--from", "out")
    return [*told, project.ok("sandbox", "sizes", "--json").json]


def change_at_random(root: Path, chance: random.Random) -> None:
    """Every customer may change a value, go, or take another's ID of a browser."""

    def some(change: Callable[[Row], Row | None]) -> Callable[[list[Row]], list[Row]]:
        share = chance.choice([0, 0.02, 0.3])
        return lambda rows: [new for row in rows if (new := change(row) if chance.random() < share else row)]

    def one_of(column: str, *values: str) -> Callable[[list[Row]], list[Row]]:
        return some(lambda row: row | {column: chance.choice(values)})

    edit(root, "crm_customers", one_of("loyalty_tier", "gold", "silver", "bronze", "", "O'Brien"))
    edit(root, "crm_customers", one_of("opted_out", "true", "false"))
    edit(root, "registrations", one_of("city", "Wien", "Graz, Österreich", "a\\b"))
    edit(root, "mobile_devices", some(lambda row: None))
    edit(root, "web_id_captures", some(lambda row: row | {"aam_uuid": f"{chance.randrange(10**38):038d}"}))


@pytest.mark.skipif(SOAK == 1, reason="minutes: make test-spark AAM_SOAK=2")
def test_why_report_rename_and_retire(tmp_path: Path) -> None:
    with connect_server(tmp_path / "server") as address:
        project = SparkWorkspace(small_project(tmp_path / "spark"), "spark", {"AAM_SPARK_REMOTE": address})
        project.run()
        before = project.state()
        user_id, key, value = min(before["crm_traits"])
        assert {key, value, "at local"} <= {
            word.strip(" '")
            for word in project.ok("why", "crm_traits", user_id).out.replace("  ", "\n").splitlines()
        }
        assert Path(project.root / project.ok("report").out.split()[-1]).exists()

        feeds = project.root / "models" / "feeds"
        (feeds / "crm_profile.sql").rename(feeds / "crm_renamed.sql")
        yml = feeds / "_feeds__models.yml"
        yml.write_text(yml.read_text().replace("crm_profile", "crm_renamed"))
        project.vars(lambda found: found["feeds"].update(crm_renamed=found["feeds"].pop("crm_profile")))
        assert (
            "crm_renamed goes on where crm_profile was"
            in project.ok("rename", "crm_profile", "crm_renamed").out
        )
        project.vars(lambda found: found["feeds"].pop("crm_traits"))
        assert "nothing is ours any more" in project.ok("retire", "crm_traits").out
        assert project.run() == []
        after = project.state()
        assert after["crm_renamed"] == before["crm_profile"]
        assert not after.get("crm_traits")


def test_one_run_at_a_time(project: Workspace) -> None:
    """From another host, too: the lock lies where all have the files."""
    lock = project.root / ".aam" / "spool" / "spark.spark"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with file_lock(str(lock)):
        said = project.refused(4, "deliver")
        assert f"in use by another run (aam, process {os.getpid()}, since " in said
        there = Path(f"{lock}.lock")
        there.write_text(there.read_text().replace(socket.gethostname(), "elsewhere"))
        assert f"(aam, process {os.getpid()} on elsewhere, since " in project.refused(4, "deliver")


JOINS = """
import os, sys
from aam_onboard.warehouse import spark
from aam_onboard.cli import main
spark.MOST_FILES = 5
if sys.argv.pop(1) == "killed":
    spark.SparkWarehouse._drop = lambda *_: os._exit(9)
main()
"""


def test_the_many_files_of_the_state_become_one(project: Workspace) -> None:
    """Killed as the new file is there and the old ones are, too, it has lost and doubled nothing."""
    files = "select count(distinct _metadata.file_path), max(generation) from aam_state.state_log"
    deliveries = "select delivery_id, status, lines from aam_state.deliveries order by all"
    [(many, _)] = project.sql(files)
    state, told = project.state(), project.sql(deliveries)
    assert many > 20
    assert project.python("-c", JOINS, "killed", "deliver").code == 9
    assert project.sql(files) == [(many + 1, 1)]
    assert (project.state(), project.sql(deliveries)) == (state, told)
    assert project.python("-c", JOINS, "whole", "deliver").code == 0
    [(few, generation)] = project.sql(files)
    assert (few < many / 2, generation) == (True, 2)
    assert (project.state(), project.sql(deliveries)) == (state, told)


def test_a_state_of_an_earlier_version_is_brought_up_to_date(project: Workspace) -> None:
    state = project.state()
    columns = "change, place, name, row_id, gone, content, generation"
    project.sql(
        f"insert into aam_state.state_log ({columns}) select unix_micros(current_timestamp()), 0, name, row_id, false,"
        " regexp_replace(content, '\"version\":[0-9]+', '\"version\":2'), generation from aam_state.state_log"
        " where name = 'state_versions'"
    )
    assert "of an earlier version" in project.refused(2, "status")
    assert project.dbt("run", "--select", "state_versions").code == 0
    project.ok("status")
    assert project.state() == state


def test_what_spark_can_not_do_is_said_in_one_line(project: Workspace) -> None:
    before = project.state()
    user_id = min(before["crm_traits"])[0]
    assert "runs on DuckDB and PostgreSQL only" in project.refused(2, "forget", user_id, "--dpid", "58342")
    assert project.state() == before


def test_the_doctor_looks_at_the_executors(project: Workspace) -> None:
    found = {one["about"]: one for one in project.ok("doctor", "--json").json["findings"]}
    assert found["executors"]["verdict"] == "ok"
    assert found["executors"]["says"].startswith("of Spark 4.")
    assert project.spooled() == []


def test_no_java_no_server_no_session(project: Workspace, tmp_path: Path) -> None:
    away = {"AAM_SPARK_REMOTE": "sc://127.0.0.1:9"}
    assert "sc://127.0.0.1:9 does not answer" in project.refused(2, "status", extra=away)
    profiles = project.root / "profiles.yml"
    text = profiles.read_text()
    try:
        profiles.write_text(text.replace("method: session", "method: thrift"))
        assert "use method: session" in project.refused(2, "status")
        profiles.write_text(text.replace("spark.remote:", "spark.speculation: true #"))
        assert "spark.speculation is on" in project.refused(2, "status")
        profiles.write_text(text.replace("spark.remote:", "spark.app.name: x #"))
        no_java = {"PATH": str(tmp_path), "JAVA_HOME": ""}
        assert "Spark needs Java 17 or later" in project.refused(2, "status", extra=no_java)
    finally:
        profiles.write_text(text)


def kill_and_repair(project: Workspace, chance: random.Random) -> None:
    """`aam` is killed on its way to another output each time, which has nothing yet, and again as it repairs that."""
    for number in range(15):
        name = f"other_{number}"
        to_other = ("--to", name, "--select", "crm_traits,crm_id_sync", *NO_CHECK)
        root = project.root / name
        project.destination(name, type="directory", path=str(root), partner_name="demo_partner")
        place = Place({}, {}, *seen_in(root))
        project.build(destination=name)
        where = killed(project, chance.randint(1, 40), "deliver", *to_other, ends=(0,))
        again = killed(project, chance.randint(1, 20), "deliver", *to_other, ends=(0,))
        project.deliver(*to_other)
        other = OtherOutput(project.root, project.engine, project.environment, name)
        assert_nothing_lost(other, place, {"crm_traits": set(), "crm_id_sync": set()})
        assert project.deliver(*to_other) == [], (where, again)
        assert project.spooled() == []


@dataclass
class OtherOutput(SparkWorkspace):
    """The same project, of whose deliveries only those to this output count."""

    name: str = ""

    def sql(self, *statements: str) -> list[tuple[Any, ...]]:
        """As the one of a workspace."""
        to_other = [
            one.replace("destination = 'local'", f"destination = '{self.name}'")
            .replace(
                "where d.status = 'delivered'",
                f"where d.destination = '{self.name}' and d.status = 'delivered'",
            )
            .replace(
                "where status = 'delivered'", f"where destination = '{self.name}' and status = 'delivered'"
            )
            for one in statements
        ]
        return super().sql(*to_other)


def seen_in(root: Path) -> tuple[Any, Any, Any, Any]:
    files = lambda: [path for path in root.rglob("*") if path.is_file()]  # noqa: E731
    return (
        lambda: {
            path.relative_to(root).as_posix(): path.read_bytes() for path in files() if path.name[0] != "."
        },
        lambda: [path.name for path in files() if path.name[0] == "."],
        lambda: shutil.rmtree(root, ignore_errors=True),
        lines_in,
    )


def test_the_macros_give_the_known_values(tmp_path: Path, address: str) -> None:
    """Hashes, URLs, encodings and codes, by the tests that prove them elsewhere; soaked, all unit tests, too."""
    root = tmp_path / "project"
    copy_package_tests(root)
    profiles = yaml.safe_load((root / "profiles.yml").read_text())
    spark = yaml.safe_load((DEMO / "profiles.yml").read_text())["shop"]["outputs"]["spark"]
    profiles["package_tests"]["outputs"]["spark"] = spark
    (root / "profiles.yml").write_text(yaml.safe_dump(profiles))
    project = SparkWorkspace(root, "spark", {"AAM_SPARK_REMOTE": address, "AAM_SPARK_SCHEMA": "vectors"})
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "dbt.cli.main",
            "--quiet",
            *(["test", "--select", *VECTORS] if SOAK == 1 else ["build", "--vars", "{outbound: {}}"]),
        ],
        cwd=root,
        env=project.env(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
