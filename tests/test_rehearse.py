"""`aam rehearse`: what a delivery would change is what it changes then, and nothing is touched by asking."""

from collections.abc import Callable
from typing import Any

import pytest
from conftest import Stage, Workspace

pytestmark = pytest.mark.one_engine

Prepare = Callable[[Stage], Workspace]
STATE = ("deliveries", "delivery_files", "delivery_events", "user_ledger", "id_ledger")


def everything(project: Workspace) -> tuple[Any, ...]:
    """The state's rows, and all files of the project but those that dbt and DuckDB write anew."""
    rows = [sorted(map(str, project.sql(f"select * from aam_state.{table}"))) for table in STATE]
    files = {
        path.relative_to(project.root): path.stat().st_size
        for path in project.root.rglob("*")
        if path.is_file() and not {"logs", "target"} & set(path.parts) and "warehouse.duckdb" not in path.name
    }
    return rows, files


def in_traits(project: Workspace) -> dict[int, int]:
    """The profiles of each trait in the project's own sandbox."""
    import duckdb

    with duckdb.connect(project.root / ".aam" / "sandbox" / "sandbox.duckdb", read_only=True) as connection:
        return dict(connection.execute("select sid, count(*) from profile_traits group by sid").fetchall())


def test_a_rehearsal_says_what_a_delivery_changes(workspace: Prepare) -> None:
    project = workspace("changed")
    project.ok("sandbox", "init")
    project.ok("sandbox", "ingest", "--from", str(project.root / "out"))
    before = in_traits(project)
    untouched = everything(project)
    told = project.ok("rehearse", "--json").json
    assert everything(project) == untouched
    assert {"crm_traits", "crm_profile", "crm_id_sync"} <= set(told["feeds"])
    assert {one["sid"]: one["before"] for one in told["traits"] if one["before"]} == before
    project.deliver("--no-check")
    project.ok("sandbox", "ingest", "--from", str(project.root / "out"))
    assert {one["sid"]: one["after"] for one in told["traits"] if one["after"]} == in_traits(project)
    assert all(one["after"] - one["before"] == one["gained"] - one["lost"] for one in told["traits"])
    assert any(one["gained"] for one in told["traits"]) and any(one["lost"] for one in told["traits"])
    assert [one["sid"] for one in told["segments"]] == [501, 502]
    assert sum(one["no_matching_aam_id"] for one in told["receipts"]) > 0
    assert "Nothing would be delivered to local" in project.ok("rehearse").out
    assert "the last build is for destination local, not beta" in project.refused(
        2, "rehearse", "--to", "beta"
    )


def test_a_rehearsal_of_an_empty_feed(duckdb_workspace: Prepare) -> None:
    project = duckdb_workspace("delivered")
    project.sql("delete from raw.purchases", "delete from raw.crm_customers where customer_id <> '00021'")
    project.build()
    told = project.ok("rehearse").out
    assert "Traits that change, in profiles" in told
    assert "Feed crm_traits would be stopped: " in told
