"""`aam forget`: a person is withdrawn everywhere, then no table and no file of ours holds the ID."""

import re
from collections.abc import Callable

import pytest
import yaml
from conftest import Stage, Workspace
from test_strays import received

pytestmark = pytest.mark.one_engine

Prepare = Callable[[Stage], Workspace]
OURS = ("inbound", "aam_state")


def tables_with(project: Workspace, text: str) -> set[str]:
    """Tables of the outbox and the state that hold a text anywhere."""
    schemas = ", ".join(f"'{schema}'" for schema in OURS)
    names = project.sql(
        "select table_schema, table_name from information_schema.tables"
        f" where table_schema in ({schemas}) and table_type = 'BASE TABLE' order by 1, 2"
    )
    assert len(names) > 10
    return {
        f"{schema}.{name}"
        for schema, name in names
        for (row,) in project.sql(
            f"select cast(t as text) from {schema}.{name} as t where cast(t as text) like '%{text}%'"
        )
        if re.search(rf"(?<![0-9A-Za-z/-]){text}(?![0-9A-Za-z/-])", row)
    }


def people(project: Workspace) -> set[str]:
    """The users whom data files have left something of, at any data source."""
    return {row[0] for name, rows in received(project).items() if name.startswith("ftp_") for row in rows}


def test_a_person_is_forgotten(workspace: Prepare) -> None:
    project = workspace("delivered")
    path = project.root / "destinations.yml"
    content = yaml.safe_load(path.read_text())
    content["outputs"]["more"] = {**content["outputs"]["local"], "path": "more"}
    path.write_text(yaml.safe_dump(content))
    [(user, device)] = project.sql(
        "select traits.user_id, min(split_part(pairs.ids, chr(9), 1)) from aam_state.delivered_sets as traits"
        " inner join aam_state.delivered_sets as profile"
        " on traits.user_id = profile.user_id and profile.feed = 'crm_profile'"
        " inner join aam_state.delivered_id_lines as pairs"
        " on pairs.id_sync = 'crm_id_sync' and split_part(pairs.ids, chr(9), 2) = traits.user_id"
        " where traits.feed = 'crm_traits' group by traits.user_id order by traits.user_id limit 1"
    )
    assert user in {row[0] for row in project.sql("select user_id from aam_state.user_ledger")}
    assert user in people(project)
    everyone = people(project) - {user}

    done = project.ok("forget", "nobody", "--dpid", "58342")
    assert "Nothing is known of nobody of data source 58342" in done.out
    assert "--dpid 4711: no feed or ID sync has IDs of this data source" in project.refused(
        2, "forget", user, "--dpid", "4711"
    )
    assert project.sql("select count(*) from aam_state.forget_requests") == [(0,)]

    # Audience Manager has sent the person back
    project.vars(lambda found: found.update(outbound={"web": {"destination_id": 4411, "separator": "space"}}))
    project.run("--to", "more")
    project.sql(
        "insert into aam_state.received_files values (1, 'web', 4411, 58342, 'full', now(), 'r', 'r.sync', 'local',"
        " 'u', 1, 1, 'm', 1, 1, 0, 1, 'applied', false, now())",
        f"insert into aam_state.received_memberships values ('{user}', '77', false, 1, null, 1, null)",
        f"insert into aam_state.rejected_lines values (1, 'empty_token', '{user} ,')",
    )
    known = project.ok("forget", user, "--dpid", "58342", "--json").json
    assert (known["waits_for"], known["received"]) == (["local", "more"], 2)
    lying = {(one["feed"], one["destination"]): one for one in known["lying"]}
    assert lying["crm_traits", "local"]["withdrawn"] and not lying["crm_traits", "local"]["staying"]
    assert lying["crm_id_sync", "more"] | {"staying": 0} == {
        "feed": "crm_id_sync", "destination": "more", "withdrawn": 0, "staying": 0,
    }  # fmt: skip
    assert {"dpid": 0, "user_id": device} in known["pairs"]
    assert "crm_traits" in known["models"]
    assert "the build is older than an `aam forget`" in project.refused(2, "deliver", "--to", "more")

    # the source still has the person
    delivered = project.run("--to", "more")
    assert {one["feed"] for one in delivered} == {"crm_traits", "crm_profile"}
    assert user in project.ok("forget", user, "--dpid", "58342", "--json").json["person"]["user_id"]
    assert user in people(project)
    done = project.aam("run", "-q")
    assert done.code == 0
    assert "a person of data source 58342 is forgotten, but " in done.err
    assert "crm_traits" in done.err
    assert people(project) == everyone
    assert project.run() == []
    shown = project.ok("forget", user, "--dpid", "58342").out
    assert "Nothing is left to withdraw" in shown and "asked for at" in shown
    assert "for these models name them: crm_profile, crm_traits" in shown

    # and now it does not
    for table in ("crm_customers", "registrations", "purchases", "web_id_captures"):
        project.sql(f"delete from raw.{table} where customer_id = '{user}'")
    done = project.aam("run", "-q")
    assert (done.code, "forgotten dpid=58342" in done.err) == (0, True), done.err
    assert tables_with(project, user) == set()
    assert people(project) == everyone
    assert "Nothing is known" in project.ok("forget", user, "--dpid", "58342").out
    assert f"Nothing is known of {user}" in project.ok("why", "crm_traits", user).out
    assert project.run() == [] == project.run("--to", "more")
