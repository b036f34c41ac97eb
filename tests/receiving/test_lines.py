"""Lines of every template, read by the settings alone, and for each a line that fits none."""

import tracemalloc
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import duckdb
import pytest

from aam_onboard.config import Outbound, package_rules
from aam_onboard.outbound.lines import (
    SAYS,
    each_member,
    listed_lines,
    names_twice,
    parsed_lines,
    user_sets,
)
from aam_onboard.outbound.names import read_name
from aam_onboard.outbound.unpack import unpack
from aam_onboard.warehouse import SEPARATOR
from receiving.helpers import uuid

A, B = uuid(1), uuid(2)
GAID = "11111111-2222-3333-4444-555555555555"


def ignore(piece: Path) -> None:
    """Who has nothing to do with a piece."""


def read(
    tmp_path: Path, data: bytes, id_type: str | None = "aam_uuid", **settings: Any
) -> tuple[dict[str, list[str]], dict[str, str]]:
    """What lines say: `+token` and `-token` of each user; the rejected lines with their reasons."""
    outbound = Outbound(destination_id=4411, **settings)
    name = read_name("s3_4411_iter_1700000000123.sync", {"web": Outbound(destination_id=4411)})
    assert name is not None
    (tmp_path / "file").write_bytes(data)
    text = unpack(tmp_path / "file", tmp_path, name, outbound.header_lines, ignore)
    parsed = parsed_lines(text.pieces, outbound, package_rules().id_types[id_type] if id_type else None)
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        rejected = dict(
            connection.execute(f"select line, reason from ({parsed}) where reason is not null").fetchall()
        )
        assert set(rejected.values()) <= SAYS.keys()
        found: dict[str, list[str]] = {
            user: []
            for (user,) in connection.execute(
                f"select user_id from ({parsed}) where reason is null"
            ).fetchall()
        }
        for list_name, sign in (("members", "+"), ("removed", "-")):
            twice = names_twice(list_name, outbound)
            [[count, has_twice]] = connection.execute(
                f"select coalesce(sum(len({list_name})), 0), coalesce(bool_or({twice}), false)"
                f" from ({listed_lines(parsed, outbound)}) where reason is null"
            ).fetchall()
            each = each_member(parsed, list_name, outbound, sound=not rejected, once=not has_twice)
            said = connection.execute(f"select * from ({each}) order by all").fetchall()
            assert count >= len(said)
            if outbound.kind != "items":
                sets = user_sets(
                    parsed, {"tokens": list_name}, outbound, sound=not rejected, once=not has_twice, some=True
                )
                assert sorted(
                    (user, token, is_trait)
                    for user, is_trait, tokens in connection.execute(sets).fetchall()
                    for token in tokens.split(SEPARATOR)
                ) == sorted(said)
            for user, token, is_trait, *times in said:
                at = "".join(f"@{since.timestamp():.0f}" for since in times if since)
                found[user].append(f"{sign}{'t' if is_trait else ''}{token}{at}")
        return found, {**rejected, **{line: reason for reason, line in text.unreadable}}


TAB, SOH = "\t", "\x01"
FORMS: list[tuple[dict[str, Any], str, list[str]]] = [
    ({"separator": "space"}, f"{A} 10,11 12", ["+10", "+11", "-12"]),
    ({"separator": "space"}, f"{A}  12,13", ["-12", "-13"]),
    ({"separator": "space"}, f"{A} 10", ["+10"]),
    ({"separator": "space"}, f"{A} 10,11,10", ["+10", "+11"]),
    ({"separator": "space"}, f"{A} {','.join(map(str, [*range(10, 24), 10]))}", [f"+{n}" for n in range(10, 24)]),
    ({"separator": "space"}, f"{A} 10 ", ["+10"]),
    ({"separator": "space"}, A, []),
    ({"separator": "two_spaces"}, f"{A}  10,11  12", ["+10", "+11", "-12"]),
    ({"separator": "two_spaces"}, f"{A}    12", ["-12"]),
    ({"separator": "two_spaces"}, f"{A}  10", ["+10"]),
    ({"separator": "tab"}, f"{A}{TAB}10{TAB}12", ["+10", "-12"]),
    ({"separator": "tab"}, f"{A}{TAB}{TAB}12", ["-12"]),
    ({"separator": "tab"}, f"{A}{TAB}gold members,10", ["+10", "+gold members"]),
    ({"separator": "soh"}, f"{A}{SOH}10{SOH}12", ["+10", "-12"]),
    ({}, f"{A} 10,11 12", ["+10", "+11", "-12"]),
    ({}, f"{A} 10", ["+10"]),
    ({}, f"{A}  10  12", ["+10", "-12"]),
    ({}, f"{A}    12", ["-12"]),
    ({}, f"{A}  ", []),
    ({}, f"{A}{TAB}10", ["+10"]),
    ({}, f"{A}{TAB}{TAB}12", ["-12"]),
    ({"list_separator": "|", "columns": ["user_id", "skip", "members"], "kind": "traits"},
     f"{A}{TAB}1{TAB}10|11", ["+t10", "+t11"]),
    ({"kind": "traits"}, f"{A}{TAB}10,11", ["+t10", "+t11"]),
    ({"kind": "traits", "members": "segment"}, f"{A}{TAB}10", ["+10"]),
    ({"columns": ["removed", "members", "user_id"], "separator": "tab"}, f"12{TAB}10{TAB}{A}", ["+10", "-12"]),
    ({"separator": "tab", "list_separator": "||"}, f"{A}{TAB}10||11", ["+10", "+11"]),
    ({"kind": "items"}, f"{A}{TAB}5,10,1,1700000000123&10,11,1,1700000001{TAB}3,12,1,",
     ["+10@1700000000", "+t11@1700000001", "-t12"]),
    ({"kind": "items", "item_fields": ["sid", "lastUpdateTime", "lastRealizationTime"], "list_separator": "|"},
     f"{A}{TAB}10,1700000009,1700000001", ["+10@1700000001"]),
    ({"kind": "items"}, f"{A}{TAB}", []),
    ({"kind": "json_lines"}, f'{{"DP_UUID":"{A}","Data":[{{"Name":"10"}},{{"Name":12,"TtlInMinutes":0}}]}}',
     ["+10", "-12"]),
    ({"kind": "json_lines"}, f'{{"Data":[],"DP_UUID":{A.replace("0", "1")}}}', []),
    ({"kind": "json_lines", "json_keys": {"user_id": "U\'s", "members": 'a"b', "token": "s.t"}},
     f'{{"U\'s":"{A}","a\\"b":[{{"s.t":"x","TtlInMinutes":60}}]}}', ["+x"]),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(FORMS)))
def test_forms(tmp_path: Path, number: int) -> None:
    settings, line, says = FORMS[number]
    found, rejected = read(tmp_path, f"{line}\n".encode(), **settings)
    assert rejected == {}
    [user] = found
    assert user == (A if A in line else A.replace("0", "1"))
    assert found[user] == says


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({}, f"{A}  10", "separator_unknown"),
    ({}, f"{A}   10", "separator_unknown"),
    ({}, f"{A} 10  12", "separator_unknown"),
    ({}, f"{A} 10 11 12", "too_many_fields"),
    ({"separator": "space"}, f"{A}  10  12", "too_many_fields"),
    ({"separator": "space"}, f"{A}{TAB}10", "invalid_id"),
    ({"separator": "two_spaces"}, f"{A} 10 12", "invalid_id"),
    ({"separator": "space"}, " 10", "empty_id"),
    ({"separator": "space"}, f"{A[1:]} 10", "invalid_id"),
    ({"separator": "space"}, "3.14E+37 10", "invalid_id"),
    ({"separator": "space"}, f"{A} ,10", "empty_token"),
    ({"separator": "space"}, f"{A} 10,", "empty_token"),
    ({"separator": "space"}, f"{A} 10,,11", "empty_token"),
    ({"separator": "space"}, f"{A} 10,11 12,11", "added_and_removed"),
    ({"kind": "items"}, f"{A}{TAB}5,10,1", "item_of_other_fields"),
    ({"kind": "items"}, f"{A}{TAB}5,,1,1700000000", "empty_token"),
    ({"kind": "items"}, f"{A}{TAB}5,10,1,1{TAB}5,10,1,1", "added_and_removed"),
    ({"kind": "json_lines"}, "[1]", "no_json"),
    ({"kind": "json_lines"}, f'{{"DP_UUID":"{A}"', "no_json"),
    ({"kind": "json_lines"}, f'{{"UUID":"{A}","Data":[]}}', "empty_id"),
    ({"kind": "json_lines"}, '{"DP_UUID":3.14e37,"Data":[]}', "invalid_id"),
    ({"kind": "json_lines"}, f'{{"DP_UUID":"{A}","Data":[{{"Other":1}}]}}', "empty_token"),
    ({"kind": "json_lines"}, f'{{"DP_UUID":"{A}","Data":[{{"Name":"1\\u001f2"}}]}}', "control_character"),
    ({"kind": "json_lines"}, f'{{"DP_UUID":"{A}","Data":[{{"Name":"\\u0000","TtlInMinutes":0}}]}}',
     "control_character"),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(WRONG)))
def test_lines_that_do_not_fit(tmp_path: Path, number: int) -> None:
    settings, line, reason = WRONG[number]
    _, rejected = read(tmp_path, f"{line}\n".encode(), **settings)
    assert rejected == {line: reason}


def test_ids_by_their_type(tmp_path: Path) -> None:
    data = f"{GAID} 10\n{GAID.upper().replace('1', 'A')} 10\nuser 10\n".encode()
    found, rejected = read(tmp_path, data, "gaid", separator="space")
    assert (list(found), set(rejected.values())) == ([GAID], {"invalid_id"})
    found, rejected = read(tmp_path, data, "dpuuid", separator="space")
    assert rejected == {}
    found, rejected = read(tmp_path, b"us\x07er 10\n", "dpuuid", separator="space")
    assert list(rejected.values()) == ["invalid_id"]


def test_text_of_any_kind(tmp_path: Path) -> None:
    """A mark of UTF-8, CRLF, a header, blank lines, no last line end, and bytes that are no text."""
    data = f"\ufeffUUID SEGMENTS\r\n\r\n{A} 10\r\n\r\n{B} 11".encode()
    assert read(tmp_path, data, separator="space", header_lines=1) == ({A: ["+10"], B: ["+11"]}, {})
    assert read(tmp_path, data, separator="space", header_lines=4) == ({B: ["+11"]}, {})
    assert read(tmp_path, data, separator="space", header_lines=9) == ({}, {})
    assert read(tmp_path, b"", separator="space") == ({}, {})
    assert read(tmp_path, b"\n\n", separator="space") == ({}, {})
    found, rejected = read(
        tmp_path, f"{A} 10\n".encode() + b"\xff\n\0\n\x02\n\x03\n\x1f\n", separator="space"
    )
    assert found == {A: ["+10"]}
    assert rejected == {
        "\\xff": "no_utf8",
        "\\0": "control_character",
        "\x02": "control_character",
        "\x03": "control_character",
        "\x1f": "control_character",
    }
    assert read(tmp_path, b'"' + f'{A} "10\n'.encode(), separator="space")[1] == {f'"{A} "10': "invalid_id"}


def test_a_long_line_is_read_and_an_endless_one_is_not_kept(tmp_path: Path) -> None:
    tokens = [str(number) for number in range(9_000_000, 9_150_000)]
    found, _ = read(tmp_path, f"{A} {','.join(tokens)}\n{B} 1\n".encode(), separator="space")
    assert len(found[A]) == 150_000
    tracemalloc.start()
    found, rejected = read(tmp_path, b"1" * 60_000_000 + f"\n{B} 1".encode(), separator="space")
    assert tracemalloc.get_traced_memory()[1] < 130_000_000
    tracemalloc.stop()
    assert found == {B: ["+1"]}
    assert [(len(line), reason) for line, reason in rejected.items()] == [(1000, "line_too_long")]


def test_lines_are_counted_as_they_are_delivered(tmp_path: Path) -> None:
    name = read_name("s3_4411_iter_1700000000123.sync", {"web": Outbound(destination_id=4411)})
    assert name is not None
    for data, lines in ((b"", 0), (b"a", 1), (b"a\n", 1), (b"\n\na\nb", 4), (b"x" * 9_000_000 + b"\na\n", 2)):
        (tmp_path / "file").write_bytes(data)
        assert unpack(tmp_path / "file", tmp_path, name, 0, ignore).lines == lines


def test_a_text_in_pieces_is_the_same_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A block of plain text is a megabyte or less, and so is a piece that holds a line of it."""
    users = [f"{number:038d}" for number in range(40_000)]
    data = "".join(f"{user} 10,11\n" for user in users).encode() + f"{A[1:]} 10\n".encode()
    whole = read(tmp_path, data, separator="space")
    monkeypatch.setattr("aam_onboard.outbound.unpack.PIECE_BYTES", 1000)
    assert read(tmp_path, data, separator="space") == whole
    assert len(list(tmp_path.glob("text.*"))) > 10
    assert list(whole[0]) == users
    assert whole[1] == {f"{A[1:]} 10": "invalid_id"}


def test_times_are_utc(tmp_path: Path) -> None:
    found, _ = read(tmp_path, f"{A}{TAB}5,10,1,1700000000123\n".encode(), kind="items")
    at = datetime(2023, 11, 14, 22, 13, 20, tzinfo=timezone.utc)
    assert found[A] == [f"+10@{at.timestamp():.0f}"]
