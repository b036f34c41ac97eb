"""Mails of Audience Manager, read as they come and held against what was sent."""

import json
import mailbox
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
import sandboxes
from conftest import NO_CHECK, Stage, Workspace

from aam_onboard import receipts
from aam_onboard.api import Api
from aam_onboard.build import dbt_reporting
from aam_onboard.config import ApiSettings, load_project
from aam_onboard.relations import Relations

pytestmark = pytest.mark.one_engine

Prepare = Callable[[Stage], Workspace]
# Adobe's sample [inbound-receipt-message]: the counters do not add up
SAMPLE = """Hello partner 12345,

File name:
s3n://demo-bucket/2026-11-24/ftp_dpm_12345_1795597336.sync.gz
s3n://demo-bucket/2026-11-24/ftp_dpm_12345_1795597399.sync.2.gz

Records received: 40669900
Format Errors: 0
Invalid AAM ID: 112
No Matching AAM ID: 0
No Trait Realized: 26730823
Records processed: 40669900
Stored Records: 13938958
Total devices: 13938958
Total signals: 99
Total unused signals: 0
Total realized traits: 99
Total removed traits: 0
Total traits failed validation: 0
Total users that have traits which failed validation: 0
Job start time: 2026-11-24 23:10:10
Job end time: 2026-11-25 00:40:05
"""
HEADER = (
    "From: aam-noreply@adobe.com\nTo: somebody@example.com\n"
    "Subject: Adobe Audience Manager Server-To-Server Processing Result:\n"
)


def read(path: Path) -> list[receipts.Reading]:
    return list(receipts.read_all([str(path)]))


def as_html(text: str) -> str:
    lines = "".join(f"<tr><td>{line.replace('>', '&gt;')}</td></tr>" for line in text.splitlines())
    return HEADER + f"MIME-Version: 1.0\nContent-Type: text/html; charset=utf-8\n\n<table>{lines}</table>\n"


@pytest.mark.parametrize(
    "text",
    [
        SAMPLE,
        HEADER + "\n" + SAMPLE,
        as_html(SAMPLE),
        "\n\n".join([SAMPLE.split("\n\n")[2], *SAMPLE.split("\n\n")[:2]]),
        SAMPLE.replace("\n", "\r\n"),
        "\n".join(f"> {line}" for line in SAMPLE.splitlines()),
        SAMPLE.replace("40669900", "40,669,900").replace("Records received:", "records  received :"),
        SAMPLE.replace("File name:\ns3n", "File name: s3n"),
        SAMPLE.replace("Job start time: 2026-11-24 23:10:10", "Job start time: 2026-11-25 01:10:10+02:00"),
    ],
    ids=["text", "mail", "html", "counters first", "crlf", "quoted", "figures", "one line", "zone"],
)
def test_a_receipt_is_read_however_it_is_written(tmp_path: Path, text: str) -> None:
    (tmp_path / "mail").write_text(text, newline="")
    [reading] = read(tmp_path / "mail")
    assert reading.receipt, reading.problem
    assert reading.receipt.receipt_id == receipts.parse(SAMPLE).receipt_id
    assert reading.receipt.counters["total_users_failed_validation"] == 0
    assert str(reading.receipt.job_started_at) == "2026-11-24 23:10:10+00:00"
    assert reading.warnings == [
        f"{tmp_path / 'mail'}: Stored Records says 13,938,958, and the other counters add up to 13,938,965"
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "no receipt of Audience Manager: it has no line `File name:`"),
        (HEADER + "\nSee you at lunch: bring a file\n", "no receipt"),
        (SAMPLE.replace("Records received: 40669900\n", ""), "it has no line `Records received:`"),
        (SAMPLE.replace(": 112", ": many"), "`Invalid AAM ID: many` is no number"),
        (SAMPLE.replace("2026-11-24 23:10:10", "yesterday"), "`Job start time: yesterday` is no time"),
        (SAMPLE + SAMPLE.replace("112", "113"), "`Invalid AAM ID` stands in it twice"),
        ("\0\xff\x1b" * 50, "no receipt"),
    ],
)
def test_what_is_no_receipt_is_one_clear_line(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "mail").write_bytes(text.encode("latin-1"))
    [reading] = read(tmp_path / "mail")
    assert reading.receipt is None and problem in reading.problem and "\n" not in reading.problem


def test_mailboxes(tmp_path: Path) -> None:
    other = SAMPLE.replace("112", "113")
    box, folder = mailbox.mbox(tmp_path / "mbox"), mailbox.Maildir(tmp_path / "maildir")
    for text in (HEADER + "\n" + SAMPLE, HEADER + "\nhello\n", HEADER + "\n" + other):
        box.add(text)
        folder.add(text)
    box.close()
    for place in ("mbox", "maildir"):
        found = read(tmp_path / place)
        assert sorted(bool(reading.receipt) for reading in found) == [False, True, True]
        assert len({reading.where for reading in found}) == 3
    with pytest.raises(receipts.ConfigError, match="nowhere can't be read: No such file"):
        read(tmp_path / "nowhere")


def test_receipts_are_held_against_deliveries(workspace: Prepare) -> None:
    project = workspace("built")
    deliveries = project.deliver("-s", "ios_traits", "-s", "android_traits", *NO_CHECK)
    lines = sum(file["lines"] for one in deliveries for file in one["files"])
    names = "\n".join(f"s3n://b/2026-11-24/{file['name']}" for one in deliveries for file in one["files"])
    told = SAMPLE.replace(SAMPLE.split("\n\n")[1], f"File name:\n{names}")
    well = told.replace("40669900", str(lines)).replace("112", "0").replace("26730823", "0")
    well = well.replace("Stored Records: 13938958", f"Stored Records: {lines}")
    (project.root / "mail").mkdir()
    (project.root / "mail" / "well.eml").write_text(HEADER + "\n" + well)
    done = project.ok("receipts", "mail/well.eml")
    assert "1 of 1 are new" in done.out and "warning" not in done.err
    (project.root / "mail" / "sample.txt").write_text(SAMPLE)
    (project.root / "mail" / "other.txt").write_text("hello")
    done = project.ok("receipts", "mail", "--json")
    assert [one["is_new"] for one in done.json["receipts"]] == [True, False]
    assert "mail/other.txt: no receipt of Audience Manager" in done.err and "Stored Records says" in done.err
    assert project.aam("receipts", "mail/other.txt").code == 1
    assert project.sql("select count(*), count(raw), count(distinct receipt_id) from aam_state.receipts") == [
        (len(deliveries) + 2, 2, 2)
    ]
    project.sql("drop table aam_state.runs cascade")  # as an earlier version left the state
    with project.own_environment():
        dbt_reporting(load_project(project.root), project.engine, project.engine)
    assert project.sql("select our_lines, records_received from reporting.report_receipts order by 2") == [
        (lines, lines), (None, 40669900),
    ]  # fmt: skip
    assert project.sql("select kind, ours, theirs from reporting.receipt_differences order by kind") == [
        ("invalid_aam_id", 0, 112),
        ("stored_records", 13938965, 13938958),
        ("unknown_files", 0, 2),
    ]
    if project.engine == "duckdb":
        test = ["test", "--select", "warn_of_receipt_differences", "--profiles-dir", "."]
        warned = project.python(
            "-c", f"from dbt.cli.main import dbtRunner\nassert dbtRunner().invoke({test}).success"
        )
        assert "WARN=1 ERROR=0" in warned.out, warned.out + warned.err
    # and a build of the outbox drops none of the views
    project.build()
    names_of_views = project.sql(
        "select table_name from information_schema.tables where table_schema = 'reporting' order by 1"
    )
    assert len(names_of_views) >= 7
    assert project.sql("select count(*) from reporting.report_traits where users > 0") > [(0,)]


def test_what_the_sandbox_writes_is_read(tmp_path: Path) -> None:
    from test_sandbox_ingest import World

    world = World(tmp_path)
    jobs = [world.said("a\td_sid=24\nb\td_sid=24,d_sid=26\nc\n"), world.said("a\td_unsid=24\n")]
    found = [reading.receipt for reading in read(world.folder / "receipts")]
    assert len(found) == len(jobs)
    for receipt, job in zip(found, jobs, strict=True):
        assert receipt
        assert receipt.counters == {name: job[name] for name in receipt.counters}
        assert len(receipt.counters) >= 14
        assert [address.rpartition("/")[2] for address in receipt.files] == [
            one["name"] for one in job["files"]
        ]
        assert receipt.job_ended_at and receipt.job_ended_at.tzinfo


def test_a_file_told_of_by_mail_and_by_the_api_has_one_receipt(tmp_path: Path) -> None:
    from receiving.helpers import SCHEMA, make_warehouse, table_text
    from test_sandbox_ingest import CROSS, World

    world = World(tmp_path / "world")
    world.said("a\td_sid=24\nb\td_sid=24,d_sid=26\nc\n")
    world.said("a\td_unsid=24\n")
    mails = read(world.folder / "receipts")
    with sandboxes.serving(world.folder) as address, httpx.Client(timeout=30) as client:
        settings = ApiSettings(scope="all", base_url=f"{address}/v1", token_url=f"{address}/ims/token/v3")
        rows = Api(client, settings, "tests", "any").inbound_history(CROSS)
    told = list(receipts.read_history(CROSS, [{**row, "ofAnotherVersion": [1]} for row in rows]))
    for mail, one in zip(mails, told, strict=True):
        assert mail.receipt and one.receipt
        assert one.receipt.names == mail.receipt.names
        assert {name: one.receipt.counters[name] for name in mail.receipt.counters} == mail.receipt.counters
    (tmp_path / "dbt_project.yml").write_text("{name: shop, profile: shop}")
    places = Relations({"aam_onboard.receipts": (SCHEMA, "receipts")})
    project = load_project(tmp_path).model_copy(update={"relations": places})
    warehouse = make_warehouse("duckdb", tmp_path, None)
    try:
        warehouse.execute(table_text("receipts"))
        for readings, new in (([mails[0]], [1]), (told, [0, 1]), (mails, [0, 0]), (told, [0, 0])):
            assert [one.is_new for one in receipts.keep(warehouse, project, readings)] == new
        kept = warehouse.rows(f"select source, file_name, raw from {SCHEMA}.receipts order by job_ended_at")
    finally:
        warehouse.close()
    assert [row["source"] for row in kept] == ["mail", "api"]
    [row] = json.loads(kept[1]["raw"])  # as it came
    assert (row["dataFileName"], row["ofAnotherVersion"]) == (kept[1]["file_name"], [1])


def test_what_the_api_may_say_otherwise(caplog: pytest.LogCaptureFixture) -> None:
    file, ended = {"dataFileName": "s3n://b/2026/ftp_dpm_58342_1.sync"}, {"endTime": 1795608001000}
    found = receipts.read_history(
        58342,
        [
            {**file, **ended, "Records Received": "7", "total-signals": -1, "storedRecords": None},
            {**file, "startTime": 1795608000000, "recordsReceived": 7},
            {**ended, "recordsReceived": 7},
            {"jobId": 5, **file, **ended},
            {"jobId": 5, "dataFileName": "b", **ended},
        ],
    )
    first, running, nameless, two = found
    assert first.receipt and first.receipt.counters == {"records_received": 7}
    assert first.receipt.names == ["ftp_dpm_58342_1.sync"] and not first.warnings
    assert (running.problem, nameless.problem) == (
        "it has no endTime: the job has not ended",
        "it has no dataFileName",
    )
    assert two.receipt and two.receipt.names == ["b", "ftp_dpm_58342_1.sync"]
