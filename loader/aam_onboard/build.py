"""`dbt build` as a program of its own: its memory ends with it, and DuckDB's file is free afterwards."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import IO, Any
from urllib.parse import quote

import yaml

from aam_onboard import dbt_process, output
from aam_onboard.config import Project
from aam_onboard.errors import ConfigError, DeliveryError, LockedError, without_values
from aam_onboard.warehouse.duckdb import holder

Dbt = subprocess.Popen[str]

REPORTING = "aam_onboard.reporting"  # the folder models/reporting


@contextmanager
def dbt_started(project: Project, adapter: str) -> Iterator[Dbt]:
    """A dbt that imports itself while `aam` does what comes before a build, and that ends with `aam` at the latest.

    It takes part in no process group of ours: `aam` alone hears Ctrl-C, and lets dbt end in its own way.
    """
    # Python's tracker of semaphores warns of a process that ends without tidying up.
    no_warning = "ignore::UserWarning:multiprocessing.resource_tracker"
    command = [sys.executable, "-W", no_warning, dbt_process.__file__, adapter]
    root = project.root.absolute()  # where a relative path of the profile begins, for dbt as for the loader
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, encoding="utf-8", errors="replace", cwd=root, start_new_session=True,
        # a megabyte of debug messages in dbt.log costs a tenth of a run · the SQL has letters that other encodings lack
        env={"DBT_LOG_LEVEL_FILE": "info", **os.environ, "PGCLIENTENCODING": "UTF8"},
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            _close(process.stdin)
            process.wait()


def dbt_build(
    project: Project, target: str, variables: Mapping[str, object], dbt: Dbt, *, quiet: bool = False
) -> dict[str, Any]:
    """Build the whole project in dbt's `target`; dbt's own output goes to stderr.

    Returns where the models are: `<package>.<name>` to schema and table. Raises LockedError when another process has
    the warehouse, ConfigError when a model does not compile, and DeliveryError when a model or test fails; each names
    the model and says dbt's first line.
    """
    # Unit tests prove the SQL when it is edited (dbt build, dbt test), not the data of a run; and none waits for views
    # that only people look at.
    arguments = ["build", "--exclude-resource-type", "unit_test", "--exclude", REPORTING, "--no-write-json"]
    if project.vars.retired:  # the outbox alone: what it is made from does not matter
        arguments = ["run", "--select", "aam_onboard.state", "aam_onboard.inbound", "--no-write-json"]
    # dbt parses all anew when vars differ from the last time: each kind of run keeps its own, and so does the user.
    kind = f"{target}-{variables['destination']}{'-full' if variables['full'] else ''}"
    kind += "-retired" if project.vars.retired else ""
    return _ask(dbt, arguments + _common(project, target, variables, kind), quiet=quiet)


def dbt_places(project: Project, target: str, adapter: str) -> dict[str, Any]:
    """Where dbt would put the models, without building them; as dbt_build says it. Raises ConfigError."""
    with dbt_started(project, adapter) as dbt:
        arguments = [
            "parse",
            "--no-write-json",
            *_common(project, target, project.given_vars, f"{target}-parse"),
        ]
        return _ask(dbt, arguments, quiet=True)


def dbt_state(project: Project, target: str, adapter: str) -> None:
    """Bring the state to the package's version, as the first thing of any build, and build nothing else.

    Raises as dbt_build does.
    """
    with dbt_started(project, adapter) as dbt:
        arguments = ["run", "--select", "aam_onboard.state", "--no-write-json"]
        _ask(dbt, arguments + _common(project, target, project.given_vars, f"{target}-parse"), quiet=True)


def dbt_reporting(project: Project, target: str, adapter: str) -> dict[str, Any]:
    """Make the views of models/reporting/, and tables of the state that an earlier version had not; nothing else.

    Returns and raises as dbt_build does.
    """
    with dbt_started(project, adapter) as dbt:
        tables = "aam_onboard.state,config.materialized:state_table"
        arguments = ["run", "--select", REPORTING, tables, "--no-write-json"]
        return _ask(
            dbt, arguments + _common(project, target, project.given_vars, f"{target}-parse"), quiet=True
        )


def _ask(dbt: Dbt, arguments: list[str], *, quiet: bool) -> dict[str, Any]:
    assert dbt.stdin and dbt.stdout and dbt.stderr  # noqa: S101  # they are pipes
    said: deque[str] = deque(maxlen=20)
    with suppress(BrokenPipeError):  # it has ended already, and has said why
        dbt.stdin.write(json.dumps(arguments) + "\n")
        dbt.stdin.flush()
    for line in dbt.stderr:
        said.append(line)
        if not quiet:
            output.pass_on(line)
    answer = dbt.stdout.read()
    _close(dbt.stdin)
    code = dbt.wait()
    if not answer:
        last = next((line.strip() for line in reversed(said) if line.strip()), "it said nothing")
        raise DeliveryError(f"dbt {arguments[0]} ended with code {code}: {last}")
    found = json.loads(answer)
    if code != 0:
        raise _error(arguments[0], found)
    places: dict[str, Any] = found["places"]
    return places


def _common(project: Project, target: str, variables: Mapping[str, object], kind: str) -> list[str]:
    root = project.root.absolute()
    arguments = ["--project-dir", str(root), "--target", target, "--vars", _as_yaml(variables)]
    arguments += ["--no-version-check"]
    arguments += ["--target-path", str(project.target_path.absolute() / "aam" / quote(kind, safe=""))]
    if not os.environ.get("DBT_PROFILES_DIR") and (project.root / "profiles.yml").is_file():
        arguments += ["--profiles-dir", str(root)]
    return arguments


def _as_yaml(variables: Mapping[str, object]) -> str:
    """As `--vars` had them: JSON would make text of the keys of `data_sources`, and knows no dates."""
    return yaml.safe_dump(
        dict(variables), default_flow_style=True, allow_unicode=True, width=sys.maxsize
    ).strip()


def _error(command: str, answer: Mapping[str, Any]) -> ConfigError | DeliveryError | LockedError:
    """What to say of dbt's answer."""
    failed, messages = answer["failed"], [node["message"] for node in answer["failed"]]
    for text in [answer["error"] or "", *messages]:
        if "Could not set lock" in text or "Conflicting lock" in text:
            return LockedError(f"dbt {command}: the DuckDB file is in use by another process{holder(text)}")
    if not failed:
        lines = [line.strip() for line in (answer["error"] or "it did not say why").splitlines()]
        heading, cause = lines[0], next((line for line in lines[1:] if line), "")
        return ConfigError(f"dbt {command}: {heading}{cause and f': {cause}'}")
    in_the_project = all(message.startswith("Compilation Error") for message in messages)
    kind = ConfigError if in_the_project else DeliveryError
    reasons = "; ".join(f"{node['node']}: {_one_line(node['message'])}" for node in failed[:3])
    more = f" (and {len(failed) - 3} more)" if len(failed) > 3 else ""
    return kind(f"dbt build failed, so nothing is delivered: {reasons}{more}")


def _one_line(message: str) -> str:
    """dbt's message without its heading, file names and the `compiled code at` trailer."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    body = [line for line in lines if not re.match(r"[A-Z][a-z]+ Error in |>|compiled ", line)]
    said = (body or lines or ["failed"])[0]
    return said if message.startswith("Compilation Error") else without_values(said)


def _close(pipe: IO[str] | None) -> None:
    """Whether or not somebody still reads."""
    with suppress(BrokenPipeError):
        if pipe:
            pipe.close()
