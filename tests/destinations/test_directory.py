"""A folder of this machine: no byte moves, others are kept out, and faults are one clear line."""

import errno
import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from aam_onboard.destinations import Destination
from aam_onboard.destinations.common import temporary_name
from aam_onboard.errors import DeliveryError
from aam_onboard.files import Part
from destinations.helpers import KEY, MIB, NAME, make_part


def test_directory_moves_no_byte_and_keeps_others_out(
    opened: Callable[..., Destination], tmp_path: Path
) -> None:
    destination = opened(type="directory", path=str(tmp_path / "new" / "out"))
    part = make_part(tmp_path)
    destination.put(part, KEY)
    target = tmp_path / "new" / "out" / KEY
    assert target.stat().st_ino == part.path.stat().st_ino
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    for folder in (target.parent, target.parent.parent, tmp_path / "new" / "out", tmp_path / "new"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert destination.uri(KEY) == f"file://{target}"


def test_directory_accepts_a_file_whose_part_is_gone_since(
    opened: Callable[..., Destination], tmp_path: Path
) -> None:
    destination = opened(type="directory", path=str(tmp_path / "out"))
    part = make_part(tmp_path)
    destination.put(part, KEY)
    part.path.unlink()
    assert destination.put(part, KEY).checksum == part.sha256


def without_links(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)


def test_directory_on_another_file_system_copies(
    opened: Callable[..., Destination], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_links(monkeypatch)
    destination = opened(type="directory", path=str(tmp_path / "out"))
    part = make_part(tmp_path, 3 * MIB + 1)
    destination.put(part, KEY)
    target = tmp_path / "out" / KEY
    assert target.read_bytes() == part.path.read_bytes()
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert [path.name for path in target.parent.iterdir()] == [NAME]


def test_directory_reads_a_copy_back(
    opened: Callable[..., Destination], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_links(monkeypatch)
    destination = opened(type="directory", path=str(tmp_path / "out"))
    damaged = replace(make_part(tmp_path), sha256="0" * 64)
    with pytest.raises(DeliveryError, match="reads back otherwise"):
        destination.put(damaged, KEY)
    assert list((tmp_path / "out/acme/date=2026-03-09").iterdir()) == []


REFUSED = """
import os, resource, sys
from pathlib import Path
from aam_onboard.destinations import open_destination, parse_destination
from aam_onboard.errors import DeliveryError
from aam_onboard.files import Part

def no_link(*_):
    raise OSError(18, "Invalid cross-device link")

os.link = no_link
settings = parse_destination("there", {"type": "directory", "path": sys.argv[2], "partner_name": "acme"})
destination = open_destination("there", settings)
if sys.argv[1] == "full":
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
else:
    os.setuid(65534)
try:
    if sys.argv[1] == "head":
        print(destination.head(sys.argv[4]))
    if sys.argv[1] == "list":
        print(*destination.list("acme/"))
    destination.put(Part(Path(sys.argv[3]), 1, 100_000, 1, "0" * 64, ""), sys.argv[4])
except DeliveryError as error:
    print(type(error).__name__, error)
"""


def refused(how: str, out: Path, part: Part) -> str:
    said = subprocess.run(
        [sys.executable, "-c", REFUSED, how, out, part.path, KEY], capture_output=True, text=True, check=True
    )
    assert said.stderr == ""
    assert said.stdout.count("\n") == 1
    return said.stdout


def test_directory_full(tmp_path: Path) -> None:
    said = refused("full", tmp_path / "out", make_part(tmp_path))
    assert "File too large; make room there and deliver again" in said
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user, and others need not")
def test_directory_not_writable() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        part = make_part(Path(folder))
        (Path(folder) / "out").mkdir(mode=0o755)
        said = refused("nobody", Path(folder) / "out", part)
    assert "Permission denied; let this user write to" in said


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user, and others need not")
@pytest.mark.parametrize("how", ["head", "list"])
def test_directory_that_can_not_be_read_is_not_an_empty_one(how: str) -> None:
    """Else a file that waits there would count as gone."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        target = Path(folder) / "out" / KEY
        target.parent.mkdir(parents=True)
        target.write_bytes(b"waits")
        (Path(folder) / "out/acme").chmod(0o700)
        said = refused(how, Path(folder) / "out", make_part(Path(folder)))
    assert said.startswith("CannotListError ")
    assert "Permission denied; let this user" in said


def test_directory_delete_takes_what_an_interrupted_put_left(
    opened: Callable[..., Destination], tmp_path: Path
) -> None:
    destination = opened(type="directory", path=str(tmp_path / "out"))
    part = make_part(tmp_path)
    destination.put(part, f"{KEY}.other")
    folder = tmp_path / "out/acme/date=2026-03-09"
    (folder / temporary_name(NAME, part)).write_bytes(b"half")
    assert [found.key for found in destination.list("acme/")] == [f"{KEY}.other"]
    destination.delete(KEY)
    assert [path.name for path in folder.iterdir()] == [f"{NAME}.other"]
