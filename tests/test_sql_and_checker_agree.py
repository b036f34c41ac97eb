"""One rule set, two readers: what the outbox's SQL lets through the checker accepts, and what the checker refuses SQL
had rejected."""

import io
import re
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import SOAK, all_vars
from hypothesis import example, given, settings
from hypothesis import strategies as st
from outbox import LIMITS, Outbox, Signal, any_signal, batched, pieces, text_of, texts

from aam_onboard.check import FileReport, check_file
from aam_onboard.config import load_project
from aam_onboard.delivery import deliver, finish_open
from aam_onboard.rules import Rule, Rules
from aam_onboard.run import Place, find_place, located, opened
from aam_onboard.running import Options, RunResult

pytestmark = pytest.mark.one_engine

NAMES = {
    "loyalty": "ftp_dpm_58342_1700000000.sync",
    "profile": "ftp_dpm_58344_58342_1700000000.overwrite",
    "phones": "ftp_dpm_20915_61207_1700000000.sync",
    "devices": "adobe_id_20914_58342_1700000000.sync",
    "e_mails": "c2c_id_58342_58343_1700000000.sync",
}
# Reasons that hang on what else is in the file, or that Audience Manager reports without refusing the line.
NOT_OF_THE_ROW = {"too_many_lines", "too_many_hashed_emails", "too_many_device_ids", "too_many_user_ids"}
NO_ERROR_IN_A_FILE = {"unknown_trait", "trait_not_onboarded", "trait_of_other_data_source", "suspicious_id"}
ZEROS = "00000000-0000-0000-0000-000000000000"
IDFA, GAID = "6D92078A-8246-4BA4-AE5B-76104861E7DC", "6d92078a-8246-4ba4-ae5b-76104861e7dc"
HASHED = "0f9e8d7c6b5a4938271605f4e3d2c1b00f9e8d7c6b5a4938271605f4e3d2c1b0"

any_pair = st.tuples(st.one_of(st.just(GAID), texts), texts)
any_hash = st.tuples(texts, st.one_of(st.just(HASHED), st.just(HASHED.upper()), texts))
phone = st.builds(
    Signal,
    st.one_of(st.sampled_from([IDFA, IDFA.lower(), IDFA.replace("D", "G"), "0", ZEROS]), texts),
    st.just("d_sid"),
    st.one_of(st.sampled_from(["24", "27", "28"]), pieces),
)  # fmt: skip


def check(outbox: Outbox, name: str, lines: Iterable[str], errors_to: Path | None = None) -> FileReport:
    rules = load_project(outbox.root).rules
    if errors_to:  # each line for itself
        limits = {"lines_per_user": 10**6, "hashed_emails_per_customer": 10**6}
        rules = rules.model_copy(update={"limits": rules.limits.model_copy(update=limits)})
    text = "".join(f"{line}\n" for line in lines).encode()
    taxonomy = outbox.root / "seeds" / "traits.csv"
    return check_file(io.BytesIO(text), name, rules, taxonomy=taxonomy, errors_to=errors_to)


def refused_by_the_checker(outbox: Outbox, name: str, lines: Sequence[str]) -> dict[int, str]:
    """Place of a line → why the checker refuses it."""
    errors_to = outbox.root / "errors.tsv"
    check(outbox, name, lines, errors_to)
    refused: dict[int, str] = {}
    for row in errors_to.read_bytes().decode().split("\n")[:-1]:
        number, reason, _ = row.split("\t", 2)
        refused[int(number) - 1] = reason
    return refused


def same_as_line(feed: str, row: tuple[str, ...]) -> bool:
    """Whether the row says the same when it stands in a line: none of it is read as punctuation or blank."""
    text = "".join(row)
    if "\t" in text or '"' in text or row[-1].endswith(" "):
        return False
    if feed in ("devices", "e_mails"):
        return row[-1] != ""
    return row[1] not in ("d_sid", "ic") or not set(row[2]) & set(" ,=")


def assert_agreement(
    outbox: Outbox,
    feed: str,
    rows: Sequence[tuple[str, ...]],
    rejected: dict[tuple[str, ...], str],
    render: Callable[[tuple[str, ...]], str],
) -> None:
    """Each row alone: what the checker refuses is rejected, and for the same reason."""
    rejected = {row: reason for row, reason in rejected.items() if reason not in NOT_OF_THE_ROW}
    breaking = {row for row in rows if any("\n" in text or text.endswith("\r") for text in row)}
    assert breaking <= rejected.keys()
    single = sorted(set(rows) - breaking)
    refused = refused_by_the_checker(outbox, NAMES[feed], [render(row) for row in single])
    assert {single[place] for place in refused} <= rejected.keys()
    for place, row in enumerate(single):
        reason = rejected.get(row)
        if reason in NO_ERROR_IN_A_FILE or not same_as_line(feed, row):
            continue
        if "\0" in "".join(row):  # a line holds none, wherever it stands
            assert refused.get(place) == "nul_byte"
            assert reason
        elif reason == "signal_too_long":  # for a line of its own, or for its removal
            assert refused.get(place) in (None, "line_too_long")
            assert len(render(row).encode()) > LIMITS["line_bytes"] - 5
        else:
            assert reason == refused.get(place), row


def render_signal(row: tuple[str, ...]) -> str:
    return f"{row[0]}\t{text_of(Signal(*row))}"


@batched(3)
@example(
    signals=[
        Signal("test1", "d_sid", "24"),
        Signal("test:", "d_sid", "24"),
        Signal("u1", "d_sid", "29"),
        Signal("u1", "internal", "unknown"),
        Signal("u1", "size", "unknown"),
        Signal("u1", "size", "known"),
    ],
    phones=[],
    pairs=[(GAID, "test1"), (GAID, "u1")],
    hashes=[("test1", HASHED), ("u1", HASHED)],
)
@given(
    signals=st.lists(any_signal, min_size=60, max_size=120),
    phones=st.lists(phone, min_size=10, max_size=30),
    pairs=st.lists(any_pair, min_size=10, max_size=30),
    hashes=st.lists(any_hash, min_size=10, max_size=30),
)
def test_sql_and_checker_agree(
    outbox_project: Outbox,
    signals: list[Signal],
    phones: list[Signal],
    pairs: list[tuple[str, str]],
    hashes: list[tuple[str, str]],
) -> None:
    outbox = outbox_project
    outbox.begin()
    given_rows = {
        feed: outbox.storable(rows)
        for feed, rows in {
            "loyalty": signals, "profile": signals, "phones": phones, "devices": pairs, "e_mails": hashes
        }.items()
    }  # fmt: skip
    outbox.build(**given_rows | {"devices": [(*pair, None) for pair in given_rows["devices"]]})
    for feed, rows in given_rows.items():
        data = feed not in ("devices", "e_mails")
        lines = outbox.lines(feed) if data else sorted(outbox.id_lines(feed))
        if lines:
            report = check(outbox, NAMES[feed], lines)
            assert report.ok, report.errors
            assert report.traits_failed_validation == report.warnings == 0
            assert report.records_received == report.stored_records == len(lines)
        rejected = {
            tuple(row) if data else (row.user_id, row.value): reason for row, reason in outbox.rejected(feed)
        }
        assert_agreement(outbox, feed, rows, rejected, render_signal if data else "\t".join)


# --- A feed that was poisoned recovers --------------------------------------------------------------------------------


def breakers_of(rule: Rule, kind: str, rules: Rules) -> st.SearchStrategy[str]:
    """Texts that break a rule."""
    if rule.matches is not None:
        return st.from_regex(rule.matches, fullmatch=True)
    if rule.contains is not None:
        return st.from_regex(rule.contains)
    return texts.filter(lambda text: rules.is_broken(rule, text, kind))


def poisons_of(rules: Rules) -> st.SearchStrategy[list[tuple[str, Signal]]]:
    """For each rule, rows that break it: the feed and the row; an ID sync's has an ID for key and value."""
    rows = []
    for number, rule in enumerate(rules.rules):
        if rule.field == "user_id":
            for feed, kind in (("loyalty", "dpuuid"), ("profile", "dpuuid"), ("phones", "idfa")):
                if rule.kinds is None or rules.id_types[kind].kind in rule.kinds:
                    trait = "27" if feed == "phones" else "24"
                    row = st.builds(Signal, breakers_of(rule, kind, rules), st.just("d_sid"), st.just(trait))
                    rows.append(st.tuples(st.just(feed), row))
            if rule.kinds is None or "hashed_email" in rule.kinds:
                row = st.builds(Signal, st.just("u1"), breakers_of(rule, "hashed_email", rules), st.just(""))
                rows.append(st.tuples(st.just("e_mails"), row))
        elif rule.field:
            for kind, key in (("trait", "d_sid"), ("integration_code", "ic"), ("key_value", "size")):
                if rule.kinds is None or kind in rule.kinds:
                    text = breakers_of(rule, kind, rules)
                    is_key = rule.field == "signal_key"
                    parts = (text, st.just("L")) if is_key else (st.just(key), text)
                    row = st.builds(Signal, st.just(f"p{number}"), *parts)
                    rows += [st.tuples(st.just("loyalty"), row), st.tuples(st.just("profile"), row)]
    return st.tuples(*rows).map(list)


GOOD = {
    "loyalty": [Signal("u1", "d_sid", "24"), Signal("u2", "size", "L")],
    "profile": [Signal("u1", "d_sid", "24"), Signal("u2", "size", "L")],
    "phones": [Signal(IDFA, "d_sid", "27")],
}
GOOD_PAIRS = [("u1", HASHED)]


def run_of(outbox: Outbox, place: Place, **build: object) -> RunResult:
    """What `aam run --force` does, with a build of its own."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in outbox.environment.items():
            if name.startswith("AAM_"):
                patch.setenv(name, value)
        with opened(place, Options(force=True)) as run:
            finish_open(run, place.project.feed_names)
        outbox.build(**build)  # type: ignore[arg-type]
        with opened(place, Options(force=True)) as run:
            return deliver(run, place.project.feed_names)


@batched(1)
@given(data=st.data(), is_checked=st.booleans())
def test_a_feed_that_was_poisoned_recovers(
    outbox_project: Outbox, data: st.DataObject, is_checked: bool
) -> None:
    """Rows that break each rule pass SQL, and are refused by the check or delivered; once they are gone at the source,
    nothing of them is sent again, not even to take it back."""
    outbox = outbox_project
    outbox.begin()
    outbox.sql("delete from aam_state.delivery_files")
    shutil.rmtree(outbox.root / "out", ignore_errors=True)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in outbox.environment.items():
            if name.startswith("AAM_"):
                patch.setenv(name, value)
        place = located(find_place(outbox.root, outbox.engine, None))
    rules = place.project.rules
    loose_rules = [rule for rule in rules.rules if rule.field is None]
    loose_vars = place.project.vars.model_copy(update={"rules": loose_rules})
    loose = replace(place, project=place.project.model_copy(update={"vars": loose_vars}))
    poisoned: dict[str, list[tuple[str, ...]]] = {feed: list(rows) for feed, rows in GOOD.items()}
    poisoned["e_mails"] = list(GOOD_PAIRS)
    for feed, row in data.draw(poisons_of(rules)):
        poisoned[feed] += outbox.storable([row[:2] if feed == "e_mails" else row])
    variables = {"rules": [rule.model_dump(exclude_none=True) for rule in loose_rules]}
    report = run_of(outbox, place if is_checked else loose, variables=variables, **poisoned)
    if is_checked:
        assert report.errors
        assert outbox.sql("select distinct uncertain from aam_state.deliveries where status = 'failed'") == [
            (False,)
        ]
    run_of(outbox, place, **GOOD, e_mails=GOOD_PAIRS)
    now = {feed: [*rows, Signal(rows[0].user_id, "new", "x")] for feed, rows in GOOD.items()}
    report = run_of(outbox, place, **now, e_mails=GOOD_PAIRS)
    assert report.errors == []
    assert {outcome.delivery.feed for outcome in report.outcomes} >= set(GOOD)
    for feed, rows in now.items():
        assert set(rows) <= outbox.delivered(feed)


VARS = all_vars({})
BREAKING = ("matches", "contains", "unlike")
PLAIN = [
    *(("user_id", name, id_type["plain"]) for name, id_type in VARS["id_types"].items()),
    ("signal_key", "key_value", VARS["plain"]["key_value_signal_key"]),
    ("signal_value", "key_value", VARS["plain"]["key_value_signal_value"]),
    ("signal_value", "trait", "[0-9]+"),
]


@pytest.mark.parametrize(("field", "kind", "plain"), PLAIN, ids=lambda value: value[:20])
def test_no_plain_text_breaks_a_rule(field: str, kind: str, plain: str) -> None:
    """vars.plain spares most texts the rules: those named there, at least, it must spare for good."""
    id_type = VARS["id_types"].get(kind, {})
    rule_kind = id_type.get("kind", kind)
    rules = [
        {name: text.replace("{spaces}", VARS["spaces"]) for name, text in rule.items() if name in BREAKING}
        | {"reason": rule["reason"]}
        for rule in VARS["rules"]
        if rule.get("field") == field and rule_kind in rule.get("kinds", [rule_kind])
    ]
    assert {rule["reason"] for rule in rules} <= set(VARS["plain"]["unbroken"])

    @settings(max_examples=100 * SOAK)
    @given(text=st.from_regex(plain, fullmatch=True))
    def breaks_none(text: str) -> None:
        for rule in rules:
            if "matches" in rule:
                assert not re.fullmatch(rule["matches"], text)
            elif "contains" in rule:
                assert not re.search(rule["contains"], text)
            else:
                assert re.fullmatch(
                    id_type["pattern"] if rule["unlike"] == "id_type" else rule["unlike"], text
                )

    breaks_none()
