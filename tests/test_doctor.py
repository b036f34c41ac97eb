"""`aam doctor` says what is set up and what is to do, and goes on after what it finds."""

from collections.abc import Callable
from typing import Any

import pytest
import yaml
from conftest import AWS, Bucket, Stage, Workspace

from aam_onboard import doctor
from aam_onboard.state import VERSION

pytestmark = pytest.mark.one_engine

Prepare = Callable[[Stage], Workspace]


def findings(place: Workspace, *arguments: str, **more: Any) -> dict[str, tuple[str, str]]:
    """By what each is about, without the versions: the tests' environment may be an older installation."""
    told = place.aam("doctor", "--json", *arguments, **more).json["findings"]
    return {one["about"]: (one["verdict"], one["says"]) for one in told if one["about"] != "versions"}


def test_what_is_set_up_and_what_is_not(workspace: Prepare) -> None:
    place = workspace("delivered")
    found = findings(place, "--write")
    assert {verdict for verdict, _ in found.values()} == {"ok"}, found
    feeds = {name for name in found if name.startswith(("feed ", "ID sync "))}
    assert len(feeds) == 7
    assert found["state"] == ("ok", f"version {VERSION}, as the command's")
    assert not [path for path in place.out() if path.name.startswith("aam_doctor")]

    traits = found["taxonomy"][1].partition(",")[0]
    place.sql(
        "insert into aam_state.state_versions select 99, migrated_at from aam_state.state_versions",
        f"delete from {traits}",
        "drop view feeds.hashed_email_sync cascade",
        "drop view feeds.crm_profile cascade",
        "create view feeds.crm_profile as select 'x' as user_id",
    )
    output = yaml.safe_load((place.root / "destinations.yml").read_text())["outputs"]["local"]
    (place.root / "file").touch()
    place.destination("local", **{**output, "path": "file/out"})
    done = place.aam("doctor")
    assert done.code == 2
    found = findings(place)
    to_do = {name: says for name, (verdict, says) in found.items() if verdict == "to do"}
    without_traits = {"feed crm_traits", "feed ios_traits", "feed android_traits"}
    assert set(to_do) == {"state", "taxonomy", "feed crm_profile", "destination"} | without_traits
    assert f"of version 99, this command's is {VERSION}: install a later aam-onboard" in to_do["state"]
    assert "has no column signal_key, signal_value" in to_do["feed crm_profile"]
    assert found["ID sync hashed_email_sync"] == ("not yet", doctor.NOT_BUILT)
    assert found["ID sync crm_id_sync"][0] == "ok"
    for name in to_do:
        assert f"to do     {name}: " in done.out


def test_rights_and_clock_of_a_bucket(
    duckdb_workspace: Prepare, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = duckdb_workspace("seeded")
    place.destination("bucket", **bucket.settings)
    found = findings(place, "--to", "bucket", "--write", extra=AWS)
    assert found["probe"] == ("ok", "a file was put, read back and deleted")
    assert found["clock"][0] == "ok"
    assert found["state"] == ("not yet", doctor.NOT_BUILT)
    assert bucket.stored() == []
    found = findings(place, "--to", "bucket", extra={**AWS, "AWS_SECRET_ACCESS_KEY": ""})
    assert found["destination"][0] == "to do"
    assert "clock" not in found


def test_a_clock_that_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    from datetime import timedelta

    class There:
        def clock(self) -> object:
            return doctor._now() + timedelta(seconds=1000)

    found = doctor._find("clock", doctor._clock, There())
    assert (found.verdict, "1,000 seconds behind the destination's: set it" in found.says) == ("to do", True)


def test_postgres_schemas_without_rights(postgres_workspace: Prepare) -> None:
    place = postgres_workspace("delivered")
    place.sql(
        "drop role if exists reader",
        "create role reader login",
        "revoke create on schema public from public",
        "grant usage on schema aam_state, inbound, feeds, raw to reader",
    )
    found = findings(place, extra={"AAM_PG_USER": "reader"})
    assert found["schemas"][0] == "to do"
    assert "reader may not write schema aam_state: grant create on it" in found["schemas"][1]
    assert found["destination"][0] == "ok"
