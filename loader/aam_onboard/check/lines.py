"""The lines of a file, judged by the block: in Arrow at once, or by the SQL of their form."""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, TypeAlias

from aam_onboard.check.container import Opener, blocks
from aam_onboard.check.crowds import Crowd, Held, buckets_of, buckets_within
from aam_onboard.check.forms import TRAIT_REASONS, Form
from aam_onboard.check.report import CountedAs, FileReport, Tally
from aam_onboard.check.spellings import Spellings, spelled_in, strings

if TYPE_CHECKING:
    import duckdb
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    from aam_onboard.rules import Limits, Rules

_WORKERS = min(4, os.cpu_count() or 1)
_MEMORY = "512MB"  # DuckDB's; it has no disk, for the text may be one that is to be encrypted
_SUSPECTS = 200_000  # lines that SQL judges at a time,
_ELEMENTS = 300_000  # and about how many elements of lines, for a line may be nothing but commas
# characters of the device IDs and AAM UUIDs whose form no other ID has by chance
_LOOKALIKE_LENGTHS = (36, 38)
# RFC 3629, on bytes.
_UTF8 = (
    r"\A(?:[\x00-\x7f]|[\xc2-\xdf][\x80-\xbf]|\xe0[\xa0-\xbf][\x80-\xbf]|[\xe1-\xec\xee\xef][\x80-\xbf]{2}"
    r"|\xed[\x80-\x9f][\x80-\xbf]|\xf0[\x90-\xbf][\x80-\xbf]{2}|[\xf1-\xf3][\x80-\xbf]{3}"
    r"|\xf4[\x80-\x8f][\x80-\xbf]{2})*\z"
)
_Refused: TypeAlias = "tuple[str, CountedAs, pa.Array, pa.Array]"  # reason, counter, line numbers, lines
_Warned: TypeAlias = "tuple[str, pa.Array, pa.Array]"


@dataclass
class _Examined:
    """The verdicts on a block of lines. `accepted`: columns number, id, value, line; left out for a block that is sure.

    `buckets`: of the accepted lines' IDs, where they are counted. `spelled`: the key-values (key, value, n).
    """

    count: int
    is_sure: bool
    accepted: list[pa.RecordBatch]
    buckets: list[npt.NDArray[np.int64]]
    refused: list[_Refused]
    warned: list[_Warned]
    failed_signals: int
    lookalikes: Counter[str]
    spelled: list[pa.Table]


def check_lines(opener: Opener, form: Form, rules: Rules, tally: Tally) -> None:
    """Examine all lines; then, in a second reading, count the lines of those users who may have too many.

    Memory: the count of each hash of an ID, and of a number of the IDs whose hash stood too often.
    """
    looks: Counter[str] = Counter()
    crowd = Crowd(form.most)
    spellings = Spellings()
    for block in _examined(opener, form, rules.limits, tally):
        tally.report.records_received += block.count
        tally.report.traits_failed_validation += block.failed_signals
        looks.update(block.lookalikes)
        for refused in block.refused:
            tally.refuse(*refused)
        for warned in block.warned:
            tally.warn(*warned)
        for buckets in block.buckets:
            crowd.add(buckets)
        for spelled in block.spelled:
            spellings.add(spelled)
    if crowd.is_suspected():
        _count_exactly(opener, form, rules.limits, crowd, tally)
    spellings.tell(tally)
    if len(looks) + (looks.total() < tally.report.stored_records) > 1 and looks:
        found = [f"{count:,} like {id_type}" for id_type, count in looks.most_common()]
        other = tally.report.stored_records - looks.total()
        tally.note("mixed_id_types", ", ".join(found + [f"{other:,} like none of the devices"] * (other > 0)))
    if tally.report.records_received == 0 and not tally.report.errors:
        tally.fault("empty_file", "no lines")


def _count_exactly(opener: Opener, form: Form, limits: Limits, crowd: Crowd, tally: Tally) -> None:
    """Read the file again, for the lines of those who may have too many; no more than can be held at once.

    Where they are more, half of them are left to another reading, by a hash of the ID, and so on.
    """
    import pyarrow as pa

    reason = "too_many_lines" if form.counted == "lines" else "too_many_hashed_emails"
    shares = [(1, 0, 0)]  # hash modulo, remainder, and the number of the line up to which all is told
    while shares:
        parts, part, told = shares.pop()
        held = Held(form)
        unseen = Tally(FileReport(tally.report.file), 0, None)
        for block in _examined(opener, replace(form, sure=None, spelled=None), limits, unseen):
            for batch in block.accepted:
                some = batch.filter(crowd.suspects(batch.column("id")))
                columns = (some.column(name).to_pylist() for name in ("number", "id", "value"))
                too_many = []
                for number, user_id, value in zip(*columns, strict=True):
                    is_ours = parts == 1 or hash(user_id) % parts == part
                    too_many.append(is_ours and held.add(user_id, value) and number > told)
                    while held.is_full:
                        shares.append((2 * parts, part + parts, max(told, number)))
                        parts *= 2
                        held.keep(parts, part)
                if any(too_many):
                    some = some.filter(pa.array(too_many, pa.bool_()))
                    tally.refuse(reason, "format_errors", some.column("number"), some.column("line"))


def _accepted_schema() -> pa.Schema:
    import pyarrow as pa

    return pa.schema(
        [("number", pa.int64()), ("id", pa.string()), ("value", pa.string()), ("line", pa.string())]
    )


def _engine() -> duckdb.DuckDBPyConnection:
    import duckdb

    warehouse = duckdb.connect(config={"memory_limit": _MEMORY, "temp_directory": ""})
    warehouse.execute("set enable_progress_bar = false")
    return warehouse


def _examined(opener: Opener, form: Form, limits: Limits, tally: Tally) -> Iterator[_Examined]:
    """The verdicts on all blocks, in order; several blocks are examined at a time."""
    pool = _workers()
    with _engine() as warehouse:
        if form.traits is not None:
            _load_taxonomy(warehouse, form.traits)
        waiting: deque[Future[_Examined]] = deque()
        try:
            for first, text in blocks(opener, limits, tally):
                waiting.append(pool.submit(_examine, form, limits, warehouse, first, text))
                if len(waiting) > _WORKERS:
                    block = waiting.popleft().result()
                    if not block.is_sure:  # the next will hardly be, and trying costs time
                        form = replace(form, sure=None)
                    yield block
            while waiting:
                yield waiting.popleft().result()
        finally:
            wait([future for future in waiting if not future.cancel()])


@cache
def _workers() -> ThreadPoolExecutor:
    """Threads that examine blocks, as many as cores: of all files that are checked at a time."""
    return ThreadPoolExecutor(_WORKERS, "check")


def _load_taxonomy(warehouse: duckdb.DuckDBPyConnection, traits: Mapping[str, tuple[str, str]]) -> None:
    import pyarrow as pa

    columns = [list(traits), [of[0] for of in traits.values()], [of[1] for of in traits.values()]]
    arrays = [pa.array(column, pa.string()) for column in columns]
    names = ["trait_id", "trait_dpid", "trait_type"]
    warehouse.register("loaded", pa.table(arrays, names=names))
    warehouse.execute("create table taxonomy as select * from loaded")
    warehouse.unregister("loaded")


def _examine(
    form: Form, limits: Limits, warehouse: duckdb.DuckDBPyConnection, first: int, text: bytes
) -> _Examined:
    """The verdicts on a block; runs in a thread, and lets others run meanwhile."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if form.sure is not None and (sure := _examine_at_once(form, form.sure, limits, text)):
        return sure
    lines = pc.split_pattern(pa.array([text], pa.binary()), "\n").flatten()
    numbers = pc.add(pc.indices_nonzero(pc.is_valid(lines)).cast(pa.int64()), first)
    refused: list[_Refused] = []
    warned: list[_Warned] = []
    count = len(lines)

    lengths = pc.min_max(pc.binary_length(lines)).as_py()
    byte_faults: list[tuple[str, bool, Callable[[], pa.Array]]] = [
        (
            "line_too_long",
            lengths["max"] > limits.line_bytes,
            lambda: pc.greater(pc.binary_length(lines), limits.line_bytes),
        ),
        ("blank_line", lengths["min"] == 0, lambda: pc.equal(pc.binary_length(lines), 0)),
        ("invalid_utf8", not _is_utf8(text), lambda: pc.invert(pc.match_substring_regex(lines, _UTF8))),
        ("nul_byte", b"\0" in text, lambda: pc.match_substring(lines, "\0")),
    ]
    for reason, there_is_one, find in byte_faults:
        if there_is_one:
            fault = find()
            # The line may have been refused for another reason before.
            if pc.any(fault).as_py():
                refused.append((reason, "format_errors", numbers.filter(fault), lines.filter(fault)))
            sound = pc.invert(fault)
            numbers, lines = numbers.filter(sound), lines.filter(sound)
    if lengths["max"] >= limits.line_bytes:
        at_limit = pc.equal(pc.binary_length(lines), limits.line_bytes)
        warned.append(("line_at_limit", numbers.filter(at_limit), lines.filter(at_limit)))

    lines = lines.view(pa.string())
    spelled: list[pa.Table] = []
    plain, columns = _find_plain(form, lines, form.doubtful if b'"' in text else ())
    if form.spelled is not None and b'"' in text and (chosen := lines.filter(plain)):
        spelled.append(
            spelled_in(
                pc.binary_join(pa.ListArray.from_arrays([0, len(chosen)], chosen), "\n")[0].as_buffer()
            )
        )
    if columns is not None:
        accepted = [_accepted(numbers, lines, *columns)]
        failed = 0
    else:
        accepted = [
            _accepted(numbers.filter(plain), lines.filter(plain), *_split_ids(form, lines.filter(plain)))
        ]
        suspects = pa.table([numbers, lines], names=["number", "line"]).filter(pc.invert(plain))
        failed = 0
        step = max(1, min(_SUSPECTS, _ELEMENTS * count // (text.count(b",") + 1)))
        for start in range(0, len(suspects), step):
            some = suspects.slice(start, step)
            more, failed_here = _judge(form, warehouse, some, refused, warned, spelled)
            accepted.append(more)
            failed += failed_here
    looks = Counter[str]()
    for table in accepted:
        looks.update(_looks(form, table.column("id")))
    buckets = [buckets_of(table.column("id")) for table in accepted] if form.counted else []
    return _Examined(count, False, accepted, buckets, refused, warned, failed, looks, spelled)


def _examine_at_once(form: Form, sure: str, limits: Limits, text: bytes) -> _Examined | None:
    """The verdict on a block whose lines are all of a form that breaks no rule; None when they are not."""
    import numpy as np
    import pyarrow.compute as pc

    codes = np.frombuffer(text, np.uint8)
    controls = np.flatnonzero(codes <= ord("\n"))  # a TAB and a line end in turn, or it is of no such form
    tabs, line_ends = controls[::2], controls[1::2]
    if len(tabs) != len(line_ends) + 1:
        return None
    if (codes[tabs] != ord("\t")).any() or (codes[line_ends] != ord("\n")).any():
        return None
    begins, ends = np.append(0, line_ends + 1), np.append(line_ends, len(codes))
    if int((ends - begins).max()) >= limits.line_bytes or not _is_utf8(text):
        return None
    block = strings(text, np.array([0, len(text)], np.int32))
    doubtful = form.doubtful if b'"' in text else ()
    if not pc.match_substring_regex(block, sure)[0].as_py():
        return None
    if any(pc.match_substring_regex(block, pattern)[0].as_py() for pattern in doubtful):
        return None
    looks = Counter[str]()
    for length in _LOOKALIKE_LENGTHS if form.lookalikes else ():
        first = begins[tabs - begins == length]
        ids = codes[first[:, np.newaxis] + np.arange(length)].tobytes()
        looks.update(_looks(form, strings(ids, np.arange(0, len(ids) + 1, length, dtype=np.int32))))
    buckets = [buckets_within(codes, begins, tabs)] if form.counted else []
    spelled = [spelled_in(text)] if b'"' in text else []
    return _Examined(len(ends), True, [], buckets, [], [], 0, looks, spelled)


def _is_utf8(text: bytes) -> bool:
    import pyarrow as pa

    if text.isascii():
        return True
    try:
        pa.array([text], pa.binary()).cast(pa.string())
    except pa.ArrowInvalid:
        return False
    return True


def _accepted(numbers: pa.Array, lines: pa.Array, ids: pa.Array, values: pa.Array) -> pa.RecordBatch:
    import pyarrow as pa

    return pa.record_batch([numbers, ids, values, lines], schema=_accepted_schema())


def _find_plain(
    form: Form, lines: pa.Array, doubtful: tuple[str, ...]
) -> tuple[pa.Array, tuple[pa.Array, pa.Array] | None]:
    """Which lines are plain, and when all are, their IDs and values."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if form.plain is None or not len(lines):
        return pa.repeat(pa.scalar(False), len(lines)), None
    plain = pc.match_substring_regex(lines, form.plain)
    for pattern in doubtful:
        plain = pc.and_not(plain, pc.match_substring_regex(lines, pattern))
    everywhere = pc.all(plain).as_py()
    likely = lines if everywhere else lines.filter(plain)
    parts = _split_line(form, likely)
    good = pc.is_valid(likely)
    for place, column in enumerate(form.columns):
        ids = pc.list_element(parts, place)
        if column.bad is not None:
            good = pc.and_not(good, pc.match_substring_regex(ids, column.bad))
        for pattern in column.good:
            good = pc.and_(good, pc.match_substring_regex(ids, pattern))
    if everywhere and pc.all(good).as_py():
        return plain, _first_two(form, parts)
    return pc.replace_with_mask(plain, plain, good), None


def _split_line(form: Form, lines: pa.Array) -> pa.Array:
    import pyarrow.compute as pc

    # Of a data file, the signals stay as they are; a bare ID has none.
    return pc.split_pattern(lines, "\t", max_splits=max(1, len(form.columns) - 1))


def _first_two(form: Form, parts: pa.Array) -> tuple[pa.Array, pa.Array]:
    import pyarrow as pa
    import pyarrow.compute as pc

    ids = pc.list_element(parts, 0)
    return ids, pc.list_element(parts, 1) if form.counted == "values" else pa.nulls(len(ids), pa.string())


def _split_ids(form: Form, lines: pa.Array) -> tuple[pa.Array, pa.Array]:
    return _first_two(form, _split_line(form, lines))


def _answers(sql: str, warehouse: duckdb.DuckDBPyConnection, suspects: pa.Table) -> pa.Table:
    """What a query of a form says; of fewer lines at a time where memory is short."""
    import duckdb
    import pyarrow as pa

    try:
        with warehouse.cursor() as cursor:
            cursor.register("suspects", suspects.combine_chunks())
            return cursor.sql(sql).to_arrow_table()
    except duckdb.OutOfMemoryException:
        if len(suspects) == 1:
            raise
        half = len(suspects) // 2
        parts = suspects.slice(0, half), suspects.slice(half)
        return pa.concat_tables([_answers(sql, warehouse, part) for part in parts])


def _judge(
    form: Form,
    warehouse: duckdb.DuckDBPyConnection,
    suspects: pa.Table,
    refused: list[_Refused],
    warned: list[_Warned],
    spelled: list[pa.Table],
) -> tuple[pa.RecordBatch, int]:
    """Try the rules one after the other; returns the accepted lines and the signals that fail validation."""
    import pyarrow as pa
    import pyarrow.compute as pc

    verdicts = _answers(form.sql, warehouse, suspects)
    if form.spelled is not None and pc.any(pc.match_substring(suspects.column("line"), "=")).as_py():
        found = _answers(form.spelled, warehouse, suspects)
        spelled += [found.cast(spelled_in(b"").schema)] if len(found) else []
    numbers, lines = (suspects.column(name).combine_chunks() for name in ("number", "line"))
    verdicts = verdicts.combine_chunks()
    broken = verdicts.column("reason")
    for code in pc.unique(broken.drop_null()).to_pylist():
        reason, counter = form.reasons[code]
        hit = pc.fill_null(pc.equal(broken, code), False).combine_chunks()
        refused.append((reason, counter, numbers.filter(hit), lines.filter(hit)))
    good = pc.is_null(broken).combine_chunks()
    for name in form.warnings:
        hit = pc.and_(good, verdicts.column(name)).combine_chunks()
        warned.append((name, numbers.filter(hit), lines.filter(hit)))
    for code in pc.unique(verdicts.column("failed").drop_null()).to_pylist():
        hit = pc.and_(good, pc.fill_null(pc.equal(verdicts.column("failed"), code), False)).combine_chunks()
        warned.append((TRAIT_REASONS[code], numbers.filter(hit), lines.filter(hit)))
    failed = pc.sum(verdicts.column("failed_signals").filter(good)).as_py() or 0
    ids, values = (
        verdicts.column(name).filter(good).cast(pa.string()).combine_chunks() for name in ("id", "value")
    )
    return _accepted(numbers.filter(good), lines.filter(good), ids, values), failed


def _looks(form: Form, ids: pa.Array) -> Counter[str]:
    """How many IDs look like those of which id type."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not form.lookalikes:
        return Counter()
    ids = ids.filter(pc.is_in(pc.binary_length(ids), pa.array(_LOOKALIKE_LENGTHS, pa.int32())))
    found = Counter[str]()
    for id_type, pattern in form.lookalikes.items():
        alike = pc.match_substring_regex(ids, rf"\A(?:{pattern})\z")
        found[id_type] += pc.sum(alike).as_py() or 0
        ids = ids.filter(pc.invert(alike))
    return +found
