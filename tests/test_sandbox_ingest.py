"""The local Audience Manager reads files as Adobe's pages have them: a table a rule, and receipts counted by hand."""

import gzip
import itertools
import json
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import AWS, DEMO, SOAK, Bucket
from test_encryption import Keyring
from typer.testing import CliRunner

from aam_onboard.config import package_rules
from aam_onboard.destinations import open_destination, parse_destination
from aam_onboard.destinations.settings import DirectorySettings
from aam_onboard.errors import AamError, ConfigError
from aam_sandbox import data_job, mappings
from aam_sandbox.cli import _inbox, app
from aam_sandbox.ingest import Ingested, ingest
from aam_sandbox.profile import profile_of
from aam_sandbox.settings import fill, read_settings
from aam_sandbox.store import Store, create, open_store

CRM, CROSS, HASHED, OTHERS, UUIDS = 58342, 58344, 58343, 61207, 58345
GAID, IDFA = 20914, 20915
DEVICE = "7" * 38
PHONE = "38400000-8cf0-11bd-b23e-10b96e40000d"
TIMES = itertools.count(1700000001)
SETTINGS: dict[str, Any] = {
    "data_sources": {
        CRM: {"name": "CRM"},
        CROSS: {"name": "Loyalty", "cross_device": True},
        HASHED: {"name": "Hashed e-mails", "id_type": "hashed_email"},
        OTHERS: {"name": "A partner", "owned": False},
        UUIDS: {"name": "By AAM UUID", "id_type": "aam_uuid"},
    },
    "traits": {
        24: {"dpid": CROSS},
        26: {"dpid": CROSS},
        27: {"dpid": OTHERS},
        28: {"dpid": CROSS, "type": "rule_based", "rule": 'ic == "99"'},
        52: {"dpid": CROSS, "rule": 'ic == "52"'},
        53: {"dpid": CROSS, "rule": 'ic == "30608"'},
        60: {"dpid": CROSS, "rule": 'gender == "female"'},
        61: {"dpid": CROSS, "rule": 'product == "tablet" AND NOT (price > 500 OR price == "free")'},
        62: {"dpid": CROSS, "rule": 'city matcheswords "new york"'},
        63: {"dpid": CROSS, "rule": 'city startswith "San " OR city endswith "ville" OR city matchesregex "^x[0-9]+$"'},
        70: {"dpid": CRM},
        71: {"dpid": CRM},
        80: {"dpid": UUIDS},
    },
}  # fmt: skip


class World:
    """A sandbox, and the folder that it reads."""

    def __init__(self, folder: Path, settings: dict[str, Any] = SETTINGS) -> None:
        self.inbox = folder / "inbox"
        self.folder = folder / "sandbox"
        self.inbox.mkdir(parents=True)
        file = folder / "sandbox.yml"
        file.write_text(yaml.safe_dump(settings))
        with create(self.folder) as store:
            fill(store.connection, read_settings(file, None), package_rules())

    def put(self, name: str, content: str | bytes) -> Path:
        data = content.encode() if isinstance(content, str) else content
        path = self.inbox / name
        path.write_bytes(
            gzip.compress(data, 1) if name.endswith(".gz") and isinstance(content, str) else data
        )
        return path

    def take(self, seed: int | None = None) -> list[dict[str, Any]]:
        """Ingest; the jobs, with their files and samples."""
        with open_store(self.folder) as store:
            return jobs_of(store, self.ingest(store, seed))

    def ingest(self, store: Store, seed: int | None = None) -> Ingested:
        settings = DirectorySettings(type="directory", path=self.inbox, partner_name="any")
        return ingest(store, open_destination("inbox", settings), seed=seed)

    def said(
        self, text: str, mode: str = "sync", dpid: int = CROSS, target: int | None = None
    ) -> dict[str, Any]:
        """A data file of this text is ingested: its job."""
        time = next(TIMES)
        dpids = f"{dpid}" if target is None else f"{dpid}_{target}"
        self.put(f"ftp_dpm_{dpids}_{time}.{mode}.gz", text)
        [job] = self.take()
        return job

    def synced(self, text: str, *dpids: int, prefix: str = "adobe_id") -> dict[str, Any]:
        time = next(TIMES)
        self.put(f"{prefix}_{'_'.join(map(str, dpids))}_{time}.sync.gz", text)
        [job] = self.take()
        return job

    def take_copies(self, paths: Iterable[Path]) -> None:
        """Ingest what was not ingested before, in the order of the names; the files themselves stay as they are."""
        for path in paths:
            if not (self.inbox / f"{path.name}.processed").exists():
                shutil.copy(path, self.inbox)
        for job in self.take():
            assert job["success"] and not job["format_errors"] + job["total_traits_failed_validation"], job

    def rows(self, sql: str) -> list[dict[str, Any]]:
        with open_store(self.folder) as store:
            return store.rows(sql)

    def profiles(self) -> dict[tuple[int, str], set[int]]:
        """Each profile's traits."""
        found: dict[tuple[int, str], set[int]] = {}
        for row in self.rows("select dpid, user_id, sid from profile_traits"):
            of = found.setdefault((row["dpid"], row["user_id"]), set())
            assert row["sid"] not in of
            of.add(row["sid"])
        return found

    def of(self, user_id: str, dpid: int = CROSS) -> set[int]:
        return self.profiles().get((dpid, user_id), set())

    def left(self) -> list[str]:
        return sorted(path.name for path in self.inbox.iterdir())


def jobs_of(store: Store, done: Ingested) -> list[dict[str, Any]]:
    jobs = store.rows("select * from jobs where job_id in (select unnest(?)) order by job_id", [done.jobs])
    for job in jobs:
        job["files"] = store.rows("select * from job_files where job_id = ? order by name", [job["job_id"]])
        job["samples"] = store.rows("select * from job_samples where job_id = ?", [job["job_id"]])
    return jobs


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


# --- Signals [inbound-file-contents] ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("signals", "sids"),
    [
        ("d_sid=24", {24}),
        ("d_sid=24,d_sid=26", {24, 26}),
        ("d_sid=24, d_sid=26", {24, 26}),
        ("d_sid=24 ,d_sid = 26", {24, 26}),
        ('"d_sid"="24"', {24}),
        ("ic=52", {52}),
        ("52", {52}),
        ("30608", {53}),
        ("ic=52,30608,d_sid=24", {24, 52, 53}),
        ('"gender"="female"', {60}),
        ("gender=female", {60}),
        ('"gender"=female', {60}),
        ("gender = female", {60}),
        ("-gender=female", {60}),
        ("Gender=FEMALE", {60}),
        ("product = tablet", {61}),
        ("product=tablet,price=499", {61}),
        ("product=tablet,price=501", set()),
        ("product=tablet,price=free", set()),
        ("price=1", set()),
        ('"city"="New York, NY"', {62}),
        ("city=newer york", set()),
        ("city=San Jose", {63}),
        ("city=Nashville", {63}),
        ("city=X12", {63}),
        ("city=x12a", set()),
        (",,d_sid=24,,", {24}),
        ("d_sid=24,d_sid=24", {24}),
        ("24", set()),  # an integration code that no rule knows
        ("d_sid=28,ic=99", set()),  # rule-based traits are none that files set
        ("d_sid=27", set()),  # of another data source
        ("d_sid=99999", set()),
        ('"d"=",d_sid=24,"', set()),  # commas in quotes
    ],
)
def test_signals(world: World, signals: str, sids: set[int]) -> None:
    world.said(f"u1\t{signals}\n")
    assert world.of("u1") == sids


@pytest.mark.parametrize("removal", ["d_unsid=24", "24:0", "24:-1", "24 : 0", "d_unsid = 24"])
def test_removals(world: World, removal: str) -> None:
    world.said("u1\td_sid=24,d_sid=26\nu2\td_sid=24\n")
    job = world.said(f"u1\t{removal}\n")
    assert world.of("u1") == {26}
    assert world.of("u2") == {24}
    assert (job["total_removed_traits"], job["stored_records"]) == (1, 1)


def test_the_last_word_of_a_trait_counts(world: World) -> None:
    world.said("u1\td_sid=24,d_unsid=24,d_sid=26\nu1\td_unsid=26\nu1\td_sid=26\nu2\td_unsid=24,d_sid=24\n")
    assert (world.of("u1"), world.of("u2")) == ({26}, {24})


def test_a_qualification_is_one_and_keeps_its_time(world: World) -> None:
    world.said("u1\td_sid=24\n")
    since = world.rows("select since, ordinal from profile_traits")
    world.said("u1\td_sid=24,d_sid=24\nu1\td_sid=24\n")
    assert world.rows("select since, ordinal from profile_traits") == since


@pytest.mark.parametrize("listed", [data_job.LISTED, 2])
def test_overwrite_replaces_what_listed_users_have_of_the_target(
    world: World, listed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_job, "LISTED", listed)
    world.said("u1\td_sid=24,ic=52\nu2\td_sid=24\nu3\td_sid=24\n")
    world.said("u1\td_sid=70\n", dpid=CROSS, target=CRM)
    job = world.said("u1\td_sid=26,d_unsid=26\nu1\tgender=female\nu3\nu4\td_sid=24\n", mode="overwrite")
    assert world.profiles() == {
        (CROSS, "u1"): {26, 60, 70},
        (CROSS, "u2"): {24},
        (CROSS, "u4"): {24},
    }
    assert (job["total_removed_traits"], job["total_realized_traits"]) == (3, 3)
    world.said("u1\tsize=L\n", mode="overwrite")  # what realizes nothing replaces all the same
    assert world.of("u1") == {70}


def test_user_ids_match_exactly(world: World) -> None:
    world.said("User1\td_sid=24\nUSER1\td_sid=26\n\u00fcser\td_sid=24\n")
    assert world.profiles() == {(CROSS, "User1"): {24}, (CROSS, "USER1"): {26}, (CROSS, "\u00fcser"): {24}}


def test_partner_files_name_the_id_type_in_each_line(world: World) -> None:
    upper = PHONE.upper()
    world.put(
        f"ftp_dpm_odc_{CROSS}_1700000000.sync",
        f"idfa\t{upper}\t24\nandroid\t{PHONE}\t26,d_sid=24\nIDFA\t{PHONE}\t24\nroku\t{PHONE}\t24\n",
    )
    [job] = world.take()
    assert world.profiles() == {(IDFA, upper): {24}, (GAID, PHONE): {24, 26}}
    assert (job["invalid_device_id"], job["format_errors"], job["stored_records"]) == (1, 1, 2)


def test_device_ids(world: World) -> None:
    world.said(f"{PHONE}\td_sid=24\n{PHONE.upper()}\td_sid=24\n{'0' * 8}-0000-0000-0000-{'0' * 12}\td_sid=24\n",
               dpid=GAID, target=CROSS)  # fmt: skip
    world.said(f"{DEVICE}\td_sid=24\n{'7' * 37}\td_sid=24\n", dpid=0, target=CROSS)
    job = world.said(f"{DEVICE}\td_sid=80\nu1\td_sid=80\n", dpid=UUIDS)
    assert world.profiles() == {(GAID, PHONE): {24}, (0, DEVICE): {24, 80}}
    assert job["invalid_aam_id"] == 1


# --- IDs and their profiles -------------------------------------------------------------------------------------------


def test_unsynced_ids_are_skipped_but_on_cross_device_sources(world: World) -> None:
    job = world.said("u1\td_sid=70\n", dpid=CRM)
    assert (job["no_matching_aam_id"], job["stored_records"]) == (1, 0)
    assert [sample["line"] for sample in job["samples"]] == ["u1\td_sid=70"]
    world.said("u1\td_sid=24\n")
    world.synced(f"{DEVICE}\tu1\n", 0, CRM)
    world.synced(f"{DEVICE}\tu1\n", 0, CROSS)
    world.said("u1\td_sid=71\n", dpid=CRM)
    assert world.profiles() == {(CROSS, "u1"): {24}, (0, DEVICE): {71}}
    with open_store(world.folder) as store:
        assert [trait["sid"] for trait in profile_of(store, 0, DEVICE)["traits"]] == [24, 71]
        assert [trait["sid"] for trait in profile_of(store, CRM, "u1")["traits"]] == [71]
        assert not profile_of(store, CRM, "nobody")["known"]
        with pytest.raises(ConfigError, match="--dpid 4: the sandbox has no such data source; known are 0,"):
            profile_of(store, 4, "u1")


def test_data_of_an_id_goes_to_each_of_its_devices(world: World) -> None:
    world.synced(f"{DEVICE}\tu1\n{'8' * 38}\tu1\n", 0, CRM)
    job = world.said("u1\td_sid=70\n", dpid=CRM)
    assert world.profiles() == {(0, DEVICE): {70}, (0, "8" * 38): {70}}
    assert (job["total_devices"], job["stored_records"], job["total_realized_traits"]) == (2, 1, 2)
    world.said("u1\n", dpid=CRM, mode="overwrite")
    assert world.profiles() == {}


def test_chained_ids(world: World) -> None:
    e_mail, other = "a" * 64, "b" * 64
    # in one ingest, devices come first whatever the names say
    world.put(f"adobe_id_{CRM}_{HASHED}_1600000000.sync", f"u1\t{e_mail}\nu2\t{other}\n")
    world.put(f"adobe_id_{GAID}_{CRM}_1700000000.sync", f"{PHONE}\tu1\n")
    devices, chain = world.take(seed=5)
    assert (devices["stored_records"], chain["stored_records"], chain["no_matching_aam_id"]) == (1, 1, 1)
    job = world.said(f"{e_mail}\td_sid=70\n{other}\td_sid=70\n", dpid=HASHED, target=CRM)
    assert world.profiles() == {(GAID, PHONE): {70}}
    assert job["no_matching_aam_id"] == 1


def test_hashed_emails(world: World) -> None:
    def hashed(number: int) -> str:
        return f"{number:064x}"

    lines = [f"u1\t{hashed(number)}" for number in (*range(10), 3, 10, 11)]
    job = world.synced("\r\n".join([*lines, f"u2\t{hashed(1)[:-1]}", f"{DEVICE}\t{hashed(20)}"]), CRM, HASHED,
                       prefix="c2c_id")  # fmt: skip
    assert (job["records_received"], job["format_errors"], job["stored_records"]) == (15, 3, 12)
    assert {
        row["user_id"] for row in world.rows("select user_id from id_mappings where device_id = 'u1'")
    } == {hashed(number) for number in range(10)}


def test_lines_of_id_syncs(world: World) -> None:
    lines = [f"{DEVICE}\tu1\tv1", f"{DEVICE}\tu1", f"{DEVICE}\tu1\t", f"{DEVICE}\tu1\tv1 ", "u1\tu1\tv1", "",
             f"{DEVICE}\tu:1\tv1", f"{DEVICE}\tu2\tv2", "", ""]  # fmt: skip
    job = world.synced("\r\n".join(lines), 0, CRM, CROSS)
    assert (job["records_received"], job["format_errors"], job["invalid_aam_id"]) == (8, 5, 1)
    assert job["stored_records"] == 2
    assert world.rows("select count(*) as n from id_mappings") == [{"n": 4}]


def test_mapping_limits_let_the_oldest_go(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mappings, "DEVICES_PER_ID", 3)
    monkeypatch.setattr(mappings, "IDS_PER_DEVICE", 2)

    def devices_of(user_id: str) -> set[str]:
        found = world.rows(f"select device_id from id_mappings where user_id = '{user_id}'")
        return {row["device_id"][0] for row in found}

    world.synced("".join(f"{str(number) * 38}\tu1\n" for number in (1, 2, 3)), 0, CRM)
    world.synced(f"{'1' * 38}\tu1\n{'4' * 38}\tu1\n", 0, CRM)  # the first is seen again
    assert devices_of("u1") == {"1", "3", "4"}
    world.synced(f"{'4' * 38}\tu2\n{'4' * 38}\tu3\n{'4' * 38}\tv1\n", 0, CRM)
    world.synced(f"{'4' * 38}\tv1\n", 0, CROSS)  # the limit is one of each data source
    assert (devices_of("u1"), devices_of("u2"), devices_of("u3"), devices_of("v1")) == (
        {"1", "3"}, set(), {"4"}, {"4"})  # fmt: skip


def test_qualifications_past_the_limit(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_job, "QUALIFICATIONS", 2)
    world.said("u1\td_sid=24\nu2\td_sid=24\n")
    world.said("u1\td_sid=26\n")
    world.said("u1\tic=52\n")
    assert (world.of("u1"), world.of("u2")) == ({26, 52}, {24})


# --- Receipts ---------------------------------------------------------------------------------------------------------


def test_a_receipt_counted_by_hand(world: World) -> None:
    """Each kind of error once, or twice where it matters."""
    world.synced(f"{DEVICE}\tknown\n", 0, CRM)
    long = "d_sid=70," * 11_400
    lines = [
        "known\td_sid=70,d_sid=71",  # stored: 2 signals, 2 realized
        "unknown\td_sid=70,size=L",  # no matching: 2 signals, 1 unused
        "known\tsize=L",  # no trait realized: 1 signal, 1 unused
        "known\td_sid=24,d_sid=70",  # stored, and a trait fails validation: 2 signals
        "known\td_sid=24,d_sid=26,d_sid=12345",  # three fail, and no trait is realized: 3 signals
        "known\td_unsid=71",  # stored: 1 signal; 71 comes to nothing, for it is new
        "known",  # format: no signals
        "known\t",  # format
        "known\t,,",  # format
        "\td_sid=70",  # format: no ID
        "kno:wn\td_sid=70",  # format
        "kno%3awn\td_sid=70",  # format
        "known\td_sid=70\td_sid=71",  # format: a TAB too many
        'known\t"size"="L',  # format: a quote is open
        "known\td_sid=gold",  # format
        "known\tgold",  # format: no signal
        f"known\t{long}",  # format: more than 102,400 bytes
        "",  # format: a blank line
        "known\td_sid=70,,d_sid=71",  # stored: 2 signals
        "",
    ]
    data = "\r\n".join(lines).encode() + b"\nkn\xffown\td_sid=70\n\n\n"  # format: no UTF-8
    path = world.put(f"ftp_dpm_{CRM}_1700000000.sync", data)
    [job] = world.take()
    counted = {
        "Records received": 21,
        "Format Errors": 14,
        "Invalid AAM ID": 0,
        "No Matching AAM ID": 1,
        "No Trait Realized": 2,
        "Records processed": 21,
        "Stored Records": 4,
        "Total devices": 1,
        "Total signals": 13,
        "Total unused signals": 2,
        "Total realized traits": 2,
        "Total removed traits": 0,
        "Total traits failed validation": 4,
        "Total users that have traits which failed validation": 1,
    }
    mail = (world.folder / "receipts" / f"{job['job_id']:06}.eml").read_text()
    assert re.search(
        "^Subject: Adobe Audience Manager Server-To-Server Processing Result:$", mail, re.MULTILINE
    )
    body = mail.partition("\n\n")[2].splitlines()
    start = body.index("File name:")
    assert body[start + 1] == path.as_uri()
    told = [line.partition(": ") for line in body[start + 2 :]]
    assert [(label, value) for label, _, value in told[:-2]] == [
        (label, str(count)) for label, count in counted.items()
    ]
    assert [label for label, _, _ in told[-2:]] == ["Job start time", "Job end time"]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", value) for _, _, value in told[-2:])
    samples = [(one["error"], one["line_number"]) for one in job["samples"]]
    numbers = {error: [number for of, number in samples if of == error] for error, _ in samples}
    assert numbers == {
        "format_errors": [7, 8, 9, 10, 11, 12, 13, 14, 15, 16],  # ten of them
        "no_matching_aam_id": [2],
        "no_trait_realized": [3, 5],
        "total_traits_failed_validation": [4, 5],
    }
    assert world.of(DEVICE, 0) == {70, 71}


def test_lines_of_a_user_past_200_are_discarded(world: World) -> None:
    lines = [f"u1\tx={number}" for number in range(199)] + ["u1\td_sid=24", "u2\td_sid=24", "u1\td_sid=26"]
    job = world.said("\n".join(lines))
    assert world.profiles() == {(CROSS, "u1"): {24}, (CROSS, "u2"): {24}}
    assert (job["format_errors"], job["no_trait_realized"]) == (1, 199)
    world.put(f"ftp_dpm_{CROSS}_1700000000.sync.1", "\n".join(lines[:200]))
    world.put(f"ftp_dpm_{CROSS}_1700000000.sync.2", "u1\td_sid=26")  # 200 of a file
    [job] = world.take()
    assert (job["format_errors"], len(job["files"])) == (0, 2)
    assert world.of("u1") == {24, 26}


def test_splits_are_one_job_but_a_seed_may_part_them(world: World) -> None:
    names = [f"ftp_dpm_{CROSS}_1700000000.overwrite.{number}.gz" for number in range(1, 9)]

    def put() -> None:
        for name in names:
            (world.inbox / f"{name}.processed").unlink(missing_ok=True)
            world.put(name, f"u{name}\td_sid=24\n")

    put()
    assert [len(job["files"]) for job in world.take()] == [8]
    with open_store(world.folder) as store:
        store.connection.execute("delete from job_files")
    put()
    apart = world.take(seed=1)
    assert 1 < len(apart) <= 8
    assert [file["name"] for job in apart for file in job["files"]] != names


# --- Files that are none ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("ftp_dpm_999_1700000000.sync", b"u1\td_sid=24\n", "there is no data source 999"),
        (f"ftp_dpm_{GAID}_1700000000.sync", b"u1\td_sid=24\n", "20914 is a global data source"),
        (f"ftp_dpm_{CRM}_{OTHERS}_1700000000.sync", b"u1\td_sid=27\n", "61207 belongs to somebody else"),
        ("adobe_id_0_999_1700000000.sync", b"u1\tu2\n", "there is no data source 999"),
        (f"adobe_id_{CRM}_0_1700000000.sync", b"u1\tu2\n", "the first column holds device IDs"),
        (f"ftp_dpm_{CROSS}_1700000000.sync", b"", "the file is empty"),
        (f"ftp_dpm_{CROSS}_1700000000.sync", b"\n\r\n\n", "the file has no lines"),
        (f"ftp_dpm_{CROSS}_1700000000.sync.gz", b"", "the file is empty"),
        (f"ftp_dpm_{CROSS}_1700000000.sync.gz", b"u1\td_sid=24\n", "the name says gzip, the content is none"),
        (f"ftp_dpm_{CROSS}_1700000000.sync.gz", gzip.compress(b"u1\td_sid=24\n" * 9, mtime=0)[:-9], "gzip is broken"),
        (f"ftp_dpm_{CROSS}_1700000000.sync", gzip.compress(b"u1\td_sid=24\n", mtime=0), "the name does not say so"),
        (f"ftp_dpm_{CROSS}_1700000000.sync.gz.gpg", b"u1\td_sid=24\n", "gzip or PGP, never both"),
        (f"ftp_dpm_{CROSS}_17000000000.sync", b"u1\td_sid=24\n", "timestamp `17000000000` has 11 digits"),
        ("FTP_dpm_1_1700000000.sync", b"u1\td_sid=24\n", "is not in lower case"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_processed_is_deleted(
    world: World, name: str, content: bytes, problem: str
) -> None:
    world.put(name, content)
    [job] = world.take()
    [file] = job["files"]
    assert problem in file["problem"]
    assert (file["outcome"], job["success"], job["records_received"]) == ("deleted", False, 0)
    assert world.left() == []
    assert world.profiles() == {}
    assert problem in (world.folder / "receipts" / f"{job['job_id']:06}.eml").read_text()
    assert world.take() == []


def test_the_other_splits_of_a_broken_one_are_processed(world: World) -> None:
    world.put(f"ftp_dpm_{CROSS}_1700000000.sync.1.gz", "u1\td_sid=24\n")
    world.put(f"ftp_dpm_{CROSS}_1700000000.sync.2.gz", gzip.compress(b"u2\td_sid=24\n" * 999)[:-20])
    world.put(f"ftp_dpm_{CROSS}_1700000000.sync.3.gz", "u3\td_sid=2\n")
    [job] = world.take()
    assert [file["outcome"] for file in job["files"]] == ["processed", "deleted", "processed"]
    assert (job["success"], job["records_received"], job["stored_records"]) == (True, 2, 1)
    assert {(one["error"], one["file"][-4], one["line_number"]) for one in job["samples"]} == {
        ("no_trait_realized", "3", 1), ("total_traits_failed_validation", "3", 1), ("file", "2", None)
    }  # fmt: skip
    assert world.profiles() == {(CROSS, "u1"): {24}}


def test_what_is_on_its_way_or_somebody_elses_stays(world: World) -> None:
    name = f"ftp_dpm_{CROSS}_1700000000"
    names = [
        f".{name}.sync.0123456789abcdef.part",
        f".{name}.sync",
        f"{name}.processed",
        f"{name}.sync.gz.processed",
        "n",
    ]
    for one in names:
        world.put(one, b"u1\td_sid=24\n")
    assert world.take() == []
    assert world.left() == sorted(names)


@pytest.mark.skipif(shutil.which("gpg") is None, reason="needs gpg (apt-get install gnupg)")
def test_pgp(world: World, tmp_path: Path) -> None:
    name = f"ftp_dpm_{CROSS}_1700000000.sync.gpg"
    # Not pytest's folder: the agent's socket may not have a long path.
    with tempfile.TemporaryDirectory(prefix="keys-") as folder:
        keys = Keyring(Path(folder))
        keys.gpg("--quick-gen-key", "Adobe <adobe@example.com>", "ed25519", "cert,sign", "never")
        keys.gpg("--quick-add-key", keys.fingerprint("adobe@"), "cv25519", "encr", "never")

        def put(number: int, data: bytes) -> None:
            plain = tmp_path / "plain"
            plain.write_bytes(data)
            file = world.inbox / f"ftp_dpm_{CROSS}_170000000{number}.sync.gpg"
            keys.gpg(
                "--trust-model", "always", "-r", "adobe@", "--output", str(file), "--encrypt", str(plain)
            )

        put(0, b"u1\td_sid=24\n")
        with open_store(world.folder) as store:
            [(file, problem)] = world.ingest(store).left
            store.connection.execute("update sandbox set gnupg_home = ?", [folder])
        assert (file, world.left(), world.rows("from jobs")) == (name, [name], [])
        assert "`gnupg_home`" in problem
        put(1, gzip.compress(b"u1\td_sid=26\n"))
        world.put(f"ftp_dpm_{CROSS}_1700000002.sync.pgp", b"u1\td_sid=26\n")
        problems = [file["problem"] for job in world.take() for file in job["files"]]
        assert problems[0] is None
        assert "gzip within PGP" in problems[1]
        assert "gpg can't decrypt it" in problems[2]
        assert world.profiles() == {(CROSS, "u1"): {24}}
        subprocess.run(["gpgconf", "--homedir", folder, "--kill", "all"], check=True)


# --- Killed -----------------------------------------------------------------------------------------------------------

_KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[3])
from pathlib import Path
from test_sandbox_ingest import World
from aam_sandbox import ingest, store
world = World.__new__(World)
world.inbox, world.folder = Path(sys.argv[1]) / "inbox", Path(sys.argv[1]) / "sandbox"
left = int(sys.argv[2])

def step(*arguments, **more):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

def around(owner, name):
    real = getattr(owner, name)
    def acting(*arguments, **more):
        step()
        found = real(*arguments, **more)
        step()
        return found
    setattr(owner, name, acting)

class Connection:
    def __init__(self, real):
        self._real = real
    def execute(self, *arguments):
        step()
        return self._real.execute(*arguments)
    def __getattr__(self, name):
        return getattr(self._real, name)

around(ingest, "write_receipts")
around(ingest, "_put_away")
real = store.Store.__init__
def init(self, folder, connection):
    real(self, folder, Connection(connection))
store.Store.__init__ = init
world.take(seed=1)
print(left)
"""


@pytest.mark.soak
def test_killed_anywhere_and_run_again_gives_the_same(world: World, tmp_path: Path) -> None:
    def prepared(folder: Path) -> World:
        made = World(folder)
        made.put(f"adobe_id_0_{CRM}_1700000000.sync", f"{DEVICE}\tu1\n")
        made.put(f"ftp_dpm_{CRM}_1700000000.sync", "u1\td_sid=70\n")
        made.put(f"ftp_dpm_{CROSS}_1700000000.overwrite.gz", "u1\td_sid=24\nu2\tic=52\n")
        made.put(f"ftp_dpm_{CROSS}_1700000001.sync.gz", b"no gzip")
        return made

    def facts(of: World) -> Any:
        jobs = of.rows(
            "select kind, dpid, mode, success, records_received, stored_records from jobs order by all"
        )
        return (
            of.profiles(),
            of.left(),
            jobs,
            sorted(path.name for path in (of.folder / "receipts").iterdir()),
        )

    whole = prepared(tmp_path / "whole")
    whole.take(seed=1)
    for at in range(1, 1000, 71 if SOAK == 1 else 3):
        killed = prepared(tmp_path / f"at_{at}")
        command = [sys.executable, "-c", _KILLED, killed.inbox.parent, str(at), str(Path(__file__).parent)]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        assert ended.returncode in (0, -signal.SIGKILL), ended.stderr
        killed.take(seed=1)
        assert facts(killed) == facts(whole), at
        if ended.returncode == 0:
            break
    else:
        pytest.fail("it never came to its end")


# --- Settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"traits": {24: {"dpid": CROSS, "rule": "ic = 3"}}}, "`ic = 3`.*character 4: no such operator"),
        ({"traits": {24: {"dpid": 1}}}, r"traits\.24\.dpid: there is no data source 1"),
        ({"segments": {7: {"rule": "24 AND"}}}, r"segments\.7\.rule: .*character 7: "),
        ({"segments": {7: {"rule": "24 AND 1"}}}, r"segments\.7\.rule: there is no trait 1"),
        ({"data_sources": {0: {}}}, "global data source of aam_uuid"),
        ({"data_sources": {CROSS: {"id_type": "cookie"}}}, "cookie is no id type; known are aam_uuid"),
        ({"destinations": {1: {"mappings": [5]}}}, "destinations.1.mappings: there is no segment or trait 5"),
        ({"destinations": {1: {"layout": {"kind": "x"}}}}, "destinations.1.layout.kind"),
        ({"trait": {}}, "trait: no such setting; is it misspelt?"),
    ],
)  # fmt: skip
def test_settings_that_can_not_be(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    file = tmp_path / "sandbox.yml"
    file.write_text(yaml.safe_dump({"data_sources": {CROSS: {}}, "traits": {24: {"dpid": CROSS}}} | change))
    with pytest.raises(ConfigError, match=message):
        read_settings(file, None)


def test_a_sandbox_that_is_there_is_not_made_again(world: World) -> None:
    with pytest.raises(ConfigError, match="has a sandbox already"), create(world.folder):
        pass
    with pytest.raises(ConfigError, match="has no sandbox; make one"), open_store(world.inbox):
        pass
    holding = subprocess.Popen(
        [sys.executable, "-c", "import duckdb, sys; held = duckdb.connect(sys.argv[1]); print(1, flush=True); input()",
         world.folder / "sandbox.duckdb"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert holding.stdout and holding.stdout.readline()
    with (
        pytest.raises(AamError, match="another process has the sandbox open") as found,
        open_store(world.folder),
    ):
        pass
    assert found.value.exit_code == 4
    holding.communicate(b"\n")


# --- The command line -------------------------------------------------------------------------------------------------


def test_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "of_us.yml").write_text(yaml.safe_dump(SETTINGS))
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    (inbox / f"ftp_dpm_{CROSS}_1700000000.sync").write_text("u1\td_sid=24\nu2\td_sid=24,ic=52\n")

    def call(*arguments: str, code: int = 0) -> Any:
        done = CliRunner().invoke(app, [*arguments, "--json"])
        assert done.exit_code == code, (done.output, done.exception)
        return json.loads(done.stdout)

    def refused(*arguments: str) -> str:
        found = CliRunner().invoke(app, arguments).exception
        assert isinstance(found, ConfigError), found
        return str(found)

    assert "nothing says what the sandbox is of" in refused("init")
    assert "nothing.yml: no such file" in refused("init", "nothing.yml")
    assert "has no sandbox; make one" in refused("ingest", "--from", "./inbox")
    assert "5 data sources, 13 traits" in CliRunner().invoke(app, ["init", "of_us.yml"]).stdout
    assert "has a sandbox already" in refused("init", "of_us.yml")
    assert "there is no such folder" in refused("ingest", "--from", "./nowhere")
    assert "give an output of destinations.yml" in refused("ingest", "--from", "nowhere")

    [job] = call("ingest", "--from", "inbox", "--seed", "3")["jobs"]
    assert (job["stored_records"], job["files"][0]["outcome"]) == (2, "processed")
    assert Path(job["receipt"]).is_file()
    assert call("ingest", "--from", "inbox") == {"ok": True, "jobs": [], "left": [], "finished": []}
    assert [trait["sid"] for trait in call("profile", "--dpid", str(CROSS), "--id", "u2")["traits"]] == [
        24,
        52,
    ]
    sizes = call("sizes", "--dpid", str(CROSS))["traits"]
    assert [(size["sid"], size["users"]) for size in sizes] == [(24, 2), (52, 1)]
    (inbox / f"ftp_dpm_{CROSS}_1700000001.sync").write_bytes(b"")
    told = call("ingest", "--from", "inbox", code=1)
    assert not told["ok"]
    assert told["jobs"][0]["files"][0]["problem"] == "the file is empty"


def test_files_wait_where_the_project_delivers_them() -> None:
    inbox, prefix = _inbox(None, DEMO)
    assert (inbox.name, prefix) == ("local", "demo_partner/")
    inbox.close()
    for output in ("production", "beta"):
        with pytest.raises(ConfigError, match=f"--from {output}: this output is Adobe's own place"):
            _inbox(output, DEMO)


def test_files_wait_in_a_bucket(world: World, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in AWS.items():
        monkeypatch.setenv(name, value)
    key = f"p/date=2026-11-25/ftp_dpm_{CROSS}_1700000000.sync"
    bucket.client.put_object(Bucket=bucket.name, Key=f"{key}.1.gz", Body=gzip.compress(b"u1\td_sid=24\n"))
    bucket.client.put_object(Bucket=bucket.name, Key=f"{key}.2.gz", Body=b"no gzip")
    inbox = open_destination("s3", parse_destination("s3", {**bucket.settings, "partner_name": "p"}))
    with open_store(world.folder) as store:
        [job] = jobs_of(store, ingest(store, inbox, "p/"))
    inbox.close()
    assert [file["outcome"] for file in job["files"]] == ["processed", "deleted"]
    assert bucket.stored() == [f"{key}.1.gz.processed"]
    assert world.profiles() == {(CROSS, "u1"): {24}}
