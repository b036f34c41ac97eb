"""aam check: every example and every rule of the inbound formats, as Audience Manager would count them."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import BinaryIO, cast

import pytest
import yaml
from conftest import SOAK, Workspace
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aam_onboard.check import (
    FILE_REASONS,
    LINE_REASONS,
    FileReport,
    check_file,
    check_files,
    find_files,
)
from aam_onboard.check.crowds import buckets_of
from aam_onboard.errors import AamError, ConfigError
from aam_onboard.rules import Plain, Rules

ROOT = Path(__file__).parent.parent
VARS = yaml.safe_load((ROOT / "dbt_project.yml").read_text(encoding="utf-8"))["vars"]
RULES = Rules.model_validate(
    {name: VARS[name] for name in ("limits", "id_types", "rules", "plain", "spaces")}
)

TS = "1700000000"
OWN = f"ftp_dpm_58342_{TS}.sync"
OVERWRITE = f"ftp_dpm_58342_{TS}.overwrite"
UUID38 = "67194903912383456718382939384756120398"
GAID = "3f2504e0-4f89-11d3-9a0c-0305e82c3301"
IDFA = "AEBE52E7-03EE-455A-B3C4-E57283966239"
SHA = "55e79200c1635b37ad31a378c39feb12f120f116625093a19bc32fff15041149"


def rules_with(**limits: int) -> Rules:
    return RULES.model_copy(update={"limits": RULES.limits.model_copy(update=limits)})


def check(text: str | bytes, name: str = OWN, rules: Rules = RULES, **options: object) -> FileReport:
    data = text if isinstance(text, bytes) else text.encode()
    return check_file(io.BytesIO(data), name, rules, **options)  # type: ignore[arg-type]


def reason(line: str | bytes, name: str = OWN) -> str | None:
    """The reason of one line that stands between two good ones of the same kind."""
    report = check(line, name)
    assert report.records_received == 1
    refused = report.format_errors + report.invalid_aam_id + report.invalid_device_id
    assert refused == len(report.errors) == (0 if report.ok else 1)
    assert report.stored_records == 1 - refused
    return report.errors[0].reason if report.errors else None


GOOD_LINES = [
    # Traits, removals, integration codes, key-values, in all the spellings of section 3.
    (OWN, "u1\td_sid=24"),
    (OWN, "u1\td_sid=24,d_sid=26,d_unsid=7"),
    (OWN, "u1\td_sid=24, d_sid=26"),
    (OWN, "u1\td_sid = 24 , d_sid= 26".replace(" ,", ",")),
    (OWN, "u1\t24:0,24:-1"),
    (OWN, "u1\t24 : -1"),
    (OWN, "u1\t30608"),
    (OWN, "u1\tic=52"),
    (OWN, "u1\tic=region_north-east.1"),
    (OWN, "u1\tic=größe:7"),
    (OWN, 'u1\t"gender"="male"'),
    (OWN, 'u1\t"gender"=male'),
    (OWN, 'u1\tgender="male"'),
    (OWN, "u1\tproduct = tablet"),
    (OWN, 'u1\t"product" = "tablet", "color" = "dark red"'),
    (OWN, 'u1\t"name"="Smith, John","a=b"="c=d"'),
    (OWN, 'u1\t"city"="Köln","city"="東京","note"=" spaced "'),
    (OWN, 'u1\t"balance"="-5.20","plan_d_x"="d_y"'),
    (OWN, 'u1\t"d_sid"="24"'),
    (OWN, "u1\tgender=male,d_sid=1,30608,ic=4,24:0"),
    # User IDs under an own DPID.
    (OWN, "User123\td_sid=24"),
    (OWN, UUID38 + "\td_sid=24"),
    (OWN, "1234567890\td_sid=24"),
    (OWN, "C-00012/7.a\td_sid=24"),
    (OWN, "größe 7, rot=1\td_sid=24"),
    (OWN, GAID + "\td_sid=24"),
    (OWN, "a" * 64 + "\td_sid=24"),
    # Overwrite: the whole set, or none at all.
    (OVERWRITE, 'u1\td_sid=24,"gender"="male"'),
    (OVERWRITE, "u1"),
    (OVERWRITE, "u1\t"),
    (OVERWRITE, "base64=="),
    # Global data sources.
    (f"ftp_dpm_0_58342_{TS}.sync", UUID38 + "\td_sid=24"),
    (f"ftp_dpm_20914_58342_{TS}.sync", GAID + "\td_sid=24"),
    (f"ftp_dpm_20915_58342_{TS}.sync", IDFA + "\td_sid=24"),
    (f"ftp_dpm_121963_58342_{TS}.sync", GAID + "\td_sid=24"),
    (f"ftp_dpm_389146_58342_{TS}.sync", "7AbC42\td_sid=24"),
    (f"ftp_dpm_963906_58342_{TS}.sync", "7AbC42\td_sid=24"),
    (f"ftp_dpm_488258_58342_{TS}.sync", GAID + "\td_sid=24"),
    (f"ftp_dpm_1171485_58342_{TS}.sync", GAID + "\td_sid=24"),
    (f"ftp_dpm_1171489_58342_{TS}.sync", "7AbC42\td_sid=24"),
    (f"ftp_dpm_58342_61207_{TS}.sync", "u1\td_sid=24"),
    # The partner variant.
    (f"ftp_dpm_odc_58342_{TS}.sync", f"idfa\t{IDFA}\t38838,38839"),
    (f"ftp_dpm_odc_58342_{TS}.sync", f"IDFA\t{IDFA}\t38838"),
    (f"ftp_dpm_odc_58342_{TS}.sync", f"android\t{GAID}\td_sid=38838"),
    # ID syncs.
    (f"adobe_id_0_58342_{TS}.sync", f"{UUID38}\tu1"),
    (f"adobe_id_20914_58342_58343_{TS}.sync", f"{GAID}\tu1\tv1"),
    (f"adobe_id_0_58342_58343_{TS}.sync", f"{UUID38}\tu1\tv1"),
    (f"adobe_id_0_20915_{TS}.sync", f"{UUID38}\t{IDFA}"),
    (f"adobe_id_58342_58343_{TS}.sync", "u1\tv1"),
    (f"c2c_id_58342_58343_{TS}.sync", f"u1\t{SHA}"),
    (f"c2c_id_58342_58343_{TS}.sync", f"{UUID38}\t{SHA}\r"),  # as in a sample of Adobe's
]


@pytest.mark.parametrize(("name", "line"), GOOD_LINES)
def test_accepts(name: str, line: str) -> None:
    assert reason(line, name) is None
    assert check(line, name).warnings == 0


GAID_FILE = f"ftp_dpm_20914_58342_{TS}.sync"
AAM_FILE = f"ftp_dpm_0_58342_{TS}.sync"
SYNC_FILE = f"adobe_id_0_58342_{TS}.sync"
C2C_FILE = f"c2c_id_58342_58343_{TS}.sync"
ODC_FILE = f"ftp_dpm_odc_58342_{TS}.sync"

# One wrong variant of each rule of vars.rules, and more of some; then what the checker alone knows.
BAD_LINES = [
    ("empty_id", OWN, "\td_sid=24"),
    ("empty_id", OWN, "  \td_sid=24"),
    ("control_character_in_id", OWN, "u\x011\td_sid=24"),
    ("control_character_in_id", OWN, "u\x851\td_sid=24"),
    ("space_around_id", OWN, " u1\td_sid=24"),
    ("space_around_id", OWN, "u1 \td_sid=24"),
    ("space_around_id", OWN, "u1\u00a0\td_sid=24"),
    ("all_zero_id", GAID_FILE, "00000000-0000-0000-0000-000000000000\td_sid=24"),
    ("all_zero_id", AAM_FILE, "0" * 38 + "\td_sid=24"),
    ("invalid_aam_id", AAM_FILE, UUID38[1:] + "\td_sid=24"),
    ("invalid_aam_id", AAM_FILE, GAID + "\td_sid=24"),
    ("invalid_device_id", GAID_FILE, IDFA + "\td_sid=24"),
    ("invalid_device_id", GAID_FILE, GAID + "0\td_sid=24"),
    ("invalid_device_id", f"ftp_dpm_20915_58342_{TS}.sync", GAID + "\td_sid=24"),
    ("invalid_device_id", f"ftp_dpm_389146_58342_{TS}.sync", "a-b\td_sid=24"),
    ("invalid_hashed_email", C2C_FILE, f"u1\t{SHA.upper()}"),
    ("invalid_hashed_email", C2C_FILE, "u1\tmail@example.com"),
    ("email_as_id", OWN, "mail@example.com\td_sid=24"),
    ("email_as_id", OWN, "mail%40example.com\td_sid=24"),
    ("ip_address_as_id", OWN, "192.168.0.1\td_sid=24"),
    ("ip_address_as_id", OWN, "2001:db8::1\td_sid=24"),
    ("phone_number_as_id", OWN, "+49 30 1234567\td_sid=24"),
    ("colon_in_id", OWN, "a:b\td_sid=24"),
    ("colon_in_id", OWN, "a%3Ab\td_sid=24"),
    ("url_encoded_id", OWN, "a%20b\td_sid=24"),
    ("empty_key", OWN, 'u1\t""="male"'),
    ("empty_key", OWN, "u1\t=male"),
    ("empty_value", OWN, 'u1\t"gender"=""'),
    ("empty_value", OWN, "u1\tgender="),
    ("empty_value", OWN, "u1\td_sid="),
    ("control_character_in_signal", OWN, 'u1\t"gen\x01der"="male"'),
    ("control_character_in_signal", OWN, 'u1\t"gender"="ma\tle"'),
    ("control_character_in_signal", OWN, "u1\td_sid=24\td_sid=25"),
    ("quote_in_signal", OWN, 'u1\t"gen"der"="ma"le"'),
    ("quote_in_signal", OWN, 'u1\t"gender"="ma"l"e"'),
    ("quote_in_signal", OWN, 'u1\tgender=ma"l"e'),
    ("trait_id_not_numeric", OWN, "u1\td_sid=abc"),
    ("trait_id_not_numeric", OWN, "u1\td_sid=24.0"),
    ("trait_id_not_numeric", OWN, "u1\td_unsid=-1"),
    ("invalid_integration_code", OWN, "u1\tic=a b"),
    ("invalid_integration_code", OWN, 'u1\t"ic"="a,b"'),
    ("leading_dash_in_key", OWN, 'u1\t"-gender"="male"'),
    ("reserved_key", OWN, 'u1\t"d_gender"="male"'),
    ("reserved_key", OWN, "u1\tD_SID=24"),
    ("email_in_value", OWN, 'u1\t"mail"="a@example.com"'),
    ("phone_number_in_value", OWN, 'u1\t"tel"="+49 30 1234567"'),
    ("no_tab", OWN, "u1 d_sid=24"),
    ("no_tab", OWN, 'u1,"gender"="male"'),
    ("no_signals", OWN, "u1"),
    ("no_signals", OWN, "u1\t"),
    ("no_signals", OWN, "u1\t,,"),
    ("unbalanced_quote", OWN, 'u1\t"gender"="male'),
    ("invalid_signal", OWN, "u1\tmale"),
    ("invalid_signal", OWN, "u1\t24:1"),
    ("invalid_signal", OWN, "u1\td_sid:24"),
    ("invalid_utf8", OWN, b'u1\t"city"="K\xf6ln"'),
    ("invalid_utf8", OWN, b"u\xed\xa0\x80\td_sid=24"),
    ("nul_byte", OWN, "u\x001\td_sid=24"),
    ("line_too_long", OWN, "u1\t" + "d_sid=24," * 11400 + "d_sid=24"),
    ("unknown_id_type", ODC_FILE, f"phone\t{GAID}\t38838"),
    ("invalid_device_id", ODC_FILE, f"idfa\t{GAID}\t38838"),
    ("no_signals", ODC_FILE, f"idfa\t{IDFA}"),
    ("trailing_space", SYNC_FILE, f"{UUID38}\tu1 "),
    ("trailing_space", SYNC_FILE, f"{UUID38}\t"),
    ("trailing_space", SYNC_FILE, f"{UUID38}\tu1\t"),
    ("wrong_column_count", SYNC_FILE, UUID38),
    ("wrong_column_count", SYNC_FILE, f"{UUID38}\tu1\tu2"),
    ("invalid_aam_id", SYNC_FILE, "1\tu1"),
    ("email_as_id", SYNC_FILE, f"{UUID38}\ta@example.com"),
    ("empty_id", f"adobe_id_0_58342_58343_{TS}.sync", f"{UUID38}\t\tv1"),
    ("email_as_id", C2C_FILE, f"a@example.com\t{SHA}"),
]


@pytest.mark.parametrize(("expected", "name", "line"), BAD_LINES)
def test_refuses(expected: str, name: str, line: str | bytes) -> None:
    assert reason(line, name) == expected


def test_every_rule_is_shown() -> None:
    known = {rule.reason for rule in RULES.rules if rule.field and not rule.guard} | set(LINE_REASONS)
    assert known - {"blank_line"} == {expected for expected, *_ in BAD_LINES}


EMPTY_HASH = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
WARNED_LINES = [
    ("suspicious_id", OWN, "undefined\td_sid=24"),
    ("suspicious_id", OWN, "1.23457E+11\tgender=male"),
    ("suspicious_id", SYNC_FILE, f"{UUID38}\t#N/A"),
    ("suspicious_id", C2C_FILE, f"u1\t{EMPTY_HASH}"),
    ("typographic_quotes", OWN, "u1\t\u201cgender\u201d=\u201cmale\u201d"),
    ("typographic_quotes", OWN, 'u1\td_sid=24,"gender"=\u201cmale'),
]


@pytest.mark.parametrize(("expected", "name", "line"), WARNED_LINES)
def test_what_is_taken_but_likely_wrong_is_warned_of(expected: str, name: str, line: str) -> None:
    good = next(text for known, text in GOOD_LINES if known == name)
    report = check("\n".join([good, line, good]), name)
    assert report.ok
    assert report.warning_reasons == {expected: 1}
    assert [(problem.line, problem.sample) for problem in report.warning_samples] == [(2, line)]


def test_suspicious_ids_that_are_meant() -> None:
    rules = RULES.model_copy(update={"suspicious_ids": "send"})
    assert not check("undefined\td_sid=24\n0\td_sid=24\n", rules=rules).warning_reasons


def test_typographic_quotes_within_quotes_are_meant() -> None:
    assert not check('u1\t"note"="\u201cyes\u201d"\nu2\tnote=a \u201cyes\u201d of his\n').warning_reasons


@pytest.mark.parametrize(
    "text",
    [
        'u1\t"Gender"="F"\nu2\t"gender"="F"\nu3\t"gender"="f"\nu4\td_sid=24\n',
        'u1\tGender=F\nu2\t"gender"="F"\nu3\tgender = f,d_sid=24\n',
        'u"1\t"Gender"="F"\nu2\t"gender"="F"\nu""3"4"\t"gender"="f"\nu4\td_sid=24\n',
    ],
    ids=["quoted", "unquoted", "quotes in IDs"],
)
def test_more_than_one_letter_case_is_warned_of(text: str) -> None:
    report = check(text)
    assert report.ok
    assert report.warning_reasons == {"letter_case": 2}
    assert [problem.sample for problem in report.warning_samples] == [
        "key: gender (2 signals), Gender (1 signals)",
        "value of gender: F (2 signals), f (1 signals)",
    ]
    other = check('u1\t"gender"="F","size"="f"\nu2\t"gender"="F","age"="12"\n' * 2000)
    assert not other.warning_reasons


def test_letter_cases_in_a_file_of_many_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory has an end: then keys alone are compared."""
    monkeypatch.setattr("aam_onboard.check.spellings._SPELLINGS", 100)
    monkeypatch.setattr("aam_onboard.check.container._BLOCK", 1000)
    lines = [f'u{n}\t"name"="Name{n}","city"="x"' for n in range(3000)]
    assert check("\n".join([*lines, 'u\t"City"="x"'])).warning_reasons == {"letter_case": 1}


def test_a_bare_number_is_a_trait_in_a_partner_file_alone(tmp_path: Path) -> None:
    taxonomy = tmp_path / "traits.csv"
    taxonomy.write_text("trait_id,dpid,trait_type\n1,58342,onboarded\n")
    line = f"idfa\t{IDFA}\t7"
    assert check(line, ODC_FILE, taxonomy=taxonomy).warning_reasons == {"unknown_trait": 1}
    assert check("u1\t7", OWN, taxonomy=taxonomy).warning_reasons == {}


@pytest.mark.parametrize(("expected", "name", "line"), BAD_LINES)
def test_the_reason_does_not_hang_on_the_lines_around(expected: str, name: str, line: str | bytes) -> None:
    """Lines of the plain form go another way than the others: both must come to the same end."""
    good = next(text for known, text in GOOD_LINES if known == name).encode()
    bad = line if isinstance(line, bytes) else line.encode()
    report = check(b"\n".join([good, bad, good, bad, good]), name)
    assert [(problem.line, problem.reason) for problem in report.errors] == [(2, expected), (4, expected)]
    assert report.stored_records == 3
    assert report.records_received == 5


WARNINGS = [
    ("empty_element", OWN, "u1\td_sid=24,,d_sid=26"),
    ("empty_element", OWN, "u1\td_sid=24,"),
    ("space_before_comma", OWN, "u1\td_sid=24 ,d_sid=26"),
    ("space_before_comma", OWN, "u1\td_sid=24 "),
    ("removal_in_overwrite", OVERWRITE, "u1\td_sid=24,d_unsid=26"),
    ("removal_in_overwrite", OVERWRITE, "u1\td_sid=24,26:0"),
    ("no_tab_clears", OVERWRITE, "u1 d_sid=24"),
]


@pytest.mark.parametrize(("expected", "name", "line"), WARNINGS)
def test_warns(expected: str, name: str, line: str) -> None:
    report = check(line, name)
    assert report.ok
    assert report.warning_reasons == {expected: 1}
    assert [(w.line, w.reason, w.sample) for w in report.warning_samples] == [(1, expected, line)]
    assert report.warnings == 1
    assert report.stored_records == 1


def test_line_ends_of_real_files_are_no_errors() -> None:
    text = b"u1\td_sid=24\r\nu2\td_sid=24\nu3\td_sid=24"
    for ending in (b"", b"\n", b"\r\n", b"\n\n\n", b"\r\n\r\n", b"\r"):
        report = check(text + ending)
        assert (report.ok, report.warnings, report.records_received) == (True, 0, 3), ending


def test_a_blank_line_between_others_is_an_error() -> None:
    report = check("\nu1\td_sid=24\n\n\nu2\td_sid=24\n \nu3\td_sid=24\n\n")
    assert [(e.line, e.reason) for e in report.errors] == [(n, "blank_line") for n in (1, 3, 4, 6)]
    assert (report.records_received, report.format_errors) == (7, 4)


def test_counters_are_audience_managers() -> None:
    report = check(
        f"{UUID38}\td_sid=1\n{UUID38[1:]}\td_sid=1\n{'0' * 38}\td_sid=1\n{UUID38}\td_sid=x\n\td_sid=1\n",
        AAM_FILE,
    )
    assert report.records_received == 5
    assert report.invalid_aam_id == 2
    assert report.format_errors == 2
    assert report.invalid_device_id == 0
    assert report.stored_records == 1
    assert report.reasons == {"invalid_aam_id": 1, "all_zero_id": 1, "trait_id_not_numeric": 1, "empty_id": 1}
    assert report.says["invalid_aam_id"] == "an AAM UUID is 38 digits"
    report = check(f"{GAID}\td_sid=1\n{IDFA}\td_sid=1\n{GAID}\t\n", GAID_FILE)
    assert (report.invalid_device_id, report.format_errors, report.stored_records) == (1, 1, 1)


def test_report_of_the_name_and_json() -> None:
    report = check("u1\td_sid=x\nu2\td_sid=1,,", f"ftp_dpm_58342_61207_{TS}.overwrite.3")
    found = json.loads(json.dumps(report.as_dict()))
    assert found.items() >= {
        "ok": False, "file": f"ftp_dpm_58342_61207_{TS}.overwrite.3", "kind": "data", "dpid": 58342,
        "target_dpid": 61207, "mode": "overwrite", "timestamp": int(TS), "split": 3, "records_received": 2,
        "format_errors": 1, "invalid_aam_id": 0, "invalid_device_id": 0, "warnings": 1, "stored_records": 1,
        "errors": [{"line": 1, "reason": "trait_id_not_numeric", "sample": "u1\td_sid=x"}],
    }.items()  # fmt: skip
    sync = check(f"{UUID38}\tu1\n", SYNC_FILE).as_dict()
    assert (sync["kind"], sync["dpid"], sync["dpids"], sync["ok"]) == ("id_sync", 0, (0, 58342), True)


def test_a_wrong_name_is_told_by_its_element() -> None:
    report = check("u1\td_sid=24", f"ftp_dpm_58342_{TS}.synced")
    assert [e.reason for e in report.errors] == ["bad_name"]
    assert "synced" in report.errors[0].sample
    assert not report.ok
    assert report.records_received == 0


def packed(text: bytes) -> bytes:
    """gzip without the time: test IDs are made of it, and must be the same in each of xdist's workers."""
    return gzip.compress(text, mtime=0)


@pytest.mark.parametrize(
    ("expected", "name", "text"),
    [
        ("missing_target", f"ftp_dpm_20914_{TS}.sync", GAID + "\td_sid=24"),
        ("missing_target", f"ftp_dpm_0_{TS}.sync", UUID38 + "\td_sid=24"),
        ("device_ids_first", f"adobe_id_58342_0_{TS}.sync", "u1\t" + UUID38),
        ("customer_ids_first", f"c2c_id_20914_58343_{TS}.sync", GAID + "\t" + SHA),
        ("empty_file", OWN, ""),
        ("empty_file", OWN, "\n\r\n"),
        ("empty_file", OWN + ".gz", packed(b"")),
        ("byte_order_mark", OWN, b"\xef\xbb\xbfu1\td_sid=24"),
        ("byte_order_mark", OWN, "u1\td_sid=24".encode("utf-16")),
        ("not_gzip", OWN + ".gz", "u1\td_sid=24"),
        ("gzip_without_extension", OWN, packed(b"u1\td_sid=24")),
        ("packed_twice", OWN + ".gz", packed(packed(b"u1\td_sid=24"))),
        ("not_pgp", OWN + ".gpg", "u1\td_sid=24"),
        ("truncated_gzip", OWN + ".gz", packed(b"u1\td_sid=24\n" * 100)[:-9]),
        ("truncated_gzip", OWN + ".gz", packed(b"u1\td_sid=24")[:12]),
        ("corrupt_gzip", OWN + ".gz", packed(random.Random(24).randbytes(999))[:500] + b"\0" * 600),
    ],
)
def test_faults_of_the_file(expected: str, name: str, text: str | bytes) -> None:
    report = check(text, name)
    faults = [e for e in report.errors if e.line is None]
    assert [e.reason for e in faults] == [expected]
    assert faults[0].sample
    assert report.says[expected] == FILE_REASONS[expected]
    assert not report.ok


def test_damaged_checksum_of_gzip() -> None:
    data = bytearray(gzip.compress(b"u1\td_sid=24\n"))
    data[-6] ^= 1
    assert "corrupt_gzip" in check(bytes(data), OWN + ".gz").reasons


def test_sizes() -> None:
    line = b"u1\td_sid=24\n"
    assert check(line * 10, rules=rules_with(max_plain_bytes=120)).ok
    assert check(line * 10, rules=rules_with(max_plain_bytes=119)).reasons == {"plain_too_large": 1}
    packed = gzip.compress(line * 10)
    assert check(packed, OWN + ".gz", rules_with(max_compressed_bytes=len(packed))).ok
    report = check(packed, OWN + ".gz", rules_with(max_compressed_bytes=len(packed) - 1))
    assert report.reasons == {"compressed_too_large": 1}
    assert check(packed, OWN + ".gz", rules_with(max_plain_bytes=119)).reasons == {"plain_too_large": 1}
    # The compressed limit is none of plain files.
    assert check(line * 10, rules=rules_with(max_compressed_bytes=10)).ok


def test_line_length_counts_bytes_without_the_line_end() -> None:
    rules = rules_with(line_bytes=20)
    fits, full, over = "u1\td_sid=123456789\n", "ü1\td_sid=123456789\r\n", "ü12\td_sid=123456789\n"
    assert [len(line.encode().rstrip()) for line in (fits, full, over)] == [18, 19, 20]
    assert check(over, rules=rules).warning_reasons == {"line_at_limit": 1}
    report = check(fits + over.replace("ü", "üü") + full + over, rules=rules)
    assert [(e.line, e.reason) for e in report.errors] == [(2, "line_too_long")]
    assert [(w.line, w.reason) for w in report.warning_samples] == [(4, "line_at_limit")]


def test_a_user_has_at_most_200_lines() -> None:
    text = "".join(f"u1\td_sid={i}\nu2\td_sid=1\n" for i in range(200))
    assert check(text).ok
    report = check(
        text + "u1\td_sid=x\nu1\td_sid=777\nu3\td_sid=1\nu2\td_sid=777\nu1\td_sid=778\n", samples=99
    )
    assert [(e.line, e.reason, e.sample) for e in report.errors] == [
        (401, "trait_id_not_numeric", "u1\td_sid=x"),
        (402, "too_many_lines", "u1\td_sid=777"),
        (404, "too_many_lines", "u2\td_sid=777"),
        (405, "too_many_lines", "u1\td_sid=778"),
    ]
    assert (report.records_received, report.format_errors, report.stored_records) == (405, 4, 401)


def test_a_customer_has_at_most_10_hashed_emails() -> None:
    rows = [f"u1\t{i:064x}\n" for i in range(10)]
    assert check("".join(rows + rows), C2C_FILE).ok
    report = check("".join(rows) + f"u1\t{99:064x}\nu2\t{99:064x}\n{rows[3]}", C2C_FILE)
    assert [(e.line, e.reason) for e in report.errors] == [(11, "too_many_hashed_emails")]


def test_ids_with_the_same_hash_are_counted_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aam_onboard.check.crowds._BUCKETS", 1)
    assert check("".join(f"u{i}\td_sid=1\n" for i in range(500))).ok
    report = check("".join(f"u{i % 2}\td_sid=1\n" for i in range(402)))
    assert report.reasons == {"too_many_lines": 2}


def test_several_id_types_in_one_file_are_told() -> None:
    report = check(f"{UUID38}\td_sid=1\n{GAID}\td_sid=1\nu1\td_sid=1\nu2\td_sid=1\n")
    assert report.ok
    assert report.warning_reasons == {"mixed_id_types": 1}
    assert report.warning_samples[0].sample == "1 like aam_uuid, 1 like gaid, 2 like none of the devices"
    assert not check(f"{UUID38}\td_sid=1\n").warnings
    assert check(f"idfa\t{IDFA}\t1\nandroid\t{GAID}\t1", ODC_FILE).warning_reasons == {"mixed_id_types": 1}


def test_traits_that_fail_validation(tmp_path: Path) -> None:
    taxonomy = tmp_path / "traits.csv"
    taxonomy.write_text(
        'trait_id,trait_name,dpid,trait_type\n1,"One, first",58342,onboarded\n2,Two,58342,rule_based\n'
        "3,Three,61207,onboarded\n4,Four,58342,Onboarded\n",
        encoding="utf-8",
    )
    text = (
        "u1\td_sid=1,d_unsid=4\nu2\td_sid=1,d_sid=2,d_sid=3\nu3\td_sid=99\nu4\t3:0,30608,ic=3\nu5\td_sid=x\n"
    )
    report = check(text, taxonomy=taxonomy)
    assert report.reasons == {"trait_id_not_numeric": 1}
    assert report.traits_failed_validation == 4
    assert [(w.line, w.reason) for w in report.warning_samples] == [
        (2, "trait_not_onboarded"), (3, "unknown_trait"), (4, "trait_of_other_data_source")
    ]  # fmt: skip
    assert check("u1\td_sid=3\n", f"ftp_dpm_58342_61207_{TS}.sync", taxonomy=taxonomy).warnings == 0
    assert check(f"idfa\t{IDFA}\t3,1", ODC_FILE, taxonomy=taxonomy).traits_failed_validation == 1
    with pytest.raises(ConfigError, match=r"no_such\.csv"):
        check(text, taxonomy=tmp_path / "no_such.csv")
    taxonomy.write_text("id,name\n1,One\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="no column dpid, trait_id, trait_type"):
        check(text, taxonomy=taxonomy)


def test_a_large_taxonomy_comes_to_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taxonomy = tmp_path / "traits.csv"
    rows = "".join(f"{i},T,58342,onboarded\n" for i in range(100))
    taxonomy.write_text("trait_id,trait_name,dpid,trait_type\n" + rows, encoding="utf-8")
    text = "".join(f"u{i}\td_sid={i}\n" for i in range(120))
    small = check(text, taxonomy=taxonomy)
    monkeypatch.setattr("aam_onboard.check.plain._LARGEST_PATTERN", 10)
    assert small.as_dict() == check(text, taxonomy=taxonomy).as_dict()
    assert small.traits_failed_validation == 20


def test_samples_are_the_first_of_each_reason() -> None:
    text = "".join(f"u{i}\td_sid={'x' if i % 2 else ''}\n" for i in range(1000))
    report = check(text, samples=3)
    assert report.reasons == {"empty_value": 500, "trait_id_not_numeric": 500}
    assert [e.line for e in report.errors] == [1, 2, 3, 4, 5, 6]
    assert report.format_errors == 1000
    long = check("u1\tgender=" + "ü" * 5000 + '"', samples=1).errors[0].sample
    assert len(long) == 201


def test_refused_lines_go_to_the_errors_file(tmp_path: Path) -> None:
    data = b"u1\td_sid=1\r\nu2\td_sid=x\r\n\r\n\xff\td_sid=1\n" + b"u3\td_sid=1\n" * 201
    target = tmp_path / "errors.tsv"
    check(data, errors_to=target, samples=0)
    assert sorted(target.read_text(encoding="utf-8").splitlines()) == [
        "2\ttrait_id_not_numeric\tu2\td_sid=x",
        "205\ttoo_many_lines\tu3\td_sid=1",
        "3\tblank_line\t",
        "4\tinvalid_utf8\t�\td_sid=1",
    ]
    text = io.StringIO()
    check("u1\nu2\n", errors_to=text)
    assert text.getvalue() == "1\tno_signals\tu1\n2\tno_signals\tu2\n"
    with pytest.raises(ConfigError, match="can't be written"):
        check("u1\n", errors_to=tmp_path / "no" / "where.tsv")


def test_the_errors_file_is_private_and_never_the_file_to_check(tmp_path: Path) -> None:
    target = tmp_path / "errors.tsv"
    target.touch(0o644)
    check("u1\n", errors_to=target)
    assert target.stat().st_mode & 0o777 == 0o600
    other, path = tmp_path / f"{OWN}.1", tmp_path / OWN
    other.write_text("u2\td_sid=1\n")
    path.write_text("u1\n")
    (tmp_path / "hard").hardlink_to(path)
    (tmp_path / "soft").symlink_to(path)
    for same in (path, tmp_path / "hard", tmp_path / "soft", tmp_path / "." / OWN):
        with pytest.raises(ConfigError, match="is the file to check itself"):
            check_files([other, path], RULES, errors_to=same)
        with path.open("rb") as stream, pytest.raises(ConfigError, match="is the file to check itself"):
            check_file(stream, OWN, RULES, errors_to=same)
        assert path.read_text() == "u1\n"


def test_files_and_patterns(tmp_path: Path) -> None:
    (tmp_path / OWN).write_text("u1\td_sid=1\n")
    (tmp_path / f"{OWN}.1").write_text("u1\n")
    found = find_files([str(tmp_path / "*.sync*"), str(tmp_path / OWN)])
    assert [path.name for path in found] == [OWN, f"{OWN}.1"]
    target = tmp_path / "errors.tsv"
    report = check_files(found, RULES, errors_to=target)
    assert not report.ok
    assert [file["ok"] for file in report.as_dict()["files"]] == [True, False]
    assert target.read_text() == "1\tno_signals\tu1\n"
    for missing in ("none.sync", "*.none", "/no/such/*.sync"):
        with pytest.raises(ConfigError, match="no such file"):
            find_files([missing])


def test_a_file_under_a_temporary_name_is_checked_as_what_it_will_be(tmp_path: Path) -> None:
    part = tmp_path / ".part-1.tmp"
    part.write_bytes(gzip.compress(b"u1\td_sid=1\n"))
    report = check_file(part, OWN + ".gz", RULES)
    assert report.ok
    assert report.file == OWN + ".gz"
    assert (report.bytes, report.plain_bytes) == (part.stat().st_size, 11)


def test_a_stream_that_cannot_be_rewound() -> None:
    read, write = os.pipe()
    data = gzip.compress(b"u1\td_sid=1\n" * 300)

    def feed() -> None:
        with os.fdopen(write, "wb") as end:
            end.write(data)

    thread = threading.Thread(target=feed)
    thread.start()
    with os.fdopen(read, "rb") as end:
        report = check_file(end, OWN + ".gz", RULES)
    thread.join()
    assert report.reasons == {"too_many_lines": 100}
    assert report.bytes == len(data)


def test_pgp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "gnupg"
    home.mkdir(mode=0o700)
    monkeypatch.setenv("GNUPGHOME", str(home))
    plain = tmp_path / "plain"
    plain.write_text("u1\td_sid=1\nu2\n")
    path = tmp_path / (OWN + ".gpg")
    gpg = ["gpg", "--batch", "--quiet", "--yes", "--pinentry-mode", "loopback", "--passphrase", ""]
    subprocess.run([*gpg, "--quick-generate-key", "check@example.com", "default", "default"], check=True)
    encrypt = ["--trust-model", "always", "-r", "check@example.com", "-o", str(path), "--encrypt"]
    subprocess.run([*gpg, *encrypt, str(plain)], check=True)
    try:
        report = check_file(path, path.name, RULES)
        assert report.ok
        assert report.warning_reasons == {"not_decrypted": 1}
        report = check_file(path, path.name, RULES, decrypt=True)
        assert (report.records_received, report.reasons) == (2, {"no_signals": 1})
        with subprocess.Popen(["cat", str(path)], stdout=subprocess.PIPE) as piped:
            report = check_file(cast(BinaryIO, piped.stdout), path.name, RULES, decrypt=True)
        assert (report.records_received, report.reasons) == (2, {"no_signals": 1})
        with path.open("rb") as stream:
            report = check_file(stream, path.name, RULES, decrypt=True)
        assert (report.records_received, report.reasons) == (2, {"no_signals": 1})
        assert check_file(path, OWN, RULES).reasons == {"pgp_without_extension": 1}
        assert "not_gzip" in check_file(path, OWN + ".gz", RULES).reasons
        plain.write_bytes(gzip.compress(b"u1\td_sid=1\n"))
        subprocess.run([*gpg, *encrypt, str(plain)], check=True)
        assert check_file(path, path.name, RULES, decrypt=True).reasons == {"packed_twice": 1}
    finally:
        subprocess.run(["gpgconf", "--kill", "gpg-agent"], check=True)
    empty = tmp_path / "empty"
    empty.mkdir(mode=0o700)
    monkeypatch.setenv("GNUPGHOME", str(empty))
    report = check_file(path, path.name, RULES, decrypt=True)
    assert list(report.reasons) == ["cannot_decrypt"]


# --- Rules are data: a change of vars.rules changes the checker -------------------------------------------------------


def with_rule(**rule: object) -> Rules:
    return Rules.model_validate(
        {
            **RULES.model_dump(),
            "rules": [*RULES.model_dump()["rules"], {"reason": "new", "says": "new", **rule}],
        }
    )


@pytest.mark.parametrize(
    ("rule", "line"),
    [
        ({"field": "user_id", "contains": "x1$"}, "ux1\td_sid=24"),
        ({"field": "user_id", "unlike": "u[0-9]+"}, "ux1\td_sid=24"),
        ({"field": "signal_value", "kinds": ["trait"], "contains": "^24"}, "u1\td_sid=247"),
        ({"field": "signal_value", "kinds": ["trait"], "unlike": "[0-9]{3}"}, "u1\td_sid=24"),
        ({"field": "signal_value", "kinds": ["trait"], "contains": "7"}, "u1\td_sid=247"),
        ({"field": "signal_value", "kinds": ["trait"], "matches": "7*"}, "u1\td_sid=777"),
        ({"field": "signal_key", "contains": "^ic"}, "u1\tic=247"),
        ({"field": "signal_key", "contains": "^d_un"}, "u1\td_unsid=247"),
        ({"field": "signal_value", "kinds": ["integration_code"], "matches": "(12|34)+"}, "u1\tic=1234"),
        ({"field": "signal_value", "kinds": ["integration_code"], "matches": "(12|34)+"}, "u1\t1234"),
        ({"field": "signal_value", "kinds": ["key_value"], "contains": "red$"}, 'u1\t"c"="dark red"'),
        ({"field": "signal_value", "kinds": ["key_value"], "contains": "^dark"}, 'u1\t"c"="dark red"'),
        ({"field": "signal_value", "kinds": ["key_value"], "contains": "^x|red"}, 'u1\t"c"="dark red"'),
        ({"field": "signal_value", "kinds": ["key_value"], "contains": "k r"}, 'u1\t"a"="b","c"="dark red"'),
        (
            {"field": "signal_value", "kinds": ["key_value"], "matches": "[a-z ]+"},
            'u1\t"a"="B","c"="dark red"',
        ),
        ({"field": "signal_value", "kinds": ["key_value"], "unlike": "[A-Z]+"}, 'u1\t"a"="B","c"="dark red"'),
        (
            {"field": "signal_key", "kinds": ["key_value"], "contains": "o[a-z]*r"},
            'u1\t"a"="B","color"="red"',
        ),
        ({"field": "signal_key", "kinds": ["key_value"], "contains": "^co"}, 'u1\t"a"="B","color"="red"'),
        ({"field": "signal_key", "kinds": ["key_value"], "matches": "color"}, 'u1\t"a"="B","color"="red"'),
        ({"field": "signal_key", "kinds": ["key_value"], "contains": ","}, 'u1\t"a"="B","col,or"="red"'),
    ],
)
def test_a_rule_that_is_added_is_kept(rule: dict[str, object], line: str) -> None:
    assert check(line).ok
    report = check(
        f"{line}\nu1\td_sid=100\n" if rule.get("unlike") != "[0-9]{3}" else line, rules=with_rule(**rule)
    )
    assert report.errors[0].line == 1
    assert report.errors[0].reason == "new"


# --- Properties -------------------------------------------------------------------------------------------------------

TEXT = st.text(
    st.characters(codec="utf-8", exclude_characters='"' + RULES.spaces, exclude_categories=["Cc", "Cs"]),
    min_size=1,
    max_size=12,
)


def breaks_no_rule(text: str, field: str, kind: str) -> bool:
    """The rules, read by Python one by one: an oracle that shares nothing with the checker."""
    for rule in RULES.rules:
        # of what is only kept back (guard), it warns
        if rule.field == field and not rule.guard and (rule.kinds is None or kind in rule.kinds):
            broken = (
                (rule.matches is not None and re.fullmatch(rule.matches, text))
                or (rule.contains is not None and re.search(rule.contains, text))
                or (rule.unlike not in (None, "id_type") and not re.fullmatch(rule.unlike or "", text))
            )
            if broken:
                return False
    return True


USER_ID = TEXT.filter(lambda text: breaks_no_rule(text, "user_id", "dpuuid"))
PAIR = st.tuples(
    TEXT.filter(lambda text: breaks_no_rule(text, "signal_key", "key_value") and text not in ("ic", "d_sid")),
    TEXT.filter(lambda text: breaks_no_rule(text, "signal_value", "key_value")),
).map(lambda pair: f'"{pair[0]}"="{pair[1]}"')
NUMBER = st.integers(0, 10**18)
CODE = TEXT.filter(lambda text: breaks_no_rule(text, "signal_value", "integration_code"))
SIGNAL = st.one_of(
    NUMBER.map("d_sid={}".format), NUMBER.map("d_unsid={}".format), CODE.map("ic={}".format), PAIR
)
LINE = st.tuples(USER_ID, st.lists(SIGNAL, min_size=1, max_size=5).map(",".join)).map("\t".join)


@settings(deadline=None)
@given(
    st.lists(LINE, min_size=1, max_size=20),
    st.sampled_from([OWN, OVERWRITE]),
    st.sampled_from(["\n", "\r\n"]),
)
def test_what_is_written_by_the_rules_passes(lines: list[str], name: str, end: str) -> None:
    report = check(end.join(lines), name)
    assert report.errors == []
    assert report.records_received == report.stored_records == len(lines)


@settings(deadline=None, max_examples=25 * SOAK)
@given(
    st.lists(st.tuples(TEXT, TEXT, TEXT), min_size=1, max_size=20),
)
def test_what_breaks_a_rule_is_refused(rows: list[tuple[str, str, str]]) -> None:
    rows = [(user, key.replace("ic", "x").replace("d_", "x"), value) for user, key, value in rows]
    report = check("\n".join(f'{user}\t"{key}"="{value}"' for user, key, value in rows), samples=99)
    expected = [
        number
        for number, (user, key, value) in enumerate(rows, 1)
        if not (
            breaks_no_rule(user, "user_id", "dpuuid")
            and breaks_no_rule(key, "signal_key", "key_value")
            and breaks_no_rule(value, "signal_value", "key_value")
        )
    ]
    assert [e.line for e in report.errors] == expected


NAMES = st.sampled_from(
    [OWN, OVERWRITE, OWN + ".gz", OWN + ".gpg", GAID_FILE, SYNC_FILE, C2C_FILE, ODC_FILE, "x"]
)
PIECES = st.lists(
    st.sampled_from(
        [b"\t", b"\n", b"\r\n", b",", b'"', b"=", b" ", b"d_sid=", b"24", b":0", b"ic", b"u1", b"\xff", b"\0", b"-",
         b"\xc3\xa4", b"idfa", UUID38.encode(), GAID.encode(), SHA.encode(), b"\xef\xbb\xbf", b"\x1f\x8b", b"@"]
    ),
    max_size=60,
).map(b"".join)  # fmt: skip


@settings(deadline=None, max_examples=40 * SOAK)
@given(st.one_of(st.binary(max_size=200), PIECES), NAMES, st.booleans())
def test_arbitrary_bytes_end_in_a_report(data: bytes, name: str, packed: bool) -> None:
    report = check(gzip.compress(data) if packed else data, name)
    assert report.stored_records >= 0
    assert report.records_received == report.stored_records + report.format_errors + (
        report.invalid_aam_id + report.invalid_device_id
    )
    assert report.ok == (not report.errors)
    assert set(report.reasons) | set(report.warning_reasons) == set(report.says)
    json.dumps(report.as_dict())


@settings(deadline=None, max_examples=15 * SOAK)
@given(st.lists(PIECES, max_size=12).map(b"\n".join), st.integers(50, 400), NAMES)
def test_the_size_of_blocks_does_not_matter(data: bytes, block: int, name: str) -> None:
    rules = rules_with(line_bytes=60)
    with pytest.MonkeyPatch.context() as patch:
        # what is left of a long line hangs on the block
        patch.setattr("aam_onboard.check.report._SAMPLE", 10)
        whole = check(data, name, rules, samples=1000)
        patch.setattr("aam_onboard.check.container._BLOCK", block)
        assert check(data, name, rules, samples=1000).as_dict() == whole.as_dict()


SHORT_LINES = st.one_of(
    st.tuples(
        st.sampled_from(["u", "U_1", "a" * 8, "0" * 36, "1" * 38, UUID38, GAID, "a@b.c", "", "a\nb"]),
        st.lists(SIGNAL),
    ).map(lambda pair: f"{pair[0]}\t{','.join(pair[1])}"),
    st.tuples(st.text("ab_0", min_size=1, max_size=12), NUMBER).map("{0[0]}\td_sid={0[1]}".format),
    st.sampled_from(
        [
            "u",
            "",
            "u\t",
            "u\td_sid=1,",
            "u\td_sid=1\td_sid=2",
            "\td_sid=1",
            'u\t"a"="b\n',
            'u\t"a"="\0"',
            'u\t"a"="\x85"',
            'u\t"a"="b"\r',
            'u\t"a"="b@c"',
            "u\td_sid=1,,d_sid=2",
        ]
    ),
)


@settings(deadline=None)
@given(
    st.lists(SHORT_LINES, max_size=30).map("\n".join),
    st.sampled_from([OWN, OVERWRITE, GAID_FILE]),
    st.integers(1, 3),
)
@example(text='u\t"a"="\0"', name=OWN, lines_per_user=1)
@example(text='u\t"a"="b\nv"="c"', name=OWN, lines_per_user=1)
def test_what_is_accepted_at_once_is_what_is_accepted_line_by_line(
    text: str, name: str, lines_per_user: int
) -> None:
    rules = rules_with(lines_per_user=lines_per_user, line_bytes=60)
    line_by_line = rules.model_copy(update={"plain": Plain()})
    at_once = check(text, name, rules, samples=99)
    assert at_once.as_dict() == check(text, name, line_by_line, samples=99).as_dict()


def test_ids_are_counted_as_they_are_whatever_stands_around_them() -> None:
    import pyarrow as pa

    ids = [
        "",
        "a",
        "b",
        "a",
        "ab",
        "12345678",
        "x12345678",
        "123456789",
        "1234567890123456",
        "123456789012345",
    ]
    array = pa.array(["before", *ids, "behind"])
    buckets = buckets_of(array.slice(1, len(ids)))
    alone = [int(buckets_of(pa.array([user_id]))[0]) for user_id in ids]
    assert buckets.tolist() == alone
    assert len(set(alone)) == len(set(ids))


def test_speed_is_told(tmp_path: Path) -> None:
    line = b"C00000%07d\td_sid=1000001,d_sid=1000002,d_sid=1000003,d_unsid=1000004,ic=52\n"
    path = tmp_path / "part"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(b"".join(line % i for i in range(300_000)))
    start = time.perf_counter()
    report = check_file(path, OWN + ".gz", RULES)
    seconds = time.perf_counter() - start
    assert report.ok
    assert report.records_received == 300_000
    sys.stderr.write(f"{report.records_received:,} lines, {report.plain_bytes:,} bytes in {seconds:.2f} s\n")


def test_a_missing_file_a_directory_and_an_unreadable_stream(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        check_file(tmp_path / OWN, OWN, RULES)
    with pytest.raises(ConfigError, match="is a directory"):
        check_file(tmp_path, OWN, RULES)

    class Broken(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, buffer: object) -> int:
            raise OSError(5, "Input/output error")

    with pytest.raises(AamError, match="Input/output error"):
        check_file(io.BufferedReader(Broken()), OWN, RULES)


def test_a_pattern_that_no_engine_reads_is_one_clear_line() -> None:
    with pytest.raises(ValueError, match="is no regular expression: missing"):
        with_rule(field="user_id", contains="(")
    with pytest.raises(AamError, match=r"can't be checked: .*vars\.rules"):
        check("u1\td_sid=1", rules=with_rule(field="user_id", contains="(?=u)"))


def test_no_project_is_needed_and_one_that_is_there_counts(tmp_path: Path) -> None:
    """The rules come with the command; a project's settings and its seed of traits, wherever it lies, go before."""
    place = Workspace(tmp_path, "duckdb")
    url = ("id-sync-url", "--dpid", "12345", "--id")
    (tmp_path / OWN).write_text("u1\td_sid=24\nundefined\td_sid=24\n")
    [report] = place.aam("check", OWN, "--json").json["files"]
    assert (report["stored_records"], report["warning_reasons"]) == (2, {"suspicious_id": 1})
    assert "dpid=12345&dpuuid=u%201" in place.ok(*url, "u 1").out
    assert "(email_as_id)" in place.refused(2, *url, "a@b.example")

    (tmp_path / "dbt_project.yml").write_text(
        "name: own\nseed-paths: [data]\nvars: {suspicious_ids: send, data_sources: {1: {name: a, id_type: dpuuid}}}\n"
    )
    (tmp_path / "data" / "aam").mkdir(parents=True)
    traits = "trait_id,trait_name,dpid,trait_type\n25,other,1,onboarded\n"
    (tmp_path / "data" / "aam" / "traits.csv").write_text(traits)
    [report] = place.aam("check", OWN, "--json").json["files"]
    assert report["warning_reasons"] == {"unknown_trait": 2}
    assert report["traits_failed_validation"] == 2
    assert "data_sources" in place.refused(2, *url, "u 1")
    assert "dbt_project.yml is missing" in place.refused(2, "check", OWN, "--project-dir", "elsewhere")
