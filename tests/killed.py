"""`aam`, killed by SIGKILL at its n-th step: before or after a statement, a finished file, an upload, a removal.

    python killed.py N LOG aam-arguments…

LOG gets the name of the step at which it was killed, or `end M` when it came to its end after M steps.
"""

import itertools
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

LAST, LOG = int(sys.argv[1]), Path(sys.argv[2])
_lock = threading.Lock()
_steps = itertools.count(1)


def step(name: str) -> None:
    with _lock:
        if next(_steps) == LAST:
            LOG.write_text(name)
            os.kill(os.getpid(), signal.SIGKILL)


def around(owner: Any, name: str, label: str) -> None:
    real = getattr(owner, name)

    def acting(*arguments: Any, **more: Any) -> Any:
        what = label
        if label == "statement":
            what = " ".join(str(arguments[1]).split()[:3])
        step(f"before {what}")
        result = real(*arguments, **more)
        step(f"after {what}")
        return result

    setattr(owner, name, acting)


def main() -> None:
    from aam_onboard import cli, files, run, spool
    from aam_onboard.warehouse.duckdb import DuckDBWarehouse
    from aam_onboard.warehouse.postgres import PostgresWarehouse
    from aam_onboard.warehouse.spark import SparkWarehouse

    around(DuckDBWarehouse, "execute", "statement")
    around(PostgresWarehouse, "execute", "statement")
    around(SparkWarehouse, "append", "transaction")
    around(spool.shutil, "rmtree", "emptying the spool")
    real_parts, real_open = files.write_parts, run.open_destination

    def write_parts(*arguments: Any, **more: Any) -> Iterator[files.Part]:
        for part in real_parts(*arguments, **more):
            step("after a finished file")
            yield part

    def open_destination(*arguments: Any, **more: Any) -> Any:
        found = real_open(*arguments, **more)
        real_put = found.put

        def put(part: files.Part, key: str, on_bytes: Any = None) -> Any:
            def on_some(size: int) -> None:
                step("during upload")
                if on_bytes:
                    on_bytes(size)

            step("before upload")
            stored = real_put(part, key, on_bytes=on_some)
            step("after upload")
            return stored

        found.put = put
        around(found, "delete", "removal")
        return found

    files.write_parts = write_parts
    run.open_destination = open_destination
    sys.argv = ["aam", *sys.argv[3:]]
    try:
        cli.main()
    finally:
        LOG.write_text(f"end {next(_steps) - 1}")


main()
