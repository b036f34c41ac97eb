"""`aam receive` and `aam run --receive` in a project: what came back is customers and segments by name."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

from conftest import NO_CHECK, Stage, Workspace

from receiving.helpers import file_name

Prepare = Callable[[Stage], Workspace]


def put(project: Workspace, name: str, lines: list[str]) -> Path:
    path = project.root / "back" / "outbound" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress("".join(f"{line}\n" for line in lines).encode()))
    info = {"Files": [{"FileName": name, "FileByteSize": path.stat().st_size, "FileLineCount": len(lines)}]}
    path.with_name(name.replace(".sync.gz", ".info")).write_text(json.dumps(info))
    return path


def test_segments_come_back_as_those_of_customers(duckdb_workspace: Prepare) -> None:
    project = duckdb_workspace("delivered")
    assert project.sql("select 1 from information_schema.tables where table_name like '%received%'") == []
    assert "vars.outbound is empty" in project.refused(2, "receive")
    project.vars(lambda found: found.update(outbound={"web": {"destination_id": 4411, "output": "adobe"}}))
    for kept in (project.root / ".aam" / "relations").iterdir():  # other vars, other models
        kept.unlink()
    project.destination("adobe", type="directory", path="back")
    assert "output `adobe`: key `receive` is missing" in project.refused(2, "receive")
    project.destination("adobe", type="directory", path="back", receive={"prefix": "outbound/"})
    uuids = dict(
        project.sql(
            "select min(split_part(ids, chr(9), 1)), split_part(ids, chr(9), 2) as customer"
            " from aam_state.delivered_id_lines where id_sync = 'crm_id_sync' group by customer"
            " order by customer limit 40"
        )
    )
    first, second, *_ = uuids
    name = file_name(0)
    put(project, name, [f"{uuid} 9180101" for uuid in uuids])
    dry = project.ok("receive", "--dry-run", "--json").json
    assert ([file["name"] for file in dry["files"]], dry["dry_run"]) == ([name], True)
    received = project.ok("receive", "--json").json
    assert [(file["users"], file["memberships"], file["status"]) for file in received["files"]] == [
        (len(uuids), len(uuids), "applied")
    ]
    assert received["gaps"]["web"]
    assert project.ok("receive", "--json").json["files"] == []
    put(project, file_name(1, "iter"), [f"{first} 77 9180101", f"{second} 78"])
    assert "no such outbound destination; known: web" in project.refused(2, "receive", "--select", "app")
    said = json.loads(project.ok("run", "-q", "--receive", "--json", *NO_CHECK).out)
    assert [file["removals"] for file in said["received"]["files"]] == [1]
    found = project.sql("select customer_id, token, kind from outbound.customer_segments")
    customers = {uuids[uuid] for uuid in uuids}
    assert {(customer, token) for customer, token, _ in found if token != "9180101"} == {
        (uuids[first], "77"),
        (uuids[second], "78"),
    }
    assert {customer for customer, _, _ in found} <= customers
    assert len(found) >= len(uuids)
    sizes = project.sql(
        "select token, users from outbound.segment_sizes where day = '2023-11-15' order by token"
    )
    assert sizes == [("77", 1), ("78", 1), ("9180101", len(uuids) - 1)]
    status = project.ok("status", "--json").json["received"]["web"]
    assert (status["memberships"], status["last_batch"]["status"]) == (len(uuids) + 1, "whole")
    assert "nothing for 2023-11-16" in project.ok("status").out
    put(project, file_name(2), [])
    assert "the full came empty" in project.refused(3, "receive")
    assert project.ok("doctor", "--json").json["ok"]
