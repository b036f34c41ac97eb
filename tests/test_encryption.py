from __future__ import annotations

import hashlib
import os
import resource
import shutil
import signal
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from test_files import batch, endless, run, tiny_disk, users  # noqa: F401

from aam_onboard.encryption import Encryption, decrypt_stream, prepare_encryption
from aam_onboard.errors import AamError, ConfigError, DeliveryError
from aam_onboard.files import Part, write_part, write_parts

pytestmark = pytest.mark.skipif(shutil.which("gpg") is None, reason="needs gpg (apt-get install gnupg)")

HUGE = 10**12


@dataclass
class Settings:
    recipient: str
    key_file: Path
    level: int = 1


class Keyring:
    """A GnuPG home with secret keys, as the recipient has one, and the public keys in files beside it."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def gpg(self, *options: str, at: str | None = None) -> str:
        clock = ["--faked-system-time", f"{at}T000000!"] if at else []
        command = ["gpg", "--homedir", str(self.home), "--batch", "--quiet", "--pinentry-mode", "loopback"]
        done = subprocess.run(
            [*command, "--passphrase", "", *clock, *options], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def fingerprint(self, name: str) -> str:
        listing = self.gpg("--with-colons", "--list-keys", name)
        return next(line.split(":")[9] for line in listing.splitlines() if line.startswith("fpr"))

    def public(self, name: str, *options: str) -> Path:
        path = self.home / f"{name}.asc"
        path.unlink(missing_ok=True)
        self.gpg("--output", str(path), *options, "--export", f"{name}@example.com")
        return path


@pytest.fixture(scope="module")
def keyring() -> Iterator[Keyring]:
    # Not pytest's folder: the agent's socket may not have a long path.
    with tempfile.TemporaryDirectory(prefix="keys-") as folder:
        keys = Keyring(Path(folder))
        # A key as Adobe's is: RSA, of 2013, bound together with SHA-1.
        sha1 = ("--cert-digest-algo", "SHA1")
        keys.gpg(
            *sha1, "--quick-gen-key", "Old <old@example.com>", "rsa2048", "cert,sign", "never", at="20130601"
        )
        keys.gpg(
            *sha1, "--quick-add-key", keys.fingerprint("old@"), "rsa2048", "encr", "never", at="20130601"
        )
        keys.gpg("--quick-gen-key", "Modern <modern@example.com>", "ed25519", "cert,sign", "never")
        keys.gpg("--quick-add-key", keys.fingerprint("modern@"), "cv25519", "encr", "never")
        keys.gpg(
            "--quick-gen-key", "Expired <expired@example.com>", "rsa2048", "default", "1y", at="20200101"
        )
        keys.gpg("--quick-gen-key", "Signer <signer@example.com>", "ed25519", "sign", "never")
        keys.gpg(
            "--quick-gen-key", "Stale <stale@example.com>", "ed25519", "cert,sign", "never", at="20200101"
        )
        keys.gpg("--quick-add-key", keys.fingerprint("stale@"), "cv25519", "encr", "1y", at="20200101")
        keys.gpg("--quick-gen-key", "Revoked <revoked@example.com>", "rsa2048", "default", "never")
        revocation = keys.home / "openpgp-revocs.d" / f"{keys.fingerprint('revoked@')}.rev"
        revocation.write_text(revocation.read_text().replace(":-----BEGIN", "-----BEGIN"))
        keys.gpg("--import", str(revocation))
        yield keys
        subprocess.run(["gpgconf", "--homedir", folder, "--kill", "all"], check=True)


@pytest.fixture(params=["old", "modern"])
def encryption(request: pytest.FixtureRequest, keyring: Keyring) -> Encryption:
    return prepare_encryption(Settings(f"{request.param}@example.com", keyring.public(request.param)))


@pytest.fixture
def no_homes_left(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Whatever gpg or the loader put into the directory for temporary files is gone in the end."""
    folder = tmp_path_factory.mktemp("temporary")
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield
    assert list(folder.iterdir()) == []


def decrypted(keyring: Keyring, part: Part, monkeypatch: pytest.MonkeyPatch) -> bytes:
    monkeypatch.setenv("GNUPGHOME", str(keyring.home))
    with decrypt_stream(part.path) as plain:
        return plain.read()


def test_the_adobe_like_key_is_bound_with_sha1(keyring):
    packets = keyring.gpg("--list-packets", str(keyring.public("old")))
    assert packets.count("digest algo 2,") == 2
    assert "created 1370044800" in packets


def test_what_is_encrypted_decrypts_to_the_very_lines(
    keyring, encryption, tmp_path, monkeypatch, no_homes_left
):
    rows = users(60_000)
    part = write_part([batch(rows[:100]), batch(rows[100:])], tmp_path / "spool", encryption=encryption)
    assert part is not None
    data = part.path.read_bytes()
    assert (part.bytes, part.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert (part.lines, part.plain_bytes) == (60_000, len("".join(rows).encode()))
    assert part.bytes < part.plain_bytes / 2, "PGP compresses"
    assert stat.S_IMODE(part.path.stat().st_mode) == 0o600
    assert not data.startswith(b"-----"), "binary, not armored"
    assert decrypted(keyring, part, monkeypatch) == "".join(rows).encode()
    inside = subprocess.run(
        [
            "gpg",
            "--homedir",
            str(keyring.home),
            "--batch",
            "--status-fd",
            "1",
            "--list-packets",
            str(part.path),
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    # The cipher is AES-256 (9 in RFC 4880), whatever the key of 2013 would prefer; the text is compressed.
    assert "DECRYPTION_INFO 2 9" in inside
    assert ":compressed packet: algo=2" in inside


def test_encrypted_parts_hold_their_size(keyring, encryption, tmp_path, monkeypatch):
    rows = users(300_000)
    batches = [batch(rows[start : start + 20_000]) for start in range(0, len(rows), 20_000)]
    split = 5_000_000
    parts = list(
        write_parts(batches, tmp_path, split_bytes=split, max_plain_bytes=HUGE, encryption=encryption)
    )
    assert len(parts) > 1
    assert all(0.9 * split <= part.bytes <= split for part in parts[:-1])
    assert b"".join(decrypted(keyring, part, monkeypatch) for part in parts) == "".join(rows).encode()


def test_several_files_are_encrypted_two_at_a_time(keyring, encryption, tmp_path, monkeypatch):
    rows = users(600_000)
    batches = [batch(rows[start : start + 20_000]) for start in range(0, len(rows), 20_000)]
    split = 5_000_000

    def write(expected_lines: int) -> list[Part]:
        folder = tmp_path / str(expected_lines)
        at_once = 0
        parts = []
        for part in write_parts(
            batches,
            folder,
            split_bytes=split,
            max_plain_bytes=HUGE,
            encryption=encryption,
            expected_lines=expected_lines,
        ):
            at_once = max(at_once, len(list(folder.iterdir())) - len(parts))
            parts.append(part)
        assert at_once == (2 if expected_lines == len(rows) else 1)
        assert [part.more for part in parts] == [True] * (len(parts) - 1) + [False]
        return parts

    for expected in (len(rows), 50_000):  # several files, or one as far as anyone can tell
        parts = write(expected)
        assert len(parts) > 3
        assert all(0.9 * split <= part.bytes <= split for part in parts[:-2])
        found = b"".join(decrypted(keyring, part, monkeypatch) for part in parts).splitlines(keepends=True)
        assert sorted(found) == sorted(row.encode() for row in rows)


def test_an_error_leaves_neither_of_two_files_and_no_gpg(encryption, tmp_path, no_homes_left):
    def batches():
        for _ in range(20):
            yield batch(users(20_000))
        assert len(list(tmp_path.iterdir())) == len(children()) == 2
        raise RuntimeError("connection lost")

    with pytest.raises(RuntimeError, match="connection lost"):
        list(
            write_parts(
                batches(),
                tmp_path,
                split_bytes=20_000_000,
                max_plain_bytes=HUGE,
                encryption=encryption,
                expected_lines=10**9,
            )
        )
    assert list(tmp_path.iterdir()) == []
    assert children() == []


def test_no_rows_no_file_and_no_gpg(encryption, tmp_path):
    assert write_part([], tmp_path / "spool", encryption=encryption) is None
    assert not (tmp_path / "spool").exists()


def test_binary_keys_and_fingerprints_and_key_ids_do_as_well(keyring):
    fingerprint = keyring.fingerprint("modern@")
    binary, armored = keyring.home / "modern.gpg", keyring.public("modern", "--armor")
    binary.unlink(missing_ok=True)
    keyring.gpg("--output", str(binary), "--export", "modern@example.com")
    for key_file in (binary, armored):
        for recipient in (fingerprint, fingerprint[-16:], "Modern", "<modern@example.com>"):
            assert prepare_encryption(Settings(recipient, key_file)).fingerprint == fingerprint


def test_a_users_own_gpg_settings_play_no_part(keyring, tmp_path, monkeypatch):
    home = tmp_path / "home"
    home.mkdir(0o700)
    (home / "gpg.conf").write_text("armor\nthrow-keyids\nno-such-option\n")
    monkeypatch.setenv("GNUPGHOME", str(home))
    encryption = prepare_encryption(Settings("modern@example.com", keyring.public("modern")))
    part = write_part([batch(users(10))], tmp_path / "spool", encryption=encryption)
    assert part is not None
    assert {path.name for path in home.iterdir()} == {"gpg.conf"}
    assert decrypted(keyring, part, monkeypatch) == "".join(users(10)).encode()


# --- before anything is exported ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("expired", "expired on 2020-12-31"),
        ("revoked", "has been revoked"),
        ("signer", "no subkey in force to encrypt with"),
        ("stale", "no subkey in force to encrypt with"),
    ],
)
def test_keys_that_are_not_in_force(keyring, key, says, no_homes_left):
    key_file = keyring.public(key)
    with pytest.raises(ConfigError, match=says) as caught:
        prepare_encryption(Settings(f"{key}@example.com", key_file))
    assert keyring.fingerprint(f"{key}@") in str(caught.value)
    assert str(key_file) in str(caught.value)


def test_recipients_that_are_not_there_or_several(keyring, no_homes_left):
    key_file = keyring.public("modern")
    fingerprint = keyring.fingerprint("modern@")
    for recipient in ("nobody@example.com", "", "--output"):
        with pytest.raises(ConfigError, match=rf"not in encrypt.key_file.*{fingerprint} Modern"):
            prepare_encryption(Settings(recipient, key_file))
    both = key_file.with_name("both.gpg")
    both.write_bytes(key_file.read_bytes() + keyring.public("old").read_bytes())
    with pytest.raises(ConfigError, match=r"stands for several keys.*give the fingerprint"):
        prepare_encryption(Settings("example.com", both))
    assert prepare_encryption(Settings("old@example.com", both)).fingerprint == keyring.fingerprint("old@")


def test_key_files_that_are_none(keyring, tmp_path, no_homes_left):
    with pytest.raises(ConfigError, match=r"no.asc can't be read: No such file"):
        prepare_encryption(Settings("x", tmp_path / "no.asc"))
    with pytest.raises(ConfigError, match="can't be read: Is a directory"):
        prepare_encryption(Settings("x", tmp_path))
    for content in (b"", b"junk", os.urandom(100)):
        (tmp_path / "junk.asc").write_bytes(content)
        with pytest.raises(ConfigError, match=r"junk.asc holds no public key"):
            prepare_encryption(Settings("x", tmp_path / "junk.asc"))
    secret = tmp_path / "secret.asc"
    keyring.gpg("--armor", "--output", str(secret), "--export-secret-keys", "modern@example.com")
    with pytest.raises(ConfigError, match="holds a secret key"):
        prepare_encryption(Settings("modern@example.com", secret))


def fake_gpg(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program = folder / "gpg"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o700)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)


def test_no_gpg_or_one_that_is_too_old(keyring, tmp_path, monkeypatch):
    settings = Settings("modern@example.com", keyring.public("modern"))
    fake_gpg(tmp_path, "echo 'gpg (GnuPG) 1.4.23'", monkeypatch)
    with pytest.raises(ConfigError, match=r"needs GnuPG 2.2 or newer.*1.4.23"):
        prepare_encryption(settings)
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    with pytest.raises(ConfigError, match="apt-get install gnupg"):
        prepare_encryption(settings)
    with pytest.raises(ConfigError, match="apt-get install gnupg"), decrypt_stream(tmp_path / "x.gpg"):
        pass


# --- when something ends early -----------------------------------------------------------------------------


def test_a_gpg_that_dies_is_one_clear_error(keyring, tmp_path, monkeypatch, no_homes_left):
    encryption = prepare_encryption(Settings("modern@example.com", keyring.public("modern")))
    real = shutil.which("gpg")
    dies = 'head -c 100000 > /dev/null; echo "gpg: out of core" >&2; exit 2'
    fake_gpg(tmp_path, f'case "$*" in *--encrypt*) {dies};; *) exec {real} "$@";; esac', monkeypatch)
    spool = tmp_path / "spool"
    for batches in (endless(), [batch(users(10))]):
        with pytest.raises(DeliveryError, match=r"gpg failed to encrypt \(exit 2\): out of core"):
            write_part(batches, spool, encryption=encryption)
        assert list(spool.iterdir()) == []


def test_an_error_of_the_warehouse_ends_gpg(keyring, tmp_path, no_homes_left):
    encryption = prepare_encryption(Settings("modern@example.com", keyring.public("modern")))

    def batches():
        yield batch(users(20_000))
        raise RuntimeError("connection lost")

    with pytest.raises(RuntimeError, match="connection lost"):
        write_part(batches(), tmp_path, encryption=encryption)
    assert list(tmp_path.iterdir()) == []
    assert children() == []


def children() -> list[str]:
    """The gpg processes that this one has started; the servers of other tests may be its children too."""
    pids = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return [pid for pid in pids if Path(f"/proc/{pid}/comm").read_text().strip() == "gpg"]


def test_closing_the_iterator_ends_gpg(encryption, tmp_path, no_homes_left):
    parts = write_parts(
        endless(), tmp_path, split_bytes=2_000_000, max_plain_bytes=HUGE, encryption=encryption
    )
    first = next(parts)
    second = next(parts)
    parts.close()
    assert {*tmp_path.iterdir()} == {first.path, second.path}
    assert children() == []


ENDLESS = """
import sys
from pathlib import Path
from aam_onboard.encryption import prepare_encryption
from aam_onboard.errors import DeliveryError
from aam_onboard.files import write_part
from test_encryption import Settings
from test_files import endless
encryption = prepare_encryption(Settings("modern@example.com", Path(sys.argv[2])))
told = False
def progress(lines, plain):
    global told
    if not told:
        print("writing", flush=True)
        told = True
try:
    write_part(endless(), Path(sys.argv[1]), encryption=encryption, on_progress=progress)
except DeliveryError as error:
    print(error)
"""


def test_a_file_that_may_not_grow(keyring, tmp_path, no_homes_left):
    limit = 3_000_000
    process = run(
        ENDLESS,
        tmp_path,
        keyring.public("modern"),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err.decode()
    assert f"A file in {tmp_path} may not grow further" in out.decode()
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk(keyring, tiny_disk, no_homes_left):  # noqa: F811
    process = run(ENDLESS, tiny_disk, keyring.public("modern"))
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err.decode()
    assert f"No space left in {tiny_disk}" in out.decode()
    assert list(tiny_disk.iterdir()) == []


def test_ctrl_c_ends_at_once_and_leaves_nothing(keyring, tmp_path, no_homes_left):
    key_file = keyring.public("modern")
    for to_group in (False, True):  # a terminal interrupts gpg too
        process = run(ENDLESS, tmp_path, key_file, start_new_session=True)
        assert process.stdout is not None
        assert process.stdout.readline() == b"writing\n"
        command_lines = b"".join(
            Path(f"/proc/{pid}/cmdline").read_bytes()
            for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        )
        assert b"--encrypt" in command_lines
        assert b"d_sid" not in command_lines
        (os.killpg if to_group else os.kill)(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=30)
        assert "KeyboardInterrupt" in err.decode() or to_group
        assert process.returncode != 0 or to_group
        assert list(tmp_path.iterdir()) == []


def test_plain_text_never_touches_the_disk(keyring, tmp_path):
    """Every file that the process and its gpg hold open is the part, a pipe, or gpg's own."""
    process = run(ENDLESS, tmp_path, keyring.public("modern"))
    assert process.stdout is not None
    assert process.stdout.readline() == b"writing\n"
    pids = [process.pid, *Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
    links = {str(link.readlink()) for pid in pids for link in Path(f"/proc/{pid}/fd").iterdir()}
    opened = {name for name in links if name.startswith("/") and not name.startswith("/dev/")}
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    (part,) = [name for name in opened if name.startswith(str(tmp_path))]
    others = opened - {part}
    assert all("/aam-gpg-" in name or name.startswith(tempfile.gettempdir() + "/#") for name in others), (
        others
    )


MEMORY = r"""
import re, resource, sys
from itertools import repeat
from pathlib import Path
from aam_onboard.encryption import prepare_encryption
from aam_onboard.files import write_part
from test_encryption import Settings
from test_files import batch, users
encryption = prepare_encryption(Settings("modern@example.com", Path(sys.argv[2])))
rows = users(20_000)
write_part((batch(rows) for _ in range(int(sys.argv[3]))), Path(sys.argv[1]), encryption=encryption)
# not its own ru_maxrss, which a process takes over from the one that started it
own = int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1])
print(own + resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def test_memory_does_not_grow_with_the_data(keyring, tmp_path):
    kilobytes = []
    for count in (5, 100):  # 0.1 and 2 million lines
        out, err = run(MEMORY, tmp_path, keyring.public("modern"), count).communicate(timeout=120)
        assert out, err.decode()
        kilobytes.append(int(out))
    few, many = kilobytes
    assert many < few + 40_000, "2 million lines are 150 MB of text"


# --- decrypting for a check --------------------------------------------------------------------------------


@pytest.fixture
def encrypted(keyring: Keyring, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GNUPGHOME", str(keyring.home))
    encryption = prepare_encryption(Settings("modern@example.com", keyring.public("modern")))
    part = write_part([batch(users(100_000))], tmp_path, encryption=encryption)
    assert part is not None
    return part.path


def test_leaving_early_ends_gpg(encrypted):
    with decrypt_stream(encrypted) as plain:
        assert plain.readline().decode() == users(1)[0]
    assert children() == []
    with pytest.raises(RuntimeError, match="mine"), decrypt_stream(encrypted):
        raise RuntimeError("mine")
    assert children() == []


def test_without_the_secret_key(encrypted, monkeypatch):
    with tempfile.TemporaryDirectory() as home:
        monkeypatch.setenv("GNUPGHOME", home)
        says = "no secret key for it: import it with `gpg --import`"
        with pytest.raises(AamError, match=says) as caught, decrypt_stream(encrypted):
            pytest.fail("nothing can be read")
        assert str(encrypted) in str(caught.value)
        subprocess.run(["gpgconf", "--kill", "all"], check=True)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda data: b"58342\td_sid=1\n" * 100, "is no PGP file"),
        (lambda data: b"", "is no PGP file"),
        (lambda data: data[: len(data) // 2], "can't be decrypted"),
        (lambda data: data[:100_000] + b"\0" * 16 + data[100_016:], "can't be decrypted"),
        (lambda data: data[:-1] + bytes([data[-1] ^ 1]), "can't be decrypted"),
    ],
    ids=["plain", "empty", "cut", "altered", "altered-seal"],
)
def test_damaged_files(encrypted, damage: Callable[[bytes], bytes], says):
    encrypted.write_bytes(damage(encrypted.read_bytes()))
    with pytest.raises(AamError, match=says), decrypt_stream(encrypted) as plain:
        while plain.read(1 << 16):
            pass


def test_a_file_that_is_not_there(tmp_path):
    with (
        pytest.raises(AamError, match=r"no.gpg can't be read: No such file"),
        decrypt_stream(tmp_path / "no.gpg"),
    ):
        pass


@pytest.mark.parametrize(("name", "verdict"), [("modern", "ok"), ("expired", "to do")])
def test_doctor_tells_of_gpg_and_key(keyring: Keyring, name: str, verdict: str) -> None:
    from types import SimpleNamespace

    from aam_onboard import doctor

    chosen = SimpleNamespace(encrypt=Settings(f"{name}@example.com", keyring.public(name)))
    found = doctor._find("gpg and key", doctor._encryption, chosen)
    assert found.verdict == verdict
    assert keyring.fingerprint(f"{name}@") in found.says
    assert ("expired on" in found.says) is (verdict == "to do")
