"""FTP over TLS, or plain where `tls: false` says so; always in binary mode [inbound-file-encryption].

The data connections resume the control connection's TLS session, since many servers, ProFTPD by default, accept no
others: that proves that both come from the same client.
"""

from __future__ import annotations

import ftplib
import re
import socket
import ssl
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path

from aam_onboard.destinations.common import BLOCK, OnBytes, blocks, reason
from aam_onboard.destinations.remote import Entry, Remote, ServerFault, ServerRefusal, secret
from aam_onboard.destinations.settings import IMPLICIT_FTPS_PORT, FtpSettings
from aam_onboard.errors import ConfigError, DeliveryError

# The command is not there, or not in this form.
_UNKNOWN_COMMAND = ("500", "501", "502", "504")


def open_ftp(name: str, settings: FtpSettings) -> Remote:
    """The destination; it connects when it is first used."""
    return Remote(name, settings, "ftps" if settings.tls else "ftp", lambda: _FtpSession(name, settings))


class _FtpOverTls(ftplib.FTP_TLS):
    """ftplib's client, whose data connections resume the control connection's TLS session."""

    def ntransfercmd(self, cmd: str, rest: int | str | None = None) -> tuple[socket.socket, int | None]:
        connection, size = ftplib.FTP.ntransfercmd(self, cmd, rest)  # noqa: S321 — TLS follows
        session = self.sock.session if isinstance(self.sock, ssl.SSLSocket) else None
        try:
            return self.context.wrap_socket(connection, server_hostname=self.host, session=session), size
        except BaseException:
            connection.close()
            raise


class _FtpOverTlsAtOnce(_FtpOverTls):
    """Implicit FTPS: the server speaks TLS before its first word, and knows no AUTH."""

    def connect(
        self,
        host: str = "",
        port: int = 0,
        timeout: float = -999,
        source_address: tuple[str, int] | None = None,
    ) -> str:
        self.host, self.port, self.timeout = host, port, timeout
        connection = socket.create_connection((host, port), timeout, source_address)
        try:
            self.sock = self.context.wrap_socket(connection, server_hostname=host)
        except BaseException:
            connection.close()
            raise
        self.af = self.sock.family
        self.file = self.sock.makefile("r", encoding=self.encoding)
        self.welcome = self.getresp()
        return self.welcome


class _FtpSession:
    """A session over ftplib."""

    def __init__(self, name: str, settings: FtpSettings) -> None:
        self._name = name
        self._settings = settings
        self._password = secret(name, "password_env", settings.password_env) or ""
        self._begin()

    def _begin(self) -> None:
        """Connect and log in."""
        settings = self._settings
        where = f"output `{self._name}`: {settings.host}:{settings.port}"
        self._binary = False
        self._ftp = self._client()
        try:
            with _our_errors("let us in"):
                self._connect(where)
                try:
                    self._ftp.login(settings.user, self._password)
                except ftplib.error_perm as error:
                    raise DeliveryError(
                        f"{where}: the server refuses user {settings.user} with the password of "
                        f"{settings.password_env} ({reason(error)[:3]}); check both"
                    ) from error
                if isinstance(self._ftp, _FtpOverTls):
                    self._ftp.prot_p()
        except BaseException:
            self._ftp.close()
            raise

    def _client(self) -> ftplib.FTP:
        if not self._settings.tls:
            return ftplib.FTP()  # noqa: S321 — as `tls: false` says
        kind = _FtpOverTlsAtOnce if self._settings.tls == "implicit" else _FtpOverTls
        return kind(context=_context(self._name, self._settings))

    def _connect(self, where: str) -> None:
        """Connect and encrypt the control connection, before user and password travel."""
        settings = self._settings
        try:
            self._ftp.connect(settings.host, settings.port, settings.timeout)
            if settings.tls is True and isinstance(self._ftp, _FtpOverTls):
                _start_tls(self._ftp, where)
        except ssl.SSLCertVerificationError as error:
            raise DeliveryError(
                f"{where}: the server's certificate does not verify ({error.verify_message}); check `host`, or "
                "name the authority that signed it with `ca_file`"
            ) from error
        except ssl.SSLError as error:
            raise DeliveryError(
                f"{where}: no TLS comes about ({reason(error)}); check `port` and `tls`: as a rule servers speak "
                f"`tls: implicit` on port {IMPLICIT_FTPS_PORT} alone"
            ) from error
        except socket.gaierror as error:
            raise ServerRefusal(f"the host is unknown ({reason(error)}); check `host`") from error
        except OSError as error:
            # A server that waits for TLS keeps silent.
            silent = settings.tls is True and isinstance(error, TimeoutError)
            check = "`host`, `port`, and whether it wants `tls: implicit`" if silent else "`host` and `port`"
            raise ServerFault(f"the server can't be reached ({reason(error)}); check {check}") from error

    def size(self, path: str) -> int | None:
        with _our_errors(f"tell the size of {path}"):
            self._be_binary()
            try:
                answer = self._ftp.sendcmd(f"SIZE {path}")
                return int(answer[3:].strip())
            except ftplib.error_perm as error:
                if reason(error).startswith("550"):
                    return None
                if not reason(error).startswith(_UNKNOWN_COMMAND):
                    raise
        folder, _, name = path.rpartition("/")
        return next((entry.bytes for entry in self.entries(folder or ".") if entry.name == name), None)

    def send(self, source: Path, path: str, offset: int, on_bytes: OnBytes) -> None:
        with _our_errors(f"write {path}"):
            connection = self._append(path, offset) if offset else self._transfer(f"STOR {path}")
            sent = 0
            try:
                with connection:
                    for data in blocks(source, offset):
                        connection.sendall(data)
                        sent += len(data)
                        on_bytes(sent)
                    _end_tls(connection)
            except OSError:
                # Why it hung up, a full disk say, it tells on the control connection, if that still stands.
                with suppress(OSError, EOFError):
                    self._ftp.voidresp()
                raise
            self._ftp.voidresp()

    def _be_binary(self) -> None:
        # In ASCII mode a server may rewrite line ends, and tells no size.
        if not self._binary:
            self._ftp.voidcmd("TYPE I")
            self._binary = True

    def _append(self, path: str, offset: int) -> socket.socket:
        try:
            return self._transfer(f"STOR {path}", offset)
        except ftplib.error_perm:
            # No REST for uploads; APPE needs none, and the size has just been seen.
            return self._transfer(f"APPE {path}")

    def _transfer(self, command: str, offset: int = 0) -> socket.socket:
        self._be_binary()
        try:
            return self._ftp.transfercmd(command, offset or None)
        except ftplib.error_perm:
            self._begin_anew()
            raise

    def _begin_anew(self) -> None:
        """After a refused transfer, for some servers then answer a second time for its unused data connection."""
        self._ftp.close()
        self._begin()

    def read(self, path: str, offset: int) -> Generator[bytes, None, None]:
        with _our_errors(f"read {path}"):
            connection = self._transfer(f"RETR {path}", offset)
            complete = False
            try:
                with connection:
                    while data := connection.recv(BLOCK):
                        yield data
                    _end_tls(connection)
                complete = True
            finally:
                if complete:
                    self._ftp.voidresp()
                else:
                    # Whoever stops reading leaves an answer behind: that the transfer broke off.
                    with suppress(*ftplib.all_errors):
                        self._ftp.voidresp()

    def rename(self, path: str, new_path: str) -> None:
        with _our_errors(f"rename {path} to {new_path}"):
            self._ftp.rename(path, new_path)

    def remove(self, path: str) -> None:
        with _our_errors(f"remove {path}"):
            try:
                self._ftp.delete(path)
            except ftplib.error_perm:
                if self.size(path) is not None:
                    raise

    def has_folder(self, path: str) -> bool:
        with _our_errors(f"enter folder {path}"):
            here = self._ftp.pwd()
            try:
                self._ftp.cwd(path)
            except ftplib.error_perm:
                return False
            self._ftp.cwd(here)
            return True

    def make_folder(self, path: str) -> None:
        with _our_errors(f"create folder {path}"):
            try:
                self._ftp.mkd(path)
            except ftplib.error_perm:
                # It is there already, or can't be made: the answers' texts don't tell which.
                if not self.has_folder(path):
                    raise

    def entries(self, folder: str) -> list[Entry]:
        with _our_errors(f"list {folder}"):
            here = self._ftp.pwd()
            try:
                self._ftp.cwd(folder)
            except ftplib.error_perm as error:
                # 550 is said of what is not there and of what is forbidden; only the folder above tells which.
                if reason(error).startswith("550") and not self._is_listed(folder):
                    return []
                raise
            try:
                found = self._entries_here()
            except ftplib.error_perm:
                self._begin_anew()
                raise
            self._ftp.cwd(here)
            return found

    def _is_listed(self, folder: str) -> bool:
        above, _, name = folder.rstrip("/").rpartition("/")
        if name in ("", "."):
            return True  # where we begin
        above = above or ("/" if folder.startswith("/") else ".")
        return any(entry.name == name for entry in self.entries(above))

    def _entries_here(self) -> list[Entry]:
        self._binary = False  # ftplib lists in ASCII mode
        if self._knows_mlsd():
            listed = self._ftp.mlsd(facts=["type", "size", "modify"])
            return [_entry(name, facts) for name, facts in listed if facts.get("type") in ("file", "dir")]
        names = [path.rpartition("/")[2] for path in self._ftp.nlst()]
        self._be_binary()
        found = []
        for name in names:
            with suppress(ftplib.error_perm):  # a folder has no size
                found.append(Entry(name, int(self._ftp.sendcmd(f"SIZE {name}")[3:].strip()), None))
        return found

    def _knows_mlsd(self) -> bool:
        try:
            return (
                re.search(r"^ *MLS[DT]", self._ftp.sendcmd("FEAT"), re.MULTILINE | re.IGNORECASE) is not None
            )
        except ftplib.error_perm:
            return False

    def close(self) -> None:
        with suppress(*ftplib.all_errors):
            self._ftp.quit()
        self._ftp.close()


@contextmanager
def _our_errors(what: str) -> Iterator[None]:
    """Sort what ftplib raises: did the connection break, or did the server say no?"""
    try:
        yield
    except ftplib.error_perm as error:
        raise ServerRefusal(f"the server won't {what}: {reason(error)}") from error
    except ftplib.error_temp as error:
        raise ServerFault(f"the server can't {what} now: {reason(error)}") from error
    except ftplib.Error as error:
        raise ServerFault(f"the server answers nonsense ({reason(error)})") from error
    except (OSError, EOFError) as error:
        raise ServerFault(f"the connection broke ({reason(error)})") from error


def _context(name: str, settings: FtpSettings) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=str(settings.ca_file) if settings.ca_file else None)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"output `{name}`: `ca_file` {settings.ca_file}: {reason(error)}") from error


def _start_tls(ftp: _FtpOverTls, where: str) -> None:
    try:
        ftp.auth()
    except ftplib.error_perm as error:
        raise DeliveryError(
            f"{where}: the server offers no TLS ({reason(error)}); only `tls: false` sends user, password and "
            "data unencrypted"
        ) from error


def _end_tls(connection: socket.socket) -> None:
    """Say that the data are complete: servers that know TLS well take a mere hang-up for an attack."""
    if isinstance(connection, ssl.SSLSocket):
        with suppress(OSError):  # the server may have hung up first; size and answer tell
            connection.unwrap()


def _entry(name: str, facts: dict[str, str]) -> Entry:
    modified = None
    if re.fullmatch(r"[0-9]{14}([.][0-9]+)?", facts.get("modify", "")):
        modified = datetime.strptime(facts["modify"][:14], "%Y%m%d%H%M%S").replace(tzinfo=timezone.utc)
    return Entry(name, None if facts.get("type") == "dir" else int(facts.get("size", 0)), modified)
