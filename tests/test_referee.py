"""The local Audience Manager as referee: each profile's traits are the model's rows, whatever the history.

What the loader delivers, in any order that its order guard lets wait together, killed, failed and abandoned on the way,
is read by the sandbox, which has the rules of its own. Nothing more may be there, and nothing less.
"""

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from conftest import _FOREIGN
from hypothesis import given
from hypothesis import strategies as st
from outbox import Outbox, batched
from test_sandbox_ingest import World

from aam_onboard import delivery, export, run, state
from aam_onboard.destinations import INBOUND, open_destination
from aam_onboard.destinations.directory import Directory
from aam_onboard.destinations.settings import DirectorySettings
from aam_onboard.errors import DeliveryError, GuardError
from aam_onboard.filenames import InboundName
from aam_onboard.running import Options
from aam_onboard.warehouse.duckdb import DuckDBWarehouse
from aam_onboard.warehouse.postgres import PostgresWarehouse
from aam_sandbox.ingest import ingest
from aam_sandbox.store import open_store

CRM, PROFILE, PARTNER, IDFA, UUIDS = 58342, 58344, 61207, 20915, 0
SANDBOX = {
    "data_sources": {
        CRM: {"cross_device": True},
        PROFILE: {"cross_device": True},
        PARTNER: {},
        58343: {"id_type": "hashed_email"},
    },
    "traits": {
        24: {"dpid": CRM},
        25: {"dpid": CRM},
        26: {"dpid": CRM, "type": "rule_based", "rule": 'c_page == "shop"'},
        27: {"dpid": PARTNER},
        52: {"dpid": CRM, "rule": 'ic == "52"'},
        53: {"dpid": CRM, "rule": 'ic == "53"'},
        61: {"dpid": CRM, "rule": 'size == "L"'},
        62: {"dpid": CRM, "rule": 'size == "M" AND NOT color == "red"'},
    },
}
VARS = {"guards": {"max_removed": 1, "max_shrink": 1, "max_rejected": 1}, "on_unprocessed": "hold"}
OUTPUTS = ("local", "more")
COUNTS: Counter[str] = Counter()  # of what was tried


class Killed(BaseException):
    """The process ends here, as far as the loader can tell."""


Row = tuple[str, ...]
Rows = dict[str, frozenset[Row]]


@dataclass(frozen=True)
class Step:
    """What the feeds say, and what is done with it. `fault`: at which step of the delivery, and what."""

    rows: Rows
    output: str
    full: bool
    fault: tuple[str, int] | None
    then: str  # after a fault: finish | abandon
    wait: bool  # what is delivered waits, and the next delivery comes on top of it
    seed: int


def idfa(number: int) -> str:
    return f"6D92078A-8246-4BA4-AE5B-7610486{number:05d}"


def device(number: int) -> str:
    return f"7{number:037d}"


traits = st.sampled_from([("d_sid", "24"), ("d_sid", "25")])
more_signals = st.sampled_from(
    [("ic", "52"), ("ic", "53"), ("size", "L"), ("size", "M"), ("color", "red"), ("color", "a,b")]
)
# what is kept back
wrong = st.sampled_from([("d_sid", "26"), ("d_sid", "27"), ("d_sid", "x"), ("size", 'a"b'), ("size", "")])


def signals(ids: st.SearchStrategy[str], *of: st.SearchStrategy[Row]) -> st.SearchStrategy[frozenset[Row]]:
    return st.frozensets(st.builds(lambda one, signal: (one, *signal), ids, st.one_of(*of)), max_size=25)


def with_one_who_stays(feed: str, *row: str) -> Callable[[Rows], Rows]:
    """A feed that came up empty is another story: a guard's."""
    return lambda found: {**found, feed: found[feed] | {row}}


users = st.integers(1, 12).map(lambda number: f"u{number}")
rows: st.SearchStrategy[Rows] = st.fixed_dictionaries(
    {
        "loyalty": signals(st.one_of(users, users.map(lambda one: f"{one} ")), traits, wrong),
        "profile": signals(users, traits, more_signals, wrong),
        "phones": signals(st.integers(1, 9).map(idfa), st.just(("d_sid", "27")), wrong),
        "browsers": st.frozensets(
            st.integers(1, 12).map(lambda number: (device(number), f"u{number}", "2026-01-01")), max_size=12
        ),
    }
)
for stays in (
    ("loyalty", "u0", "d_sid", "24"),
    ("profile", "u0", "ic", "52"),
    ("phones", idfa(0), "d_sid", "27"),
):
    rows = rows.map(with_one_who_stays(*stays))
steps = st.builds(
    Step,
    rows,
    output=st.sampled_from(OUTPUTS),
    full=st.sampled_from([False, False, False, True]),
    fault=st.one_of(
        st.none(),
        st.tuples(st.sampled_from(["before put", "after put", "failed put", "commit"]), st.integers(1, 3)),
    ),
    then=st.sampled_from(["finish", "abandon"]),
    wait=st.booleans(),
    seed=st.integers(0, 999),
)


class Match:
    """The loader on one side, a sandbox an output on the other."""

    def __init__(self, outbox: Outbox, folder: Path) -> None:
        outbox.begin()
        outbox.sql("delete from aam_state.delivery_files")
        shutil.rmtree(outbox.root / ".aam" / "spool", ignore_errors=True)
        self.outbox = outbox
        self.worlds = {output: World(folder / output, SANDBOX) for output in OUTPUTS}
        self.told_pairs: dict[str, set[Row]] = {output: set() for output in OUTPUTS}
        self.step = lambda name: None

    def place(self, output: str) -> run.Place:
        found = run.find_place(self.outbox.root, None, None, VARS)
        settings = DirectorySettings(type="directory", path=self.worlds[output].inbox, partner_name="p")
        return replace(found, destination_name=output, destination=settings)

    def built(self, output: str, rows: Rows, full: bool = False) -> None:
        COUNTS["builds"] += 1
        self.outbox.build(full=full, variables={"destination": output}, **rows)

    def deliver(self, output: str, full: bool = False) -> run.RunResult:
        place = self.place(output)
        # an overwrite would erase what another feed sends there with the same IDs; here none does
        return run.deliver_built(place, place.project.feed_names, Options(full=full, check=False))

    def finish(self, output: str) -> None:
        """What `aam run` does before it builds."""
        place = self.place(output)
        with run.locked(place, place.project.feed_names, Options(check=False)) as held:
            assert not delivery.finish_open(held, place.project.feed_names).errors

    def abandon(self, output: str) -> None:
        place = self.place(output)
        with run.locked(place, place.project.feed_names, Options(check=False)) as held:
            for one in state.read_deliveries(
                held.warehouse, held.project, destination=output, statuses=state.OPEN
            ):
                COUNTS["abandoned"] += 1
                delivery.abandon(held, one.delivery_id)

    def take_in(self, output: str, seed: int) -> None:
        """Audience Manager reads what waits, in any order; it never refuses a line or file."""
        world = self.worlds[output]
        with open_store(world.folder) as store:
            inbox = open_destination(
                "inbox", DirectorySettings(type="directory", path=world.inbox, partner_name="p")
            )
            done = ingest(store, inbox, seed=seed)
            COUNTS["files"] += len(done.jobs)
            assert not done.left
            refused = store.rows(
                "select * from jobs where not success or format_errors + invalid_aam_id + invalid_device_id"
                " + total_traits_failed_validation > 0"
            )
            assert not refused, refused

    def judge(self, output: str, rows: Rows) -> None:
        """Each profile's traits are the model's rows, and so are the IDs that belong together."""
        world = self.worlds[output]
        assert world.profiles() == expected(rows)
        told = world.rows("select device_id, user_id from id_mappings")
        assert {(row["device_id"], row["user_id"]) for row in told} == self.told_pairs[output]
        COUNTS["judged profiles"] += len(expected(rows))


def expected(rows: Rows) -> dict[tuple[int, str], set[int]]:
    """What the rows mean, without those that are kept back."""
    found: dict[tuple[int, str], set[int]] = {}
    for feed, dpid, known in (
        ("loyalty", CRM, {24, 25}),
        ("profile", PROFILE, {24, 25}),
        ("phones", IDFA, {27}),
    ):
        of_user: dict[str, set[Row]] = {}
        for user_id, *signal in rows[feed]:
            if user_id == user_id.strip():
                of_user.setdefault(user_id, set()).add(tuple(signal))
        for user_id, said in of_user.items():
            sids = {int(value) for key, value in said if key == "d_sid" and value.isdigit()} & known
            if feed == "profile":
                sids |= {int(value) for key, value in said if key == "ic"}
                sids |= {61} if ("size", "L") in said else set()
                sids |= {62} if ("size", "M") in said and ("color", "red") not in said else set()
            if sids:
                found[dpid, user_id] = sids
    return found


@contextmanager
def faulty(fault: tuple[str, int] | None, patch: pytest.MonkeyPatch) -> Iterator[None]:
    """The delivery within is killed or fails at its n-th upload, or when it would commit."""
    if fault is None:
        yield
        return
    kind, number = fault
    left = Counter({"put": number, "commit": number})
    real_open, real_move = run.open_destination, state.move

    def open_wrapped(*arguments: Any) -> Any:
        found = real_open(*arguments)
        real_put = found.put

        def put(*of: Any, **more: Any) -> Any:
            left["put"] -= 1
            hit = left["put"] == 0
            if hit and kind == "before put":
                raise Killed
            if hit and kind == "failed put":
                raise DeliveryError("the line is down")
            stored = real_put(*of, **more)
            if hit and kind == "after put":
                raise Killed
            return stored

        found.put = put
        return found

    def move(warehouse: Any, project: Any, of: Any, status: Any, **more: Any) -> None:
        if status == "delivered":
            left["commit"] -= 1
            if left["commit"] == 0 and kind == "commit":
                raise Killed
        real_move(warehouse, project, of, status, **more)

    with patch.context() as within:
        within.setattr(run, "open_destination", open_wrapped)
        within.setattr(delivery.state, "move", move)
        yield


def play(match: Match, history: Iterable[Step], patch: pytest.MonkeyPatch) -> None:
    """Go through a history; after each delivery that has come to its end and is read, judge."""
    COUNTS["histories"] += 1
    for step in history:
        COUNTS["steps"] += 1
        output = step.output
        match.finish(output)
        match.built(output, step.rows, step.full)
        pairs = {(device_id, user_id) for device_id, user_id, _ in step.rows["browsers"]}
        match.told_pairs[output] |= pairs
        try:
            with faulty(step.fault, patch):
                errors = match.deliver(output, step.full).errors
            fell = bool(errors)
        except Killed:
            errors, fell = [], True
        held = [error for error in errors if error.exit_code == GuardError.exit_code]
        if fell:
            COUNTS["held by the order guard" if held else f"fault: {step.fault and step.fault[0]}"] += 1
            # before anybody finishes it, what lies there may be read already
            if held or step.seed % 2:
                match.take_in(output, step.seed)
            if step.then == "abandon":
                match.abandon(output)
            match.finish(output)
            match.built(output, step.rows, step.full)
            errors = match.deliver(output, step.full).errors
            if any(error.exit_code == GuardError.exit_code for error in errors):
                match.take_in(output, step.seed + 1)
                errors = match.deliver(output, step.full).errors
        assert not errors, errors
        if step.wait and not step.full:
            COUNTS["left waiting"] += 1
            continue
        match.take_in(output, step.seed)
        match.judge(output, step.rows)


@pytest.fixture
def prepared(outbox_project: Outbox, monkeypatch: pytest.MonkeyPatch) -> Outbox:
    for name in os.environ:
        if name.startswith(_FOREIGN):
            monkeypatch.delenv(name)
    for name, value in outbox_project.environment.items():
        if name.startswith("AAM_"):
            monkeypatch.setenv(name, value)
    # somebody reads what lies there, in any order
    monkeypatch.setattr(Directory, "abilities", INBOUND)
    return outbox_project


@batched(1)
@given(st.lists(steps, min_size=4, max_size=6))
def test_any_history(prepared: Outbox, tmp_path_factory: pytest.TempPathFactory, history: list[Step]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        play(Match(prepared, tmp_path_factory.mktemp("match")), history, patch)


# --- Faults that it must see ------------------------------------------------------------------------------------------


def with_lines(patch: pytest.MonkeyPatch, feed: str, pattern: str, put: str) -> None:
    """Every line of a feed's files is another one."""
    for warehouse in (DuckDBWarehouse, PostgresWarehouse):

        def stream(
            self: Any, sql: str, parameters: Any = (), real: Any = warehouse.stream
        ) -> Iterator[pa.RecordBatch]:
            for batch in real(self, sql, parameters):
                if feed in parameters and batch.schema.names == ["line", "lines"]:
                    changed = pc.replace_substring_regex(batch.column("line").cast(pa.string()), pattern, put)
                    batch = pa.record_batch({"line": changed, "lines": batch.column("lines")})  # noqa: PLW2901
                yield batch

        patch.setattr(warehouse, "stream", stream)


def a_removal_is_left_out(patch: pytest.MonkeyPatch) -> None:
    # what stays says something that is so already
    with_lines(patch, "loyalty", "d_unsid=25", "d_sid=24")


def an_overwrite_is_taken_for_a_sync(patch: pytest.MonkeyPatch) -> None:
    real = export._file_name

    def file_name(*arguments: Any) -> Any:
        name = real(*arguments)
        return replace(name, mode="sync") if isinstance(name, InboundName) else name

    patch.setattr(export, "_file_name", file_name)


def id_columns_are_swapped(patch: pytest.MonkeyPatch) -> None:
    with_lines(patch, "browsers", r"^([^\t]*)\t([^\n]*)", "\\2\t\\1")


def a_file_never_arrives(patch: pytest.MonkeyPatch) -> None:
    real = Directory.put

    def put(self: Directory, part: Any, key: str, on_bytes: Any = None) -> Any:
        stored = real(self, part, key, on_bytes)
        if f"_{IDFA}_" in key:
            self.delete(key)
        return stored

    patch.setattr(Directory, "put", put)


@pytest.mark.parametrize("outbox_project", ["duckdb"], indirect=True)
@pytest.mark.parametrize(
    "fault",
    [
        a_removal_is_left_out,
        an_overwrite_is_taken_for_a_sync,
        id_columns_are_swapped,
        a_file_never_arrives,
    ],
)
def test_a_planted_fault_is_seen(
    prepared: Outbox,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: Callable[[pytest.MonkeyPatch], None],
) -> None:
    before = {
        "loyalty": [("u1", "d_sid", "24"), ("u1", "d_sid", "25"), ("u2", "d_sid", "24")],
        "profile": [("u1", "ic", "52"), ("u1", "size", "L"), ("u2", "size", "L")],
        "phones": [(idfa(1), "d_sid", "27")],
        "browsers": [(device(1), "u1", "2026-01-01")],
    }
    after = before | {
        "loyalty": [("u1", "d_sid", "24"), ("u2", "d_sid", "24")],
        "profile": [("u1", "ic", "53"), ("u2", "size", "L")],
    }
    fault(monkeypatch)
    match = Match(prepared, tmp_path)
    history = [
        Step({feed: frozenset(of) for feed, of in rows.items()}, "local", False, None, "finish", False, 0)
        for rows in (before, after)
    ]
    with pytest.raises(AssertionError):
        play(match, history, monkeypatch)
