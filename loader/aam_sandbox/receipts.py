"""Receipts: one a job, as Audience Manager's e-mail has it [inbound-receipt-message], in the sandbox's `receipts/`."""

from __future__ import annotations

from datetime import datetime, timezone
from email.message import EmailMessage
from email.policy import default
from email.utils import format_datetime
from typing import Any

from aam_sandbox.store import COUNTERS, Store

_SUBJECT = "Adobe Audience Manager Server-To-Server Processing Result:"


def write_receipts(store: Store) -> None:
    """A file for every job that has none, so that a killed run's are there too."""
    folder = store.folder / "receipts"
    folder.mkdir(exist_ok=True)
    there = {path.name for path in folder.iterdir()}
    for job in store.rows("select * from jobs order by job_id"):
        name = f"{job['job_id']:06}.eml"
        if name not in there:
            unfinished = folder / f".{name}"
            unfinished.write_bytes(_receipt(store, job).as_bytes())
            unfinished.rename(folder / name)


def receipt_of(store: Store, job_id: int) -> str:
    """The text of a job's receipt."""
    [job] = store.rows("select * from jobs where job_id = ?", [job_id])
    return _text(store, job)


def _receipt(store: Store, job: dict[str, Any]) -> EmailMessage:
    mail = EmailMessage(policy=default.clone(max_line_length=998))
    mail["From"] = "aam-noreply@adobe.com"
    mail["Subject"] = _SUBJECT
    mail["Date"] = format_datetime(_utc(job["ended_at"]))
    mail.set_content(_text(store, job), cte="8bit")
    return mail


def _text(store: Store, job: dict[str, Any]) -> str:
    files = store.rows("select * from job_files where job_id = ? order by name", [job["job_id"]])
    lines = [f"Hello partner {job['dpid'] if job['dpid'] is not None else 'unknown'},", "", "File name:"]
    lines += [file["address"] for file in files]
    lines += [f"{label}: {job[counter]}" for counter, label in COUNTERS.items()]
    lines += [f"Job start time: {job['started_at']:%Y-%m-%d %H:%M:%S}"]
    lines += [f"Job end time: {job['ended_at']:%Y-%m-%d %H:%M:%S}"]
    # Audience Manager sends no receipt for these: it deletes them without a word
    lines += [
        f"Deleted, not processed: {file['name']}: {file['problem']}"
        for file in files
        if file["outcome"] == "deleted"
    ]
    return "\n".join(lines) + "\n"


def _utc(time: datetime) -> datetime:
    return time.replace(tzinfo=timezone.utc)
