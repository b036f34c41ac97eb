"""What is said of a file: its counts, its errors, and why each is one."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, TextIO

from aam_onboard.errors import CheckFailedError, ConfigError

if TYPE_CHECKING:
    import pyarrow as pa

    from aam_onboard.rules import Rule


CountedAs = Literal["format_errors", "invalid_aam_id", "invalid_device_id"]

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
_SAMPLE = 200  # characters of a line in a report


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


def require_ok(report: FileReport) -> None:
    """Raise CheckFailedError for a file that Audience Manager would refuse."""
    if report.ok:
        return
    first = report.errors[0]
    # No sample of a line: it is a person's data, and this is written down for good.
    found = f"line {first.line}: {first.reason}" if first.line else f"{first.reason}, {first.sample}"
    says = f" ({report.says[first.reason]})" if first.reason in report.says else ""
    raise CheckFailedError(
        f"{report.file} was not sent, Audience Manager would refuse it: {found}{says};"
        " mend the rows, or the rule in vars.rules that let them through, and run `aam run`"
    )


class Tally:
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

    def refuse(self, reason: str, counter: CountedAs, numbers: pa.Array, lines: pa.Array) -> None:
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
    return [Problem(number, reason, shown(line)) for number, line in first]


def shown(line: bytes | str) -> str:
    """A line as a sample: text, and not too much of it."""
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
def open_errors(path: Path, sources: Sequence[Path | BinaryIO]) -> Iterator[TextIO]:
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
