"""SFTP: hosts are known, keys fit, and `put` goes on from what an interrupted one left."""

import contextlib
import errno
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from servers import HOST, SftpServer, sftp_server

from aam_onboard.destinations import CannotListError, Destination
from aam_onboard.destinations.common import temporary_name
from aam_onboard.errors import ConfigError, DeliveryError
from destinations.helpers import KEY, MIB, NAME, PASSWORD, check_line, leftovers, make_part, sftp_settings


def test_sftp_directory_and_uri(sftp: SftpServer, opened: Callable[..., Destination], tmp_path: Path) -> None:
    (sftp.root / "inbound").mkdir()
    destination = opened(**sftp_settings(sftp, directory="/inbound/"))
    part = make_part(tmp_path, 2 * MIB)
    destination.put(part, KEY)
    assert (sftp.root / "inbound" / KEY).read_bytes() == part.path.read_bytes()
    assert destination.uri(KEY) == f"sftp://{HOST}:{sftp.port}/inbound/{KEY}"
    assert [found.key for found in destination.list("acme/")] == [KEY]


def test_sftp_unknown_host(sftp: SftpServer, opened: Callable[..., Destination], tmp_path: Path) -> None:
    known = sftp.known_hosts.read_text()
    for known_hosts in (tmp_path / "missing", tmp_path / "others"):
        (tmp_path / "others").write_text(known.replace(HOST, "other.example.com"))
        with pytest.raises(DeliveryError) as caught:
            opened(**sftp_settings(sftp, known_hosts=str(known_hosts))).reach()
        check_line(
            caught.value,
            f"{HOST}:{sftp.port} is not in {known_hosts}",
            "ssh-ed25519 SHA256:",
            f"ssh-keyscan -p {sftp.port} {HOST} >> {known_hosts}",
        )
    assert not (tmp_path / "missing").exists()


def test_sftp_changed_host_key(sftp: SftpServer, opened: Callable[..., Destination], tmp_path: Path) -> None:
    import asyncssh

    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode().strip()
    sftp.known_hosts.write_text(f"[{HOST}]:{sftp.port} {other}\n")
    with pytest.raises(DeliveryError) as caught:
        opened(**sftp_settings(sftp, retries=3)).put(make_part(tmp_path), KEY)
    check_line(caught.value, "the host key has changed", f"ssh-keygen -R '[{HOST}]:{sftp.port}'")
    assert sftp.operations == []


def new_host_key(kind: str) -> str:
    import asyncssh

    return asyncssh.generate_private_key(kind).export_public_key().decode().strip()


def test_sftp_known_hosts_as_ssh_reads_it(
    opened: Callable[..., Destination], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several kinds and several keys of one kind, whichever comes first; hashed names, patterns, markers, comments."""
    monkeypatch.setenv("HOME", str(tmp_path))
    old_ed25519, old_ecdsa = new_host_key("ssh-ed25519"), new_host_key("ecdsa-sha2-nistp256")
    with sftp_server(tmp_path / "sftp", host_keys=("ssh-rsa", "ssh-ed25519")) as server:
        rsa, ed25519 = server.host_keys
        place = f"[{HOST}]:{server.port}"
        hashed = tmp_path / "hashed"
        hashed.write_text(f"{place} {rsa}\n")
        subprocess.run(["ssh-keygen", "-q", "-H", "-f", hashed], check=True, capture_output=True)
        assert HOST not in hashed.read_text()
        for lines in (
            [f"{place} {rsa}"],  # the server would rather show its Ed25519 key
            [f"{place} {old_ecdsa}", f"{place} {rsa}"],  # a kind that it has no more
            [f"{place} {ed25519}", f"{place} {rsa}"],
            [f"{place} {old_ed25519}", f"{place} {ed25519}"],  # a new key, announced while the old one held
            [hashed.read_text()],
            [f"other.example.com,{HOST},10.0.0.1 {rsa} a comment"],  # without the port
            [f"*.example.com,[127.0.0.*]:{server.port} {rsa}"],
            [f"[127.0.0.?]:* {rsa}"],
            ["# comment", "", "garbage", "@cert-authority *.example.com " + rsa, f"\t {place}\t{rsa}"],
            [
                "other.example.com ssh-ed25519 AAAAgarbage",
                f"{place} sk-new@example.com AAAA",
                f"{place} {rsa}",
            ],
            [f"@revoked {place} {ed25519}", f"{place} {rsa}"],
        ):
            server.known_hosts.write_text("\n".join(lines))
            opened(**sftp_settings(server)).reach()
        server.operations.clear()
        for lines, said in (
            ([f"{place} {old_ecdsa}"], "the host key has changed: it is ssh-"),
            ([f"{place} {old_ed25519}", f"{place} {rsa}"], "the host key has changed: it is ssh-ed25519"),
            ([f"[*]:*,!{place} {rsa}"], f"{HOST}:{server.port} is not in"),
            ([f"@revoked * {ed25519}", f"{place} {ed25519}"], "ssh-ed25519 SHA256:"),
            ([f"@cert-authority {place} {ed25519}"], "is not in"),
        ):
            server.known_hosts.write_text("\n".join(lines))
            with pytest.raises(DeliveryError) as caught:
                opened(**sftp_settings(server)).reach()
            check_line(caught.value, said)
        assert server.operations == []
        for damaged in ("AAAAC3NzaC1lZDI1NTE5", "AAAA!", "c3NoLWVkMjU1MTk="):
            server.known_hosts.write_text(f"# ours\n{place} ssh-ed25519 {damaged}\n")
            with pytest.raises(ConfigError) as caught_config:
                opened(**sftp_settings(server)).reach()
            check_line(
                caught_config.value, "`known_hosts`", "the key in line 2 can't be read", "ssh-keygen -R"
            )
        with pytest.raises(ConfigError) as caught_config:
            opened(**sftp_settings(server, known_hosts=str(tmp_path))).reach()
        check_line(caught_config.value, "`known_hosts`", "Is a directory")


@contextlib.contextmanager
def ssh_agent(folder: Path) -> Iterator[str]:
    """A real ssh-agent; yields its socket."""
    socket = str(folder / "agent")
    with subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.PIPE) as agent:
        assert agent.stdout is not None
        agent.stdout.readline()  # it listens
        try:
            yield socket
        finally:
            agent.terminate()


def test_sftp_keys_of_ssh_agent(
    opened: Callable[..., Destination], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also after keys that the server does not take."""
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    with sftp_server(tmp_path / "sftp") as server, tempfile.TemporaryDirectory() as folder:
        with pytest.raises(ConfigError) as caught:
            opened(**sftp_settings(server, key_file=None)).reach()
        check_line(caught.value, "`key_file` is missing", "SSH_AUTH_SOCK is not set", "`password_env`")
        with ssh_agent(Path(folder)) as socket:
            monkeypatch.setenv("SSH_AUTH_SOCK", socket)
            with pytest.raises(ConfigError) as caught:
                opened(**sftp_settings(server, key_file=None)).reach()
            check_line(caught.value, "ssh-agent has no key")
            for kind in ("ecdsa", "rsa"):
                other = tmp_path / kind
                subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", other], check=True)
                subprocess.run(["ssh-add", "-q", other], check=True)
            with pytest.raises(DeliveryError) as refused:
                opened(**sftp_settings(server, key_file=None)).reach()
            check_line(refused.value, "refuses user loader with the keys of ssh-agent")
            server.key_file.chmod(0o600)
            subprocess.run(["ssh-add", "-q", server.key_file], check=True)
            opened(**sftp_settings(server, key_file=None)).put(make_part(tmp_path), KEY)
            # a `key_file` that is given is the one that counts
            with pytest.raises(DeliveryError) as refused:
                opened(**sftp_settings(server, key_file=str(other))).reach()
            check_line(refused.value, "`key_file`")
        with pytest.raises(ConfigError) as caught:
            opened(**sftp_settings(server, key_file=None)).reach()
        check_line(caught.value, "ssh-agent")
        assert (server.root / KEY).exists()


def test_sftp_wrong_user_or_key(sftp: SftpServer, opened: Callable[..., Destination], tmp_path: Path) -> None:
    import asyncssh

    other = tmp_path / "other_key"
    other.write_bytes(asyncssh.generate_private_key("ssh-ed25519").export_private_key())
    for more in ({"user": "stranger"}, {"key_file": str(other)}):
        with pytest.raises(DeliveryError) as caught:
            opened(**sftp_settings(sftp, **more)).reach()
        check_line(caught.value, "refuses user", "`key_file`")
    for key_file, said in (
        (tmp_path / "none", "No such file"),
        (sftp.known_hosts, "can't be read as a private key"),
    ):
        with pytest.raises(ConfigError) as caught_config:
            opened(**sftp_settings(sftp, key_file=str(key_file))).reach()
        check_line(caught_config.value, f"`key_file` {key_file}", said)


@pytest.mark.parametrize("kind", ["rsa", "ecdsa", "ed25519"])
def test_sftp_kinds_of_keys(
    tmp_path: Path, opened: Callable[..., Destination], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """In every form that ssh-keygen writes; an empty comment too."""
    monkeypatch.setenv("KEY_PASSPHRASE", "open-sesame")
    forms = ("RFC4716",) if kind == "ed25519" else ("RFC4716", "PEM", "PKCS8")
    with sftp_server(tmp_path / "sftp") as server:
        for form in forms:
            for passphrase in ("", "open-sesame") if form != "RFC4716" or kind == "ed25519" else ("",):
                key = tmp_path / f"key-{form}-{passphrase}"
                subprocess.run(
                    [
                        "ssh-keygen",
                        "-q",
                        "-t",
                        kind,
                        *(["-b", "2048"] if kind == "rsa" else []),
                        "-m",
                        form,
                        "-C",
                        "",
                        "-N",
                        passphrase,
                        "-f",
                        key,
                    ],
                    check=True,
                )
                server.authorize(key.with_name(f"{key.name}.pub"))
                variable = {"passphrase_env": "KEY_PASSPHRASE"} if passphrase else {}
                opened(**sftp_settings(server, key_file=str(key), **variable)).reach()


def test_sftp_passphrase(
    tmp_path: Path, opened: Callable[..., Destination], monkeypatch: pytest.MonkeyPatch
) -> None:
    with sftp_server(tmp_path / "sftp", passphrase="open-sesame") as server:
        with pytest.raises(ConfigError) as caught:
            opened(**sftp_settings(server)).reach()
        check_line(caught.value, "is encrypted", "`passphrase_env`")
        with pytest.raises(ConfigError) as caught:
            opened(**sftp_settings(server, passphrase_env="KEY_PASSPHRASE")).reach()
        check_line(caught.value, "KEY_PASSPHRASE is not set")
        monkeypatch.setenv("KEY_PASSPHRASE", "open-sesam")
        with pytest.raises(ConfigError) as caught:
            opened(**sftp_settings(server, passphrase_env="KEY_PASSPHRASE")).reach()
        check_line(caught.value, "perhaps the passphrase is wrong")
        monkeypatch.setenv("KEY_PASSPHRASE", "open-sesame")
        opened(**sftp_settings(server, passphrase_env="KEY_PASSPHRASE")).reach()


def test_sftp_password(
    tmp_path: Path, opened: Callable[..., Destination], monkeypatch: pytest.MonkeyPatch
) -> None:
    with sftp_server(tmp_path / "sftp", password=PASSWORD) as server:
        opened(**sftp_settings(server, key_file=None, password_env="FTP_PASSWORD")).put(
            make_part(tmp_path), KEY
        )
        monkeypatch.setenv("FTP_PASSWORD", "wrong-word")
        with pytest.raises(DeliveryError) as caught:
            opened(**sftp_settings(server, key_file=None, password_env="FTP_PASSWORD")).reach()
        check_line(caught.value, "refuses user loader with `FTP_PASSWORD`")


@pytest.mark.parametrize("how", ["drop", "gap"])
def test_sftp_goes_on_after_a_lost_connection(
    sftp: SftpServer, opened: Callable[..., Destination], tmp_path: Path, how: str
) -> None:
    """What came in order is built upon; where a gap may be, the upload begins anew."""
    part = make_part(tmp_path, 20 * MIB)
    lost: list[int] = []

    def drop(operation: str, about: Any) -> str | None:
        if operation == "write" and about >= 12 * MIB and not lost:
            lost.append(about)
            return how
        return None

    sftp.fault = drop
    progress: list[int] = []
    opened(**sftp_settings(sftp, retries=1)).put(part, KEY, progress.append)
    assert (sftp.root / KEY).read_bytes() == part.path.read_bytes()
    assert leftovers(sftp.root) == []
    assert sum(progress) == part.bytes
    assert len(lost) == 1
    written = sum(count for count in progress if count > 0)
    if how == "drop":
        assert written < 24 * MIB, "it went on, instead of beginning anew"


@pytest.mark.parametrize("state", ["prefix", "damaged", "longer", "whole"])
def test_sftp_goes_on_only_from_a_true_prefix(
    sftp: SftpServer, opened: Callable[..., Destination], tmp_path: Path, state: str
) -> None:
    part = make_part(tmp_path, 3 * MIB)
    data = part.path.read_bytes()
    temporary = sftp.root / KEY
    temporary = temporary.with_name(temporary_name(NAME, part))
    temporary.parent.mkdir(parents=True)
    content = {"prefix": data[: 2 * MIB], "damaged": bytes(2 * MIB), "longer": data + b"x", "whole": data}[
        state
    ]
    temporary.write_bytes(content)
    progress: list[int] = []
    opened(**sftp_settings(sftp)).put(part, KEY, progress.append)
    assert (sftp.root / KEY).read_bytes() == data
    assert leftovers(sftp.root) == []
    first = progress[0] if progress else 0
    assert (first >= 2 * MIB) == (state in ("prefix", "whole"))
    assert sum(progress) == part.bytes


def test_sftp_lost_for_good_then_delivered(
    sftp: SftpServer, opened: Callable[..., Destination], tmp_path: Path
) -> None:
    part = make_part(tmp_path, 2 * MIB)
    sftp.fault = lambda operation, about: "drop" if operation == "write" else None
    destination = opened(**sftp_settings(sftp, retries=2))
    with pytest.raises(DeliveryError) as caught:
        destination.put(part, KEY)
    check_line(caught.value, KEY, "the connection broke", "in 3 attempts", "deliver again")
    assert not (sftp.root / KEY).exists()
    sftp.fault = None
    destination.put(part, KEY)
    assert (sftp.root / KEY).read_bytes() == part.path.read_bytes()
    assert leftovers(sftp.root) == []


@pytest.mark.parametrize("at", [1, MIB, 2 * MIB])
def test_sftp_disk_full(
    sftp: SftpServer, opened: Callable[..., Destination], tmp_path: Path, at: int
) -> None:
    """Also when the very last of the pipelined writes fails."""
    part = make_part(tmp_path, 2 * MIB)

    def full(operation: str, about: Any) -> None:
        if operation == "write" and about >= at:
            raise OSError(errno.ENOSPC, "No space left on device")

    sftp.fault = full
    with pytest.raises(DeliveryError) as caught:
        opened(**sftp_settings(sftp)).put(part, KEY)
    check_line(caught.value, KEY, "No space left on device")
    assert [path for path in sftp.root.rglob("*") if path.is_file()] == []


def test_sftp_one_failed_write_among_many_is_seen(
    sftp: SftpServer, opened: Callable[..., Destination], tmp_path: Path
) -> None:
    """A gap that the size would not show: a single write fails, those after it succeed."""
    part = make_part(tmp_path, 2 * MIB)
    failed: list[int] = []

    def once(operation: str, about: Any) -> None:
        if operation == "write" and about > MIB and not failed:
            failed.append(about)
            raise OSError(errno.EDQUOT, "Disk quota exceeded")

    sftp.fault = once
    with pytest.raises(DeliveryError, match="Disk quota exceeded"):
        opened(**sftp_settings(sftp)).put(part, KEY)
    assert not (sftp.root / KEY).exists()


def test_sftp_rename_without_the_extension(
    sftp: SftpServer, opened: Callable[..., Destination], tmp_path: Path
) -> None:
    sftp.posix_rename = False
    opened(**sftp_settings(sftp)).put(make_part(tmp_path), KEY)
    assert (sftp.root / KEY).exists()
    assert [name for name in sftp.operations if "rename" in name] == ["posix_rename", "rename"]


def test_sftp_rename_refused(sftp: SftpServer, opened: Callable[..., Destination], tmp_path: Path) -> None:
    def refuse(operation: str, about: Any) -> None:
        if "rename" in operation:
            raise PermissionError(errno.EACCES, "Permission denied")

    sftp.fault = refuse
    part = make_part(tmp_path)
    destination = opened(**sftp_settings(sftp))
    with pytest.raises(DeliveryError) as caught:
        destination.put(part, KEY)
    check_line(caught.value, "arrived whole as", "won't rename", "let this user rename")
    assert not (sftp.root / KEY).exists()
    sftp.fault = None
    sftp.operations.clear()
    destination.put(part, KEY)
    assert "write" not in sftp.operations
    assert leftovers(sftp.root) == []


def test_sftp_folder_refused_and_listing_refused(
    sftp: SftpServer, opened: Callable[..., Destination], tmp_path: Path
) -> None:
    def refuse(operation: str, about: Any) -> None:
        if operation in ("mkdir", "list"):
            raise PermissionError(errno.EACCES, "Permission denied")

    sftp.fault = refuse
    destination = opened(**sftp_settings(sftp))
    with pytest.raises(DeliveryError) as caught:
        destination.put(make_part(tmp_path), KEY)
    check_line(caught.value, "won't create folder acme")
    with pytest.raises(CannotListError):
        list(destination.list(""))


def test_sftp_chroot_whose_top_is_not_ours(
    sftp: SftpServer, opened: Callable[..., Destination], tmp_path: Path
) -> None:
    """As sshd demands it: only a folder below may be written to."""
    (sftp.root / "in").mkdir()

    def refuse(operation: str, about: Any) -> None:
        if operation in ("mkdir", "open") and "/in/" not in about:
            raise PermissionError(errno.EACCES, "Permission denied")

    sftp.fault = refuse
    with pytest.raises(DeliveryError) as caught:
        opened(**sftp_settings(sftp, directory="/")).put(make_part(tmp_path), KEY)
    check_line(caught.value, "won't create folder /acme: Permission denied", "`directory`", "`layout: flat`")
    with pytest.raises(DeliveryError) as caught:
        opened(**sftp_settings(sftp, layout="flat")).put(make_part(tmp_path), NAME)
    check_line(caught.value, "won't write .ftp_dpm")
    opened(**sftp_settings(sftp, directory="/in")).put(make_part(tmp_path), KEY)
    opened(**sftp_settings(sftp, directory="/in/", layout="flat")).put(make_part(tmp_path), NAME)
    assert (sftp.root / "in" / KEY).exists() and (sftp.root / "in" / NAME).exists()


def test_sftp_where_nobody_may_read(
    sftp: SftpServer, opened: Callable[..., Destination], tmp_path: Path
) -> None:
    """A drop box: the size must do for what is there already, and nothing is appended to what can't be compared."""

    def refuse(operation: str, about: Any) -> None:
        if operation == "read":
            raise PermissionError(errno.EACCES, "Permission denied")

    part = make_part(tmp_path)
    destination = opened(**sftp_settings(sftp))
    destination.put(part, KEY)
    sftp.fault = refuse
    assert destination.put(part, KEY).bytes == part.bytes
    other = f"{KEY}.2"
    temporary = (sftp.root / other).with_name(temporary_name(f"{NAME}.2", part))
    temporary.write_bytes(part.path.read_bytes()[:10])
    progress: list[int] = []
    destination.put(part, other, progress.append)
    assert (sftp.root / other).read_bytes() == part.path.read_bytes()
    assert 10 not in progress
