"""dbt, in a process of its own that imports it ahead of time and ends with the `aam` that started it.

    python dbt_process.py duckdb|postgres

Standard input: one line of JSON, dbt's arguments, and then nothing; when it closes, `aam` has ended, however that
came, and nobody would deliver what dbt builds. Standard error: dbt's own output. Standard output: one line of JSON,
which `loader.build` reads. Imports nothing of the loader.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import queue
import signal
import sys
import threading
import time
import warnings
from typing import Any

# How long dbt may take to cancel its queries when it has to end.
GRACE_SECONDS = 5


def main() -> None:
    """Import dbt, wait for its arguments, invoke it, tell what failed."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever prints, prints to standard error
    orders: queue.SimpleQueue[list[str]] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(orders,), daemon=True).start()
    # As in `aam`: what dbt imports and parses stays, and to look through it for garbage again and again takes a tenth.
    gc.set_threshold(100_000, 20, 20)
    from dbt.cli.main import dbtRunner

    importlib.import_module(f"dbt.adapters.{sys.argv[1]}")
    # dbt-spark asks a Spark Connect server, at each statement, for what only a driver of its own could do
    warnings.filterwarnings("ignore", category=UserWarning, module="pyspark.sql.connect.conf")
    result = dbtRunner().invoke(orders.get())
    if sys.argv[1] == "duckdb":
        # its file is open until the process ends; dbt closes connections of other engines itself
        from dbt.adapters.duckdb.connections import DuckDBConnectionManager

        DuckDBConnectionManager.close_all_connections()  # type: ignore[no-untyped-call]
    print(json.dumps(_answer(result)), file=answers, flush=True)
    sys.stderr.flush()
    os._exit(0 if result.success else 1)  # to take the interpreter apart would take most of a second


def _listen(orders: queue.SimpleQueue[list[str]]) -> None:
    """Hand the arguments over, then wait for the end of `aam`. (A buffered reader would be in the way at our own.)"""
    read = b""
    while some := os.read(0, 1 << 16):
        read += some
        if read.endswith(b"\n"):
            orders.put(json.loads(read))
            read = b""
    # dbt's own way to stop: it cancels the queries that run on the server
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    time.sleep(GRACE_SECONDS)
    os._exit(130)


def _answer(result: Any) -> dict[str, Any]:
    """`error`: why dbt could not run at all; `failed`: the models and tests that failed, with dbt's messages;
    `places`: schema and name of the package's models and of those that they read, by `<package>.<name>`."""
    found = result.result
    failed = [
        {"node": node.node.name, "message": node.message or "failed"}
        for node in getattr(found, "results", [])
        if str(node.status) in ("error", "fail")
    ]
    # of a build, what it ran; of a parse, all that there is
    nodes = {one.node.unique_id: one.node for one in getattr(found, "results", [])} | getattr(
        found, "nodes", {}
    )
    ours = {name: node for name, node in nodes.items() if node.package_name == "aam_onboard"}
    read = {name for node in ours.values() for name in node.depends_on.nodes}
    places = {
        f"{node.package_name}.{node.name}": (node.schema, node.alias)
        for name, node in nodes.items()
        if node.resource_type in ("model", "seed", "snapshot") and (name in ours or name in read)
    }
    return {"error": str(result.exception) if result.exception else None, "failed": failed, "places": places}


if __name__ == "__main__":
    sys.path.pop(0)  # this file's folder: dbt must not find the loader's modules in the place of others
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
