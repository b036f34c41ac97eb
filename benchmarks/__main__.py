"""Measure every path against its rival, print a table with a verdict a row; exit 1 when a target is missed.

    python -m benchmarks --size medium

Times are of whole processes, from start to exit; memory is the largest resident set of any process of the path.
Seconds of a model are dbt's own, of one build each, with a tenth of the users and with all.
Ours and the rival's take turns (A B A B …), and medians are compared, so that a machine that is busy or warm
is so for both.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import data
from benchmarks.data import BY_HAND, CAPTURES_CHANGE, CHANGE, ROOT, Bench
from benchmarks.rivals import LINES

SIZES = {"small": 500_000, "medium": 5_000_000, "large": 25_000_000}  # users, a line each
MOST_BUILT = (
    5_000_000  # users whose outbox dbt builds: 25 million trait rows; larger ones are multiplied in SQL
)
# Seconds that a program takes to start, on a busy machine too. With so few lines that is most of what is measured:
# where the rival starts at once, a target of `small` says so by a plus.
START_UP = {"dbt": 6.0, "aam": 2.0}
BUCKET = "bench"
console = Console(width=None if sys.stdout.isatty() else 170)
progress = Console(stderr=True)


@dataclass(frozen=True)
class Run:
    """One process from start to exit."""

    seconds: float
    megabytes: float
    cpu_seconds: float  # of the process and its children; servers do their part elsewhere


@dataclass(frozen=True)
class Row:
    """A path, its rival and its target: at most `ratio` times the rival's figure, plus `plus`; or at most `most`."""

    path: str
    rival: str
    ours: list[Run]
    theirs: list[Run] = field(default_factory=list)
    ratio: float | None = None
    plus: float = 0
    most: float | None = None
    unit: str = "s"  # s | MB

    @property
    def value(self) -> float:
        return self._figure(self.ours)

    @property
    def rival_value(self) -> float | None:
        return self._figure(self.theirs) if self.theirs else None

    @property
    def limit(self) -> float:
        limits = [] if self.most is None else [self.most]
        if self.ratio is not None and self.rival_value is not None:
            limits.append(self.ratio * self.rival_value + self.plus)
        return min(limits)

    @property
    def target(self) -> str:
        told = (
            [] if self.ratio is None else [f"{self.ratio:g} x" + (f" + {self.plus:g} s" if self.plus else "")]
        )
        return " and ".join(told + ([] if self.most is None else [f"{self.most:g} {self.unit}"]))

    @property
    def met(self) -> bool:
        return self.value <= self.limit

    def with_start_up(self) -> Row:
        """The same with a target that leaves time to start."""
        if self.ratio is None or self.unit != "s":
            return self
        return replace(self, plus=max(self.plus, START_UP[self.path.split()[0]]))

    def _figure(self, runs: list[Run]) -> float:
        if self.unit == "s":
            return statistics.median(run.seconds for run in runs)
        return max(run.megabytes for run in runs)


@dataclass(frozen=True)
class Command:
    """A process to measure, what makes its start the same each time, and where its output goes."""

    arguments: list[str]
    bench: Bench | None = None
    before: Callable[[], None] = lambda: None
    stdin: Path | None = None
    environment: dict[str, str] = field(default_factory=dict)

    def run(self) -> Run:
        self.before()
        env = {**(self.bench.env if self.bench else os.environ), **self.environment}
        errors = ROOT / ".aam" / "bench.err"
        errors.parent.mkdir(exist_ok=True)
        with (self.stdin or Path(os.devnull)).open("rb") as stdin, errors.open("w+b") as stderr:
            began = time.perf_counter()
            process = subprocess.Popen(
                self.arguments, cwd=ROOT, env=env, stdin=stdin, stdout=stderr, stderr=stderr
            )
            _, status, usage = os.wait4(process.pid, 0)
            seconds = time.perf_counter() - began
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode:
                stderr.seek(0)
                said = stderr.read().decode(errors="replace")
                raise SystemExit(
                    f"{shlex.join(self.arguments)[:300]} ended with {process.returncode}:\n{said}"
                )
        unit = 1024 * 1024 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux kilobytes
        return Run(seconds, usage.ru_maxrss / unit, usage.ru_utime + usage.ru_stime)


def compare(runs: int, *commands: Command) -> list[list[Run]]:
    """The runs of each command, taking turns."""
    results: list[list[Run]] = [[] for _ in commands]
    for _ in range(runs):
        for command, result in zip(commands, results, strict=True):
            run = command.run()
            result.append(run)
            figures = f"{run.seconds:8.2f} s {run.cpu_seconds:8.2f} s CPU {run.megabytes:6.0f} MB"
            progress.print(f"{figures}  {short(command)}", soft_wrap=True)
    return results


def short(command: Command) -> str:
    words = [word.rpartition("/")[2] if word.startswith("/") else word for word in command.arguments]
    return " ".join(shlex.join(words)[:110].split())


def shell(line: str) -> list[str]:
    return ["bash", "-c", f"set -euo pipefail; {line}"]


def rival(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "benchmarks.rivals", *map(str, arguments)]


# --- the rows, a function a group --------------------------------------------------------------------------


def building(bench: Bench, users: int, runs: int) -> Iterator[Row]:
    """The outbox by dbt, first and again, against one statement by hand."""
    by_hand = (
        rival("run_duckdb", bench.database, BY_HAND)
        if bench.engine == "duckdb"
        else bench.psql("-c", BY_HAND)
    )
    build = Command(bench.dbt("build"), bench, bench.forget_builds)
    hand = Command(by_hand, bench, lambda: bench.sql("drop table if exists raw.by_hand"))
    first, theirs = compare(runs, build, hand)
    rows = f"{users * 5:,} trait rows"
    name = f"dbt build, {bench.engine}, {rows}"
    yield Row(f"{name}, first", "one string_agg by hand", first, theirs, ratio=4)
    if bench.engine == "duckdb":
        yield Row(f"{name}, peak memory", "", first, most=4096, unit="MB")

    bench.forget_deliveries("local")
    Command(bench.deliver(), bench).run()
    bench.sql(CHANGE)
    (second,) = compare(runs, Command(bench.dbt("build"), bench))
    yield Row(f"{name}, 1 % changed", "the first build", second, first, ratio=0.6)
    (status,) = compare(runs, Command(bench.aam("status"), bench))
    yield Row(f"aam status, {bench.engine}", "", status, most=1.5)


def delivering(bench: Bench, lines: int, runs: int) -> Iterator[Row]:
    """`aam deliver` to gzip files in a directory, against the limit and against what people use."""
    folder = bench.folder / "files"

    def ready() -> None:
        bench.forget_deliveries("local")
        folder.mkdir(exist_ok=True)

    if bench.engine == "duckdb":
        limit = rival("stream_duckdb", bench.database)
        usual = rival("copy_duckdb", bench.database, folder / "lines.csv.gz")
        told = ["its Arrow batches, thrown away", "DuckDB's COPY … gzip"]
    else:
        psql = shlex.join(bench.psql("-c", f"copy ({LINES.replace('line, lines', 'line')}) to stdout"))
        limit = shell(f"{psql} > /dev/null")
        usual = shell(f"{psql} | gzip > {shlex.quote(str(folder / 'lines.gz'))}")
        told = ["psql COPY > /dev/null", "psql COPY | gzip"]
    ours = Command(bench.deliver(), bench, ready)
    delivered, limits = compare(runs, ours, Command(limit, bench, ready))
    first, plus = (1.6, 1.0) if bench.engine == "duckdb" else (1.7, 1.0)
    name = f"aam deliver, {bench.engine}, {lines:,} lines"
    yield Row(name, told[0], delivered, limits, ratio=first, plus=plus)
    (usuals,) = compare(min(runs, 2), Command(usual, bench, ready))
    second = 0.10 if bench.engine == "duckdb" else 0.20
    yield Row(name, told[1], delivered, usuals, ratio=second)
    (checked,) = compare(runs, Command(bench.deliver(check=True), bench, ready))
    yield Row(f"{name}, checked", "the same unchecked", checked, delivered, ratio=2)


def encrypting(bench: Bench, lines: int, home: Path, runs: int) -> Iterator[Row]:
    """A PGP delivery against gpg on the plain file, at the same level."""
    bench.forget_deliveries("local")
    Command(bench.deliver(), bench).run()
    plain = bench.folder / "plain.txt"
    files = sorted((bench.folder / "out").rglob("*.gz"), key=lambda path: path.name)
    subprocess.run(shell(f"zcat {shlex.join(map(str, files))} > {shlex.quote(str(plain))}"), check=True)
    options = "--batch --yes --quiet --trust-model always --recipient bench@example.com --cipher-algo AES256"
    options += f" --compress-algo zlib -z 1 --output {bench.folder / 'plain.gpg'} --encrypt"
    alone = ["gpg", "--homedir", str(home), *options.split()]
    ours, theirs = compare(
        runs,
        Command(bench.deliver("pgp"), bench, lambda: bench.forget_deliveries("pgp")),
        Command(alone, stdin=plain),
    )
    yield Row(f"aam deliver, PGP, {lines:,} lines", "gpg alone on the plain file", ours, theirs, ratio=1.2)
    plain.unlink()
    (bench.folder / "plain.gpg").unlink()


def checking(bench: Bench, lines: int, runs: int) -> Iterator[Row]:
    """`aam check` of the delivered files, against reading and counting their lines."""
    bench.forget_deliveries("local")
    Command(bench.deliver(), bench).run()
    files = [str(path) for path in (bench.folder / "out").rglob("*.gz")]
    ours, theirs = compare(
        runs,
        Command([str(data.BIN / "aam"), "check", *files, "--project-dir", str(bench.folder)], bench),
        Command(shell(f"gzip -dc {shlex.join(files)} | wc -l")),
    )
    yield Row(f"aam check, {lines:,} lines", "gzip -dc | wc -l", ours, theirs, ratio=6)


def ingesting(bench: Bench, lines: int, runs: int) -> Iterator[Row]:
    """The local Audience Manager takes in the delivered files, against `aam check` of the same."""
    bench.forget_deliveries("local")
    Command(bench.deliver(), bench).run()
    files = list((bench.folder / "out").rglob("*.gz"))
    sandbox, inbox = bench.folder / "sandbox", bench.folder / "inbox"
    of_sandbox = ["--sandbox", str(sandbox)]
    aam = str(data.BIN / "aam")
    traits = ["--project-dir", str(bench.folder)]

    def ready() -> None:
        for folder in (sandbox, inbox):
            shutil.rmtree(folder, ignore_errors=True)
        inbox.mkdir()
        for file in files:
            shutil.copy(file, inbox)
        settings = bench.folder / "sandbox.yml"  # on a cross-device source, no ID is skipped
        settings.write_text(f"data_sources: {{{data.DPID}: {{cross_device: true}}}}\n")
        subprocess.run([aam, "sandbox", "init", *of_sandbox, *traits], cwd=ROOT, env=bench.env, check=True)

    ours, theirs = compare(
        runs,
        Command([aam, "sandbox", "ingest", "--from", str(inbox), *of_sandbox, *traits], bench, ready),
        Command([aam, "check", *map(str, files), *traits], bench),
    )
    name = f"aam sandbox ingest, {lines:,} lines"
    yield Row(name, "aam check", ours, theirs, ratio=3)
    yield Row(f"{name}, peak memory", "", ours, most=2000, unit="MB")


def uploading(bench: Bench, lines: int, address: str, runs: int) -> Iterator[Row]:
    """An S3 delivery against writing all files first and uploading one by one."""
    os.environ |= {"AWS_ACCESS_KEY_ID": "b", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "us-east-1"}

    def ready() -> None:
        bench.forget_deliveries("s3")
        subprocess.run(rival("empty_bucket", address, BUCKET), cwd=ROOT, check=True)

    one_by_one = rival(
        "write_then_upload", bench.database, bench.folder / "files", data.SPLIT_BYTES, address, BUCKET
    )
    ours, theirs = compare(
        runs, Command(bench.deliver("s3"), bench, ready), Command(one_by_one, bench, ready)
    )
    yield Row(
        f"aam deliver, S3 on loopback, {lines:,} lines",
        "files first, then upload_file",
        ours,
        theirs,
        ratio=0.8,
    )


def building_models(users: int, work: Path, engine: str, environment: dict[str, str]) -> Iterator[Row]:
    """Each model that ships, first and again, with ID syncs: ten times the users may take it twelve times as long."""
    seconds: dict[tuple[int, str], dict[str, float]] = {}
    few = users // 10
    for size in (few, users):
        progress.print(f"{engine}: every model, {size:,} users")
        bench = data.make_project(work / f"{engine}_models", engine, environment, {}, whole=True)
        bench.make_source(size)
        bench.make_captures()
        # one model at a time, or each would be measured with its neighbour
        build = Command(bench.dbt("build", "--threads", "1"), bench)
        compare(1, build)
        seconds[size, "first"] = bench.model_seconds()
        Command(bench.deliver(), bench).run()
        bench.sql(CHANGE, CAPTURES_CHANGE)
        compare(1, build)
        seconds[size, "1 % changed"] = bench.model_seconds()
    for build_name in ("first", "1 % changed"):
        for model, took in seconds[users, build_name].items():
            yield Row(
                f"model {model}, {engine}, {users:,} users, {build_name}",
                f"with {few:,} users",
                [Run(took, 0, 0)],
                [Run(seconds[few, build_name][model], 0, 0)],
                ratio=12,
                plus=1,
            )
    shutil.rmtree(bench.folder)


def receiving(work: Path, engine: str, environment: dict[str, str], users: int, runs: int) -> Iterator[Row]:
    """`aam receive` of a full, an iter of 1 % and the next full, against the engine's own way to load such rows."""
    there = work / "outbound"
    output = {
        "type": "directory",
        "path": str(there / "now"),
        "partner_name": "bench",
        "receive": {"settled_minutes": 0},
    }
    bench = data.make_project(work / f"{engine}_received", engine, environment, {"back": output})
    data.expect_outbound(bench)
    bench.make_source(1000)
    Command(bench.dbt("build"), bench).run()
    Command(bench.aam("status"), bench).run()  # asks dbt where the models are, once for all
    if not there.exists():
        Command(rival("make_outbound", there, users), bench).run()

    def ready() -> None:
        bench.sql(*(f"delete from aam_state.{name}" for name in data.RECEIVED))
        if engine == "postgres":
            bench.sql(
                "vacuum full aam_state.received_memberships", "drop table if exists raw.ready", data.READY
            )
        shutil.rmtree(there / "now", ignore_errors=True)
        shutil.copytree(there / "full", there / "now")

    def comes(folder: str) -> None:
        shutil.copytree(there / folder, there / "now", dirs_exist_ok=True)
        if engine == "postgres":
            # in the day between two files the server's autovacuum does so
            bench.sql("vacuum aam_state.received_memberships")

    receive = Command(bench.aam("receive", "--from", "back"), bench, ready)
    if engine == "duckdb":
        [file] = (there / "full").iterdir()
        theirs = Command(rival("read_back", bench.folder / "rival.duckdb", file), bench)
        told, ratio = "read_csv with a split of the list", 1.5
    else:
        theirs = Command(bench.psql("-c", f"\\copy raw.ready from '{there / 'ready.tsv'}'"), bench, ready)
        told, ratio = "psql COPY of the ready rows", 1.3
    loaded, full, changed = compare(runs, theirs, receive, replace(receive, before=partial(comes, "iter")))
    [following] = compare(1, replace(receive, before=partial(comes, "next")))
    name = f"aam receive, {engine}, {users:,} users"
    yield Row(f"{name}, a full", told, full, loaded, ratio=ratio, plus=1)
    yield Row(f"{name}, an iter of 1 %", "the full", changed, full, ratio=0.3)
    yield Row(f"{name}, the next full", "the full", following, full, ratio=8)
    yield Row(f"{name}, peak memory", "", full + changed + following, most=1000, unit="MB")
    shutil.rmtree(bench.folder)


def reporting(bench: Bench, runs: int) -> Iterator[Row]:
    """`aam report` over years of deliveries and many rows that are kept back."""
    rejected, deliveries = 1_000_000, 10_000
    bench.make_source(10_000)
    bench.sql(data.KEPT_BACK.format(series=bench.series(10_000, rejected)))
    Command(bench.dbt("build"), bench).run()
    bench.make_history(deliveries)
    report = Command(bench.aam("report"), bench)
    report.run()  # makes the models that the page reads, once for all
    (took,) = compare(runs, report)
    yield Row(
        f"aam report, {bench.engine}, {rejected:,} rejected rows, {deliveries:,} deliveries", "", took, most=5
    )
    shutil.rmtree(bench.folder)


def exporting_by_spark(work: Path, lines: int, most: int, runs: int) -> Iterator[Row]:
    """The export in the executors of a cluster of this machine, each worker kept to a core, against Spark's own."""
    from tests.spark.cluster import Cluster

    cluster = Cluster(work / "cluster", pinned=True, long=True)
    output = work / "spark.json"

    def driver(lines: int, runs: int, *what: str, **settings: str) -> dict[str, list[Run]]:
        """The runs of each of `what` in a driver that is warm; megabytes are those of the driver until its end."""
        given = json.dumps(cluster.settings | {f"spark.{name}": value for name, value in settings.items()})
        workers = json.dumps([worker.pid for worker in cluster.running.values()])
        arguments = [given, workers, str(work), str(lines), str(runs), *what]
        program = [sys.executable, "-m", "benchmarks.spark_driver", *arguments]
        command = Command(shell(f"exec {shlex.join(program)} > {shlex.quote(str(output))}"))
        compare(1, replace(command, environment=cluster.environment))
        told = json.loads(output.read_text())
        figures = {
            name: [Run(seconds, told["megabytes"], cpu) for seconds, cpu in told[name]] for name in what
        }
        for run in chain.from_iterable(figures.values()):
            progress.print(f"{run.seconds:8.2f} s {run.cpu_seconds:8.2f} s CPU {run.megabytes:6.0f} MB")
        return figures

    cluster.start()
    try:
        two = driver(lines, runs, "ours", "rival", "checked")
        one = driver(lines, runs, "ours", **{"cores.max": "1"})
        few = driver(min(lines, 500_000), 1, "ours")["ours"]
        many = driver(most, 1, "ours")["ours"]
    finally:
        cluster.stop()
    name = f"export by spark, {lines:,} lines"
    yield Row(name, "df.write.text with gzip", two["ours"], two["rival"], ratio=0.5)
    yield Row(f"{name}, checked", "the same unchecked", two["checked"], two["ours"], ratio=2)
    yield Row(f"{name}, two workers", "one worker", two["ours"], one["ours"], ratio=round(1 / 1.7, 2))
    memory = f"export by spark, {most:,} lines, driver's peak memory"
    yield Row(memory, f"with {min(lines, 500_000):,} lines", many, few, ratio=1.15, most=1000, unit="MB")
    for path in work.glob("lines_*"):
        shutil.rmtree(path)


def building_by_spark(work: Path, users: int, runs: int) -> Iterator[Row]:
    """The outbox by dbt on a Spark Connect server of this machine, against one statement by hand."""
    from tests.spark.connect import connect_server

    shutil.rmtree(work / "connect", ignore_errors=True)
    with connect_server(work / "connect", partitions=4) as address:
        bench = data.make_project(work / "spark_build", "spark", {"AAM_SPARK_REMOTE": address}, {})
        bench.make_source(users)
        build = Command(bench.dbt("build"), bench, bench.forget_builds)
        drop = "drop table if exists raw.by_hand"
        hand = Command(bench.spark(data.BY_HAND_ON_SPARK), bench, lambda: bench.sql(drop))
        first, theirs = compare(runs, build, hand)
        for model, seconds in bench.model_seconds().items():
            progress.print(f"{seconds:8.2f} s {model}")
    name = f"dbt build, spark, {users * 5:,} trait rows, first"
    yield Row(name, "one collect_set by hand", first, theirs, ratio=4)
    shutil.rmtree(work / "connect")
    shutil.rmtree(bench.folder)


def starting(runs: int) -> Iterator[Row]:
    (told,) = compare(runs, Command([str(data.BIN / "aam"), "--help"]))
    yield Row("aam --help", "", told, most=0.4)


# --- all of it ---------------------------------------------------------------------------------------------


def measure_models(size: str, work: Path, engines: list[str]) -> Iterator[Row]:
    with ExitStack() as stack:
        for engine in engines:
            environment = stack.enter_context(data.postgres(work / "server")) if engine == "postgres" else {}
            yield from building_models(min(SIZES[size], MOST_BUILT), work, engine, environment)


def measure_ingesting(size: str, runs: int, work: Path) -> Iterator[Row]:
    """What a data file costs the local Audience Manager; on DuckDB, which makes the file soonest."""
    bench = data.make_project(work / "ingested", "duckdb", {}, {})
    users = min(SIZES[size], MOST_BUILT)
    bench.make_source(users)
    Command(bench.dbt("build"), bench).run()
    yield from ingesting(bench, users, runs)
    shutil.rmtree(bench.folder)


def measure_receiving(size: str, runs: int, work: Path, engines: list[str]) -> Iterator[Row]:
    with ExitStack() as stack:
        for engine in engines:
            environment = stack.enter_context(data.postgres(work / "server")) if engine == "postgres" else {}
            yield from receiving(work, engine, environment, min(SIZES[size], MOST_BUILT), runs)
    shutil.rmtree(work / "outbound", ignore_errors=True)


def measure_report(runs: int, work: Path, engines: list[str]) -> Iterator[Row]:
    with ExitStack() as stack:
        for engine in engines:
            environment = stack.enter_context(data.postgres(work / "server")) if engine == "postgres" else {}
            yield from reporting(
                data.make_project(work / f"{engine}_reported", engine, environment, {}), runs
            )


def measure_spark(size: str, runs: int, work: Path) -> Iterator[Row]:
    most = SIZES["medium" if size == "small" else "large"]
    yield from exporting_by_spark(work, min(SIZES[size], MOST_BUILT), most, runs)
    yield from building_by_spark(work, min(SIZES[size], MOST_BUILT), max(1, runs - 1))


def measure_paths(size: str, runs: int, work: Path, engines: list[str]) -> Iterator[Row]:
    users = SIZES[size]
    built = min(users, MOST_BUILT)
    yield from starting(max(runs, 5))
    with ExitStack() as stack:
        address = stack.enter_context(data.s3_server())
        home, key = stack.enter_context(data.gpg_key(work / "gpg"))
        outputs = {
            "pgp": {
                "type": "directory",
                "path": "out",
                "partner_name": "bench",
                "encrypt": {"recipient": "bench@example.com", "key_file": str(key)},
            },
            "s3": {
                "type": "s3",
                "bucket": BUCKET,
                "region": "us-east-1",
                "endpoint_url": address,
                "partner_name": "bench",
                "addressing_style": "path",
            },
        }
        few: list[Run] = []
        for engine in engines:
            environment = stack.enter_context(data.postgres(work / "server")) if engine == "postgres" else {}
            bench = data.make_project(work / engine, engine, environment, outputs)
            if engine == "duckdb":
                small = SIZES["small"]
                progress.print(f"{engine}: an outbox of {small:,} users")
                bench.make_source(small)
                Command(bench.dbt("build"), bench).run()
                (few,) = compare(
                    runs, Command(bench.deliver(), bench, lambda b=bench: b.forget_deliveries("local"))
                )
            progress.print(f"{engine}: {built:,} users")
            bench.make_source(built)
            yield from building(bench, built, max(runs - 1, 1))
            bench.forget_builds()
            Command(bench.dbt("build"), bench).run()
            if users > built:
                bench.multiply_users(users // built)
            rows = list(delivering(bench, users, runs))
            yield from rows
            if engine == "duckdb":
                name = f"aam deliver, {users:,} lines, peak memory"
                yield Row(name, f"with {small:,} lines", rows[0].ours, few, ratio=1.15, most=500, unit="MB")
                yield from checking(bench, users, runs)
                yield from ingesting(bench, users, runs)
                yield from encrypting(bench, users, home, runs)
                yield from uploading(bench, users, address, runs)
            else:
                name = f"aam deliver, {engine}, {users:,} lines, peak memory"
                yield Row(name, "", rows[0].ours, most=500, unit="MB")
            shutil.rmtree(bench.folder)


def table(size: str, rows: list[Row]) -> Table:
    shown = Table(title=f"SIZE={size}, {os.cpu_count()} cores, {platform.platform()}")
    for column in ("path", "rival"):
        shown.add_column(column)
    for column in ("ours", "rival's", "ratio", "target", "at most"):
        shown.add_column(column, justify="right")
    shown.add_column("verdict")
    for row in rows:
        theirs = row.rival_value
        shown.add_row(
            row.path,
            row.rival,
            f"{row.value:.2f} {row.unit}",
            "" if theirs is None else f"{theirs:.2f} {row.unit}",
            "" if theirs is None else f"{row.value / theirs:.2f}",
            row.target,
            f"{row.limit:.2f}",
            "[green]met[/green]" if row.met else "[bold red]missed[/bold red]",
        )
    return shown


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="benchmarks", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--size", choices=SIZES, default="medium")
    parser.add_argument("--runs", type=int, default=3, help="runs of each, of which the median counts")
    parser.add_argument(
        "--engines", nargs="+", choices=["duckdb", "postgres"], default=["duckdb", "postgres"]
    )
    parser.add_argument(
        "--only",
        choices=["paths", "models", "receive", "report", "ingest", "spark"],
        help="only deliveries, models, the way back, the page, the local Audience Manager, or the export by Spark"
        " (which needs the extra and Java)",
    )
    parser.add_argument(
        "--work", type=Path, default=ROOT / ".aam" / "bench", help="a folder on a disk with space"
    )
    parser.add_argument("--json", type=Path, help="also write every run's figures to this file")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # or the servers would stay
    # or Python would compile us anew at each start, as it does for nobody else
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    given.work.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    work = given.work.resolve()
    wanted = ["paths", "models", "receive", "report"] if given.only is None else [given.only]
    paths = measure_paths(given.size, given.runs, work, given.engines) if "paths" in wanted else ()
    models = measure_models(given.size, work, given.engines) if "models" in wanted else ()
    received = measure_receiving(given.size, given.runs, work, given.engines) if "receive" in wanted else ()
    reported = measure_report(given.runs, work, given.engines) if "report" in wanted else ()
    # among the paths, too, of which it is one
    ingested = measure_ingesting(given.size, given.runs, work) if "ingest" in wanted else ()
    if given.size == "small":
        paths, ingested = map(Row.with_start_up, paths), map(Row.with_start_up, ingested)
    # only when asked for: not everybody has Java
    by_spark = measure_spark(given.size, given.runs, work) if "spark" in wanted else ()
    for row in chain(paths, models, received, reported, ingested, by_spark):
        rows.append(row)
        progress.print(
            f"{'met   ' if row.met else 'MISSED'} {row.path}: {row.value:.2f} {row.unit}, at most {row.limit:.2f}"
        )
    console.print(table(given.size, rows))
    if given.json:
        given.json.write_text(json.dumps([asdict(row) for row in rows], indent=1))
    return 0 if all(row.met for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
