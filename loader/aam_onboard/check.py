"""A file of anyone's → the counts and errors that Audience Manager would report for it.

Lines are examined by the block, in Arrow and DuckDB, never one by one. Most lines are of the plain form that this
project writes itself: a few regular expressions made from `vars.rules` accept those. They accept nothing that a rule
refuses, but may leave a good line over; what they leave goes through SQL that splits it and tries rule after rule.
Memory doesn't depend on the size of the file, nor on that of its lines.
"""

from __future__ import annotations

import csv
import gzip
import io
import os
import re
import stat
import tempfile
import zlib
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, TextIO, TypeAlias, cast

from aam_onboard import filenames
from aam_onboard.errors import AamError, ConfigError, DeliveryError

if TYPE_CHECKING:
    import duckdb
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    from aam_onboard.rules import Limits, Rule, Rules

Counter_ = Literal["format_errors", "invalid_aam_id", "invalid_device_id"]

# What the checker alone knows; the reasons of vars.rules come on top. Of a whole file:
FILE_REASONS = {
    "bad_name": "Audience Manager would not read a file of this name",
    "missing_target": "the DPID is a global data source, so the name must say whose traits the IDs qualify for",
    "device_ids_first": "the first column of an adobe_id file holds the device IDs; put their DPID first",
    "customer_ids_first": "a c2c_id file holds customer IDs and hashed e-mails, no device IDs",
    "empty_file": "a file without lines is invalid; send none",
    "compressed_too_large": "the file is larger than Audience Manager takes; split it",
    "plain_too_large": "the text is larger than Audience Manager takes, and was read no further; split it",
    "not_gzip": "the name ends in .gz, but the content is no gzip",
    "gzip_without_extension": "the content is gzip; the name must end in .gz",
    "truncated_gzip": "the gzip data end too early or are followed by other bytes; make or transfer it again",
    "corrupt_gzip": "the gzip data are damaged; make or transfer the file again (FTP: in binary mode)",
    "not_pgp": "the name ends in .gpg or .pgp, but the content is no PGP message",
    "pgp_without_extension": "the content is a PGP message; the name must end in .gpg or .pgp, without .gz",
    "packed_twice": "gzip data are packed within; compress once, and not before PGP, which compresses by itself",
    "cannot_decrypt": "the PGP message can't be decrypted",
    "byte_order_mark": "the file begins with a byte-order mark; save it as UTF-8 without one",
}
# Of a line; the order is that in which they are tried within a signal.
LINE_REASONS = {
    "line_too_long": "Audience Manager drops a line of more bytes than limits.line_bytes",
    "blank_line": "a blank line stands between others",
    "invalid_utf8": "the line is neither ASCII nor UTF-8",
    "nul_byte": "the line holds a NUL byte",
    "no_tab": "no TAB stands between the user ID and the signals",
    "unknown_id_type": "the first column of a partner file is `idfa` or `android`",
    "no_signals": "the ID has no signals; only an overwrite file may clear a user so",
    "trailing_space": "Audience Manager skips a row that ends with a TAB or a space",
    "wrong_column_count": "a row has one ID for each DPID in the name, with a TAB between",
    "unbalanced_quote": "a double quote opens and none closes",
    "invalid_signal": "neither a trait, an integration code, a removal nor a key=value",
}
WARNING_REASONS = {
    "line_at_limit": "the line is as long as it may be; its line end may be one byte too many",
    "empty_element": "an empty element stands between two commas",
    "space_before_comma": "a space stands before a comma or at the end of the line",
    # Audience Manager ignores the signal but takes the line, and what an overwrite line leaves out is removed
    # all the same: nothing is refused or lost, so it is a warning.
    "no_tab_clears": "a line without a TAB clears the user in an overwrite file; these signals seem meant to be set",
    "typographic_quotes": "typographic quotes enclose nothing: they are taken as a part of the key or value",
    "removal_in_overwrite": "Audience Manager ignores removals in an overwrite file",
    "letter_case": "spelled in more than one letter case; Audience Manager may take that for one signal or for several",
    "mixed_id_types": "the IDs look like those of several types; one file holds one",
    "not_decrypted": "the lines were not checked; decrypt them with --decrypt",
    "unknown_trait": "the trait ID is not in the taxonomy",
    "trait_not_onboarded": "the trait is not of the type onboarded",
    "trait_of_other_data_source": "the trait belongs to another data source than the name says",
}
COUNTED_REASONS = {
    "too_many_lines": "Audience Manager discards the lines of a user after the first limits.lines_per_user",
    "too_many_hashed_emails": "the customer has more hashed e-mails than limits.hashed_emails_per_customer",
}

_BLOCK = 1 << 21  # plain bytes examined at a time
_SAMPLE = 200  # characters of a line in a report
_WORKERS = min(4, os.cpu_count() or 1)
_BUCKETS = 1 << 20  # user IDs are first counted by hash, so that memory doesn't grow with them
_HELD_AT_ONCE = 250_000  # IDs and values of those who may have too many lines; more make another reading
_MEMORY = "512MB"  # DuckDB's; it has no disk, for the text may be one that is to be encrypted
_SPELLINGS = 1 << 18  # different key-values of a file whose letter case is compared
_LARGEST_PATTERN = 5000  # trait IDs that a regular expression holds well
_ANDROID = ("android", "android_id", "androidid", "gaid", "adid", "aaid", "google_ad_id")
_GZIP = b"\x1f\x8b"
_UTF8_MARK = b"\xef\xbb\xbf"
_NO_TEXT = {
    b"\xff\xfe": ("byte_order_mark", "UTF-16, which is neither ASCII nor UTF-8"),
    b"\xfe\xff": ("byte_order_mark", "UTF-16, which is neither ASCII nor UTF-8"),
    _GZIP: ("packed_twice", "gzip within"),
}
_SUSPECTS = 200_000  # lines that SQL judges at a time,
_ELEMENTS = 300_000  # and about how many elements of lines, for a line may be nothing but commas
_LOOKALIKE_LENGTHS = (
    36,
    38,
)  # characters of the device IDs and AAM UUIDs whose form no other ID has by chance

# RFC 3629, on bytes.
_UTF8 = (
    r"\A(?:[\x00-\x7f]|[\xc2-\xdf][\x80-\xbf]|\xe0[\xa0-\xbf][\x80-\xbf]|[\xe1-\xec\xee\xef][\x80-\xbf]{2}"
    r"|\xed[\x80-\x9f][\x80-\xbf]|\xf0[\x90-\xbf][\x80-\xbf]{2}|[\xf1-\xf3][\x80-\xbf]{3}"
    r"|\xf4[\x80-\x8f][\x80-\xbf]{2})*\z"
)


@dataclass(frozen=True)
class Problem:
    """One refused line, or with `line` None a fault of the whole file; `sample`: its text, or what was found."""

    line: int | None
    reason: str
    sample: str


@dataclass
class FileReport:
    """What Audience Manager would report of a file [inbound-receipt-message, onboarding-status-report].

    `records_received` = `format_errors` + `invalid_aam_id` + `invalid_device_id` + `stored_records`: each refused line
    is counted once, under the first reason. Whether IDs are synced and traits realized only Audience Manager knows.
    `reasons` and `warning_reasons`: code → lines; `errors` and `warning_samples`: the first of each, by line number.
    `traits_failed_validation`: signals whose trait is not an onboarded one of the data source in the name.
    """

    file: str
    kind: Literal["data", "id_sync"] | None = None
    dpid: int | None = None
    target_dpid: int | None = None
    dpids: tuple[int, ...] = ()
    mode: Literal["sync", "overwrite"] | None = None
    timestamp: int | None = None
    split: int | None = None
    bytes: int | None = None
    plain_bytes: int = 0
    records_received: int = 0
    format_errors: int = 0
    invalid_aam_id: int = 0
    invalid_device_id: int = 0
    traits_failed_validation: int = 0
    warnings: int = 0
    errors: list[Problem] = field(default_factory=list)
    warning_samples: list[Problem] = field(default_factory=list)
    reasons: dict[str, int] = field(default_factory=dict)
    warning_reasons: dict[str, int] = field(default_factory=dict)
    says: dict[str, str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """No error; warnings are allowed."""
        return not self.reasons

    @property
    def stored_records(self) -> int:
        """Lines that Audience Manager would take, as far as the file alone can tell."""
        return self.records_received - self.format_errors - self.invalid_aam_id - self.invalid_device_id

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"ok": self.ok, **asdict(self), "stored_records": self.stored_records}


@dataclass(frozen=True)
class CheckReport:
    """The reports of several files."""

    files: list[FileReport]

    @property
    def ok(self) -> bool:
        """No file has an error."""
        return all(file.ok for file in self.files)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"ok": self.ok, "files": [file.as_dict() for file in self.files]}


def find_files(patterns: Iterable[str]) -> list[Path]:
    """The files that the patterns name, each once, in the order given; a shell may have expanded them before.

    Raises ConfigError for a pattern that names no file.
    """
    found: dict[Path, None] = {}
    for pattern in patterns:
        path = Path(pattern)
        if path.exists():
            found[path] = None
            continue
        anchor = Path(path.anchor)
        relative = str(path.relative_to(anchor)) if path.anchor else pattern
        matches = sorted(anchor.glob(relative)) if relative else []
        if not matches:
            raise ConfigError(f"{pattern}: no such file; check the path")
        found.update(dict.fromkeys(match for match in matches if not match.is_dir()))
    return list(found)


def check_files(
    paths: Iterable[Path],
    rules: Rules,
    *,
    taxonomy: Path | None = None,
    samples: int = 10,
    errors_to: Path | TextIO | None = None,
    decrypt: bool = False,
) -> CheckReport:
    """Check files under their own names; with several, `errors_to` has the refused lines of all, one after the other.

    Raises as check_file does; what is no file, before any is read.
    """
    paths = list(paths)
    for path in paths:
        _size_of(path)
    with ExitStack() as stack:
        if isinstance(errors_to, Path):
            errors_to = stack.enter_context(_open_errors(errors_to, paths))
        return CheckReport(
            [
                check_file(
                    path,
                    path.name,
                    rules,
                    taxonomy=taxonomy,
                    samples=samples,
                    errors_to=errors_to,
                    decrypt=decrypt,
                )
                for path in paths
            ]
        )


def check_file(
    source: Path | BinaryIO,
    name: str,
    rules: Rules,
    *,
    taxonomy: Path | None = None,
    samples: int = 10,
    errors_to: Path | TextIO | None = None,
    decrypt: bool = False,
) -> FileReport:
    """Check a file against Audience Manager's rules, as one named `name` [inbound-s3-filenames, inbound-file-contents,
    id-sync-file-based].

    `source`: a path, under any name, or a binary stream (one that can't be rewound is copied first, to a file of no
    name). What has a name that is refused is not read. `taxonomy`: a CSV file of traits with the columns trait_id,
    dpid, trait_type. `samples`: of each reason. `errors_to`: gets the refused lines as TSV: line number, reason, the
    line; those of users with too many lines last. `decrypt`: read PGP files with the secret keys of the user's keyring.

    A fault of the file is reported, not raised. Raises ConfigError for a missing or unreadable file, for what is none
    (a directory, device, named pipe or socket), for an `errors_to` that is the source, an unreadable taxonomy, or
    without gpg; AamError when the disk is full.
    """
    report = FileReport(name)
    with ExitStack() as stack:
        if isinstance(source, Path):
            report.bytes = _size_of(source)
        if isinstance(errors_to, Path):
            errors_to = stack.enter_context(_open_errors(errors_to, [source]))
        tally = _Tally(report, samples, errors_to, rules.rules)
        try:
            parsed = filenames.parse(name)
        except filenames.FileNameError as error:
            tally.fault("bad_name", str(error))
            return tally.close()
        stack.enter_context(_said_plainly(name))
        path, size = stack.enter_context(_read_twice(source, name, rules))
        report.bytes = size
        _check_name(parsed, rules, tally)
        known_traits = None if taxonomy is None else _load_traits(taxonomy)
        opener = _opener(path, name, parsed.extension, size, rules, tally, decrypt)
        if opener is not None:
            _check_lines(opener, _form_of(parsed, rules, known_traits), rules, tally)
        return tally.close()


def check_text(
    opener: Callable[[], AbstractContextManager[BinaryIO]], name: str, rules: Rules, *, samples: int = 10
) -> FileReport:
    """Check plain text as the content of a file `name` before it is encrypted, with no part of it on the disk.

    `opener` gives the text from its beginning, and is called again when users with too many lines are to be found.
    Raises AamError as `opener` does, and for an error of the engines.
    """
    report = FileReport(name)
    tally = _Tally(report, samples, None, rules.rules)
    parsed = filenames.parse(name)
    _check_name(parsed, rules, tally)
    with _said_plainly(name):
        _check_lines(opener, _form_of(parsed, rules, None), rules, tally)
    return tally.close()


@contextmanager
def _said_plainly(name: str) -> Iterator[None]:
    """Errors of the machine and of the engines as one line."""
    import duckdb
    import pyarrow as pa

    try:
        yield
    except OSError as error:
        raise AamError(
            f"{name} can't be checked: {error.strerror or error}; is there space left on the disk?"
        ) from error
    except (duckdb.Error, pa.ArrowException) as error:
        message = str(error).splitlines()[0]
        raise AamError(
            f"{name} can't be checked: {message}; see the patterns of vars.rules, or give it more memory"
        ) from error


# --- The report, as it fills ------------------------------------------------------------------------------------------


class _Tally:
    """Counts, samples and the errors file of one report."""

    def __init__(
        self, report: FileReport, samples: int, errors_to: TextIO | None, rules: Sequence[Rule] = ()
    ) -> None:
        self.report = report
        self._says = FILE_REASONS | LINE_REASONS | COUNTED_REASONS | WARNING_REASONS
        self._says |= {rule.reason: rule.says for rule in reversed(rules)}
        self._samples = samples
        self._errors_to = errors_to
        self._errors: Counter[str] = Counter()
        self._warnings: Counter[str] = Counter()
        self.is_cut_off = False

    def cut_off(self, reason: str, found: str) -> None:
        """A fault of the whole file after which no more can be read; what stands last is no whole line."""
        self.is_cut_off = True
        self.fault(reason, found)

    def fault(self, reason: str, found: str) -> None:
        """An error of the whole file."""
        self._errors[reason] += 1
        self.report.errors.append(Problem(None, reason, found))

    def refuse(self, reason: str, counter: Counter_, numbers: pa.Array, lines: pa.Array) -> None:
        """Lines that Audience Manager refuses."""
        room = self._samples - self._errors[reason]
        self._errors[reason] += len(numbers)
        setattr(self.report, counter, getattr(self.report, counter) + len(numbers))
        self.report.errors += _problems(reason, numbers, lines, room)
        if self._errors_to is not None:
            _write_errors(self._errors_to, reason, numbers, lines)

    def warn(self, reason: str, numbers: pa.Array, lines: pa.Array) -> None:
        """Lines that Audience Manager takes, but not as the sender may think."""
        if not len(numbers):
            return
        room = self._samples - self._warnings[reason]
        self._warnings[reason] += len(numbers)
        self.report.warning_samples += _problems(reason, numbers, lines, room)

    def note(self, reason: str, found: str) -> None:
        """A warning about the whole file."""
        self._warnings[reason] += 1
        if self._warnings[reason] <= max(1, self._samples):
            self.report.warning_samples.append(Problem(None, reason, found))

    def close(self) -> FileReport:
        """The report, complete and in order."""
        report = self.report
        report.reasons = dict(self._errors.most_common())
        report.warning_reasons = dict(self._warnings.most_common())
        report.warnings = self._warnings.total()
        report.says = {reason: self._says[reason] for reason in (*report.reasons, *report.warning_reasons)}
        report.errors.sort(key=lambda problem: problem.line or 0)
        report.warning_samples.sort(key=lambda problem: problem.line or 0)
        return report


def _problems(reason: str, numbers: pa.Array, lines: pa.Array, room: int) -> list[Problem]:
    if room <= 0:
        return []
    first = zip(numbers.slice(0, room).to_pylist(), lines.slice(0, room).to_pylist(), strict=True)
    return [Problem(number, reason, _shown(line)) for number, line in first]


def _shown(line: bytes | str) -> str:
    text = line.decode("utf-8", "replace") if isinstance(line, bytes) else line
    return text if len(text) <= _SAMPLE else text[:_SAMPLE] + "…"


def _write_errors(target: TextIO, reason: str, numbers: pa.Array, lines: pa.Array) -> None:
    import pyarrow as pa
    import pyarrow.compute as pc

    rows = pc.binary_join_element_wise(
        numbers.cast(pa.string()).cast(pa.binary()), reason.encode(), lines.cast(pa.binary()), b"\t"
    )
    text = (
        pc.binary_join(pa.LargeListArray.from_arrays([0, len(rows)], rows), b"\n")[0].as_py()
        if len(rows)
        else b""
    )
    try:
        target.write(text.decode("utf-8", "replace") + "\n")
    except OSError as error:
        raise ConfigError(f"the errors file can't be written: {error.strerror}") from None


@contextmanager
def _open_errors(path: Path, sources: Sequence[Path | BinaryIO]) -> Iterator[TextIO]:
    """The errors file, for this user alone: it holds IDs. Raises ConfigError, also when it is one of the sources."""
    try:
        # not truncated before it is known which file that is, whatever links lead to it
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    except OSError as error:
        raise ConfigError(f"the errors file {path} can't be written: {error.strerror}") from None
    with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
        status = os.fstat(descriptor)
        for source in sources:
            if _is_file(source, status):
                raise ConfigError(f"the errors file {path} is the file to check itself; name another")
        if stat.S_ISREG(status.st_mode):
            os.ftruncate(descriptor, 0)
            os.fchmod(descriptor, 0o600)
        yield file


def _is_file(source: Path | BinaryIO, status: os.stat_result) -> bool:
    try:
        return os.path.samestat(
            source.stat() if isinstance(source, Path) else os.fstat(source.fileno()), status
        )
    except OSError:  # a stream in memory
        return False


# --- The file as a whole ----------------------------------------------------------------------------------------------

_Opener = Callable[[], AbstractContextManager[BinaryIO]]  # → the plain text
_Block = tuple[int, bytes]


def _size_of(path: Path) -> int:
    """Bytes of a file that can be read. Raises ConfigError for one that can't, and for what is no file."""
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise ConfigError(f"{path} is a directory; give files, or a pattern such as {path}/*.gz")
        if not stat.S_ISREG(
            status.st_mode
        ):  # opened, a pipe waits for a writer, and a device may have no end
            raise ConfigError(
                f"{path} is a device, named pipe or socket, no file;"
                " a program's output goes in by `aam check - --name NAME`"
            )
        path.open("rb").close()
    except (FileNotFoundError, NotADirectoryError):
        raise ConfigError(f"{path}: no such file; check the path") from None
    except OSError as error:
        raise ConfigError(f"{path} can't be read: {error.strerror}; check its permissions") from None
    return status.st_size


@contextmanager
def _read_twice(source: Path | BinaryIO, name: str, rules: Rules) -> Iterator[tuple[Path | BinaryIO, int]]:
    """What can be read twice, and its size in bytes: users with too many lines are looked up in a second reading."""
    if isinstance(source, Path):
        yield source, _size_of(source)
    elif source.seekable():
        start = source.tell()
        size = source.seek(0, os.SEEK_END) - start
        source.seek(start)
        yield source, size
    else:
        with _copied(source, name, rules) as copied:
            yield copied


@contextmanager
def _copied(stream: BinaryIO, name: str, rules: Rules) -> Iterator[tuple[BinaryIO, int]]:
    # One byte past the largest file is enough to call it too large: a stream may have no end.
    most = max(rules.limits.max_plain_bytes, rules.limits.max_compressed_bytes) + 1
    # It has no name, so that nobody else can open it and nothing stays behind, however the check ends.
    with tempfile.TemporaryFile(prefix="aam-check-") as file:
        left = most
        try:
            while left > 0 and (data := stream.read(min(_BLOCK, left))):
                file.write(data)
                left -= len(data)
            file.flush()
        except OSError as error:
            raise AamError(
                f"{name} can't be copied to {tempfile.gettempdir()} ({error.strerror}): set TMPDIR to a directory "
                "with space, or give the file by its path"
            ) from error
        file.seek(0)
        yield cast(BinaryIO, file), most - left


def _check_name(name: filenames.FileName, rules: Rules, tally: _Tally) -> None:
    """What a well-formed name says that can't be right."""
    report = tally.report
    report.kind, report.mode = name.kind, name.mode
    report.timestamp, report.split = name.timestamp, name.split
    if isinstance(name, filenames.InboundName):
        report.dpid, report.target_dpid, report.dpids = name.dpid, name.target_dpid, (name.dpid,)
        id_type = rules.global_id_type(name.dpid)
        if id_type is not None and name.target_dpid is None:
            tally.fault("missing_target", f"DPID {name.dpid} is the global data source of {id_type}")
        return
    report.dpid, report.dpids = name.dpids[0], name.dpids
    types = [rules.global_id_type(dpid) for dpid in name.dpids]
    if name.prefix == "c2c_id":
        for dpid, id_type in zip(name.dpids, types, strict=True):
            if id_type is not None:
                tally.fault("customer_ids_first", f"DPID {dpid} is the global data source of {id_type}")
    # Own data sources alone are a chain: one that is synced already leads to the others.
    elif types[0] is None and any(types):
        tally.fault("device_ids_first", f"DPID {name.dpids[0]} is no global data source, but a later one is")


def _opener(
    path: Path | BinaryIO,
    name: str,
    extension: filenames.Extension,
    size: int,
    rules: Rules,
    tally: _Tally,
    decrypt: bool,
) -> _Opener | None:
    """How to read the plain text, or None when there is nothing to read; faults of the container go to the tally."""
    limits = rules.limits
    start = 0 if isinstance(path, Path) else path.tell()

    @contextmanager
    def raw() -> Iterator[BinaryIO]:
        if isinstance(path, Path):
            with path.open("rb") as file:
                yield cast(BinaryIO, file)
        else:
            path.seek(start)
            yield path

    with raw() as stream:
        head = stream.read(32)
    packed = "gzip" if head.startswith(_GZIP) else "pgp" if _is_pgp(head) else ""
    if not head:
        tally.fault("empty_file", "0 bytes")
        return None
    if extension == "gz" and packed != "gzip":
        tally.fault("not_gzip", f"the content begins with {head[:8]!r}")
    if extension in ("gpg", "pgp") and packed != "pgp":
        tally.fault("not_pgp", f"the content begins with {head[:8]!r}")
    if packed == "gzip" and extension != "gz":
        tally.fault("gzip_without_extension", "the content begins with gzip's 1f 8b")
    if packed == "pgp" and extension not in ("gpg", "pgp"):
        tally.fault("pgp_without_extension", f"the content begins with {head[:8]!r}")
    if packed and size > limits.max_compressed_bytes:
        tally.fault("compressed_too_large", f"{size:,} bytes; at most {limits.max_compressed_bytes:,}")
    if not packed and size > limits.max_plain_bytes:
        tally.report.plain_bytes = size
        tally.fault("plain_too_large", f"{size:,} bytes; at most {limits.max_plain_bytes:,}")
        return None
    if packed == "gzip":

        @contextmanager
        def gunzipped() -> Iterator[BinaryIO]:
            with raw() as stream, closing(_Gunzipped(stream)) as plain:
                yield cast(BinaryIO, plain)

        return gunzipped
    if packed != "pgp":
        return raw
    if not decrypt:
        tally.note("not_decrypted", name)
        return None
    if isinstance(path, io.BytesIO):
        raise ConfigError(f"{name}: PGP can't be decrypted from memory; give the file by its path")
    from aam_onboard.encryption import decrypt_stream

    @contextmanager
    def decrypted() -> Iterator[BinaryIO]:
        with raw() as stream, decrypt_stream(Path(name), stream) as plain:
            yield plain

    return decrypted


class _Gunzipped:
    """The text of a gzip file; of a damaged one, all that stands before the damage, and then the error."""

    def __init__(self, stream: BinaryIO) -> None:
        from isal import igzip_threaded

        self._stream, self._start = stream, stream.tell()
        self._fast: BinaryIO = igzip_threaded.open(stream, "rb", threads=1)  # type: ignore[no-untyped-call]
        self._given = 0
        self._rest: Iterator[bytes] | None = None

    def read(self, size: int) -> bytes:
        """Up to `size` bytes, or a few more; none at the end."""
        if self._rest is None:
            try:
                data = self._fast.read(size)
            except (EOFError, *_damages()) as error:
                # it has read ahead, and lost what it had
                self._fast.close()
                self._stream.seek(self._start)
                self._rest = self._anew(error)
            else:
                self._given += len(data)
                return data
        return next(self._rest)

    def close(self) -> None:
        """End the thread; the stream stays open."""
        self._fast.close()

    def _anew(self, error: Exception) -> Iterator[bytes]:
        known = self._given
        for text in _inflated(self._stream):
            if len(text) > known:
                yield text[known:]
            known = max(known - len(text), 0)
        raise error


def _inflated(stream: BinaryIO) -> Iterator[bytes]:
    """The text of a gzip file to the very byte where it is damaged; slow."""
    inflate = zlib.decompressobj(wbits=31)
    while piece := stream.read(1 << 14):
        while piece:
            before = inflate.copy()
            try:
                text = inflate.decompress(piece, _BLOCK)
            except zlib.error:
                with suppress(zlib.error):
                    for place in range(len(piece)):
                        yield before.decompress(piece[place : place + 1])
                return
            yield text
            piece = inflate.unconsumed_tail
            if inflate.eof:  # another member may follow, and zeros before it
                piece = inflate.unused_data.lstrip(b"\0")
                inflate = zlib.decompressobj(wbits=31)
    yield inflate.flush()


def _damages() -> Any:
    from isal import igzip_lib

    return igzip_lib.IsalError, gzip.BadGzipFile


def _is_pgp(head: bytes) -> bool:
    """A message of RFC 9580: armored, or a packet that a message begins with (session key, encrypted data)."""
    if head.startswith(b"-----BEGIN PGP MESSAGE"):
        return True
    if not head or not head[0] & 0x80:
        return False
    # A UTF-8 text may begin with such a byte too; its second byte is then a continuation byte.
    tag = head[0] & 0x3F if head[0] & 0x40 else head[0] >> 2 & 0x0F
    utf8 = head[0] >= 0xC2 and len(head) > 1 and 0x80 <= head[1] < 0xC0
    return tag in (1, 3, 8, 9, 18, 20) and not utf8


def _load_traits(path: Path) -> dict[str, tuple[str, str]]:
    """Trait ID → (DPID, type). Raises ConfigError."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            missing = {"trait_id", "dpid", "trait_type"} - set(rows.fieldnames or ())
            if missing:
                raise ConfigError(f"{path}: the taxonomy has no column {', '.join(sorted(missing))}")
            return {row["trait_id"]: (row["dpid"], row["trait_type"]) for row in rows}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"the taxonomy {path} can't be read: {error}") from None


def _blocks(opener: _Opener, limits: Limits, tally: _Tally) -> Iterator[_Block]:
    """(number of the first line, whole lines): LF between the lines, no line end after the last.

    Trailing blank lines are left out. A line over the limit is cut off just after it, so that no block grows with it.
    A fault of the container ends the lines and goes to the tally.
    """
    import numpy as np

    number, blank = 1, 0
    for raw in _whole_lines(opener, limits, tally):
        text = (raw + b"\n").replace(b"\r\n", b"\n")[:-1] if b"\r" in raw else raw
        lines = text.rstrip(b"\n")
        if lines:
            while blank:  # so they were not the last
                some = min(blank, _BLOCK >> 3)
                yield number, b"\n" * (some - 1)
                number += some
                blank -= some
            yield number, lines
            number += int(np.count_nonzero(np.frombuffer(lines, np.uint8) == ord("\n"))) + 1
            blank = len(text) - len(lines)
        else:
            blank += len(text) + 1


def _whole_lines(opener: _Opener, limits: Limits, tally: _Tally) -> Iterator[bytes]:
    """Blocks of lines, without the line end of the last."""
    keep = limits.line_bytes + 2  # one too many, even if a CR is the last of them
    rest, skipping = b"", False
    for data in _text(opener, limits, tally):
        end = data.find(b"\n") if skipping else 0
        if end < 0:
            continue
        cut = data.rfind(b"\n", end)
        if cut >= 0:
            yield b"".join((rest, memoryview(data)[end:cut]))
            rest = b""
        rest += data[max(cut + 1, end) :]
        skipping = len(rest) > keep
        rest = rest[:keep]
    if rest and not tally.is_cut_off:
        yield rest.removesuffix(b"\r")


def _text(opener: _Opener, limits: Limits, tally: _Tally) -> Iterator[bytes]:
    """The text as it comes, without a byte-order mark; a fault of the container ends it and goes to the tally."""
    total = 0
    try:
        with opener() as stream:
            while data := stream.read(_BLOCK):
                if total == 0:
                    fault = next((fault for start, fault in _NO_TEXT.items() if data.startswith(start)), None)
                    if fault is not None:
                        tally.fault(*fault)
                        return
                    if data.startswith(_UTF8_MARK):
                        tally.fault("byte_order_mark", "UTF-8")
                        data = data[len(_UTF8_MARK) :]
                total += len(data)
                tally.report.plain_bytes = total
                if total > limits.max_plain_bytes:
                    tally.fault("plain_too_large", f"more than {limits.max_plain_bytes:,} bytes")
                    return
                yield data
    except EOFError:
        tally.cut_off("truncated_gzip", f"readable up to byte {total:,} of the text")
    except _damages() as error:
        tally.cut_off("corrupt_gzip", f"{error}, after byte {total:,} of the text")
    except (ConfigError, DeliveryError):
        raise
    except AamError as error:
        tally.cut_off("cannot_decrypt", str(error))


# --- What a line of this file may look like ---------------------------------------------------------------------------


@dataclass(frozen=True)
class _Column:
    """A column of IDs. An ID is bad if `bad` matches a part of it, or one of `good` not the whole."""

    bad: str | None
    good: tuple[str, ...]


@dataclass(frozen=True)
class _Form:
    """How the lines of one file are examined.

    A block of lines is accepted at once if `sure` matches it and none of `doubtful` a part of it. Else, a line is if
    `plain` matches it, none of `doubtful` matches a part of it, and its IDs are good;
    of all others `sql` tells: from a table `suspects` (number, line) it makes rows in the same order with the columns
    reason (an index of `reasons`, or null), id, value, the names in `warnings` (boolean), failed (index of
    _TRAIT_REASONS, or null), failed_signals. `spelled`: from the same table, the key-values with their number (key,
    value, n).
    """

    sure: str | None
    plain: str | None
    doubtful: tuple[str, ...]
    columns: tuple[_Column, ...]
    sql: str
    spelled: str | None
    reasons: tuple[tuple[str, Counter_], ...]
    warnings: tuple[str, ...]
    counted: Literal["lines", "values"] | None  # what is counted for each ID
    most: int
    lookalikes: Mapping[str, str]  # id type → pattern, where one must not meet another
    traits: Mapping[str, tuple[str, str]] | None


_COUNTERS: tuple[Counter_, ...] = ("format_errors", "invalid_aam_id", "invalid_device_id")
_TRAIT_REASONS = ("unknown_trait", "trait_not_onboarded", "trait_of_other_data_source")


def _form_of(name: filenames.FileName, rules: Rules, traits: Mapping[str, tuple[str, str]] | None) -> _Form:
    reasons: list[tuple[str, Counter_]] = [(reason, "format_errors") for reason in LINE_REASONS]
    for rule in rules.rules:
        reasons += [(rule.reason, counter) for counter in _COUNTERS]
    if isinstance(name, filenames.IdSyncName):
        return _id_sync_form(name, rules, tuple(reasons))
    return _data_form(name, rules, tuple(reasons), traits)


def _id_sync_form(
    name: filenames.IdSyncName, rules: Rules, reasons: tuple[tuple[str, Counter_], ...]
) -> _Form:
    types = [rules.global_id_type(dpid) or "dpuuid" for dpid in name.dpids]
    hashed = name.prefix == "c2c_id"
    if hashed:
        types[1] = "hashed_email"
    count = len(types)
    broken = [_first_broken(rules, "user_id", id_type, f"ids[{i}]") for i, id_type in enumerate(types, 1)]
    guarded = _guarded(rules, [("user_id", id_type, f"ids[{i}]") for i, id_type in enumerate(types, 1)])
    warned = "".join(f"{breaks} as {_as(reason)}, " for reason, breaks in guarded.items())
    sql = f"""
        with rows as (select number, line, string_split(line, chr(9)) as ids from suspects)
        select
            case
                when regexp_full_match(line, '[ \\t]*') then {_code("blank_line")}
                when regexp_matches(line, '[ \\t]$') then {_code("trailing_space")}
                when len(ids) <> {count} then {_code("wrong_column_count")}
                else coalesce({", ".join(broken)})
            end::smallint as reason,
            ids[1] as id,
            ids[2] as value,
            {warned}
            null::smallint as failed,
            0::bigint as failed_signals
        from rows order by number
    """
    return _Form(
        sure=None,
        plain=rf"\A[^\t]+(?:\t[^\t]+){{{count - 2}}}\t[^\t]*[^\t ]\z",
        doubtful=(),
        columns=tuple(_column(rules, id_type) for id_type in types),
        sql=sql,
        spelled=None,
        reasons=reasons,
        warnings=tuple(guarded),
        counted="values" if hashed else None,
        most=rules.limits.hashed_emails_per_customer,
        lookalikes={},
        traits=None,
    )


def _data_form(
    name: filenames.InboundName,
    rules: Rules,
    reasons: tuple[tuple[str, Counter_], ...],
    traits: Mapping[str, tuple[str, str]] | None,
) -> _Form:
    overwrite = name.mode == "overwrite"
    id_type = rules.global_id_type(name.dpid) or "dpuuid"
    if name.partner:
        # <ID type><TAB><user ID><TAB><traits> [custom-partner-integrations]
        android = ", ".join(f"'{word}'" for word in _ANDROID)
        rest = "substr(line, instr(line, chr(9)) + 1)"
        lines = (
            f"select number, line, lower(split_part(line, chr(9), 1)) as word, {rest} as text from suspects"
        )
        id_broken = f"""case
            when word = 'idfa' then {_first_broken(rules, "user_id", "idfa", "id")}
            when word in ({android}) then {_first_broken(rules, "user_id", "gaid", "id")}
            else {_code("unknown_id_type")} end"""
        bare = "trait"
    else:
        lines = "select number, line, line as text from suspects"
        id_broken = _first_broken(rules, "user_id", id_type, "id")
        bare = "integration_code"
    own = name.dpid if name.target_dpid is None else name.target_dpid
    signal_broken = " ".join(
        f"when '{kind}' then coalesce({_first_broken(rules, 'signal_key', kind, 'key')}, "
        f"{_first_broken(rules, 'signal_value', kind, 'value')})"
        for kind in ("trait", "integration_code", "key_value")
    )
    signal_texts = [
        (about, kind, text)
        for about, text in (("signal_key", "key"), ("signal_value", "value"))
        for kind in ("trait", "integration_code", "key_value")
    ]
    signals_guarded = _guarded(rules, signal_texts)
    # the IDs of a partner file have a form of their own
    ids_guarded = {} if name.partner else _guarded(rules, [("user_id", id_type, "id")])
    guarded = dict.fromkeys([*ids_guarded, *signals_guarded])
    signals_warned = "".join(f"{breaks} as {_as(reason)}, " for reason, breaks in signals_guarded.items())
    lines_warned = "".join(f"bool_or({_as(reason)}) as {_as(reason)}, " for reason in signals_guarded)
    warned = "".join(
        ids_guarded.get(reason, "false")
        + (f" or coalesce(by_line.{_as(reason)}, false)" if reason in signals_guarded else "")
        + f" as {_as(reason)}, "
        for reason in guarded
    )
    failed = "null"
    if traits is not None:
        failed = f"""case
            when kind <> 'trait' then null
            when trait_id is null then 0
            when lower(trait_type) <> 'onboarded' then 1
            when trait_dpid <> '{own}' then 2 end"""
    parsed = f"""
        with texts as ({lines}),
        fields as (
            select *,
                split_part(text, chr(9), 1) as id,
                case when contains(text, chr(9)) then substr(text, instr(text, chr(9)) + 1) end as signals
            from texts
        ),
        users as materialized (select *, {id_broken} as id_broken from fields),
        elements as materialized (
            select number, unnest(
                case
                    when contains(signals, '"')
                        then regexp_extract_all(',' || signals, ',((?:[^",]|"[^"]*")*)', 1)
                    else string_split(signals, ',')
                end
            ) as element
            from users
            where signals is not null and id_broken is null and not {_ODD_QUOTES}
        ),
        -- The same signals stand in many lines: each is judged once.
        different as (select distinct element from elements),
        trimmed as (select element, trim(element, ' ') as signal from different),
        parsed as (
            select *,
                contains(signal, '=') as has_key,
                regexp_extract(signal, '(?s)^("[^"]*"|[^=]*?)[ ]*=[ ]*(.*)$', ['key', 'value']) as pair
            from trimmed
        ),
        unquoted as (
            select
                element,
                signal,
                has_key,
                has_key and (regexp_matches(pair.key, '{_TYPOGRAPHIC}') or regexp_matches(pair.value, '{_TYPOGRAPHIC}'))
                    as typographic_quotes,
                {_unquoted("pair.key")} as written_key,
                {_unquoted("pair.value")} as written_value
            from parsed
        ),
        signals as (
            select
                element,
                signal = '' as empty_element,
                signal <> '' and element <> '' and right(element, 1) = ' ' as space_before_comma,
                typographic_quotes,
                case
                    when signal = '' then 'empty'
                    when has_key and written_key in ('d_sid', 'd_unsid') then 'trait'
                    when has_key and written_key = 'ic' then 'integration_code'
                    when has_key then 'key_value'
                    when regexp_full_match(signal, '[0-9]+') then '{bare}'
                    when regexp_full_match(signal, '[0-9]+ *: *(0|-1)') then 'removal'
                    else 'invalid'
                end as form,
                replace(form, 'removal', 'trait') as kind,
                written_key = 'd_unsid' or form = 'removal' as is_removal,
                case when has_key then written_key when kind = 'trait' then 'd_sid' else 'ic' end as key,
                case
                    when has_key then written_value
                    when form = 'removal' then trim(split_part(signal, ':', 1), ' ')
                    else signal
                end as value
            from unquoted
        )
    """
    sql = f""",
        verdicts as (
            select
                element,
                empty_element,
                space_before_comma,
                typographic_quotes,
                {signals_warned}
                is_removal and {overwrite} as removal_in_overwrite,
                case kind when 'invalid' then {_code("invalid_signal")} {signal_broken} end as broken,
                {failed} as failed
            from signals
            {"" if traits is None else "left join taxonomy on kind = 'trait' and value = trait_id"}
        ),
        by_line as (
            select
                number,
                min(broken) as broken,
                bool_and(empty_element) as no_signals,
                bool_or(empty_element) as empty_element,
                bool_or(space_before_comma) as space_before_comma,
                bool_or(typographic_quotes) as typographic_quotes,
                {lines_warned}
                bool_or(removal_in_overwrite) as removal_in_overwrite,
                min(failed) as failed,
                count(failed) as failed_signals
            from elements inner join verdicts using (element)
            group by number
        )
        select
            case
                when regexp_full_match(line, '[ \\t]*') then {_code("blank_line")}
                when signals is null and {not overwrite or name.partner} and {_SEEMS_SIGNALS}
                    then {_code("no_tab")}
                else coalesce(
                    id_broken,
                    case
                        when {_ODD_QUOTES} then {_code("unbalanced_quote")}
                        when {not overwrite} and coalesce(no_signals, true) then {_code("no_signals")}
                    end,
                    broken
                )
            end::smallint as reason,
            id,
            null::varchar as value,
            signals is null and {_SEEMS_SIGNALS} as no_tab_clears,
            coalesce(empty_element, false) and signals <> '' as empty_element,
            coalesce(space_before_comma, false) as space_before_comma,
            coalesce(typographic_quotes, false) as typographic_quotes,
            {warned}
            coalesce(removal_in_overwrite, false) as removal_in_overwrite,
            failed::smallint as failed,
            coalesce(failed_signals, 0)::bigint as failed_signals
        from users left join by_line using (number)
        order by number
    """
    signals = None if name.partner else _plain_signals(rules, overwrite, traits, str(own))
    sure_ids = rules.sure_ids(id_type)
    # a line that clears the user of an overwrite file is an ID and no more
    cleared = r"[^\t ,;|=\"]+|" if overwrite else ""
    return _Form(
        sure=rf"\A(?:(?:{sure_ids})\t{signals}(?:\n|\z))+\z" if signals and sure_ids else None,
        plain=rf"\A(?:{cleared}[^\t]+\t{signals})\z" if signals else None,
        doubtful=_doubtful_pairs(rules) or (f'"{_QUOTE_IN_ID}',),
        columns=(_column(rules, id_type),),
        sql=parsed + sql,
        spelled=parsed
        + """select key, value, count(*) as n from elements inner join signals using (element)
            where kind = 'key_value' group by key, value""",
        reasons=reasons,
        warnings=(
            "no_tab_clears",
            "empty_element",
            "space_before_comma",
            "typographic_quotes",
            "removal_in_overwrite",
            *guarded,
        ),
        counted="lines",
        most=rules.limits.lines_per_user,
        lookalikes=_lookalikes(rules) if id_type == "dpuuid" else {},
        traits=traits,
    )


_ODD_QUOTES = """((length(signals) - length(replace(signals, '"', ''))) % 2 = 1)"""
_TYPOGRAPHIC = "^[\u201c-\u201f]|[\u201c-\u201f]$"
_SEEMS_SIGNALS = """regexp_matches(text, '[ ,;|](d_sid|d_unsid|ic) *=|"="')"""


def _unquoted(text: str) -> str:
    return f"""case when length({text}) > 1 and {text} like '"%"' then {text}[2:-2] else {text} end"""


def _code(reason: str) -> int:
    return list(LINE_REASONS).index(reason)


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _first_broken(rules: Rules, about: str, id_type: str, text: str) -> str:
    """SQL: the code of the first rule that `text` breaks, or null. `id_type`: or the kind of a signal."""
    kind = rules.id_types[id_type].kind if about == "user_id" else id_type
    whens = []
    for place, rule in rules.of(about, kind):
        if rule.guard:
            continue
        breaks = _breaks(rules, rule, id_type, text)
        counter: Counter_ = "format_errors"
        if rule.kinds is not None and kind in ("aam_uuid", "device"):
            counter = "invalid_aam_id" if kind == "aam_uuid" else "invalid_device_id"
        whens.append(f"when {breaks} then {len(LINE_REASONS) + 3 * place + _COUNTERS.index(counter)}")
    return f"case {' '.join(whens)} end" if whens else "null"


def _breaks(rules: Rules, rule: Rule, id_type: str, text: str) -> str:
    """SQL: whether `text` breaks the rule."""
    if rule.matches is not None:
        return f"regexp_full_match({text}, {_quoted(rule.matches)})"
    if rule.contains is not None:
        return f"regexp_matches({text}, {_quoted(rule.contains)})"
    return f"not regexp_full_match({text}, {_quoted(rules.pattern_of(rule, id_type))})"


def _guarded(rules: Rules, texts: Iterable[tuple[str, str, str]]) -> dict[str, str]:
    """SQL: for the reason of each rule that only guards, whether one of the texts breaks it.

    A text is the field that it is of, its id type or kind of signal, and the SQL of it.
    """
    found: dict[str, list[str]] = {}
    for about, id_type, text in texts:
        kind = rules.id_types[id_type].kind if about == "user_id" else id_type
        for _, rule in rules.of(about, kind):
            if rule.guard:
                condition = "" if about == "user_id" else f"kind = '{kind}' and "
                found.setdefault(rule.reason, []).append(condition + _breaks(rules, rule, id_type, text))
    return {reason: f"coalesce({' or '.join(breaks)}, false)" for reason, breaks in found.items()}


def _as(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _column(rules: Rules, id_type: str) -> _Column:
    bad, good = [], []
    for _, rule in rules.of("user_id", rules.id_types[id_type].kind):
        if rule.matches is not None:
            bad.append(rf"\A(?:{rule.matches})\z")
        elif rule.contains is not None:
            bad.append(f"(?:{rule.contains})")
        else:
            good.append(rules.pattern_of(rule, id_type))
    return _Column("|".join(bad) or None, tuple(good))


def _lookalikes(rules: Rules) -> dict[str, str]:
    """The id types with a form that no other ID has by chance: a number is an alphanumeric ID, too."""
    patterns: dict[str, str] = {}
    for name, id_type in rules.id_types.items():
        if (
            id_type.pattern
            and id_type.kind in ("aam_uuid", "device")
            and not re.fullmatch(id_type.pattern, "1")
        ):
            patterns.setdefault(id_type.pattern, name)
    return {name: pattern for pattern, name in patterns.items()}


# The plain form. Each part below accepts only what breaks no rule, whatever the rules are: a part for which that can't
# be shown is left out, and its lines take the longer way.

_WORD = "0-9A-Za-z_.-"
_QUOTE_IN_ID = r'[^"\t\n]*\t'  # what follows the last one
_ONE_CHARACTER = re.compile(r"\[(?:\\.|[^\]\\])+\]|\\?[\"\']|[^\\.^$*+?(){}|\[\]]")


def _plain_signals(
    rules: Rules, overwrite: bool, traits: Mapping[str, tuple[str, str]] | None, own: str
) -> str | None:
    signals = []
    if _harmless(rules, "trait", "0-9"):
        numbers = "[0-9]+"
        if traits is not None:
            known = [trait for trait, of in traits.items() if of[0] == own and of[1].lower() == "onboarded"]
            known = [trait for trait in known if re.fullmatch("[0-9]+", trait)]
            numbers = f"(?:{'|'.join(known)})" if 0 < len(known) <= _LARGEST_PATTERN else ""
        if numbers:
            signals.append(("d_sid=" if overwrite else "d_(?:un)?sid=") + numbers)
    if _harmless(rules, "integration_code", _WORD):
        signals += ["[0-9]+", f"ic=[{_WORD}]+"]
    if _doubtful_pairs(rules) is not None:
        signals.append(r'"[^"\t\n]+"="[^"\t\n]+"')
    if not signals:
        return None
    signal = f"(?:{'|'.join(signals)})"
    return f"{signal}(?:, ?{signal})*"


def _harmless(rules: Rules, kind: str, characters: str) -> bool:
    """Is it sure that no text of such characters breaks a rule for signals of this kind?

    It is for rules that come down to single characters: none of these is then refused by itself.
    """
    letters = [chr(code) for code in range(128) if re.fullmatch(f"[{characters}]", chr(code))]
    for _, rule in rules.of("signal_key", kind):
        if any(
            rule.is_broken_by(key)
            for key in (("ic",) if kind == "integration_code" else ("d_sid", "d_unsid"))
        ):
            return False
    for _, rule in rules.of("signal_value", kind):
        pattern = rule.contains if rule.matches is None else rule.matches.rstrip("*+")
        if pattern is None:
            if rule.unlike != "[0-9]+" or characters != "0-9":
                return False
        elif not _ONE_CHARACTER.fullmatch(pattern) or any(
            re.fullmatch(pattern, letter) for letter in letters
        ):
            return False
    return True


def _doubtful_pairs(rules: Rules) -> tuple[str, ...] | None:
    """Patterns for a line of quoted pairs; one matches wherever a key or value breaks a rule. None: can't be told.

    They need not be tried on text without quotes. Each begins with literal text, which RE2 finds fast.
    """
    patterns = []
    for about, begin, end in (("signal_value", '="', '"'), ("signal_key", '"', '"=')):
        # Traits and integration codes may be written as quoted pairs, too; a quote in an ID encloses nothing.
        parts = ['(?:d_sid|d_unsid|ic)"=', _QUOTE_IN_ID] if about == "signal_key" else []
        for _, rule in rules.of(about, "key_value"):
            pattern = rule.matches if rule.contains is None else rule.contains
            if pattern == '"':
                continue  # the plain form has no quotes within quotes
            if pattern is None:
                return None
            at_start = pattern.startswith("^") and rule.contains is not None
            bare = pattern[1:] if at_start else pattern
            outside_classes = re.sub(r"\\.|\[\^?(?:\\.|[^\]\\])+\]", "", bare)
            movable = not re.search(r"[$^]", outside_classes) and not (at_start and "|" in outside_classes)
            if not movable or re.search(r"\\[a-wyzA-Z]", bare):
                return None
            if rule.contains is None:
                parts.append(f"(?:{bare}){end}")
            else:
                parts.append(("" if at_start else '[^"]*') + f'(?:{bare})[^"]*{end}')
        if parts:
            patterns.append(f"{begin}(?:{'|'.join(parts)})")
    return tuple(patterns)


# --- The lines --------------------------------------------------------------------------------------------------------


_Refused: TypeAlias = "tuple[str, Counter_, pa.Array, pa.Array]"  # reason, counter, line numbers, lines
_Warned: TypeAlias = "tuple[str, pa.Array, pa.Array]"


@dataclass
class _Examined:
    """The verdicts on a block of lines. `accepted`: columns number, id, value, line; left out for a block that is sure.

    `buckets`: of the accepted lines' IDs, where they are counted. `spelled`: the key-values (key, value, n).
    """

    count: int
    is_sure: bool
    accepted: list[pa.RecordBatch]
    buckets: list[npt.NDArray[np.int64]]
    refused: list[_Refused]
    warned: list[_Warned]
    failed_signals: int
    lookalikes: Counter[str]
    spelled: list[pa.Table]


def _check_lines(opener: _Opener, form: _Form, rules: Rules, tally: _Tally) -> None:
    """Examine all lines; then, in a second reading, count the lines of those users who may have too many.

    Memory: the count of each hash of an ID, and of a number of the IDs whose hash stood too often.
    """
    looks: Counter[str] = Counter()
    crowd = _Crowd(form.most)
    spellings = _Spellings()
    for block in _examined(opener, form, rules.limits, tally):
        tally.report.records_received += block.count
        tally.report.traits_failed_validation += block.failed_signals
        looks.update(block.lookalikes)
        for refused in block.refused:
            tally.refuse(*refused)
        for warned in block.warned:
            tally.warn(*warned)
        for buckets in block.buckets:
            crowd.add(buckets)
        for spelled in block.spelled:
            spellings.add(spelled)
    if crowd.is_suspected():
        _count_exactly(opener, form, rules.limits, crowd, tally)
    spellings.tell(tally)
    if len(looks) + (looks.total() < tally.report.stored_records) > 1 and looks:
        found = [f"{count:,} like {id_type}" for id_type, count in looks.most_common()]
        other = tally.report.stored_records - looks.total()
        tally.note("mixed_id_types", ", ".join(found + [f"{other:,} like none of the devices"] * (other > 0)))
    if tally.report.records_received == 0 and not tally.report.errors:
        tally.fault("empty_file", "no lines")


class _Spellings:
    """The key-values of a file, each once, so far as there are not too many of them."""

    def __init__(self) -> None:
        self._waiting: list[pa.Table] = []
        self._rows = 0

    def add(self, spelled: pa.Table) -> None:
        """Count some."""
        import pyarrow as pa

        self._waiting.append(spelled)
        self._rows += len(spelled)
        if self._rows > _SPELLINGS:
            found = self._counted()
            if len(found) > _SPELLINGS // 2:  # values of many kinds: only keys are compared
                found = found.set_column(1, "value", pa.nulls(len(found), pa.string()))
                self._waiting = [found]
                found = self._counted()
            self._waiting, self._rows = [found], len(found)

    def tell(self, tally: _Tally) -> None:
        """Warn of keys, and of values of a key, that differ in nothing but their letter case."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if not self._waiting:
            return
        found = self._counted()
        lower = pc.utf8_lower(found.column("key"))
        folded = found.append_column("folded_key", lower)
        folded = folded.append_column("folded", pc.utf8_lower(found.column("value")))
        keys = folded.group_by(["folded_key", "key"]).aggregate([("n", "sum")])
        keys = keys.append_column("folded", pa.nulls(len(keys), pa.string()))
        for table, spelling in ((keys.rename_columns({"n_sum": "n"}), "key"), (folded, "value")):
            per = table.group_by(["folded_key", "folded", spelling]).aggregate([("n", "sum")])
            groups = per.group_by(["folded_key", "folded"], use_threads=False).aggregate(
                [(spelling, "count_distinct"), (spelling, "list"), ("n_sum", "list")]
            )
            several = groups.filter(pc.greater(groups.column(f"{spelling}_count_distinct"), 1))
            for row in several.to_pylist():
                counts = sorted(
                    zip(row["n_sum_list"], row[f"{spelling}_list"], strict=True),
                    key=lambda item: (-item[0], item[1]),
                )
                texts = ", ".join(f"{text} ({n:,} signals)" for n, text in counts)
                what = "key" if spelling == "key" else f"value of {row['folded_key']}"
                tally.note("letter_case", _shown(f"{what}: {texts}"))

    def _counted(self) -> pa.Table:
        import pyarrow as pa

        counted = pa.concat_tables(self._waiting).group_by(["key", "value"]).aggregate([("n", "sum")])
        return counted.select(["key", "value", "n_sum"]).rename_columns(["key", "value", "n"])


def _spelled(text: bytes | pa.Buffer) -> pa.Table:
    """The key-values of lines of the plain form, whose quotes enclose nothing but these; only what has a letter."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    quotes = np.flatnonzero(np.frombuffer(text, np.uint8) == ord('"'))
    # from quote to quote, the first one included
    parts = _strings(text, np.append(quotes, len(text)).astype(np.int32))
    keys = parts.take(pa.array(np.arange(0, len(parts), 4))).dictionary_encode()
    values = parts.take(pa.array(np.arange(2, len(parts), 4))).dictionary_encode()
    # of values without a letter, only the key counts
    has_letter = pc.match_substring_regex(values.dictionary, r"[^\x00-@\[-`{-\x7f]")
    letters = np.flatnonzero(has_letter.to_numpy(zero_copy_only=False))
    places = np.full(len(values.dictionary), len(letters))
    places[letters] = np.arange(len(letters))
    width = len(letters) + 1
    pairs = keys.indices.to_numpy() * np.int64(width) + places[values.indices.to_numpy()]
    different, counts = np.unique(pairs, return_counts=True)
    texts = pa.concat_arrays([values.dictionary.take(pa.array(letters)), pa.nulls(1, pa.string())])
    return pa.table(
        {
            "key": pc.utf8_slice_codeunits(keys.dictionary, 1).take(pa.array(different // width)),
            "value": pc.utf8_slice_codeunits(texts, 1).take(pa.array(different % width)),
            "n": pa.array(counts, pa.int64()),
        }
    )


class _Crowd:
    """How often IDs stand in a file, by a hash of them: who may have too many lines, and no one else for sure."""

    def __init__(self, most: int) -> None:
        import numpy as np

        self._most = most
        self._counts = np.zeros(_BUCKETS, np.int64)
        self._waiting: list[npt.NDArray[np.int64]] = []
        self._waiting_rows = 0

    def add(self, buckets: npt.NDArray[np.int64]) -> None:
        """Count some IDs."""
        self._waiting.append(buckets)
        self._waiting_rows += len(buckets)
        if self._waiting_rows > _BUCKETS:
            self._count()

    def is_suspected(self) -> bool:
        """Whether anyone may stand there too often."""
        self._count()
        return bool((self._counts > self._most).any())

    def suspects(self, ids: pa.Array) -> pa.Array:
        """Which of the IDs may stand there too often, as booleans."""
        import pyarrow as pa

        return pa.array(self._counts[_buckets(ids)] > self._most)

    def _count(self) -> None:
        import numpy as np

        if self._waiting:
            self._counts += np.bincount(np.concatenate(self._waiting), minlength=_BUCKETS)
            self._waiting, self._waiting_rows = [], 0


def _buckets(ids: pa.Array) -> npt.NDArray[np.int64]:
    """A number below _BUCKETS for each ID."""
    import numpy as np
    import pyarrow as pa

    if not len(ids):
        return np.zeros(0, np.int64)
    _, offsets, data = pa.concat_arrays([ids]).buffers()
    ends = np.frombuffer(offsets, np.int32, len(ids) + 1).astype(np.int64)
    return _buckets_of(np.frombuffer(data, np.uint8, int(ends[-1])), ends[:-1], ends[1:])


def _buckets_of(
    text: npt.NDArray[np.uint8], begins: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """The same for IDs within a text: made of their first and last eight bytes and their lengths."""
    import numpy as np

    padded = np.empty(len(text) + 16, np.uint8)  # so that each may be read as a word
    padded[8:-8] = text
    words = np.ndarray((len(padded) - 7,), np.dtype("<u8"), padded, strides=(1,))
    lengths = ends - begins
    # of a shorter ID, the bytes of its neighbours don't count
    beyond = (8 * np.maximum(8 - lengths, 0)).astype(np.uint64)
    is_empty = beyond == 64
    beyond[is_empty] = 0
    first = words[begins + 8] << beyond
    last = words[ends] >> beyond
    mixed = first * np.uint64(0x9E3779B97F4A7C15) ^ last * np.uint64(0xC2B2AE3D27D4EB4F)
    mixed ^= lengths.astype(np.uint64) * np.uint64(0x165667B19E3779F9)
    mixed[is_empty] = 0
    buckets: npt.NDArray[np.int64] = (mixed >> np.uint64(64 - _BUCKETS.bit_length() + 1)).astype(np.int64)
    return buckets


def _count_exactly(opener: _Opener, form: _Form, limits: Limits, crowd: _Crowd, tally: _Tally) -> None:
    """Read the file again, for the lines of those who may have too many; no more than can be held at once.

    Where they are more, half of them are left to another reading, by a hash of the ID, and so on.
    """
    import pyarrow as pa

    reason = "too_many_lines" if form.counted == "lines" else "too_many_hashed_emails"
    shares = [(1, 0, 0)]  # hash modulo, remainder, and the number of the line up to which all is told
    while shares:
        parts, part, told = shares.pop()
        held = _Held(form)
        unseen = _Tally(FileReport(tally.report.file), 0, None)
        for block in _examined(opener, replace(form, sure=None, spelled=None), limits, unseen):
            for batch in block.accepted:
                some = batch.filter(crowd.suspects(batch.column("id")))
                columns = (some.column(name).to_pylist() for name in ("number", "id", "value"))
                too_many = []
                for number, user_id, value in zip(*columns, strict=True):
                    is_ours = parts == 1 or hash(user_id) % parts == part
                    too_many.append(is_ours and held.add(user_id, value) and number > told)
                    while held.is_full:
                        shares.append((2 * parts, part + parts, max(told, number)))
                        parts *= 2
                        held.keep(parts, part)
                if any(too_many):
                    some = some.filter(pa.array(too_many, pa.bool_()))
                    tally.refuse(reason, "format_errors", some.column("number"), some.column("line"))


class _Held:
    """Of some users, how many lines they have, or of some customers the first so many hashed e-mails."""

    def __init__(self, form: _Form) -> None:
        self._most, self._by_value = form.most, form.counted == "values"
        self._lines: dict[str, int] = {}
        self._values: dict[str, set[str]] = {}
        self._size = 0

    @property
    def is_full(self) -> bool:
        """Whether half of them must go."""
        return self._size > _HELD_AT_ONCE

    def add(self, user_id: str, value: str) -> bool:
        """One more line, and whether it is one too many."""
        if not self._by_value:
            lines = self._lines.get(user_id, 0) + 1
            self._lines[user_id] = lines
            self._size = len(self._lines)
            return lines > self._most
        values = self._values.setdefault(user_id, set())
        if value in values:
            return False
        if len(values) == self._most:
            return True
        values.add(value)
        self._size += 1
        return False

    def keep(self, parts: int, part: int) -> None:
        """Forget those of other parts."""
        self._lines = {key: lines for key, lines in self._lines.items() if hash(key) % parts == part}
        self._values = {key: values for key, values in self._values.items() if hash(key) % parts == part}
        self._size = len(self._lines) + sum(map(len, self._values.values()))


def _accepted_schema() -> pa.Schema:
    import pyarrow as pa

    return pa.schema(
        [("number", pa.int64()), ("id", pa.string()), ("value", pa.string()), ("line", pa.string())]
    )


def _engine() -> duckdb.DuckDBPyConnection:
    import duckdb

    warehouse = duckdb.connect(config={"memory_limit": _MEMORY, "temp_directory": ""})
    warehouse.execute("set enable_progress_bar = false")
    return warehouse


def _examined(opener: _Opener, form: _Form, limits: Limits, tally: _Tally) -> Iterator[_Examined]:
    """The verdicts on all blocks, in order; several blocks are examined at a time."""
    pool = _workers()
    with _engine() as warehouse:
        if form.traits is not None:
            _load_taxonomy(warehouse, form.traits)
        waiting: deque[Future[_Examined]] = deque()
        try:
            for first, text in _blocks(opener, limits, tally):
                waiting.append(pool.submit(_examine, form, limits, warehouse, first, text))
                if len(waiting) > _WORKERS:
                    block = waiting.popleft().result()
                    if not block.is_sure:  # the next will hardly be, and trying costs time
                        form = replace(form, sure=None)
                    yield block
            while waiting:
                yield waiting.popleft().result()
        finally:
            wait([future for future in waiting if not future.cancel()])


@cache
def _workers() -> ThreadPoolExecutor:
    """Threads that examine blocks, as many as cores: of all files that are checked at a time."""
    return ThreadPoolExecutor(_WORKERS, "check")


def _load_taxonomy(warehouse: duckdb.DuckDBPyConnection, traits: Mapping[str, tuple[str, str]]) -> None:
    import pyarrow as pa

    columns = [list(traits), [of[0] for of in traits.values()], [of[1] for of in traits.values()]]
    arrays = [pa.array(column, pa.string()) for column in columns]
    names = ["trait_id", "trait_dpid", "trait_type"]
    warehouse.register("loaded", pa.table(arrays, names=names))
    warehouse.execute("create table taxonomy as select * from loaded")
    warehouse.unregister("loaded")


def _examine(
    form: _Form, limits: Limits, warehouse: duckdb.DuckDBPyConnection, first: int, text: bytes
) -> _Examined:
    """The verdicts on a block; runs in a thread, and lets others run meanwhile."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if form.sure is not None and (sure := _examine_at_once(form, form.sure, limits, text)):
        return sure
    lines = pc.split_pattern(pa.array([text], pa.binary()), "\n").flatten()
    numbers = pc.add(pc.indices_nonzero(pc.is_valid(lines)).cast(pa.int64()), first)
    refused: list[_Refused] = []
    warned: list[_Warned] = []
    count = len(lines)

    lengths = pc.min_max(pc.binary_length(lines)).as_py()
    byte_faults: list[tuple[str, bool, Callable[[], pa.Array]]] = [
        (
            "line_too_long",
            lengths["max"] > limits.line_bytes,
            lambda: pc.greater(pc.binary_length(lines), limits.line_bytes),
        ),
        ("blank_line", lengths["min"] == 0, lambda: pc.equal(pc.binary_length(lines), 0)),
        ("invalid_utf8", not _is_utf8(text), lambda: pc.invert(pc.match_substring_regex(lines, _UTF8))),
        ("nul_byte", b"\0" in text, lambda: pc.match_substring(lines, "\0")),
    ]
    for reason, there_is_one, find in byte_faults:
        if there_is_one:
            fault = find()
            # The line may have been refused for another reason before.
            if pc.any(fault).as_py():
                refused.append((reason, "format_errors", numbers.filter(fault), lines.filter(fault)))
            sound = pc.invert(fault)
            numbers, lines = numbers.filter(sound), lines.filter(sound)
    if lengths["max"] >= limits.line_bytes:
        at_limit = pc.equal(pc.binary_length(lines), limits.line_bytes)
        warned.append(("line_at_limit", numbers.filter(at_limit), lines.filter(at_limit)))

    lines = lines.view(pa.string())
    spelled: list[pa.Table] = []
    plain, columns = _find_plain(form, lines, form.doubtful if b'"' in text else ())
    if form.spelled is not None and b'"' in text and (chosen := lines.filter(plain)):
        spelled.append(
            _spelled(pc.binary_join(pa.ListArray.from_arrays([0, len(chosen)], chosen), "\n")[0].as_buffer())
        )
    if columns is not None:
        accepted = [_accepted(numbers, lines, *columns)]
        failed = 0
    else:
        accepted = [
            _accepted(numbers.filter(plain), lines.filter(plain), *_split_ids(form, lines.filter(plain)))
        ]
        suspects = pa.table([numbers, lines], names=["number", "line"]).filter(pc.invert(plain))
        failed = 0
        step = max(1, min(_SUSPECTS, _ELEMENTS * count // (text.count(b",") + 1)))
        for start in range(0, len(suspects), step):
            some = suspects.slice(start, step)
            more, failed_here = _judge(form, warehouse, some, refused, warned, spelled)
            accepted.append(more)
            failed += failed_here
    looks = Counter[str]()
    for table in accepted:
        looks.update(_looks(form, table.column("id")))
    buckets = [_buckets(table.column("id")) for table in accepted] if form.counted else []
    return _Examined(count, False, accepted, buckets, refused, warned, failed, looks, spelled)


def _examine_at_once(form: _Form, sure: str, limits: Limits, text: bytes) -> _Examined | None:
    """The verdict on a block whose lines are all of a form that breaks no rule; None when they are not."""
    import numpy as np
    import pyarrow.compute as pc

    codes = np.frombuffer(text, np.uint8)
    controls = np.flatnonzero(codes <= ord("\n"))  # a TAB and a line end in turn, or it is of no such form
    tabs, line_ends = controls[::2], controls[1::2]
    if len(tabs) != len(line_ends) + 1:
        return None
    if (codes[tabs] != ord("\t")).any() or (codes[line_ends] != ord("\n")).any():
        return None
    begins, ends = np.append(0, line_ends + 1), np.append(line_ends, len(codes))
    if int((ends - begins).max()) >= limits.line_bytes or not _is_utf8(text):
        return None
    block = _strings(text, np.array([0, len(text)], np.int32))
    doubtful = form.doubtful if b'"' in text else ()
    if not pc.match_substring_regex(block, sure)[0].as_py():
        return None
    if any(pc.match_substring_regex(block, pattern)[0].as_py() for pattern in doubtful):
        return None
    looks = Counter[str]()
    for length in _LOOKALIKE_LENGTHS if form.lookalikes else ():
        first = begins[tabs - begins == length]
        ids = codes[first[:, np.newaxis] + np.arange(length)].tobytes()
        looks.update(_looks(form, _strings(ids, np.arange(0, len(ids) + 1, length, dtype=np.int32))))
    buckets = [_buckets_of(codes, begins, tabs)] if form.counted else []
    spelled = [_spelled(text)] if b'"' in text else []
    return _Examined(len(ends), True, [], buckets, [], [], 0, looks, spelled)


def _strings(text: bytes | pa.Buffer, offsets: npt.NDArray[np.int32]) -> pa.Array:
    import pyarrow as pa

    return pa.StringArray.from_buffers(len(offsets) - 1, pa.py_buffer(offsets), pa.py_buffer(text))


def _is_utf8(text: bytes) -> bool:
    import pyarrow as pa

    if text.isascii():
        return True
    try:
        pa.array([text], pa.binary()).cast(pa.string())
    except pa.ArrowInvalid:
        return False
    return True


def _accepted(numbers: pa.Array, lines: pa.Array, ids: pa.Array, values: pa.Array) -> pa.RecordBatch:
    import pyarrow as pa

    return pa.record_batch([numbers, ids, values, lines], schema=_accepted_schema())


def _find_plain(
    form: _Form, lines: pa.Array, doubtful: tuple[str, ...]
) -> tuple[pa.Array, tuple[pa.Array, pa.Array] | None]:
    """Which lines are plain, and when all are, their IDs and values."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if form.plain is None or not len(lines):
        return pa.repeat(pa.scalar(False), len(lines)), None
    plain = pc.match_substring_regex(lines, form.plain)
    for pattern in doubtful:
        plain = pc.and_not(plain, pc.match_substring_regex(lines, pattern))
    everywhere = pc.all(plain).as_py()
    likely = lines if everywhere else lines.filter(plain)
    parts = _split_line(form, likely)
    good = pc.is_valid(likely)
    for place, column in enumerate(form.columns):
        ids = pc.list_element(parts, place)
        if column.bad is not None:
            good = pc.and_not(good, pc.match_substring_regex(ids, column.bad))
        for pattern in column.good:
            good = pc.and_(good, pc.match_substring_regex(ids, rf"\A(?:{pattern})\z"))
    if everywhere and pc.all(good).as_py():
        return plain, _first_two(form, parts)
    return pc.replace_with_mask(plain, plain, good), None


def _split_line(form: _Form, lines: pa.Array) -> pa.Array:
    import pyarrow.compute as pc

    # Of a data file, the signals stay as they are; a bare ID has none.
    return pc.split_pattern(lines, "\t", max_splits=max(1, len(form.columns) - 1))


def _first_two(form: _Form, parts: pa.Array) -> tuple[pa.Array, pa.Array]:
    import pyarrow as pa
    import pyarrow.compute as pc

    ids = pc.list_element(parts, 0)
    return ids, pc.list_element(parts, 1) if form.counted == "values" else pa.nulls(len(ids), pa.string())


def _split_ids(form: _Form, lines: pa.Array) -> tuple[pa.Array, pa.Array]:
    return _first_two(form, _split_line(form, lines))


def _answers(sql: str, warehouse: duckdb.DuckDBPyConnection, suspects: pa.Table) -> pa.Table:
    """What a query of a form says; of fewer lines at a time where memory is short."""
    import duckdb
    import pyarrow as pa

    try:
        with warehouse.cursor() as cursor:
            cursor.register("suspects", suspects.combine_chunks())
            return cursor.sql(sql).to_arrow_table()
    except duckdb.OutOfMemoryException:
        if len(suspects) == 1:
            raise
        half = len(suspects) // 2
        parts = suspects.slice(0, half), suspects.slice(half)
        return pa.concat_tables([_answers(sql, warehouse, part) for part in parts])


def _judge(
    form: _Form,
    warehouse: duckdb.DuckDBPyConnection,
    suspects: pa.Table,
    refused: list[_Refused],
    warned: list[_Warned],
    spelled: list[pa.Table],
) -> tuple[pa.RecordBatch, int]:
    """Try the rules one after the other; returns the accepted lines and the signals that fail validation."""
    import pyarrow as pa
    import pyarrow.compute as pc

    verdicts = _answers(form.sql, warehouse, suspects)
    if form.spelled is not None and pc.any(pc.match_substring(suspects.column("line"), "=")).as_py():
        found = _answers(form.spelled, warehouse, suspects)
        spelled += [found.cast(_spelled(b"").schema)] if len(found) else []
    numbers, lines = (suspects.column(name).combine_chunks() for name in ("number", "line"))
    verdicts = verdicts.combine_chunks()
    broken = verdicts.column("reason")
    for code in pc.unique(broken.drop_null()).to_pylist():
        reason, counter = form.reasons[code]
        hit = pc.fill_null(pc.equal(broken, code), False).combine_chunks()
        refused.append((reason, counter, numbers.filter(hit), lines.filter(hit)))
    good = pc.is_null(broken).combine_chunks()
    for name in form.warnings:
        hit = pc.and_(good, verdicts.column(name)).combine_chunks()
        warned.append((name, numbers.filter(hit), lines.filter(hit)))
    for code in pc.unique(verdicts.column("failed").drop_null()).to_pylist():
        hit = pc.and_(good, pc.fill_null(pc.equal(verdicts.column("failed"), code), False)).combine_chunks()
        warned.append((_TRAIT_REASONS[code], numbers.filter(hit), lines.filter(hit)))
    failed = pc.sum(verdicts.column("failed_signals").filter(good)).as_py() or 0
    ids, values = (
        verdicts.column(name).filter(good).cast(pa.string()).combine_chunks() for name in ("id", "value")
    )
    return _accepted(numbers.filter(good), lines.filter(good), ids, values), failed


def _looks(form: _Form, ids: pa.Array) -> Counter[str]:
    """How many IDs look like those of which id type."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not form.lookalikes:
        return Counter()
    ids = ids.filter(pc.is_in(pc.binary_length(ids), pa.array(_LOOKALIKE_LENGTHS, pa.int32())))
    found = Counter[str]()
    for id_type, pattern in form.lookalikes.items():
        alike = pc.match_substring_regex(ids, rf"\A(?:{pattern})\z")
        found[id_type] += pc.sum(alike).as_py() or 0
        ids = ids.filter(pc.invert(alike))
    return +found
