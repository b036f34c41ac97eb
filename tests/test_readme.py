"""What the README shows is what happens."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Stage, Workspace

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
BIN = Path(sys.executable).parent


def console_blocks() -> list[list[tuple[str, list[str]]]]:
    """Each ```console block as commands with the output that is shown below them."""
    blocks = []
    for block in re.findall(r"```console\n(.*?)```", README, re.DOTALL):
        commands: list[tuple[str, list[str]]] = []
        for line in block.splitlines():
            if line.startswith("$ "):
                commands.append((line[2:], []))
            else:
                commands[-1][1].append(line)
        blocks.append(commands)
    return blocks


def test_console_blocks_show_what_the_commands_print(
    duckdb_workspace: "Callable[[Stage], Workspace]",
) -> None:
    place = duckdb_workspace("delivered")
    (place.root / "macros" / "seed_once.sql").unlink()  # here, the seeds are what changes
    path = {"PATH": f"{BIN}:{os.environ['PATH']}"}
    blocks = [block for block in console_blocks() if not block[0][0].startswith("make ")]
    assert sum(len(shown) > 0 for block in blocks for _, shown in block) >= 3
    for block in blocks:
        for command, shown in block:
            done = subprocess.run(
                command,
                shell=True,
                cwd=place.root,
                env=place.env(path),
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, (command, done.stderr)
            if shown:
                printed = [line.rstrip() for line in done.stdout.splitlines()]
                assert printed == shown, command


def test_file_list_names_what_is_delivered(duckdb_workspace: "Callable[[Stage], Workspace]") -> None:
    def without_times(text: str) -> str:
        return re.sub(r"_\d{10}\.", "_TIME.", re.sub(r"date=[\d-]+", "date=DAY", text))

    place = duckdb_workspace("delivered")
    files = sorted(str(path.relative_to(place.root)) for path in (place.root / "out").rglob("*.gz"))
    shown = re.findall(r"^out/\S+\.gz$", README, re.MULTILINE)
    assert [without_times(name) for name in shown] == [without_times(name) for name in files]


def test_make_targets_exist() -> None:
    makefile = (Path(__file__).parents[1] / "Makefile").read_text(encoding="utf-8")
    named = set(re.findall(r"(?:`|\$ )make ([a-z]+)", README))
    assert {"demo", "test"} <= named
    for target in named:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_commands_and_their_options_are_those_of_help() -> None:
    helped = subprocess.run([BIN / "aam", "--help"], capture_output=True, text=True, check=True).stdout
    listed = set(re.findall(r"^  ([a-z][a-z-]+)  ", helped, re.MULTILINE))
    described = dict(re.findall(r"^\| `aam ([a-z-]+)[^|]*` \| (.*) \|$", README, re.MULTILINE))
    assert set(described) == listed
    for command, text in described.items():
        usage = subprocess.run([BIN / "aam", command, "--help"], capture_output=True, text=True, check=True)
        assert "Example: aam" in usage.stdout
        for option in re.findall(r"--[a-z-]+", text):
            assert option in usage.stdout, (command, option)


@pytest.mark.parametrize(
    ("code", "error"), [(1, "DeliveryError"), (2, "ConfigError"), (3, "GuardError"), (4, "LockedError")]
)
def test_exit_codes_are_those_of_the_errors(code: int, error: str) -> None:
    from aam_onboard import errors

    assert getattr(errors, error).exit_code == code
    assert re.search(rf"^\| {code} \|", README, re.MULTILINE)


def test_new_feed_of_the_readme_works(duckdb_workspace: "Callable[[Stage], Workspace]") -> None:
    place = duckdb_workspace("delivered")
    model = re.search(r"```sql\n-- (models/feeds/\S+)\n(.*?)```", README, re.DOTALL)
    entry = re.search(r"```yaml\nvars:\n  feeds:\n(.*?)```", README, re.DOTALL)
    assert model and entry
    (place.root / model[1]).write_text(model[2], encoding="utf-8")
    settings = place.root / "dbt_project.yml"
    settings.write_text(
        settings.read_text(encoding="utf-8").replace("  feeds:\n    crm", f"  feeds:\n{entry[1]}    crm")
    )
    [delivery] = place.run("--select", Path(model[1]).stem)
    assert delivery["status"] == "delivered"
    assert delivery["files"][0]["lines"] > 0
