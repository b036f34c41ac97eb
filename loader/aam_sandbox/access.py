"""What all requests share: the sandbox's file, and who may ask."""

from __future__ import annotations

import pathlib
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request

from aam_onboard.errors import LockedError
from aam_onboard.rules import Rules
from aam_sandbox.store import Store, open_store

PATIENCE = 5.0  # seconds, while another command has the sandbox open
# told of every answer
HEADERS = {
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


@dataclass
class Sandbox:
    """What all requests share. The file is opened for each, so that other commands get at it in between."""

    folder: pathlib.Path
    rules: Rules
    token_seconds: int
    # token → the client that asked for it, and when it expires
    tokens: dict[str, tuple[str, float]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def store(self) -> Iterator[Store]:
        """The sandbox, for one request at a time. Raises LockedError when another command keeps it."""
        with self._lock, ExitStack() as opened:
            yield self._opened(opened)

    def _opened(self, stack: ExitStack) -> Store:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                return stack.enter_context(open_store(self.folder))
            except LockedError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)


async def _content(request: Request) -> bytes:
    return await request.body()


Content = Annotated[bytes, Depends(_content)]
