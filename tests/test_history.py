"""What is written down of runs, well or not, and of rows kept back; nobody is named in it, and no run fails for it."""

import json
import signal
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import pytest
from conftest import NO_CHECK, Stage, Workspace

pytestmark = pytest.mark.one_engine

Prepare = Callable[[Stage], Workspace]
COLUMNS = (
    "command, arguments, outcome, exit_code, reason, deliveries, lines, rejected, steps, figures, seconds"
)

KILLED = """
import os, signal
from pathlib import Path
from aam_onboard.run import find_place, locked
from aam_onboard.running import Options
place = find_place(Path(), None, None)
with locked(place, ["ios_traits"], Options(command="deliver")) as run:
    os.kill(os.getpid(), signal.SIGKILL)
"""


def runs(project: Workspace) -> list[dict[str, Any]]:
    """The rows of `runs`, the earliest first."""
    names = COLUMNS.split(", ")
    rows = project.sql(f"select {COLUMNS} from aam_state.runs order by started_at")
    return [dict(zip(names, row, strict=True)) for row in rows]


def test_a_row_a_run(workspace: Prepare) -> None:
    project = workspace("built")
    before = len(runs(project))
    ios, android = ("-s", "ios_traits"), ("-s", "android_traits")
    project.deliver(*ios, *android, *NO_CHECK, "--vars", "{not_picked_up_hours: 17}")
    project.deliver(*ios, *NO_CHECK)
    project.destination("nowhere", type="directory", path="dbt_project.yml/out")
    project.refused(1, "deliver", *ios, "--to", "nowhere")
    assert project.python("-c", KILLED).code == -signal.SIGKILL
    [*_, killed] = runs(project)
    assert killed["outcome"] == "running"
    project.refused(2, "deliver", *ios, "--full")
    first, second, third, killed, last = runs(project)[before:]

    assert first["command"] == "deliver"
    assert first["arguments"] == (
        "--select ios_traits --select android_traits --no-check --vars not_picked_up_hours --json"
    )
    assert (first["outcome"], first["exit_code"], first["reason"], first["deliveries"]) == (
        "done",
        0,
        None,
        2,
    )
    assert first["seconds"] > 0 and json.loads(first["steps"]) == {}
    figures = json.loads(first["figures"])
    [(users, lines, rejected)] = project.sql(
        "select users, lines, rejected from inbound.batches where feed = 'ios_traits'"
    )
    assert list(figures) == ["ios_traits", "android_traits"]
    assert figures["ios_traits"]["status"] == "delivered" and figures["ios_traits"]["bytes"] > 0
    assert [figures["ios_traits"][name] for name in ("users", "lines", "rejected", "files")] == [
        users, lines, rejected, 1,
    ]  # fmt: skip
    assert first["lines"] == sum(feed["lines"] for feed in figures.values())
    assert first["rejected"] == sum(feed["rejected"] for feed in figures.values())
    assert json.loads(second["figures"]) == {"ios_traits": {"status": "unchanged", "rejected": rejected}}
    assert (third["outcome"], third["exit_code"]) == ("failed", 1) and "dbt_project.yml" in third["reason"]
    assert (killed["outcome"], killed["exit_code"], killed["seconds"]) == ("killed", None, None)
    assert (last["outcome"], last["exit_code"]) == ("misconfigured", 2) and "--full" in last["reason"]

    # what was kept back, of the feeds that were looked at, counted once however often that was
    today = datetime.now(timezone.utc).date()
    kept_back = project.sql(
        "select feed, reason, count(*) from inbound.rejected_rows where feed in ('ios_traits', 'android_traits')"
        " group by feed, reason order by feed, reason"
    )
    assert kept_back
    history = project.sql(
        "select day, destination, feed, reason, rows from aam_state.rejected_history order by feed, reason"
    )
    assert history == [(today, "local", *row) for row in kept_back]

    # and without these tables, as an earlier version has left the state, nothing is missing
    project.sql("drop table aam_state.runs cascade", "drop table aam_state.rejected_history cascade")
    done = project.ok("deliver", *NO_CHECK)
    assert "warning: " not in done.err


def test_a_run_is_written_down_whatever_stops_it(duckdb_workspace: Prepare) -> None:
    project = duckdb_workspace("delivered")
    before = len(runs(project))
    project.sql("delete from raw.crm_customers")
    assert project.aam("run", "-q").code == 3
    (project.root / "models" / "feeds" / "ios_traits.sql").write_text("select nonsense from nowhere")
    project.refused(1, "run", "-q")
    stopped, failed = runs(project)[before:]
    assert (stopped["command"], stopped["outcome"], stopped["exit_code"]) == ("run", "stopped", 3)
    assert {"finish", "build", "deliver"} == set(json.loads(stopped["steps"]))
    figures = json.loads(stopped["figures"])
    assert figures["crm_traits"]["status"] == "stopped" and "more than max" in figures["crm_traits"]["reason"]
    assert figures["crm_id_sync"]["status"] == "kept back"
    assert (failed["outcome"], failed["exit_code"]) == ("failed", 1)
    assert "ios_traits" in failed["reason"] and json.loads(failed["figures"]) == {}
