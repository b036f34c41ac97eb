"""Files that are large, damaged or no files at all: a clear answer each, in bounded memory.

Each is checked in a process of its own, whose peak memory tells whether it grows with the file.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import textwrap
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import duckdb
import pyarrow as pa
import pytest
import yaml

from aam_onboard.check import check_file, check_text
from aam_onboard.errors import AamError
from aam_onboard.rules import Rules

ROOT = Path(__file__).parent.parent
OWN = "ftp_dpm_58342_1700000000.sync"
# Python with Arrow and DuckDB has about 100 MB before it reads a byte; the rest is buffers and DuckDB's threads.
MOST_MEGABYTES = 450
SETTINGS = yaml.safe_load((ROOT / "dbt_project.yml").read_text(encoding="utf-8"))["vars"]
RULES = Rules.model_validate({name: SETTINGS[name] for name in ("limits", "id_types", "rules")})

CHECK = """
    import json, re, sys
    from pathlib import Path
    import yaml
    from aam_onboard.check import check_file
    from aam_onboard.rules import Rules
    from aam_onboard.errors import AamError

    settings = yaml.safe_load(Path("dbt_project.yml").read_text(encoding="utf-8"))["vars"]
    rules = Rules.model_validate({name: settings[name] for name in ("limits", "id_types", "rules")})
    source = sys.stdin.buffer if sys.argv[1] == "-" else Path(sys.argv[1])
    try:
        found = check_file(source, sys.argv[2], rules).as_dict()
    except AamError as error:
        found = {"raised": str(error), "exit_code": error.exit_code}
    # not ru_maxrss, which a process takes over from the one that started it
    found["megabytes"] = int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024
    print(json.dumps(found))
"""


def check(path: Path | str, name: str = OWN, stdin: Any = None) -> dict[str, Any]:
    """The report as a dict, or what was raised."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(CHECK), str(path), name],
        check=False, cwd=ROOT, stdin=stdin, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["megabytes"] < MOST_MEGABYTES
    return found


def test_6_gb_of_nothing(tmp_path: Path) -> None:
    path = tmp_path / OWN
    with path.open("wb") as file:
        file.truncate(6 * 10**9)
    found = check(path)
    assert found["reasons"] == {"plain_too_large": 1}
    assert found["plain_bytes"] == 6 * 10**9


def test_1_gb_of_nothing_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / OWN
    with path.open("wb") as file:
        file.truncate(10**9)
    found = check(path)
    assert found["reasons"] == {"line_too_long": 1}
    assert found["records_received"] == found["format_errors"] == 1


@pytest.mark.parametrize(("piece", "reason"), [(b"a", "line_too_long"), (b",", "line_too_long")])
def test_a_gzip_bomb_of_one_line(tmp_path: Path, piece: bytes, reason: str) -> None:
    path = tmp_path / (OWN + ".gz")
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(b"u1\t")
        for _ in range(600):
            file.write(piece * (1 << 20))
        file.write(b"\nu2\td_sid=1\n")
    assert path.stat().st_size < 10 * 10**6
    found = check(path, path.name)
    assert found["reasons"] == {reason: 1}
    assert found["errors"][0]["line"] == 1
    assert (found["records_received"], found["stored_records"]) == (2, 1)


def test_a_gzip_bomb_of_short_lines(tmp_path: Path) -> None:
    path = tmp_path / (OWN + ".gz")
    with gzip.open(path, "wb", compresslevel=1) as file:
        for _ in range(100):
            file.write(b"\n" * (1 << 20))
        file.write(b"u1\td_sid=1\n")
        file.write(b"\n" * (1 << 20))
    found = check(path, path.name)
    assert found["reasons"] == {"blank_line": 100 << 20}
    assert found["records_received"] == (100 << 20) + 1


def test_a_stream_without_end() -> None:
    with Path("/dev/zero").open("rb") as endless:
        limited = subprocess.Popen(["head", "-c", "700000000"], stdin=endless, stdout=subprocess.PIPE)
        found = check("-", stdin=limited.stdout)
        assert limited.stdout is not None
        limited.stdout.close()
        limited.wait()
    assert found["reasons"] == {"line_too_long": 1}


def test_one_line_of_200_kb(tmp_path: Path) -> None:
    path = tmp_path / OWN
    path.write_bytes(b"u1\t" + b"d_sid=24," * 22_222 + b"d_sid=24")
    found = check(path)
    assert found["reasons"] == {"line_too_long": 1}
    assert len(found["errors"][0]["sample"]) <= 201


def test_lines_of_a_hundred_thousand_commas(tmp_path: Path) -> None:
    path = tmp_path / OWN
    path.write_bytes((b"u1\td_sid=1" + b"," * 100_000 + b"\n") * 50)
    found = check(path)
    assert found["ok"]
    assert found["warning_reasons"] == {"empty_element": 50}


def test_many_users_with_too_many_lines(tmp_path: Path) -> None:
    path = tmp_path / (OWN + ".gz")
    with gzip.open(path, "wb", compresslevel=1) as file:
        for _ in range(220):
            file.write(b"".join(b"u%d\td_sid=%d\n" % (user, user) for user in range(5000)))
    found = check(path, path.name)
    assert found["reasons"] == {"too_many_lines": 20 * 5000}
    assert found["errors"][0]["line"] == 200 * 5000 + 1


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        (OWN, b"", "empty_file"),
        (OWN + ".gz", gzip.compress(b"u1\td_sid=1\n" * 1_000_000, mtime=0)[:-3000], "truncated_gzip"),
        (OWN + ".gz", b"\x1f\x8b", "truncated_gzip"),
        (OWN + ".gz", b"\x1f\x8b\x08" + os.urandom(100_000), None),
        (OWN, os.urandom(3_000_000), None),
        (OWN + ".gpg", os.urandom(1000).replace(b"\x85", b"x"), None),
    ],
)
def test_damaged_files(tmp_path: Path, name: str, content: bytes, reason: str | None) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    found = check(path, name)
    if reason is not None:
        assert reason in found["reasons"]
    assert found["ok"] is False or "not_decrypted" in found["warning_reasons"]


def test_what_is_no_file(tmp_path: Path) -> None:
    assert check(tmp_path) | {"megabytes": 0} == {
        "raised": f"{tmp_path} is a directory; give files, or a pattern such as {tmp_path}/*.gz",
        "exit_code": 2,
        "megabytes": 0,
    }
    assert check(tmp_path / "none")["exit_code"] == 2


def test_what_waits_or_has_no_end_is_not_opened(tmp_path: Path) -> None:
    pipe, device, end = tmp_path / f"{OWN}.1", tmp_path / f"{OWN}.2", tmp_path / f"{OWN}.3"
    os.mkfifo(pipe)
    device.symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(end))
        for path in (pipe, device, end):
            found = check(path, path.name)
            assert found["exit_code"] == 2
            assert f"{path} is a device, named pipe or socket, no file" in found["raised"]


def test_what_has_a_refused_name_is_not_read() -> None:
    with Path("/dev/zero").open("rb") as endless, subprocess.Popen(["cat"], stdin=endless, stdout=-1) as cat:
        found = check("-", "mine.csv", stdin=cat.stdout)
        assert cat.stdout is not None
        cat.stdout.close()
    assert found["reasons"] == {"bad_name": 1}
    assert found["records_received"] == found["plain_bytes"] == 0


@pytest.mark.parametrize("size", [3_000, 9_000_000])
def test_of_a_damaged_gzip_all_is_told_that_can_be_read(tmp_path: Path, size: int) -> None:
    line = b"u%d\td_sid=%d\n"
    text = b"".join(line % (i, i) if i % 1000 else b"no signals\n" for i in range(1, size // 16))
    packed = gzip.compress(text, 1, mtime=0)
    cut = packed[: len(packed) * 2 // 3]
    readable = zlib.decompressobj(31).decompress(cut)
    lines = readable.count(b"\n")
    path = tmp_path / (OWN + ".gz")
    for content in (cut, packed + cut, cut + b"\xff" * 5000):
        path.write_bytes(content)
        more = len(text) if content.startswith(packed) else 0  # the second member is damaged
        is_longer = content[-1] == 0xFF  # these bytes may have a meaning
        found = check(path, path.name)
        fault = found["errors"][0]
        assert fault["line"] is None
        assert fault["reason"] == "truncated_gzip" or (is_longer and fault["reason"] == "corrupt_gzip")
        said = re.search(r"byte ([0-9,]+) of the text", fault["sample"])
        assert said
        place = int(said[1].replace(",", ""))
        assert place == found["plain_bytes"]
        assert more + len(readable) <= place
        assert is_longer or place == more + len(readable)
        # the line that is cut off is none
        received = lines + text.count(b"\n") * bool(more)
        assert received <= found["records_received"]
        no_signals = readable[: readable.rindex(b"\n")].count(b"no signals")
        no_signals += text.count(b"no signals") * bool(more)
        if not is_longer:
            assert found["records_received"] == received
            assert found["reasons"].get("no_signals", 0) == no_signals


@pytest.mark.parametrize("name", [OWN, "c2c_id_58342_58343_1700000000.sync"])
def test_more_suspects_than_can_be_held(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def report(held: int) -> dict[str, Any]:
        monkeypatch.setattr("aam_onboard.check.crowds._HELD_AT_ONCE", held)
        refused = io.StringIO()
        found = check_file(io.BytesIO(text), name, RULES, errors_to=refused, samples=0)
        assert found.format_errors == sum(found.reasons.values())
        return {"reasons": found.reasons, "lines": sorted(refused.getvalue().splitlines())}

    most = 200 if name == OWN else 10
    rows = []
    for repeat in range(most + 3):
        for user in range(300):
            if user % 3 or repeat < most:
                value = f"d_sid={repeat}" if name == OWN else f"{repeat:064x}"
                rows.append(f"user {user}\t{value}\n")
    text = "".join(rows).encode()
    at_once = report(1_000_000)
    assert list(at_once["reasons"].values()) == [200 * 3]
    for held in (2_500, 100, 20):
        assert report(held) == at_once


def test_plain_text_is_checked_without_a_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is to be encrypted may not be written anywhere; where the engine would, it says that memory is short."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    monkeypatch.chdir(tmp_path)
    text = b"".join(b"u%d\td_sid=1 ,,d_sid=2\n" % (i % 2000) for i in range(210 * 2000))

    @contextmanager
    def opened() -> Iterator[BinaryIO]:
        yield io.BytesIO(text)

    monkeypatch.setattr("aam_onboard.check.lines._MEMORY", "24MB")  # less than a block of lines needs
    assert check_text(opened, OWN, RULES).reasons == {"too_many_lines": 10 * 2000}
    assert list(tmp_path.iterdir()) == []


def test_errors_of_the_engines_are_said_plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def opened() -> Iterator[BinaryIO]:
        yield io.BytesIO(b"u1\td_sid=1 ,d_sid=2\n")

    for error in (
        duckdb.IOException("IO Error: no\nmore"),
        pa.ArrowMemoryError("no room"),
        OSError(28, "full"),
    ):

        def broken(*_: object, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr("aam_onboard.check.lines._answers", broken)
        for call in (
            lambda: check_text(opened, OWN, RULES),
            lambda: check_file(io.BytesIO(b"u1\td_sid=1 ,d_sid=2\n"), OWN, RULES),
        ):
            with pytest.raises(AamError, match=f"^{OWN} can't be checked: .*(IO Error: no|no room|full);"):
                call()
