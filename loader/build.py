"""`dbt build` as a program of its own: its memory ends with it, and DuckDB's file is free afterwards."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from loader import output
from loader.config import Project
from loader.errors import AamError, ConfigError, DeliveryError, LockedError, without_values

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_TIME = re.compile(r"^\d\d:\d\d:\d\d\s+")


def dbt_build(project: Project, target: str, variables: Mapping[str, object], *, quiet: bool = False) -> None:
    """Build the whole project in dbt's `target`; dbt's own output goes to stderr.

    Raises LockedError when another process has the warehouse, ConfigError when a model does not compile, and
    DeliveryError when a model or test fails; each names the model and says dbt's first line.
    """
    began = time.time()
    root = project.root.absolute()
    command = [sys.executable, "-m", "dbt.cli.main", "build", "--project-dir", str(root)]
    command += ["--target", target, "--vars", json.dumps(variables)]
    # unit tests prove the SQL when it is edited (dbt build, dbt test), not the data of a run
    command += ["--exclude-resource-type", "unit_test"]
    if not os.environ.get("DBT_PROFILES_DIR") and (project.root / "profiles.yml").is_file():
        command += ["--profiles-dir", str(root)]
    said: deque[str] = deque(maxlen=400)
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        cwd=root,  # where a relative path of the profile begins, for dbt as for the loader
    ) as process:
        assert process.stdout is not None  # noqa: S101  # it is a pipe
        try:
            for line in process.stdout:
                said.append(_COLOURS.sub("", line))
                if not quiet:
                    output.pass_on(line)
        except BaseException:
            process.terminate()  # nobody would deliver what it builds
            raise
        code = process.wait()
    if code == 0:
        return
    text = "".join(said)
    if "Could not set lock" in text or "Conflicting lock" in text:
        raise LockedError("dbt build: the DuckDB file is in use by another process; wait for it, or close it")
    failed = _failed_nodes(project, began)
    if failed:
        kind = ConfigError if all(failure.in_the_project for failure in failed) else DeliveryError
        reasons = "; ".join(failure.text for failure in failed[:3])
        raise kind(f"dbt build failed, so nothing is delivered: {reasons}{_more(failed)}")
    raise _compile_error(said, code)


@dataclass(frozen=True)
class _Failure:
    """A model or test that failed: its name and dbt's message in one line; whether its code or the data are wrong."""

    text: str
    in_the_project: bool


def _failed_nodes(project: Project, began: float) -> list[_Failure]:
    """Models and tests that failed in this build."""
    path = project.target_path / "run_results.json"
    try:
        if path.stat().st_mtime < began:
            return []
        results = json.loads(path.read_text(encoding="utf-8"))["results"]
    except (OSError, ValueError, KeyError):
        return []
    return [
        _Failure(
            f"{Path(result['unique_id'].replace('.', '/', 2)).name}: {_one_line(result.get('message') or 'failed')}",
            in_the_project=(result.get("message") or "").startswith("Compilation Error"),
        )
        for result in results
        if result.get("status") in ("error", "fail")
    ]


def _one_line(message: str) -> str:
    """dbt's message without its heading, file names and the `compiled code at` trailer."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    body = [line for line in lines if not re.match(r"[A-Z][a-z]+ Error in |>|compiled ", line)]
    said = (body or lines or ["failed"])[0]
    return said if message.startswith("Compilation Error") else without_values(said)


def _compile_error(said: deque[str], code: int) -> AamError:
    lines = [_TIME.sub("", line).strip() for line in said]
    for place, line in enumerate(lines):
        if re.search(r"(Compilation|Parsing|Runtime|Database|Validation|Dependency) Error|Error:", line):
            heading = line.rstrip(":")
            is_heading = heading.endswith("Error") or "Error in" in heading
            cause = next((later for later in lines[place + 1 :] if later), "") if is_heading else ""
            return ConfigError(f"dbt build: {heading}{cause and f': {cause}'}")
    return DeliveryError(f"dbt build ended with code {code}; its output above says why")


def _more(failed: list[_Failure]) -> str:
    return f" (and {len(failed) - 3} more)" if len(failed) > 3 else ""
