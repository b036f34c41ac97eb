"""What must not be sent unasked: limits past which a delivery stops, and overwrites that would erase other signals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aam_onboard.config import Project
from aam_onboard.errors import ConfigError
from aam_onboard.state import Batch


def guard_verdict(project: Project, batch: Batch, reasons: Mapping[str, int] | None = None) -> list[str]:
    """What the feed's guards say against a batch, with figures; empty when it may go. The cause comes first.

    Against `max_rejected`: rejected rows of all rows, with the commonest of the `reasons` (rejected rows of each) ·
    `max_first`: users of a first delivery · `max_removed`: removed of the delivered signals · `max_shrink`: users who
    lost all signals. An upstream table that came up empty must never erase an audience.
    """
    guards = project.guards_of(batch.feed)
    commonest = _commonest(project, reasons or {})

    def past(what: str, count: int, of: int, limit: float, name: str) -> list[str]:
        if not of or count / of <= limit:
            return []
        return [f"{count:,} of {of:,} {what} ({count / of:.0%}), more than {name} {limit:.0%}"]

    rejected = past("rows rejected", batch.rejected, batch.input_rows, guards.max_rejected, "max_rejected")
    against = [f"{line}{commonest}" for line in rejected]
    is_data = batch.kind == "data"  # ID pairs are never withdrawn
    if is_data and batch.users_before and not batch.users_total:
        # whatever the shares allow
        why = f"no row of the feed may be sent{'' if rejected else commonest}"
        empty = "the feed came up empty" if not batch.rejected else why
        against.append(f"{empty}: all {batch.users_before:,} users would lose their signals")
    if batch.base_delivery_id is None and batch.users > guards.max_first:
        against.append(f"first delivery of {batch.users:,} users, more than max_first {guards.max_first:,}")
    against += past(
        "signals removed", batch.signals_removed, batch.signals_before, guards.max_removed, "max_removed"
    )
    if is_data:
        lost = batch.users_before - batch.users_total
        against += past("users lost", lost, batch.users_before, guards.max_shrink, "max_shrink")
    return against


def why_nothing_is_sent(project: Project, batch: Batch, reasons: Mapping[str, int]) -> str:
    """Why there is nothing to send of a feed though it is not as it was delivered; empty when it is."""
    if not batch.input_rows:
        return "nothing to send, its model gives no rows"
    see = f"see `aam plan --rejected {batch.feed}`"
    if batch.rejected >= batch.input_rows:
        return (
            f"nothing to send, all {batch.rejected:,} rows are kept back{_commonest(project, reasons)}; {see}"
        )
    for reason in ("not_withdrawable_by_sync", "possibly_not_withdrawable"):
        if staying := reasons.get(reason):
            return f"nothing to send, {staying:,} signals are gone but {project.rules.says(reason)}; {see}"
    return ""


def _commonest(project: Project, reasons: Mapping[str, int]) -> str:
    """The reason of most rejected rows and what to make of it, as the end of a message."""
    if not reasons:
        return ""
    reason = max(reasons, key=lambda name: reasons[name])
    return f", {reasons[reason]:,} of them as {reason} ({project.rules.says(reason)})"


def refusal_of_full(project: Project, batch: Batch) -> ConfigError | None:
    """Why a batch of a full build must not be sent; `--full` may have been asked of other feeds alone."""
    if batch.is_full and batch.kind == "data":
        try:
            project.require_full_possible(
                [batch.feed], "the last build is full (`aam run`, or `dbt build`, builds changes)"
            )
        except ConfigError as error:
            return error
    return None


def require_full(batches: Sequence[Batch]) -> None:
    """Raise ConfigError when `--full` is asked of a build of changes."""
    if not all(batch.is_full for batch in batches):
        raise ConfigError(
            "the last build holds changes only; run `aam run --full`, or `dbt build --vars 'full: true'`"
        )
