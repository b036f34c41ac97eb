"""Whole blocks of plain lines: what numpy reads in them, and what it leaves to SQL."""

import random

import pytest

from aam_sandbox.plain import plain_records

LINE = "user-7\td_sid=1000001,d_sid=9,d_sid=12345678"


def test_ids_and_traits_are_those_of_the_text() -> None:
    """Numbers of every length, in lists of every length."""
    chosen = random.Random(7)
    records = [
        (
            f'{"ü" * chosen.randint(0, 3)}{n}" .=',
            [chosen.randrange(10 ** chosen.randint(1, 8)) for _ in range(chosen.randint(1, 9))],
        )
        for n in range(2000)
    ]
    text = "\n".join(f"{user_id}\t" + ",".join(f"d_sid={sid}" for sid in sids) for user_id, sids in records)
    found = plain_records(text.encode())
    assert found is not None
    assert list(zip(*(column.to_pylist() for column in found), strict=True)) == records


def test_one_short_line_is_a_block() -> None:
    """Eight bytes are read at a time, and the text ends before."""
    found = plain_records(b"u\td_sid=1")
    assert found is not None
    assert [column.to_pylist() for column in found] == [["u"], [[1]]]


@pytest.mark.parametrize(
    "line",
    [
        "",
        "user-7",
        "user-7\t",
        "\td_sid=1",
        "user-7\td_sid=",
        "user-7\td_sid=,d_sid=1",
        "user-7\td_sid=1,",
        "user-7\td_sid=1, d_sid=2",
        "user-7\td_sid=1\td_sid=2",
        "user-7\td_sid=1\t",
        "user,7\td_sid=1",
        "user:7\td_sid=1",
        "user%3A7\td_sid=1",
        "user-7\td_unsid=1",
        "user-7\tD_sid=1",
        "user-7\td_sid 1",
        "user-7\t1000001",
        "user-7\td_sid=123456789",
        "user-7\td_sid=12345ü",
        *(f"user-7\td_sid={number}" for number in ("1/3", "12:", ";23", "+12", "-12", " 12", "1.2", "1e2")),
        f"user-7\t{','.join(['d_sid=1'] * 12_800)}",
    ],
)
def test_any_other_line_is_left_to_sql(line: str) -> None:
    """One is enough, wherever in the block it stands."""
    assert plain_records(f"{LINE}\n{LINE}".encode()) is not None
    for lines in ((line,), (line, LINE), (LINE, line, LINE), (LINE, line)):
        assert plain_records("\n".join(lines).encode()) is None
