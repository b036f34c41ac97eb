"""One message when things change: a run fails, a guard stops it, a file is not picked up, all is well again.

Not once a run: what was told last is kept in the project's `.aam/told/`, and in the column `told` of `runs` for runs
whose folder does not stay. What could not be told is told by the next run. Nothing here makes a run fail.
"""

from __future__ import annotations

import http.client
import json
import logging
import os
import re
import shlex
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Collection, Mapping
from contextlib import suppress
from datetime import datetime, timezone
from email.message import Message
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from aam_onboard.package import package_version
from aam_onboard.running import FeedError

if TYPE_CHECKING:
    from aam_onboard.config import Project
    from aam_onboard.history import Story

log = logging.getLogger("aam")

# For all attempts together: a run waits no longer for whoever is to hear of it.
TIMEOUT_SECONDS = 10.0
_WAITS = (0.5, 2.0)  # before the second attempt, and the third
_VARIABLE = re.compile("[A-Z_][A-Z0-9_]*")
_TOLD = Path(".aam") / "told"
_CONDITIONS = ("failed", "stopped", "late")  # the gravest first
OUTBOUND = "outbound files"  # what comes back, as if it were a feed
_SAYS = {"failed": "failed", "stopped": "was stopped", "late": "is not picked up"}

# condition and feed (empty: the whole run), and why
Problems = Mapping[tuple[str, str], str]


class _NotToldError(Exception):
    """What to say of a message that did not arrive."""


def problems_of(story: Story) -> Problems:
    """What of a run is not well."""
    found = {("late", feed): reason for feed, reason in story.late.items()}
    received = story.result.received.errors if story.result.received else []
    for error in story.result.errors:
        if error.exit_code != 4:  # another run is at work, that is all
            of_outbound = story.command == "receive" or error in received
            feed = error.feed if isinstance(error, FeedError) else OUTBOUND if of_outbound else ""
            condition = "stopped" if error.exit_code == 3 else "failed"
            found.setdefault((condition, feed), " ".join(str(error).split()))
    if story.exit_code == 1 and not story.result.errors:
        found["failed", OUTBOUND if story.command == "receive" else ""] = "it ended with an unexpected error"
    return found


def _judges(story: Story, condition: str, feed: str) -> bool:
    """Whether a run can tell that a problem is there no more."""
    if story.command == "status":
        return condition == "late"
    if condition == "late" or story.exit_code not in (0, 1, 2, 3):
        return False
    if feed == OUTBOUND or story.command == "receive":
        return feed == OUTBOUND and (story.command == "receive" or story.result.received is not None)
    whole = any(feed == "" for _, feed in problems_of(story))
    return not feed or (feed in story.feeds and not whole)


def is_webhook(to: str) -> bool:
    """Whether vars.notify names an environment variable, and not a command."""
    return bool(_VARIABLE.fullmatch(to))


def problem_of(to: str) -> str | None:
    """Why a message could not even be tried; what `aam doctor` says."""
    if is_webhook(to):
        url = os.environ.get(to)
        if not url:
            return f"the environment variable {to} is not set"
        try:
            parts = urlsplit(url)
        except ValueError:
            parts = urlsplit("")
        if parts.scheme not in ("http", "https") or not parts.netloc:
            return f"the environment variable {to} holds no http or https URL"
        return None
    try:
        words = shlex.split(to)
    except ValueError as error:
        return f"no command can be read from it: {str(error).lower()}"
    return None if words else "no command can be read from it"


def tell(project: Project, story: Story) -> str | None:
    """Send a message if a run has changed what is known to be wrong; what is told now, to be kept with the run."""
    to = project.vars.notify
    if to is None:
        return None
    kept = project.root / _TOLD / f"{quote(story.target, safe='')}.{quote(story.destination, safe='')}.json"
    before = _read(kept, story.told)
    problems = problems_of(story)
    now = {key for key in before if not _judges(story, *key)} | set(problems)
    if now == before:
        return None
    try:
        _send(to, json.dumps(payload(project, story, problems, before, now)), project.root)
    except _NotToldError as error:
        log.warning("%s", f"vars.notify: {error}; the next run tries again")
        return None
    told = json.dumps(sorted(now))
    with suppress(OSError):
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(told, encoding="utf-8")
    return told


def _read(kept: Path, told: str | None) -> set[tuple[str, str]]:
    text = told
    with suppress(OSError):
        text = kept.read_text(encoding="utf-8")
    try:
        return {(str(condition), str(feed)) for condition, feed in json.loads(text or "[]")}
    except (ValueError, TypeError):
        return set()


def payload(
    project: Project,
    story: Story,
    problems: Problems,
    before: Collection[tuple[str, str]],
    now: Collection[tuple[str, str]],
) -> dict[str, Any]:
    """The message, as docs/reporting.md describes it; `text` is what Slack shows."""
    new = sorted(
        (key for key in now if key not in before), key=lambda key: (_CONDITIONS.index(key[0]), key[1])
    )
    well = sorted({feed for _, feed in before} - {feed for _, feed in now})
    where = f"{story.destination} (target {story.target})"
    lines = [
        f"aam {story.command} to {where}: {feed or 'the run'} {_SAYS[condition]}: {problems[condition, feed]}"
        for condition, feed in new
    ]
    lines += [f"aam {story.command} to {where}: {feed or 'the run'} is well again" for feed in well]
    text = "\n".join(lines) or f"aam {story.command} to {where}: fewer problems than before"
    for letter, written in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):  # as Slack wants it
        text = text.replace(letter, written)
    return {
        "text": text,
        "event": new[0][0] if new else "recovered",
        "project": project.name,
        "command": story.command,
        "target": story.target,
        "destination": story.destination,
        "run_id": story.run_id,
        "exit_code": story.exit_code,
        "started_at": story.started_at.isoformat(),
        "told_at": datetime.now(timezone.utc).isoformat(),
        "version": package_version(),
        "new": [
            {"condition": condition, "feed": feed or None, "reason": problems[condition, feed]}
            for condition, feed in new
        ],
        "recovered": [feed or None for feed in well],
        "standing": [{"condition": condition, "feed": feed or None} for condition, feed in sorted(now)],
    }


def _send(to: str, message: str, root: Path) -> None:
    if problem := problem_of(to):
        raise _NotToldError(problem)
    if not is_webhook(to):
        _call(to, message, root)
        return
    url = os.environ[to]
    outcome: list[str | None] = []
    # a thread of its own: a server that sends a byte now and then outlasts every other time-out
    thread = threading.Thread(target=lambda: outcome.append(_post(url, message.encode())), daemon=True)
    thread.start()
    thread.join(TIMEOUT_SECONDS)
    failed = outcome[0] if outcome else f"no answer within {TIMEOUT_SECONDS:g} seconds"
    if failed:
        raise _NotToldError(f"the webhook of {to}: {failed}")


def _post(url: str, body: bytes) -> str | None:
    """Send, again where that may help; what is wrong, without the URL, which is a secret. None when it has arrived."""
    problem = "no answer"
    opener = urllib.request.build_opener(_SameHost)
    for wait in (0.0, *_WAITS):
        time.sleep(wait)
        request = urllib.request.Request(  # noqa: S310  # the scheme is looked at before
            url, body, {"Content-Type": "application/json", "User-Agent": f"aam/{package_version()}"}
        )
        try:
            with opener.open(request, timeout=TIMEOUT_SECONDS):
                return None
        except urllib.error.HTTPError as error:
            problem = f"HTTP {error.code}"
            if error.code < 500 and error.code != 429:
                return problem
        except _NotToldError as error:
            return str(error)
        except (OSError, http.client.HTTPException, ValueError) as error:
            problem = type(getattr(error, "reason", error)).__name__
    return problem


class _SameHost(urllib.request.HTTPRedirectHandler):
    """Follows a redirect only to where the message was sent to."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> urllib.request.Request | None:
        if urlsplit(newurl)[:2] != urlsplit(req.full_url)[:2]:
            raise _NotToldError("it redirects to another host, which gets nothing of us")
        return urllib.request.Request(newurl, req.data, dict(req.headers))  # noqa: S310  # the same scheme


def _call(command: str, message: str, root: Path) -> None:
    try:
        process = subprocess.Popen(
            shlex.split(command), cwd=root, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            text=True, encoding="utf-8", start_new_session=True,
        )  # fmt: skip
    except (OSError, ValueError) as error:
        problem = getattr(error, "strerror", None) or type(error).__name__
        raise _NotToldError(f"the command can't be run: {problem}") from None
    try:
        process.communicate(message, timeout=TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        with suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise _NotToldError(f"the command did not end within {TIMEOUT_SECONDS:g} seconds") from None
    if process.returncode:
        raise _NotToldError(f"the command ended with {process.returncode}")
