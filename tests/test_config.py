"""Every mistake in the configuration is one clear line that names the setting."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from conftest import DEMO, PROJECT, all_vars

from aam_onboard.config import (
    DataSource,
    DuckDBSettings,
    Feed,
    Guards,
    IdSync,
    PostgresSettings,
    Retries,
    Vars,
    load_project,
    load_warehouse,
)
from aam_onboard.destinations import load_destination
from aam_onboard.errors import ConfigError
from aam_onboard.package import package_root, package_settings
from aam_onboard.reading import read_yaml
from aam_onboard.rules import IdType, Limits, Rules
from aam_onboard.schema import AllVars, pages

Change = Callable[[dict[str, Any]], object]
GOOD = yaml.safe_load((DEMO / "dbt_project.yml").read_text())
GOOD["vars"] = all_vars(GOOD["vars"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project without SQL: what the loader reads of it."""
    (tmp_path / "models" / "feeds").mkdir(parents=True)
    for name in [*GOOD["vars"]["feeds"], *GOOD["vars"]["id_syncs"]]:
        (tmp_path / "models" / "feeds" / f"{name}.sql").touch()
    for name in ("profiles.yml", "destinations.yml"):
        (tmp_path / name).write_text((DEMO / name).read_text())
    return tmp_path


def load(folder: Path, change: Change = lambda v: None) -> Any:
    settings = copy.deepcopy(GOOD)
    change(settings["vars"])
    (folder / "dbt_project.yml").write_text(yaml.safe_dump(settings, sort_keys=False))
    return load_project(folder)


def complaint(folder: Path, change: Change) -> str:
    with pytest.raises(ConfigError) as caught:
        load(folder, change)
    message = str(caught.value)
    assert "\n" not in message
    assert caught.value.exit_code == 2
    return message


def test_this_project_is_right(folder: Path) -> None:
    project = load(folder)
    # ID syncs first
    assert project.feed_names == [*GOOD["vars"]["id_syncs"], *GOOD["vars"]["feeds"]]
    assert project.select(None) == project.feed_names
    assert project.select(["crm_traits,crm_id_sync"]) == ["crm_id_sync", "crm_traits"]


FEED = "vars.feeds.crm_traits"
SYNC = "vars.id_syncs.crm_id_sync"
WRONG: list[tuple[str, Change, tuple[str, ...]]] = [
    (
        "feed without a model",
        lambda v: v["feeds"].update(nobody=v["feeds"]["crm_traits"]),
        ("nobody", "models/feeds/nobody.sql"),
    ),
    ("dpid is text", lambda v: v["feeds"]["crm_traits"].update(dpid="58342"), (f"{FEED}.dpid", "58342")),
    ("dpid is no number", lambda v: v["feeds"]["crm_traits"].update(dpid="CRM"), (f"{FEED}.dpid", "CRM")),
    ("dpid is negative", lambda v: v["feeds"]["crm_traits"].update(dpid=-1), (f"{FEED}.dpid", "-1")),
    ("dpid is a truth value", lambda v: v["feeds"]["crm_traits"].update(dpid=True), (f"{FEED}.dpid",)),
    ("dpid is missing", lambda v: v["feeds"]["crm_traits"].pop("dpid"), (f"{FEED}.dpid", "missing")),
    ("unknown mode", lambda v: v["feeds"]["crm_traits"].update(mode="append"), (f"{FEED}.mode", "append")),
    (
        "misspelt setting",
        lambda v: v["feeds"]["crm_traits"].update(target_dipd=1),
        (f"{FEED}.target_dipd", "misspelt"),
    ),
    (
        "wrong id type",
        lambda v: v["feeds"]["crm_traits"].update(id_type="cookie"),
        (f"{FEED}.id_type", "cookie", "dpuuid"),
    ),
    (
        "id type contradicts the data source",
        lambda v: v["feeds"]["crm_traits"].update(id_type="gaid"),
        (f"{FEED}.dpid", "58342", "dpuuid", "gaid"),
    ),
    (
        "id type contradicts the global data source",
        lambda v: v["feeds"]["ios_traits"].update(id_type="gaid"),
        ("vars.feeds.ios_traits.dpid", "20915", "idfa", "gaid"),
    ),
    (
        "no target",
        lambda v: v["feeds"]["ios_traits"].pop("target_dpid"),
        ("vars.feeds.ios_traits", "target_dpid is missing", "20915"),
    ),
    (
        "unknown source",
        lambda v: v["feeds"]["crm_traits"].update(dpid=4711),
        (f"{FEED}.dpid", "4711", "vars.data_sources"),
    ),
    (
        "unknown target",
        lambda v: v["feeds"]["crm_traits"].update(target_dpid=4711),
        (f"{FEED}.target_dpid", "4711", "vars.data_sources"),
    ),
    (
        "an overwrite that erases another feed",
        lambda v: v["feeds"]["crm_profile"].pop("target_dpid"),
        ("vars.feeds.crm_profile", "erase", "crm_traits", "58342"),
    ),
    (
        "a source of no id type",
        lambda v: v["data_sources"][58342].update(id_type="cookie"),
        ("vars.data_sources.58342.id_type", "cookie"),
    ),
    (
        "guard too large",
        lambda v: v["feeds"]["crm_traits"].update(guard={"max_removed": 20}),
        (f"{FEED}.guard.max_removed", "20"),
    ),
    (
        "guard misspelt",
        lambda v: v["id_syncs"]["crm_id_sync"].update(guard={"max_remove": 0.1}),
        (f"{SYNC}.guard.max_remove", "misspelt"),
    ),
    ("project's guard", lambda v: v["guards"].update(max_shrink=-0.1), ("vars.guards.max_shrink", "-0.1")),
    ("keep_days", lambda v: v.update(keep_days=float("inf")), ("vars.keep_days", "inf", "3650")),
    ("keep_days, no number", lambda v: v.update(keep_days=float("nan")), ("vars.keep_days", "nan", "3650")),
    ("keep_days for ever", lambda v: v.update(keep_days=10**9), ("vars.keep_days", "3650")),
    ("hours", lambda v: v.update(not_picked_up_hours=-1), ("vars.not_picked_up_hours", "-1")),
    ("hours beyond the 30 days", lambda v: v.update(not_picked_up_hours=721), ("not_picked_up_hours", "720")),
    ("a share that is a truth value", lambda v: v["guards"].update(max_shrink=True), ("max_shrink", "True")),
    ("a count of none", lambda v: v["limits"].update(line_bytes=0), ("vars.limits.line_bytes", "0")),
    ("a DPID of too many digits", lambda v: v["feeds"]["crm_traits"].update(dpid=10**18), (f"{FEED}.dpid",)),
    (
        "no pattern",
        lambda v: v["rules"][0].update(matches="["),
        ("vars.rules.0.matches", "regular expression"),
    ),
    ("no folder", lambda v: v.update(spool_dir=""), ("vars.spool_dir", "no path")),
    ("vars of the project", lambda v: v.update(aam_onboard=[1]), ("vars.aam_onboard", "dictionary")),
    ("nothing for the package", lambda v: v.update(aam_onboard=None), ("vars.aam_onboard", "dictionary")),
    ("order guard", lambda v: v.update(on_unprocessed="stop"), ("vars.on_unprocessed", "stop")),
    ("split size", lambda v: v["limits"].update(split_bytes=0), ("vars.limits.split_bytes", "0")),
    (
        "column too many",
        lambda v: v["id_syncs"]["crm_id_sync"]["columns"].append("more"),
        (SYNC, "3 columns", "2 dpids"),
    ),
    (
        "same DPID twice",
        lambda v: v["id_syncs"]["crm_id_sync"].update(dpids=[58342, 58342]),
        (f"{SYNC}.dpids", "twice"),
    ),
    (
        "CRM ID first without chained",
        lambda v: v["id_syncs"]["crm_id_sync"].update(dpids=[58342, 0]),
        (SYNC, "first column", "58342", "chained: true"),
    ),
    (
        "hash missing in c2c",
        lambda v: v["id_syncs"]["hashed_email_sync"].update(dpids=[58342, 0]),
        ("vars.id_syncs.hashed_email_sync", "c2c_id", "hashed_email"),
    ),
    (
        "source of an ID sync unknown",
        lambda v: v["id_syncs"]["crm_id_sync"].update(dpids=[0, 4711]),
        (f"{SYNC}.dpids", "4711", "vars.data_sources"),
    ),
    ("prefix", lambda v: v["id_syncs"]["crm_id_sync"].update(prefix="adobe"), (f"{SYNC}.prefix", "adobe")),
    (
        "one name for two",
        lambda v: v["feeds"].update(crm_id_sync=v["feeds"]["crm_traits"]),
        ("vars.feeds.crm_id_sync", "same name"),
    ),
]


@pytest.mark.parametrize(("change", "named"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG])
def test_a_mistake_is_named(folder: Path, change: Change, named: tuple[str, ...]) -> None:
    message = complaint(folder, change)
    assert message.startswith("dbt_project.yml: ")
    for part in named:
        assert part in message, message


@pytest.mark.parametrize(
    ("project", "given", "named"),
    [
        ({"keep_days": "x"}, {}, "dbt_project.yml: vars.keep_days: `x`"),
        ({"keep_days": 1, "aam_onboard": {"keep_days": "x"}}, {}, "dbt_project.yml: vars.aam_onboard.keep_days: `x`"),
        ({"keep_days": "x"}, {"keep_days": "y"}, "--vars: keep_days: `y`"),
        ({"destination": "{{ env_var('NOWHERE') }}"}, {}, "dbt_project.yml: vars.destination: the environment"),
        ({"limits": {}}, {}, "dbt_project.yml: vars.limits.line_bytes: is missing"),
        ({"aam_onboard": {"feeds": 3}}, {}, "dbt_project.yml: vars.aam_onboard.feeds: "),
        (
            {"aam_onboard": {"feeds": {"crm_traits": {"dpid": 1, "id_type": "dpuuid", "mode": "sync"}}}},
            {},
            "dbt_project.yml: vars.aam_onboard.feeds.crm_traits.dpid: data source 1 is not in",
        ),
        (
            {},
            {"feeds": {"crm_traits": {"dpid": 1, "id_type": "dpuuid", "mode": "sync"}}},
            "--vars: feeds.crm_traits.dpid: data source 1 is not in",
        ),
    ],
)  # fmt: skip
def test_a_mistake_names_the_file_where_it_stands(
    folder: Path, project: dict[str, Any], given: dict[str, Any], named: str
) -> None:
    file = {"name": "shop", "vars": project}
    (folder / "dbt_project.yml").write_text(yaml.safe_dump(file))
    with pytest.raises(ConfigError) as caught:
        load_project(folder, given)
    assert str(caught.value).startswith(named)


def test_a_mistake_in_the_package_names_its_file(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "package"
    package.mkdir()
    monkeypatch.setattr("aam_onboard.package.package_root", lambda: package)
    monkeypatch.setattr("aam_onboard.config.vars.package_root", lambda: package)
    (folder / "dbt_project.yml").write_text("name: shop\n")
    settings = copy.deepcopy(GOOD)
    settings["vars"]["limits"]["line_bytes"] = "many"
    for written, named in (
        (None, "is missing: install aam-onboard again"),
        ("- no settings\n", "expected `key: value` lines"),
        ("day: 2026-02-31\n", "`2026-02-31` can't be read"),
        (yaml.safe_dump(settings), "vars.limits.line_bytes: `many`"),
    ):
        if written:
            (package / "dbt_project.yml").write_text(written)
        package_settings.cache_clear()
        with pytest.raises(ConfigError) as caught:
            load_project(folder)
        assert str(caught.value).startswith(str(package / "dbt_project.yml"))
        assert named in str(caught.value)
    package_settings.cache_clear()


def test_the_package_is_read_quickly_and_as_any_other_file() -> None:
    assert package_settings() == read_yaml(package_root() / "dbt_project.yml")


def test_a_chained_sync_may_begin_with_a_crm_id(folder: Path) -> None:
    project = load(folder, lambda v: v["id_syncs"]["crm_id_sync"].update(dpids=[58342, 58344], chained=True))
    assert project.vars.id_syncs["crm_id_sync"].chained


def test_full_is_refused_where_feeds_would_erase_each_other(folder: Path) -> None:
    both = {"dpid": 58342, "id_type": "dpuuid", "mode": "sync"}
    project = load(folder, lambda v: v["feeds"].update(crm_profile=both))
    project.require_full_possible(["ios_traits", "crm_id_sync"])
    with pytest.raises(ConfigError, match=r"--full.*crm_traits would erase what feed crm_profile sends"):
        project.require_full_possible(["crm_traits"])
    load(folder).require_full_possible(project.feed_names)


def test_an_unknown_feed_is_answered_with_the_known_ones(folder: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(folder).select(["crm_trait"])
    assert "crm_trait: no such feed" in str(caught.value)
    for name in [*GOOD["vars"]["feeds"], *GOOD["vars"]["id_syncs"]]:
        assert name in str(caught.value)


def test_a_feeds_guard_goes_before_the_projects(folder: Path) -> None:
    project = load(folder, lambda v: v["feeds"]["crm_traits"].update(guard={"max_removed": 0.5}))
    assert project.guards_of("crm_traits").max_removed == 0.5
    assert project.guards_of("crm_traits").max_shrink == 0.2
    assert project.guards_of("ios_traits").max_removed == 0.2


@pytest.mark.parametrize(
    ("file", "text", "named"),
    [
        ("dbt_project.yml", "name: [", ("dbt_project.yml", "line", "YAML")),
        ("dbt_project.yml", "- a list", ("dbt_project.yml",)),
        ("dbt_project.yml", None, ("dbt_project.yml is missing", "--project-dir")),
    ],
)
def test_a_file_that_cannot_be_read(
    folder: Path, file: str, text: str | None, named: tuple[str, ...]
) -> None:
    load(folder)
    if text is None:
        (folder / file).unlink()
    else:
        (folder / file).write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_project(folder)
    for part in named:
        assert part in str(caught.value)


def test_warehouse_settings(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = load(folder)
    for name in ("DBT_PROFILES_DIR", "AAM_TARGET", "AAM_DUCKDB_PATH"):
        monkeypatch.delenv(name, raising=False)
    name, settings = load_warehouse(project, None)
    assert (name, settings) == (
        "duckdb",
        DuckDBSettings(
            type="duckdb",
            path=str(folder / "warehouse.duckdb"),
            schema="main",
            retries=Retries(connect_attempts=2),
        ),
    )
    monkeypatch.setenv("AAM_PG_HOST", "db.example.com")
    monkeypatch.setenv("AAM_PG_PORT", "6432")
    monkeypatch.setenv("AAM_PG_PASSWORD", "not to be shown")
    name, settings = load_warehouse(project, "postgres")
    assert isinstance(settings, PostgresSettings)
    assert (settings.host, settings.port, settings.password) == ("db.example.com", 6432, "not to be shown")
    assert "not to be shown" not in repr(settings)
    with pytest.raises(ConfigError, match=r"profiles.yml: no target mysql; known are duckdb, postgres"):
        load_warehouse(project, "mysql")
    monkeypatch.setenv("AAM_PG_PORT", "none")
    with pytest.raises(ConfigError, match=r"postgres.port: `none`"):
        load_warehouse(project, "postgres")
    (folder / "profiles.yml").write_text("shop: {target: x, outputs: {x: {type: mysql}}}")
    with pytest.raises(
        ConfigError, match=r"x.type: mysql is no supported warehouse; use duckdb, postgres or spark"
    ):
        load_warehouse(project, None)
    (folder / "profiles.yml").write_text("other: {}")
    with pytest.raises(ConfigError, match="no profile shop"):
        load_warehouse(project, None)


def test_destination_settings(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = load(folder)
    for name in ("AAM_DESTINATION", "AAM_PARTNER_NAME"):
        monkeypatch.delenv(name, raising=False)
    name, settings = load_destination(project, None)
    assert (name, settings.type, settings.partner_name) == ("local", "directory", "demo_partner")
    with pytest.raises(ConfigError, match=r"no destination prod; known are local, production, beta"):
        load_destination(project, "prod")
    path = folder / "destinations.yml"
    path.write_text(
        "outputs: {x: {type: directory, path: out, partner_name: \"{{ env_var('NOT_SET_AT_ALL') }}\"}}"
    )
    with pytest.raises(
        ConfigError, match=r"x.partner_name: the environment variable NOT_SET_AT_ALL is not set"
    ):
        load_destination(project, "x")
    path.write_text("outputs: {x: {type: directory, path: out, partner_name: '{{ broken'}}")
    with pytest.raises(ConfigError, match=r"destinations.yml: x"):
        load_destination(project, "x")
    path.write_text("target: x")
    with pytest.raises(ConfigError, match=r"no destination x"):
        load_destination(project, None)
    path.unlink()
    with pytest.raises(ConfigError, match=r"destinations.yml is missing"):
        load_destination(project, None)


def test_what_can_be_set_is_written_down() -> None:
    for name, text in pages().items():
        assert (PROJECT / "docs" / name).read_text(encoding="utf-8") == text, f"docs/{name}: run make docs"
    defaults = package_settings()["vars"]
    assert set(AllVars.model_fields) == set(defaults)
    read = AllVars.model_validate(defaults)
    for name in set(Vars.model_fields) - set(Rules.model_fields):
        assert Vars.model_fields[name].default == getattr(read, name), name
    documented = [Vars, Guards, Feed, IdSync, DataSource, Limits, IdType]
    assert [
        name for kind in documented for name, field in kind.model_fields.items() if not field.description
    ] == []


@pytest.mark.parametrize(
    ("schema", "change", "is_right"),
    [
        ("dbt_project", lambda file: None, True),
        ("dbt_project", lambda file: file.update(vars={"aam_onboard": {"guards": {"max_removed": 1}}}), True),
        ("dbt_project", lambda file: file["vars"]["feeds"]["crm_traits"].update(mode="append"), False),
        ("dbt_project", lambda file: file.update(vars={"aam_onboard": {"guards": {"max_removed": 2}}}), False),
        ("destinations", lambda file: None, True),
        ("destinations", lambda file: file["outputs"]["production"].update(bukcet="x"), False),
        ("destinations", lambda file: file["outputs"]["production"].update(environment="{{ env_var('X') }}"), True),
        ("destinations", lambda file: file["outputs"]["production"].pop("partner_name"), False),
    ],
)  # fmt: skip
def test_editors_know_what_can_be_set(schema: str, change: Change, is_right: bool) -> None:
    file = yaml.safe_load((DEMO / f"{schema}.yml").read_text(encoding="utf-8"))
    change(file)
    # JSON's keys are texts
    file = json.loads(json.dumps(file))
    rules = json.loads((PROJECT / "docs" / "schema" / f"{schema}.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(rules)
    assert jsonschema.Draft202012Validator(rules).is_valid(file) == is_right
