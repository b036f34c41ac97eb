"""Receipts: what Audience Manager tells of the files of a job, by mail [inbound-receipt-message] or by its API.

Counters are a job's, not a file's. They are read as they stand, and kept beside what was delivered; the models
report_receipts and receipt_differences compare.
"""

from __future__ import annotations

import email
import email.policy
import hashlib
import html
import json
import mailbox
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from email.message import EmailMessage
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from aam_onboard import api as apis
from aam_onboard import filenames, state
from aam_onboard.errors import AamError, ConfigError

if TYPE_CHECKING:
    from aam_onboard.api import Api
    from aam_onboard.config import Project
    from aam_onboard.warehouse import Warehouse

# column: label, in the order of the mail; any order is read
COUNTERS = {
    "records_received": "Records received",
    "format_errors": "Format Errors",
    "invalid_aam_id": "Invalid AAM ID",
    "invalid_device_id": "Invalid Device ID",  # of the onboarding report; no mail shown by Adobe has it
    "no_matching_aam_id": "No Matching AAM ID",
    "no_trait_realized": "No Trait Realized",
    "records_processed": "Records processed",
    "stored_records": "Stored Records",
    "total_devices": "Total devices",
    "total_signals": "Total signals",
    "total_unused_signals": "Total unused signals",
    "total_realized_traits": "Total realized traits",
    "total_removed_traits": "Total removed traits",
    "total_traits_failed_validation": "Total traits failed validation",
    "total_users_failed_validation": "Total users that have traits which failed validation",
}
_TIMES = {"job_started_at": "Job start time", "job_ended_at": "Job end time"}
_FILES = "File name"
# Of the label lines; a forwarded mail has `>` before each, and some clients let stars or dots stand there.
_LABELS = {label.lower(): column for column, label in (COUNTERS | _TIMES).items()} | {_FILES.lower(): "files"}
_LINE = re.compile(r"^[\s>*·•-]*(.*?)[\s*]*$")
_ADDRESS = re.compile(r"^<?((?:[a-z0-9+]+://)?\S+)>?$", re.IGNORECASE)
_FILE = re.compile(r"^(?:[a-z0-9+]+://\S+|(?:ftp_dpm|adobe_id|c2c_id)_\S+)$", re.IGNORECASE)
# No page shows the fields of the API's inbound history: a counter goes by the column's name or the mail's label.
_FIELDS = {
    re.sub("[^a-z]", "", name.lower()): column
    for column, label in COUNTERS.items()
    for name in (column, label)
}
# Of a mail, more than which no receipt is.
_MOST_BYTES = 1_000_000


class NotAReceiptError(AamError):
    """A text that is no receipt, or none that can be read."""


@dataclass(frozen=True)
class Receipt:
    """What one mail tells of a job, or the API. `files`: their addresses, or names; times are UTC; a counter that is
    not there is absent."""

    files: tuple[str, ...]
    counters: dict[str, int]
    job_started_at: datetime | None
    job_ended_at: datetime | None
    text: str
    source: Literal["mail", "api"] = "mail"

    @property
    def names(self) -> list[str]:
        """The names of the files."""
        return [address.rstrip("/").rpartition("/")[2] for address in self.files]

    @property
    def receipt_id(self) -> str:
        """The same for the same receipt, however often and in whatever mail it comes."""
        times = [str(self.job_started_at), str(self.job_ended_at)]
        told = json.dumps([sorted(self.files), sorted(self.counters.items()), times])
        return hashlib.sha256(told.encode()).hexdigest()[:32]

    @property
    def stored_by_sum(self) -> int | None:
        """Stored records as Adobe's formula has them; None where a part of it is not told."""
        parts = ("format_errors", "invalid_aam_id", "no_matching_aam_id", "no_trait_realized")
        if "records_received" not in self.counters or not all(part in self.counters for part in parts):
            return None
        return self.counters["records_received"] - sum(self.counters[part] for part in parts)


@dataclass(frozen=True)
class Reading:
    """What one mail, or a job of the API's, has come to. `warnings`: what is strange about a receipt."""

    where: str
    receipt: Receipt | None
    problem: str = ""
    is_new: bool = False

    @property
    def warnings(self) -> list[str]:
        """A sum that is off."""
        if self.receipt is None:
            return []
        by_sum, stored = self.receipt.stored_by_sum, self.receipt.counters.get("stored_records")
        if by_sum is None or stored is None or by_sum == stored:
            return []
        return [f"{self.where}: Stored Records says {stored:,}, and the other counters add up to {by_sum:,}"]


def parse(text: str) -> Receipt:
    """A receipt from the text of a mail. Raises NotAReceiptError that says what there is not, or is none."""
    found: dict[str, str] = {}
    files: list[str] = []
    in_files = False
    for raw in text.splitlines():
        line = _LINE.sub(r"\1", raw)
        label, colon, value = line.partition(":")
        column = _LABELS.get(" ".join(label.lower().split())) if colon else None
        value = value.strip(" \t*")
        if column == "files":
            in_files = True
            files += [value] if value else []
        elif column:
            in_files = False
            if found.get(column, value) != value:
                raise NotAReceiptError(
                    f"`{label.strip()}` stands in it twice: forward each receipt as its own"
                )
            found[column] = value
        elif in_files and line and (address := _ADDRESS.match(line)) and _FILE.match(address[1]):
            files.append(address[1])
    missing = [
        label
        for label, there in ((_FILES, files), ("Records received", "records_received" in found))
        if not there
    ]
    if missing:
        raise NotAReceiptError(f"no receipt of Audience Manager: it has no line `{missing[0]}:`")
    counters = {
        column: _number(COUNTERS[column], value) for column, value in found.items() if column in COUNTERS
    }
    times = {column: _time(_TIMES[column], found[column]) for column in _TIMES if column in found}
    names = tuple(dict.fromkeys(files))
    return Receipt(names, counters, times.get("job_started_at"), times.get("job_ended_at"), text.strip())


def _number(label: str, value: str) -> int:
    digits = re.sub(r"(?<=[0-9])[,.\s\u00a0\u202f'](?=[0-9]{3}\b)", "", value)
    if not re.fullmatch("[0-9]{1,18}", digits):
        raise NotAReceiptError(f"`{label}: {value[:40]}` is no number")
    return int(digits)


def _time(label: str, value: str) -> datetime:
    """Zone unsaid: UTC."""
    try:
        found = datetime.fromisoformat(re.sub(r"\s*(UTC|GMT|Z)$", "+00:00", value.strip()))
    except ValueError:
        raise NotAReceiptError(f"`{label}: {value[:40]}` is no time") from None
    return found.astimezone(timezone.utc) if found.tzinfo else found.replace(tzinfo=timezone.utc)


def read_all(paths: Sequence[str]) -> Iterator[Reading]:
    """Each mail of files, mailboxes (mbox, Maildir), folders of mails and, as `-`, standard input.

    Raises ConfigError for a path that can't be read.
    """
    for path in paths:
        for where, mail in _mails(path):
            try:
                yield Reading(where, parse(_text_of(mail)))
            except NotAReceiptError as error:
                yield Reading(where, None, str(error))


def _mails(path: str) -> Iterator[tuple[str, bytes]]:
    """Every mail with the name that a message gives it."""
    try:
        if path == "-":
            yield from _mails_of_text("standard input", sys.stdin.buffer.read())
            return
        place = Path(path)
        if place.is_dir():
            is_maildir = (place / "cur").is_dir() or (place / "new").is_dir()
            folders = [place / "cur", place / "new"] if is_maildir else [place]
            for folder in folders:
                for file in sorted(folder.iterdir()) if folder.is_dir() else ():
                    if file.is_file() and not file.name.startswith("."):
                        yield from _mails_of_text(str(file), file.read_bytes())
        else:
            yield from _mails_of_text(path, place.read_bytes(), place)
    except OSError as error:
        raise ConfigError(f"{path} can't be read: {error.strerror or error}") from None


def _mails_of_text(where: str, content: bytes, file: Path | None = None) -> Iterator[tuple[str, bytes]]:
    if not content.startswith(b"From "):
        yield where, content
        return
    if file is None:  # the reader of mailboxes wants a file
        import tempfile

        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / "mbox"
            copy.write_bytes(content)
            yield from _mails_of_text(where, content, copy)
        return
    with closing(mailbox.mbox(file, create=False)) as box:
        for number, message in enumerate(box, start=1):
            yield f"{where} mail {number}", message.as_bytes()


def _text_of(content: bytes) -> str:
    """What a mail says, plain before HTML; of a text that is no mail, all."""
    content = content[:_MOST_BYTES]
    if not re.match(rb"(?:[!-9;-~]+:[^\n]*\r?\n(?:[ \t][^\n]*\r?\n)*)+\r?\n", content):
        return content.decode("utf-8", "replace")
    message = email.message_from_bytes(content, policy=email.policy.default)
    assert isinstance(message, EmailMessage)  # noqa: S101  # so says the policy
    body = message.get_body(("plain", "html"))
    if body is None:
        return ""
    try:
        text = str(body.get_content())
    except (LookupError, UnicodeError, KeyError):  # a character set that nobody knows
        payload = body.get_payload(decode=True)
        text = payload.decode("utf-8", "replace") if isinstance(payload, bytes) else ""
    return _without_tags(text) if body.get_content_subtype() == "html" else text


def _without_tags(text: str) -> str:
    text = re.sub(r"(?is)<(script|style)\b.*?</\1>", "", text)
    text = re.sub(r"(?i)<(br|/p|/div|/tr|/li|/h[1-6])\b[^>]*>", "\n", text)
    return html.unescape(re.sub(r"<[^>]+>", " ", text))


def ask_all(api: Api, project: Project) -> Iterator[Reading]:
    """Each job of the API's inbound history of our data sources. Raises as the API does."""
    dpids = {dpid for feed in project.feed_names for dpid in project.dpids_of(feed)}
    told: set[str] = set()
    for dpid in sorted(dpid for dpid in dpids if project.rules.global_id_type(dpid) is None):
        for reading in read_history(dpid, api.inbound_history(dpid)):
            # a job is in the history of the data source of its IDs, and of its traits'
            if reading.receipt is None or reading.receipt.receipt_id not in told:
                yield reading
            if reading.receipt:
                told.add(reading.receipt.receipt_id)


def read_history(dpid: int, rows: Iterable[Mapping[str, Any]]) -> Iterator[Reading]:
    """The jobs of a data source's inbound history: a row tells of one file, and rows with a job's number are one's."""
    jobs: dict[object, list[Mapping[str, Any]]] = {}
    for place, row in enumerate(rows):
        job = apis.whole(row, "jobID", "jobId")
        jobs.setdefault(("row", place) if job is None else job, []).append(row)
    for of_job in jobs.values():
        names = [name for row in of_job if (name := apis.file_name(row))]
        where = f"the API, data source {dpid}, {names[0] if names else 'a row'}"
        times = apis.moment(of_job[0], "startTime"), apis.moment(of_job[0], "endTime")
        if not names:
            yield Reading(where, None, "it has no dataFileName")
        elif times[1] is None:
            yield Reading(where, None, "it has no endTime: the job has not ended")
        else:
            files = tuple(sorted(set(names)))
            yield Reading(where, Receipt(files, _counters_of(of_job[0]), *times, apis.raw(of_job), "api"))


def _counters_of(row: Mapping[str, Any]) -> dict[str, int]:
    found: dict[str, int] = {}
    for name in row:
        column = _FIELDS.get(re.sub("[^a-z]", "", name.lower()))
        count = apis.whole(row, name)
        if column and count is not None:
            found[column] = count
    return found


def keep(warehouse: Warehouse, project: Project, readings: Iterable[Reading]) -> list[Reading]:
    """Write down the receipts that are not yet; each reading with whether it was new.

    A file has one receipt, be it told of by mail, by the API, or both: what came first stays.
    """
    receipts = state.table(project, "receipts")
    known: set[str] = set()
    sources: dict[str, set[str]] = {}
    for row in warehouse.rows(f"select receipt_id, file_name, source from {receipts}"):
        known.add(row["receipt_id"])
        sources.setdefault(row["file_name"], set()).add(row["source"])
    done: list[Reading] = []
    with warehouse.transaction():
        for reading in readings:
            receipt = reading.receipt
            is_new = (
                receipt is not None
                and receipt.receipt_id not in known
                and not any(sources.get(name, set()) - {receipt.source} for name in receipt.names)
            )
            done.append(replace(reading, is_new=is_new))
            if receipt is None or not is_new:
                continue
            known.add(receipt.receipt_id)
            for name in receipt.names:
                sources.setdefault(name, set()).add(receipt.source)
            job = {
                "receipt_id": receipt.receipt_id,
                "source": receipt.source,
                "job_started_at": receipt.job_started_at,
                "job_ended_at": receipt.job_ended_at,
                "read_at": datetime.now(timezone.utc),
                **receipt.counters,
            }
            for place, (address, name) in enumerate(zip(receipt.files, receipt.names, strict=True)):
                file = {"file_name": name, "file_root": _root_of(name), "address": address}
                # a job's counters and its text, once
                told = {"raw": receipt.text[:_MOST_BYTES]} if not place else {}
                state.insert(warehouse, receipts, {**job, **file, **told})
    return done


def _root_of(name: str) -> str | None:
    """As deliveries have it: Audience Manager may have added a split number to what we sent."""
    try:
        return str(replace(filenames.parse(name), split=None, extension=""))
    except filenames.FileNameError:
        return None
