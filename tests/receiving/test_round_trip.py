"""What the local Audience Manager exports comes back as it has it: every layout, random histories, S3, SFTP, kills."""

import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from conftest import SOAK, Bucket
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sandboxes import (
    ADULT,
    ANYONE_ELSE,
    BUYER,
    CRM,
    DESTINATION,
    READER,
    READERS_NOT_BUYERS,
    map_to_destination,
    sandbox,
    set_destination,
    set_traits,
)
from servers import sftp_server

from aam_onboard.destinations import open_destination, parse_destination
from aam_sandbox.export import Put, Weakness, export, put_at, put_into
from aam_sandbox.store import Store
from receiving.helpers import Place, make_warehouse

Members = set[tuple[str, str]]
AT = datetime(2026, 3, 1, 14, tzinfo=timezone.utc)

# a layout of the local Audience Manager's, and what vars.outbound says of it beside destination and IDs
LAYOUTS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {"separator": "space"}),
    ({"separator": "two_spaces", "split": "dash"}, {"separator": "two_spaces"}),
    ({"separator": "soh", "header": ["UUID", ""], "info": "json"}, {"separator": "soh", "header_lines": 2}),
    ({"kind": "traits", "removals": True, "list_separator": "|"}, {"kind": "traits", "list_separator": "|"}),
    ({"kind": "items", "split": "bare_first"}, {"kind": "items"}),
    ({"kind": "json_lines", "info_md5": "text"}, {"kind": "json_lines", "json_keys": {"user_id": "UUID"}}),
    ({"time_digits": 14, "extension": "csv", "gzip": False}, {"separator": "space", "time_digits": 14}),
    ({"time_digits": 10, "pid_alias": "Acme_7", "name_dpid": 7, "sync_type": None},
     {"separator": "space", "time_digits": 10, "alias": "Acme_7", "dpid": 7}),
]  # fmt: skip


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with sandbox(tmp_path_factory.mktemp("sandbox") / "there") as store:
        map_to_destination(store, READERS_NOT_BUYERS, ANYONE_ELSE, ADULT, BUYER)
        yield store


def begin(store: Store, place: Place, number: int) -> None:
    """Nobody is in anything, nothing was exported or received; both sides agree on a layout."""
    layout, says = LAYOUTS[number]
    for table in ("qualifications", "exported_memberships", "exports"):
        store.connection.execute(f"delete from {table}")
    set_destination(store, CRM, id="uuid", lines_per_file=2, **layout)
    place.outbound = {
        "web": {"destination_id": DESTINATION, "master_dpid": CRM, "ids_of": 0, "max_shrink": 1, **says}
    }
    place.clear()


def change(store: Store, random: random.Random) -> None:
    for device in random.sample(range(1, 7), random.randint(1, 4)):
        set_traits(store, device, *random.sample([ADULT, READER, BUYER], random.randint(0, 3)))


def said(store: Store) -> Members:
    return {
        (user, str(sid))
        for user, sid in store.connection.execute("select user_id, sid from exported_memberships").fetchall()
    }


@pytest.mark.parametrize("number", range(len(LAYOUTS)))
def test_a_full_and_changes_of_every_layout(store: Store, place: Place, number: int) -> None:
    begin(store, place, number)
    dice = random.Random(number)
    for day in range(4):
        change(store, dice)
        export(
            store,
            DESTINATION,
            "full" if day == 0 else "iter",
            put_into(place.folder),
            at=AT + timedelta(days=day),
        )
        result = place.ok()
        assert result.waiting == []
        assert all(file.rejected == 0 for file in result.files)
        assert place.members() == said(store)


@settings(
    max_examples=6 * SOAK,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    number=st.integers(0, len(LAYOUTS) - 1),
    seed=st.randoms(use_true_random=False),
    steps=st.lists(
        st.tuples(
            st.sampled_from(["full", "iter", "iter"]),
            st.sampled_from([0, 0, 0, 1, 2, 99]),  # how many days it comes late; 99: never
            st.booleans(),  # whether it comes twice
            st.sampled_from([Weakness(), Weakness(info_first=True)]),
        ),
        min_size=2,
        max_size=6,
    ),
)
def test_random_histories(
    store: Store, place: Place, number: int, seed: random.Random, steps: list[Any]
) -> None:
    """In whatever order files come, what counts is when they were made, since the last full that came."""
    begin(store, place, number)
    shutil.rmtree(place.folder)
    place.folder.mkdir()
    waiting = place.root / "waiting"
    shutil.rmtree(waiting, ignore_errors=True)
    made: list[tuple[str, Members, Members, int]] = []
    before: Members = set()
    for day, (mode, late, _, weakness) in enumerate(steps):
        change(store, seed)
        export(
            store,
            DESTINATION,
            mode,
            put_into(waiting / str(day)),
            at=AT + timedelta(days=day),
            weakness=weakness,
        )
        made.append((mode, before, said(store), day + late))
        before = said(store)
        for come in (one for one, (_, _, _, on) in enumerate(made) if on == day):
            shutil.copytree(waiting / str(come), place.folder, dirs_exist_ok=True)
            if steps[come][2]:
                shutil.copytree(waiting / str(come), place.folder / "again", dirs_exist_ok=True)
        result = place.receive(force=True)
        assert result.errors == []
        state: Members = set()
        for then_mode, then_before, then, on in made:
            if on <= day:
                state = then if then_mode == "full" else (state - (then_before - then)) | (then - then_before)
        assert place.members() == state


@pytest.mark.parametrize("kind", ["s3", "sftp"])
def test_over_a_network(
    store: Store, place: Place, kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(store, place, 0)
    place.settings |= {"prefix": "outbound/", "after": "move"}
    if kind == "s3":
        bucket: Bucket = request.getfixturevalue("bucket")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        _there_and_back(store, place, bucket.settings)
        assert all(key.startswith("received/") for key in bucket.stored())
        return
    with sftp_server(place.root / "sftp") as server:
        raw = {"type": "sftp", "host": "127.0.0.1", "port": server.port, "user": "loader", "backoff": 0,
               "key_file": str(server.key_file), "known_hosts": str(server.known_hosts)}  # fmt: skip
        _there_and_back(store, place, raw)
        assert list((server.root / "outbound").glob("*")) == []
        assert len(list((server.root / "received").glob("*.sync.gz"))) >= 2


def _there_and_back(store: Store, place: Place, raw: dict[str, Any]) -> None:
    place.raw = raw
    set_destination(store, CRM, id="uuid", prefix="outbound")
    destination = open_destination("there", parse_destination("there", {"partner_name": "acme", **raw}))
    put: Put = put_at(destination)
    try:
        for day, mode in enumerate(("full", "iter")):
            set_traits(store, day + 1, ADULT, READER)
            export(store, DESTINATION, mode, put, at=AT + timedelta(days=day))  # type: ignore[arg-type]
            place.ok()
            assert place.members() == said(store)
            assert place.ok().files == []
    finally:
        destination.close()


@pytest.mark.parametrize("engine", ["duckdb", "postgres"])
def test_what_is_killed_is_received_by_the_next_run(
    store: Store, tmp_path: Path, engine: Any, request: pytest.FixtureRequest
) -> None:
    """SIGKILL at sampled steps of a run that receives a full over another one, in parts, and an iter."""
    host = request.getfixturevalue("postgres_host") if engine == "postgres" else None
    place = Place(tmp_path, engine, make_warehouse(engine, tmp_path, host, "aam_killed"))
    place.folder.mkdir()
    begin(store, place, 0)
    dice = random.Random(5)
    for day, mode in enumerate(("full", "full", "iter")):
        change(store, dice)
        export(store, DESTINATION, mode, put_into(place.folder), at=AT + timedelta(days=day))  # type: ignore[arg-type]
    place.project()
    killed = 0
    for step in random.Random(7).sample(range(3, 75), 4 * SOAK if SOAK < 18 else 72):
        place.clear()
        place.warehouse.close()
        done = subprocess.run(
            [sys.executable, str(Path(__file__).with_name("killed.py")), engine, str(tmp_path), host or "-", str(step)],
            capture_output=True, text=True, check=False, cwd=Path(__file__).parents[1], env=os.environ,
        )  # fmt: skip
        assert done.returncode in (0, -signal.SIGKILL), done.stderr
        killed += done.returncode != 0
        place.warehouse = make_warehouse(engine, tmp_path, host, "aam_killed", anew=False)
        place.ok(force=True)
        assert place.members() == said(store)
        assert place.ok().files == []
    assert killed > 1
    place.warehouse.close()
