"""A real Spark cluster of this machine's: one master and workers of one core each, on the loopback alone."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

# Quiet: what a killed process says is no news here.
LOG4J = """
rootLogger.level = warn
rootLogger.appenderRef.out.ref = out
appender.out.type = Console
appender.out.name = out
appender.out.target = SYSTEM_ERR
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{HH:mm:ss} %p %c{1}: %m%n%ex
logger.master.name = org.apache.spark.deploy
logger.master.level = info
"""
_SHORT = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"  # for a Java that does not run for long
MEGABYTES = 640  # of an executor; less than 450 Spark refuses


@dataclass
class Cluster:
    """`start` and `stop` it.

    `pinned`: each worker is kept to a core of the machine, whatever its threads ask for · `long`: what runs on it is
    worth compiling for.
    """

    folder: Path
    workers: int = 2
    pinned: bool = False
    long: bool = False
    port: int = 0
    running: dict[int, subprocess.Popen[str]] = field(default_factory=dict)
    _master: subprocess.Popen[str] | None = None

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "log4j2.properties").write_text(LOG4J)
        self.port = _free_port()
        master = ("master.Master", "--port", str(self.port))
        self._master = self._spark_class(*master)
        _wait(self._master, "New state: ALIVE")
        self.mend()

    def mend(self) -> None:
        """Start the workers that are not running; who has work for them waits until they are there."""
        for number in range(self.workers):
            there = self.running.get(number)
            if there is None or there.poll() is not None:
                if there is not None and there.stderr is not None:
                    there.stderr.close()
                folder = str(self.folder / f"worker-{number}")
                worker = ("worker.Worker", "--cores", "1", "--memory", f"{MEGABYTES}M", "--work-dir", folder)
                core = number % (os.cpu_count() or 1) if self.pinned else None
                self.running[number] = self._spark_class(*worker, self.url, core=core)
                _wait(self.running[number])

    @property
    def url(self) -> str:
        return f"spark://127.0.0.1:{self.port}"

    @property
    def settings(self) -> dict[str, str]:
        """Of a session on it."""
        java = "" if self.long else _SHORT
        return {
            "spark.driver.extraJavaOptions": java,
            "spark.executor.extraJavaOptions": java,
            "spark.master": self.url,
            "spark.driver.host": "127.0.0.1",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.driver.memory": "512m",
            "spark.executor.memory": f"{MEGABYTES}m",
            "spark.executor.cores": "1",
            "spark.cores.max": str(self.workers),
            "spark.ui.enabled": "false",
            "spark.ui.showConsoleProgress": "false",
            "spark.sql.warehouse.dir": str(self.folder / "tables"),
            "spark.sql.shuffle.partitions": "4",
            # few rows make several tasks, too
            "spark.sql.adaptive.coalescePartitions.enabled": str(self.long).lower(),
        }

    @property
    def environment(self) -> dict[str, str]:
        """Of every process that has to do with it."""
        import pyspark

        return {
            "SPARK_HOME": str(Path(pyspark.__file__).parent),
            "SPARK_CONF_DIR": str(self.folder),
            "SPARK_LOCAL_IP": "127.0.0.1",
            "SPARK_LOCAL_HOSTNAME": "127.0.0.1",
            "SPARK_DAEMON_MEMORY": "256m",
            "SPARK_DAEMON_JAVA_OPTS": _SHORT,
            "PYSPARK_PYTHON": sys.executable,
        }

    def executors(self) -> list[int]:
        of_workers = [child for worker in self.running.values() for child in children(worker.pid)]
        return [pid for pid in of_workers if "ExecutorBackend" in _command(pid)]

    def python_workers(self) -> list[int]:
        daemons = [child for executor in self.executors() for child in children(executor)]
        return [worker for daemon in daemons for worker in children(daemon)]

    def stop(self) -> None:
        everyone = [process for process in (*self.running.values(), self._master) if process]
        ours = [pid for process in everyone for pid in (process.pid, *descendants(process.pid))]
        for process in everyone:
            process.terminate()
        for process in everyone:
            process.wait(30)
            assert process.stderr is not None
            process.stderr.close()
        for pid in ours:  # executors whose worker was killed
            if "pyspark" in _command(pid):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _spark_class(self, name: str, *arguments: str, core: int | None = None) -> subprocess.Popen[str]:
        environment = {**os.environ, **self.environment}
        command = [f"{environment['SPARK_HOME']}/bin/spark-class", f"org.apache.spark.deploy.{name}"]
        local = ["--host", "127.0.0.1", "--webui-port", "0"]
        pin = [] if core is None else ["taskset", "--cpu-list", str(core)]
        return subprocess.Popen(
            [*pin, *command, *local, *arguments],
            env=environment,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )


def _wait(process: subprocess.Popen[str], until: str = "") -> None:
    """Read what a process says, until it says it is ready, and go on reading, or it would be stopped by a full pipe."""
    assert process.stderr is not None
    said = []
    for line in process.stderr if until else ():
        said.append(line)
        if until in line:
            break
    else:
        if until:
            raise RuntimeError(f"Spark did not start:\n{''.join(said)}")
    threading.Thread(target=_drain, args=(process.stderr,), daemon=True).start()


def _drain(stream: Iterator[str]) -> None:
    with suppress(ValueError):  # closed
        for _ in stream:
            pass


def children(pid: int) -> list[int]:
    """Those of a process that run now."""
    found: list[int] = []
    for thread in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += map(int, thread.read_text().split())
        except OSError:
            continue
    return found


def descendants(pid: int) -> Iterator[int]:
    for child in children(pid):
        yield child
        yield from descendants(child)


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])
