"""`aam receive` and `aam run --receive` in a project: what came back is customers and segments by name."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import sandboxes
from conftest import NO_CHECK, Stage, Workspace
from sandboxes import CRM, DESTINATION, JOB, set_destination

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
    received = project.ok("receive", "--json", "--metrics-file", "aam.prom").json
    assert [(file["users"], file["memberships"], file["status"]) for file in received["files"]] == [
        (len(uuids), len(uuids), "applied")
    ]
    assert received["gaps"]["web"]
    # it stands in the history, the rehearsal does not
    [(arguments, outcome, feeds, figures)] = project.sql(
        "select arguments, outcome, feeds, figures from aam_state.runs"
        " where command = 'receive' and exit_code = 0"
    )
    assert (arguments, outcome, feeds) == ("--metrics-file aam.prom --json", "done", '["outbound web"]')
    [(size,)] = project.sql("select bytes from aam_state.received_files")
    came = {"status": "received", "files": 1, "lines": len(uuids), "users": len(uuids), "bytes": size}
    assert json.loads(figures) == {"outbound web": came}
    told = (project.root / "aam.prom").read_text()
    labels = 'command="receive",target="duckdb",destination="local"'
    assert f"aam_run_success{{{labels}}} 1.0\n" in told
    assert f'aam_feed_users{{{labels},feed="outbound web"}} {len(uuids)}.0\n' in told
    assert project.ok("receive", "--json").json["files"] == []
    put(project, file_name(1, "iter"), [f"{first} 501 9180101", f"{second} 78"])
    assert "no such outbound destination; known: web" in project.refused(2, "receive", "--select", "app")
    ran = project.ok("run", "--receive", "--json", *NO_CHECK)
    said = json.loads(ran.out)
    assert [file["removals"] for file in said["received"]["files"]] == [1]
    assert "Warning in test warn_of_unknown_tokens" in ran.err  # of 78, which segments.csv does not know
    found = project.sql("select customer_id, token, segment_name from outbound.customer_segments")
    customers = {uuids[uuid] for uuid in uuids}
    assert {row for row in found if row[1] != "9180101"} == {
        (uuids[first], "501", "Gold of the West"),
        (uuids[second], "78", "78"),
    }
    assert {customer for customer, _, _ in found} <= customers
    assert len(found) >= len(uuids)
    sizes = project.sql(
        "select token, users from outbound.segment_sizes where day = '2023-11-15' order by token"
    )
    assert sizes == [("501", 1), ("78", 1), ("9180101", len(uuids) - 1)]
    status = project.ok("status", "--json").json["received"]["web"]
    assert (status["memberships"], status["last_batch"]["status"]) == (len(uuids) + 1, "whole")
    assert "nothing for 2023-11-16" in project.ok("status").out
    empty = put(project, file_name(2), [])
    assert "the full came empty" in project.refused(3, "receive")
    for file in (empty, empty.with_name(empty.name.replace(".sync.gz", ".info"))):
        file.unlink()
    with sandboxes.sandbox(project.root / "there") as store:
        set_destination(store, CRM)
        store.connection.execute(JOB)
        store.connection.execute(
            "insert into data_sources select unnest([58343, 58344]), null, null, 'dpuuid', false, true"
        )
        for number, name in enumerate((file_name(1, "iter"), file_name(3))):
            store.connection.execute(
                "insert into exports select ?, ?, 'full', ?, t, t, 2, true"
                " from (select (now() at time zone 'UTC') - interval 2 hours as t)",
                [number, DESTINATION, name],
            )
    with sandboxes.serving(project.root / "there") as address:
        api = {"scope": "openid", "base_url": f"{address}/v1", "token_url": f"{address}/ims/token/v3"}
        assert "vars.api is missing" in project.refused(2, "receipts", "--api")
        assert "name mails to read, or say --api" in project.refused(2, "receipts")
        project.vars(lambda found: found.update(api=api))
        assert "environment variable AAM_API_CLIENT_ID is not" in project.refused(2, "receive")
        project.environment |= {"AAM_API_CLIENT_ID": "tests", "AAM_API_CLIENT_SECRET": "any"}
        found = project.ok("receive", "--json")
        assert [(one["name"], one["kind"]) for one in found.json["differences"]] == [
            (file_name(3), "never_came")
        ]
        assert f"{file_name(3)} was delivered, says Audience Manager, and never came" in found.err
        assert "Not as Audience Manager's API says" in project.ok("receive").out
        [finding] = [one for one in project.ok("doctor", "--json").json["findings"] if one["about"] == "API"]
        assert finding["says"].endswith("lets us in, and knows destinations: 4411 (Partner)")
        [receipt] = project.ok("receipts", "--api", "--json").json["receipts"]
        assert (receipt["records_received"], len(receipt["files"]), receipt["is_new"]) == (3, 2, True)
        assert "0 of 1 are new" in project.ok("receipts", "--api").out
    assert "files not as the API says: 1" in project.ok("status").out
    assert "can't be reached" in project.aam("doctor").out
