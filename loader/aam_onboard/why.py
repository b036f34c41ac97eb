"""What is known of one user in one feed: what the model says, what was sent, what was kept back, in which files."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from aam_onboard import state
from aam_onboard.errors import ConfigError
from aam_onboard.warehouse import SEPARATOR

if TYPE_CHECKING:
    from aam_onboard.config import Project
    from aam_onboard.warehouse import Warehouse


@dataclass(frozen=True)
class Signal:
    """A signal that the model says, or that a destination has. `reason`: why it was kept back, as vars.rules has it."""

    signal_key: str | None
    signal_value: str | None
    reason: str | None = None
    destination: str | None = None


@dataclass(frozen=True)
class Sent:
    """A delivery that named the user, with what it said, and all its files: which one has the line is not kept."""

    delivery_id: str
    destination: str
    status: str
    started_at: datetime
    added: list[str]
    removed: list[str]
    files: list[dict[str, Any]]


@dataclass(frozen=True)
class Answer:
    """All that is known. Of an ID sync, signals are its rows: the first ID as key, the others as value.

    `model`: the model's rows as the warehouse has them now, with the first rule that each breaks; `kept_back`: what
    the last build kept back; `delivered`: what each destination has, as the state says; `possible`: what it may have
    besides; `deliveries`: the latest first, as far as the state keeps them.
    """

    feed: str
    user_id: str
    model: list[Signal]
    kept_back: list[Signal]
    delivered: list[Signal]
    possible: list[Signal]
    deliveries: list[Sent]

    @property
    def knows(self) -> bool:
        """Whether the user is known at all."""
        return bool(self.model or self.kept_back or self.delivered or self.possible or self.deliveries)

    def to_json(self) -> dict[str, Any]:
        """The stable form for scripts."""
        return asdict(self)


def why(warehouse: Warehouse, project: Project, feed: str, user_id: str) -> Answer:
    """What is known of a user in a feed, one of before too. Raises ConfigError for a name that never was one."""
    state.require_build(warehouse, project)
    old = state.names_of_old(warehouse, project)
    if feed not in project.feed_names and feed not in old:
        known = ", ".join([*project.feed_names, *(name for name in old if name not in project.feed_names)])
        raise ConfigError(f"{feed}: no such feed; known feeds: {known}")
    last = state.read_deliveries(warehouse, project, feeds=[feed], limit=1)
    is_pairs = last[0].kind == "id_sync" if last else feed in project.vars.id_syncs
    ask = _Asking(warehouse, project, feed, user_id)
    kept_back = ask.signals("signal_key, signal_value, reason", "rejected_rows", "user_id = $2")
    if is_pairs:
        return Answer(
            feed, user_id, [], kept_back, ask.pairs(), [], ask.deliveries("id_ledger", "id_sync", _HOLDS)
        )
    return Answer(
        feed,
        user_id,
        ask.signals("signal_key, signal_value, reason", "trait_rows", "user_id = $2"),
        kept_back,
        ask.signals("signal_key, signal_value, destination", "delivered_signals", "user_id = $2"),
        ask.possible(),
        ask.deliveries("user_ledger", "feed", "ledger.user_id = $2"),
    )


# Of a line of an ID sync, whether one of its columns is the ID.
_HOLDS = "position(chr(9) || $2 || chr(9) in chr(9) || ids || chr(9)) > 0"


@dataclass(frozen=True)
class _Asking:
    warehouse: Warehouse
    project: Project
    feed: str
    user_id: str

    def rows(self, sql: str) -> list[dict[str, Any]]:
        return self.warehouse.rows(sql, [self.feed, self.user_id])

    def table(self, name: str) -> str:
        return state.table(self.project, name)

    def signals(self, columns: str, model: str, condition: str) -> list[Signal]:
        sql = f"select distinct {columns} from {self.table(model)} where feed = $1 and {condition}"
        found = [Signal(**row) for row in self.rows(sql)]
        return sorted(
            found, key=lambda one: (one.destination or "", one.signal_key or "", one.signal_value or "")
        )

    def pairs(self) -> list[Signal]:
        sql = (
            f"select ids, destination from {self.table('delivered_id_lines')} where id_sync = $1 and {_HOLDS}"
        )
        found = []
        for row in self.rows(f"{sql} order by destination asc nulls last, ids asc nulls last"):
            first, _, others = row["ids"].partition("\t")
            found.append(Signal(first, others, destination=row["destination"]))
        return found

    def possible(self) -> list[Signal]:
        sql = f"select destination, possible from {self.table('delivered_sets')} where feed = $1 and user_id = $2"
        return [
            Signal(*_key_and_value(text), destination=row["destination"])
            for row in self.rows(f"{sql} and possible is not null")
            for text in row["possible"].split(SEPARATOR)
        ]

    def deliveries(self, ledger: str, column: str, condition: str) -> list[Sent]:
        data = ledger == "user_ledger"
        added = "coalesce(ledger.added, ledger.signals)" if data else "replace(ledger.ids, chr(9), ' ')"
        removed = "ledger.removed" if data else "''"
        rows = self.rows(
            "select deliveries.delivery_id, deliveries.destination, deliveries.status, deliveries.started_at,"
            f" {added} as added, {removed} as removed"
            f" from {self.table(ledger)} as ledger inner join {self.table('deliveries')} as deliveries"
            f" on ledger.{column} = deliveries.feed and ledger.batch_id = deliveries.batch_id"
            f" where ledger.{column} = $1 and {condition}"
            " order by deliveries.started_at desc nulls last"
        )
        return [
            Sent(
                delivery_id=row["delivery_id"],
                destination=row["destination"],
                status=row["status"],
                started_at=row["started_at"],
                added=[text for text in row["added"].split(SEPARATOR) if text],
                removed=[text for text in row["removed"].split(SEPARATOR) if text],
                files=[
                    {
                        "name": file.name,
                        "uri": file.uri,
                        "uploaded_at": file.uploaded_at,
                        "picked_up_at": file.picked_up_at,
                    }
                    for file in state.read_files(self.warehouse, self.project, row["delivery_id"])
                    if file.status != "superseded"
                ],
            )
            for row in rows
        ]


def _key_and_value(signal: str) -> tuple[str, str]:
    """Of a signal as a file writes it: no key or value holds a quote."""
    if signal.startswith('"'):
        key, _, value = signal[1:-1].partition('"="')
    else:
        key, _, value = signal.partition("=")
    return key, value
