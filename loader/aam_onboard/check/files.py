"""A file of anyone's → the counts and errors that Audience Manager would report for it."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TextIO

from aam_onboard import filenames
from aam_onboard.check.container import find_opener, read_twice, size_of
from aam_onboard.check.forms import form_of
from aam_onboard.check.lines import check_lines
from aam_onboard.check.report import CheckReport, FileReport, Tally, open_errors
from aam_onboard.errors import AamError, ConfigError

if TYPE_CHECKING:
    from aam_onboard.rules import Rules


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
        size_of(path)
    with ExitStack() as stack:
        if isinstance(errors_to, Path):
            errors_to = stack.enter_context(open_errors(errors_to, paths))
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
            report.bytes = size_of(source)
        if isinstance(errors_to, Path):
            errors_to = stack.enter_context(open_errors(errors_to, [source]))
        tally = Tally(report, samples, errors_to, rules.rules)
        try:
            parsed = filenames.parse(name)
        except filenames.FileNameError as error:
            tally.fault("bad_name", str(error))
            return tally.close()
        stack.enter_context(_said_plainly(name))
        path, size = stack.enter_context(read_twice(source, name, rules))
        report.bytes = size
        _check_name(parsed, rules, tally)
        known_traits = None if taxonomy is None else _load_traits(taxonomy)
        opener = find_opener(path, name, parsed.extension, size, rules, tally, decrypt)
        if opener is not None:
            check_lines(opener, form_of(parsed, rules, known_traits), rules, tally)
        return tally.close()


def check_text(
    opener: Callable[[], AbstractContextManager[BinaryIO]], name: str, rules: Rules, *, samples: int = 10
) -> FileReport:
    """Check plain text as the content of a file `name` before it is encrypted, with no part of it on the disk.

    `opener` gives the text from its beginning, and is called again when users with too many lines are to be found.
    Raises AamError as `opener` does, and for an error of the engines.
    """
    report = FileReport(name)
    tally = Tally(report, samples, None, rules.rules)
    parsed = filenames.parse(name)
    _check_name(parsed, rules, tally)
    with _said_plainly(name):
        check_lines(opener, form_of(parsed, rules, None), rules, tally)
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


def _check_name(name: filenames.FileName, rules: Rules, tally: Tally) -> None:
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
