"""A state of another version of the package: an earlier one is brought up to date, a later one is left alone.

`state_v1/` holds the state that the release at commit 929316e left of a part of the demo's customers.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import NO_CHECK, PROJECT, Stage, Workspace, lines_of
from receiving.helpers import file_name, uuid

pytestmark = pytest.mark.one_engine

Prepare = Callable[[Stage], Workspace]

RAW = [
    "crm_customers", "crm_email_history", "mobile_devices", "purchases", "registrations", "survey_responses",
    "web_id_captures",
]  # fmt: skip
OF_THE_STATE = "customer_id is null or right(customer_id, 2) not in ('03', '53')"
TABLES = ("deliveries", "delivery_files", "delivery_events", "user_ledger", "id_ledger", "state_versions")
VERSION = yaml.safe_load((PROJECT / "dbt_project.yml").read_text(encoding="utf-8"))["vars"][
    "aam_state_version"
]
# As it was before that release: no fingerprints of users, an MD5 of each file.
EARLIER = [
    "alter table aam_state.user_ledger drop column fingerprint",
    "alter table aam_state.delivery_files add column md5 text",
]


def of_version_1(project: Workspace) -> None:
    """Give the project the state of the earlier release, and the data that it was made of."""
    project.sql(*(f"delete from raw.{table} where {OF_THE_STATE}" for table in RAW))
    state = Path(__file__).parent / "state_v1" / f"{project.engine}.sql"
    project.sql("drop schema if exists aam_state cascade", state.read_text(encoding="utf-8"))


def columns(project: Workspace) -> list[tuple[Any, ...]]:
    """What the state's schema holds."""
    return project.sql(
        "select table_name, column_name from information_schema.columns where table_schema = 'aam_state'"
        " order by table_name, column_name"
    )


def rows(project: Workspace) -> dict[str, list[tuple[Any, ...]]]:
    """All that the state's tables hold."""
    return {table: sorted(project.sql(f"select * from aam_state.{table}"), key=repr) for table in TABLES}


def test_after_an_upgrade_nothing_is_sent_again(workspace: Prepare) -> None:
    project = workspace("seeded")
    of_version_1(project)
    delivered = project.state()
    assert len(delivered) == 7
    assert "run `aam run`" in project.refused(2, "status")
    assert project.run(*NO_CHECK) == []
    assert project.out() == []
    assert project.state() == delivered
    assert project.sql("select version from aam_state.state_versions order by version") == [
        (version,) for version in range(2, VERSION + 1)
    ]
    # what changed since is sent, and nothing else
    assert len(project.ok("status", "--json").json["deliveries"]) == 7
    [(customer,)] = project.sql("select min(customer_id) from raw.registrations where city <> 'Denver'")
    project.sql(f"update raw.registrations set city = 'Denver' where customer_id = '{customer}'")
    [sent] = project.run(*NO_CHECK)
    assert sent["feed"] == "crm_profile"
    [file] = project.out()
    assert len(lines_of(file)) == 1


def test_an_open_delivery_of_an_earlier_release_is_finished(workspace: Prepare) -> None:
    """The next run brings the state up to date first, and then finishes what that release began."""
    project = workspace("delivered")
    [file] = [path for path in project.out() if path.name.startswith("ftp_dpm_20915_")]
    spool = project.root / ".aam" / "spool" / "ios" / file.name
    spool.parent.mkdir(parents=True)
    file.rename(spool)
    project.sql(
        "drop table aam_state.state_versions",
        "update aam_state.deliveries set status = 'uploading', uncertain = true where feed = 'ios_traits'",
        f"update aam_state.delivery_files set status = 'uploading', spool_path = '{spool}' where name = '{file.name}'",
    )
    assert [(one["feed"], one["status"]) for one in project.run(*NO_CHECK)] == [("ios_traits", "delivered")]
    assert file.is_file()
    assert project.sql("select max(version) from aam_state.state_versions") == [(VERSION,)]


def test_memberships_of_a_row_each_become_sets(workspace: Prepare) -> None:
    """Version 2 had a row for each segment of a user, also of what an iter said; what comes goes on from there."""
    project = workspace("delivered")
    project.vars(lambda found: found.update(outbound={"web": {"destination_id": 4411, "separator": "space"}}))
    project.destination("local", type="directory", path="out", receive={"settled_minutes": 0})
    project.run(*NO_CHECK)
    at = "timestamp with time zone '2023-11-14 00:00:00+00'"
    project.sql(
        "alter table aam_state.received_memberships rename column tokens to token",
        "drop table aam_state.received_statements",
        "create table aam_state.received_statements (file_id integer not null, user_id text not null,"
        " token text not null, is_trait boolean not null, since timestamp with time zone, is_member boolean not null)",
        "delete from aam_state.state_versions",
        f"insert into aam_state.state_versions values (2, {at})",
        *(
            f"insert into aam_state.received_files values ({number}, 'web', 4411, 0, '{mode}', {made_at}, '{mode}',"
            f" '{mode}.sync', 'local', 'u', 1, 1, 'm', 1, 3, 0, 0, 'applied', false, {at})"
            for number, mode, made_at in ((1, "full", at), (2, "iter", f"{at} + interval '9 days'"))
        ),
        *(
            "insert into aam_state.received_memberships (user_id, token, is_trait, since_file, last_file, until_file)"
            f" values ('{uuid(1)}', '{token}', false, 1, 1, {until_file})"
            for token, until_file in (("10", "null"), ("11", "null"), ("12", "1"))
        ),
        f"insert into aam_state.received_statements values (2, '{uuid(1)}', '14', false, null, false)",
        f"insert into aam_state.received_statements values (2, '{uuid(2)}', '10', false, null, true)",
    )
    (project.root / "out" / file_name(1, "iter", ending=".sync")).write_text(f"{uuid(1)} 12,13,14 10\n")
    assert "of an earlier version" in project.refused(2, "receive")
    assert project.run("--receive", *NO_CHECK) == []
    assert project.sql("select max(version) from aam_state.state_versions") == [(VERSION,)]
    # 14 was said later to have ended
    assert project.sql("select user_id, members, removed from aam_state.received_statements order by file_id, 1") == [
        (uuid(1), "", "14"), (uuid(2), "10", ""), (uuid(1), "12\x1f13\x1f14", "10")
    ]  # fmt: skip
    assert project.dbt("run", "--select", "outbound_changes").code == 0
    assert project.sql("select token, is_member from outbound.outbound_changes order by token, is_member desc") == [
        ("10", True), ("10", False), ("11", True), ("12", True), ("12", True), ("12", False), ("13", True),
    ]  # fmt: skip


def test_an_upgrade_is_made_whole_or_not_at_all(workspace: Prepare) -> None:
    """Tried with the oldest state that there is."""
    project = workspace("seeded")
    of_version_1(project)
    project.sql(*EARLIER, "alter table aam_state.delivery_files rename to hidden")
    before = columns(project), project.state()
    assert "delivery_files" in project.refused(2, "run", "-q", *NO_CHECK)
    assert (columns(project), project.state()) == before
    project.sql("alter table aam_state.hidden rename to delivery_files")
    assert project.run(*NO_CHECK) == []


def test_a_later_state_is_left_alone(workspace: Prepare) -> None:
    project = workspace("delivered")
    project.sql(f"insert into aam_state.state_versions values ({VERSION + 1}, now())")
    before = columns(project), rows(project), project.out()
    for command in (["run", "-q"], ["deliver"], ["plan"], ["status"], ["deliver", "--abandon", "x"]):
        assert f"is of version {VERSION + 1}, later than version {VERSION}" in project.refused(2, *command)
    # and by dbt itself: without an outbox, aam asks nobody before the build
    project.sql("drop schema inbound cascade")
    assert f"is of version {VERSION + 1}, later than version {VERSION}" in project.refused(2, "run", "-q")
    assert (columns(project), rows(project), project.out()) == before


def test_a_state_in_another_schema_is_not_left_behind(workspace: Prepare) -> None:
    """By dbt's own naming the state would begin anew in `<target schema>_aam_state`."""
    project = workspace("seeded")
    of_version_1(project)
    (project.root / "macros" / "generate_schema_name.sql").unlink()
    complaint = project.refused(2, "run", "-q", *NO_CHECK)
    assert "schema aam_state holds the state of an earlier release" in complaint
    assert project.out() == []


def test_no_table_of_the_state_is_made_without_a_version(duckdb_workspace: Prepare) -> None:
    project = duckdb_workspace("seeded")
    for models, ends, says in (
        ("deliveries", 1, "build the model state_versions first"),
        ("+deliveries", 0, "ERROR=0 SKIP=0"),
    ):
        done = project.dbt("run", "--select", models)
        assert done.code == ends, done.out
        assert says in done.out
