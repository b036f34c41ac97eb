"""FTP over TLS and plain: old servers, lost connections, and folders that may not be entered."""

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from servers import HOST, Certificate, FtpServer, ftp_server

from aam_onboard.destinations import CannotListError, Destination
from aam_onboard.errors import ConfigError, DeliveryError
from destinations.helpers import KEY, MIB, PASSWORD, check_line, ftp_settings, leftovers, make_part


def test_ftp_is_binary_and_data_sessions_are_resumed(
    opened: Callable[..., Destination], tmp_path: Path, certificate: Certificate
) -> None:
    for version, tls_1_2 in (("1.3", False), ("1.2", True)):
        root = tmp_path / version
        with ftp_server(root, certificate.certificate, demand_reuse=True, tls_1_2=tls_1_2) as server:
            destination = opened(**ftp_settings(server, tls=True, ca_file=str(certificate.ca_file)))
            part = make_part(tmp_path, 2 * MIB)
            destination.put(part, KEY)
            destination.put(part, f"{KEY}.2")
            assert len(list(destination.list(""))) == 2
            assert (root / KEY).read_bytes() == part.path.read_bytes()
            assert server.reused_sessions
            assert all(server.reused_sessions)
            assert "TYPE I" in server.commands
            assert "PROT P" in server.commands
            assert destination.uri(KEY) == f"ftps://{HOST}:{server.port}/{KEY}"


def test_the_test_server_refuses_data_sessions_that_are_new(tmp_path: Path, certificate: Certificate) -> None:
    """Else the test above would prove nothing: ftplib's own client must fail."""
    import ftplib
    import ssl

    with ftp_server(tmp_path / "ftp", certificate.certificate, demand_reuse=True) as server:
        (server.root / "file").write_bytes(bytes(MIB))
        client = ftplib.FTP_TLS(
            context=ssl.create_default_context(cafile=str(certificate.ca_file)), timeout=10
        )
        client.connect(HOST, server.port)
        client.login("loader", PASSWORD)
        client.prot_p()
        with pytest.raises(ftplib.all_errors):
            client.retrbinary("RETR file", lambda _: None)
        client.close()
        assert server.reused_sessions == [False]


def test_ftps_wrong_authority(
    ftps: FtpServer, opened: Callable[..., Destination], other_certificate: Certificate
) -> None:
    for more in ({"ca_file": str(other_certificate.ca_file)}, {}):
        with pytest.raises(DeliveryError) as caught:
            opened(**ftp_settings(ftps, tls=True, retries=2, **more)).reach()
        check_line(caught.value, "certificate does not verify", "`ca_file`")
    assert not any(command.startswith(("USER", "PASS")) for command in ftps.commands)


def test_ftps_server_without_tls_gets_no_password(ftp: FtpServer, opened: Callable[..., Destination]) -> None:
    with pytest.raises(DeliveryError) as caught:
        opened(**ftp_settings(ftp, tls=True)).reach()
    check_line(caught.value, "offers no TLS", "`tls: false`")
    assert not any(command.startswith(("USER", "PASS")) for command in ftp.commands)


def test_ftps_of_the_other_kind(
    ftps: FtpServer, implicit_ftps: FtpServer, opened: Callable[..., Destination], certificate: Certificate
) -> None:
    """One waits for the other's first word, or takes it for nonsense."""
    more = {"ca_file": str(certificate.ca_file), "timeout": 0.5}
    with pytest.raises(DeliveryError) as caught:
        opened(**ftp_settings(ftps, tls="implicit", **more)).reach()
    check_line(caught.value, "no TLS comes about", "`port` and `tls`", "on port 990")
    with pytest.raises(DeliveryError) as caught:
        opened(**ftp_settings(implicit_ftps, tls=True, **more)).reach()
    check_line(caught.value, "timed out", "whether it wants `tls: implicit`")
    with pytest.raises(DeliveryError) as caught:
        opened(**ftp_settings(implicit_ftps, tls="implicit", timeout=5)).reach()
    check_line(caught.value, "certificate does not verify", "`ca_file`")
    for server in (ftps, implicit_ftps):
        assert not any(command.startswith(("USER", "PASS")) for command in server.commands)


@pytest.mark.parametrize("tls", [False, True])
def test_ftp_server_that_tells_a_private_address(
    opened: Callable[..., Destination], tmp_path: Path, certificate: Certificate, tls: bool
) -> None:
    """Behind a NAT that it does not know of: the data go to where the commands go."""
    own = certificate.certificate if tls else None
    with ftp_server(tmp_path / "ftp", own, passive_address="10.1.2.3") as server:
        destination = opened(**ftp_settings(server, tls=tls, ca_file=str(certificate.ca_file)))
        part = make_part(tmp_path)
        destination.put(part, KEY)
        assert [found.bytes for found in destination.list("acme/")] == [part.bytes]


def test_ftp_wrong_ca_file(ftp: FtpServer, opened: Callable[..., Destination], tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        opened(**ftp_settings(ftp, tls=True, ca_file=str(tmp_path / "none.pem"))).reach()
    check_line(caught.value, "`ca_file`", "No such file")


def test_ftp_wrong_password(
    ftp: FtpServer, opened: Callable[..., Destination], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FTP_PASSWORD", "wrong-word")
    with pytest.raises(DeliveryError) as caught:
        opened(**ftp_settings(ftp)).reach()
    check_line(caught.value, "refuses user loader with the password of FTP_PASSWORD (530)")
    assert "wrong-word" not in str(caught.value)
    monkeypatch.delenv("FTP_PASSWORD")
    with pytest.raises(ConfigError) as caught_config:
        opened(**ftp_settings(ftp)).reach()
    check_line(caught_config.value, "FTP_PASSWORD is not set", "`password_env`")


def test_ftp_unreachable(opened: Callable[..., Destination], tmp_path: Path) -> None:
    with pytest.raises(DeliveryError) as caught:
        opened(**ftp_settings(FtpServer(1, tmp_path))).reach()
    check_line(caught.value, "can't be reached", "`host` and `port`")
    with pytest.raises(DeliveryError) as caught:
        opened(**ftp_settings(FtpServer(1, tmp_path), host="no-such-host.invalid")).reach()
    check_line(caught.value, "the host is unknown", "`host`")


@pytest.mark.parametrize("unknown", [set(), {"REST"}, {"REST", "APPE"}])
@pytest.mark.parametrize("tls", [False, True])
def test_ftp_goes_on_after_a_lost_connection(
    opened: Callable[..., Destination],
    tmp_path: Path,
    certificate: Certificate,
    unknown: set[str],
    tls: bool,
) -> None:
    part = make_part(tmp_path, 4 * MIB)
    with ftp_server(tmp_path / "ftp", certificate.certificate if tls else None, demand_reuse=tls) as ftp:
        ftp.unknown = unknown
        lost: list[int] = []

        def drop(operation: str, about: Any) -> str | None:
            if operation == "write" and about > MIB and not lost:
                lost.append(about)
                return "drop"
            return None

        ftp.fault = drop
        more = {"tls": True, "ca_file": str(certificate.ca_file)} if tls else {}
        progress: list[int] = []
        opened(**ftp_settings(ftp, retries=1, **more)).put(part, KEY, progress.append)
        assert len(lost) == 1
        assert (ftp.root / KEY).read_bytes() == part.path.read_bytes()
        assert leftovers(ftp.root) == []
        assert sum(progress) == part.bytes


def test_ftp_a_server_that_stops_for_good(
    ftp: FtpServer, opened: Callable[..., Destination], tmp_path: Path
) -> None:
    ftp.fault = lambda operation, about: "drop" if operation == "write" and about > MIB else None
    with pytest.raises(DeliveryError) as caught:
        opened(**ftp_settings(ftp)).put(make_part(tmp_path, 4 * MIB), KEY)
    check_line(caught.value, KEY, "the connection broke", "deliver again")
    assert not (ftp.root / KEY).exists()


def test_ftp_disk_full(ftp: FtpServer, opened: Callable[..., Destination], tmp_path: Path) -> None:
    ftp.fault = lambda operation, about: "552 Disk full" if operation == "write" and about > MIB else None
    with pytest.raises(DeliveryError) as caught:
        opened(**ftp_settings(ftp, retries=2)).put(make_part(tmp_path, 4 * MIB), KEY)
    check_line(caught.value, KEY, "552 Disk full")
    assert [path for path in ftp.root.rglob("*") if path.is_file()] == []
    assert sum(command.startswith("STOR") for command in ftp.commands) == 1


def test_ftp_rename_and_folder_refused(
    ftp: FtpServer, opened: Callable[..., Destination], tmp_path: Path
) -> None:
    refused = ""

    def refuse(operation: str, about: Any) -> None:
        if operation == refused:
            raise PermissionError(errno.EACCES, "Permission denied")

    ftp.fault = refuse
    destination = opened(**ftp_settings(ftp))
    for operation, said in (("mkdir", "won't create folder acme"), ("rename", "arrived whole as")):
        refused = operation
        with pytest.raises(DeliveryError) as caught:
            destination.put(make_part(tmp_path), KEY)
        check_line(caught.value, said)
    ftp.fault = None
    ftp.commands.clear()
    destination.put(make_part(tmp_path), KEY)
    assert not any(command.startswith("STOR") for command in ftp.commands)
    assert leftovers(ftp.root) == []


@pytest.mark.parametrize("unknown", [{"SIZE"}, {"FEAT", "MLSD"}])
def test_ftp_old_servers(
    ftp: FtpServer, opened: Callable[..., Destination], tmp_path: Path, unknown: set[str]
) -> None:
    ftp.unknown = unknown
    destination = opened(**ftp_settings(ftp, directory="/"))
    part = make_part(tmp_path)
    destination.put(part, KEY)
    assert (ftp.root / KEY).read_bytes() == part.path.read_bytes()
    assert [found.bytes for found in destination.list("acme/date=2026-03-09/")] == [part.bytes]


@pytest.mark.parametrize("directory", ["", "/in"])
def test_ftp_folder_that_must_not_be_entered_is_not_an_absent_one(
    ftp: FtpServer, opened: Callable[..., Destination], tmp_path: Path, directory: str
) -> None:
    """Servers answer 550 to both; else a file that waits there would count as gone."""
    (ftp.root / "in").mkdir()
    destination = opened(**ftp_settings(ftp, directory=directory))
    assert list(destination.list("acme/date=2026-03-09/")) == []
    destination.put(make_part(tmp_path), KEY)

    def forbid(operation: str, about: Any) -> None:
        if operation == "chdir" and about.endswith("date=2026-03-09"):
            raise PermissionError(errno.EACCES, "Permission denied")

    ftp.fault = forbid
    with pytest.raises(CannotListError, match="550"):
        list(destination.list("acme/date=2026-03-09/ftp_"))
    assert list(destination.list("acme/date=2026-03-10/")) == []


def test_ftp_that_can_not_list(ftp: FtpServer, opened: Callable[..., Destination], tmp_path: Path) -> None:
    destination = opened(**ftp_settings(ftp))
    destination.put(make_part(tmp_path), KEY)
    ftp.unknown = {"FEAT", "MLSD", "NLST"}
    with pytest.raises(CannotListError, match="502"):
        list(destination.list("acme/"))
