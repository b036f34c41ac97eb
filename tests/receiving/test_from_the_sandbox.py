"""Round trips: what the local Audience Manager sends, in every layout, is what the state then holds."""

import random
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import sandboxes
from sandboxes import (
    ADULT,
    ANYONE_ELSE,
    BUYER,
    CRM,
    DESTINATION,
    READER,
    READERS_NOT_BUYERS,
    map_ids,
    map_to_destination,
    set_destination,
    set_traits,
)

from aam_sandbox.export import Weakness, export, put_into
from aam_sandbox.store import Store
from receiving.helpers import Place

AT = datetime(2026, 11, 20, 14, tzinfo=timezone.utc)
DEVICES = range(1, 8)

# a layout of the sandbox's, and the settings of vars.outbound that read it
LAYOUTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "standard": ({}, {"separator": "space"}),
    "two spaces": ({"separator": "two_spaces", "split": "bare_first"}, {"separator": "two_spaces"}),
    "tab and header": (
        {"separator": "tab", "header": ["#ID\tIN\tOUT", ""], "split": "dash", "sync_type": "S3"},
        {"separator": "tab", "header_lines": 1},
    ),
    "SOH": ({"separator": "soh", "list_separator": "|"}, {"separator": "soh", "list_separator": "|"}),
    "aliases": (
        {"token": "alias", "pid_alias": "Acme_Ads", "extension": "csv", "gzip": False},
        {"separator": "space", "alias": "Acme_Ads"},
    ),
    "UUIDs": ({"id": "uuid", "time_digits": 10}, {"separator": "space", "time_digits": 10, "ids_of": 0}),
    "traits": ({"kind": "traits", "removals": True}, {"kind": "traits"}),
    "items": ({"kind": "items", "name_dpid": 888, "info": "json"}, {"kind": "items", "dpid": 888}),
    "few item fields": (
        {"kind": "items", "item_fields": ["sid", "lastRealizationTime"], "time_digits": 14},
        {"kind": "items", "item_fields": ["sid", "lastRealizationTime"], "time_digits": 14},
    ),
    "JSON": ({"kind": "json_lines", "info_md5": "text"}, {"kind": "json_lines"}),
}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with sandboxes.sandbox(tmp_path / "sandbox") as store:
        map_ids(store, *((f"user{number}", number) for number in DEVICES))
        map_to_destination(store, READERS_NOT_BUYERS, ANYONE_ELSE, gold=ADULT)
        yield store


def so(store: Store, token: str) -> set[tuple[str, str]]:
    """What the last export said, as it says it."""
    alias = "alias" if token == "alias" else "null"
    rows = store.rows(
        f"select user_id, coalesce({alias}, said.sid::varchar) as token from exported_memberships as said"
        " inner join destination_mappings as mapped on said.sid = mapped.sid"
    )
    return {(row["user_id"], row["token"]) for row in rows}


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_comes_back(place: Place, store: Store, name: str) -> None:
    layout, settings = LAYOUTS[name]
    chance = random.Random(name)
    set_destination(store, lines_per_file=3, **layout)
    place.outbound = {
        "web": {
            "destination_id": DESTINATION,
            "master_dpid": CRM,
            "max_shrink": 1,
            "max_rejected": 0,
            **settings,
        }
    }
    for day, mode in enumerate(("full", "iter", "full")):
        for device in DEVICES:
            set_traits(store, device, *(sid for sid in (ADULT, READER, BUYER) if chance.random() < 0.5))
        export(store, DESTINATION, mode, put_into(place.folder), at=AT + timedelta(days=day))
        result = place.ok()
        assert [batch.status for batch in result.batches] == ["whole"]
        assert place.rejected() == {}
        assert place.members() == so(store, layout.get("token", "sid"))


@pytest.mark.parametrize(
    "weakness", [Weakness(info_first=True), Weakness(without_part=2), Weakness(without_info=True)], ids=repr
)
def test_a_weak_iter_is_made_up_for_by_the_next_full(place: Place, store: Store, weakness: Weakness) -> None:
    set_destination(store, lines_per_file=2)
    place.outbound = {
        "web": {"destination_id": DESTINATION, "master_dpid": CRM, "max_shrink": 1, "separator": "space"}
    }
    for day, mode in enumerate(("full", "iter", "full")):
        for device in DEVICES:
            set_traits(store, device, *[(ADULT, READER), (BUYER,), (ADULT,)][(device + day) % 3])
        playing = weakness if mode == "iter" else Weakness()
        export(
            store, DESTINATION, mode, put_into(place.folder), at=AT + timedelta(days=day), weakness=playing
        )
        place.receive()
    assert place.members() == so(store, "sid")
