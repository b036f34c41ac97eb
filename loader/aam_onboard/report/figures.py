"""The figures that the page shows, as the models in models/reporting/ tell them; each question has a bounded answer."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from aam_onboard.errors import ConfigError
from aam_onboard.report.charts import Step
from aam_onboard.state import is_there, require_build, table
from aam_onboard.warehouse import quoted

if TYPE_CHECKING:
    from aam_onboard.config import Project
    from aam_onboard.warehouse import Warehouse

Row = dict[str, Any]

LISTED = 300  # rows of a table that could have any number
SAMPLES = 10  # rejected rows of a feed and reason
_LEAST_DAYS = 14  # a shorter history is shown in as many days


@dataclass(frozen=True)
class Figures:
    """All that the page shows. Rows are as the models have them; days are UTC.

    `sent`: a row a feed, destination and step with a delivery, its `day` the step's first: deliveries, signals_added,
    signals_removed, and of the last one rejected and users_total. `last`: the last delivery of each feed and
    destination, whatever became of it. `waiting`: deliveries with files that nobody has picked up. `rejected`: by step
    and reason, of all feeds; `kept_back`: those of today by feed; `kept_back_before`: the sums of some days before.
    `samples`: None where none are wanted. `unused_keys`: of key-values, where the taxonomy has rules and none names it.
    """

    now: datetime
    step: Step
    steps: list[date]
    sent: list[Row]
    last: list[Row]
    forced: list[Row]
    pick_up: list[Row]
    pick_up_times: list[Row]
    waiting: list[Row]
    rejected: list[Row]
    kept_back: list[Row]
    kept_back_before: list[Row]
    samples: list[Row] | None
    reach: list[Row]
    mismatches: list[Row]
    captures: list[Row]
    traits: list[Row]
    never_sent: list[Row]
    receipts: list[Row]
    differences: list[Row]
    runs: list[Row]
    outbound: list[Row]
    segments: list[Row]
    outbound_differences: list[Row]
    unused_keys: list[Row]

    @property
    def first(self) -> date:
        """The first day that is shown."""
        return self.steps[0]


def read_figures(
    warehouse: Warehouse, project: Project, days: int, *, with_samples: bool, read_by_nobody: Collection[str]
) -> Figures:
    """The figures of the last `days` days, today among them.

    `read_by_nobody`: destinations where files lie and no one picks them up. Raises ConfigError when nothing is built,
    or when an earlier version of the package has built it.
    """
    require_build(warehouse, project)
    now = datetime.now(timezone.utc)
    ask = _Asking(warehouse, project, now.date() - timedelta(days=days - 1))
    step, steps = _steps(ask, now.date())
    ask = replace(ask, step=step.word)
    last = ask.rows("report_deliveries", _LAST)
    return Figures(
        now=now,
        step=step,
        steps=steps,
        sent=ask.rows("report_deliveries", _SENT),
        last=last,
        forced=ask.rows("report_deliveries", _FORCED),
        pick_up=[
            row for row in ask.rows("report_deliveries", _PICK_UP) if row["destination"] not in read_by_nobody
        ],
        pick_up_times=ask.rows("report_deliveries", _PICK_UP_TIMES),
        waiting=[
            row for row in ask.rows("report_deliveries", _WAITING) if row["destination"] not in read_by_nobody
        ],
        rejected=ask.rows("report_rejected", _REJECTED),
        kept_back=_unless_mended(ask.rows("report_rejected", _KEPT_BACK), last),
        kept_back_before=ask.rows("report_rejected", _KEPT_BACK_BEFORE),
        samples=ask.rows("rejected_rows", _SAMPLES) if with_samples else None,
        reach=ask.rows("report_reach", _REACH),
        mismatches=ask.rows("id_mismatch_summary", _MISMATCHES),
        captures=ask.rows("report_captures", _CAPTURES),
        traits=ask.rows("report_traits", _TRAITS),
        never_sent=ask.rows("report_traits", _NEVER_SENT),
        receipts=ask.rows("report_receipts", _RECEIPTS),
        differences=ask.rows("receipt_differences", _DIFFERENCES),
        runs=ask.rows("report_runs", _RUNS),
        outbound=ask.rows("report_outbound", _OUTBOUND),
        segments=ask.rows("report_segments", _SEGMENTS),
        outbound_differences=ask.rows("outbound_differences", _OUTBOUND_DIFFERENCES),
        unused_keys=_unused_keys(ask),
    )


def _unused_keys(ask: _Asking) -> list[Row]:
    """Keys of key-values that were sent and that no trait's rule names; none where the taxonomy holds no rules."""
    place = ask.project.relations.of_any_package("traits")
    if place is None or "trait_rule" not in map(str.lower, ask.warehouse.columns(*place)):
        return []
    from aam_sandbox.trait_rules import parse_trait_rule

    rules = ask.warehouse.rows(
        f"select distinct trait_rule from {quoted(*place)} where coalesce(trait_rule, '') <> ''"
    )
    used: set[str] = set()
    for row in rules:
        try:
            used |= {one.key.lower() for one in parse_trait_rule(row["trait_rule"]).comparisons}
        except ConfigError:  # then which keys it names is not known
            return []
    return [
        row for row in ask.rows("report_traits", _KEYS) if rules and row["signal_key"].lower() not in used
    ]


def _unless_mended(rejected: list[Row], last: list[Row]) -> list[Row]:
    """Rejected rows of each feed's last day that had any, without those of feeds that were delivered without since."""
    clean = {
        (row["feed"], row["destination"]): row["started_at"].astimezone(timezone.utc).date()
        for row in last
        if row["rejected"] == 0 and row["status"] == "delivered"
    }
    return [row for row in rejected if clean.get((row["feed"], row["destination"]), row["day"]) <= row["day"]]


@dataclass(frozen=True)
class _Asking:
    warehouse: Warehouse
    project: Project
    since: date
    step: str = "day"

    def rows(self, model: str, sql: str) -> list[Row]:
        """The answer of a model; none where the project has switched it off, or no build has made it yet."""
        if not is_there(self.warehouse, self.project, model):
            return []
        parameters = [self.since] if "$1" in sql else []
        names = {"model": table(self.project, model), "limit": LISTED + 1, "step": self.step}
        return self.warehouse.rows(sql.format(**names), parameters)


def _steps(ask: _Asking, today: date) -> tuple[Step, list[date]]:
    found = ask.rows("report_deliveries", "select min(day) as first from {model} where day >= $1")
    first = found[0]["first"] if found and found[0]["first"] else today
    first = max(ask.since, min(first, today - timedelta(days=_LEAST_DAYS - 1)))
    days = (today - first).days
    step = Step("day" if days <= 100 else "week" if days <= 1200 else "month")
    return step, step.all(first, today)


# The first day of the step that a row's day is in: all that goes on by step is added up in the warehouse.
_START = "cast(date_trunc('{step}', day) as date)"
_SENT = f"""
    select
        feed, kind, destination, start as day,
        count(*) as deliveries,
        cast(sum(signals_added) as bigint) as signals_added,
        cast(sum(signals_removed) as bigint) as signals_removed,
        max(case when latest = 1 then rejected end) as rejected,
        max(case when latest = 1 then users_total end) as users_total
    from (
        select *, {_START} as start,
            row_number() over (partition by feed, destination, {_START} order by started_at desc) as latest
        from {{model}}
        where status = 'delivered' and day >= $1
    ) as numbered
    group by feed, kind, destination, start
    order by start, feed, destination
"""
_LAST = """
    select feed, kind, mode, destination, delivery_id, status, reason, forced, started_at, users, users_total,
        signals_added, signals_removed, rejected
    from (
        select *, row_number() over (partition by feed, destination order by started_at desc) as latest
        from {model}
    ) as numbered
    where latest = 1
    order by kind desc, feed, destination
"""
_FORCED = """
    select feed, destination, delivery_id, started_at, users, signals_removed, rejected
    from {model}
    where forced and status = 'delivered' and day >= $1
    order by started_at desc
    limit 50
"""
_PICK_UP = """
    select
        feed, destination,
        cast(sum(files) as bigint) as files,
        cast(sum(waiting_files) as bigint) as waiting,
        percentile_cont(0.5) within group (order by picked_up_after_hours) as median_hours,
        max(picked_up_after_hours) as slowest_hours
    from {model}
    where status = 'delivered' and day >= $1
    group by feed, destination
    order by feed, destination
"""
_PICK_UP_TIMES = """
    select
        case
            when picked_up_after_hours < 1 then 0
            when picked_up_after_hours < 4 then 1
            when picked_up_after_hours < 12 then 2
            when picked_up_after_hours < 24 then 3
            else 4
        end as place,
        count(*) as deliveries
    from {model}
    where status = 'delivered' and day >= $1 and picked_up_after_hours is not null
    group by 1
"""
_WAITING = """
    select feed, destination, delivery_id, changed_at, waiting_files
    from {model}
    where status = 'delivered' and waiting_files > 0
    order by changed_at desc
    limit 1000
"""
# Of each step those of the last day that a feed had any.
_REJECTED = f"""
    select start as day, reason, cast(sum(rows) as bigint) as rows
    from (
        select *, {_START} as start, max(day) over (partition by feed, destination, {_START}) as last
        from {{model}}
        where day >= $1
    ) as stepped
    where day = last
    group by start, reason
    order by start, reason
"""
_KEPT_BACK = """
    select day, feed, destination, reason, rows
    from (select *, max(day) over (partition by feed, destination) as last from {model} where day >= $1) as latest
    where day = last
    order by rows desc, reason, feed, destination
    limit 1000
"""
_KEPT_BACK_BEFORE = """
    select day, feed, destination, cast(sum(rows) as bigint) as rows
    from (
        select *, dense_rank() over (partition by feed, destination order by day desc) as place
        from {model}
        where day >= $1
    ) as ranked
    where place between 2 and 8
    group by day, feed, destination
    order by day, feed, destination
"""
_SAMPLES = f"""
    select feed, reason, user_id, signal_key, signal_value
    from (select *, row_number() over (partition by feed, reason order by user_id) as place from {{model}}) as numbered
    where place <= {SAMPLES}
    order by feed, reason, place
    limit {{limit}}
"""
_REACH = "select * from {model} order by feed, destination"
_MISMATCHES = (
    "select dpid, kind, users, total_users, share from {model} order by users desc, dpid, kind limit 300"
)
_CAPTURES = "select * from {model} where day >= $1 order by day"
_TRAITS = """
    select destination, feed, signal_key, signal_value, trait_name, users
    from {model}
    where users > 0
    order by users desc, signal_key, signal_value, feed, destination
    limit {limit}
"""
_NEVER_SENT = """
    select destination, signal_key, signal_value, trait_name
    from {model}
    where users = 0
    order by destination, signal_value
    limit {limit}
"""
# Of many, the latest; in the order of days.
_LATEST = """
    select * from (select {columns} from {{model}} where day >= $1 order by {order} desc limit 1000) as latest
    order by {order}
"""
_RECEIPTS = _LATEST.format(
    columns="day, feeds, files, our_lines, records_received, stored_records, format_errors, invalid_aam_id,"
    " no_matching_aam_id, no_trait_realized, total_unused_signals",
    order="day",
)
_DIFFERENCES = """
    select receipt_id, day, feeds, kind, ours, theirs, difference
    from {model}
    where day >= $1
    order by day desc, receipt_id, kind
    limit {limit}
"""
_RUNS = """
    select * from {model} where day >= $1 order by started_at desc limit 1000
"""
_OUTBOUND = _LATEST.format(
    columns="day, outbound, mode, made_at, status, hours_after_last, received_files, users, memberships, removals,"
    " rejected",
    order="made_at",
)
_SEGMENTS = """
    select outbound, token, is_trait, users, segment_name from {model}
    order by users desc, outbound, token
    limit {limit}
"""
_OUTBOUND_DIFFERENCES = """
    select outbound, name, kind, sent_at, theirs, ours from {model}
    order by sent_at desc, outbound, name
    limit {limit}
"""
# The same user may have several values of a key.
_KEYS = """
    select signal_key, feed, destination, count(*) as n_values, max(users) as users
    from {model}
    where signal_key not in ('d_sid', 'ic') and users > 0
    group by signal_key, feed, destination
    order by users desc, signal_key, feed, destination
"""
