"""Whatever stands in a settings file or on the command line: one clear line, and never "a fault of aam"."""

import copy
import datetime
import gc
import io
import os
import random
import signal
import sys
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import DEMO, SOAK, all_vars, install_package
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aam_onboard.cli import main
from aam_onboard.config import load_project, load_warehouse
from aam_onboard.errors import ConfigError

FILES = ("dbt_project.yml", "destinations.yml", "profiles.yml")
TREES: dict[str, Any] = {file: yaml.safe_load((DEMO / file).read_text()) for file in FILES}
# The rules are many and alike: a few make the fuzzing quick.
TREES["dbt_project.yml"]["vars"] = all_vars(TREES["dbt_project.yml"]["vars"])
TREES["dbt_project.yml"]["vars"]["rules"] = TREES["dbt_project.yml"]["vars"]["rules"][6:9]

FAULT = "this is a fault of aam"

quick = settings(
    max_examples=25 * SOAK, deadline=None, suppress_health_check=list(HealthCheck), derandomize=SOAK == 1
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that nothing was built in: every command reads all its settings, and then says so."""
    root = tmp_path_factory.mktemp("project")
    (root / "models").mkdir()
    variables = TREES["dbt_project.yml"]["vars"]
    for name in [*variables["feeds"], *variables["id_syncs"]]:
        (root / "models" / f"{name}.sql").touch()
    install_package(root)
    write(root)
    return root


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(("AAM_", "DBT_", "PG", "AWS_")):
            monkeypatch.delenv(name)


def as_text(tree: object) -> str:
    return yaml.dump(tree, sort_keys=False, allow_unicode=True)


TEXT_OF = {file: as_text(tree) for file, tree in TREES.items()}


def write(root: Path, file: str = "", tree: object = None) -> None:
    for name in FILES:
        (root / name).write_text(as_text(tree) if name == file else TEXT_OF[name], encoding="utf-8")


def aam(*arguments: str) -> tuple[int, str]:
    """The command in this process: its exit code, and what it says on stderr."""
    err = io.StringIO()
    held = sys.argv, signal.getsignal(signal.SIGTERM), gc.get_threshold()
    sys.argv = ["aam", *arguments]
    try:
        with redirect_stderr(err), redirect_stdout(io.StringIO()), pytest.raises(SystemExit) as end:
            main()
    finally:
        sys.argv = held[0]
        signal.signal(signal.SIGTERM, held[1])
        gc.set_threshold(*held[2])
    return int(end.value.code or 0), err.getvalue()


def refused(*arguments: str) -> str:
    """A command that must end with exit code 2 and one line: the line."""
    code, said = aam(*arguments)
    assert code == 2, said
    assert said.startswith("aam: ") and said.count("\n") == 1, said
    assert FAULT not in said, said
    return said


def deep(levels: int) -> list[Any]:
    tree: list[Any] = []
    for _ in range(levels):
        tree = [tree]
    return tree


ODD: list[Any] = [
    None, True, False, 0, -1, 1.5, 10**17, 10**40, 10**4000, float("nan"), float("inf"), float("-inf"),
    "", " ", "x", "..", "a/b", "~nobody-here/x", "\0", "\ud800", "\x1b[31m", "\u202e", "é" * 300, "-", "*", "[",
    "{{", "{{ env_var('NOT_SET_AT_ALL') }}", "{{ env_var() }}", "{{ env_var(1) }}", "{{ 1 / 0 }}", "{{ x.y.z }}",
    "{{ [1] * 'a' }}", "{{ range(10 ** 9) | list }}", "{% if %} {{", "{{ '\\0' }}", "{{ env_var.__globals__ }}",
    datetime.date(2026, 1, 1), datetime.datetime(2026, 1, 1, 12), b"\xff", {"a"}, [], {}, [None], [[1]], ["x"],
    {1: 2}, {None: None}, {True: "x"}, {"type": []}, {"x": {"y": {}}}, deep(30), deep(60),
]  # fmt: skip
values = st.sampled_from(ODD) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.dates(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.none() | st.integers() | st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


def changed(tree: Any, value: Any, chance: random.Random) -> Any:
    """The tree with the value in a place that chance picks: instead of what is there, beside it, or for a key."""
    tree = copy.deepcopy(tree)
    place: Any = tree
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            return tree
        key = chance.choice(keys)
        if isinstance(place[key], (dict, list)) and place[key] and chance.random() < 0.8:
            place = place[key]
            continue
        how = chance.choice(["instead", "gone", "beside", "key"])
        if how == "instead" or not isinstance(place, dict):
            place[key] = value
        elif how == "gone":
            del place[key]
        elif how == "beside":
            place["x"] = value
        else:
            place[value if value.__hash__ else "x"] = place.pop(key)
        return tree


@pytest.mark.parametrize("file", FILES)
@given(data=st.data())
@quick
def test_any_tree_in_a_file(folder: Path, file: str, data: st.DataObject) -> None:
    value, chance = data.draw(values), data.draw(st.randoms(use_true_random=False))
    write(folder, file, value if chance.random() < 0.05 else changed(TREES[file], value, chance))
    chosen = chance.choice([(), ("--to", "production")])
    refused("plan", "--target", "duckdb", *chosen, "--project-dir", str(folder))
    with suppress(ConfigError):  # settings of a server that nobody shall look for
        load_warehouse(load_project(folder), "postgres")


@pytest.mark.parametrize("file", FILES)
@given(
    content=st.binary(max_size=50)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=50).map(str.encode)
)
@quick
def test_any_bytes_in_a_file(folder: Path, file: str, content: bytes) -> None:
    write(folder)
    (folder / file).write_bytes(content)
    refused("plan", "--project-dir", str(folder))


TEXTS = [
    "", "#", "---\n---\n", "a: 1\na: 2", "a: &a [*a]", "a: &a {b: *a}", "? [1]\n: 2", "<<: 1", "a:\n\t- b",
    "a: !!int x",
    "a: !!timestamp x", "a: !!bool x", "a: !!float x", "a: 2026-02-31", "a: !x y", "a: !!binary eA==", "a: !!set {x}",
    "[" * 5000, "- " * 5000, "{a: " * 5000, "a: " + "9" * 5000, "a: 0x" + "f" * 5000, "a: *b", "- a", "a", "1",
    "\ufeff", "a: @",
    "c0: &c0 [x]\n" + "".join(f"c{n + 1}: &c{n + 1} [{', '.join([f'*c{n}'] * 9)}]\n" for n in range(9)),
]  # fmt: skip


@pytest.mark.parametrize("file", FILES)
def test_texts_that_are_no_settings(folder: Path, file: str) -> None:
    write(folder)
    for text in TEXTS:
        (folder / file).write_text(text, encoding="utf-8")
        assert file in refused("plan", "--project-dir", str(folder))
    (folder / file).write_bytes("name: é".encode("utf-16"))
    assert "no UTF-8" in refused("plan", "--project-dir", str(folder))
    # what a person's editor makes of a right file
    write(folder)
    text = (folder / file).read_text(encoding="utf-8")
    (folder / file).write_bytes(text.replace("\n", "\r\n").encode("utf-8-sig"))
    assert "nothing has been built" in refused("plan", "--target", "duckdb", "--project-dir", str(folder))


@pytest.mark.parametrize("file", FILES)
def test_files_that_are_none(folder: Path, file: str) -> None:
    write(folder)
    path = folder / file
    path.unlink()
    path.mkdir()
    assert f"{file} cannot be read: it is no file" in refused("plan", "--project-dir", str(folder))
    path.rmdir()
    path.symlink_to(path)
    assert f"{file} cannot be read: Too many levels" in refused("plan", "--project-dir", str(folder))
    path.unlink()
    os.mkfifo(path)
    assert f"{file} cannot be read: it is no file" in refused("plan", "--project-dir", str(folder))
    path.unlink()
    path.write_bytes(b"#" * 5_000_000)
    assert "5,000,000 bytes, which are no settings" in refused("plan", "--project-dir", str(folder))
    write(folder)


# --- the command line ---------------------------------------------------------------------------------------------

OPTIONS = {
    "run": ["--select", "--target", "--to", "--force-feed", "--vars"],
    "plan": ["--select", "-s", "--target", "--to", "--rejected"],
    "deliver": ["--select", "--target", "--to", "--force-feed", "--abandon"],
    "status": ["--select", "--target", "--to"],
    "check": ["--name", "--taxonomy", "--errors"],
    "id-sync-url": ["--id", "--redirect", "--gdpr-consent"],
}
NEEDED = {"check": ["-"], "id-sync-url": ["--dpid", "58342", "--id", "x"]}
EVERY_OPTION = [
    (command, option) for command, options in OPTIONS.items() for option in [*options, "--project-dir"]
]


@pytest.mark.parametrize(("command", "option"), EVERY_OPTION, ids=" ".join)
def test_an_empty_option_is_not_taken_for_none(folder: Path, command: str, option: str) -> None:
    """`--to "$DEST"` with DEST unset must not come to mean the default destination."""
    write(folder)
    place = [] if option == "--project-dir" else ["--project-dir", str(folder)]
    long = {"-s": "--select"}.get(option, option)
    for empty in ["", *([" ", ","] if long in ("--select", "--force-feed") else [])]:
        said = refused(command, *NEEDED.get(command, []), option, empty, *place)
        assert f"{long} is empty" in said
    assert "no UTF-8 text" in refused(command, *NEEDED.get(command, []), option, "a\udcff", *place)


@pytest.mark.parametrize(
    "name", ["AAM_PROJECT_DIR", "AAM_LOG_FORMAT", "DBT_PROFILES_DIR", "AAM_DESTINATION", "AAM_TARGET"]
)
def test_an_empty_variable_is_not_taken_for_none(
    folder: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder)
    monkeypatch.setenv(name, "")
    assert "empty" in refused("plan", "--project-dir", str(folder))


@given(data=st.data())
@quick
def test_any_argument(folder: Path, data: st.DataObject) -> None:
    write(folder)
    command, option = data.draw(st.sampled_from(EVERY_OPTION))
    argument = st.text(st.characters(exclude_characters="\0"), max_size=8)
    value = data.draw(
        argument | st.sampled_from([*TEXTS, "~nobody-here", "/dev/full", "/dev/zero", "..", "x" * 5000])
    )
    more = data.draw(
        st.lists(
            st.sampled_from(["--json", "--full", "--limit=0", "--dpid=-1", "--gdpr=1", "-", "--"]), max_size=2
        )
    )
    project = [] if option == "--project-dir" else ["--project-dir", str(folder)]
    code, said = aam(command, *project, *NEEDED.get(command, []), f"{option}={value}", *more)
    assert FAULT not in said, said
    assert code in (0, 1, 2), (code, said)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("a: &a [*a]", "alias within itself"), ("[1]", "key: value"), ("{a: b: c}", "no YAML"),
        ("a: 1\na: 2", "stands twice"), ("a: 2026-01-01", "in quotes"), ("a: .inf", "in quotes"),
    ],
)  # fmt: skip
def test_vars_that_are_none(folder: Path, text: str, named: str) -> None:
    write(folder)
    said = refused("run", "--target", "duckdb", "--project-dir", str(folder), "--vars", text)
    assert "--vars" in said and named in said


def test_one_feed_for_samples(folder: Path) -> None:
    write(folder)
    said = refused("plan", "--project-dir", str(folder), "--rejected", "crm_traits,ios_traits")
    assert "--rejected crm_traits,ios_traits: one feed at a time" in said
    assert "--rejected x: no such feed" in refused("plan", "--project-dir", str(folder), "--rejected", "x")
    assert "--force-feed x: no such feed" in refused(
        "deliver", "--project-dir", str(folder), "--force-feed", "x"
    )


def test_errors_replace_no_file_unasked(folder: Path, tmp_path: Path) -> None:
    write(folder)
    file, errors = tmp_path / "ftp_dpm_58342_1500000000.sync", tmp_path / "errors.tsv"
    file.write_text("no tab\n")
    errors.write_text("precious")
    arguments = ("check", str(file), "--project-dir", str(folder), "--errors")
    assert "errors.tsv: the file is there already" in refused(*arguments, str(errors))
    assert errors.read_text() == "precious"
    assert aam(*arguments, str(errors), "--overwrite")[0] == 1
    assert errors.read_text() == "1\tno_signals\tno tab\n"
    assert aam(*arguments, "/dev/null")[0] == 1
    assert "/dev/full can't be written: No space left" in refused(*arguments, "/dev/full")
    assert "can't be written" in refused(*arguments, str(tmp_path))
