"""Processes that need not import anything: forks of one that has imported `aam`, or dbt, already.

Imports are half of what a command costs, and the tests run a thousand. A fork is a process like any other: it has
arguments, a folder, an environment and streams of its own, ends with a code and can be killed. Only what Python reads
as it starts is read already, and the system shows another command line.
"""

import contextlib
import gc
import importlib
import inspect
import io
import json
import os
import pkgutil
import runpy
import select
import selectors
import socket
import struct
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

NUMBER = struct.Struct("i")  # a process ID, or the code that a process ended with
IMPORTED = {
    "dbt": "dbt.cli.main dbt.adapters.duckdb dbt.adapters.postgres",
    "aam": "boto3 duckdb jinja2.sandbox psycopg2 pyarrow rich.console rich.progress rich.table",
}


def read_at_start(variable: str) -> bool:
    """Whether Python reads it before a fork could be told."""
    return variable.startswith(("PYTHON", "LC_", "LANG"))


class Fork(subprocess.Popen[str]):
    """`Popen`, where the program is `aam`, dbt as `aam` starts it, `python -c CODE` or `python FILE`."""

    _orders: ClassVar[dict[str, socket.socket]] = {}  # to each process that forks
    _parents: ClassVar[list["subprocess.Popen[bytes]"]] = []

    @classmethod
    def begin(cls) -> None:
        """Start the processes that fork, unless they are there."""
        for kind in IMPORTED if not cls._orders else ():
            cls._orders[kind], theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
            with theirs:
                files = {"": theirs.fileno()} | {known: end.fileno() for known, end in cls._orders.items()}
                # as build.dbt_started has it
                no_warning = ("-W", "ignore::UserWarning:multiprocessing.resource_tracker")
                command = [sys.executable, *no_warning, __file__, kind, json.dumps(files)]
                cls._parents.append(
                    subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=list(files.values()))
                )

    @classmethod
    def end(cls) -> None:
        """End the processes that fork, but not their forks."""
        while cls._orders:
            cls._orders.popitem()[1].close()
        while cls._parents:
            cls._parents.pop().communicate()

    def _execute_child(self, *arguments: Any) -> None:
        real = inspect.signature(super()._execute_child)  # type: ignore[misc]
        given = real.bind(*arguments).arguments
        assert given["preexec_fn"] is None
        self.begin()
        order = {
            "arguments": list(map(str, given["args"])),
            "folder": str(Path(given["cwd"] or ".").absolute()),
            "environment": dict(os.environ if given["env"] is None else given["env"]),
            "session": given["start_new_session"],
        }
        files = [given[name] for name in ("p2cread", "c2pwrite", "errwrite")]
        files = [standard if file == -1 else file for standard, file in enumerate(files)]
        self._answers, answers = os.pipe()
        kind = "dbt" if "-W" in order["arguments"] else "aam"
        socket.send_fds(self._orders[kind], [json.dumps(order).encode()], [*files, answers])
        os.close(answers)
        ends = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")
        self._close_pipe_fds(*(given[name] for name in ends))  # type: ignore[attr-defined]
        self.pid = self._answer()
        self._child_created = True

    def _answer(self) -> int:
        return int(NUMBER.unpack(os.read(self._answers, NUMBER.size))[0])

    def _internal_poll(self, *_: Any, seconds: float | None = 0, **__: Any) -> int | None:
        if self.returncode is None and select.select([self._answers], [], [], seconds)[0]:
            self.returncode = self._answer()
            os.close(self._answers)
        return self.returncode

    def _wait(self, timeout: float | None) -> int:
        code = self._internal_poll(seconds=None if timeout is None else max(0, timeout))
        if code is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return code


# of the module `subprocess` where `aam` starts dbt, so that it is a fork, too
INSTEAD = SimpleNamespace(Popen=Fork, PIPE=subprocess.PIPE)


def serve(orders: socket.socket) -> list[str]:
    """Fork for each order until standard input ends, and tell who asked how the fork has ended.

    Returns in each fork, with its arguments.
    """
    waiting = selectors.DefaultSelector()
    waiting.register(0, selectors.EVENT_READ)
    waiting.register(orders, selectors.EVENT_READ)
    forks: dict[int, tuple[int, int]] = {}
    while True:
        for key, _ in waiting.select():
            if key.fd == 0:
                os._exit(0)
            if key.fd in forks:
                pid, answers = forks.pop(key.fd)
                waiting.unregister(key.fd)
                os.close(key.fd)
                tell(answers, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
                os.close(answers)
                continue
            text, files, _, _ = socket.recv_fds(orders, 1 << 20, 4)
            pid = os.fork()
            if pid == 0:
                waiting.close()
                orders.close()
                for ended, answers in ((fd, answers) for fd, (_, answers) in forks.items()):
                    os.close(ended)
                    os.close(answers)
                return become(json.loads(text), files)
            answers = files.pop()
            for file in files:
                os.close(file)
            tell(answers, pid)
            fd = os.pidfd_open(pid)
            forks[fd] = (pid, answers)
            waiting.register(fd, selectors.EVENT_READ)


def tell(answers: int, number: int) -> None:
    with contextlib.suppress(BrokenPipeError):  # who asked has ended
        os.write(answers, NUMBER.pack(number))


def become(order: dict[str, Any], files: list[int]) -> list[str]:
    """Take what a process has of its own; its arguments."""
    for standard, file in enumerate(files[:3]):
        os.dup2(file, standard)
    for file in files:
        os.close(file)
    if order["session"]:
        os.setsid()
    os.chdir(order["folder"])
    os.environ.clear()
    os.environ.update(order["environment"])
    sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, closefd=False)), encoding="utf-8")
    sys.stdout, sys.stderr = (
        io.TextIOWrapper(
            io.BufferedWriter(io.FileIO(file, "w", closefd=False)),
            encoding="utf-8", errors=errors, line_buffering=lines,
        )
        for file, errors, lines in ((1, "strict", os.isatty(1)), (2, "backslashreplace", True))
    )  # fmt: skip
    arguments: list[str] = order["arguments"]
    return arguments


def act(program: str, *arguments: str) -> None:
    """Run the program as Python would."""
    if "-W" in arguments:
        from aam_onboard import dbt_process

        sys.argv = list(arguments[2:])
        dbt_process.main()
        return
    from aam_onboard import build, cli

    build.subprocess = INSTEAD  # type: ignore[assignment]
    sys.argv = list(arguments)
    if Path(program).name == "aam":
        sys.argv = ["aam", *arguments]
        cli.main()
    elif arguments[0] == "-c":
        exec(sys.argv.pop(1), {"__name__": "__main__"})
    else:
        runpy.run_path(arguments[0], run_name="__main__")


def prepare(kind: str) -> None:
    """Import what commands import, and nothing that starts a thread: a fork would not have it."""
    import aam_onboard

    os.environ |= {"OPENBLAS_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}
    for module in pkgutil.walk_packages(aam_onboard.__path__, "aam_onboard."):
        importlib.import_module(module.name)
    for name in IMPORTED[kind].split():
        importlib.import_module(name)
    threads = len(list(Path("/proc/self/task").iterdir()))
    assert threads == 1, threads
    if kind == "dbt":
        gc.freeze()


if __name__ == "__main__":
    sys.path.pop(0)  # no command finds the tests' modules
    prepare(sys.argv[1])
    files = json.loads(sys.argv[2])
    mine = socket.socket(fileno=files.pop(""))
    Fork._orders.update({kind: socket.socket(fileno=file) for kind, file in files.items()})
    act(*serve(mine))
