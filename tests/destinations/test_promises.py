"""What every destination promises, and what the two kinds of servers do alike."""

import errno
import resource
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from servers import FtpServer, SftpServer

from aam_onboard.destinations import CannotListError, Destination, parse_destination
from aam_onboard.destinations.common import temporary_name
from aam_onboard.errors import DeliveryError
from destinations.helpers import (
    KEY,
    NAME,
    check_line,
    ftp_settings,
    leftovers,
    make_part,
    s3_settings,
    sftp_settings,
)


def test_put_head_list_delete(destination: Destination, tmp_path: Path) -> None:
    destination.reach()
    assert destination.head(KEY) is None
    assert list(destination.list("acme/")) == []
    part = make_part(tmp_path)
    progress: list[int] = []
    stored = destination.put(part, KEY, progress.append)
    assert (stored.key, stored.bytes, stored.checksum) == (KEY, part.bytes, part.sha256)
    assert sum(progress) == part.bytes
    found = destination.head(KEY)
    assert found is not None
    assert (found.key, found.bytes) == (KEY, part.bytes)
    assert found.checksum in (None, part.sha256)
    other = KEY.replace("03-09", "03-10")
    destination.put(make_part(tmp_path, 7, seed=2), other)
    assert [(found.key, found.bytes) for found in destination.list("acme/")] == [
        (KEY, part.bytes),
        (other, 7),
    ]
    assert [found.key for found in destination.list("acme/date=2026-03-10/ftp_")] == [other]
    assert list(destination.list("acme/date=2026-03-11/")) == []
    modified = next(destination.list("acme/")).modified
    assert modified is not None
    assert modified.utcoffset() is not None
    destination.delete(KEY)
    destination.delete(KEY)
    assert destination.head(KEY) is None
    assert [found.key for found in destination.list("acme/")] == [other]
    assert destination.uri(KEY).endswith(f"/{KEY}")


def test_the_same_file_again_counts_as_there(destination: Destination, tmp_path: Path) -> None:
    part = make_part(tmp_path)
    destination.put(part, KEY)
    progress: list[int] = []
    assert destination.put(part, KEY, progress.append).checksum == part.sha256
    assert sum(progress) == part.bytes


def test_another_file_under_the_same_key_is_refused(destination: Destination, tmp_path: Path) -> None:
    part = make_part(tmp_path)
    destination.put(part, KEY)
    for other in (make_part(tmp_path, seed=2), make_part(tmp_path, size=99)):
        with pytest.raises(DeliveryError) as caught:
            destination.put(other, KEY)
        check_line(caught.value, KEY, "exists already with other content")
    assert destination.put(part, KEY).bytes == part.bytes  # what was there is there still


def test_many_files_at_a_time(destination: Destination, tmp_path: Path) -> None:
    parts = {f"{KEY}.{seed}": make_part(tmp_path, 300_000, seed) for seed in range(8)}
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda item: destination.put(item[1], item[0]), parts.items()))
    assert {found.key: found.bytes for found in destination.list("acme/")} == dict.fromkeys(parts, 300_000)


def test_fetch_and_rename(destination: Destination, tmp_path: Path) -> None:
    part, here = make_part(tmp_path, 3_000_000), tmp_path / "here"
    destination.put(part, KEY)
    stored = destination.fetch(KEY, here)
    assert (stored.key, stored.bytes) == (KEY, part.bytes)
    assert here.read_bytes() == part.path.read_bytes()
    assert stat.S_IMODE(here.stat().st_mode) == 0o600
    new = f"acme/done/{NAME}.processed"
    destination.rename(KEY, new)
    destination.rename(KEY, new)  # as after an answer that was lost
    assert [(found.key, found.bytes) for found in destination.list("acme/")] == [(new, part.bytes)]
    destination.put(make_part(tmp_path, seed=2), KEY)
    with pytest.raises(DeliveryError) as caught:
        destination.rename(KEY, new)
    check_line(caught.value, KEY, "which is there already")
    assert destination.fetch(new, here).bytes == part.bytes


def test_what_is_not_there_is_not_fetched(destination: Destination, tmp_path: Path) -> None:
    """It may have been taken away since it was listed."""
    for act in (
        lambda: destination.fetch(KEY, tmp_path / "here"),
        lambda: destination.rename(KEY, "acme/new"),
    ):
        with pytest.raises(DeliveryError) as caught:
            act()
        check_line(caught.value, KEY)
        assert "is not there" in str(caught.value) or "No such file" in str(caught.value)
    assert list(tmp_path.glob("here*")) == []


def test_no_room_here_for_what_is_fetched(destination: Destination, tmp_path: Path) -> None:
    part, here = make_part(tmp_path, 3_000_000), tmp_path / "here"
    destination.put(part, KEY)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
    try:
        with pytest.raises(DeliveryError, match="here: File too large; make room there"):
            destination.fetch(KEY, here)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not here.exists()
    assert destination.fetch(KEY, here).bytes == part.bytes
    (tmp_path / "folder").mkdir()
    with pytest.raises(DeliveryError, match="folder: Is a directory; check `spool_dir`"):
        destination.fetch(KEY, tmp_path / "folder")


def lost_at(kind: str, server: Any, at: int, how: str, times: int) -> None:
    """Let the server lose what is fetched."""
    lost: list[int] = []

    def lose(operation: Any, about: Any = None) -> str | None:
        if kind == "s3":
            now = operation["REQUEST_METHOD"] == "GET" and operation["PATH_INFO"].endswith(NAME)
        else:
            now = operation == "read" and about >= at
        if not now or len(lost) == times:
            return None
        lost.append(1)
        return how

    server.fault = lose


@pytest.mark.parametrize(
    ("kind", "how"), [("sftp", "drop"), ("ftp", "drop"), ("ftp", "end"), ("ftps", "drop"), ("s3", "half")]
)
def test_a_file_that_breaks_off_is_fetched_on_or_not_at_all(
    request: pytest.FixtureRequest, opened: Callable[..., Destination], tmp_path: Path, kind: str, how: str
) -> None:
    server = request.getfixturevalue(kind)
    more: dict[str, Any] = {"retries": 1}
    if kind == "s3":
        more = {"retries": {"max_attempts": 2}}
    if kind == "ftps":
        more |= {"tls": True, "ca_file": str(request.getfixturevalue("certificate").ca_file)}
    raw = {"sftp": sftp_settings, "s3": s3_settings}.get(kind, ftp_settings)(server, **more)
    destination, part, here = opened(**raw), make_part(tmp_path, 4_000_000), tmp_path / "here"
    destination.put(part, KEY)
    lost_at(kind, server, 1_000_000, how, 1)
    destination.fetch(KEY, here)
    assert here.read_bytes() == part.path.read_bytes()
    lost_at(kind, server, 1_000_000, how, 1_000_000)
    with pytest.raises(DeliveryError) as caught:
        destination.fetch(KEY, here)
    check_line(caught.value, KEY, "in 2 attempts")
    assert not here.exists()


def test_an_ftp_server_that_begins_at_the_beginning_only(
    ftp: FtpServer, opened: Callable[..., Destination], tmp_path: Path
) -> None:
    destination, part, here = (
        opened(**ftp_settings(ftp, retries=1)),
        make_part(tmp_path, 4_000_000),
        tmp_path / "here",
    )
    destination.put(part, KEY)
    ftp.unknown = {"REST"}
    lost_at("ftp", ftp, 1_000_000, "drop", 1)
    destination.fetch(KEY, here)
    assert here.read_bytes() == part.path.read_bytes()


@pytest.mark.parametrize("kind", ["sftp", "ftp", "s3"])
def test_a_file_that_may_not_be_read_is_not_fetched(
    request: pytest.FixtureRequest, opened: Callable[..., Destination], tmp_path: Path, kind: str
) -> None:
    server = request.getfixturevalue(kind)
    settings = {"sftp": sftp_settings, "ftp": ftp_settings, "s3": s3_settings}[kind]
    destination = opened(**settings(server))
    destination.put(make_part(tmp_path), KEY)

    def forbid(operation: Any, about: Any = None) -> int | None:
        if kind == "s3":
            return 403 if operation["REQUEST_METHOD"] == "GET" else None
        if operation in ("open", "rename", "posix_rename"):
            raise PermissionError(errno.EACCES, "Permission denied")
        return None

    server.fault = forbid
    with pytest.raises(DeliveryError) as caught:
        destination.fetch(KEY, tmp_path / "here")
    check_line(caught.value, KEY, "may not read it (s3:GetObject)" if kind == "s3" else "Permission denied")
    if kind != "s3":
        with pytest.raises(DeliveryError) as caught:
            destination.rename(KEY, f"{KEY}.processed")
        check_line(caught.value, KEY, "Permission denied")


@pytest.mark.parametrize("key", ["../x", "/x", "a//b", "a/./b", "a\\b", "a\nDELE b", ""])
def test_no_key_leads_out(destination: Destination, tmp_path: Path, key: str) -> None:
    with pytest.raises(DeliveryError, match="no plain path"):
        destination.put(make_part(tmp_path), key)


def test_a_part_that_changed_is_not_sent(destination: Destination, tmp_path: Path) -> None:
    part = make_part(tmp_path)
    part.path.write_bytes(b"other")
    with pytest.raises(DeliveryError, match="5 bytes, recorded were 100000"):
        destination.put(part, KEY)
    part.path.unlink()
    with pytest.raises(DeliveryError, match="the file to send is gone"):
        destination.put(part, KEY)
    empty = make_part(tmp_path, 0)
    with pytest.raises(DeliveryError, match="empty"):
        destination.put(empty, KEY)
    assert list(destination.list("")) == []


def test_a_session_that_the_server_ended_is_replaced(
    sftp: SftpServer, opened: Callable[..., Destination], tmp_path: Path
) -> None:
    """With no retries: an idle session's end is no failed attempt."""
    destination = opened(**sftp_settings(sftp))
    destination.reach()
    sftp.fault = lambda operation, about: "drop" if operation == "list" else None
    with pytest.raises(DeliveryError):
        list(destination.list(""))
    sftp.fault = None
    destination.put(make_part(tmp_path), KEY)


def test_check_finds_a_wrong_folder(
    sftp: SftpServer, ftp: FtpServer, opened: Callable[..., Destination]
) -> None:
    (sftp.root / "inbound").mkdir()
    (ftp.root / "inbound").mkdir()
    for settings in (sftp_settings(sftp), ftp_settings(ftp)):
        opened(**settings, directory="inbound").reach()
        with pytest.raises(DeliveryError) as caught:
            opened(**settings, directory="outbound").reach()
        check_line(caught.value, "no folder outbound", "`directory`")


def test_delete_takes_what_interrupted_puts_left(
    sftp: SftpServer, ftp: FtpServer, opened: Callable[..., Destination], tmp_path: Path
) -> None:
    part = make_part(tmp_path)
    for server, destination in (
        (sftp, opened(**sftp_settings(sftp))),
        (ftp, opened(**ftp_settings(ftp))),
    ):
        folder = (server.root / KEY).parent
        folder.mkdir(parents=True)
        (folder / temporary_name(NAME, part)).write_bytes(b"half")
        (folder / "ours.csv").write_bytes(b"another's")
        assert [found.key for found in destination.list("acme/")] == ["acme/date=2026-03-09/ours.csv"]
        destination.delete(KEY)
        assert leftovers(server.root) == ["ours.csv"]


@pytest.mark.parametrize("directory", ["", "in/bound"])
@pytest.mark.parametrize("kind", ["sftp", "ftp"])
def test_flat_layout(
    request: pytest.FixtureRequest,
    opened: Callable[..., Destination],
    tmp_path: Path,
    kind: str,
    directory: str,
) -> None:
    """No folders are made; what lies around in folders and beside is not looked at."""
    server = request.getfixturevalue(kind)
    (server.root / directory / "acme").mkdir(parents=True)
    (server.root / directory / "acme" / NAME).write_bytes(b"another's")
    raw = {"sftp": sftp_settings, "ftp": ftp_settings}[kind](server, directory=directory, layout="flat")
    settings = parse_destination("there", {"partner_name": "acme", **raw})
    assert settings.key(date(2026, 3, 9), NAME) == NAME
    destination = opened(**raw)
    part = make_part(tmp_path)
    assert destination.head(NAME) is None
    destination.put(part, NAME)
    destination.put(part, NAME)
    assert (server.root / directory / NAME).read_bytes() == part.path.read_bytes()
    assert destination.uri(NAME).endswith(f":{server.port}/{directory}/{NAME}".replace("//", "/"))
    (server.root / directory / temporary_name(NAME, part)).write_bytes(b"half")
    assert [(found.key, found.bytes) for found in destination.list("ftp_dpm_")] == [(NAME, part.bytes)]
    destination.delete(NAME)
    assert [found.key for found in destination.list("")] == [f"acme/{NAME}"]
    found = [path for path in (server.root / directory).rglob("*") if path.is_file()]
    assert found == [server.root / directory / "acme" / NAME]


@pytest.mark.parametrize("kind", ["sftp", "ftp"])
def test_a_look_that_is_refused_is_not_an_absent_file(
    request: pytest.FixtureRequest, opened: Callable[..., Destination], kind: str
) -> None:
    server = request.getfixturevalue(kind)
    if kind == "ftp":
        server.refused = {"SIZE"}
        destination = opened(**ftp_settings(server))
    else:

        def forbid(operation: str, about: Any) -> None:
            if operation == "stat":
                raise PermissionError(errno.EACCES, "Permission denied")

        server.fault = forbid
        destination = opened(**sftp_settings(server))
    with pytest.raises(CannotListError, match=r"tell the size|look at"):
        destination.head(KEY)
