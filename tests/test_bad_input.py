"""Bad input, a broken disk, a broken store: one clear line, the right exit code, nothing lost."""

import os
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import AWS, NO_CHECK, Bucket, Stage, Workspace, lines_of

pytestmark = pytest.mark.one_engine

Prepare = Callable[[Stage], Workspace]
FEEDS = ["crm_traits", "crm_profile", "ios_traits", "android_traits"]


def assert_untouched(project: Workspace) -> None:
    """Nothing is delivered, and nothing counts as delivered."""
    assert project.state() == {}
    assert project.out() == []


# --- usage and configuration ------------------------------------------------------------------------------------


def test_a_destination_takes_files_of_its_own_targets_only(duckdb_workspace: Prepare) -> None:
    """So that no developer's build reaches Audience Manager."""
    project = duckdb_workspace("built")
    project.destination(type="directory", path="out", targets=["prod", "nightly"])
    for command in (("run", "-q"), ("deliver",), ("deliver", "--abandon", "crm_traits-1")):
        line = project.refused(2, *command)
        assert "output `local` takes files of target prod or nightly only, and this is target duckdb" in line
        assert "--target prod" in line and "--to" in line and "`targets`" in line
    assert_untouched(project)
    project.ok("plan")
    assert "output `local`: key `targets`" in _with_targets(project, []).refused(2, "plan")
    [delivery] = _with_targets(project, ["prod", "duckdb"]).deliver("-s", "ios_traits", *NO_CHECK)
    assert delivery["status"] == "delivered"


def _with_targets(project: Workspace, targets: list[str]) -> Workspace:
    project.destination(type="directory", path="out", targets=targets)
    return project


@pytest.mark.parametrize("command", ["run", "plan", "deliver", "status"])
def test_an_unknown_feed(duckdb_workspace: Prepare, command: str) -> None:
    project = duckdb_workspace("seeded")
    message = project.refused(2, command, "--select", "crm_trait")
    assert "crm_trait: no such feed" in message
    for feed in FEEDS:
        assert feed in message


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--target", "snowflake"], ("profiles.yml", "snowflake", "duckdb, postgres")),
        (["--to", "adobe"], ("destinations.yml", "adobe", "local, production, beta")),
        (["--project-dir", "models"], ("dbt_project.yml is missing",)),
    ],
)
def test_an_unknown_place(duckdb_workspace: Prepare, arguments: list[str], named: tuple[str, ...]) -> None:
    message = duckdb_workspace("seeded").refused(2, "deliver", *arguments)
    for part in named:
        assert part in message


def test_a_configuration_mistake_stops_every_command(duckdb_workspace: Prepare) -> None:
    project = duckdb_workspace("seeded")
    project.vars(lambda v: v["feeds"]["ios_traits"].pop("target_dpid"))
    for command in ("run", "plan", "deliver", "status"):
        assert "vars.feeds.ios_traits: target_dpid is missing" in project.refused(2, command)


def test_a_model_without_a_required_column(workspace: Prepare) -> None:
    project = workspace("built")
    model = project.root / "models" / "feeds" / "ios_traits.sql"
    model.write_text(
        model.read_text().replace("devices.device_id as user_id", "devices.device_id as id_of_user")
    )
    message = project.refused(2, "run", "-q")
    assert "model ios_traits has no column user_id" in message
    assert "id_of_user, signal_key, signal_value" in message
    assert "; " not in message.split("its last select")[1]  # nothing else trips over it
    # a model that does not compile at all
    model.write_text("select {{ nonsense( }}")
    message = project.refused(2, "run", "-q")
    assert "ios_traits" in message
    assert_untouched(project)


def test_a_failing_data_test_stops_the_delivery(duckdb_workspace: Prepare) -> None:
    """The taxonomy has a trait twice: dbt's test says so, and nothing leaves."""
    project = duckdb_workspace("built")
    traits = project.root / "seeds" / "traits.csv"
    traits.write_text(traits.read_text() + traits.read_text().splitlines()[1] + "\n")
    message = project.refused(1, "run", "-q")
    assert "dbt build failed, so nothing is delivered" in message and "unique_traits_trait_id" in message
    assert_untouched(project)


def test_nothing_is_built_yet(workspace: Prepare) -> None:
    project = workspace("seeded")
    for command in ("plan", "deliver", "status"):
        message = project.refused(2, command)
        assert "nothing has been built" in message and "aam run" in message and "dbt build" in message


def test_no_warehouse_file(duckdb_workspace: Prepare) -> None:
    project = duckdb_workspace("seeded")
    (project.root / "warehouse.duckdb").unlink()
    for command in ("plan", "deliver", "status"):
        message = project.refused(2, command)
        assert "warehouse.duckdb is not there" in message and "aam run" in message
    (project.root / "warehouse.duckdb").write_bytes(b"this is no database" * 1000)
    assert "warehouse.duckdb cannot be opened" in project.refused(2, "plan")
    message = project.refused(2, "run", extra={"AAM_DUCKDB_PATH": "no/such/folder/w.duckdb"})
    assert "no/such/folder/w.duckdb" in message


def test_the_warehouse_file_is_locked(duckdb_workspace: Prepare) -> None:
    import duckdb

    project = duckdb_workspace("built")
    with duckdb.connect(project.root / "warehouse.duckdb"):
        for command in ("plan", "deliver", "status", "run"):
            message = project.refused(4, command)
            assert "warehouse.duckdb is in use by another process" in message
            # who has it, not the run that wants it or a run of the past
            assert f", process {os.getpid()}); wait for it, or close it" in message, message
    assert_untouched(project)


def test_postgres_that_does_not_answer_or_refuses(postgres_workspace: Prepare, tmp_path: Path) -> None:
    project = postgres_workspace("built")
    for extra, named in (
        ({"AAM_PG_HOST": str(tmp_path)}, ("connection", str(tmp_path))),
        ({"AAM_PG_USER": "nobody_we_know"}, ("FATAL", "nobody_we_know")),
        ({"AAM_PG_DATABASE": "no_such_database"}, ("FATAL", "no_such_database")),
    ):
        for command in ("plan", "deliver", "run"):
            message = project.refused(2, command, extra={**extra, "AAM_PG_PASSWORD": "s3cr3t-word"})
            assert "profiles.yml" in message and "s3cr3t-word" not in message
            for part in named:
                assert part in message, message


def test_another_project_folder(duckdb_workspace: Prepare, tmp_path: Path) -> None:
    """From elsewhere, relative paths begin in the project: the warehouse, the spool, the destination."""
    project = duckdb_workspace("built")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    process = subprocess.run(
        [shutil.which("aam", path=str(Path(__import__("sys").executable).parent)) or "aam", "run", "-q",
         "--project-dir", "../project", *NO_CHECK, "--select", "ios_traits"],
        cwd=elsewhere, env=project.env(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    assert [path for path in elsewhere.rglob("*") if path.is_file()] == []
    assert len(project.out()) == 1
    assert set(project.state()) == {"ios_traits"}


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--vars", "[1]"], "--vars [1]"),
        (["--vars", "{a: b: c}"], "--vars {a: b: c}"),
        (["--vars", "destination: beta"], "say it by --to NAME"),
        (["--vars", "full: true"], "say it by --full"),
        (["--vars", "keep_days: -1"], "--vars: keep_days"),
    ],
)
def test_vars_that_are_none(duckdb_workspace: Prepare, arguments: list[str], named: str) -> None:
    assert named in duckdb_workspace("seeded").refused(2, "run", *arguments)


# --- the store ------------------------------------------------------------------------------------------------------


def denied(code: str) -> Callable[[dict[str, Any]], tuple[int, str]]:
    return lambda environ: (403, code)


def dies_at_the_second_file() -> Callable[[dict[str, Any]], str | None]:
    puts: list[str] = []

    def fault(environ: dict[str, Any]) -> str | None:
        if environ["REQUEST_METHOD"] == "PUT":
            puts.append(environ["PATH_INFO"])
        return "reset" if len(puts) >= 2 else None

    return fault


@pytest.mark.parametrize(
    ("fault", "named"),
    [
        (denied("InvalidAccessKeyId"), "AWS_ACCESS_KEY_ID"),
        (denied("SignatureDoesNotMatch"), "AWS_ACCESS_KEY_ID"),
        (denied("ExpiredToken"), "expired"),
        (denied("AccessDenied"), "access denied"),
        (lambda environ: 500, "the store answers"),
        (dies_at_the_second_file(), "broke"),
        (lambda environ: 503 if environ["REQUEST_METHOD"] == "PUT" else None, "SlowDown"),
    ],
    ids=["wrong key", "wrong secret", "expired", "denied", "500", "dies mid-upload", "slow down"],
)
def test_a_store_that_fails(workspace: Prepare, bucket: Bucket, fault: Any, named: str) -> None:
    project = workspace("built")
    project.destination(**bucket.settings)
    # denied lists are passed over when the bucket is looked at: there may be a right to write alone
    bucket.server.fault = fault
    select = ("--select", "ios_traits,android_traits", *NO_CHECK)
    done = project.aam("deliver", *select, extra=AWS)
    assert done.code == 1, done.err
    assert 1 <= len(done.complaints) <= 2
    assert any(named in line for line in done.complaints), done.err
    bucket.server.fault = None
    delivered = {
        feed for (feed,) in project.sql("select feed from aam_state.deliveries where status = 'delivered'")
    }
    assert set(project.state()) == delivered != {"ios_traits", "android_traits"}
    project.deliver(*select, extra=AWS)
    assert set(project.state()) == {"ios_traits", "android_traits"}
    [names] = [[key.rpartition("/")[2] for key in bucket.stored()]]
    assert len(names) == 2 and names[0].startswith("ftp_dpm_20914") and names[1].startswith("ftp_dpm_20915")


def test_no_credentials_and_no_bucket(duckdb_workspace: Prepare, bucket: Bucket) -> None:
    project = duckdb_workspace("built")
    project.destination(**bucket.settings)
    message = project.refused(2, "deliver")
    assert "local" in message and "AWS_ACCESS_KEY_ID" in message
    project.destination(**{**bucket.settings, "bucket": "no-such-bucket"})
    message = project.refused(1, "deliver", extra=AWS)
    assert "s3://no-such-bucket" in message and "no such bucket" in message
    # told before dbt builds anything
    (project.root / "models" / "feeds" / "ios_traits.sql").write_text("select {{ nonsense( }}")
    assert "no such bucket" in project.refused(1, "run", extra=AWS)
    assert_untouched(project)


# --- the disk ---------------------------------------------------------------------------------------------------------


def files_of_two_kilobytes() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (2048, 2048))


def test_a_spool_that_cannot_grow(postgres_workspace: Prepare) -> None:
    project = postgres_workspace("built")
    message = project.refused(1, "deliver", "--select", "crm_traits", preexec_fn=files_of_two_kilobytes)
    assert "crm_traits" in message and "spool" in message and "ulimit" in message
    assert_untouched(project)
    assert project.spooled() == []
    [delivery] = project.deliver("--select", "crm_traits", *NO_CHECK)
    assert delivery["status"] == "delivered"
    assert len(project.out()) == 1


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("this user may not mount a disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk(workspace: Prepare, tiny_disk: Path) -> None:
    """Under the spool: what was written goes. At the destination: the spool keeps it for the next run."""
    project = workspace("built")
    project.vars(lambda v: v.update(spool_dir=str(tiny_disk / "spool")))
    message = project.refused(1, "deliver", "--select", "crm_profile", *NO_CHECK)
    assert "crm_profile" in message and "No space left" in message and str(tiny_disk) in message
    assert [path for path in tiny_disk.rglob("*") if path.is_file()] == []
    assert_untouched(project)
    project.vars(lambda v: v.pop("spool_dir"))

    project.destination(type="directory", path=str(tiny_disk / "inbound"))
    message = project.refused(1, "deliver", "--select", "crm_profile", *NO_CHECK)
    assert "make room" in message
    assert [path for path in tiny_disk.rglob("*") if path.is_file()] == []
    assert project.state() == {}
    [spooled] = project.spooled()
    project.destination(type="directory", path="out")
    [delivery] = project.deliver("--select", "crm_profile", *NO_CHECK)
    assert [file["name"] for file in delivery["files"]] == [spooled.name]
    assert len(lines_of(project.out()[0])) == delivery["files"][0]["lines"]


def test_an_unwritable_destination(duckdb_workspace: Prepare) -> None:
    project = duckdb_workspace("built")
    (project.root / "a_file").touch()
    project.destination(type="directory", path="a_file/out")
    message = project.refused(1, "deliver")
    assert "a_file/out" in message and "destinations.yml" in message
    assert_untouched(project)


def test_a_refused_line_is_named_but_not_shown(workspace: Prepare) -> None:
    """What a delivery says is written down for good; a person's data is shown to who asks for it."""
    project = workspace("built")
    rule = {
        "reason": "not_ours",
        "field": "user_id",
        "kinds": ["dpuuid"],
        "contains": "^0002",
        "says": "not ours",
    }
    project.vars(lambda v: v["rules"].append(rule))
    done = project.aam("deliver", "--select", "crm_traits", "--check")
    assert done.code == 1
    [line] = done.complaints
    assert re.search(
        r"Audience Manager would refuse it: line \d+: not_ours \(not ours\); mend the rows", line
    ), line
    [(reason,)] = project.sql("select reason from aam_state.deliveries where status = 'failed'")
    details = project.sql("select detail from aam_state.delivery_events")
    for said in (done.err, done.out, reason, str(details), project.ok("status", "--json").out):
        assert "d_sid" not in said and not re.search(r"\b0002\d", said), said
    assert project.out() == []


def test_encrypted_files_have_a_least_size(duckdb_workspace: Prepare) -> None:
    """Or each user might get a file, and each file a gpg."""
    project = duckdb_workspace("seeded")
    project.destination(type="directory", path="out", encrypt={"recipient": "Adobe", "key_file": "adobe.asc"})
    project.vars(lambda v: v["limits"].update(split_bytes=999_999))
    for command in ("run", "deliver", "plan"):
        line = project.refused(2, command)
        assert "vars.limits.split_bytes: 999,999 is too little for destination local" in line
        assert "1,000,000 or more" in line


@pytest.mark.parametrize("command", [["--help"], ["check", "--help"]])
def test_output_that_nobody_takes(command: list[str]) -> None:
    """A full disk is one line; a reader who has seen enough, as `head` has, is none."""
    aam = [sys.executable, "-c", "from aam_onboard.cli import program\nprogram()", *command]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(aam, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "aam: standard output can't be written: No space left on device\n"
    for_nobody, to = os.pipe()
    os.close(for_nobody)
    with os.fdopen(to, "w") as pipe:
        done = subprocess.run(aam, stdout=pipe, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "")
    # closed from the start, as a daemon may have them
    for closed in (">&-", "2>&-"):
        done = subprocess.run(
            ["sh", "-c", f'"$@" {closed}', "sh", *aam], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
