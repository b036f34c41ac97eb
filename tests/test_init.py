"""A project of one's own by `aam init`: made, completed, and kept with the dbt package of the command."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from conftest import PROJECT, Workspace, lines_of

from aam_onboard.errors import ConfigError
from aam_onboard.init import init_project
from aam_onboard.package import LINK, package_version

if TYPE_CHECKING:
    from conftest import Engine

pytestmark = pytest.mark.one_engine


@pytest.fixture
def own(tmp_path: Path) -> Workspace:
    """A new project on DuckDB, before `dbt deps`."""
    init_project(tmp_path / "own", warehouse="duckdb")
    return Workspace(tmp_path / "own", "duckdb")


def test_the_package_is_that_of_the_command(own: Workspace) -> None:
    """What leads to another one is mended or told in one line, before anything is built."""
    link, installed = own.root / LINK, own.root / "dbt_packages" / "aam_onboard"
    assert own.refused(2, "plan") == f"aam: {installed.relative_to(own.root)} is missing: run `dbt deps`"

    installed.parent.mkdir()
    installed.symlink_to(link)
    for lead in ("nowhere", None):
        link.unlink()
        if lead:
            link.symlink_to(lead)
        assert "nothing has been built" in own.refused(2, "plan")
        assert link.resolve() == PROJECT

    installed.unlink()
    shutil.copytree(PROJECT / "macros", installed / "macros")
    (installed / "dbt_project.yml").write_text("name: aam_onboard\nversion: 0.0.9\n")
    said = own.refused(2, "run")
    assert f"is of version 0.0.9, but this command of {package_version()}: run `dbt deps`, or install" in said
    (own.root / "packages.yml").write_text("packages: [{git: https://example.com/aam.git}]\n")
    assert "let packages.yml name `- local: .aam/dbt_package`" in own.refused(2, "run")
    shutil.rmtree(installed)
    (own.root / "packages.yml").unlink()
    assert "packages.yml does not name the package aam_onboard: run `aam init`" in own.refused(2, "run")
    assert own.ok("--version").out == f"aam {package_version()}\n"


def test_where_links_cannot_be_made_a_copy_is_kept_up(
    own: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    from aam_onboard import package

    link = own.root / LINK
    link.unlink()

    def refuse(*arguments: object, **more: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    for _ in range(2):
        package.link_package(own.root)
        assert not link.is_symlink()
        assert package.installed_version(link) == package_version()
        assert sorted(path.name for path in link.iterdir()) == [
            "dbt_project.yml",
            "docs",
            "macros",
            "models",
            "tests",
        ]
        (link / "dbt_project.yml").write_text("name: aam_onboard\nversion: 0.0.9\n")
        (link / "macros" / "old.sql").touch()
    package.link_package(own.root)
    assert not (link / "macros" / "old.sql").exists()
    assert [path.name for path in link.parent.iterdir()] == [link.name]


# --- An existing dbt project ------------------------------------------------------------------------------------------

JAFFLE = {
    "dbt_project.yml": """# ours
name: jaffle
version: "1.0"
profile: jaffle
model-paths: ["models"]

vars:
    # four spaces, as we like it
    first_order: "2018-01-01"
models:
  jaffle: {+materialized: table}
""",
    "models/staging/stg_customers.sql": "select '00042' as customer_id, true as wants_mails\n",
    "models/customers.sql": "select * from {{ ref('stg_customers') }} where '{{ var('first_order') }}' < '2020'\n",
    ".gitignore": "target/",
}
FEED = """select
    customer_id as user_id,
    'd_sid' as signal_key,
    {{ aam_onboard.trait_id('Newsletter: subscribed') }} as signal_value
from {{ ref('customers') }}
"""


def profile_of(engine: str, host: str | None) -> str:
    output = (
        {"type": "duckdb", "path": "jaffle.duckdb"}
        if engine == "duckdb"
        else {"type": "postgres", "host": host, "user": "postgres", "password": "", "port": 5432}
        | {"dbname": "postgres", "schema": "jaffle_dev"}
    )
    return yaml.safe_dump({"jaffle": {"target": "dev", "outputs": {"dev": output}}})


def write(root: Path, texts: dict[str, str]) -> None:
    for name, text in texts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(text.encode())


def dbt(place: Workspace, *arguments: str) -> None:
    command = [sys.executable, "-m", "dbt.cli.main", *arguments]
    done = subprocess.run(
        command, cwd=place.root, env=place.env(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_an_existing_project_gets_a_feed(
    engine: "Engine", tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Its own models, profile, indentation and comments stay; a feed is `aam init`, one model and one line."""
    host = request.getfixturevalue("postgres_host") if engine == "postgres" else None
    place = Workspace(tmp_path / "jaffle", engine)
    write(place.root, JAFFLE | {"profiles.yml": profile_of(engine, host)})
    told = place.ok("init").out
    assert "added to  dbt_project.yml\n" in told and "made      packages.yml\n" in told
    text = (place.root / "dbt_project.yml").read_text()
    assert text.startswith(JAFFLE["dbt_project.yml"][: JAFFLE["dbt_project.yml"].index("vars:")])
    assert '    # four spaces, as we like it\n    first_order: "2018-01-01"\n' in text
    assert (place.root / "models" / "customers.sql").read_text() == JAFFLE["models/customers.sql"]
    assert (place.root / ".gitignore").read_text().startswith("target/\n")

    (place.root / "models" / "feeds" / "first_traits.sql").write_text(FEED)
    dbt(place, "deps")
    [delivery] = place.run()
    assert [file["lines"] for file in delivery["files"]] == [1]
    [sent] = place.out()
    assert lines_of(sent) == ["00042\td_sid=1000001"]
    assert place.run() == []
    assert {found["verdict"] for found in place.ok("doctor", "--json").json["findings"]} == {"ok"}
    again = place.ok("init").out
    assert "made" not in again and "added" not in again


@pytest.mark.parametrize("name", ["dbt_project.yml", "packages.yml"])
def test_what_it_cannot_add_without_a_change_it_leaves_to_the_person(tmp_path: Path, name: str) -> None:
    texts = JAFFLE | {
        "dbt_project.yml": "name: jaffle\nprofile: jaffle\nvars: {first_order: x}\n",
        "packages.yml": "packages: [{local: ../other}]\n",
    }
    write(tmp_path, texts)
    changes = {change.path: change for change in init_project(tmp_path, warehouse="duckdb")}
    assert changes[name].kind == "to do"
    assert (tmp_path / name).read_text() == texts[name]
    assert changes["destinations.yml"].kind == "made"


def test_a_package_joins_those_that_are_there(tmp_path: Path) -> None:
    write(tmp_path, JAFFLE | {"packages.yml": "packages:\n- local: ../other # theirs\n"})
    changes = {change.path: change.kind for change in init_project(tmp_path, warehouse="duckdb")}
    assert changes["packages.yml"] == "added to"
    text = (tmp_path / "packages.yml").read_text()
    assert text == "packages:\n- local: ../other # theirs\n- local: .aam/dbt_package\n"


def test_line_ends_stay(tmp_path: Path) -> None:
    write(tmp_path, {name: text.replace("\n", "\r\n") for name, text in JAFFLE.items()})
    assert init_project(tmp_path, warehouse="duckdb")[0].kind == "added to"
    text = (tmp_path / "dbt_project.yml").read_bytes()
    assert text.count(b"\n") == text.count(b"\r\n") > JAFFLE["dbt_project.yml"].count("\n")
    assert yaml.safe_load(text)["vars"]["aam_onboard"]["feeds"]


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        ({"dbt_project.yml": "name: ["}, "this is no YAML"),
        ({"dbt_project.yml": "name: x\nvars: [a]\n"}, "vars: expected `key: value` lines"),
        (JAFFLE | {"models": "a file"}, "can't be read or written"),
        (JAFFLE | {".gitignore": "\udc80"}, "no UTF-8"),
    ],
)
def test_where_it_cannot_write_all_it_writes_nothing(
    tmp_path: Path, texts: dict[str, str], said: str
) -> None:
    for name, text in texts.items():
        if "/" not in name:
            (tmp_path / name).write_bytes(text.encode(errors="surrogateescape"))
    place = Workspace(tmp_path, "duckdb")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert said in place.refused(2, "init")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_an_example_needs_a_folder_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ConfigError, match="is not empty: --example makes a project of its own"):
        init_project(tmp_path, warehouse="duckdb", example=True)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_the_feeds_of_the_example_give_way_to_ones_own(tmp_path: Path) -> None:
    place = Workspace(tmp_path / "shop", "duckdb")
    init_project(place.root, warehouse="duckdb", example=True)
    feeds = place.root / "models" / "feeds"
    kept = {"crm_id_sync.sql", "mobile_id_sync.sql", "hashed_email_sync.sql"}
    for path in feeds.iterdir():
        if path.name not in kept:
            path.unlink()
    (place.root / "models" / "exposures.yml").unlink()
    (feeds / "tiers.sql").write_text(
        "select customer_id as user_id, 'tier' as signal_key, loyalty_tier as signal_value"
        " from {{ ref('int_customers') }}\n"
    )
    place.vars(lambda v: v.update(feeds={"tiers": {"dpid": 58342, "id_type": "dpuuid", "mode": "sync"}}))
    dbt(place, "deps")
    dbt(place, "build")  # with the unit tests that remain
    assert [feed["feed"] for feed in place.ok("plan", "--json").json["feeds"]][-1] == "tiers"
    assert {delivery["feed"] for delivery in place.deliver()} == {name[:-4] for name in kept} | {"tiers"}
