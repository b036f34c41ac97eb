"""The dbt package alone, in a project that has nothing of its own: unit tests, and macros against known values."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from conftest import PROJECT, copy_package_tests

if TYPE_CHECKING:
    from conftest import Engine


def test_the_package_builds_and_is_right(
    engine: "Engine", tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    root = tmp_path / "project"
    copy_package_tests(root)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AAM_", "DBT_", "PG"))}
    environment = kept | {"AAM_TARGET": engine}
    if engine == "postgres":
        environment |= {
            "AAM_PG_HOST": request.getfixturevalue("postgres_host"),
            "AAM_PG_SCHEMA": "package_alone",
        }
    command = [sys.executable, "-m", "dbt.cli.main", "build"]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "WARN=0 ERROR=0 SKIP=0" in done.stdout
    unit_tests = [
        test["name"]
        for file in (PROJECT / "models").rglob("*.yml")
        for test in yaml.safe_load(file.read_text(encoding="utf-8")).get("unit_tests", [])
    ]
    assert len(unit_tests) > 30
    for name in unit_tests:
        assert f"::{name}" in done.stdout, name


def test_unit_tests_stand_beside_their_model() -> None:
    for file in (PROJECT / "models").rglob("*.yml"):
        for test in yaml.safe_load(file.read_text(encoding="utf-8")).get("unit_tests", []):
            assert file.name == f"{test['model']}__unit_tests.yml", test["name"]
            assert (file.parent / f"{test['model']}.sql").is_file()


def test_every_model_is_described() -> None:
    described = {
        model["name"]: model
        for file in (PROJECT / "models").rglob("*__models.yml")
        for model in yaml.safe_load(file.read_text(encoding="utf-8"))["models"]
    }
    models = {file.stem: file for file in (PROJECT / "models").rglob("*.sql")}
    assert set(described) == set(models)
    for name, file in models.items():
        text = file.read_text(encoding="utf-8")
        if "state_table" in text:
            columns = [line.split()[0] for line in text.splitlines() if line and line[0] not in " {-})"]
            assert [column["name"] for column in described[name]["columns"]] == columns, name


def test_every_engine_has_an_answer() -> None:
    """A dispatched macro has a default, or one that names the engine that it knows nothing of."""
    texts = {file: file.read_text(encoding="utf-8") for file in (PROJECT / "macros").rglob("*.sql")}
    dispatched = 0
    for file, text in texts.items():
        calls = re.findall(r"adapter\.dispatch\('(\w+)', '(\w+)'\)", text)
        dispatched += len(calls)
        assert len(calls) == text.count("adapter.dispatch"), file
        for name, package in calls:
            assert package == "aam_onboard", file
            assert f"macro default__{name}(" in text, f"{file}: {name}"
        for variant in re.findall(r"macro (?:default|duckdb|postgres|spark)__(\w+)\(", text):
            if file.stem != "spark__load_csv_rows":  # dbt's own macros, which dbt dispatches
                assert variant in [name for name, _ in calls], f"{file}: {variant}"
    assert dispatched > 15


def test_a_macro_is_found_by_its_file() -> None:
    """A file has the name of a macro in it; what else it holds are variants, or kin of the same thing."""
    for file in (PROJECT / "macros").rglob("*.sql"):
        text = file.read_text(encoding="utf-8")
        names = re.findall(r"{% (?:macro|materialization) (\w+)", text)
        assert file.stem.removeprefix("materialization_") in names, file
        assert text.startswith("{#"), f"{file}: says not what it is for"


def test_a_pattern_stands_once() -> None:
    """What two rules ask alike has a name: a YAML anchor."""
    text = (PROJECT / "dbt_project.yml").read_text(encoding="utf-8")
    patterns = re.findall(
        r'(?:matches|contains|unlike|pattern|plain): (?:&\w+ )?("(?:[^"\\\\]|\\\\.)*")', text
    )
    assert len(patterns) > 15
    assert [one for one in set(patterns) if patterns.count(one) > 1] == []


def test_one_list_of_spaces() -> None:
    """A macro that a user's own models call sees no vars of the package, and has the list once more."""
    spaces = yaml.safe_load((PROJECT / "dbt_project.yml").read_text(encoding="utf-8"))["vars"]["spaces"]
    macro = (PROJECT / "macros" / "identity" / "trim_space.sql").read_text(encoding="utf-8")
    written = macro[macro.index("var('spaces', ") : macro.index("{%- set controls")]
    parts = re.findall(r"'[^']*'", written)[1:]
    assert "".join(ast.literal_eval(part) for part in parts) == spaces
