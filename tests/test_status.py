"""What `aam status` tells: each delivery's story, and whether its files were picked up."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import AWS, NO_CHECK, Bucket, Stage, Workspace
from servers import ftp_server

pytestmark = pytest.mark.one_engine

Prepare = Callable[[Stage], Workspace]


def test_a_story_a_delivery(duckdb_workspace: Prepare) -> None:
    project = duckdb_workspace("delivered")
    shown = project.ok("status", "--json").json["deliveries"]
    assert len(shown) == 7
    for delivery in shown:
        assert delivery["status"] == "delivered"
        assert delivery["destination"] == "local"
        assert delivery["users"] > 0 and delivery["signals_added"] > 0 and delivery["signals_removed"] == 0
        for file in delivery["files"]:
            assert file["status"] == "uploaded"
            assert file["uploaded_at"] and file["picked_up_at"] is None
            assert len(file["sha256"]) == 64
    # the latest first
    assert shown[0]["feed"] == "android_traits" and shown[-1]["feed"] == "crm_id_sync"
    text = project.ok("status").out
    for delivery in shown:
        assert delivery["delivery_id"] in text
        assert delivery["files"][0]["name"] in text
    assert len(project.ok("status", "--json", "--limit", "2").json["deliveries"]) == 2
    [one] = project.ok("status", "--json", "--select", "ios_traits", "--limit", "1").json["deliveries"]
    assert one["feed"] == "ios_traits"
    assert project.ok("status", "--json", "--to", "production").json == {"deliveries": []}
    assert "No delivery yet" in project.ok("status", "--to", "production").out
    # the summary is a table too: every step with its time, lines, bytes and seconds
    events = project.sql(
        "select event, count(*), sum(lines), count(bytes), count(seconds) from aam_state.delivery_events"
        " group by event order by event"
    )
    assert [event for event, *_ in events] == ["delivered", "exporting", "made", "uploaded", "uploading"]
    assert all(count == 7 for _, count, *_ in events)
    by_event = {event: row for event, *row in events}
    assert (
        by_event["delivered"][1]
        == by_event["uploaded"][1]
        == sum(f["lines"] for d in shown for f in d["files"])
    )
    assert by_event["uploaded"][2] == by_event["uploaded"][3] == 7


def test_a_failure_is_told_with_its_reason(duckdb_workspace: Prepare, bucket: Bucket) -> None:
    project = duckdb_workspace("built")
    project.destination(**bucket.settings)
    bucket.server.fault = lambda environ: 503 if environ["REQUEST_METHOD"] == "PUT" else None
    done = project.aam("deliver", "--select", "ios_traits", *NO_CHECK, "--log-format", "json", extra=AWS)
    assert done.code == 1
    last = json.loads(done.err.splitlines()[-1])
    assert last["level"] == "error" and "SlowDown" in last["message"]
    [failed] = project.ok("status", "--json").json["deliveries"]
    assert failed["status"] == "failed" and "SlowDown" in failed["reason"]
    assert failed["files"][0]["status"] == "uploading"
    text = project.ok("status").out
    assert "failed" in text and "SlowDown" in text
    bucket.server.fault = None
    [delivery] = project.deliver("--select", "ios_traits", *NO_CHECK, extra=AWS)
    assert delivery["delivery_id"] == failed["delivery_id"]
    [now] = project.ok("status", "--json").json["deliveries"]
    assert (now["status"], now["reason"]) == ("delivered", None)


def test_refresh_sees_what_was_picked_up_and_warns_of_what_was_not(
    workspace: Prepare, bucket: Bucket
) -> None:
    project = workspace("built")
    project.destination(**bucket.settings)
    [ios, android] = project.deliver("-s", "ios_traits", "-s", "android_traits", *NO_CHECK, extra=AWS)
    key = next(key for key in bucket.stored() if ios["files"][0]["name"] in key)
    bucket.client.copy_object(
        Bucket=bucket.name,
        Key=key.replace(".sync", ".processed"),
        CopySource={"Bucket": bucket.name, "Key": key},
    )
    bucket.client.delete_object(Bucket=bucket.name, Key=key)
    quiet = project.ok("status", "--refresh", "--json", extra=AWS)
    assert "warning" not in quiet.err
    shown = {delivery["feed"]: delivery["files"][0] for delivery in quiet.json["deliveries"]}
    assert shown["ios_traits"]["picked_up_at"] and not shown["android_traits"]["picked_up_at"]
    assert "picked up 2" in project.ok("status").out
    # older than the setting
    project.vars(lambda v: v.update(not_picked_up_hours=0))
    loud = project.ok("status", "--refresh", extra=AWS)
    [warning] = [line for line in loud.err.splitlines() if "warning" in line]
    assert android["files"][0]["name"] in warning and "not picked up" in warning
    # later than Audience Manager keeps files, nobody can tell any more
    project.sql("update aam_state.delivery_files set uploaded_at = uploaded_at - interval '31 days'")
    assert "warning" not in project.ok("status", "--refresh", extra=AWS).err


def test_refresh_looks_where_a_flat_layout_puts_files(duckdb_workspace: Prepare, tmp_path: Path) -> None:
    project = duckdb_workspace("built")
    with ftp_server(tmp_path / "ftp") as server:
        project.destination(
            type="ftp", host="127.0.0.1", port=server.port, user="loader", password_env="FTP_PASSWORD", tls=False,
            layout="flat",
        )  # fmt: skip
        project.environment["FTP_PASSWORD"] = "s3cret-word"
        [delivery] = project.deliver("-s", "ios_traits", *NO_CHECK)
        [file] = delivery["files"]
        [found] = server.root.iterdir()
        assert file["name"] == found.name and file["uri"] == f"ftp://127.0.0.1:{server.port}/{found.name}"
        found.rename(found.with_name(found.name.replace(".sync", ".processed")))
        [shown] = project.ok("status", "--refresh", "--json", "-s", "ios_traits").json["deliveries"]
        assert shown["files"][0]["picked_up_at"]


def test_refresh_says_when_the_destination_cannot_be_listed(
    duckdb_workspace: Prepare, bucket: Bucket
) -> None:
    project = duckdb_workspace("built")
    project.destination(**bucket.settings)
    project.deliver("-s", "ios_traits", *NO_CHECK, extra=AWS)
    bucket.server.fault = lambda environ: 403 if environ["REQUEST_METHOD"] == "GET" else None
    assert "access denied" in project.refused(1, "status", "--refresh", extra=AWS)


def test_a_directory_is_picked_up_by_nobody(duckdb_workspace: Prepare) -> None:
    project = duckdb_workspace("delivered")
    project.vars(lambda v: v.update(not_picked_up_hours=0))
    assert "warning" not in project.ok("status", "--refresh").err


def test_files_of_the_spool_are_private_and_kept_as_long_as_asked(duckdb_workspace: Prepare) -> None:
    project = duckdb_workspace("built")
    project.vars(lambda v: v.update(keep_days=1))
    project.deliver("-s", "ios_traits", *NO_CHECK)
    [kept] = project.spooled()
    assert kept.stat().st_mode & 0o777 == 0o600
    folder = kept.parent
    while folder != project.root / ".aam":  # which also holds what others may read, such as the dbt package
        assert folder.stat().st_mode & 0o777 == 0o700, folder
        folder = folder.parent
    project.deliver("-s", "android_traits", *NO_CHECK)
    assert len(project.spooled()) == 2
    project.sql("update aam_state.deliveries set changed_at = changed_at - interval '2 days'")
    project.deliver()
    assert len(project.spooled()) == 5
