"""What the profile and `--vars` say holds for dbt and for `aam` alike."""

from collections.abc import Callable

import duckdb
import yaml
from conftest import NO_CHECK, Stage, Workspace

Prepare = Callable[[Stage], Workspace]


def change_profile(project: Workspace, *without: str, **keys: object) -> None:
    path = project.root / "profiles.yml"
    profiles = yaml.safe_load(path.read_text())
    output = profiles["shop"]["outputs"][project.engine]
    for key in without:
        keys.setdefault({"dbname": "database", "password": "pass"}[key], output.pop(key))
    output.update(keys)
    path.write_text(yaml.safe_dump(profiles))


def test_a_run_with_keys_and_vars_of_its_own(workspace: Prepare) -> None:
    """Under dbt's own keys, another role or an attached database, and with the delivered state elsewhere."""
    project = workspace("seeded")
    model = project.root / "models" / "feeds" / "ios_traits.sql"
    if project.engine == "postgres":
        project.sql('drop role if exists "The Loader"', 'create role "The Loader" superuser')
        change_profile(
            project,
            "dbname",
            "password",
            role='"The Loader"',
            search_path="raw, public",
            keepalives_idle=30,
            retries=2,
        )
        # through the search path
        model.write_text(model.read_text() + "\nwhere exists (select 1 from crm_customers)\n")
    else:
        with duckdb.connect(project.root / "more.duckdb") as connection:
            connection.execute("create table letters as select 'Ω' as letter")
        change_profile(
            project,
            attach=[{"path": "more.duckdb", "alias": "more", "read_only": True}],
            settings={"null_order": "nulls_last"}, config_options={"allow_unsigned_extensions": True},
            retries={"connect_attempts": 2}, database="warehouse",
        )  # fmt: skip
        model.write_text(model.read_text() + "\nwhere exists (select 1 from more.letters)\n")
    mine = ["--vars", "{aam_state_schema: my_state, data_sources: {58342: {name: Ours, id_type: dpuuid},"
            " 58344: {name: Profile, id_type: dpuuid}, 58343: {name: Hashes, id_type: hashed_email}}}"]  # fmt: skip
    foreign = {"PGCLIENTENCODING": "LATIN1"}
    delivered = project.run(*mine, *NO_CHECK, extra=foreign)
    assert len(delivered) == 7
    assert project.sql("select count(*) from my_state.deliveries where status = 'delivered'") == [(7,)]
    assert project.sql("select * from information_schema.schemata where schema_name = 'aam_state'") == []
    if project.engine == "postgres":
        owners = project.sql(
            "select distinct tableowner from pg_tables where schemaname = 'my_state' or tablename = 'batches'"
        )
        assert ("The Loader",) in owners  # dbt's own role ends with the first transaction that is rolled back
    # the other commands, with the same vars
    plans = project.ok("plan", "--json", *mine).json["feeds"]
    assert {plan["signals_added"] for plan in plans} == {0} or {plan["delivered"] for plan in plans} == {True}
    assert any("Ours 58342" in plan["data_source"] for plan in plans)
    assert project.deliver(*mine) == []
    assert "crm_traits" in project.ok("status", *mine).out
    # and without them
    assert "aam_state.deliveries is missing" in project.refused(2, "status")
    # a dbt by hand with other vars costs the next run no parse of its own
    [parsed] = (project.root / "target").glob(f"aam/{project.engine}-local/partial_parse.msgpack")
    before = parsed.stat().st_mtime_ns
    again = project.ok("run", *mine, *NO_CHECK, extra=foreign)
    assert "Unable to do partial parsing" not in again.err
    assert parsed.stat().st_mtime_ns == before
