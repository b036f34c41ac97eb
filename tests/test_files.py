from __future__ import annotations

import gzip
import hashlib
import io
import itertools
import os
import re
import resource
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from conftest import SOAK
from hypothesis import given, settings
from hypothesis import strategies as st

from aam_onboard.errors import DeliveryError
from aam_onboard.files import UNFINISHED, Part, write_part, write_parts

HUGE = 10**12


def batch(
    values: list[str], lines: list[int] | None = None, kind: pa.DataType | None = None
) -> pa.RecordBatch:
    counts = [value.count("\n") for value in values] if lines is None else lines
    return pa.record_batch(
        [pa.array(values, kind or pa.string()), pa.array(counts, pa.int64())], names=["line", "lines"]
    )


def users(count: int, start: int = 0) -> list[str]:
    """Lines as real ones are: an ID that doesn't repeat, signals that do."""
    return [
        f"{hashlib.md5(str(i).encode()).hexdigest()[: 8 + i % 24]}\t"
        + ",".join(f"d_sid={(i * 7919 + k * 10473) % 9000}" for k in range(3 + i % 6))
        + "\n"
        for i in range(start, start + count)
    ]


def write(batches: Iterable[pa.RecordBatch], folder: Path, **options) -> list[Part]:
    return list(write_parts(batches, folder, **{"split_bytes": HUGE, "max_plain_bytes": HUGE, **options}))


def plain(part: Part) -> bytes:
    return gzip.decompress(part.path.read_bytes())


def assert_described(part: Part) -> None:
    data = part.path.read_bytes()
    text = gzip.decompress(data)
    assert part.bytes == len(data)
    assert part.sha256 == hashlib.sha256(data).hexdigest()
    assert part.plain_bytes == len(text)
    assert part.lines == text.count(b"\n")


text_lines = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\n"), max_size=40)
# Every value is what stands in a file of one user: one line or several.
values = st.lists(text_lines, min_size=1, max_size=4).map(
    lambda lines: "".join(f"{line}\n" for line in lines)
)
kinds = st.sampled_from([pa.string(), pa.large_string(), pa.string_view()])


@settings(deadline=None, max_examples=150 * SOAK)
@given(
    rows=st.lists(values, max_size=60),
    cuts=st.lists(st.integers(0, 60), max_size=6),
    kind=kinds,
    split_bytes=st.sampled_from([1, 200, 1000, HUGE]),
    max_plain_bytes=st.sampled_from([1, 100, 700, HUGE]),
)
def test_parts_hold_every_line_once_in_order_and_divide_no_user(
    rows, cuts, kind, split_bytes, max_plain_bytes
):
    whole = batch(rows, kind=kind)
    edges = sorted({0, len(rows), *(min(cut, len(rows)) for cut in cuts)})
    # Slices share the buffers of the whole batch and begin somewhere within.
    slices = [whole.slice(a, b - a) for a, b in itertools.pairwise(edges)] or [whole]
    with tempfile.TemporaryDirectory() as folder:
        parts = write(slices, Path(folder), split_bytes=split_bytes, max_plain_bytes=max_plain_bytes)
        texts = [plain(part) for part in parts]
        assert b"".join(texts) == "".join(rows).encode()
        for part in parts:
            assert_described(part)
    ends = {0}
    for row in rows:
        ends.add(max(ends) + len(row.encode()))
    position = 0
    for text in texts:
        assert text, "an empty file is invalid"
        position += len(text)
        assert position in ends, "a user's lines are divided"
        assert len(text) <= max_plain_bytes or text.decode() in rows
    assert sum(part.lines for part in parts) == sum(row.count("\n") for row in rows)


@pytest.mark.parametrize("rows", [[], [[]], [[], []]])
def test_no_rows_no_file(tmp_path, rows):
    assert write([batch(values) for values in rows], tmp_path / "spool") == []
    assert write_part([batch(values) for values in rows], tmp_path / "spool") is None
    assert not (tmp_path / "spool").exists()


def test_counts_come_from_the_second_column(tmp_path):
    part = write_part([batch(["a\tx\na\ty\n", "b\tx\n"]), batch(["c\tx\n"])], tmp_path)
    assert part is not None
    assert (part.lines, part.plain_bytes) == (4, 16)


def noise(count: int) -> list[str]:
    """Lines that hardly compress."""
    return [f"{os.urandom(60).hex()}\n" for _ in range(count)]


@pytest.mark.parametrize("split_bytes", [300_000, 1_000_000])
@pytest.mark.parametrize(
    "rows",
    [
        users(150_000),
        ["same\td_sid=1\n"] * 1_500_000,
        # Compresses a hundredfold first, and hardly at all later: no guess from what went before may overshoot.
        ["same\td_sid=1\n"] * 1_000_000 + noise(40_000),
    ],
    ids=["users", "repeated", "turning"],
)
def test_split_sizes_hold(tmp_path, rows, split_bytes):
    batches = [batch(rows[start : start + 30_000]) for start in range(0, len(rows), 30_000)]
    parts = write(batches, tmp_path, split_bytes=split_bytes)
    if rows[0] != rows[1]:
        assert len(parts) > 2
    assert b"".join(map(plain, parts)) == "".join(rows).encode()
    assert all(part.bytes <= split_bytes for part in parts)
    assert all(part.bytes >= 0.9 * split_bytes for part in parts[:-1])


def test_plain_size_is_a_limit_of_its_own(tmp_path):
    rows = users(20_000)
    parts = write([batch(rows)], tmp_path, max_plain_bytes=100_000)
    assert b"".join(map(plain, parts)) == "".join(rows).encode()
    assert all(100_000 - 200 < part.plain_bytes <= 100_000 for part in parts[:-1])


def test_a_part_is_yielded_before_the_next_batch_is_asked_for_more_than_it_needs(tmp_path):
    asked = []

    def batches() -> Iterator[pa.RecordBatch]:
        for number in range(10):
            asked.append(number)
            yield batch(users(1000, number * 1000))

    parts = write_parts(batches(), tmp_path, split_bytes=HUGE, max_plain_bytes=100_000)
    first = next(parts)
    assert len(asked) < 5
    assert_described(first)
    parts.close()


def test_same_batches_same_bytes_and_a_header_without_time(tmp_path):
    rows = users(30_000)
    one, two = (write([batch(rows)], tmp_path / name, split_bytes=100_000) for name in ("a", "b"))
    assert [part.sha256 for part in one] == [part.sha256 for part in two]
    assert one[0].path.read_bytes()[:10] == bytes([0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 0xFF])


@pytest.mark.parametrize("level", [0, 1, 2, 3])
def test_every_reader_reads_the_file(tmp_path, level):
    rows = users(50_000)  # several blocks
    part = write_part([batch(rows)], tmp_path, level=level)
    assert part is not None
    path = part.path.rename(tmp_path / "a.gz")
    subprocess.run(["gzip", "-t", str(path)], check=True)
    assert (
        subprocess.run(["zcat", str(path)], check=True, capture_output=True).stdout == "".join(rows).encode()
    )
    read = duckdb.sql(
        f"select count(*) from read_csv('{path}', header=false, sep='\\t', quote='', all_varchar=true)"
    )
    assert read.fetchall() == [(50_000,)]


def test_what_duckdb_streams_is_written_as_it_is(tmp_path):
    line = "concat('ü', i, chr(9), repeat('d_sid=24,', (i % 5)::int), 'ic=1', chr(10))"
    reader = duckdb.sql(f"select {line} as line, 1 as lines from range(100000) t(i)").to_arrow_reader(7_000)
    part = write_part(reader, tmp_path)
    assert part is not None
    expected = "".join(f"ü{i}\t{'d_sid=24,' * (i % 5)}ic=1\n" for i in range(100_000))
    assert plain(part) == expected.encode()
    assert part.lines == 100_000


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (pa.record_batch([pa.array(["a\n", None]), pa.array([1, 1])], names=["line", "lines"]), "null line"),
        (
            pa.record_batch([pa.array(["a\n"]), pa.array([None], pa.int32())], names=["line", "lines"]),
            "null line",
        ),
        (
            pa.record_batch([pa.array(["a\n", "b"]), pa.array([1, 1])], names=["line", "lines"]),
            "without a newline",
        ),
        (pa.record_batch([pa.array([""]), pa.array([1])], names=["line", "lines"]), "without a newline"),
        (pa.record_batch([pa.array([b"a\n"]), pa.array([1])], names=["line", "lines"]), "binary where text"),
    ],
)
def test_wrong_lines_are_refused(tmp_path, wrong, says):
    with pytest.raises(DeliveryError, match=says):
        write([batch(users(10)), wrong], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_modes_and_names(tmp_path):
    part = write_part([batch(users(1))], tmp_path / "new" / "spool")
    assert part is not None
    assert stat.S_IMODE(part.path.stat().st_mode) == 0o600
    assert [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("new", "new/spool")] == [0o700, 0o700]
    assert part.path.match(UNFINISHED)


def test_progress_adds_up(tmp_path):
    seen = []
    rows = users(5_000)
    (part,) = write(
        [batch(rows[:2000]), batch(rows[2000:])], tmp_path, on_progress=lambda *step: seen.append(step)
    )
    assert [sum(step) for step in zip(*seen, strict=True)] == [part.lines, part.plain_bytes]


# --- what ends the work early ------------------------------------------------------------------------------


def endless() -> Iterator[pa.RecordBatch]:
    rows = batch(users(20_000))
    while True:
        yield rows


class Gone(Exception):
    """What a warehouse raises."""


@pytest.mark.parametrize(
    "error", [Gone("connection lost"), KeyboardInterrupt(), OSError(5, "of the warehouse")]
)
def test_an_error_of_the_warehouse_passes_and_leaves_nothing(tmp_path, error):
    def batches() -> Iterator[pa.RecordBatch]:
        yield batch(users(20_000))
        raise error

    with pytest.raises(type(error)) as caught:
        write(batches(), tmp_path)
    assert caught.value is error
    assert list(tmp_path.iterdir()) == []


def test_closing_the_iterator_removes_the_unfinished_file_only(tmp_path):
    parts = write_parts(endless(), tmp_path, split_bytes=200_000, max_plain_bytes=HUGE)
    first, second = next(parts), next(parts)
    parts.close()
    assert {*tmp_path.iterdir()} == {first.path, second.path}
    assert_described(second)


def test_a_directory_that_is_a_file(tmp_path):
    (tmp_path / "spool").write_text("")
    with pytest.raises(DeliveryError, match=re.escape(str(tmp_path / "spool")) + ".*set spool_dir"):
        write([batch(users(1))], tmp_path / "spool")


# A shell without job control starts its background jobs with Ctrl-C ignored, and they hand that on.
HEARS_CTRL_C = "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"


def run(script: str, *arguments: object, **options) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", HEARS_CTRL_C + textwrap.dedent(script), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
        **options,
    )


ENDLESS = """
import sys
from pathlib import Path
from aam_onboard.errors import DeliveryError
from aam_onboard.files import write_parts
from test_files import endless
told = False
def progress(lines, plain):
    global told
    if not told:
        print("writing", flush=True)
        told = True
try:
    directory, limits = Path(sys.argv[1]), {"split_bytes": 10**10, "max_plain_bytes": 10**12}
    for part in write_parts(endless(), directory, **limits, on_progress=progress):
        pass
except DeliveryError as error:
    print(error)
"""


def test_a_file_that_may_not_grow(tmp_path):
    limit = 3_000_000
    process = run(
        ENDLESS, tmp_path, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    )
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err.decode()
    assert f"A file in {tmp_path} may not grow further" in out.decode()
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    if (
        not mount
        or subprocess.run([mount, "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], check=False).returncode
    ):
        pytest.skip("only root can mount a small disk")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk(tiny_disk):
    process = run(ENDLESS, tiny_disk)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err.decode()
    assert f"No space left in {tiny_disk}: free some, or set spool_dir" in out.decode()
    assert list(tiny_disk.iterdir()) == []


def test_a_directory_that_is_taken_away_ends_the_work_and_stays_away(tmp_path):
    parts = write_parts(
        (batch(users(1000, start)) for start in range(0, 10_000, 1000)),
        tmp_path / "spool",
        split_bytes=HUGE,
        max_plain_bytes=100_000,
    )
    next(parts)
    shutil.rmtree(tmp_path / "spool")
    with pytest.raises(DeliveryError, match="spool can't be written"):
        list(parts)
    assert not (tmp_path / "spool").exists()


def test_ctrl_c_ends_at_once_and_leaves_nothing(tmp_path):
    for _ in range(5):
        process = run(ENDLESS, tmp_path)
        assert process.stdout is not None
        assert process.stdout.readline() == b"writing\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
        assert err.decode().splitlines()[-1] == "KeyboardInterrupt"
        assert list(tmp_path.iterdir()) == []


MEMORY = r"""
import re, sys
from itertools import islice
from pathlib import Path
from aam_onboard.files import write_parts
import pyarrow as pa
from test_files import users
text = "".join(users(20_000)).encode()
def batches(count):
    for _ in range(count):
        column = pa.array(text.decode().splitlines(keepends=True))
        yield pa.record_batch([column, pa.array([1] * len(column))], names=["line", "lines"])
        del column
for part in write_parts(batches(int(sys.argv[2])), Path(sys.argv[1]), split_bytes=10_000_000, max_plain_bytes=10**12):
    part.path.unlink()
# not ru_maxrss, which a process takes over from the one that started it
print(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1])
"""


def test_memory_does_not_grow_with_the_data(tmp_path):
    kilobytes = []
    for count in (5, 100):  # 0.1 and 2 million lines
        out, err = run(MEMORY, tmp_path, count).communicate(timeout=120)
        assert out, err.decode()
        kilobytes.append(int(out))
    few, many = kilobytes
    assert many < few + 40_000, "2 million lines are 150 MB of text"


def test_many_processes_write_into_one_directory(tmp_path):
    script = """
    import sys
    from pathlib import Path
    from aam_onboard.files import write_part
    from test_files import batch, users
    print(write_part([batch(users(2000, int(sys.argv[2])))], Path(sys.argv[1])).path)
    """
    processes = [run(script, tmp_path, start) for start in (0, 2000, 4000)]
    paths = [Path(process.communicate(timeout=60)[0].decode().strip()) for process in processes]
    assert {*tmp_path.iterdir()} == {*paths}
    with io.BytesIO(b"".join(path.read_bytes() for path in paths)) as joined:
        assert gzip.GzipFile(fileobj=joined).read() == "".join(users(6000)).encode()
