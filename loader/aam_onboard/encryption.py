"""PGP, through the `gpg` program: encrypt on the way to the file, decrypt on the way to a check.

Everything to do with encrypting happens in a private, empty GnuPG home that lives only as long as it is
needed: the user's keyring, settings and agent play no part, and nothing in gpg can reach for the network or
wait for a person. Plain text goes through pipes only. Audience Manager takes AES and no gzip around it
[inbound-file-encryption].
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, TYPE_CHECKING, BinaryIO, ClassVar, Literal, cast

from aam_onboard.errors import AamError, ConfigError, DeliveryError

if TYPE_CHECKING:
    from aam_onboard.destinations.settings import EncryptSettings

_OLDEST_GPG = (2, 2)
_LARGEST_KEY_FILE = 10_000_000
_CHUNK = 1 << 16
_BLOCK = 1 << 20
_BLOCKS_AHEAD = 8  # enough to keep gpg busy while the warehouse computes
# What gpg and the two pipes may hold of a file at most, compressed: a deflate block, gpg's own buffers, 64
# KB a pipe.
_IN_FLIGHT = 256 << 10

_HERMETIC = (
    "--batch", "--no-tty", "--no-options",
    "--no-autostart", "--no-auto-key-locate", "--no-auto-check-trustdb",
)  # fmt: skip


@dataclass(frozen=True)
class Encryption:
    """A proven recipient. Holds public matter only, and may travel to other processes."""

    fingerprint: str
    key: bytes = field(repr=False)
    level: int = 1  # of zlib, 1 to 9; 1 is five times as fast as gpg's default and costs a tenth of the size
    extension: ClassVar[Literal["gpg"]] = "gpg"

    def encoder(self, append: Callable[[bytes], None]) -> GpgEncoder:
        """What encrypts one file (an `Encoder` of loader/files.py). Raises DeliveryError when gpg can't be
        run.
        """
        return GpgEncoder(self, append)


def prepare_encryption(settings: EncryptSettings) -> Encryption:
    """Prove that files can be encrypted to the recipient, before anything is exported.

    Raises ConfigError: no gpg, or one that is too old; the key file is missing, unreadable or no public
    key; the recipient isn't in it, or stands for several keys; its key is expired, revoked or can't
    encrypt.
    """
    _require_gpg()
    key = _read_key_file(settings.key_file)
    with _private_home(key) as home:
        fingerprint = _find_recipient(home, settings)
        encryption = Encryption(fingerprint, key, settings.level)
        trial = _gpg(home, *_encrypt_options(encryption))
    if trial.returncode or not trial.stdout:
        raise ConfigError(
            f"gpg refuses to encrypt to {settings.recipient} of encrypt.key_file {settings.key_file}:"
            f" {_reason(trial.stderr)}. Ask the recipient for a key that is in force."
        )
    return encryption


class GpgEncoder:
    """One `gpg` that encrypts one file: one thread feeds it, another hands on its output as it comes."""

    def __init__(self, encryption: Encryption, append: Callable[[bytes], None]) -> None:
        self._append = append
        self._bytes = 0
        self._error: BaseException | None = None
        try:
            self._home = tempfile.TemporaryDirectory(prefix="aam-gpg-")
            try:
                _import_key(Path(self._home.name), encryption.key)
                self._messages: IO[bytes] = tempfile.TemporaryFile(dir=self._home.name)  # noqa: SIM115
                self._process = subprocess.Popen(
                    _command(Path(self._home.name), *_encrypt_options(encryption)),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=self._messages,
                    bufsize=0,
                    env=_environment(),
                )
            except BaseException:
                self._home.cleanup()
                raise
        except OSError as error:
            raise DeliveryError(
                f"gpg can't be started in {tempfile.gettempdir()} ({error.strerror or error}):"
                " set TMPDIR to a directory with space, and see that gpg is installed."
            ) from error
        self._stdin = cast(IO[bytes], self._process.stdin)
        self._stdout = cast(IO[bytes], self._process.stdout)
        self._feeding = ThreadPoolExecutor(1, "gpg input")
        self._pending: deque[Future[None]] = deque()
        self._reader = threading.Thread(target=self._read, name="gpg output", daemon=True)
        self._reader.start()

    def write(self, text: memoryview) -> None:
        """Encrypt more text; returns when little is left to feed, so that gpg never waits for the query."""
        for start in range(0, len(text), _BLOCK):
            self._pending.append(self._feeding.submit(self._feed, text[start : start + _BLOCK]))
        while len(self._pending) > _BLOCKS_AHEAD:
            self._pending.popleft().result()

    def most(self, wait: bool) -> int:
        """The bytes that have left gpg and the most that may still be on their way; told in one way only."""
        self._settle()
        return self._bytes + _IN_FLIGHT

    def _settle(self) -> None:
        while self._pending:
            self._pending.popleft().result()

    def finish(self) -> None:
        """Let gpg write the rest.

        Raises DeliveryError when gpg failed, and whatever the function raised that took its output.
        """
        self._settle()
        self._stdin.close()
        self._reader.join()
        if self._process.wait() or self._error is not None:
            self._raise_failure()
        self.stop()

    def stop(self) -> None:
        """End gpg and remove its home."""
        self._process.kill()
        self._feeding.shutdown(cancel_futures=True)
        self._reader.join()
        self._process.wait()
        for pipe in (self._stdin, self._stdout, self._messages):
            pipe.close()
        self._home.cleanup()

    def _feed(self, text: memoryview) -> None:
        try:
            while text:
                text = text[os.write(self._stdin.fileno(), text) :]
        except BrokenPipeError:
            self._raise_failure()

    def _read(self) -> None:
        try:
            while data := os.read(self._stdout.fileno(), _CHUNK):
                self._append(data)
                self._bytes += len(data)
        except BaseException as error:  # told by the thread that writes
            self._error = error
            self._process.kill()

    def _raise_failure(self) -> None:
        self._reader.join()
        code = self._process.wait()
        if self._error is not None:
            raise self._error
        self._messages.seek(0)
        raise DeliveryError(
            f"gpg failed to encrypt (exit {code}): {_reason(self._messages.read())}."
            " Run it by hand on a small file with the same key to see why."
        )


@contextmanager
def decrypt_stream(path: Path, opened: BinaryIO | None = None) -> Iterator[BinaryIO]:
    """The plain text of a PGP file, decrypted with the secret keys of the user who runs this.

    `opened`: a file of the system that is read from where it stands; `path` is then what messages call it.
    Constant memory; leaving the block early ends gpg. Raises ConfigError without gpg; AamError when the
    file can't be read, is no PGP file, is damaged (that shows only at its end), or no secret key for it is
    in the user's keyring.
    """
    _require_gpg()
    try:
        if opened is None:
            path.open("rb").close()
        else:  # gpg knows nothing of what Python has read ahead
            os.lseek(opened.fileno(), opened.tell(), os.SEEK_SET)
    except OSError as error:
        raise AamError(
            f"{path} can't be read: {error.strerror}. Check the path and its permissions."
        ) from error
    options = ("--batch", "--no-tty", "--no-auto-key-retrieve", "--quiet", "--status-fd", "2", "--decrypt")
    with (
        tempfile.TemporaryFile() as messages,
        subprocess.Popen(
            ["gpg", *options, *(() if opened else ("--", str(path)))],
            stdin=opened or subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=messages,
            env=_environment(),
        ) as process,
    ):
        plain = cast(io.BufferedReader, process.stdout)
        try:
            # Nothing at all comes out when gpg has no key: say so before anyone reads.
            if plain.peek(1) or process.wait() == 0:
                yield plain
            left_early = bool(plain.peek(1))
        except BaseException:
            process.kill()
            raise
        if left_early:
            process.kill()
        elif process.wait():
            messages.seek(0)
            raise _decryption_error(path, messages.read())


def _decryption_error(path: Path, messages: bytes) -> AamError:
    text = messages.decode("utf-8", "replace")
    recipients = re.findall(r"^\[GNUPG:\] ENC_TO (\w+)", text, re.MULTILINE)
    if recipients and "No secret key" in text and "[GNUPG:] DECRYPTION_INFO" not in text:
        return AamError(
            f"{path} is encrypted to {', '.join(recipients)}, and your keyring has no secret key for it:"
            " import it with `gpg --import`, or set GNUPGHOME to the keyring that has it."
        )
    if not recipients and "[GNUPG:] NODATA" in text:
        return AamError(f"{path} is no PGP file: check what made it, and its extension.")
    return AamError(
        f"{path} can't be decrypted: {_reason(messages)}."
        " Either the key's passphrase is not in gpg-agent (unlock it first) or the file is damaged."
    )


def _require_gpg() -> None:
    try:
        shown = subprocess.run(
            ["gpg", "--version"], capture_output=True, check=True, env=_environment()
        ).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise ConfigError(
            "PGP needs the program gpg, which can't be run: install GnuPG (apt-get install gnupg)."
        ) from error
    version = re.search(rb"\(GnuPG[^)]*\) (\d+)\.(\d+)", shown)
    if version is None or (int(version[1]), int(version[2])) < _OLDEST_GPG:
        first = shown.decode("utf-8", "replace").split("\n")[0]
        raise ConfigError(
            f"PGP needs GnuPG {_OLDEST_GPG[0]}.{_OLDEST_GPG[1]} or newer: install that in place of {first}."
        )


def _read_key_file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            key = file.read(_LARGEST_KEY_FILE)
    except OSError as error:
        raise ConfigError(
            f"encrypt.key_file {path} can't be read: {error.strerror}. Put the recipient's public key there."
        ) from error
    if b"PRIVATE KEY BLOCK" in key:
        raise ConfigError(
            f"encrypt.key_file {path} holds a secret key, which has no place here: export the public one with"
            " `gpg --export`."
        )
    return key


@contextmanager
def _private_home(key: bytes) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="aam-gpg-") as name:
        home = Path(name)
        _import_key(home, key)
        yield home


def _import_key(home: Path, key: bytes) -> None:
    # The exit code tells little (a key among several that is unusable also counts): the listing does.
    _gpg(home, "--import", text=key)


def _find_recipient(home: Path, settings: EncryptSettings) -> str:
    """The fingerprint of the one key in the home that the setting means."""
    where = f"encrypt.key_file {settings.key_file}"
    if not (held := _list_keys(home)):
        raise ConfigError(f"{where} holds no public key: download or export the recipient's again.")
    found = _list_keys(home, settings.recipient) if settings.recipient.strip() else []
    names = "; ".join(f"{key.fingerprint} {key.name}".strip() for key in (found or held))
    if not found:
        raise ConfigError(
            f"encrypt.recipient {settings.recipient!r} is not in {where}, which holds: {names}."
        )
    if len(found) > 1:
        raise ConfigError(
            f"encrypt.recipient {settings.recipient!r} stands for several keys of {where}:"
            f" give the fingerprint of one: {names}."
        )
    (key,) = found
    renew = "Ask the recipient for the key that is in force."
    shown = f"The key {key.fingerprint} of {where}"
    if key.validity == "r":
        raise ConfigError(f"{shown} has been revoked. {renew}")
    if key.validity == "e":
        raise ConfigError(f"{shown} expired on {key.expires}. {renew}")
    if not key.encrypts:
        raise ConfigError(
            f"{shown} has no subkey in force to encrypt with: it only signs, or the subkey expired. {renew}"
        )
    return key.fingerprint


@dataclass(frozen=True)
class _Key:
    fingerprint: str
    name: str
    validity: str  # r revoked, e expired
    expires: str
    encrypts: bool


def _list_keys(home: Path, *patterns: str) -> list[_Key]:
    """The public keys in a home, from gpg's colon format: fields 2 validity, 7 expiry, 10 name, 12
    abilities.
    """
    listing = _gpg(home, "--with-colons", "--list-keys", "--", *patterns).stdout.decode("utf-8", "replace")
    keys = []
    for block in re.split(r"^(?=pub:)", listing, flags=re.MULTILINE)[1:]:
        rows = [line.split(":") for line in block.splitlines()]
        pub = rows[0]
        expires = (
            datetime.fromtimestamp(int(pub[6]), timezone.utc).date().isoformat() if pub[6].isdigit() else ""
        )
        keys.append(
            _Key(
                fingerprint=next(row[9] for row in rows if row[0] == "fpr"),
                name=next((row[9] for row in rows if row[0] == "uid"), ""),
                validity=pub[1],
                expires=expires,
                # upper case: the key and its subkeys together, as far as they are in force
                encrypts="E" in pub[11],
            )
        )
    return keys


def _encrypt_options(encryption: Encryption) -> tuple[str, ...]:
    # trust-model always: who owns the key was settled when the user put it into the settings.
    return (
        "--trust-model", "always", "--recipient", encryption.fingerprint,
        "--cipher-algo", "AES256", "--compress-algo", "zlib", "-z", str(encryption.level),
        "--encrypt",
    )  # fmt: skip


def _command(home: Path, *options: str) -> list[str]:
    return ["gpg", *_HERMETIC, "--homedir", str(home), "--status-fd", "2", *options]


def _gpg(home: Path, *options: str, text: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        _command(home, *options), input=text, capture_output=True, check=False, env=_environment()
    )


def _environment() -> dict[str, str]:
    """English messages, since some are read; and no GPG_TTY, so that nothing asks a person."""
    environment = {**os.environ, "LC_ALL": "C", "LANGUAGE": "C"}
    environment.pop("GPG_TTY", None)
    return environment


def _reason(messages: bytes) -> str:
    """What a person needs of gpg's messages: the last that is no status line."""
    lines = [line for line in messages.decode("utf-8", "replace").splitlines() if line.startswith("gpg:")]
    with suppress(IndexError):
        return lines[-1].removeprefix("gpg:").strip().rstrip(".")
    return "it gave no reason"
