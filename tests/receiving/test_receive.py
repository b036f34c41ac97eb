"""Outbound files into the state: fulls and iters in any order, what is not whole, and what is done with the files."""

import gzip
from typing import Any

import pytest

from receiving.helpers import SCHEMA, Place, file_name, pairs, uuid

A, B, C, D = (uuid(number) for number in range(1, 5))


def test_a_full_then_changes_then_a_full(place: Place) -> None:
    place.full({A: ["10", "11"], B: ["10"], C: []})
    [file] = place.ok().files
    assert (file.users, file.memberships, file.lines, file.rejected, file.status) == (3, 3, 3, 0, "applied")
    assert place.members() == pairs({A: ["10", "11"], B: ["10"]})
    place.iter({B: ["12"], D: ["10"]}, {A: ["11"], C: ["99"]}, 1)
    place.ok()
    assert place.members() == pairs({A: ["10"], B: ["10", "12"], D: ["10"]})
    place.full({A: ["10", "13"], B: ["10", "12"]}, 2)
    place.outbound["web"]["max_shrink"] = 0.5
    [batch] = place.ok().batches
    assert (batch.status, batch.ended_memberships) == ("whole", 1)
    assert place.members() == pairs({A: ["10", "13"], B: ["10", "12"]})
    rows = place.warehouse.rows(
        f"select user_id, tokens, since_file, last_file, until_file from {SCHEMA}.received_memberships"
    )
    since = {(row["user_id"], row["tokens"]): tuple(row.values())[2:] for row in rows}
    assert since == {
        (A, "10"): (1, 3, None),
        (A, "11"): (1, 1, 2),
        (A, "13"): (3, 3, None),
        (B, "10"): (1, 3, None),
        (B, "12"): (2, 3, None),
        (D, "10"): (2, 2, 3),
    }
    assert place.warehouse.rows(f"select 1 from {SCHEMA}.received_statements") == []
    again = place.ok()
    assert (again.files, again.batches) == ([], [])


def test_postgresql_knows_the_size_of_what_was_loaded(place: Place) -> None:
    """At once: while it took a first full for an empty table, the iter after it took hours."""
    if place.engine == "duckdb":
        pytest.skip("it needs no telling")
    for number, lines in enumerate(({A: ["10"], B: ["10"]}, {A: ["10", "11"], B: ["10", "12", "13"]})):
        place.full(lines, number)
        place.ok()
        rows = f"select reltuples from pg_class where oid = '{SCHEMA}.received_memberships'::regclass"
        [found] = place.warehouse.rows(rows)
        [there] = place.warehouse.rows(f"select count(*) as n from {SCHEMA}.received_memberships")
        assert found["reltuples"] == there["n"] > 0


def test_what_is_late_does_not_undo_what_is_newer(place: Place) -> None:
    place.full({A: ["10"], B: ["10"]})
    place.ok()
    place.iter({A: ["12"]}, {B: ["10"]}, 3)
    place.ok()
    place.iter({B: ["10", "11"]}, {A: ["12", "10"]}, 2)  # of before
    place.ok()
    assert place.members() == pairs({A: ["12"], B: ["11"]})
    place.outbound["web"]["max_shrink"] = 1
    place.full({A: ["10"], B: ["10"], C: ["10"]}, 1)  # of before both
    place.ok()
    assert place.members() == pairs({A: ["12"], B: ["11"], C: ["10"]})


def test_an_iter_of_before_the_last_full_changes_nothing(place: Place) -> None:
    place.full({A: ["10"]}, 2)
    place.ok()
    place.iter({B: ["11"]}, {A: ["10"]}, 1)
    place.full({C: ["10"]}, 0)
    result = place.ok()
    assert {file.status for file in result.files} == {"late"}
    assert {batch.status for batch in result.batches} == {"late"}
    assert place.members() == {(A, "10")}
    assert place.ok().files == []


def test_destinations_do_not_touch_each_other(place: Place) -> None:
    place.outbound["app"] = {"destination_id": 4412, "master_dpid": 20914}
    place.full({A: ["10"]})
    device = "11111111-2222-3333-4444-555555555555"
    name = file_name(head="S3_4412_20914_AcmeAds", ending=".sync")
    place.put(name, [f"{device} 10"])
    place.put_info([name])
    place.put("readme.txt", b"?")
    place.put(file_name(head="s3_9"), [])
    assert place.ok().other_files == 2
    assert (place.members(), place.members("app")) == ({(A, "10")}, {(device, "10")})
    place.outbound["web"]["max_shrink"] = 1
    place.full({B: ["10"]}, 1)
    place.ok()
    assert (place.members(), place.members("app")) == ({(B, "10")}, {(device, "10")})


@pytest.mark.parametrize("splits", [("", "001", "002"), ("001", "002", "003"), ("-1", "-2", "-3")])
def test_parts_of_a_full(place: Place, splits: tuple[str, ...]) -> None:
    """The first full of all, then one over it: users of any part stay, others leave with the last."""
    place.outbound["web"]["max_shrink"] = 0.5
    for day, users in ((0, (A, B, C)), (1, (B, C, D))):
        names = [file_name(day, split=split) for split in splits]
        for name, user in zip(names, users, strict=True):
            place.put(name, [f"{user} 10"])
        place.put_info(names)
        result = place.ok()
        assert len(result.files) == 3
        assert [batch.status for batch in result.batches] == ["whole"]
        assert place.members() == {(user, "10") for user in users}


def test_users_who_stand_twice(place: Place) -> None:
    for day in (0, 1):
        place.put(file_name(day), [f"{A} 10,10,11", f"{A} 10,12", f"{B} 11"])
        place.put_info([file_name(day)])
        place.ok()
        assert place.members() == pairs({A: ["10", "11", "12"], B: ["11"]})


def test_a_full_waits_for_what_its_info_names_and_then_does_with_what_came(place: Place) -> None:
    place.full({A: ["10"], B: ["10"], C: ["10"]})
    place.ok()
    place.outbound["web"]["max_shrink"] = 0.5
    names = [file_name(1, split="001"), file_name(1, split="002")]
    place.put_info(names)
    assert [one.waits_for for one in place.ok().waiting] == [" ".join(f"{n}," for n in names).rstrip(",")]
    place.put(names[0], [f"{A} 11"])
    place.put_info(names)
    assert [one.waits_for for one in place.ok().waiting] == [names[1]]
    place.put_info(names, age_hours=49)
    said = place.refused(1)
    assert f"{names[1]} did not come within 48 hours" in said
    assert "ask Adobe" in said
    assert place.members() == pairs({A: ["11"], B: ["10"], C: ["10"]})
    assert place.ok().files == []  # said once
    place.put(names[1], [f"{B} 12"])
    place.put_info(names)
    [batch] = place.ok().batches
    assert (batch.status, batch.ended_memberships) == ("whole", 1)
    assert place.members() == pairs({A: ["11"], B: ["12"]})


def test_an_info_whose_files_never_come(place: Place) -> None:
    place.put_info([file_name()], age_hours=50)
    assert "has waited longer than 48 hours" in place.refused(1)


def test_without_an_info_a_full_ends_nobody_and_may_become_whole_later(place: Place) -> None:
    place.full({A: ["10"], B: ["10"]})
    place.ok()
    place.full({A: ["11"]}, 1, info=False)
    place.settings["settled_minutes"] = 90
    assert [one.waits_for for one in place.ok().waiting] == ["its .info, or 90 minutes without a change"]
    place.settings["settled_minutes"] = 30
    place.outbound["web"]["max_shrink"] = 0.5
    assert [batch.status for batch in place.ok().batches] == ["open"]
    assert place.members() == pairs({A: ["11"], B: ["10"]})
    assert place.ok().batches == []
    place.put_info([file_name(1)])
    assert [batch.status for batch in place.ok().batches] == ["whole"]
    assert place.members() == pairs({A: ["11"]})


def test_an_empty_or_shrunken_full_stops_at_the_guard(place: Place) -> None:
    place.full({A: ["10", "11"], B: ["10"], C: ["10"]})
    place.ok()
    before = place.members()
    place.full({}, 1)
    said = place.refused(3)
    assert "all 4 memberships of vars.outbound.web would end" in said
    assert "aam receive --select web --force" in said
    assert place.members() == before
    place.full({A: ["10", "11"], B: ["10"]}, 2)
    assert "1 of 4 memberships would end (25%), more than max_shrink 20%" in str(place.receive().errors[-1])
    assert place.members() == before
    place.full({A: [], B: ["10"], C: ["10"]}, 3)  # everyone listed, with less
    assert "2 of 4 memberships would end" in str(place.receive().errors[-1])
    assert place.members() == before
    result = place.ok(force=True)
    assert place.members() == pairs({B: ["10"], C: ["10"]})
    assert all(batch.forced for batch in result.batches if batch.status == "whole")


def test_an_empty_file_is_received(place: Place) -> None:
    place.full({A: ["10"]})
    place.iter({}, {}, 1)
    result = place.ok()
    assert [file.users for file in result.files] == [1, 0]
    assert place.members() == {(A, "10")}


def test_days_without_a_batch_are_gaps_until_the_next_full(place: Place) -> None:
    from datetime import datetime, timezone

    from receiving.helpers import DAY, START

    today = int(datetime.now(timezone.utc).timestamp() * 1000 - START) // DAY
    place.full({A: ["10"]}, today - 6)
    for day in (-5, -2, -1):
        place.iter({A: ["11"]}, {}, today + day)
    result = place.ok()
    assert len(result.gaps["web"]) == 2
    place.full({A: ["10"]}, today)
    place.outbound["web"]["max_shrink"] = 0.5
    assert place.ok().gaps == {}


@pytest.mark.parametrize("after", ["keep", "delete", "move"])
def test_what_becomes_of_files(place: Place, after: str) -> None:
    place.settings |= {"after": after, "prefix": "outbound/"}
    place.put(file_name(), [f"{A} 10"], folder="outbound/daily")
    info = place.put_info([file_name()])
    info.rename(place.folder / "outbound" / "daily" / info.name)
    (place.folder / "outbound" / "daily" / info.name).write_text(
        '{Files: [{FileName: "' + file_name() + '"},], Totals: {}}'
    )
    before = sorted(path.relative_to(place.folder).as_posix() for path in place.folder.rglob("s3_*"))
    place.ok(dry_run=True)
    assert place.members() == set()
    place.ok()
    place.ok()
    there = sorted(path.relative_to(place.folder).as_posix() for path in place.folder.rglob("s3_*"))
    moved = [name.replace("outbound/", "received/") for name in before]
    assert there == {"keep": before, "delete": [], "move": moved}[after]
    assert place.members() == {(A, "10")}


def test_the_same_name_again(place: Place) -> None:
    place.full({A: ["10"]})
    place.put(file_name(), [f"{A} 10"], folder="again")
    place.ok()
    place.put(file_name(), [f"{A} 10,11"], folder="zz")
    assert place.ok().files == []  # the first one counts
    (place.folder / file_name()).unlink()
    (place.folder / "again" / file_name()).unlink()
    assert "nothing is received twice" in place.refused(1)
    assert place.members() == {(A, "10")}


DAMAGED: dict[str, tuple[Any, str]] = {
    "cut off": (lambda data: data[:-9], "the gzip is cut off"),
    "damaged": (lambda data: data[:10] + b"\xff\xff\xff" + data[13:], "the gzip is damaged"),
    "plain": (gzip.decompress, "it is no gzip, though its name ends in .gz"),
    "empty": (lambda data: b"", ""),
}


@pytest.mark.parametrize("how", DAMAGED)
def test_a_damaged_file_is_not_received_and_others_are(place: Place, how: str) -> None:
    change, says = DAMAGED[how]
    path = place.put(file_name(), [f"{uuid(number)} 1{number}" for number in range(1, 30)])
    path.write_bytes(change(path.read_bytes()))
    place.iter({A: ["99"]}, {}, 1)
    if says:
        assert says in place.refused(1)
    else:
        place.ok()
    assert place.members() == {(A, "99")}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"md5": "0" * 32}, "its MD5 is"),
        ({"FileLineCount": 7}, "1 lines, its .info says 7"),
        ({"FileByteSize": 3}, "its .info says 3"),
        ({"md5": "no digest at all"}, ""),
        ({"md5": None}, ""),
    ],
)
def test_what_the_info_says_is_proven(place: Place, change: dict[str, Any], says: str) -> None:
    place.put(file_name(), [f"{A} 10"])
    place.put_info([file_name()], **change)
    if says:
        said = place.refused(1)
        assert says in said
        assert "ask Adobe for it anew" in said
    else:
        place.ok()
    assert place.members() == (set() if says else {(A, "10")})


def test_an_md5_of_the_text_within_counts(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    import hashlib

    place.put(file_name(), [f"{A} 10"])
    place.put_info([file_name()], md5=hashlib.md5(f"{A} 10\n".encode()).hexdigest().upper())
    place.ok()
    assert "is that of the text within" in caplog.text


def test_lines_that_are_not_as_they_should_be_are_kept_with_the_reason(place: Place) -> None:
    place.outbound["web"] = {"destination_id": 4411, "max_rejected": 0.9}
    good = f"{A} 10"
    bad = {
        "1.23457E+37 10": "invalid_id",
        "123 10": "invalid_id",
        " 10": "empty_id",
        f"{B} 10,,11": "empty_token",
        f"{B} 10 10": "added_and_removed",
        f"{B}  10": "separator_unknown",
        f"{B} 10 11 12": "too_many_fields",
        f"{B} 10\x02": "control_character",
    }
    data = "\r\n".join([good, "", *bad]).encode() + b"\r\n" + f"{B} ".encode() + b"\xff10"
    place.put(file_name(), gzip.compress(b"\xef\xbb\xbf" + data))
    [file] = place.ok().files
    assert (file.rejected, file.lines) == (len(bad) + 1, len(bad) + 3)
    assert place.rejected() == {**bad, f"{B} \\xff10": "no_utf8"}
    assert place.members() == {(A, "10")}


def test_a_file_of_another_form_is_not_received(place: Place) -> None:
    place.put(file_name(), [f"{uuid(number)};10" for number in range(5)])
    said = place.refused(3)
    assert "5 of 5 lines rejected (100%), more than max_rejected 20%" in said
    assert "mend vars.outbound.web" in said
    assert place.warehouse.rows(f"select 1 from {SCHEMA}.received_files") == []


def test_a_name_of_two_readings_stops_that_file_alone(place: Place) -> None:
    place.full({A: ["10"]})
    place.put(file_name(head="s3_4411_20914_Acme"), [f"{A} 11"])
    said = place.refused(2)
    assert "may be master_dpid 20914, or the begin of an alias `20914_Acme`" in said
    assert place.members() == {(A, "10")}


def test_what_a_killed_run_left_is_no_hindrance(place: Place) -> None:
    place.full({A: ["10"]})
    left = place.root / ".aam" / "spool" / place.engine / "received"
    left.mkdir(parents=True)
    (left / "text").write_text("half")
    place.ok()
    assert not left.exists()
    assert place.members() == {(A, "10")}


def test_pgp_files_are_read_with_the_keyring_of_who_runs_it(
    place: Place, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil
    import subprocess
    import tempfile

    if shutil.which("gpg") is None:
        pytest.fail("the tests need gpg; apt-get install gnupg")
    with (
        tempfile.TemporaryDirectory(prefix="aam-") as ours,
        tempfile.TemporaryDirectory(prefix="aam-") as other,
    ):
        for home, name in ((ours, "ours"), (other, "other")):
            options = ["gpg", "--homedir", home, "--batch", "--passphrase", "", "--pinentry-mode", "loopback"]
            make = [*options, "--quick-generate-key", name, "future-default", "default", "never"]
            subprocess.run(make, check=True, capture_output=True)
        name = file_name(ending=".sync.gz.gpg")
        encrypt = ["gpg", "--homedir", ours, "--batch", "--trust-model", "always", "--encrypt", "-r", "ours"]
        packed = gzip.compress(f"{A} 10\n".encode())
        place.put(name, subprocess.run(encrypt, input=packed, check=True, capture_output=True).stdout)
        assert "say `decrypt: true` under `receive` of output `there`" in place.refused(2)
        place.settings["decrypt"] = True
        monkeypatch.setenv("GNUPGHOME", other)
        assert "secret key" in place.refused(1)
        assert place.members() == set()
        monkeypatch.setenv("GNUPGHOME", ours)
        place.ok()
        assert place.members() == {(A, "10")}
        for home in (ours, other):
            subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=False)
