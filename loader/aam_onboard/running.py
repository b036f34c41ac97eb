"""What a run is given (its two ends, open, and what it was told), and what comes of it, feed by feed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from aam_onboard.destinations import place_of
from aam_onboard.errors import AamError

if TYPE_CHECKING:
    from aam_onboard.config import Project
    from aam_onboard.destinations import Destination, DestinationSettings
    from aam_onboard.encryption import Encryption
    from aam_onboard.history import Story
    from aam_onboard.receive import ReceiveResult
    from aam_onboard.state import Delivery, DeliveryFile
    from aam_onboard.warehouse import Warehouse


def no_progress(feed: str, step: Literal["expected", "written", "sent"], lines: int, size: int) -> None:
    """Progress that nobody watches."""


@dataclass(frozen=True)
class Options:
    """What a run is told. `check` None: as the project says · `command`, `arguments`: as it was called, for history."""

    full: bool = False
    check: bool | None = None
    force: bool = False
    force_feeds: tuple[str, ...] = ()
    # feed, written | sent, lines, bytes since the last call; `sent` may come from another thread. First of a feed,
    # expected and the lines of all.
    on_progress: Callable[[str, Literal["expected", "written", "sent"], int, int], None] = no_progress
    command: str = ""
    arguments: str = ""
    metrics_file: Path | None = None

    def forces(self, feed: str) -> bool:
        """Whether the feed may pass its guards."""
        return self.force or feed in self.force_feeds


@dataclass(frozen=True)
class Run:
    """Where a run delivers from and to, all open, and what it was told."""

    project: Project
    warehouse: Warehouse
    destination: Destination
    settings: DestinationSettings
    encryption: Encryption | None = None
    options: Options = field(default_factory=Options)
    story: Story | None = None

    @property
    def place(self) -> str:
        """Where the destination is, as the state knows it again."""
        return place_of(self.settings, self.project.root)


@dataclass(frozen=True)
class Outcome:
    """What became of one feed's delivery in this run."""

    delivery: Delivery
    files: list[DeliveryFile]


class FeedError(AamError):
    """An error that stopped one feed."""

    feed: str

    @classmethod
    def of(cls, feed: str, error: AamError) -> FeedError:
        """The error with the feed's name before it and its exit code kept."""
        named = cls(f"feed {feed}: {error}")
        named.feed = feed
        named.exit_code = error.exit_code
        return named


@dataclass
class RunResult:
    """The outcomes of a run, and the errors that stopped feeds; the run's exit code is the gravest one's.

    `kept_back`: feeds of which nothing was sent though something changed, for none of it may be · `received`: what came
    back, where that was asked for · `rejected`: rows kept back of each feed whose batch was looked at.
    """

    outcomes: list[Outcome] = field(default_factory=list)
    errors: list[AamError] = field(default_factory=list)
    kept_back: list[str] = field(default_factory=list)
    received: ReceiveResult | None = None
    rejected: dict[str, int] = field(default_factory=dict)

    def add(self, feed: str, outcome_of: Callable[[], Outcome | None]) -> None:
        """One feed's outcome, or the error that stopped that feed only."""
        try:
            outcome = outcome_of()
        except AamError as error:
            self.errors.append(FeedError.of(feed, error))
        else:
            self.outcomes += [outcome] if outcome else []

    def and_then(self, later: RunResult) -> RunResult:
        """What came of both, one after the other."""
        return RunResult(
            self.outcomes + later.outcomes,
            self.errors + later.errors,
            self.kept_back + later.kept_back,
            self.received or later.received,
            self.rejected | later.rejected,
        )

    @property
    def exit_code(self) -> int:
        """0 done · 1 a delivery failed · 2 configuration · 3 a guard stopped it."""
        return exit_code_of(self.errors)


def exit_code_of(errors: Sequence[AamError]) -> int:
    """The exit code of the gravest of several errors; 0 for none."""
    codes = {error.exit_code for error in errors}
    return next((code for code in (1, 2, 4, 3) if code in codes), 0)
