"""The outbox on real builds: what is let through, how lines are packed, and how builds and deliveries follow."""

import hashlib
import json
import random
import re
import subprocess
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from conftest import PROJECT
from hypothesis import example, given
from hypothesis import strategies as st
from outbox import LIMITS, Change, Outbox, Signal, any_signal, batched, text_of

LINE_BYTES, LINES_PER_USER = LIMITS["line_bytes"], LIMITS["lines_per_user"]
IDFA = "6D92078A-8246-4BA4-AE5B-76104861E7DC"


@pytest.fixture
def outbox(outbox_project: Outbox) -> Outbox:
    outbox_project.begin()
    return outbox_project


def parts_of(line: str) -> tuple[str, list[str]]:
    """User ID and signals of a line, read anew; raises where a line has no such form."""
    user_id, tab, text = line.partition("\t")
    if not tab:
        return user_id, []
    found = list(re.finditer(r'("[^"\t]+"="[^"\t]+"|d_(?:un)?sid=[0-9]+|ic=[^ ,="\t]+)(,|\Z)', text))
    assert "".join(match[0] for match in found) == text, line
    assert found[-1][2] == ""
    return user_id, [match[1] for match in found]


def signal_of(user_id: str, text: str) -> Signal:
    if text.startswith('"'):
        key, value = text[1:-1].split('"="')
        return Signal(user_id, key, value)
    key, _, value = text.partition("=")
    return Signal(user_id, key, value)


class Receiver:
    """What Audience Manager would hold of one feed after the files that it has processed."""

    def __init__(self, signals: set[Signal] = frozenset()) -> None:  # type: ignore[assignment]
        self.signals = set(signals)

    def process(self, mode: str, lines: list[str]) -> None:
        for line in lines:
            user_id, texts = parts_of(line)
            if mode == "overwrite":
                self.signals = {signal for signal in self.signals if signal.user_id != user_id}
            for text in texts:
                signal = signal_of(user_id, text)
                if signal.key == "d_unsid":
                    self.signals.discard(signal._replace(key="d_sid"))
                else:
                    self.signals.add(signal)


def traits(signals: set[Signal]) -> set[Signal]:
    return {signal for signal in signals if signal.key == "d_sid"}


# --- What is let through ----------------------------------------------------------------------------------------------

# Unicode's white space, and what has no width
SPACES = "".join(chr(code) for code in range(0x3100) if unicodedata.category(chr(code)).startswith("Z"))
SPACES += "\u180e\u200b\u200c\u200d\u200e\u200f\u2060\ufeff"

REASONS: list[tuple[str, Signal, str]] = [
    ("loyalty", Signal(None, "d_sid", "24"), "empty_id"),
    ("loyalty", Signal("", "d_sid", "24"), "empty_id"),
    ("loyalty", Signal("\ta", "d_sid", "24"), "control_character_in_id"),
    ("loyalty", Signal("a\n", "d_sid", "24"), "control_character_in_id"),
    ("loyalty", Signal("a\r", "d_sid", "24"), "control_character_in_id"),
    *(("loyalty", Signal(f"{space}a", "d_sid", "24"), "space_around_id") for space in SPACES),
    *(("loyalty", Signal(f"a{space}", "d_sid", "24"), "space_around_id") for space in SPACES),
    ("loyalty", Signal("\u202f\u2003", "d_sid", "24"), "empty_id"),
    ("loyalty", Signal("a", "\u2007", "x"), "empty_key"),
    ("loyalty", Signal("a", "size", "\u00a0"), "empty_value"),
    ("loyalty", Signal("anna@example.com", "d_sid", "24"), "email_as_id"),
    ("loyalty", Signal("a:", "d_sid", "24"), "colon_in_id"),
    *(
        ("loyalty", Signal(text, "d_sid", "24"), "suspicious_id")
        for text in [
            "undefined",
            "NULL",
            "None",
            "NaN",
            "#N/A",
            "(not set)",
            "[object Object]",
            "\\N",
            "0",
            "-1",
            "?",
            "1.23457E+11",
            "1.2345e+17",
            "1.23457E11",
            "12345.0",
        ]
    ),
    ("loyalty", Signal("a:", "", None), "colon_in_id"),
    ("loyalty", Signal("a", None, "24"), "empty_key"),
    ("loyalty", Signal("a", "", "24"), "empty_key"),
    ("loyalty", Signal("a", "d_sid", None), "empty_value"),
    ("loyalty", Signal("a", "d_sid", ""), "empty_value"),
    ("loyalty", Signal("a", "ic", ""), "empty_value"),
    ("loyalty", Signal("a", "size", ""), "empty_value"),
    ("loyalty", Signal("a", "d_sid", "99"), "unknown_trait"),
    ("loyalty", Signal("a", "d_sid", "26"), "trait_not_onboarded"),
    ("loyalty", Signal("a", "d_sid", "27"), "trait_of_other_data_source"),
    ("loyalty", Signal("a", "d_sid", "Gold"), "trait_id_not_numeric"),
    ("loyalty", Signal("a", "d_sid", "24\n"), "control_character_in_signal"),
    ("loyalty", Signal("a", "ic", "a,b"), "invalid_integration_code"),
    ("loyalty", Signal("a", "ic", "\r"), "control_character_in_signal"),
    ("loyalty", Signal("a", 'si"ze', "L"), "quote_in_signal"),
    ("loyalty", Signal("a", "size", '"'), "quote_in_signal"),
    ("loyalty", Signal("a", "size\t", "L"), "control_character_in_signal"),
    ("loyalty", Signal("a", "size", "L\nXL"), "control_character_in_signal"),
    ("loyalty", Signal("a", "size", "L\x1fXL"), "control_character_in_signal"),
    ("loyalty", Signal("a", "-size", "L"), "leading_dash_in_key"),
    ("loyalty", Signal("a", "d_unsid", "24"), "reserved_key"),
    ("loyalty", Signal("a", "d_anything", "24"), "reserved_key"),
    ("loyalty", Signal("a", "mail", "anna@example.com"), "email_in_value"),
    ("loyalty", Signal("a", "tel", "+49 30 901820"), "phone_number_in_value"),
    ("loyalty", Signal("a", "size", "L" * (LINE_BYTES - 11)), "signal_too_long"),
    ("loyalty", Signal("ü" * LINE_BYTES, "size", "L"), "signal_too_long"),
    ("loyalty", Signal("test1", "d_sid", "24"), "test_account"),
    ("loyalty", Signal("test 1", "d_sid", ""), "test_account"),
    ("loyalty", Signal("a", "d_sid", "29"), "not_for_sale"),
    ("loyalty", Signal("a", "internal", "x"), "internal_key"),
    ("loyalty", Signal("a", "size", "unknown"), "says_nothing"),
    ("profile", Signal("a", "d_unsid", "24"), "reserved_key"),
    ("phones", Signal(IDFA, "d_sid", "24"), "trait_of_other_data_source"),
    ("phones", Signal(IDFA, "d_sid", "28"), "trait_not_onboarded"),
    ("phones", Signal(IDFA.lower(), "d_sid", "27"), "invalid_device_id"),
    ("phones", Signal("00000000-0000-0000-0000-000000000000", "d_sid", "27"), "all_zero_id"),
]
LET_THROUGH: list[tuple[str, Signal]] = [
    ("loyalty", Signal("a", "d_sid", "24")),
    ("loyalty", Signal("A", "d_sid", "25")),
    ("loyalty", Signal("a", "ic", "größe")),
    ("loyalty", Signal("a", "size", "L" * (LINE_BYTES - 12))),
    *(
        ("loyalty", Signal(text, "d_sid", "24"))
        for text in ["nullable", "00021", "1E5", "12.5", "#1234", "N0"]
    ),
    ("loyalty", Signal("a'b\\c|d,e=f", "grö-ße, 日本", "😀 = 'x', -\\")),
    ("loyalty", Signal("a", "day", "2024-01-31")),
    ("phones", Signal(IDFA, "d_sid", "27")),
]


def test_every_row_goes_into_the_file_or_is_rejected_with_its_reason(outbox: Outbox) -> None:
    rows: dict[str, list[Signal]] = {}
    for feed, row, *_ in [*REASONS, *LET_THROUGH, *LET_THROUGH]:  # what is let through, twice
        rows.setdefault(feed, []).append(row)
    outbox.build(**rows)
    outbox.test()
    for feed, given_rows in rows.items():
        rejected = Counter((row, reason) for of, row, reason in REASONS if of == feed)
        assert Counter(outbox.rejected(feed)) == rejected
        assert outbox.changes(feed) == {Change(*row, True) for of, row in LET_THROUGH if of == feed}
        in_file = {signal_of(*pair) for pair in pairs_of(outbox.lines(feed))}
        assert in_file == {row for of, row in LET_THROUGH if of == feed}
        assert outbox.batch(feed)["rejected"] == len(given_rows) - 2 * len(in_file)


def pairs_of(lines: list[str]) -> Iterator[tuple[str, str]]:
    """User ID and signal, for each signal of each line; each stands once."""
    seen = set()
    for line in lines:
        user_id, texts = parts_of(line)
        for text in texts:
            assert (user_id, text) not in seen
            seen.add((user_id, text))
            yield user_id, text


def breaks_a_rule(row: Signal) -> bool:
    """The rules of sections 2 and 3, without a regular expression of the project's."""
    user_id, key, value = row
    assert user_id is not None and key is not None and value is not None
    if any(not text.strip(SPACES) or has_control(text) for text in row):
        return True
    if user_id.strip(SPACES) != user_id or ":" in user_id or has_encoded(user_id):
        return True
    if "@" in user_id.replace("%40", "@").strip("@") or '"' in key + value:
        return True
    if key == "d_sid":
        return value not in ("24", "25")
    if key == "ic":
        return any(character in value for character in " ,=")
    return key.startswith(("-", "d_", "D_")) or "@" in value.replace("%40", "@").strip("@")


def has_control(text: str) -> bool:
    return any(unicodedata.category(character) == "Cc" for character in text)


def has_encoded(text: str) -> bool:
    hexadecimal = set("0123456789abcdefABCDEF")
    return any(len(part) > 1 and set(part[:2]) <= hexadecimal for part in text.split("%")[1:])


def is_plainly_good(row: Signal) -> bool:
    """Nothing but letters and the pieces of the documented signals."""
    user_id, key, value = row
    if (
        not (user_id and key and value and user_id.isalnum())
        or len((user_id + key + value).encode()) + 7 > LINE_BYTES
    ):
        return False
    if key == "d_sid":
        return value in ("24", "25")
    return key.isalpha() and value.isalpha()


@batched(3)
@given(rows=st.lists(any_signal, min_size=60, max_size=120))
@example(
    rows=[Signal("a@", "@", "@"), Signal("a", "x", "a@"), Signal("a", "size", "'"), Signal("\\", "\\", "\\")]
)
def test_any_text(outbox_project: Outbox, rows: list[Signal]) -> None:
    outbox_project.begin()
    rows = [Signal(*row) for row in outbox_project.storable(rows)]
    outbox_project.build(loyalty=rows)
    in_file = {signal_of(*pair) for pair in pairs_of(outbox_project.lines("loyalty"))}
    rejected = dict(outbox_project.rejected("loyalty"))
    assert sorted((in_file | rejected.keys()) ^ set(rows)) == []
    assert not in_file & rejected.keys()
    for row in in_file:
        assert not breaks_a_rule(row), row
    for row, reason in rejected.items():
        assert reason in ("too_many_lines", "suspicious_id") or not is_plainly_good(row), (row, reason)


# --- Lines ------------------------------------------------------------------------------------------------------------


def next_fit(user_id: str, signals: list[str]) -> tuple[list[str], list[str]]:
    """The lines of one user, and the signals for which there is none left."""
    lines: list[str] = []
    texts: list[str] = []
    for number, text in enumerate(ordered := sorted(signals, key=str.encode)):
        line = f"{user_id}\t{','.join([*texts, text])}"
        if len(line.encode()) + 1 > LINE_BYTES:
            lines.append(f"{user_id}\t{','.join(texts)}")
            texts = []
            if len(lines) == LINES_PER_USER:
                return lines, ordered[number:]
        texts.append(text)
    return [*lines, f"{user_id}\t{','.join(texts)}"], []


def signals_of_many_lengths() -> list[Signal]:
    """Users with nothing too much, exactly one line, one byte more, and several lines; ASCII or not."""
    chance = random.Random(4)
    rows = []
    for number in range(40):
        user_id = f"{'ü' if number % 3 else 'u'}{number}"
        for place in range(chance.choice([1, 4, 8, 12, 20, 40])):
            value = "".join(chance.choices("abcäß日😀", k=chance.randint(1, 12)))
            key = chance.choice(["ic", "größe", "k"])
            rows.append(Signal(user_id, key, f"{value}{place}"))
    for user_id, more in (("exact", 0), ("one_more", 1), ("öxact", 0), ("öne_more", 1)):
        # beside the values: TAB, "k"="" twice, a comma, line end
        room = LINE_BYTES - len(user_id.encode()) - 15
        rows += [
            Signal(user_id, "k", "a" * (room // 2)),
            Signal(user_id, "k", "b" * (room - room // 2 + more)),
        ]
    return rows


def test_users_with_more_than_a_line(outbox: Outbox) -> None:
    rows = signals_of_many_lengths()
    outbox.build(loyalty=rows, profile=list(reversed(rows)))
    outbox.test()
    users = {user_id: {text_of(row) for row in rows if row.user_id == user_id} for user_id, *_ in rows}
    lengths = {user_id: len(f"{user_id}\t{','.join(texts)}\n".encode()) for user_id, texts in users.items()}
    assert LINE_BYTES in lengths.values()
    assert LINE_BYTES + 1 in lengths.values()
    fitted = {user_id: next_fit(user_id, list(texts)) for user_id, texts in users.items()}
    assert sum(bool(rest) for _, rest in fitted.values()) > 5
    for feed in ("loyalty", "profile"):
        lines = outbox.lines(feed)
        assert all(len(line.encode()) < LINE_BYTES for line in lines)
        by_user: dict[str, list[str]] = {}
        for line in lines:
            by_user.setdefault(line.partition("\t")[0], []).append(line)
        assert by_user == {user_id: expected for user_id, (expected, _) in fitted.items()}
        beyond = {signal_of(user_id, text) for user_id, (_, rest) in fitted.items() for text in rest}
        assert sorted(outbox.rejected(feed)) == sorted((row, "too_many_lines") for row in beyond)
        assert outbox.changes(feed) == {Change(*row, True) for row in set(rows) - beyond}
        assert outbox.batch(feed)["lines"] == len(lines)
        outbox.deliver(feed)
        assert outbox.delivered(feed) == set(rows) - beyond

    # a sync file brings more of them each time; an overwrite file would say the same again, so there is none
    outbox.build()
    assert outbox.lines("profile") == []
    assert outbox.changes("profile") == set()
    assert {row for row, _ in outbox.rejected("profile")} == beyond
    expected = {user_id: next_fit(user_id, rest) for user_id, (_, rest) in fitted.items() if rest}
    assert sorted(outbox.lines("loyalty")) == sorted(line for lines, _ in expected.values() for line in lines)
    outbox.deliver("loyalty")
    for _ in range(len(rows)):
        if not outbox.rejected("loyalty"):
            break
        outbox.build()
        outbox.deliver("loyalty")
    assert outbox.delivered("loyalty") == set(rows)

    # all of a user's signals leave in overwrite, most of them stay in sync: the user is cleared, or nothing is said
    outbox.build(loyalty=[], profile=[])
    assert outbox.lines("loyalty") == []
    assert sorted(outbox.lines("profile")) == sorted(users)
    outbox.deliver("profile")
    assert outbox.delivered("profile") == set()


def test_order_within_a_line_is_always_the_same(outbox: Outbox) -> None:
    signals = [
        Signal("a", *pair)
        for pair in [("d_sid", "25"), ("ic", "a"), ("ä", "1"), ("Z", "1"), ("a", "1"), ("ic", "B")]
    ]
    expected = '"Z"="1","a"="1","ä"="1",d_sid=25,ic=B,ic=a'
    outbox.build(loyalty=[Signal("a", "d_sid", "24")])
    outbox.deliver("loyalty")
    outbox.build(loyalty=signals, profile=signals)
    assert outbox.lines("loyalty") == [f"a\t{expected},d_unsid=24"]
    assert outbox.lines("profile") == [f"a\t{expected}"]
    outbox.build(loyalty=reversed(signals), profile=reversed(signals * 2))
    assert outbox.lines("loyalty") == [f"a\t{expected},d_unsid=24"]
    assert outbox.lines("profile") == [f"a\t{expected}"]


ORDER_BY = re.compile(r"order by\s+((?:[^()]|\([^()]*\))*?)(?=\)|\brows\b|\brange\b|{%|%}|\"|\Z)", re.DOTALL)
SAYS_ALL = re.compile(
    r"\S.*\b(asc|desc) nulls (first|last)|.*_?by(te)?_(order|bytes)\(.*\).*|\{order\}", re.DOTALL
)


def test_every_order_says_where_nulls_go() -> None:
    """Engines differ, and DuckDB lets a profile choose."""
    files = [
        path
        for folder in ("macros", "models", "demo/models", "tests/dbt")
        for path in (PROJECT / folder).rglob("*.sql")
    ]
    found = 0
    for file in [*files, PROJECT / "loader" / "aam_onboard" / "state.py"]:
        text = re.sub(
            r"\{#.*?#\}|--[^\n]*|\"\"\".*?\"\"\"", "", file.read_text(encoding="utf-8"), flags=re.DOTALL
        )
        for keys in ORDER_BY.findall(re.sub(r'"\n\s+f?"', "", text)):
            for key in re.split(r",(?![^()]*\))", keys):
                found += 1
                assert SAYS_ALL.fullmatch(key.strip()), f"{file}: order by {keys}"
    assert found > 30


# --- Changes over builds and deliveries -------------------------------------------------------------------------------


def test_added_removed_and_added_again(outbox: Outbox) -> None:
    gold, silver = Signal("a", "d_sid", "24"), Signal("a", "d_sid", "25")
    outbox.build(loyalty=[gold, silver, gold])
    assert outbox.changes("loyalty") == {Change(*gold, True), Change(*silver, True)}
    assert outbox.lines("loyalty") == ["a\td_sid=24,d_sid=25"]
    outbox.deliver("loyalty")
    outbox.build()
    assert outbox.changes("loyalty") == set()
    assert outbox.lines("loyalty") == []
    outbox.build(loyalty=[silver])
    assert outbox.lines("loyalty") == ["a\td_unsid=24"]
    outbox.deliver("loyalty")
    assert outbox.delivered("loyalty") == {silver}
    outbox.build(loyalty=[silver, gold])
    assert outbox.lines("loyalty") == ["a\td_sid=24"]
    # the last delivery's removal is still there, to tell that this build turns it round
    assert Change(*gold, False) in outbox.ledger("loyalty")
    outbox.deliver("loyalty")
    assert outbox.delivered("loyalty") == {gold, silver}
    outbox.build(loyalty=[])
    assert outbox.lines("loyalty") == ["a\td_unsid=24,d_unsid=25"]
    outbox.deliver("loyalty")
    assert outbox.delivered("loyalty") == set()
    outbox.build()
    assert outbox.lines("loyalty") == []
    assert outbox.batch("loyalty") == dict.fromkeys(outbox.batch("loyalty"), 0)


def test_an_overwrite_clears_by_the_bare_id(outbox: Outbox) -> None:
    size, gold = Signal("a", "size", "L"), Signal("a", "d_sid", "24")
    others = [Signal("b", "d_sid", "24"), Signal("c", "size", "S")]
    outbox.build(profile=[size, gold, *others])
    outbox.deliver("profile")
    outbox.build(profile=[size, *others])
    assert outbox.lines("profile") == ['a\t"size"="L"']
    outbox.deliver("profile")
    outbox.build(profile=[Signal("a", "size", ""), *others])
    assert outbox.lines("profile") == ["a"]
    assert outbox.batch("profile")["removed"] == 1
    outbox.deliver("profile")
    assert outbox.delivered("profile") == set(others)
    outbox.build()
    assert outbox.lines("profile") == []
    assert not outbox.rejected("profile")[1:]


def test_what_a_sync_file_cannot_withdraw(outbox: Outbox) -> None:
    stays = {Signal("a", "size", "L"), Signal("a", "ic", "52")}
    outbox.build(loyalty=[*stays, Signal("a", "d_sid", "24")])
    outbox.deliver("loyalty")
    outbox.build(loyalty=[Signal("a", "size", "M")])
    assert outbox.lines("loyalty") == ['a\t"size"="M",d_unsid=24']
    assert set(outbox.rejected("loyalty")) == {(row, "not_withdrawable_by_sync") for row in stays}
    figures = outbox.batch("loyalty")
    assert (figures["added"], figures["removed"], figures["unchanged"], figures["rejected"]) == (1, 1, 0, 0)
    outbox.deliver("loyalty")
    assert outbox.delivered("loyalty") == {*stays, Signal("a", "size", "M")}

    outbox.build(loyalty=[])  # and again, as long as it is there
    assert outbox.lines("loyalty") == []
    assert len(outbox.rejected("loyalty")) == 3
    [plan] = [feed for feed in plan_of(outbox) if feed["feed"] == "loyalty"]
    assert plan["rejected"] == {"not_withdrawable_by_sync": 3}
    assert plan["signals_removed"] == 0

    outbox.build(full=True)  # the overwrite that withdraws them
    assert outbox.lines("loyalty") == ["a"]
    assert outbox.rejected("loyalty") == []
    outbox.deliver("loyalty")
    assert outbox.delivered("loyalty") == set()


def plan_of(outbox: Outbox) -> list[dict[str, object]]:
    done = subprocess.run(
        [str(Path(sys.executable).parent / "aam"), "plan", "--json"],
        cwd=outbox.root, env=outbox.environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    feeds: list[dict[str, object]] = json.loads(done.stdout)["feeds"]
    return feeds


def test_full_sends_every_user_whole(outbox: Outbox) -> None:
    kept, lost, new = Signal("a", "d_sid", "24"), Signal("b", "ic", "52"), Signal("c", "size", "L")
    for feed in ("loyalty", "profile"):
        outbox.fill(**{feed: [kept, lost]})
    outbox.build()
    outbox.deliver("loyalty")
    outbox.deliver("profile")
    outbox.build(full=True, loyalty=[kept, new], profile=[kept, new])
    for feed in ("loyalty", "profile"):
        assert sorted(outbox.lines(feed)) == ["a\td_sid=24", "b", 'c\t"size"="L"']
        outbox.deliver(feed)
        assert outbox.delivered(feed) == {kept, new}


def test_only_users_who_may_have_changed_are_compared(outbox: Outbox) -> None:
    rows = [Signal(f"u{number}", "d_sid", value) for number in range(9) for value in ("24", "25")]
    rows += [Signal("u3", "size", "L"), Signal("bad", "d_sid", "99"), Signal(None, "d_sid", "24")]
    outbox.build(loyalty=rows)
    assert outbox.compared("loyalty") == set()
    outbox.deliver("loyalty")

    always = {"bad", ""}
    outbox.build(loyalty=reversed(rows))
    assert outbox.compared("loyalty") == always
    assert outbox.changes("loyalty") == set()
    assert len(outbox.rejected("loyalty")) == 2

    changed = {"u1", "u2", "u4", "new"}
    rows += [Signal("u2", "size", "M"), Signal("new", "d_sid", "24"), rows[8]]  # u4 says the same twice
    outbox.build(loyalty=[row for row in rows if row not in (Signal("u1", "d_sid", "24"), rows[18])])
    assert outbox.compared("loyalty") == always | changed | {"u3"}
    assert {change.user_id for change in outbox.changes("loyalty")} == {"u1", "u2", "new"}
    outbox.deliver("loyalty")

    # what sync can't take back is looked at, and told, in every build; a source that says it again ends that
    staying = (Signal("u3", "size", "L"), "not_withdrawable_by_sync")
    outbox.build()
    assert outbox.compared("loyalty") == always | {"u3", "u4"}
    assert staying in outbox.rejected("loyalty")
    outbox.build(loyalty=rows)
    assert staying not in outbox.rejected("loyalty")


def test_a_new_guard_takes_back_what_it_refuses(outbox: Outbox) -> None:
    """Nobody's rows changed, but other users are good now."""
    rows = [Signal("u1", "d_sid", "24"), Signal("staff1", "d_sid", "24")]
    outbox.build(loyalty=rows)
    outbox.deliver("loyalty")
    rule = {
        "reason": "of_staff",
        "field": "user_id",
        "contains": "^staff",
        "guard": True,
        "says": "no customer",
    }
    rules = yaml.safe_load((outbox.root / "dbt_project.yml").read_text(encoding="utf-8"))["vars"]["rules"]
    outbox.build(variables={"rules": [*rules, rule]})
    assert outbox.rejected("loyalty") == [(rows[1], "of_staff")]
    assert outbox.changes("loyalty") == {Change("staff1", "d_sid", "24", False)}
    outbox.deliver("loyalty")
    outbox.build(variables={"rules": [*rules, rule]})
    assert outbox.changes("loyalty") == set()
    outbox.build()
    assert outbox.changes("loyalty") == {Change("staff1", "d_sid", "24", True)}


def test_what_breaks_a_new_rule_is_named_in_no_file(outbox: Outbox) -> None:
    """Audience Manager may refuse it, and with it the file: it stays until an overwrite, and an ID until it is good."""
    rows = [Signal("u1", "d_sid", "24"), Signal("u2", "d_sid", "25"), Signal("staff1", "d_sid", "24")]
    outbox.build(loyalty=rows, profile=rows)
    outbox.deliver("loyalty")
    outbox.deliver("profile")
    rules = yaml.safe_load((outbox.root / "dbt_project.yml").read_text(encoding="utf-8"))["vars"]["rules"]
    variables = {
        "rules": [
            *rules,
            {"reason": "of_staff", "field": "user_id", "contains": "^staff", "says": "no customer"},
            {
                "reason": "silver",
                "field": "signal_value",
                "kinds": ["trait"],
                "matches": "25",
                "says": "gone",
            },
        ]
    }
    outbox.build(variables=variables)
    assert outbox.lines("loyalty") == []
    assert outbox.lines("profile") == ["u2"]
    assert Counter(reason for _, reason in outbox.rejected("loyalty")) == {
        "of_staff": 1, "id_not_withdrawable": 1, "silver": 1, "not_withdrawable_by_sync": 1
    }  # fmt: skip
    assert outbox.batch("loyalty")["rejected"] == 2
    outbox.build(variables=variables, loyalty=[], profile=[])
    assert outbox.lines("loyalty") == ["u1\td_unsid=24"]
    assert sorted(outbox.lines("profile")) == ["u1", "u2"]
    outbox.build(full=True, variables=variables, loyalty=rows, profile=rows)
    for feed in ("loyalty", "profile"):
        assert sorted(outbox.lines(feed)) == ["u1\td_sid=24", "u2"]
    outbox.build()  # the ID is good again, and nothing has been forgotten
    assert outbox.changes("loyalty") == set()


def test_letter_cases_and_an_id_of_too_many_rows_are_warned_of(outbox: Outbox) -> None:
    several = [
        Signal("u1", "Size", "L"),
        Signal("u2", "size", "l"),
        Signal("u3", "size", "l"),
        Signal("u4", "size", "L"),
    ]
    rows = [*several, Signal("u5", "Ärmel", "x"), Signal("u6", "ärmel", "x"), Signal("u7", "d_sid", "24")]
    rows += [Signal("Nobody1", "age", str(number % 40)) for number in range(101)]
    outbox.build(loyalty=rows, profile=[Signal("u1", "Size", "M"), Signal("u2", "width", "m")])
    assert sorted(outbox.test()) == ["warn_of_letter_case", "warn_of_one_id"]
    plan = {feed["feed"]: feed for feed in plan_of(outbox)}
    assert plan["profile"]["letter_cases"] == []
    found: list[dict[str, object]] = plan["loyalty"]["letter_cases"]  # type: ignore[assignment]
    assert sorted(found, key=lambda case: (str(case["part"]) != "value", str(case["key"]))) == [
        {"part": "value", "key": "size", "spellings": {"l": 2, "L": 2}},
        {"part": "key", "key": "size", "spellings": {"size": 3, "Size": 1}},
        {"part": "key", "key": "ärmel", "spellings": {"Ärmel": 1, "ärmel": 1}},
    ]
    outbox.build(loyalty=[row for row in rows if row.user_id != "Nobody1"][1:2] * 300, profile=[])
    assert outbox.test() == ["warn_of_one_id"]
    outbox.build(loyalty=[Signal(f"u{number // 99}", "age", str(number % 99)) for number in range(99)])
    assert outbox.test() == []
    outbox.build(loyalty=[Signal(None, "age", str(number % 40)) for number in range(200)])
    assert outbox.test() == [], "no ID is none"


def test_the_plan_tells_how_many_users_are_synced(outbox: Outbox) -> None:
    rows = [Signal(f"u{number}", "d_sid", "24") for number in range(4)]
    outbox.build(loyalty=rows, phones=[Signal(IDFA, "d_sid", "27")], devices=[(gaid(1), "u1", None)])
    assert {feed["feed"]: feed["synced"] for feed in plan_of(outbox)}["loyalty"] == 0
    outbox.deliver("devices")
    outbox.deliver("loyalty")
    outbox.build(loyalty=[*rows[1:], Signal("u5", "d_sid", "24"), Signal("u6", "d_sid", "24")])
    synced = {feed["feed"]: feed["synced"] for feed in plan_of(outbox)}
    assert synced.pop("loyalty") == 0.2
    assert set(synced.values()) == {None}


def test_suspicious_ids_may_be_sent(outbox: Outbox) -> None:
    rows = [Signal(text, "d_sid", "24") for text in ("undefined", "12345.0", "0")]
    outbox.build(loyalty=rows, variables={"suspicious_ids": "send"})
    assert outbox.rejected("loyalty") == []
    outbox.deliver("loyalty")
    outbox.build()
    assert outbox.changes("loyalty") == {Change(*row, False) for row in rows}


def test_a_limit_of_one_line_a_user(outbox: Outbox) -> None:
    rows = [Signal("u1", f"key{number}", "x" * 20) for number in range(9)] + [Signal("u2", "ic", "1")]
    limits = yaml.safe_load((outbox.root / "dbt_project.yml").read_text(encoding="utf-8"))["vars"]["limits"]
    outbox.build(loyalty=rows, variables={"limits": {**limits, "lines_per_user": 1}})
    lines = outbox.lines("loyalty")
    assert sorted(line.partition("\t")[0] for line in lines) == ["u1", "u2"]
    assert outbox.batch("loyalty")["lines"] == 2
    in_file = {signal_of(*pair) for pair in pairs_of(lines)}
    assert in_file | {row for row, _ in outbox.rejected("loyalty")} == set(rows)
    outbox.deliver("loyalty")
    assert outbox.delivered("loyalty") == in_file


def test_a_state_of_an_earlier_version_is_as_good(outbox: Outbox) -> None:
    """It knew no fingerprints of users, and kept an MD5 of each file."""
    rows = [Signal(f"u{number}", "d_sid", "24") for number in range(5)]
    outbox.build(loyalty=rows)
    outbox.deliver("loyalty")
    outbox.sql("drop table aam_state.state_versions")
    outbox.sql("update aam_state.user_ledger set fingerprint = null")
    outbox.sql("alter table aam_state.delivery_files add column md5 text")
    outbox.build(loyalty=[*rows[1:], Signal("u1", "d_sid", "25")])
    kept = "select column_name from information_schema.columns where table_name = 'delivery_files'"
    assert ("md5",) not in outbox.sql(kept)
    assert outbox.compared("loyalty") == {row.user_id for row in rows}
    assert outbox.changes("loyalty") == {
        Change("u0", "d_sid", "24", False),
        Change("u1", "d_sid", "25", True),
    }
    outbox.deliver("loyalty")
    outbox.build()
    assert outbox.compared("loyalty") == {"u2", "u3", "u4"}


# What becomes of each build of a feed. `later`: it failed half-way, stood open over the next build, and was finished
# from its files before anything else was sent.
STORY = [
    "delivered",
    "nothing",
    "delivered",
    "abandoned",
    "uncertain",
    "uncertain",
    "delivered",
    "later",
    "nothing",
]
STORY += ["delivered", "delivered"]


def test_the_state_is_what_was_received(outbox: Outbox) -> None:
    """Random sets in each build; where it is not known whether a file arrived, both must come right."""
    chance = random.Random(7)
    signals = [("d_sid", "24"), ("d_sid", "25"), ("ic", "1"), ("ic", "2"), ("size", "L"), ("size", "M")]
    modes = {"loyalty": "sync", "profile": "overwrite"}
    worlds = {feed: [Receiver()] for feed in modes}
    was_uncertain = dict.fromkeys(modes, False)
    pending: dict[str, tuple[str, list[str]]] = {}
    for event in STORY:
        now = {
            feed: {
                Signal(f"u{number}", *pair)
                for number in range(30)
                for pair in chance.sample(signals, chance.choice([0, 0, 1, 2, 6]))
            }
            for feed in modes
        }
        before = {feed: outbox.delivered(feed) for feed in modes}
        possible = {feed: outbox.possible(feed) for feed in modes}
        outbox.build(**now)
        for feed, mode in modes.items():
            lines = outbox.lines(feed)
            staying = before[feed] - now[feed] - traits(before[feed]) if mode == "sync" else set()
            reported = {row for row, reason in outbox.rejected(feed)}
            assert staying <= reported
            if not was_uncertain[feed] and feed not in pending:
                assert reported == staying | possible[feed] - now[feed]
                changes = {Change(*row, True) for row in now[feed] - before[feed]}
                changes |= {Change(*row, False) for row in before[feed] - now[feed] - staying}
                assert outbox.changes(feed) == changes
                figures = outbox.batch(feed)
                assert figures["added"] == len(now[feed] - before[feed])
                assert figures["removed"] == len(before[feed] - now[feed] - staying)
                assert figures["unchanged"] == len(before[feed] & now[feed])
                assert figures["before"] == len(before[feed])
                assert figures["users"] == len({change.user_id for change in changes})
                assert figures["users_before"] == len({row.user_id for row in before[feed]})
                assert figures["users_total"] == len({row.user_id for row in now[feed] | staying})
            if feed in pending:  # the open delivery is finished first; this build is then of no use
                delivery_id, sent = pending.pop(feed)
                outbox.move(delivery_id, "delivered")
                for world in worlds[feed]:
                    world.process(mode, sent)
            elif event == "delivered":
                outbox.deliver(feed)
                for world in worlds[feed]:
                    world.process(mode, lines)
                was_uncertain[feed] = False
            elif event == "uncertain":
                outbox.deliver(feed, "abandoned", uncertain=True)
                for world in list(worlds[feed]):
                    received = Receiver(world.signals)
                    received.process(mode, lines)
                    worlds[feed].append(received)
                was_uncertain[feed] = True
            elif event == "abandoned":
                outbox.deliver(feed, "abandoned")
            elif event == "later":
                pending[feed] = outbox.deliver(feed, "failed", uncertain=True), lines
            state = outbox.delivered(feed)
            if event == "delivered":
                for world in worlds[feed]:
                    assert traits(world.signals) == traits(state) == traits(now[feed])
                    assert now[feed] <= state <= world.signals <= state | outbox.possible(feed)
                    if mode == "overwrite":
                        assert world.signals == now[feed]
                        assert outbox.possible(feed) == set()
            elif len(worlds[feed]) == 1:
                assert state == worlds[feed][0].signals


def test_what_a_given_up_sync_may_have_sent_is_not_forgotten(outbox: Outbox) -> None:
    sizes = {Signal(f"u{number}", "size", "L") for number in range(3)}
    other, another = Signal("other", "d_sid", "24"), Signal("other", "d_sid", "25")
    outbox.build(loyalty=[*sizes, other])
    outbox.deliver("loyalty", "abandoned", uncertain=True)

    outbox.build(loyalty=[other])
    assert outbox.lines("loyalty") == ["other\td_sid=24"]  # nobody hears again what is no longer so
    may_stay = {(row, "possibly_not_withdrawable") for row in sizes}
    assert set(outbox.rejected("loyalty")) == may_stay
    outbox.deliver("loyalty")
    assert outbox.delivered("loyalty") == {other}
    assert outbox.possible("loyalty") == sizes

    u0, u1, u2 = sorted(sizes)
    outbox.build(loyalty=[other, u0, u1._replace(key="d_sid", value="24")])
    assert set(outbox.rejected("loyalty")) == {
        (u1, "possibly_not_withdrawable"),
        (u2, "possibly_not_withdrawable"),
    }
    assert outbox.lines("loyalty") == ['u0\t"size"="L"', "u1\td_sid=24"]
    outbox.deliver("loyalty")
    assert outbox.possible("loyalty") == {u1, u2}
    for signals in ([other, another, u0], [other, u0]):  # as often as builds forget what later ones replaced
        outbox.build(loyalty=signals)
        outbox.deliver("loyalty")
        assert outbox.possible("loyalty") == {u1, u2}
        assert outbox.delivered("loyalty") == set(signals)

    outbox.build(loyalty=[other, u0], full=True)
    assert outbox.lines("loyalty") == ["other\td_sid=24", 'u0\t"size"="L"', "u1", "u2"]
    outbox.deliver("loyalty")
    assert outbox.possible("loyalty") == set()


def test_the_ledger_grows_with_the_state_only(outbox: Outbox) -> None:
    rows = [Signal(f"u{number}", "d_sid", "24") for number in range(20)]

    def rows_in_ledger() -> int:
        return int(outbox.sql("select count(*) from aam_state.user_ledger")[0][0])

    for _ in range(2):
        outbox.build(loyalty=rows)
        assert rows_in_ledger() == 20
    outbox.deliver("loyalty")
    for number in range(2):  # some users change, none is new
        outbox.build(loyalty=[*rows, Signal("u1", "d_sid", "25")] if number % 2 else rows[:-1])
        outbox.deliver("loyalty")
        outbox.build()
        assert rows_in_ledger() <= 20
    outbox.deliver("loyalty", "abandoned")
    outbox.build(loyalty=rows)
    assert rows_in_ledger() <= 21


# --- ID syncs ---------------------------------------------------------------------------------------------------------


def gaid(number: int) -> str:
    return f"6d92078a-8246-4ba4-ae5b-{number:012x}"


def test_id_pairs(outbox: Outbox) -> None:
    hashed = "0f9e8d7c6b5a4938271605f4e3d2c1b00f9e8d7c6b5a4938271605f4e3d2c1b0"
    good = [(gaid(1), "a", "2024-01-01"), (gaid(1), "a", "2024-01-02"), (gaid(2), "b", None)]
    bad = {
        (gaid(3).upper(), "a"): "invalid_device_id",
        ("00000000-0000-0000-0000-000000000000", "a"): "all_zero_id",
        (gaid(3), None): "empty_id",
        (None, "a"): "empty_id",
        (gaid(3), "a "): "space_around_id",
        (gaid(3), "a\tb"): "control_character_in_id",
        (gaid(3), "anna@example.com"): "email_as_id",
        (gaid(3), "a%20b"): "url_encoded_id",
        (gaid(3), "b" * LINE_BYTES): "ids_too_long",
        (gaid(3), "undefined"): "suspicious_id",
    }
    bad_hashes = {
        ("a", hashed.upper()): "invalid_hashed_email",
        ("a", None): "empty_id",
        ("a:", hashed): "colon_in_id",
        ("a", hashlib.sha256(b"").hexdigest()): "suspicious_id",
    }
    outbox.build(
        devices=[*good, *((*pair, "2024-01-03") for pair in bad)],
        e_mails=[("a", hashed), ("a", hashed), *bad_hashes],
    )
    assert outbox.id_lines("devices") == {f"{gaid(1)}\ta", f"{gaid(2)}\tb"}
    assert outbox.id_lines("e_mails") == {f"a\t{hashed}"}
    rejected = {(row.user_id, row.value): reason for row, reason in outbox.rejected("devices")}
    assert rejected == bad
    rejected = {(row.user_id, row.value): reason for row, reason in outbox.rejected("e_mails")}
    assert rejected == bad_hashes
    figures = outbox.batch("devices")
    assert (figures["lines"], figures["added"], figures["rejected"]) == (2, 2, len(bad))

    outbox.deliver("devices")
    outbox.deliver("e_mails", "abandoned", uncertain=True)
    outbox.build(devices=[*good, (gaid(1), "c", None)])
    assert outbox.id_lines("devices") == {f"{gaid(1)}\tc"}
    assert outbox.id_lines("e_mails") == {f"a\t{hashed}"}
    assert outbox.batch("devices")["unchanged"] == 2
    outbox.deliver("devices")
    outbox.build(devices=[])  # a pair is never withdrawn
    assert outbox.id_lines("devices") == set()
    assert outbox.sql("select count(*) from aam_state.id_ledger where id_sync = 'devices'") == [(3,)]
    outbox.build(full=True, devices=good)
    assert outbox.id_lines("devices") == {f"{gaid(1)}\ta", f"{gaid(2)}\tb"}


def test_of_too_many_id_pairs_the_newest_stay(outbox: Outbox) -> None:
    days = [f"2024-01-{day:02}" for day in range(1, 10)]
    of_a_user = [(gaid(number), "a", day) for number, day in enumerate(days)]
    of_a_device = [(gaid(99), f"c{number}", day) for number, day in enumerate(days)]
    # undated ones are the oldest; of equals, the first in byte order stay
    undated = [
        (gaid(number), "ü", day) for number, day in ((10, None), (11, None), (12, days[0]), (13, None))
    ]
    equals = [(gaid(20), user, "2024-01-01 12:00:00") for user in ("ä", "b", "Z")]
    hashes = [("a", f"{number:064x}") for number in range(12)]
    outbox.build(
        devices=[*of_a_user, (gaid(0), "a", "2024-02-01"), *of_a_device, *undated, *equals], e_mails=hashes
    )
    newest = {f"{gaid(number)}\ta" for number in (0, 8, 7)} | {f"{gaid(99)}\tc{number}" for number in (8, 7)}
    newest |= {f"{gaid(number)}\tü" for number in (12, 10, 11)} | {f"{gaid(20)}\t{user}" for user in "Zb"}
    assert outbox.id_lines("devices") == newest
    reasons = Counter(reason for _, reason in outbox.rejected("devices"))
    assert reasons == {"too_many_device_ids": 7, "too_many_user_ids": 8}
    assert outbox.id_lines("e_mails") == {"\t".join(pair) for pair in hashes[:10]}
    assert Counter(reason for _, reason in outbox.rejected("e_mails")) == {"too_many_hashed_emails": 2}


def test_of_too_many_id_pairs_those_delivered_count(outbox: Outbox) -> None:
    """Past a limit Audience Manager drops what came first: an older pair must not come after a newer one."""
    days = [f"2024-01-{day:02}" for day in range(1, 10)]
    of_a_user = [(gaid(number), "a", day) for number, day in enumerate(days)]
    of_a_device = [(gaid(99), f"c{number}", day) for number, day in enumerate(days)]

    def built(*rows: tuple[str, str, str | None], **more: object) -> set[tuple[str, str]]:
        """The pairs to be sent; all others that the destination does not have are kept back."""
        outbox.build(devices=rows, **more)
        sent = {tuple(line.split("\t")) for line in outbox.id_lines("devices")}
        kept_back = {(row.user_id, row.value) for row, _ in outbox.rejected("devices")}
        assert not sent & kept_back
        assert sent | kept_back >= {row[:2] for row in rows} - delivered
        return sent  # type: ignore[return-value]

    delivered: set[tuple[str, str]] = set()
    delivered = built(*of_a_user[3:6], *of_a_device[3:5])
    assert len(delivered) == 5
    outbox.deliver("devices")
    undated = (gaid(50), "a", None)
    equal = (gaid(51), "a", days[3])
    # the source knows those no more, but the destination does
    assert built(*of_a_user[:3], *of_a_device[:3], undated) == set()
    assert {reason for _, reason in outbox.rejected("devices")} == {
        "too_many_device_ids",
        "too_many_user_ids",
    }
    # while the model gives the delivered one, it stays before an equal; else what the model gives goes before
    assert built(*of_a_user[3:6], equal) == set()
    assert built(*of_a_user[4:6], equal) == {equal[:2]}
    # elsewhere nothing has been delivered
    assert len(built(*of_a_user[:3], *of_a_device[:3], variables={"destination": "elsewhere"})) == 5
    # all devices of a user are counted together, whatever their type
    browser = [(f"{number:038}", "a", day) for number, day in enumerate(days, 1)]
    outbox.build(devices=[], browsers=[browser[2], browser[6]])
    assert outbox.id_lines("browsers") == {"\t".join(browser[6][:2])}
    outbox.deliver("browsers")
    assert built(*of_a_user[:4], browsers=[]) == set()
    # newer ones push out what was delivered, and what they pushed out does not come again
    assert built(*of_a_user[6:8], *of_a_device[8:], of_a_user[3]) == {
        row[:2] for row in (*of_a_user[6:8], *of_a_device[8:])
    }
    outbox.deliver("devices")
    assert built(*of_a_user[3:6], of_a_device[3]) == set()
    assert built(*of_a_user[3:6], of_a_device[3], full=True) == set()


def test_a_pair_without_a_date_waits_until_another_is_gone(outbox: Outbox) -> None:
    hashes = [("a", f"{number:064x}") for number in range(30)]
    outbox.build(e_mails=hashes[10:20])
    outbox.deliver("e_mails")
    for other in (hashes[0], hashes[25]):
        outbox.build(e_mails=[*hashes[10:20], other])
        assert outbox.id_lines("e_mails") == set()
        outbox.build(e_mails=[*hashes[11:20], other])
        assert outbox.id_lines("e_mails") == {"\t".join(other)}
    outbox.build(e_mails=hashes[20:])
    assert len(outbox.id_lines("e_mails")) == 10
