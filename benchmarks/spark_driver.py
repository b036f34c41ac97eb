"""A driver on a Spark cluster: what is measured runs in it, since starting Java takes longer than many an export.

    python -m benchmarks.spark_driver SETTINGS WORKERS FOLDER LINES RUNS WHAT…

Each of WHAT is done once to warm up and then RUNS times, taking turns. Of each its seconds by the clock and those of
processor time, of this driver with its Java and of the workers' processes (whose IDs are WORKERS), go to stdout as
JSON, and the megabytes that the driver and its Java came to at most.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmarks.data import DPID, ROOT, SPLIT_BYTES, TRAITS
from tests.spark.cluster import descendants

MADE = 5_000_000  # lines of the table; more are the same ones again
# User IDs of 8 to 36 characters, five traits each, as the paths of the other engines have on average.
TEXT = "concat(substr(md5(cast(id as string)), 1, cast(7 + id % 29 as int)), 'x', id, '\\t'" + "".join(
    f", '{',' if k else ''}d_sid=', 1000000 + (id * 7919 + {k} * 104729) % {TRAITS}" for k in range(5)
)


def table(session: Any, folder: Path, lines: int) -> str:
    """The query of so many lines without their ends, from a table that is made when it is not there."""
    made = min(lines, MADE)
    path = folder / f"lines_{made}"
    if not (path / "_SUCCESS").exists():
        session.sql(f"select {TEXT}) as text from range(0, {made}, 1, 4)").write.parquet(
            str(path), mode="overwrite"
        )
    return " union all ".join([f"select text from parquet.`{path}`"] * (lines // made))


def ours(session: Any, folder: Path, text: str, lines: int) -> None:
    _export(session, folder, text, lines, check=False)


def checked(session: Any, folder: Path, text: str, lines: int) -> None:
    _export(session, folder, text, lines, check=True)


def rival(session: Any, folder: Path, text: str, _: int) -> None:
    """What a person would write."""
    session.sql(text).write.text(str(folder / "out"), compression="gzip")


def _export(session: Any, folder: Path, text: str, lines: int, *, check: bool) -> None:
    from aam_onboard.executors import Check, export

    parts = export(
        session,
        f"select concat(text, '\\n') as line, 1L as lines from ({text})",
        folder / "out",
        split_bytes=SPLIT_BYTES,
        max_plain_bytes=5 * 10**9,
        check=Check(f"ftp_dpm_{DPID}_1700000000.sync.gz", _rules()) if check else None,
        expected_lines=lines,
    )
    made = sum(part.lines for part in parts)
    assert made == lines, made


def _rules() -> Any:
    import yaml

    from aam_onboard.rules import Rules

    found = yaml.safe_load((ROOT / "dbt_project.yml").read_text())["vars"]
    return Rules(**{name: found[name] for name in Rules.model_fields if name in found})


def processor_time(workers: list[int]) -> float:
    """Seconds that we, the workers and whoever descends from us and them have used until now."""
    ticks = 0
    for ancestor in (os.getpid(), *workers):
        for pid in (ancestor, *descendants(ancestor)):
            with suppress(OSError):
                ticks += sum(
                    map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:15])
                )
    return ticks / os.sysconf("SC_CLK_TCK")


def most_memory() -> float:
    """Megabytes that we and our Java have had at most, each at its own moment."""
    kilobytes = 0
    for pid in (os.getpid(), *descendants(os.getpid())):
        with suppress(OSError):
            found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
            kilobytes += int(found[1]) if found else 0  # one that has ended
    return kilobytes / 1024


def main() -> None:
    from pyspark.sql import SparkSession

    settings, workers, folder = json.loads(sys.argv[1]), json.loads(sys.argv[2]), Path(sys.argv[3])
    lines, runs = int(sys.argv[4]), int(sys.argv[5])
    builder = SparkSession.builder
    for name, value in settings.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    text = table(session, folder, lines)
    seconds: dict[str, list[tuple[float, float]]] = {what: [] for what in sys.argv[6:]}
    for turn in range(runs + 1):
        for what, measured in seconds.items():
            began, used = time.perf_counter(), processor_time(workers)
            globals()[what](session, folder, text, lines)
            if turn:
                measured.append((time.perf_counter() - began, processor_time(workers) - used))
            shutil.rmtree(folder / "out")
    json.dump({"megabytes": most_memory(), **seconds}, sys.stdout)
    session.stop()


if __name__ == "__main__":
    main()
