"""Names that SQL can't read bare, columns that are no text, and maps of the vars with nothing in them."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Stage, Workspace, lines_of
from outbox import FEEDS, ID_SYNCS, Outbox, Signal

pytestmark = pytest.mark.one_engine

Prepare = Callable[[Stage], Workspace]
GAID = "6d92078a-8246-4ba4-ae5b-00000000000"


@pytest.fixture
def outbox(outbox_project: Outbox) -> Outbox:
    outbox_project.begin()
    return outbox_project


# --- Names ------------------------------------------------------------------------------------------------------------

FEED_SQL = """
with people as (
    select 'a' as "User Id", '24' as {gender}, 'x' as "user", 'y' as "First Name", 'z' as "Größe"
)

{{{{ aam_onboard.columns_to_signals('people', 'User Id', ['Gender', 'user', 'First Name', 'Größe']) }}}}
"""
SYNC_SQL = """
select '{gaid}1' as "Device ID", session_user as login, 'a' as "user", 1 as Seen_At
union all
select '{gaid}2' as "Device ID", session_user as login, 'b' as "user", 2 as Seen_At
"""


def configure(project: Workspace) -> None:
    project.clear()
    path = project.root / "dbt_project.yml"
    settings = yaml.safe_load(path.read_text())
    settings["models"]["aam_onboard"] = {
        "inbound": {"+schema": "Out Box$1"},
        "identity": {"+schema": "{{ var('nowhere', 'Who is who') }}"},
    }
    settings["models"]["shop"]["feeds"]["+schema"] = "Order"
    settings["target-path"] = "build/dbt"
    settings["vars"] |= {
        "aam_state_schema": "AAM State",
        "feeds": {"Key-Values": {"dpid": 58342, "id_type": "dpuuid", "mode": "sync"}},
        "id_syncs": {
            "Order": {
                "prefix": "adobe_id",
                "dpids": [20914, 58342],
                "columns": ["Device ID", "user"],
                "newest_by": "Seen_At",
            }
        },
    }
    path.write_text(yaml.safe_dump(settings, sort_keys=False, allow_unicode=True))
    feeds = project.root / "models" / "feeds"
    (feeds / "Key-Values.sql").write_text(FEED_SQL.format(gender="Gender"))
    (feeds / "Order.sql").write_text(SYNC_SQL.format(gaid=GAID))
    project.destination("o'brien", type="directory", path="out")


def test_names_are_taken_exactly_as_they_are_written(workspace: Prepare) -> None:
    """Reserved words, capitals, spaces and quotes in columns, feeds, schemas and destinations."""
    project = workspace("seeded")
    configure(project)
    deliveries = project.run("--to", "o'brien")
    assert [delivery["status"] for delivery in deliveries] == ["delivered", "delivered"]
    [ids] = [path for path in project.out() if path.name.startswith("adobe_id_")]
    assert sorted(lines_of(ids)) == [f"{GAID}1\ta", f"{GAID}2\tb"]
    [signals] = [path for path in project.out() if path.name.startswith("ftp_dpm_")]
    assert lines_of(signals) == ['a\t"First Name"="y","Gender"="24","Größe"="z","user"="x"']
    assert project.run("--to", "o'brien") == []
    assert "Who is who" in {
        schema for (schema,) in project.sql("select schema_name from information_schema.schemata")
    }
    assert project.ok("plan", "--json").json["feeds"][0]["feed"] == "Order"
    assert {found["status"] for found in project.ok("status", "--json").json["deliveries"]} == {"delivered"}

    # dbt's own line is found where the project has dbt put it
    (project.root / "models" / "feeds" / "Order.sql").write_text("select 1 as nothing")
    message = project.refused(2, "run", "-q", "--to", "o'brien")
    assert "model Order has no column Device ID; its last select gives nothing" in message


# --- Types ------------------------------------------------------------------------------------------------------------

TEXTS = ["text", "varchar", "varchar(20)"]
NO_TEXTS = {
    "bigint": "write cast({} as text)",
    "double precision": "write cast(cast({} as bigint) as text)",
    "numeric(12, 2)": "write cast(cast({} as bigint) as text)",
    "date": "write cast({} as text)",
    "boolean": "write cast({} as text)",
    "uuid": "write cast({} as text)",
    "mood": "write cast({} as text)",
}
OF_ONE_ENGINE = {
    "duckdb": {"blob": "write decode({})"},
    "postgres": {
        "char(10)": "it is padded: write cast({} as text)",
        "name": "write cast({} as text)",
        "jsonb": "take a text out of it",
        "bytea": "write convert_from({}, 'UTF8')",
        "whole_number": "write cast({} as text)",
    },
}
TYPED = {"typed": {"dpid": 58342, "id_type": "dpuuid", "mode": "sync"}}
TYPED_SYNC = {"typed": {"prefix": "adobe_id", "dpids": [20914, 58342], "columns": ["user_id", "signal_key"]}}


@pytest.fixture
def typed(outbox: Outbox) -> Outbox:
    """The outbox with one more model, `typed`, whose view a test makes by hand, so that dbt need not read it again."""
    model = outbox.root / "models" / "feeds" / "typed.sql"
    if not model.exists():
        model.write_text("select * from raw.loyalty\n")
        outbox.sql("create type mood as enum ('42')")
        if outbox.engine == "postgres":
            outbox.sql("create domain whole_number as integer", "create domain short_text as varchar(10)")
    return outbox


def make(outbox: Outbox, kind: str, **types: str) -> None:
    columns = {"user_id": "text", "signal_key": "text", "signal_value": "text"} | types
    outbox.sql("drop view if exists feeds.typed cascade", "drop table if exists raw.typed cascade")
    if outbox.engine == "postgres":
        outbox.sql("drop materialized view if exists feeds.typed cascade")
    outbox.sql(
        f"create table raw.typed ({', '.join(f'{name} {of}' for name, of in columns.items())})",
        f"create {kind} feeds.typed as select * from raw.typed",
    )


def refused(outbox: Outbox, model: str, **variables: Any) -> str:
    with pytest.raises(AssertionError) as caught:
        outbox.run(model, **variables)
    found = re.search(r"model typed[^\\]*", str(caught.value))
    assert found, caught.value
    return found[0].strip()


def test_columns_of_a_feed_are_text(typed: Outbox) -> None:
    more = ["short_text"] if typed.engine == "postgres" else []
    for kind in TEXTS + more:
        make(typed, "view", user_id=kind, signal_value=kind)
        typed.run("trait_rows", feeds=TYPED, id_syncs={})
    for kind, advice in (NO_TEXTS | OF_ONE_ENGINE[typed.engine]).items():
        make(typed, "view", user_id=kind)
        message = refused(typed, "trait_rows", feeds=TYPED, id_syncs={})
        assert message.startswith("model typed: column user_id is "), message
        assert advice.format("user_id") in message, message
    make(typed, "view", signal_value="bigint", signal_key="date")
    message = refused(typed, "trait_rows", feeds=TYPED, id_syncs={})
    assert "signal_key is date" in message and "signal_value is bigint" in message


def test_columns_of_an_id_sync_are_text_and_the_newest_has_an_order(typed: Outbox) -> None:
    make(typed, "view", user_id="bigint")
    message = refused(typed, "checked_id_rows", feeds={}, id_syncs=TYPED_SYNC)
    assert message.startswith("model typed: column user_id is bigint; write cast(user_id as text)")
    newest = {"typed": TYPED_SYNC["typed"] | {"newest_by": "SIGNAL_VALUE"}}
    numbers = ["bigint", "numeric(9, 2)", "real"]
    for kind in ["text", "date", "timestamp", "timestamp with time zone", "interval", *numbers]:
        make(typed, "view", signal_value=kind)
        typed.run("checked_id_rows", feeds={}, id_syncs=newest)
    for kind in ["boolean", "uuid"]:
        make(typed, "view", signal_value=kind)
        message = refused(typed, "checked_id_rows", feeds={}, id_syncs=newest)
        assert f"column signal_value, the newest_by of vars.id_syncs.typed, is {kind}" in message


def test_columns_of_nothing_but_null_are_fine(typed: Outbox) -> None:
    typed.sql("drop view if exists feeds.typed cascade")
    typed.sql("create view feeds.typed as select null as user_id, null as signal_key, null as signal_value")
    typed.build(variables={"feeds": TYPED, "id_syncs": TYPED_SYNC})
    assert sorted(typed.sql("select feed, reason from inbound.rejected_rows")) == [("typed", "empty_id")] * 2


def test_a_materialized_view_is_looked_at_too(typed: Outbox) -> None:
    if typed.engine == "postgres":
        make(typed, "materialized view", user_id="char(10)")
        assert "padded" in refused(typed, "trait_rows", feeds=TYPED, id_syncs={})
        typed.sql("drop materialized view feeds.typed cascade")


def test_a_run_says_which_column_to_cast(workspace: Prepare) -> None:
    project = workspace("built")
    model = project.root / "models" / "feeds" / "ios_traits.sql"
    model.write_text(
        "select cast(42 as double precision) as user_id, 'd_sid' as signal_key, '9180101' as signal_value"
    )
    message = project.refused(2, "run", "-q")
    assert "trait_rows: model ios_traits: column user_id is double" in message
    assert "write cast(cast(user_id as bigint) as text)" in message
    assert project.out() == []
    model.write_text(
        "{{ config(materialized='ephemeral') }} select '1' as user_id, 'k' as signal_key, 'v' as signal_value"
    )
    assert "model ios_traits is ephemeral" in project.refused(2, "run", "-q")


# --- Nothing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("empty", [{}, None], ids=["empty", "nothing"])
def test_maps_may_be_empty_alone_and_together(outbox: Outbox, empty: dict[str, Any] | None) -> None:
    devices = {"devices": ID_SYNCS["devices"]}
    rows = [Signal("a", "d_sid", "24"), Signal("b ", "d_sid", "24")]
    pairs = [(f"{GAID}1", "a", None), (f"{GAID}2", "b ", None)]
    outbox.build(loyalty=rows, devices=pairs, variables={"feeds": empty, "id_syncs": devices})
    assert outbox.id_lines("devices") == {f"{GAID}1\ta"}
    assert outbox.sql("select feed, lines from inbound.batches") == [("devices", 1)]
    outbox.deliver("devices")
    outbox.build(variables={"feeds": empty, "id_syncs": devices})
    assert outbox.id_lines("devices") == set()

    outbox.build(variables={"feeds": {"loyalty": FEEDS["loyalty"]}, "id_syncs": empty, "data_sources": empty})
    assert outbox.lines("loyalty") == ["a\td_sid=24"]
    assert outbox.rejected("loyalty") == [(rows[1], "space_around_id")]
    outbox.build(
        variables={"feeds": {"loyalty": FEEDS["loyalty"]}, "id_syncs": empty, "rules": [], "plain": empty}
    )
    assert sorted(outbox.lines("loyalty")) == ["a\td_sid=24", "b \td_sid=24"]

    nothing = {"feeds": empty, "id_syncs": empty, "data_sources": empty, "guards": empty}
    outbox.build(variables=nothing)
    outbox.build(variables=nothing, full=True)
    assert outbox.sql("select * from inbound.batches") == []


def test_a_project_with_nothing_to_send(workspace: Prepare) -> None:
    """Nor with traits: the taxonomy is a heading alone."""
    project = workspace("built")
    project.vars(lambda v: v.update(feeds={}, id_syncs={"crm_id_sync": v["id_syncs"]["crm_id_sync"]}))
    for model in (project.root / "models" / "feeds").glob("*_traits.sql"):
        model.write_text("select null as user_id, null as signal_key, null as signal_value where false")
    traits: Path = project.root / "seeds" / "traits.csv"
    traits.write_text(traits.read_text().splitlines()[0] + "\n")
    assert [delivery["feed"] for delivery in project.run()] == ["crm_id_sync"]
    assert project.run() == []
    project.vars(
        lambda v: v.update(dict.fromkeys(("feeds", "id_syncs", "id_sync_pixels", "data_sources", "guards")))
    )
    assert "crm_id_sync" in project.refused(3, "run", "-q")
    project.ok("retire", "crm_id_sync", "-q")
    assert project.run() == []
    assert project.ok("plan", "--json").json["feeds"] == []
    assert len(project.ok("status", "--json").json["deliveries"]) == 1
