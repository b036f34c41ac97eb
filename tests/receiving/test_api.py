"""What the API says was sent, held against what was received: a sandbox exports, its server answers."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import httpx
import pytest
import sandboxes
from conftest import set_sleep
from sandboxes import ADULT, CRM, DESTINATION, READER, map_to_destination, set_destination, set_traits

from aam_onboard.api import Api, ApiError
from aam_onboard.config import ApiSettings
from aam_onboard.errors import ConfigError
from aam_onboard.outbound.history import differences_of
from aam_onboard.receive import received_so_far
from aam_sandbox.export import export, put_into
from aam_sandbox.store import open_store
from receiving.helpers import SCHEMA, Place


@pytest.fixture
def sent(place: Place, tmp_path: Path) -> Iterator[tuple[Place, Path]]:
    """Three files of a full, without an .info, were sent into the place's folder."""
    with sandboxes.sandbox(tmp_path / "sandbox") as store:
        set_destination(store, CRM, id="uuid", lines_per_file=1, info="none")
        map_to_destination(store, ADULT, READER)
        for device in (1, 2, 3):
            set_traits(store, device, ADULT)
        export(store, DESTINATION, "full", put_into(place.folder))
    settings = {
        "destination_id": DESTINATION,
        "master_dpid": CRM,
        "ids_of": 0,
        "separator": "space",
        "max_shrink": 1,
    }
    place.outbound = {"web": settings}
    return place, tmp_path / "sandbox"


def change(folder: Path, sql: str) -> None:
    with open_store(folder) as store:
        store.connection.execute(sql)


@contextmanager
def asked(folder: Path) -> Iterator[Api]:
    with sandboxes.serving(folder) as address, httpx.Client(timeout=30) as client:
        settings = ApiSettings(scope="openid", base_url=f"{address}/v1", token_url=f"{address}/ims/token/v3")
        yield Api(client, settings, "tests", "any")


def kinds(place: Place, api: Api) -> dict[str, str]:
    """The differences by the end of the file's name, as the result and as the state have them."""
    found = place.ok(api=api).differences
    kept = differences_of(place.warehouse, place.project(), "web")
    assert sorted(kept, key=repr) == sorted(found, key=repr)
    return {one.name.partition(".")[0][-3:]: one.kind for one in found}


def test_what_never_came_is_told_until_it_comes(sent: Any, caplog: pytest.LogCaptureFixture) -> None:
    place, folder = sent
    first, _, third = sorted(place.folder.iterdir())
    away = third.rename(place.root / third.name)
    with asked(folder) as api:
        assert kinds(place, api) == {"003": "never_came"}
        assert (
            f"outbound web: {third.name} was delivered, says Audience Manager, and never came" in caplog.text
        )
        [status] = received_so_far(place.warehouse, place.project()).values()
        assert [one.name for one in status.differences] == [third.name]
        # what the API says is kept as it says it, with what we do not know of
        [row] = place.warehouse.rows(
            f"select records, difference, raw from {SCHEMA}.outbound_history where name = $1", [first.name]
        )
        assert (row["records"], row["difference"]) == (1, None) and '"attemptedRecords": 1' in row["raw"]
        # more than eight days later nobody asks the API for it any more, but it is not forgotten
        change(folder, "update exports set started_at = started_at - interval 9 days")
        assert kinds(place, api) == {"003": "never_came"}
        away.rename(third)
        assert kinds(place, api) == {}
        assert place.warehouse.rows(f"select count(*) as n from {SCHEMA}.outbound_history") == [{"n": 3}]


def test_records_that_differ_and_files_that_failed(sent: Any, caplog: pytest.LogCaptureFixture) -> None:
    place, folder = sent
    first, second, third = sorted(place.folder.iterdir())
    second.unlink()
    third.rename(third.with_name(f"{third.name}.gpg"))  # it waits for somebody to say `decrypt`
    change(folder, f"update exports set received_records = 12 where file_name = '{first.name}'")
    change(folder, f"update exports set success = false where file_name = '{second.name}'")
    with asked(folder) as api:
        result = place.receive(api=api)
        assert [(one.kind, one.theirs, one.ours) for one in result.differences] == [
            ("records", 12, 1),
            ("not_sent", 0, None),
        ]
        assert [str(error).partition(" is a PGP")[0] for error in result.errors] == [
            f"outbound web: {third.name}.gpg"
        ]
    assert f"{first.name} (12 records, 1 came) has other records than Audience Manager says" in caplog.text
    assert "could not be delivered, says Audience Manager: ask Adobe to send it anew" in caplog.text


def test_what_a_later_full_has_healed_is_not_told(sent: Any) -> None:
    place, folder = sent
    for file in sorted(place.folder.iterdir())[1:]:
        file.unlink()
    with asked(folder) as api:
        assert kinds(place, api) == {"002": "never_came", "003": "never_came"}
        with open_store(folder) as store:
            set_destination(store, CRM, id="uuid")
            later = datetime.now(timezone.utc) + timedelta(hours=1)
            export(store, DESTINATION, "full", put_into(place.folder), at=later)
        assert kinds(place, api) == {}


def test_what_was_sent_before_the_first_that_came_is_not_told(sent: Any) -> None:
    place, folder = sent
    for file in sorted(place.folder.iterdir())[1:]:
        file.unlink()
    change(folder, "update exports set started_at = started_at - interval 1 day where export_id = 3")
    with asked(folder) as api:
        assert kinds(place, api) == {"002": "never_came"}


def test_what_may_still_be_on_its_way_is_not_told(sent: Any) -> None:
    place, folder = sent
    for file in place.folder.iterdir():
        file.unlink()
    place.settings |= {"settled_minutes": 10}
    with asked(folder) as api:
        assert kinds(place, api) == {}
        change(folder, "update exports set ended_at = ended_at - interval 11 minutes")
        assert len(kinds(place, api)) == 3


def test_what_goes_wrong_with_the_api_undoes_nothing(sent: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    place, folder = sent
    set_sleep(monkeypatch, "aam_onboard.api", lambda _: None)
    with asked(folder) as api:
        place.outbound["app"] = {"destination_id": 4412}
        result = place.receive(api=api)
    assert len(result.files) == 3
    [error] = result.errors
    assert (
        isinstance(error, ConfigError)
        and "outbound app: " in str(error)
        and "destinations/4412" in str(error)
    )
    nowhere = ApiSettings(scope="openid", base_url="http://127.0.0.1:1", token_url="http://127.0.0.1:1")
    with httpx.Client() as client:
        gone = Api(client, nowhere, "tests", "any")
        result = place.receive(api=gone)
        [error] = result.errors  # one, for all destinations
        assert isinstance(error, ApiError) and "can't be reached" in str(error)
        assert place.receive(api=gone, dry_run=True).errors == []
