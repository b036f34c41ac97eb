"""Files that are large, damaged or no files at all: a clear answer each, in bounded memory.

Each is checked in a process of its own, whose peak memory tells whether it grows with the file.
"""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
OWN = "ftp_dpm_58342_1700000000.sync"
# Python with Arrow and DuckDB has about 100 MB before it reads a byte; the rest is buffers and DuckDB's threads.
MOST_MEGABYTES = 450

CHECK = """
    import json, re, sys
    from pathlib import Path
    import yaml
    from loader.check import check_file
    from loader.config import Rules
    from loader.errors import AamError

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


def test_a_named_pipe(tmp_path: Path) -> None:
    path = tmp_path / OWN
    os.mkfifo(path)
    with subprocess.Popen(["sh", "-c", f"printf 'u1\\td_sid=1\\nu2\\n' > {path}"]) as writer:
        found = check(path)
        writer.wait()
    assert found["reasons"] == {"no_signals": 1}
    assert found["records_received"] == 2
