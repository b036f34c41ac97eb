"""What must not leave unasked: a runaway removal, an emptied source, a contradiction to a file not yet picked up."""

import dataclasses
import re
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import pytest
from conftest import AWS, DEMO, NO_CHECK, Bucket, Stage, Workspace

from aam_onboard.config import Guards, load_project
from aam_onboard.filenames import picked_up_names
from aam_onboard.guards import guard_verdict
from aam_onboard.state import Batch

pytestmark = pytest.mark.one_engine

Prepare = Callable[[Stage], Workspace]
FEEDS = ["crm_traits", "crm_profile", "ios_traits", "android_traits"]

# A delivery of 1,000 users' 4,000 signals that changes nothing.
BATCH = Batch(
    batch_id="b",
    feed="crm_traits",
    kind="data",
    mode="sync",
    dpids="58342",
    destination="local",
    is_full=False,
    base_delivery_id="d",
    users_before=1000,
    users_total=1000,
    users=0,
    lines=0,
    signals_added=0,
    signals_removed=0,
    signals_unchanged=4000,
    signals_before=4000,
    input_rows=4000,
    rejected=0,
    built_at=datetime.now(timezone.utc),
)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, None),
        ({"signals_removed": 800}, None),  # exactly the limit
        ({"signals_removed": 801}, "801 of 4,000 signals removed (20%), more than max_removed 20%"),
        ({"users_total": 800}, None),
        ({"users_total": 799}, "201 of 1,000 users lost (20%), more than max_shrink 20%"),
        ({"users_total": 1500}, None),
        ({"rejected": 800}, None),
        ({"rejected": 801}, "801 of 4,000 rows rejected (20%), more than max_rejected 20%"),
        ({"users_total": 0, "users_before": 5}, "came up empty"),
        ({"base_delivery_id": None, "users": 50_000_000}, None),
        ({"base_delivery_id": None, "users": 50_000_001}, "first delivery of 50,000,001 users"),
        ({"users": 60_000_000}, None),  # not the first
        ({"signals_before": 0, "signals_removed": 3, "users_before": 0, "users_total": 0}, None),
        ({"kind": "id_sync", "feed": "crm_id_sync", "users_total": 0}, None),  # pairs are never withdrawn
        ({"kind": "id_sync", "feed": "crm_id_sync", "rejected": 4000}, "max_rejected"),
    ],
)
def test_each_guard_at_its_limit(changes: dict[str, Any], said: str | None) -> None:
    verdict = guard_verdict(load_project(DEMO), dataclasses.replace(BATCH, **changes))
    if said is None:
        assert verdict == []
    else:
        assert any(said in line for line in verdict), verdict


def test_nothing_allows_an_emptied_feed() -> None:
    """Not even shares of 1: an upstream table that came up empty must never erase an audience."""
    project = load_project(DEMO)
    lenient = Guards(max_removed=1, max_shrink=1, max_rejected=1)
    feeds = {name: feed.model_copy(update={"guard": lenient}) for name, feed in project.vars.feeds.items()}
    project = project.model_copy(update={"vars": project.vars.model_copy(update={"feeds": feeds})})
    emptied = dataclasses.replace(BATCH, users_total=0, signals_removed=4000)
    [line] = guard_verdict(project, emptied)
    assert "came up empty: all 1,000 users" in line
    assert guard_verdict(project, dataclasses.replace(emptied, users_total=1)) == []


def test_an_emptied_source_is_stopped(workspace: Prepare) -> None:
    project = workspace("delivered")
    before, files = project.state(), project.out()
    project.sql("delete from raw.crm_customers")
    done = project.aam("run", "-q", "--json", "--select", ",".join(FEEDS), *NO_CHECK)
    assert done.code == 3
    assert done.json == {"deliveries": []}
    assert len(done.complaints) == len(FEEDS)
    for feed, line in zip(FEEDS, done.complaints, strict=True):
        assert line.startswith(f"aam: feed {feed}: the feed came up empty")
        assert "signals removed (100%), more than max_removed 20%" in line
        assert f"--force-feed {feed}" in line
    assert project.state() == before
    assert project.out() == files
    plan = {feed["feed"]: feed for feed in project.ok("plan", "--json").json["feeds"]}
    assert "came up empty" in plan["crm_traits"]["guard"]
    assert plan["crm_traits"]["signals_removed"] == len(before["crm_traits"])
    assert plan["crm_id_sync"]["guard"] == "ok"

    # one feed by name, and that is written down
    select = ("--select", ",".join(FEEDS), *NO_CHECK)
    forced = project.aam("deliver", "--json", *select, "--force-feed", "ios_traits")
    assert forced.code == 3
    assert [delivery["feed"] for delivery in forced.json["deliveries"]] == ["ios_traits"]
    assert "--force-feed" not in "".join(line for line in forced.complaints if "ios_traits" in line)
    assert project.sql("select feed from aam_state.deliveries where forced") == [("ios_traits",)]
    # the latest of each feed
    shown = {d["feed"]: d for d in reversed(project.ok("status", "--json").json["deliveries"])}
    assert shown["ios_traits"]["forced"] and not shown["crm_traits"]["forced"]
    assert "forced past a guard" in project.ok("status").out
    assert "crm_trait: no such feed" in project.refused(2, "deliver", "--force-feed", "crm_trait")
    # all of them
    assert len(project.deliver(*select, "--force")) == 3
    assert set(project.state()) == {"crm_id_sync", "mobile_id_sync", "hashed_email_sync"}


def test_a_first_delivery_too_large_is_stopped(workspace: Prepare) -> None:
    project = workspace("built")
    project.vars(lambda v: v["feeds"]["ios_traits"].update(guard={"max_first": 100}))
    line = project.refused(3, "deliver", "--select", "ios_traits")
    assert "first delivery of 290 users, more than max_first 100" in line
    assert project.out() == []
    # the others go
    done = project.aam("deliver", "--json", *NO_CHECK)
    assert done.code == 3
    assert len(done.json["deliveries"]) == 6


def put_processed(bucket: Bucket, project: Workspace, way: int) -> None:
    """As if Audience Manager had picked up what was delivered before the build, in one of its ways."""
    for (key,) in project.sql(
        "select f.object_key from aam_state.delivery_files f"
        " inner join aam_state.deliveries d on d.delivery_id = f.delivery_id where d.status = 'delivered'"
    ):
        folder, _, name = key.rpartition("/")
        bucket.client.put_object(
            Bucket=bucket.name, Key=f"{folder}/{picked_up_names(name)[way]}", Body=b"picked up"
        )


def delivered_to(bucket: Bucket, workspace: Prepare) -> Workspace:
    """Changes built upon a delivery to the bucket, which nobody has read yet."""
    project = workspace("changed")
    for file in project.out():
        key = file.relative_to(project.root / "out").as_posix()
        bucket.client.put_object(Bucket=bucket.name, Key=key, Body=file.read_bytes())
    project.destination(**bucket.settings)
    return project


@pytest.mark.parametrize("way", [0, -1], ids=["in place", "beside"])
def test_a_contradiction_to_a_waiting_file_is_held(workspace: Prepare, bucket: Bucket, way: int) -> None:
    project = delivered_to(bucket, workspace)
    project.vars(lambda v: v.update(on_unprocessed="hold"))
    [(waiting,)] = project.sql(
        "select name from aam_state.delivery_files f inner join aam_state.deliveries d"
        " on d.delivery_id = f.delivery_id where d.feed = 'crm_traits'"
    )
    there = bucket.stored()
    done = project.aam("deliver", "--json", "--select", "crm_traits", extra=AWS)
    assert done.code == 3
    [line] = done.complaints
    assert f"{waiting} is not picked up yet" in line and "--force-feed crm_traits" in line
    [(users,)] = project.sql(
        "select count(distinct user_id) from aam_state.signal_ledger"
        " where feed = 'crm_traits' and not qualified and batch_id in (select batch_id from inbound.batches)"
    )
    assert f"for {users:,} users" in line
    assert bucket.stored() == there
    # ID pairs contradict nothing
    project.deliver("--select", "crm_id_sync", *NO_CHECK, extra=AWS)
    put_processed(bucket, project, way)
    [delivery] = project.deliver("--select", "crm_traits", *NO_CHECK, extra=AWS)
    assert delivery["status"] == "delivered"
    assert project.sql(
        "select forced from aam_state.deliveries where feed = 'crm_traits' order by started_at"
    ) == [
        (False,),
        (False,),
    ]


def test_what_is_gone_waits_for_nobody(workspace: Prepare, bucket: Bucket) -> None:
    """Files live 30 days in Audience Manager's bucket, and as long as they are not read on its FTP server."""
    project = delivered_to(bucket, workspace)
    project.vars(lambda v: v.update(on_unprocessed="hold", not_picked_up_hours=0))
    [key] = [key for key in bucket.stored() if "/ftp_dpm_58342_1" in key]
    gone = key.rpartition("/")[2]
    bucket.client.delete_object(Bucket=bucket.name, Key=key)
    assert "crm_profile" in project.refused(3, "deliver", "--select", "crm_profile", extra=AWS)
    done = project.ok("deliver", "--json", "--select", "crm_traits", *NO_CHECK, extra=AWS)
    assert [delivery["status"] for delivery in done.json["deliveries"]] == ["delivered"]
    assert "not picked up" not in done.err
    late = project.ok("status", "--refresh", extra=AWS).err
    assert gone not in late and "ftp_dpm_20915_58342_1" in late


def test_a_hold_can_be_forced_and_that_is_recorded(workspace: Prepare, bucket: Bucket) -> None:
    project = delivered_to(bucket, workspace)
    project.vars(lambda v: v.update(on_unprocessed="hold"))
    project.deliver("--select", "crm_profile", "--force-feed", "crm_profile", *NO_CHECK, extra=AWS)
    assert project.sql("select feed from aam_state.deliveries where forced") == [("crm_profile",)]


def test_a_warning_is_enough_where_the_project_says_so(workspace: Prepare, bucket: Bucket) -> None:
    project = delivered_to(bucket, workspace)
    done = project.ok("deliver", "--json", "--select", "crm_traits", *NO_CHECK, extra=AWS)
    assert "warning: feed crm_traits:" in done.err and "is not picked up yet" in done.err
    assert len(done.json["deliveries"]) == 1
    assert project.sql("select 1 from aam_state.deliveries where forced") == []


def write_only() -> Callable[[dict[str, Any]], int | None]:
    """Credentials as Audience Manager's bucket may give: no list, and so no HEAD of what is not there."""
    there: set[str] = set()

    def fault(environ: dict[str, Any]) -> int | None:
        method, key = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        if method == "PUT":
            there.add(key)
        return 403 if method == "GET" or (method == "HEAD" and key not in there) else None

    return fault


def test_write_only_credentials_are_enough(workspace: Prepare, bucket: Bucket) -> None:
    """Whether a file waits can't be known then, and nothing is held for it; also what failed is finished."""
    project = workspace("changed")
    project.destination(**bucket.settings)
    project.vars(lambda v: v.update(on_unprocessed="hold"))
    fault = bucket.server.fault = write_only()
    done = project.ok("deliver", "--json", "--select", "crm_traits", *NO_CHECK, extra=AWS)
    assert "can't be known" in done.err
    assert len(done.json["deliveries"]) == 1
    bucket.server.fault = lambda environ: 500 if environ["REQUEST_METHOD"] == "PUT" else fault(environ)
    project.refused(1, "deliver", "--select", "ios_traits", "--force", *NO_CHECK, extra=AWS)
    bucket.server.fault = fault
    [delivery] = project.deliver("--select", "ios_traits", *NO_CHECK, extra=AWS)
    assert delivery["status"] == "delivered"
    bucket.server.fault = None
    assert len(bucket.stored()) == 2


def kept_back(feed: str, line: str, reason: str) -> None:
    """The complaint leads with the commonest reason and what it means."""
    rows = (
        re.escape(feed)
        + r": ([\d,]+) of \1 rows rejected \(100%\), more than max_rejected 20%, [\d,]+ of them as "
    )
    assert re.match(f"aam: feed {rows}{reason} \\(", line), line
    assert f"--force-feed {feed}" in line


def test_a_feed_whose_rows_are_all_kept_back_is_stopped(workspace: Prepare) -> None:
    """Also at first, when there is no line to ask the guards about; that is not the same as nothing new."""
    project = workspace("seeded")
    taxonomy = project.root / "seeds" / "traits.csv"
    taxonomy.write_text(taxonomy.read_text().replace(",58342,", ",58344,"))
    project.sql(
        "update raw.web_id_captures set aam_uuid = '0'",
        "update raw.crm_customers set email = null",
        "delete from raw.crm_email_history",
    )
    project.build()
    done = project.aam("deliver", "--json", *NO_CHECK)
    assert done.code == 3
    complaints = {line.split(":")[1].split()[1]: line for line in done.complaints}
    assert list(complaints) == ["crm_id_sync", "crm_traits", "ios_traits", "android_traits"]
    kept_back("crm_id_sync", complaints.pop("crm_id_sync"), "all_zero_id")
    for feed, line in complaints.items():
        kept_back(feed, line, "trait_of_other_data_source")
    plan = {feed["feed"]: feed for feed in project.ok("plan", "--json").json["feeds"]}
    assert "as trait_of_other_data_source (" in plan["crm_traits"]["guard"]
    # a model without rows, too, is said to be one
    assert {delivery["feed"] for delivery in done.json["deliveries"]} == {"mobile_id_sync", "crm_profile"}
    assert "feed hashed_email_sync: nothing to send, its model gives no rows" in done.err

    # where the project allows that, it is told apart from a feed that has not changed
    project.vars(lambda v: v["guards"].update(max_rejected=1))
    allowed = project.ok("deliver", *NO_CHECK)
    assert "feed crm_traits: nothing to send, all " in allowed.err
    assert "trait_of_other_data_source (" in allowed.err and "aam plan --rejected crm_traits" in allowed.err
    assert "crm_id_sync, hashed_email_sync, crm_traits, ios_traits, android_traits" in allowed.out
    assert "nothing has changed" not in allowed.out
    assert "nothing has changed" in project.ok("deliver", "--select", "crm_profile", *NO_CHECK).out


def test_a_full_build_goes_where_it_erases_nothing(workspace: Prepare) -> None:
    """`--full` may have been asked of one feed, but all were built so: each is proven where it is delivered."""
    project = workspace("delivered")
    project.vars(lambda v: v["feeds"].update(newsletter_traits={**v["feeds"]["crm_traits"]}))
    (project.root / "models" / "feeds" / "newsletter_traits.sql").write_text(
        "select customer_id as user_id, 'd_sid' as signal_key,"
        " {{ aam_onboard.trait_id('Newsletter: subscribed') }} as signal_value"
        " from {{ ref('int_registrations') }} where wants_newsletter"
    )
    assert "--full: an overwrite of feed crm_traits" in project.refused(2, "run", "--full", "-q")
    [ios] = project.run("--full", "--select", "ios_traits", *NO_CHECK)
    assert ".overwrite." in ios["files"][0]["name"]
    before, files = project.state(), project.out()
    select = ("--select", "crm_traits,newsletter_traits,ios_traits", *NO_CHECK)
    for forced in ((), ("--force",)):
        done = project.aam("deliver", "--json", *select, *forced)
        assert (done.code, done.json) == (2, {"deliveries": []})
        assert len(done.complaints) == 2
        for feed, other in (("crm_traits", "newsletter_traits"), ("newsletter_traits", "crm_traits")):
            [line] = [
                line
                for line in done.complaints
                if line.startswith(f"aam: feed {feed}: the last build is full")
            ]
            assert (
                f"an overwrite of feed {feed} would erase what feed {other} sends" in line
                and "aam run" in line
            )
    plan = {feed["feed"]: feed for feed in project.ok("plan", "--json").json["feeds"]}
    assert "would erase what feed crm_traits sends" in plan["newsletter_traits"]["guard"]
    assert "would erase" not in plan["crm_profile"]["guard"] + plan["ios_traits"]["guard"]
    assert (project.state(), project.out()) == (before, files)

    # nor is one that was begun before there was another feed brought to its end
    project.sql(
        "update aam_state.deliveries set status = 'uploading' where mode = 'overwrite' and feed = 'ios_traits'"
    )
    project.vars(lambda v: v["feeds"].update(newsletter_traits={**v["feeds"]["ios_traits"]}))
    line = project.refused(2, "deliver", "--select", "ios_traits", *NO_CHECK)
    assert (
        f"--abandon {ios['delivery_id']}" in line and "would erase what feed newsletter_traits sends" in line
    )
    assert project.out() == files
