"""`aam sandbox export`: outbound files as Audience Manager's pages show them."""

import gzip
import hashlib
import json
import random
import re
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import pytest
import sandboxes
from conftest import AWS
from sandboxes import (
    ADULT,
    ANYONE_ELSE,
    BUYER,
    CRM,
    DESTINATION,
    DEVICES,
    LOYALTY,
    PAUSED,
    READER,
    READERS_NOT_BUYERS,
    VISITOR,
    map_ids,
    map_to_destination,
    set_destination,
    set_traits,
    uuid,
)
from typer.testing import CliRunner, Result

from aam_onboard.destinations import open_destination, parse_destination
from aam_onboard.errors import ConfigError, DeliveryError
from aam_sandbox.cli import app
from aam_sandbox.export import Exported, Weakness, export, put_at, put_into
from aam_sandbox.outbound import Layout, OutboundRoot
from aam_sandbox.segments import SegmentRuleError, fill_memberships, parse_segment_rule
from aam_sandbox.store import Store

if TYPE_CHECKING:
    from conftest import Bucket

AT = datetime(2026, 11, 25, 14, 0, 0, 123456, tzinfo=timezone.utc)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """`ann` reads, `bob` reads and buys, `cyd` does neither; `ann` and `bob` are adults."""
    with sandboxes.sandbox(tmp_path / "sandbox") as store:
        map_ids(store, ("ann", 1), ("bob", 2), ("cyd", 3))
        set_traits(store, 1, READER, ADULT)
        set_traits(store, 2, READER, BUYER, ADULT)
        set_destination(store, gzip=False)
        map_to_destination(store, READERS_NOT_BUYERS, ANYONE_ELSE, PAUSED, ADULT)
        yield store


def sent(
    store: Store, folder: Path, mode: Any = "full", at: datetime = AT, **weakness: Any
) -> dict[str, str]:
    """The files of an export and their texts."""
    done = export(store, DESTINATION, mode, put_into(folder), at=at, weakness=Weakness(**weakness))
    return {key: text_of(folder / key) for key in done.keys}


def text_of(file: Path) -> str:
    content = file.read_bytes()
    return (gzip.decompress(content) if file.suffix == ".gz" else content).decode()


def lines_of(files: dict[str, str]) -> list[str]:
    return [line for key, text in files.items() if not key.endswith(".info") for line in text.splitlines()]


STANDARD = [f"ann {READERS_NOT_BUYERS},{ADULT}", f"bob {ADULT}", f"cyd {ANYONE_ELSE}"]
MILLISECONDS = 1795608000000  # 2026-11-25 12:00
NOW = r"1[0-9]{12}"


@pytest.mark.parametrize(
    ("layout", "expected"),
    [
        ({}, STANDARD),
        ({"separator": "two_spaces"}, [line.replace(" ", "  ") for line in STANDARD]),
        ({"separator": "tab"}, [line.replace(" ", "\t") for line in STANDARD]),
        ({"separator": "soh"}, [line.replace(" ", "\x01") for line in STANDARD]),
        ({"list_separator": "|"}, [line.replace(",", "|") for line in STANDARD]),
        ({"header": ["#ID SEGMENTS", ""]}, ["#ID SEGMENTS", "", *STANDARD]),
        ({"kind": "traits"}, [line.replace(" ", "\t") for line in STANDARD]),
        ({"id": "uuid"}, [
            line.replace("ann", uuid(1)).replace("bob", uuid(2)).replace("cyd", uuid(3)) for line in STANDARD
        ]),
        ({"token": "alias"}, [f"ann {READERS_NOT_BUYERS},grown-up", "bob grown-up", f"cyd {ANYONE_ELSE}"]),
        ({"kind": "items"}, [
            f"ann\t5,{READERS_NOT_BUYERS},1,{MILLISECONDS}&10,{ADULT},1,{MILLISECONDS}",
            f"bob\t10,{ADULT},1,{MILLISECONDS}",
            f"cyd\t5,{ANYONE_ELSE},1,{NOW}",
        ]),
        ({"kind": "items", "item_fields": ["sid", "type"], "list_separator": ";", "separator": "space"}, [
            f"ann {READERS_NOT_BUYERS},5;{ADULT},10", f"bob {ADULT},10", f"cyd {ANYONE_ELSE},5",
        ]),
        ({"kind": "json_lines"}, [
            f'{{"DP_UUID":"ann","Data":[{{"Name":"{READERS_NOT_BUYERS}"}},{{"Name":"{ADULT}"}}]}}',
            f'{{"DP_UUID":"bob","Data":[{{"Name":"{ADULT}"}}]}}',
            f'{{"DP_UUID":"cyd","Data":[{{"Name":"{ANYONE_ELSE}"}}]}}',
        ]),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else None,
)  # fmt: skip
def test_lines_of_a_layout(store: Store, tmp_path: Path, layout: dict[str, Any], expected: list[str]) -> None:
    map_to_destination(store, READERS_NOT_BUYERS, ANYONE_ELSE, PAUSED, **{"grown-up": ADULT})
    set_destination(store, gzip=False, **layout)
    lines = lines_of(sent(store, tmp_path))
    for line, wanted in zip(lines, expected, strict=True):
        assert re.fullmatch(re.escape(wanted).replace(re.escape(NOW), NOW), line)


@pytest.mark.parametrize(
    ("layout", "expected"),
    [
        ({}, [f"ann  {READERS_NOT_BUYERS}", f"bob {READERS_NOT_BUYERS}", f"cyd {ADULT} {ANYONE_ELSE}"]),
        ({"separator": "two_spaces"}, [
            f"ann    {READERS_NOT_BUYERS}", f"bob  {READERS_NOT_BUYERS}", f"cyd  {ADULT}  {ANYONE_ELSE}",
        ]),
        ({"removals": False}, [f"bob {READERS_NOT_BUYERS}", f"cyd {ADULT}"]),
        ({"kind": "traits"}, [f"bob\t{READERS_NOT_BUYERS}", f"cyd\t{ADULT}"]),
        ({"kind": "items", "item_fields": ["type", "sid"]}, [
            f"ann\t\t5,{READERS_NOT_BUYERS}",
            f"bob\t5,{READERS_NOT_BUYERS}",
            f"cyd\t10,{ADULT}\t5,{ANYONE_ELSE}",
        ]),
        ({"kind": "json_lines", "id_key": "ID", "token_key": "S"}, [
            f'{{"ID":"ann","Data":[{{"S":"{READERS_NOT_BUYERS}","TtlInMinutes":0}}]}}',
            f'{{"ID":"bob","Data":[{{"S":"{READERS_NOT_BUYERS}"}}]}}',
            f'{{"ID":"cyd","Data":[{{"S":"{ADULT}"}},{{"S":"{ANYONE_ELSE}","TtlInMinutes":0}}]}}',
        ]),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else None,
)  # fmt: skip
def test_an_iter_is_the_difference_to_the_last_export(
    store: Store, tmp_path: Path, layout: dict[str, Any], expected: list[str]
) -> None:
    set_destination(store, gzip=False, **layout)
    sent(store, tmp_path)
    set_traits(store, 1, READER, BUYER, ADULT)  # ann buys, bob no longer, cyd grows up and reads
    set_traits(store, 2, READER, ADULT)
    set_traits(store, 3, BUYER, ADULT)
    assert lines_of(sent(store, tmp_path, "iter")) == expected
    assert lines_of(sent(store, tmp_path, "iter")) == []
    assert len(lines_of(sent(store, tmp_path, "full"))) == 3


@pytest.mark.parametrize("seed", range(3))
def test_iters_after_a_full_add_up_to_what_is_so(store: Store, tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    set_destination(store, separator="tab", lines_per_file=2)
    believed: set[tuple[str, str]] = set()
    for step in range(5):
        for device in (1, 2, 3):
            set_traits(store, device, *(sid for sid in (ADULT, READER, BUYER) if chance.random() < 0.5))
        mode = "iter" if step and chance.random() < 0.8 else "full"
        if mode == "full":
            believed.clear()
        for line in lines_of(sent(store, tmp_path, mode)):
            user, members, removed = [*line.split("\t"), ""][:3]
            believed -= {(user, sid) for sid in removed.split(",")}
            believed |= {(user, sid) for sid in members.split(",") if sid}
        rows = store.rows("select user_id, sid from exported_memberships")
        assert believed == {(row["user_id"], str(row["sid"])) for row in rows}


@pytest.mark.parametrize(
    ("layout", "parts", "names"),
    [
        ({}, 1, ["s3_4411_20914_iter_1795615200123.sync.gz"]),
        ({}, 2, ["s3_4411_20914_iter_1795615200123001.sync.gz", "s3_4411_20914_iter_1795615200123002.sync.gz"]),
        ({"split": "bare_first"}, 3, [
            "s3_4411_20914_iter_1795615200123.sync.gz",
            "s3_4411_20914_iter_1795615200123001.sync.gz",
            "s3_4411_20914_iter_1795615200123002.sync.gz",
        ]),
        ({"split": "dash", "gzip": False}, 2, [
            "s3_4411_20914_iter_1795615200123-1.sync", "s3_4411_20914_iter_1795615200123-2.sync",
        ]),
        ({"pid_alias": "Acme_Ads"}, 1, ["s3_4411_20914_Acme_Ads_iter_1795615200123.sync.gz"]),
        ({"sync_type": "S3", "extension": "csv"}, 1, ["S3_4411_20914_iter_1795615200123.csv.gz"]),
        ({"sync_type": "ftp", "name_dpid": 888, "time_digits": 10, "gzip": False}, 1, [
            "ftp_4411_888_20914_iter_1795615200.sync",
        ]),
        ({"time_digits": 14, "name_master": False}, 2, [
            "s3_4411_iter_20261125140000001.sync.gz", "s3_4411_iter_20261125140000002.sync.gz",
        ]),
        ({"sync_type": None, "name_destination": False, "name_master": False}, 1, ["iter_1795615200123.sync.gz"]),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else None,
)  # fmt: skip
def test_names(layout: dict[str, Any], parts: int, names: list[str]) -> None:
    root = OutboundRoot(Layout(**layout), DESTINATION, 20914, "iter", AT)
    assert [root.file(part, parts) for part in range(1, parts + 1)] == names
    assert names[0].startswith(root.info.removesuffix(".info"))


@pytest.mark.parametrize(("digits", "step"), [(13, 1), (10, 1), (14, 1)])
def test_no_name_is_used_twice(store: Store, tmp_path: Path, digits: int, step: int) -> None:
    set_destination(store, time_digits=digits)
    first, second = (next(iter(sent(store, tmp_path))) for _ in range(2))
    assert int(re.findall("[0-9]{10,}", second)[0]) - int(re.findall("[0-9]{10,}", first)[0]) == step


@pytest.mark.parametrize("info", ["json", "bare_keys"])
@pytest.mark.parametrize("gz", [True, False])
def test_the_info_says_what_the_files_are(store: Store, tmp_path: Path, info: str, gz: bool) -> None:
    set_destination(store, lines_per_file=2, header=["#ID", ""], info=info, gzip=gz, prefix="out/daily")
    files = sent(store, tmp_path)
    [*names, control] = [key.removeprefix("out/daily/") for key in files]
    text = files[f"out/daily/{control}"]
    if info == "bare_keys":
        assert re.search(r"^\s*Totals : \{$", text, re.MULTILINE)
        assert '"Totals"' not in text
        text = re.sub(r"(\w+) :", r'"\1" :', text)
    said = json.loads(text)
    for number, (name, found) in enumerate(zip(names, said["Files"], strict=True), start=1):
        content = (tmp_path / "out/daily" / name).read_bytes()
        assert found == {
            "FileName": name,
            "FileSequenceNumber": number,
            "FileByteSize": len(content),
            "FileLineCount": len(files[f"out/daily/{name}"].splitlines()),
            "md5": hashlib.md5(content).hexdigest(),
        }
    assert said["Totals"] == {
        "FileName": control.replace(".info", ".sync"),
        "TotalByteSize": sum(file["FileByteSize"] for file in said["Files"]),
        "TotalNumberFiles": 2,
        "TotalNumberLines": 2 + 2 + 2 + 1,
    }


def test_the_digest_can_be_that_of_the_text(store: Store, tmp_path: Path) -> None:
    set_destination(store, info="json", info_md5="text")
    [(_, text), (_, info)] = sent(store, tmp_path).items()
    assert json.loads(info)["Files"][0]["md5"] == hashlib.md5(text.encode()).hexdigest()


def test_weaknesses(store: Store, tmp_path: Path) -> None:
    set_destination(store, lines_per_file=1)
    root = "s3_4411_58342_full_17956152001"
    assert [key[len(root) :] for key in sent(store, tmp_path, info_first=True)] == [
        "23.info", "23001.sync.gz", "23002.sync.gz", "23003.sync.gz"
    ]  # fmt: skip
    files = sent(store, tmp_path, without_part=2)
    assert [key[len(root) :] for key in files] == ["24001.sync.gz", "24003.sync.gz", "24.info"]
    assert '"s3_4411_58342_full_1795615200124002.sync.gz"' in files[f"{root}24.info"]
    assert not any(key.endswith(".info") for key in sent(store, tmp_path, without_info=True))
    with pytest.raises(ConfigError, match=r"--without-part 4: this export has 3 part"):
        sent(store, tmp_path, without_part=4)


def test_an_export_without_a_change_is_an_empty_file(store: Store, tmp_path: Path) -> None:
    sent(store, tmp_path)
    [(_, text), (_, info)] = sent(store, tmp_path, "iter").items()
    assert text == ""
    assert "TotalNumberFiles : 1" in info
    assert "TotalNumberLines : 0" in info


def test_the_outbound_history(store: Store, tmp_path: Path) -> None:
    set_destination(store, lines_per_file=2)
    sent(store, tmp_path)
    rows = store.rows("select * from exports order by export_id")
    assert [(row["export_id"], row["mode"], row["received_records"]) for row in rows] == [
        (1, "full", 2),
        (2, "full", 1),
    ]
    assert rows[0]["file_name"] == "s3_4411_58342_full_1795615200123001.sync.gz"
    assert all(row["success"] and row["started_at"] <= row["ended_at"] for row in rows)


def test_a_failed_export_changes_nothing(store: Store, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(DeliveryError, match=r"taken/s3_4411.* can't be written: "):
        sent(store, tmp_path / "taken")
    assert store.value("select count(*) from exports") == 0
    assert len(lines_of(sent(store, tmp_path, "iter"))) == 3


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("delete from destinations", "destination 4411 is unknown; the sandbox has none"),
        ("update destinations set destination_id = 7", "destination 4411 is unknown; there are 7"),
        ("delete from destination_mappings", "destination 4411 has no segment or trait mapped"),
        ("update destinations set master_dpid = null", "destination 4411 has no master_dpid"),
        ('update destinations set settings = \'{"kind": "xml"}\'', "destination 4411: kind: `xml`"),
        (
            f'update destinations set settings = \'{{"pid_alias": "{"x" * 250}"}}\'',
            "destination 4411: its files' names are too long",
        ),
        (
            f"update segments set rule = '{READER} AND' where sid = {ANYONE_ELSE}",
            "character 9: a trait ID, NOT",
        ),
    ],
)
def test_what_can_not_be_exported(store: Store, tmp_path: Path, change: str, said: str) -> None:
    store.connection.execute(change)
    with pytest.raises(ConfigError, match=said):
        sent(store, tmp_path)


@pytest.mark.parametrize(
    "bad", [{"prefix": "../x"}, {"prefix": "/x"}, {"pid_alias": "a/b"}, {"time_digits": 12}]
)
def test_what_a_layout_can_not_be(store: Store, tmp_path: Path, bad: dict[str, Any]) -> None:
    set_destination(store, **bad)
    with pytest.raises(ConfigError, match=f"destination 4411: .*{next(iter(bad))}"):
        sent(store, tmp_path)


def members(store: Store, dpid: int, sid: int) -> set[str]:
    fill_memberships(store.connection, dpid, "values (?::bigint)", [sid])
    return {row["user_id"] for row in store.rows("select user_id from memberships")}


def test_who_is_in_a_segment(store: Store) -> None:
    """A customer's ID is in what it has itself and its devices have, a device in a cross-device source's too."""
    set_traits(store, 4, READER)
    map_ids(store, ("ann", 4), ("bob", 4))
    store.connection.execute(
        f"insert into id_mappings values ({LOYALTY}, 'card-3', 0, '{uuid(3)}', 9);"
        f"insert into qualifications values ({LOYALTY}, 'card-3', [{READER}], null, 1),"
        f" ({LOYALTY}, 'card-9', [{READER}], null, 1)"
    )
    assert members(store, CRM, READERS_NOT_BUYERS) == {"ann"}
    assert members(store, DEVICES, READERS_NOT_BUYERS) == {uuid(1), uuid(3), uuid(4)}
    assert members(store, LOYALTY, READERS_NOT_BUYERS) == {"card-3", "card-9"}
    assert members(store, CRM, ANYONE_ELSE) == {"cyd"}
    assert members(store, CRM, READER) == {"ann", "bob"}
    assert members(store, CRM, PAUSED) == members(store, CRM, VISITOR) == members(store, 1, READER) == set()


@pytest.mark.parametrize(
    ("rule", "condition"),
    [
        ("12", "12"),
        ("12T and 13t", "(12 and 13)"),
        ("1 AND 2 OR 3 AND NOT 4", "((1 and 2) or (3 and (not 4)))"),
        ("(1 OR 2) AND NOT(3)", "((1 or 2) and (not 3))"),
        ("NOT NOT 1", "(not (not 1))"),
    ],
)
def test_segment_rules(rule: str, condition: str) -> None:
    assert re.sub(r"map_contains\(traits, ([0-9]+)\)", r"\1", parse_segment_rule(rule).condition) == condition


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("", "character 1: a trait ID, NOT or a parenthesis stands there"),
        ("12 AND ", "character 8: a trait ID"),
        ("12 13", "character 4: AND, OR or the end"),
        ("(12 OR 13", "character 10: a closing parenthesis is missing"),
        ("12 OR 13)", "character 9: AND, OR or the end"),
        ("12 && 13", "character 4: only trait IDs"),
        ("12; drop table traits", "character 3: only trait IDs"),
        ("12 AND 9999999999999999999", "character 8: only trait IDs"),
        ("ic == 4", "character 1: only trait IDs"),
        ("(" * 500, "character 101: more than 100 levels"),
    ],
)
def test_broken_segment_rules(rule: str, said: str) -> None:
    with pytest.raises(SegmentRuleError, match=re.escape(said)):
        parse_segment_rule(rule)


def test_the_record_of_an_export(store: Store, tmp_path: Path) -> None:
    done = export(store, DESTINATION, "full", put_into(tmp_path), at=AT)
    assert isinstance(done, Exported)
    assert (done.users, done.info) == (3, "s3_4411_58342_full_1795615200123.info")


def test_an_export_to_a_bucket(store: Store, bucket: "Bucket", monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in AWS.items():
        monkeypatch.setenv(name, value)
    set_destination(store, lines_per_file=2, prefix="outbound/daily")
    raw = {"type": "s3", "bucket": bucket.name, "endpoint_url": bucket.server.endpoint, "partner_name": "us"}
    destination = open_destination("bucket", parse_destination("bucket", raw))
    done = export(store, DESTINATION, "full", put_at(destination), at=AT)
    destination.close()
    assert [file.bytes for file in done.files] == [
        bucket.client.head_object(Bucket=bucket.name, Key=key)["ContentLength"] for key in done.keys[:-1]
    ]
    assert done.keys[-1] == "outbound/daily/s3_4411_58342_full_1795615200123.info"


def test_the_command(store: Store, tmp_path: Path) -> None:
    store.connection.close()
    project = tmp_path / "project"
    project.mkdir()
    (project / "dbt_project.yml").write_text("{name: shop, profile: shop}")
    local = {"type": "directory", "path": "out", "partner_name": "us"}
    (project / "destinations.yml").write_text(json.dumps({"target": "local", "outputs": {"local": local}}))

    def aam(*arguments: str) -> Result:
        options = ["--sandbox", str(store.folder), "--project-dir", str(project)]
        return CliRunner().invoke(app, ["export", *options, *arguments])

    told = aam("--to", "local", "--mode", "full", "--json", "--info-first")
    assert told.exit_code == 0, told.exception
    [done] = json.loads(told.stdout)["exports"]
    assert done["keys"][0] == done["info"]
    assert all((project / "out" / key).is_file() for key in done["keys"])

    told = aam(str(DESTINATION), "--to", f"{tmp_path}/there", "--without-info")
    [name, summary] = told.stdout.splitlines()
    assert (tmp_path / "there" / name).is_file()
    assert summary == "destination 4411: iter, 0 users"
    assert aam().exit_code == 0
    assert len(list((store.folder / "outbound").iterdir())) == 2

    for arguments, said in [
        (["7"], "destination 7 is unknown; there are 4411"),
        (["--to", "nowhere"], "nowhere"),
        (["--to", ""], "--to is empty"),
        (["--without-part", "2"], "--without-part 2: this export has 1 part"),
    ]:
        assert isinstance((error := aam(*arguments).exception), ConfigError)
        assert said in str(error)


def test_the_page_lists_what_a_layout_can_be() -> None:
    rows = []
    for name, field in Layout.model_fields.items():
        values = [one for kind in get_args(field.annotation) for one in get_args(kind) or (kind,)]
        listed = [one for one in (*get_args(field.annotation), *values) if isinstance(one, (str, int))]
        listed = [str(one) for one in dict.fromkeys(listed) if one != field.default]
        default = "" if field.default in (None, "") else f"`{json.dumps(field.default)}`".replace('"', "")
        others = ", ".join(f"`{one}`" for one in listed)
        rows.append(f"| `{name}` | {default} | {others} | {field.description} |")
    text = (Path(__file__).parents[1] / "docs" / "sandbox.md").read_text(encoding="utf-8")
    table = text.partition("| `layout` | default | or | |\n|---|---|---|---|\n")[2].partition("\n\n")[0]
    assert table.splitlines() == rows
