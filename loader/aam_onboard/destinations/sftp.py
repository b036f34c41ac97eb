"""SFTP [faq-data-collection]: by a key, from a file or ssh-agent, and only to hosts that are known.

paramiko rather than asyncssh: `put` is called from threads and blocks, which is paramiko's own way of working.
"""

from __future__ import annotations

import hmac
import io
import logging
import os
import re
import socket
import stat
from base64 import b64decode, b64encode
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aam_onboard.destinations.common import BLOCK, OnBytes, reason
from aam_onboard.destinations.remote import Entry, Remote, ServerFault, ServerRefusal, secret
from aam_onboard.destinations.settings import SftpSettings
from aam_onboard.errors import ConfigError, DeliveryError

if TYPE_CHECKING:
    import paramiko

# A write request of this size fits into every server's packets; paramiko cuts larger ones itself.
_REQUEST = 32 * 1024
# Requests of reading that wait for their answers: more would only wait in memory.
_REQUESTS_AHEAD = 64


def open_sftp(name: str, settings: SftpSettings) -> Remote:
    """The destination; it connects when it is first used."""
    return Remote(name, settings, "sftp", lambda: _SftpSession(name, settings))


class _SftpSession:
    """A session over paramiko."""

    def __init__(self, name: str, settings: SftpSettings) -> None:
        import paramiko

        # paramiko logs a broken connection with its traceback; we say it in one line.
        logging.getLogger("paramiko").setLevel(logging.CRITICAL)
        password = secret(name, "password_env", settings.password_env)
        passphrase = secret(name, "passphrase_env", settings.passphrase_env)
        self._client = paramiko.SSHClient()
        known = _known_keys(name, settings)
        # We read known_hosts ourselves, so that to paramiko each host is a missing one.
        self._client.set_missing_host_key_policy(_refusing_unknown_keys(name, settings, known))
        self._agent: paramiko.Agent | None = None
        keys: Sequence[paramiko.PKey | None] = [None]
        if settings.key_file:
            keys = [_load_key(name, settings.key_file, passphrase)]
        elif password is None:
            self._agent, keys = _keys_of_agent(name)
        try:
            with _our_errors(f"output `{name}`", None):
                self._log_in(name, settings, keys, password, _asking_for(known))
                self._sftp = self._client.open_sftp()
                channel = self._sftp.get_channel()
                if channel is not None:
                    channel.settimeout(settings.timeout)
        except BaseException:
            self.close()
            raise

    def _log_in(
        self,
        name: str,
        settings: SftpSettings,
        keys: Sequence[paramiko.PKey | None],
        password: str | None,
        transport: Callable[..., paramiko.Transport],
    ) -> None:
        """A connection a key, for a server counts refused keys, and some take no second one."""
        import paramiko

        refusal: Exception | None = None
        for key in keys:
            try:
                self._client.connect(
                    settings.host,
                    settings.port,
                    settings.user,
                    password=password,
                    pkey=key,
                    timeout=settings.timeout,
                    banner_timeout=settings.timeout,
                    auth_timeout=settings.timeout,
                    channel_timeout=settings.timeout,
                    allow_agent=False,
                    look_for_keys=False,
                    transport_factory=transport,
                )
                return
            except paramiko.AuthenticationException as error:
                self._client.close()
                refusal = error
        means = "the keys of ssh-agent"
        if settings.key_file:
            means = f"`key_file` {settings.key_file}"
        elif settings.password_env:
            means = f"`{settings.password_env}`"
        raise DeliveryError(
            f"output `{name}`: {settings.host}:{settings.port}: the server refuses user {settings.user} with {means};"
            " check `user`, and that the server has this key's public half"
        ) from refusal

    def size(self, path: str) -> int | None:
        with self._doing(f"look at {path}"):
            try:
                return self._sftp.stat(path).st_size
            except FileNotFoundError:
                return None

    def send(self, source: Path, path: str, offset: int, on_bytes: OnBytes) -> None:
        with source.open("rb") as file, self._doing(f"write {path}"):
            file.seek(offset)
            end = os.fstat(file.fileno()).st_size
            with self._sftp.open(path, "r+b" if offset else "wb") as target:
                target.seek(offset)
                # Don't wait for the answer to each request: one way to the server a request would be slow.
                target.set_pipelined(True)
                sent = offset
                while data := file.read(_REQUEST):
                    sent += len(data)
                    # A write that waits also collects the answers to those before it, and raises what they say;
                    # closing the file would pass over them.
                    if sent >= end:
                        target.set_pipelined(False)
                    target.write(data)
                    on_bytes(sent - offset)

    def read(self, path: str, offset: int) -> Generator[bytes, None, None]:
        with self._doing(f"read {path}"), self._sftp.open(path, "rb") as file:
            file.seek(offset)
            size = file.stat().st_size or 0
            _let_askers_end_quietly(file)
            file.prefetch(size, _REQUESTS_AHEAD)
            while data := file.read(BLOCK):
                yield data

    def rename(self, path: str, new_path: str) -> None:
        with self._doing(f"rename {path} to {new_path}"):
            try:
                self._sftp.posix_rename(path, new_path)
            except OSError as error:
                if self._broken(error):
                    raise
                # No such extension: the plain one, which some servers do by a second link.
                self._sftp.rename(path, new_path)

    def remove(self, path: str) -> None:
        with self._doing(f"remove {path}"), suppress(FileNotFoundError):
            self._sftp.remove(path)

    def has_folder(self, path: str) -> bool:
        with self._doing(f"look at {path}"):
            try:
                return stat.S_ISDIR(self._sftp.stat(path).st_mode or 0)
            except FileNotFoundError:
                return False

    def make_folder(self, path: str) -> None:
        with self._doing(f"create folder {path}"):
            try:
                self._sftp.mkdir(path, 0o700)
            except OSError as error:
                if self._broken(error):
                    raise
                try:
                    self._sftp.stat(path)
                except FileNotFoundError:
                    raise error from None

    def entries(self, folder: str) -> list[Entry]:
        with self._doing(f"list {folder}"):
            try:
                return [_entry(found) for found in self._sftp.listdir_attr(folder)]
            except FileNotFoundError:
                return []

    def close(self) -> None:
        with suppress(Exception):
            self._client.close()
            if self._agent:
                self._agent.close()

    def _broken(self, error: BaseException) -> bool:
        transport = self._client.get_transport()
        return (
            isinstance(error, (ConnectionError, TimeoutError))
            or transport is None
            or not transport.is_active()
        )

    @contextmanager
    def _doing(self, what: str) -> Iterator[None]:
        with _our_errors(what, self):
            yield


@contextmanager
def _our_errors(what: str, session: _SftpSession | None) -> Iterator[None]:
    """Sort what paramiko raises: did the connection break, or did the server say no?"""
    import paramiko

    try:
        yield
    except (EOFError, paramiko.SSHException) as error:
        raise ServerFault(f"the connection broke ({reason(error)})") from error
    except socket.gaierror as error:
        raise ServerRefusal(f"the host is unknown ({reason(error)}); check `host`") from error
    except OSError as error:
        if session is None:
            raise ServerFault(
                f"the server can't be reached ({reason(error)}); check `host` and `port`"
            ) from error
        if session._broken(error):
            raise ServerFault(f"the connection broke ({reason(error)})") from error
        raise ServerRefusal(f"the server won't {what}: {reason(error)}") from error


@dataclass(frozen=True)
class _KnownKey:
    """A line of known_hosts that is about our server."""

    key: paramiko.PKey
    is_revoked: bool


def _known_keys(name: str, settings: SftpSettings) -> list[_KnownKey]:
    """What known_hosts says of the server, as OpenSSH reads it.

    paramiko takes one key of each kind, asks for the first line's kind alone, and fails on markers, patterns and
    damaged lines. No certificates: it does not know those.
    """
    import paramiko

    try:
        lines = settings.known_hosts.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return []  # then no host is known, and the refusal says how to make the file
    except OSError as error:
        raise ConfigError(
            f"output `{name}`: `known_hosts` {settings.known_hosts}: {reason(error)}"
        ) from error
    host = settings.host.lower()
    # Where no line names the port, OpenSSH takes those of the host.
    for wanted in [host] if settings.port == 22 else [f"[{host}]:{settings.port}", host]:
        found = []
        for number, line in enumerate(lines, start=1):
            words = line.split()
            marker = words.pop(0) if line.startswith("@") else ""
            if len(words) < 3 or line.startswith("#") or marker not in ("", "@revoked"):
                continue
            names, kind, key = words[:3]
            if not _names_host(names, wanted):
                continue
            try:
                entry = paramiko.hostkeys.HostKeyEntry.from_line(f"{host} {kind} {key}")
            except Exception as error:  # whatever a damaged key makes of paramiko and cryptography
                raise ConfigError(
                    f"output `{name}`: `known_hosts` {settings.known_hosts}: the key in line {number} can't be "
                    f"read; {_how_to_replace(settings)}"
                ) from error
            if entry and entry.key:  # else of a kind that paramiko does not know
                found.append(_KnownKey(entry.key, is_revoked=bool(marker)))
        if found:
            return found
    return []


def _names_host(names: str, host: str) -> bool:
    """Whether the first field of a line in known_hosts means the host: hashed, or a list of patterns."""
    if names.startswith("|1|"):
        try:
            salt, digest = (b64decode(text, validate=True) for text in names.split("|")[2:])
        except ValueError:
            return False
        return hmac.compare_digest(hmac.digest(salt, host.encode(), "sha1"), digest)
    found = False
    for pattern in names.lower().split(","):
        as_regex = re.escape(pattern.removeprefix("!")).replace(r"\*", ".*").replace(r"\?", ".")
        if re.fullmatch(as_regex, host):
            if pattern.startswith("!"):
                return False
            found = True
    return found


def _asking_for(known: list[_KnownKey]) -> Callable[..., paramiko.Transport]:
    """Makes transports that ask the server for a key of a kind that we know, before any other."""
    import paramiko

    kinds = {entry.key.get_name() for entry in known if not entry.is_revoked}

    def is_unknown(algorithm: str) -> bool:
        return ("ssh-rsa" if algorithm.startswith("rsa-") else algorithm) not in kinds

    def make(*arguments: Any, **more: Any) -> paramiko.Transport:
        transport = paramiko.Transport(*arguments, **more)
        options = transport.get_security_options()
        options.key_types = sorted(options.key_types, key=is_unknown)
        return transport

    return make


def _refusing_unknown_keys(
    name: str, settings: SftpSettings, known: list[_KnownKey]
) -> paramiko.MissingHostKeyPolicy:
    """Goes on only with a key that known_hosts has for the host; else it says how to get it there."""
    import paramiko

    where = f"output `{name}`: {settings.host}:{settings.port}"
    revoked = [entry.key.asbytes() for entry in known if entry.is_revoked]
    valid = [entry.key for entry in known if not entry.is_revoked]

    class Refuse(paramiko.MissingHostKeyPolicy):
        def missing_host_key(self, client: object, hostname: str, key: paramiko.PKey) -> None:
            if key.asbytes() in revoked:
                raise DeliveryError(
                    f"{where}: the host key {_fingerprint(key)} is revoked in {settings.known_hosts}; ask the "
                    "server's owner for the new one"
                )
            if not valid:
                raise DeliveryError(
                    f"{where} is not in {settings.known_hosts}; its key is {_fingerprint(key)}. If the server's "
                    f"owner confirms that: {_how_to_add(settings)}"
                )
            if key.asbytes() not in [other.asbytes() for other in valid]:
                # Of those of its kind, if there are any.
                expected = min(valid, key=lambda other: other.get_name() != key.get_name())
                raise DeliveryError(
                    f"{where}: the host key has changed: it is {_fingerprint(key)}, {settings.known_hosts} has "
                    f"{_fingerprint(expected)}; somebody may stand between. If the server's owner confirms the "
                    f"new key: {_how_to_replace(settings)}"
                )

    return Refuse()


def _keys_of_agent(name: str) -> tuple[paramiko.Agent, Sequence[paramiko.PKey]]:
    """ssh-agent's keys, and the connection over which they sign; ConfigError when there are none."""
    import paramiko

    try:
        agent = paramiko.Agent()
        keys = agent.get_keys()
        problem = (
            "has no key" if os.environ.get("SSH_AUTH_SOCK") else "does not run (SSH_AUTH_SOCK is not set)"
        )
    except (OSError, paramiko.SSHException) as error:
        keys, problem = (), f"does not answer ({reason(error)})"
    if keys:
        return agent, keys
    raise ConfigError(
        f"output `{name}`: key `key_file` is missing, and ssh-agent {problem}; name a `key_file`, or a "
        "`password_env` for a server that takes passwords"
    )


def _load_key(name: str, path: Path, passphrase: str | None) -> paramiko.PKey:
    """The private key, in any form that OpenSSH writes.

    cryptography reads the file, for paramiko fails on some: PKCS #8, and keys with an empty comment.
    """
    import paramiko
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    where = f"output `{name}`: `key_file` {path}"
    password = passphrase.encode() if passphrase else None
    try:
        data = path.read_bytes()
        if b"OPENSSH PRIVATE KEY" in data:
            key: object = serialization.load_ssh_private_key(data, password)
        else:
            key = serialization.load_pem_private_key(data, password)
    except OSError as error:
        raise ConfigError(f"{where}: {reason(error)}") from error
    except TypeError as error:
        if passphrase:
            raise ConfigError(f"{where} is not encrypted; take `passphrase_env` away") from error
        raise ConfigError(
            f"{where} is encrypted; put its passphrase into an environment variable and name that with "
            "`passphrase_env`"
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        perhaps = "perhaps the passphrase is wrong" if passphrase else "name the file without .pub"
        raise ConfigError(f"{where} can't be read as a private key; {perhaps}") from error
    kind: type[paramiko.PKey]
    form = serialization.PrivateFormat.TraditionalOpenSSL
    match key:
        case rsa.RSAPrivateKey():
            kind = paramiko.RSAKey
        case ec.EllipticCurvePrivateKey():
            kind = paramiko.ECDSAKey
        case ed25519.Ed25519PrivateKey():
            kind, form = paramiko.Ed25519Key, serialization.PrivateFormat.OpenSSH
        case _:
            raise ConfigError(f"{where} is of another kind than Ed25519, ECDSA and RSA; make a new one")
    text = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()
    return kind.from_private_key(io.StringIO(text))


def _fingerprint(key: paramiko.PKey) -> str:
    digest = b64encode(sha256(key.asbytes()).digest()).decode().rstrip("=")
    return f"{key.get_name()} SHA256:{digest}"


def _how_to_add(settings: SftpSettings) -> str:
    port = "" if settings.port == 22 else f"-p {settings.port} "
    return f"`ssh-keyscan {port}{settings.host} >> {settings.known_hosts}`"


def _how_to_replace(settings: SftpSettings) -> str:
    host = settings.host if settings.port == 22 else f"[{settings.host}]:{settings.port}"
    return f"`ssh-keygen -R '{host}' -f {settings.known_hosts}`, then {_how_to_add(settings)}"


def _let_askers_end_quietly(file: paramiko.SFTPFile) -> None:
    """paramiko asks for what comes next in a thread, whose end with the connection Python would show as a traceback.

    Who reads sees that the connection broke, too, and tells it.
    """
    import paramiko

    def ask(*arguments: Any) -> None:
        with suppress(EOFError, OSError, paramiko.SSHException):
            vars(paramiko.SFTPFile)["_prefetch_thread"](file, *arguments)

    vars(file)["_prefetch_thread"] = ask


def _entry(found: paramiko.SFTPAttributes) -> Entry:
    modified = None if found.st_mtime is None else datetime.fromtimestamp(found.st_mtime, timezone.utc)
    folder = stat.S_ISDIR(found.st_mode or 0)
    return Entry(found.filename, None if folder else found.st_size or 0, modified)
