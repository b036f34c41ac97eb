"""`aam why`: what is known of one user in one feed."""

from collections.abc import Callable

import pytest
from conftest import Stage, Workspace

pytestmark = pytest.mark.one_engine

Prepare = Callable[[Stage], Workspace]


def test_why(workspace: Prepare) -> None:
    project = workspace("delivered")
    [(user_id, trait)] = project.sql(
        "select user_id, signal_value from feeds.crm_traits where signal_key = 'd_sid' and user_id = '00021' limit 1"
    )
    answer = project.ok("why", "crm_traits", user_id, "--json").json
    assert {"signal_key": "d_sid", "signal_value": trait, "reason": None, "destination": None} in answer[
        "model"
    ]
    assert {(one["signal_value"], one["destination"]) for one in answer["delivered"]} == {
        (one["signal_value"], "local") for one in answer["model"]
    }
    [sent] = answer["deliveries"]
    assert (sent["status"], sent["destination"], sent["removed"]) == ("delivered", "local", [])
    assert f"d_sid={trait}" in sent["added"]
    assert [file["name"] for file in sent["files"]] == [
        path.name for path in project.out() if path.name.startswith("ftp_dpm_58342_1")
    ]
    shown = project.ok("why", "crm_traits", user_id).out
    assert trait in shown and "at local" in shown and sent["delivery_id"] in shown

    [(bad, reason)] = project.sql(
        "select user_id, reason from inbound.rejected_rows where feed = 'crm_profile' and user_id is not null limit 1"
    )
    kept = project.ok("why", "crm_profile", bad, "--json").json["kept_back"]
    assert reason in {one["reason"] for one in kept}

    [(ids,)] = project.sql(
        "select ids from aam_state.delivered_id_lines where id_sync = 'crm_id_sync' limit 1"
    )
    first, _, second = ids.partition("\t")
    for one in (first, second):
        pairs = project.ok("why", "crm_id_sync", one, "--json").json["delivered"]
        assert {"signal_key": first, "signal_value": second, "reason": None, "destination": "local"} in pairs

    assert "Nothing is known of nobody in feed crm_traits" in project.ok("why", "crm_traits", "nobody").out
    assert "no such feed; known feeds: " in project.refused(2, "why", "nothing", "x")
