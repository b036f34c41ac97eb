"""What a delivery would send, before it is sent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from aam_onboard import state
from aam_onboard.config import Project
from aam_onboard.guards import guard_verdict, refusal_of_full, require_full
from aam_onboard.state import Batch
from aam_onboard.warehouse import Warehouse


@dataclass(frozen=True)
class FeedPlan:
    """A batch, its rejected rows by reason, and what stands against sending it, guards above all (empty: nothing).

    `synced`: the share of its users whose ID is synced, see state.synced_share. `letter_cases`: what it spells in more
    than one letter case.
    """

    batch: Batch
    data_source: str
    rejected: dict[str, int]
    guard: list[str]
    delivered: bool
    synced: float | None
    letter_cases: list[dict[str, Any]]

    def to_json(self) -> dict[str, Any]:
        """The stable form for scripts."""
        return {
            "feed": self.batch.feed,
            "kind": self.batch.kind,
            "mode": self.batch.mode,
            "destination": self.batch.destination,
            "data_source": self.data_source,
            "batch_id": self.batch.batch_id,
            "delivered": self.delivered,
            "users": self.batch.users,
            "lines": self.batch.lines,
            "signals_added": self.batch.signals_added,
            "signals_removed": self.batch.signals_removed,
            "signals_unchanged": self.batch.signals_unchanged,
            "rejected": self.rejected,
            "synced": self.synced,
            "letter_cases": self.letter_cases,
            "guard": "; ".join(self.guard) or "ok",
        }


def make_plan(
    warehouse: Warehouse, project: Project, feeds: list[str], *, full: bool = False
) -> list[FeedPlan]:
    """The plan of the last build for `feeds`.

    Raises ConfigError when nothing is built, when the build is torn, or when `full` is asked of a build of changes;
    LockedError while dbt is building.
    """
    state.require_build(warehouse, project)
    batches = state.read_batches(warehouse, project, feeds)
    state.require_whole_build(warehouse, project, batches)
    if full:
        require_full(batches)
    reasons = state.rejected_reasons(warehouse, project)
    letter_cases = state.letter_cases(warehouse, project)
    plans = []
    for batch in batches:
        last = state.last_delivered(warehouse, project, batch.destination, batch.feed)
        plans.append(
            FeedPlan(
                batch=batch,
                data_source=_data_source(project, batch.feed),
                rejected=reasons.get(batch.feed, {}),
                guard=_against(project, batch, reasons.get(batch.feed, {})),
                delivered=bool(last and last.batch_id == batch.batch_id),
                synced=state.synced_share(warehouse, project, batch),
                letter_cases=letter_cases.get(batch.feed, []),
            )
        )
    return plans


def _against(project: Project, batch: Batch, reasons: dict[str, int]) -> list[str]:
    refusal = refusal_of_full(project, batch)
    return ([str(refusal)] if refusal else []) + guard_verdict(project, batch, reasons)


def _data_source(project: Project, feed: str) -> str:
    """`CRM customers (58342)`, `idfa (global) (20915) → CRM customers (58342)`."""
    dpids = project.dpids_of(feed)
    return " → ".join(f"{project.data_source_name(dpid)} {dpid}" for dpid in dpids)
