"""The main job from end to end: first delivery, nothing, a difference, all again, another destination."""

import base64
import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import AWS, NO_CHECK, Bucket, Stage, Workspace, lines_of, process

from aam_onboard.filenames import InboundName, parse

FEEDS = ["crm_traits", "crm_profile", "ios_traits", "android_traits"]
ID_SYNCS = ["crm_id_sync", "mobile_id_sync", "hashed_email_sync"]
Prepare = Callable[[Stage], Workspace]


def path_of(file: dict[str, Any]) -> Path:
    return Path(file["uri"].removeprefix("file://"))


def lines_by_feed(deliveries: list[dict[str, Any]]) -> dict[str, list[str]]:
    """What was sent, sorted; proves what the report says of each file on the way."""
    sent: dict[str, list[str]] = {}
    for delivery in deliveries:
        assert set(delivery) >= {"delivery_id", "feed", "mode", "status", "destination", "files"}
        assert delivery["status"] == "delivered"
        assert delivery["files"]
        for file in delivery["files"]:
            assert set(file) >= {"name", "uri", "lines", "bytes", "sha256"}
            content = path_of(file).read_bytes()
            assert len(content) == file["bytes"]
            assert hashlib.sha256(content).hexdigest() == file["sha256"]
            lines = lines_of(path_of(file))
            assert len(lines) == file["lines"]
            sent.setdefault(delivery["feed"], []).extend(lines)
    return {feed: sorted(lines) for feed, lines in sent.items()}


def assert_held(workspace: Workspace, held: dict[str, set[tuple[str, ...]]]) -> None:
    """Audience Manager holds what the state says, and that is what the feeds say now."""
    state = workspace.state()
    assert held == state
    for feed in FEEDS:
        assert state[feed] == workspace.feed_rows(feed), feed


def users_of(rows: set[tuple[str, ...]]) -> dict[str, set[tuple[str, ...]]]:
    users: dict[str, set[tuple[str, ...]]] = {}
    for user_id, *signal in rows:
        users.setdefault(user_id, set()).add(tuple(signal))
    return users


def text_of(signal: tuple[str, ...], *, remove: bool = False) -> str:
    key, value = signal
    if key == "d_sid":
        return f"{'d_unsid' if remove else 'd_sid'}={value}"
    return f"ic={value}" if key == "ic" else f'"{key}"="{value}"'


def expected_line(mode: str, user_id: str, before: set[tuple[str, ...]], after: set[tuple[str, ...]]) -> str:
    if mode == "overwrite":
        signals = {text_of(signal) for signal in after}
    else:
        signals = {text_of(signal) for signal in after - before}
        signals |= {text_of(signal, remove=True) for signal in before - after}
    joined = ",".join(sorted(signals, key=str.encode))
    return f"{user_id}\t{joined}" if joined else user_id


def expected_lines(mode: str, before: set[tuple[str, ...]], after: set[tuple[str, ...]]) -> list[str]:
    """The lines of a feed whose rows were `before` and are `after`."""
    former, latter = users_of(before), users_of(after)
    return sorted(
        expected_line(mode, user, former.get(user, set()), latter.get(user, set()))
        for user in former.keys() | latter.keys()
        if former.get(user) != latter.get(user)
    )


def test_the_main_job(workspace: Prepare, engine: str, shared_folder: Path) -> None:
    project = workspace("seeded")
    sent: dict[str, dict[str, list[str]]] = {}
    held: dict[str, set[tuple[str, ...]]] = {}

    def receive(deliveries: list[dict[str, Any]]) -> dict[str, list[str]]:
        for delivery in deliveries:
            for file in delivery["files"]:
                process(held, file["name"], lines_of(path_of(file)))
        return lines_by_feed(deliveries)

    # --- the first run delivers everything, ID syncs before data -------------------------------------------
    first = project.run()
    assert [delivery["feed"] for delivery in first] == ID_SYNCS + FEEDS
    sent["first"] = receive(first)
    assert_held(project, held)
    for feed in FEEDS:
        mode = "overwrite" if feed == "crm_profile" else "sync"
        assert sent["first"][feed] == expected_lines(mode, set(), project.feed_rows(feed))
    for delivery in first:
        [file] = delivery["files"]
        name = parse(file["name"])
        assert name.timestamp == int(delivery["delivery_id"].rpartition("-")[2])
        if isinstance(name, InboundName):
            assert name.mode == delivery["mode"]
            columns = 2
        else:
            columns = len(name.dpids)
            assert all(len(line.split("\t")) == columns for line in lines_of(path_of(file)))
        assert all(line == line.strip(" \t") for line in lines_of(path_of(file)))
        assert re.fullmatch(r".*/out/demo_partner/date=\d{4}-\d\d-\d\d/[^/]+", file["uri"])
    assert project.spooled() == []
    if engine == "postgres":  # it knows enough of the tables not to compare each user with each
        plan = "explain select * from aam_state.delivered_signals where destination = 'local'"
        assert not any("Nested Loop Anti" in line for (line,) in project.sql(plan))

    # --- the second delivers nothing ------------------------------------------------------------------------
    files = project.out()
    assert project.run() == []
    assert project.out() == files
    plan = project.ok("plan", "--json").json["feeds"]
    assert [feed["feed"] for feed in plan] == ID_SYNCS + FEEDS
    for feed in plan:
        assert set(feed) >= {
            "feed", "mode", "batch_id", "users", "signals_added", "signals_removed", "signals_unchanged",
            "rejected", "guard",
        }  # fmt: skip
        assert (feed["users"], feed["signals_added"], feed["signals_removed"]) == (0, 0, 0)
        assert feed["signals_unchanged"] == len(held[feed["feed"]])
        assert feed["guard"] == "ok"
        in_warehouse = dict(
            project.sql(
                "select reason, count(*) from inbound.rejected_rows"
                f" where feed = '{feed['feed']}' group by reason"
            )
        )
        assert feed["rejected"] == in_warehouse

    # --- a changed tier, one more purchase, an opt-out, a new city, a new browser ---------------------------
    before = {feed: project.feed_rows(feed) for feed in FEEDS}
    project.sql(
        "update raw.crm_customers set loyalty_tier = 'gold' where customer_id = '00021'",
        "insert into raw.purchases values ('00018', date '1998-06-30', 1, 500)",
        "update raw.crm_customers set opted_out = true where customer_id = '00004'",
        "update raw.registrations set city = 'Wien, Österreich' where customer_id = '00018'",
        "insert into raw.web_id_captures values"
        " ('12345678901234567890123456789012345678', '00018', timestamp '1998-06-30 12:00:00')",
    )
    second = project.run()
    sent["change"] = receive(second)
    assert_held(project, held)
    for feed in FEEDS:
        mode = "overwrite" if feed == "crm_profile" else "sync"
        changed = expected_lines(mode, before[feed], project.feed_rows(feed))
        assert sent["change"].get(feed, []) == changed, feed
    assert [line.partition("\t")[0] for line in sent["change"]["crm_traits"]] == ["00004", "00018", "00021"]
    assert sent["change"]["crm_traits"][2] == "00021\td_sid=9180403,d_unsid=9180401"
    assert "d_sid=" not in sent["change"]["crm_traits"][0]
    assert sent["change"]["crm_profile"][0] == "00004"
    assert '"city"="Wien, Österreich"' in sent["change"]["crm_profile"][1]
    assert sent["change"]["crm_id_sync"] == ["12345678901234567890123456789012345678\t00018"]

    # --- everything again, as overwrite ------------------------------------------------------------------------
    full = project.run("--full")
    sent["full"] = receive(full)
    assert_held(project, held)
    assert [delivery["feed"] for delivery in full] == ID_SYNCS + FEEDS
    for feed in FEEDS:
        assert sent["full"][feed] == expected_lines("overwrite", set(), project.feed_rows(feed))
    assert all(".overwrite" in f["name"] for d in full for f in d["files"] if d["feed"] in FEEDS)

    # --- another destination has a state of its own ---------------------------------------------------------
    project.destination("elsewhere", type="directory", path="out2")
    elsewhere = project.run("--to", "elsewhere", "--select", "crm_traits", "-s", "crm_id_sync")
    assert [delivery["feed"] for delivery in elsewhere] == ["crm_id_sync", "crm_traits"]
    assert {delivery["destination"] for delivery in elsewhere} == {"elsewhere"}
    sent["elsewhere"] = lines_by_feed(elsewhere)
    assert sent["elsewhere"]["crm_traits"] == expected_lines("sync", set(), project.feed_rows("crm_traits"))
    assert_held(project, held)

    names = [path.name for path in [*project.out(), *(project.root / "out2").rglob("*.gz")]]
    assert len(names) == len(set(names)) == 7 + len(second) + 7 + 2
    shown = project.ok("status", "--json", "--limit", "100").json["deliveries"]
    assert len(shown) == 7 + len(second) + 7 + 2

    # --- the engines agree byte by byte; whoever comes second compares -------------------------------------
    rejected = project.sql(
        "select feed, reason, user_id, signal_key, signal_value from inbound.rejected_rows"
    )
    sent["rejected"] = {"all": sorted(map(repr, rejected))}
    (shared_folder / f"{engine}.tmp").write_text(json.dumps(sent))
    (shared_folder / f"{engine}.tmp").rename(shared_folder / f"{engine}.json")
    other = shared_folder / ("postgres.json" if engine == "duckdb" else "duckdb.json")
    if other.exists():
        assert json.loads(other.read_text()) == sent


@pytest.fixture
def shared_folder(tmp_path_factory: pytest.TempPathFactory, testrun_uid: str) -> Path:
    """A folder that all workers of this test run see."""
    folder = tmp_path_factory.getbasetemp().parent / f"lines-{testrun_uid}"
    folder.mkdir(exist_ok=True)
    return folder


# What the demo's bad customers, devices and captures are rejected for; (reason, rows).
REJECTED = {
    "crm_traits": {
        "colon_in_id": 2, "control_character_in_id": 1, "email_as_id": 2, "empty_id": 1, "ip_address_as_id": 2,
        "phone_number_as_id": 1, "space_around_id": 3, "url_encoded_id": 1,
    },
    "crm_id_sync": {
        "all_zero_id": 1, "empty_id": 1, "invalid_aam_id": 3, "space_around_id": 3, "url_encoded_id": 5,
    },
    "mobile_id_sync": {
        "all_zero_id": 2, "empty_id": 1, "invalid_device_id": 3, "space_around_id": 1, "too_many_user_ids": 2,
    },
    "hashed_email_sync": {"too_many_hashed_emails": 2},
}  # fmt: skip


def test_the_unit_tests_of_the_demo(workspace: Prepare) -> None:
    project = workspace("built")
    tests = [sys.executable, "-m", "dbt.cli.main", "--quiet", "test", "--select", "test_type:unit"]
    done = subprocess.run(
        tests, cwd=project.root, env=project.env(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_bad_ids_are_rejected_once_under_their_reason(workspace: Prepare) -> None:
    project = workspace("built")
    plan = {feed["feed"]: feed["rejected"] for feed in project.ok("plan", "--json").json["feeds"]}
    assert {feed: plan[feed] for feed in REJECTED} == REJECTED
    rows = project.sql(
        "select user_id, reason from inbound.rejected_rows where feed = 'crm_traits' and user_id is not null"
    )
    assert dict(rows) == {
        "anna.keller@example.com": "email_as_id",
        "ben.smith%40example.org": "email_as_id",
        "B00901 ": "space_around_id",
        " B00902": "space_around_id",
        "B00903\u00a0": "space_around_id",
        "B00904\tX": "control_character_in_id",
        "B:00905": "colon_in_id",
        "B%3A00906": "colon_in_id",
        "M%C3%BCller-907": "url_encoded_id",
        "+1 212 555 0147": "phone_number_as_id",
        "203.0.113.7": "ip_address_as_id",
        "2001:db8::7": "ip_address_as_id",
    }
    assert len(rows) == 12
    shown = project.ok("plan", "--rejected", "crm_traits").out
    assert "203.0.113.7" in shown and "the ID is an IP address" in shown


def test_two_deliveries_of_one_second_have_different_names(workspace: Prepare) -> None:
    """Though the clock stands still."""
    project = workspace("built")
    script = """
import sys, time
from pathlib import Path
from aam_onboard import state
from aam_onboard.delivery import deliver
from aam_onboard.export import file_root
from aam_onboard.run import find_place, located, opened
from aam_onboard.running import Options
time.time = lambda: 1_800_000_000.5
place = located(find_place(Path(), None, None))
with opened(place, Options(check=False)) as run:
    assert deliver(run, ["crm_traits"]).exit_code == 0
    [batch] = state.read_batches(run.warehouse, run.project, ["crm_traits"])
    for _ in range(3):
        state.begin(run.warehouse, run.project, batch, file_root(run, batch), place=run.place, forced=False)
    print(*[d.file_root for d in state.read_deliveries(run.warehouse, run.project)], sep="\\n")
"""
    done = project.python("-c", script)
    assert done.code == 0, done.err
    assert sorted(done.out.split()) == [f"ftp_dpm_58342_{1_800_000_000 + n}.sync" for n in range(4)]


def test_s3_gets_objects_keys_acl_and_checksums(workspace: Prepare, bucket: Bucket) -> None:
    project = workspace("built")
    project.destination(**bucket.settings | {"request_checksum_calculation": "when_supported"})
    deliveries = project.deliver(*NO_CHECK, extra=AWS)
    files = [file for delivery in deliveries for file in delivery["files"]]
    assert sorted(file["uri"] for file in files) == [f"s3://{bucket.name}/{key}" for key in bucket.stored()]
    held: dict[str, set[tuple[str, ...]]] = {}
    for file in files:
        key = file["uri"].removeprefix(f"s3://{bucket.name}/")
        assert re.fullmatch(r"demo_partner/date=\d{4}-\d\d-\d\d/" + re.escape(file["name"]), key)
        kept = bucket.client.head_object(Bucket=bucket.name, Key=key, ChecksumMode="ENABLED")
        assert kept["ContentLength"] == file["bytes"]
        assert base64.b64decode(kept["ChecksumSHA256"]).hex() == file["sha256"]
        process(held, file["name"], bucket.lines(key))
    assert_held(project, held)
    asked = [headers for headers in bucket.server.headers if "HTTP_X_AMZ_ACL" in headers]
    assert len(asked) >= len(files)
    assert {headers["HTTP_X_AMZ_ACL"] for headers in asked} == {"bucket-owner-full-control"}
    assert project.deliver(extra=AWS) == []


def test_a_select_delivers_that_feed_only(workspace: Prepare) -> None:
    project = workspace("built")
    [one] = project.deliver(*NO_CHECK, "--select", "ios_traits")
    assert one["feed"] == "ios_traits"
    assert set(project.state()) == {"ios_traits"}
    rest = project.deliver(*NO_CHECK)
    assert [delivery["feed"] for delivery in rest] == [
        *ID_SYNCS,
        "crm_traits",
        "crm_profile",
        "android_traits",
    ]
