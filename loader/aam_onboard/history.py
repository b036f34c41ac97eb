"""What is written down of each run: that it began, how it ended, what came of it. Never does this make a run fail."""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from aam_onboard import state
from aam_onboard.errors import AamError
from aam_onboard.package import package_version
from aam_onboard.running import FeedError, RunResult

if TYPE_CHECKING:
    from aam_onboard.config import Project
    from aam_onboard.state import Batch
    from aam_onboard.warehouse import Warehouse

log = logging.getLogger("aam")

_OUTCOMES = {0: "done", 1: "failed", 2: "misconfigured", 3: "stopped", 4: "locked", 130: "interrupted"}


@dataclass
class Story:
    """A run under way, and at its end what came of it: a row of `runs`.

    `steps`: seconds by step · `late`: feeds whose file waits too long, and what to say of it · `told`: problems as
    the last run that told of any wrote them down · `is_ended`: whether that stands in the warehouse.
    """

    command: str
    arguments: str
    target: str
    destination: str
    feeds: Sequence[str]
    run_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    started_at: datetime = field(default_factory=lambda: datetime.now(timezone.utc))
    began: float = field(default_factory=time.monotonic)
    steps: dict[str, float] = field(default_factory=dict)
    result: RunResult = field(default_factory=RunResult)
    exit_code: int | None = None
    seconds: float | None = None
    late: dict[str, str] = field(default_factory=dict)
    told: str | None = None
    is_ended: bool = False

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Measure a part of the run."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.steps[name] = round(time.monotonic() - began, 3)

    def end(self, result: RunResult, exit_code: int | None = None) -> None:
        """Take down what came of it."""
        self.result = result
        self.exit_code = result.exit_code if exit_code is None else exit_code
        self.seconds = round(time.monotonic() - self.began, 3)

    @property
    def outcome(self) -> str:
        """running, or how it ended."""
        return "running" if self.exit_code is None else _OUTCOMES.get(self.exit_code, "failed")

    @property
    def rejected(self) -> int:
        """Rows kept back in the build that was delivered."""
        return sum(self.result.rejected.values())

    def figures(self) -> dict[str, dict[str, Any]]:
        """What came of each feed."""
        found: dict[str, dict[str, Any]] = {}
        stopped = {error.feed: error for error in self.result.errors if isinstance(error, FeedError)}
        for feed in self.feeds if self.exit_code is not None else ():
            if feed in stopped:
                what = "stopped" if stopped[feed].exit_code == 3 else "failed"
                found[feed] = {"status": what, "reason": str(stopped[feed])}
            elif feed in self.result.kept_back:
                found[feed] = {"status": "kept back"}
            elif feed in self.result.rejected:
                found[feed] = {"status": "unchanged"}
            else:  # it never came to it
                continue
            if feed in self.result.rejected:
                found[feed]["rejected"] = self.result.rejected[feed]
        for outcome in self.result.outcomes:
            sent = outcome.delivery
            found[sent.feed] = {
                "status": sent.status,
                "delivery_id": sent.delivery_id,
                "lines": sent.lines,
                "users": sent.users,
                "signals_added": sent.signals_added,
                "signals_removed": sent.signals_removed,
                "rejected": sent.rejected,
                "files": len(outcome.files),
                "bytes": sum(file.bytes for file in outcome.files),
                "seconds": round((sent.changed_at - sent.started_at).total_seconds(), 3),
                "forced": sent.forced,
            }
        for file in self.result.received.files if self.result.received else ():
            came = found.setdefault(f"outbound {file.outbound}", {"status": "received"})
            for name, n in (
                ("files", 1),
                ("lines", file.lines),
                ("users", file.users),
                ("bytes", file.bytes),
            ):
                came[name] = came.get(name, 0) + n
        return found

    def to_row(self) -> dict[str, object]:
        """As `runs` has it."""
        files = [file for outcome in self.result.outcomes for file in outcome.files]
        has_ended = self.exit_code is not None
        return {
            "run_id": self.run_id,
            "command": self.command,
            "arguments": self.arguments,
            "target": self.target,
            "destination": self.destination,
            "feeds": json.dumps(list(self.feeds)),
            "version": package_version(),
            "holder": state.this_process(),
            "started_at": self.started_at,
            "ended_at": datetime.now(timezone.utc) if has_ended else None,
            "seconds": self.seconds,
            "exit_code": self.exit_code,
            "outcome": self.outcome,
            "reason": "\n".join(" ".join(str(error).split()) for error in self.result.errors) or None,
            "deliveries": len(self.result.outcomes),
            "files": len(files),
            "lines": sum(outcome.delivery.lines for outcome in self.result.outcomes),
            "bytes": sum(file.bytes for file in files),
            "rejected": self.rejected,
            "steps": json.dumps(self.steps) if has_ended else None,
            "figures": json.dumps(self.figures()) if has_ended else None,
        }


def begin(warehouse: Warehouse, project: Project, story: Story) -> None:
    """Write down that a run is under way, and that those of the same feeds that were are no more: it has the lock."""
    with _harmless("that the run has begun"):
        if not state.is_there(warehouse, project, "runs"):
            return
        runs = state.table(project, "runs")
        with warehouse.transaction():
            for row in warehouse.rows(f"select run_id, feeds from {runs} where outcome = 'running'"):
                if row["run_id"] != story.run_id and set(json.loads(row["feeds"])) & set(story.feeds):
                    warehouse.execute(
                        f"update {runs} set outcome = 'killed', reason = $2 where run_id = $1",
                        [row["run_id"], "it was killed, or could not write down how it ended"],
                    )
            _put(warehouse, project, story)
    read_told(warehouse, project, story)


def read_told(warehouse: Warehouse, project: Project, story: Story) -> None:
    """Learn what vars.notify knows of this destination, if it is to know anything."""
    with _harmless("what was told last"):
        if project.vars.notify and state.is_there(warehouse, project, "runs"):
            rows = warehouse.rows(
                f"select told from {state.table(project, 'runs')} where told is not null and target = $1"
                " and destination = $2 order by started_at desc nulls last limit 1",
                [story.target, story.destination],
            )
            story.told = rows[0]["told"] if rows else None


def keep_told(warehouse: Warehouse, project: Project, story: Story, told: str) -> None:
    """Write down what vars.notify knows from this run on."""
    with _harmless("what was told"):
        if state.is_there(warehouse, project, "runs"):
            warehouse.execute(
                f"update {state.table(project, 'runs')} set told = $2 where run_id = $1",
                [story.run_id, told],
            )


def end(warehouse: Warehouse, project: Project, story: Story) -> None:
    """Write down how a run has ended."""
    with _harmless("how the run has ended"):
        if state.is_there(warehouse, project, "runs"):
            with warehouse.transaction():
                _put(warehouse, project, story)
        story.is_ended = True


def _put(warehouse: Warehouse, project: Project, story: Story) -> None:
    runs = state.table(project, "runs")
    warehouse.execute(f"delete from {runs} where run_id = $1", [story.run_id])
    state.insert(warehouse, runs, story.to_row())


def keep_rejected(
    warehouse: Warehouse,
    project: Project,
    batches: Sequence[Batch],
    reasons: Mapping[str, Mapping[str, int]],
) -> None:
    """Write down how many rows a build has kept back, by feed and reason, in place of the day's earlier builds."""
    if project.vars.retired or not batches:
        return
    with _harmless("what was kept back"):
        if not state.is_there(warehouse, project, "rejected_history"):
            return
        history = state.table(project, "rejected_history")
        built_at = batches[0].built_at
        day = (built_at.astimezone(timezone.utc) if built_at.tzinfo else built_at).date()
        destination = batches[0].destination
        feeds = [batch.feed for batch in batches]
        rows = [(feed, reason, n) for feed in feeds for reason, n in reasons.get(feed, {}).items()]
        with warehouse.transaction():
            places = ", ".join(f"${place}" for place in range(3, len(feeds) + 3))
            warehouse.execute(
                f"delete from {history} where day = $1 and destination = $2 and feed in ({places})",
                [day, destination, *feeds],
            )
            for some in (rows[start : start + 1000] for start in range(0, len(rows), 1000)):
                values = ", ".join(
                    f"($1, $2, ${place}, ${place + 1}, ${place + 2})"
                    for place in range(3, 3 * len(some) + 3, 3)
                )
                warehouse.execute(
                    f"insert into {history} (day, destination, feed, reason, rows) values {values}",
                    [day, destination, *(value for row in some for value in row)],
                )


@contextmanager
def _harmless(what: str) -> Iterator[None]:
    """A run goes on where its history can't be written."""
    try:
        yield
    except AamError as error:
        log.warning("%s", f"{what} could not be written down: {error}")
