"""`aam receive`: outbound files of Audience Manager into the warehouse's state.

A file counts as received with one transaction, which applies it and writes its row; what is killed before that is done
anew. Nothing at the source changes before it.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from aam_onboard import state
from aam_onboard.api import Api, ApiError
from aam_onboard.config import Outbound, Project
from aam_onboard.destinations import Destination, load_destination, open_destination
from aam_onboard.destinations.settings import ReceiveSettings
from aam_onboard.errors import AamError, ConfigError, DeliveryError, GuardError
from aam_onboard.outbound import control as controls
from aam_onboard.outbound import load as loading
from aam_onboard.outbound.batches import Found, FoundBatch, gaps, group, waits_for
from aam_onboard.outbound.control import Control, read_control
from aam_onboard.outbound.history import Difference, differences_of, hold_against_api, says_differences
from aam_onboard.outbound.ledger import Ledger, ReceivedBatch, ReceivedFile, now
from aam_onboard.outbound.names import OutboundNameError, read_name
from aam_onboard.outbound.unpack import prove, unpack
from aam_onboard.running import exit_code_of

if TYPE_CHECKING:
    from aam_onboard.warehouse import Warehouse

log = logging.getLogger("aam")


@dataclass(frozen=True)
class Source:
    """An output of destinations.yml where outbound files lie, and the entries of vars.outbound that come from there."""

    destination: Destination
    settings: ReceiveSettings
    outbound: Mapping[str, Outbound]


@dataclass(frozen=True)
class Waiting:
    """A batch that is not loaded yet, and what it waits for."""

    outbound: str
    root: str
    waits_for: str


@dataclass
class ReceiveResult:
    """What was received, what waits, what is missing, and what stopped a file; the exit code is the gravest one's.

    `differences`: what the API says otherwise, where it is asked.
    """

    files: list[ReceivedFile] = field(default_factory=list)
    batches: list[ReceivedBatch] = field(default_factory=list)
    waiting: list[Waiting] = field(default_factory=list)
    gaps: dict[str, list[datetime]] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)
    other_files: int = 0
    dry_run: bool = False
    errors: list[AamError] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0 done, also when nothing was there · 1 a file is not what it should be · 2 configuration · 3 a guard."""
        return exit_code_of(self.errors)

    def to_json(self) -> dict[str, Any]:
        """The stable form for scripts."""
        return {
            "dry_run": self.dry_run,
            "files": [asdict(file) for file in self.files],
            "batches": [asdict(batch) for batch in self.batches],
            "waiting": [asdict(one) for one in self.waiting],
            "gaps": {name: [f"{at:%Y-%m-%d}" for at in missing] for name, missing in self.gaps.items()},
            "differences": [asdict(one) for one in self.differences],
            "other_files": self.other_files,
            "errors": [str(error) for error in self.errors],
        }


def select_outbound(project: Project, names: Sequence[str] | None) -> list[str]:
    """The entries of vars.outbound that `--select` names; all without it. Raises ConfigError."""
    known = list(project.vars.outbound)
    if not known:
        raise ConfigError(
            "dbt_project.yml: vars.outbound is empty: it says which of Audience Manager's destinations come back"
        )
    if not names:
        return known
    wanted = [part for name in names for part in name.replace(",", " ").split()]
    if not wanted:
        raise ConfigError("--select is empty: name an outbound destination, or leave the option out")
    for name in wanted:
        if name not in known:
            raise ConfigError(f"--select {name}: no such outbound destination; known: {', '.join(known)}")
    return [name for name in known if name in wanted]


@contextmanager
def opened_sources(project: Project, names: Sequence[str], to: str | None) -> Iterator[list[Source]]:
    """The outputs where these entries of vars.outbound come from. Raises ConfigError for one that receives nothing."""
    by_output: dict[str, tuple[Any, dict[str, Outbound]]] = {}
    for name in names:
        settings = project.vars.outbound[name]
        output, found = load_destination(project, settings.output or to)
        if found.receive is None:
            raise ConfigError(
                f"destinations.yml: output `{output}`: key `receive` is missing: it says where the outbound files of"
                f" vars.outbound.{name} lie there"
            )
        by_output.setdefault(output, (found, {}))[1][name] = settings
    sources = [
        Source(open_destination(output, found), found.receive, of_output)
        for output, (found, of_output) in by_output.items()
    ]
    try:
        yield sources
    finally:
        for source in sources:
            source.destination.close()


def look(project: Project, name: str, to: str | None) -> tuple[list[Found], int]:
    """The outbound files of an entry where they lie, and how many others there are. Raises as listing does."""
    found: list[Found] = []
    others = 0
    with opened_sources(project, [name], to) as [source]:
        for stored in source.destination.list(source.settings.prefix):
            read = read_name(stored.key.rpartition("/")[2], source.outbound)
            if read is None:
                others += 1
            else:
                found.append(Found(read, stored))
    return found, others


def receive(
    warehouse: Warehouse,
    project: Project,
    sources: Sequence[Source],
    *,
    force: bool = False,
    dry_run: bool = False,
    api: Api | None = None,
) -> ReceiveResult:
    """Receive what is there and whole. An error stops its batch only, and is in the result.

    `force`: past every guard · `dry_run`: say what would be received; only `.info` files are read · `api`: is asked
    then what it has sent.
    """
    began = now()
    result = ReceiveResult(dry_run=dry_run)
    spool = project.root / project.vars.spool_dir / warehouse.name / "received"
    shutil.rmtree(spool, ignore_errors=True)  # of a run that was killed
    spool.mkdir(parents=True, mode=0o700)
    try:
        receivers = [
            _Receiver(warehouse, project, source, spool, result, force=force, dry_run=dry_run)
            for source in sources
        ]
        for receiver in receivers:
            receiver.receive()
    finally:
        shutil.rmtree(spool, ignore_errors=True)
    if api is not None and not dry_run:
        try:
            for receiver in receivers:
                receiver.ask(api, began)
        except ApiError as error:  # it would answer no other question either
            result.errors.append(error)
    return result


def missing_of(ledger: Ledger, settings: Outbound) -> list[datetime]:
    """The times at which a destination should have sent something and nothing came."""
    return gaps(list(ledger.batches().values()), settings.every_hours, now())


@dataclass(frozen=True)
class Received:
    """What has come back of one outbound destination: its last batch, memberships now, times without a batch, and
    what the API said otherwise when it was asked last."""

    last: ReceivedBatch | None
    memberships: int
    gaps: list[datetime]
    differences: list[Difference]

    def to_json(self) -> dict[str, Any]:
        """The stable form for scripts."""
        return {
            "last_batch": asdict(self.last) if self.last else None,
            "memberships": self.memberships,
            "gaps": [f"{at:%Y-%m-%d}" for at in self.gaps],
            "differences": [asdict(one) for one in self.differences],
        }


def received_so_far(warehouse: Warehouse, project: Project) -> dict[str, Received]:
    """What has come back of each entry of vars.outbound; nothing where nothing was ever received."""
    if not project.vars.outbound or not state.is_there(warehouse, project, "received_batches"):
        return {}
    found = {}
    for name, settings in project.vars.outbound.items():
        ledger = Ledger(warehouse, project, name)
        batches = sorted(ledger.batches().values(), key=lambda one: one.made_at)
        last = batches[-1] if batches else None
        members = ledger.members() if batches else 0
        differences = differences_of(warehouse, project, name)
        found[name] = Received(last, members, missing_of(ledger, settings), differences)
    return found


class _Receiver:
    """One output, from its list to the state."""

    def __init__(
        self,
        warehouse: Warehouse,
        project: Project,
        source: Source,
        spool: Path,
        result: ReceiveResult,
        *,
        force: bool,
        dry_run: bool,
    ) -> None:
        self._project, self._source, self._spool, self._result = project, source, spool, result
        self._force, self._dry_run = force, dry_run
        self._ledgers = {name: Ledger(warehouse, project, name) for name in source.outbound}
        self._files = {name: ledger.files() for name, ledger in self._ledgers.items()}
        self._batches = {name: ledger.batches() for name, ledger in self._ledgers.items()}
        self._lying: set[str] | None = None  # names of files; None: they could not be listed

    def receive(self) -> None:
        try:
            batches = group(self._listed())
        except AamError as error:
            self._result.errors.append(error)
            return
        for batch in batches:
            try:
                self._receive_batch(batch)
            except AamError as error:
                self._result.errors.append(_of(batch, error))
        for name, ledger in self._ledgers.items():
            if missing := missing_of(ledger, self._source.outbound[name]):
                self._result.gaps[name] = missing
                log.warning("%s", says_gaps(name, missing))

    def ask(self, api: Api, began: datetime) -> None:
        """Hold what was received against what the API says. Raises ApiError when it does not answer."""
        if self._lying is None:
            return
        settled = timedelta(minutes=self._source.settings.settled_minutes)
        for name, ledger in self._ledgers.items():
            try:
                found = hold_against_api(
                    api, ledger, self._project, lying=self._lying, began=began, settled=settled
                )
            except ConfigError as error:
                self._result.errors.append(ConfigError(f"outbound {name}: {error}"))
                continue
            self._result.differences += found
            for warning in says_differences(name, found):
                log.warning("%s", warning)

    def _listed(self) -> Iterator[Found]:
        settings = self._source.settings
        stored_files = list(self._source.destination.list(settings.prefix))
        self._lying = {stored.key.rpartition("/")[2] for stored in stored_files}
        for stored in stored_files:
            if settings.after == "move" and stored.key.startswith(settings.move_to):
                continue
            try:
                name = read_name(stored.key.rpartition("/")[2], self._source.outbound)
            except OutboundNameError as error:
                self._result.errors.append(error)
                continue
            if name is None:
                self._result.other_files += 1
            else:
                yield Found(name, stored)

    def _receive_batch(self, batch: FoundBatch) -> None:
        received = self._files[batch.outbound]
        new = [one for one in batch.files if one.name.name not in received]
        for one in batch.files:
            self._require_same(one, received)
        for one in batch.doubled:
            log.info("%s", f"{one.stored.key} is there twice, by that name; the first one counts")
        known = self._batches[batch.outbound].get(batch.root)
        if known and not new and (known.status != "open" or not batch.infos):
            self._after(batch.files if known.status == "open" else [*batch.files, *batch.infos])
            return
        control = self._control(batch)
        waits, overdue = waits_for(batch, control, received, self._source.settings, now())
        if waits and not overdue:
            self._result.waiting.append(Waiting(batch.outbound, batch.root, waits))
            log.info("%s", f"{batch.root}: waits for {waits}")
            return
        if not batch.files and not known:
            hours = self._source.settings.max_wait_hours
            raise DeliveryError(
                f"{batch.root}.info has waited longer than {hours:g} hours (max_wait_hours) for {waits or 'its files'};"
                " ask Adobe for the batch anew (they keep it for 8 days), and take the .info away"
            )
        last_full = self._ledgers[batch.outbound].last_full()
        is_late = last_full is not None and batch.made_at < last_full
        if self._dry_run:
            self._result.files += [self._row(batch, one, late=is_late) for one in new]
            return
        for one in new:
            self._receive_file(batch, one, control, is_late=is_late)
        self._end(batch, control, is_late=is_late, overdue=overdue)
        if waits:
            raise DeliveryError(
                f"{batch.root}: {waits} did not come within {self._source.settings.max_wait_hours:g} hours"
                " (max_wait_hours); what came is received, and a full without them ends nobody's membership; ask Adobe"
                " for them anew (they keep them for 8 days)"
            )

    def _require_same(self, one: Found, received: Mapping[str, ReceivedFile]) -> None:
        before = received.get(one.name.name)
        if before and before.bytes != one.stored.bytes:
            raise DeliveryError(
                f"{one.stored.key} has {one.stored.bytes:,} bytes, but a file of that name and {before.bytes:,} bytes"
                f" was received from {before.uri}; nothing is received twice: ask Adobe which is right"
            )

    def _control(self, batch: FoundBatch) -> Control | None:
        if not batch.infos:
            return None
        info = batch.infos[0]
        if info.name.root != batch.root:
            log.warning("%s", f"{info.name.name} is taken for that of {batch.root}: only the mode differs")
        if info.stored.bytes > controls.LARGEST:
            raise DeliveryError(f"{info.name.name}: {info.stored.bytes:,} bytes are no control file")
        path = self._spool / info.name.name
        self._source.destination.fetch(info.stored.key, path)
        try:
            return read_control(path.read_bytes().decode(errors="replace"), info.name.name)
        finally:
            path.unlink()

    def _receive_file(self, batch: FoundBatch, one: Found, control: Control | None, *, is_late: bool) -> None:
        ledger, settings = self._ledgers[batch.outbound], self._source.outbound[batch.outbound]
        if one.name.is_pgp and not self._source.settings.decrypt:
            raise ConfigError(
                f"{one.name.name} is a PGP file; say `decrypt: true` under `receive` of output"
                f" `{self._source.destination.name}`, with the secret key in your keyring"
            )
        said = next((said for said in (control or _NONE).files if said.name == one.name.name), None)
        file = self._spool / one.name.name
        try:
            self._source.destination.fetch(one.stored.key, file)
            with loading.examiner(self._spool, self._project, settings) as examiner:
                text = unpack(file, self._spool, one.name, settings.header_lines, examiner.add)
                if said and (note := prove(file, one.name, text, said)):
                    log.warning("%s", note)
                examined = examiner.end(text)
            row = replace(
                self._row(batch, one, late=is_late),
                file_id=ledger.next_file_id(),
                lines=text.lines,
                md5=text.md5,
                users=examined.users,
                memberships=examined.memberships,
                removals=examined.removals,
                rejected=examined.rejected,
            )
            if not self._force:
                loading.guard_lines(row, examined)
            known = self._batches[batch.outbound].get(batch.root)
            open_batch = known or self._batch_row(batch, control, "open")
            loading.load(ledger, row, examined, text, lambda: ledger.set_batch(open_batch), force=self._force)
        finally:
            file.unlink(missing_ok=True)
            for piece in self._spool.glob("text.*"):
                piece.unlink()
        self._files[batch.outbound][one.name.name] = row
        self._batches[batch.outbound][batch.root] = open_batch
        self._result.files.append(row)
        log.info("%s", f"received {row.name}: {row.users:,} users, {row.memberships:,} memberships")
        if row.rejected:
            log.warning("%s", says_rejected(row, examined.reasons))
        self._after([one])

    def _row(self, batch: FoundBatch, one: Found, *, late: bool) -> ReceivedFile:
        settings = self._source.outbound[batch.outbound]
        return ReceivedFile(
            file_id=0,
            outbound=batch.outbound,
            destination_id=settings.destination_id,
            dpid=settings.user_dpid,
            mode=batch.mode,
            made_at=batch.made_at,
            root=batch.root,
            name=one.name.name,
            output=self._source.destination.name,
            uri=self._source.destination.uri(one.stored.key),
            bytes=one.stored.bytes,
            lines=0,
            md5="",
            users=0,
            memberships=0,
            removals=0,
            rejected=0,
            status="late" if late else "applied",
            forced=self._force,
            received_at=now(),
        )

    def _batch_row(
        self, batch: FoundBatch, control: Control | None, status: Literal["open", "whole", "partial", "late"]
    ) -> ReceivedBatch:
        return ReceivedBatch(
            outbound=batch.outbound,
            root=batch.root,
            mode=batch.mode,
            made_at=batch.made_at,
            files=control.count if control else None,
            status=status,
            ended_memberships=0,
            forced=False,
            changed_at=now(),
        )

    def _end(self, batch: FoundBatch, control: Control | None, *, is_late: bool, overdue: bool) -> None:
        """Say what the batch is now. With a whole full, users whom it does not list have left."""
        ledger, received = self._ledgers[batch.outbound], self._files[batch.outbound]
        is_whole = control is not None and not overdue and self._proven(control, received)
        status: Literal["open", "whole", "partial", "late"] = "open"
        if is_late:
            status = "late"
        elif is_whole:
            status = "whole"
        elif control is not None:
            status = "partial"
        row = self._batch_row(batch, control, status)
        with ledger.warehouse.transaction():
            if status == "whole" and batch.mode == "full":
                row = self._end_absent(
                    ledger, row, [received[one.name].file_id for one in (control or _NONE).files]
                )
            ledger.set_batch(row)
        self._batches[batch.outbound][batch.root] = row
        self._result.batches.append(row)
        if status != "open":
            self._after(batch.infos)

    def _end_absent(self, ledger: Ledger, row: ReceivedBatch, file_ids: Sequence[int]) -> ReceivedBatch:
        ended = ledger.count_absent(row) if file_ids else 0
        if ended:
            if not self._force:
                self._guard_ended(ledger, row, ended, max(file_ids))
            ledger.end_absent(row, max(file_ids))
        ledger.forget_statements(row.made_at)
        return replace(row, ended_memberships=ended, forced=self._force)

    def _guard_ended(self, ledger: Ledger, row: ReceivedBatch, ended: int, last_file: int) -> None:
        before = ledger.members()
        if ended == before:
            raise GuardError(
                f"{row.root}: the full came empty: all {before:,} memberships of vars.outbound.{row.outbound} would"
                f" end; look what Audience Manager sent, or pass it: aam receive --select {row.outbound} --force"
            )
        last = next(one for one in self._files[row.outbound].values() if one.file_id == last_file)
        loading.guard_shrink(last, self._source.outbound[row.outbound], ended, before, row.root)

    def _proven(self, control: Control, received: Mapping[str, ReceivedFile]) -> bool:
        """Whether all files of an `.info` were received as it says; it may have come after them."""
        for said in control.files:
            there = received.get(said.name)
            if (
                there is None
                or said.bytes not in (None, there.bytes)
                or said.lines not in (None, there.lines)
            ):
                return False
        return len(control.files) == control.count

    def _after(self, done: Sequence[Found]) -> None:
        """What the settings want with files that were received."""
        settings = self._source.settings
        if self._dry_run or settings.after == "keep":
            return
        act: Callable[[Found], None] = self._delete if settings.after == "delete" else self._move
        for one in done:
            act(one)

    def _delete(self, one: Found) -> None:
        self._source.destination.delete(one.stored.key)

    def _move(self, one: Found) -> None:
        settings = self._source.settings
        below = one.stored.key.removeprefix(settings.prefix).lstrip("/")
        self._source.destination.rename(one.stored.key, f"{settings.move_to.rstrip('/')}/{below}")


_NONE = Control((), 0)


def _of(batch: FoundBatch, error: AamError) -> AamError:
    """The error with the destination's name before it and its exit code kept."""
    named = type(error)(f"outbound {batch.outbound}: {error}")
    named.exit_code = error.exit_code
    return named


def says_rejected(row: ReceivedFile, reasons: Mapping[str, int]) -> str:
    """How many lines of a file were rejected, and why."""
    from aam_onboard.outbound.lines import SAYS

    said = ", ".join(f"{count:,} {reason} ({SAYS[reason]})" for reason, count in reasons.items())
    return f"{row.name}: {row.rejected:,} lines rejected, kept in rejected_lines: {said}"


def says_gaps(name: str, missing: Sequence[datetime]) -> str:
    """Which days have no batch, and what that means."""
    days = ", ".join(f"{at:%Y-%m-%d}" for at in missing[:5]) + (" …" if len(missing) > 5 else "")
    return (
        f"outbound {name}: nothing came for {days}: what changed then is missing until the next full; ask Adobe for it"
        " (they keep it for 8 days)"
    )
