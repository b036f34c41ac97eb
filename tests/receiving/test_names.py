"""Names of outbound files: every form of the guide, and what is near it."""

from datetime import datetime, timezone
from typing import Any

import pytest
from pydantic import ValidationError

from aam_onboard.config import Outbound
from aam_onboard.outbound.names import OutboundNameError, batch_of_info, read_name

MS = "1700000000123"
AT = datetime(2023, 11, 14, 22, 13, 20, 123000, tzinfo=timezone.utc)
AT_S = AT.replace(microsecond=0)

# name, settings beside the destination 4411, mode, made at, part, root
READ: list[tuple[str, dict[str, Any], str, datetime, int | None, str]] = [
    (f"s3_4411_20914_Acme_iter_{MS}.sync.gz", {"master_dpid": 20914}, "iter", AT, None, "s3_4411_20914_Acme_iter_"),
    (f"S3_4411_20914_Acme_full_{MS}001.sync.gz", {"master_dpid": 20914}, "full", AT, 1, "S3_4411_20914_Acme_full_"),
    (f"s3_4411_full_{MS}1000.sync.gz", {}, "full", AT, 1000, "s3_4411_full_"),
    (f"ftp_4411_20915_iter_{MS}.sync", {"master_dpid": 20915}, "iter", AT, None, "ftp_4411_20915_iter_"),
    (f"ftp_4411_45454_full_{MS}-2.sync.gz", {"master_dpid": 45454}, "full", AT, 2, "ftp_4411_45454_full_"),
    (f"http_4411_iter_{MS}.csv", {}, "iter", AT, None, "http_4411_iter_"),
    (f"4411_iter_{MS}.csv.gz", {}, "iter", AT, None, "4411_iter_"),
    (f"s3_4411_my_full_name_iter_{MS}.sync", {}, "iter", AT, None, "s3_4411_my_full_name_iter_"),
    (f"s3_4411_12_34_iter_{MS}.sync", {"alias": "12_34"}, "iter", AT, None, "s3_4411_12_34_iter_"),
    (f"s3_20914_4411_iter_{MS}.sync", {"master_dpid": 20914, "in_name": ["master_dpid", "destination_id"]},
     "iter", AT, None, "s3_20914_4411_iter_"),
    (f"ftp_Acme_iter_{MS}.sync", {"master_dpid": 20914, "in_name": ["destination_id"], "alias": "x"}, "", AT, None, ""),
    (f"s3_4411_iter_{MS}.sync.gz.gpg", {}, "iter", AT, None, "s3_4411_iter_"),
    (f"s3_4411_full_{MS}.info", {}, "full", AT, None, "s3_4411_full_"),
    ("ftp_4411_888_20915_iter_1700000000.sync", {"dpid": 888, "master_dpid": 20915, "time_digits": 10},
     "iter", AT_S, None, "ftp_4411_888_20915_iter_"),
    ("ftp_4411_iter_1700000000123.sync", {"time_digits": 10}, "iter", AT_S, 123, "ftp_4411_iter_"),
    ("s3_4411_full_20231114221320.sync", {"time_digits": 14}, "full", AT_S, None, "s3_4411_full_"),
    ("s3_4411_full_20231114221320002.sync", {"time_digits": 14}, "full", AT_S, 2, "s3_4411_full_"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "settings", "mode", "at", "split", "root"), READ)
def test_names_are_read(
    name: str, settings: dict[str, Any], mode: str, at: datetime, split: int | None, root: str
) -> None:
    found = read_name(name, {"web": Outbound(destination_id=4411, **settings)})
    if not mode:
        assert found is None
        return
    assert found is not None
    assert (found.mode, found.made_at, found.split) == (mode, at, split)
    digits = {10: "1700000000", 13: MS, 14: "20231114221320"}[settings.get("time_digits", 13)]
    assert found.root == root + digits
    assert found.is_info == name.endswith(".info")
    assert found.is_gzip == (".gz" in name)
    assert found.is_pgp == name.endswith(".gpg")


@pytest.mark.parametrize(
    "name",
    [
        "readme.txt",
        f"s3_4412_iter_{MS}.sync",
        f"s3_44110_iter_{MS}.sync",
        f"s3_4411_{MS}.sync",
        f"s3_4411_iter_{MS}.sync.zip",
        f"s3_4411_iter{MS}.sync",
        "s3_4411_iter_.sync",
        "ftp_dpm_4411_1700000000.sync.gz",
        f"{'9' * 5000}_iter_{MS}.sync",
    ],
)
def test_other_names_are_nobodys(name: str) -> None:
    assert read_name(name, {"web": Outbound(destination_id=4411)}) is None


WRONG = [
    (f"s3_4411_20914_Acme_iter_{MS}.sync", {}, "may be master_dpid 20914, or the begin of an alias `20914_Acme`"),
    (f"s3_4411_888_20914_iter_{MS}.sync", {"master_dpid": 20914}, "888 stands where vars.outbound.web has master_dpid"),
    (f"s3_4411_20914_20914_iter_{MS}.sync", {"master_dpid": 20914}, "`20914` may be dpid 20914, or the begin of"),
    (f"s3_4411_1_2_3_iter_{MS}.sync", {"dpid": 1, "master_dpid": 2}, "an element that vars.outbound.web.in_name"),
    (f"s3_4411_iter_{MS}.sync", {"master_dpid": 20914}, "nothing stands where vars.outbound.web has master_dpid 20914"),
    (f"s3_4411_Other_iter_{MS}.sync", {"alias": "Acme"}, "web has alias Acme, and the name Other"),
    ("s3_4411_iter_1700000000.sync", {}, "with time_digits 10, made at 2023-11-14 22:13:20 UTC"),
    ("s3_4411_iter_20231114221320.sync", {}, "with time_digits 14, made at 2023-11-14 22:13:20 UTC"),
    ("s3_4411_iter_16000000001231.sync", {}, "with time_digits 10, made at 2020-09-13 12:26:40 UTC, part 1231"),
    (f"s3_4411_iter_{MS}01.sync", {}, "are no time of 13 digits and a part of three or more"),
    (f"s3_4411_iter_{MS}0001.sync", {}, "are no time of 13 digits"),
    (f"s3_4411_iter_{MS}001-1.sync", {}, "no other width fits either"),
    ("s3_4411_iter_0000000000000.sync", {}, "no other width fits either"),
    ("s3_4411_iter_20231314221320.sync", {"time_digits": 14}, "are no time of 14 digits"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "settings", "says"), WRONG)
def test_names_that_do_not_fit_say_the_readings(name: str, settings: dict[str, Any], says: str) -> None:
    with pytest.raises(OutboundNameError) as caught:
        read_name(name, {"web": Outbound(destination_id=4411, **settings)})
    assert says in str(caught.value)
    assert caught.value.exit_code == 2


def test_two_destinations_of_one_name() -> None:
    both = {
        "web": Outbound(destination_id=4411, alias="Acme"),
        "app": Outbound(destination_id=4411, master_dpid=20914, alias="Acme"),
    }
    found = read_name(f"s3_4411_20914_Acme_iter_{MS}.sync", both)
    assert found is not None
    assert found.outbound == "app"
    both["app"] = Outbound(destination_id=4411)
    with pytest.raises(OutboundNameError, match=r"it fits vars.outbound.web and vars.outbound.app"):
        read_name(f"s3_4411_Acme_iter_{MS}.sync", both)


def test_an_info_of_the_other_mode() -> None:
    outbound = {"web": Outbound(destination_id=4411)}
    info = read_name(f"s3_4411_iter_{MS}.info", outbound)
    full = read_name(f"s3_4411_full_{MS}-1.sync", outbound)
    assert info is not None
    assert full is not None
    assert batch_of_info(info, [full]) == full.root
    assert batch_of_info(info, []) == info.root
    assert batch_of_info(full, [info, full]) == full.root


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"in_name": ["dpid"]}, "`in_name` lists dpid, which is not set"),
        ({"columns": ["members"]}, "`columns` needs user_id and members"),
        ({"columns": ["user_id", "members", "members"]}, "`columns` names a field twice"),
        ({"item_fields": ["type"]}, "`item_fields` needs sid"),
        ({"list_separator": "\x1f"}, "`list_separator` holds a control character that no line may hold"),
        ({"time_digits": 12}, "time_digits"),
        ({"header_lines": -1}, "header_lines"),
        ({"max_shrink": 20}, "max_shrink"),
        ({"destination": 1}, "destination"),
    ],
)
def test_settings_that_do_not_fit(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        Outbound.model_validate({"destination_id": 4411, **settings})
