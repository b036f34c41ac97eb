"""Draw seconds and memory of a delivery against its lines, from the figures that `--json` wrote.

python -m benchmarks.plot small.json medium.json large.json --output benchmarks/delivery.svg
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
from pathlib import Path

PATH = re.compile(r"^aam deliver, (duckdb|postgres), ([\d,]+) lines$")
LIMITS = {"duckdb": "its Arrow batches, thrown away", "postgres": "psql COPY > /dev/null"}


def points(files: list[Path]) -> dict[str, list[tuple[float, float, float, float]]]:
    """Engine → millions of lines, median seconds, the limit's seconds, megabytes."""
    found: dict[str, dict[float, tuple[float, float, float, float]]] = {}
    for file in files:
        for row in json.loads(file.read_text(encoding="utf-8")):
            told = PATH.match(row["path"])
            if not told or row["rival"] != LIMITS[told[1]]:
                continue
            millions = int(told[2].replace(",", "")) / 1e6
            ours = statistics.median(run["seconds"] for run in row["ours"])
            limit = statistics.median(run["seconds"] for run in row["theirs"])
            memory = statistics.median(run["megabytes"] for run in row["ours"])
            found.setdefault(told[1], {})[millions] = (millions, ours, limit, memory)
    return {engine: sorted(rows.values()) for engine, rows in found.items()}


def main() -> None:
    import matplotlib

    matplotlib.use("svg")
    # the same figures make the same file
    matplotlib.rcParams["svg.hashsalt"] = "aam-onboard"
    from matplotlib import pyplot

    parser = argparse.ArgumentParser(prog="benchmarks.plot", description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/delivery.svg"))
    given = parser.parse_args()
    figure, (seconds, memory) = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for engine, rows in points(given.files).items():
        lines = [row[0] for row in rows]
        (drawn,) = seconds.plot(lines, [row[1] for row in rows], marker="o", label=f"aam deliver, {engine}")
        seconds.plot(
            lines, [row[2] for row in rows], linestyle=":", color=drawn.get_color(), label=LIMITS[engine]
        )
        memory.plot(lines, [row[3] for row in rows], marker="o", label=f"aam deliver, {engine}")
    for axes, label in ((seconds, "seconds, whole process"), (memory, "peak memory, MB")):
        axes.set_xlabel("lines, millions")
        axes.set_ylabel(label)
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(given.output, metadata={"Date": None})


if __name__ == "__main__":
    main()
