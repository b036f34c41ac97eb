"""What the profile and `--vars` say holds for dbt and for `aam` alike."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml
from conftest import NO_CHECK, PROJECT, Stage, Workspace

from aam_onboard.config import merge_vars

pytestmark = pytest.mark.one_engine

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


# One dbt for all layouts: it starts slowly.
_SEE_VARS = """
import json, sys
from pathlib import Path
from dbt.cli.main import dbtRunner
for layout in json.loads(sys.argv[1]):
    done = dbtRunner().invoke(["--quiet", "parse", "--no-partial-parse", "--project-dir", layout["root"],
                               "--profiles-dir", layout["root"], "--vars", json.dumps(layout["given"])])
    assert done.success, done.exception
    model = done.result.nodes["model.aam_onboard.see_vars"]
    Path(layout["root"], "seen.json").write_text(json.dumps(model.config.meta["seen"]))
"""


def test_dbt_and_the_loader_see_the_same_vars(tmp_path: Path) -> None:
    """Of every setting of the package, wherever it is given: what dbt shows to the package is what the loader takes."""
    package = yaml.safe_load((PROJECT / "dbt_project.yml").read_text(encoding="utf-8"))
    names = list(package["vars"])

    def some(place: str) -> dict[str, Any]:
        return dict.fromkeys(names, place)

    layouts: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({}, {}),
        (some("global"), {}),
        ({**some("global"), "aam_onboard": some("scoped")}, {}),
        ({**some("global"), "aam_onboard": some("scoped")}, some("given")),
        # a key with nothing behind it, and what is of the project alone or of no concern
        ({**dict.fromkeys(names), "aam_onboard": {}, "shop": some("of the project"), "more": 1}, {}),
        ({"aam_onboard": {"guards": {"max_removed": 0.5}}, "limits": {}}, {"feeds": {}, "aam_onboard": {"full": True}}),
        ({"destination": "{{ env_var('NOWHERE', 'else') }}", "data_sources": {58342: {"name": "a"}}}, {"check": None}),
    ]  # fmt: skip
    # the package's own settings file, and of its models one that shows them
    alone = tmp_path / "package"
    (alone / "models").mkdir(parents=True)
    package_file = {key: package[key] for key in ("name", "version", "config-version", "vars")}
    (alone / "dbt_project.yml").write_text(yaml.safe_dump(package_file), encoding="utf-8")
    shows = ", ".join(f"'{name}': tojson(var('{name}'))" for name in names)
    (alone / "models" / "see_vars.sql").write_text(f"{{{{ config(meta={{'seen': {{{shows}}}}}) }}}} select 1")
    asked = []
    for number, (project, given) in enumerate(layouts):
        root = tmp_path / str(number)
        (root / "dbt_packages").mkdir(parents=True)
        (root / "dbt_packages" / "aam_onboard").symlink_to(alone, target_is_directory=True)
        settings = {"name": "shop", "version": "1.0", "profile": "shop", "vars": project}
        (root / "dbt_project.yml").write_text(yaml.safe_dump(settings), encoding="utf-8")
        profile = {"shop": {"target": "dev", "outputs": {"dev": {"type": "duckdb", "path": "w.duckdb"}}}}
        (root / "profiles.yml").write_text(yaml.safe_dump(profile), encoding="utf-8")
        (root / "packages.yml").write_text("packages: [{local: ../package}]\n", encoding="utf-8")
        asked.append({"root": str(root), "given": given})
    command = [sys.executable, "-c", _SEE_VARS, json.dumps(asked)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for (project, given), layout in zip(layouts, asked, strict=True):
        seen = json.loads(Path(str(layout["root"]), "seen.json").read_text(encoding="utf-8"))
        taken = {name: found.value for name, found in merge_vars(project, given).items()}
        for name in names:
            assert json.loads(seen[name]) == json.loads(json.dumps(taken[name])), (
                name,
                project,
                given,
            )
