"""Keys and values that differ in nothing but their letter case."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aam_onboard.check.report import Tally, shown

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

_SPELLINGS = 1 << 18  # different key-values of a file whose letter case is compared


class Spellings:
    """The key-values of a file, each once, so far as there are not too many of them."""

    def __init__(self) -> None:
        self._waiting: list[pa.Table] = []
        self._rows = 0

    def add(self, spelled: pa.Table) -> None:
        """Count some."""
        import pyarrow as pa

        self._waiting.append(spelled)
        self._rows += len(spelled)
        if self._rows > _SPELLINGS:
            found = self._counted()
            if len(found) > _SPELLINGS // 2:  # values of many kinds: only keys are compared
                found = found.set_column(1, "value", pa.nulls(len(found), pa.string()))
                self._waiting = [found]
                found = self._counted()
            self._waiting, self._rows = [found], len(found)

    def tell(self, tally: Tally) -> None:
        """Warn of keys, and of values of a key, that differ in nothing but their letter case."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if not self._waiting:
            return
        found = self._counted()
        lower = pc.utf8_lower(found.column("key"))
        folded = found.append_column("folded_key", lower)
        folded = folded.append_column("folded", pc.utf8_lower(found.column("value")))
        keys = folded.group_by(["folded_key", "key"]).aggregate([("n", "sum")])
        keys = keys.append_column("folded", pa.nulls(len(keys), pa.string()))
        for table, spelling in ((keys.rename_columns({"n_sum": "n"}), "key"), (folded, "value")):
            per = table.group_by(["folded_key", "folded", spelling]).aggregate([("n", "sum")])
            groups = per.group_by(["folded_key", "folded"], use_threads=False).aggregate(
                [(spelling, "count_distinct"), (spelling, "list"), ("n_sum", "list")]
            )
            several = groups.filter(pc.greater(groups.column(f"{spelling}_count_distinct"), 1))
            for row in several.to_pylist():
                counts = sorted(
                    zip(row["n_sum_list"], row[f"{spelling}_list"], strict=True),
                    key=lambda item: (-item[0], item[1]),
                )
                texts = ", ".join(f"{text} ({n:,} signals)" for n, text in counts)
                what = "key" if spelling == "key" else f"value of {row['folded_key']}"
                tally.note("letter_case", shown(f"{what}: {texts}"))

    def _counted(self) -> pa.Table:
        import pyarrow as pa

        counted = pa.concat_tables(self._waiting).group_by(["key", "value"]).aggregate([("n", "sum")])
        return counted.select(["key", "value", "n_sum"]).rename_columns(["key", "value", "n"])


def spelled_in(text: bytes | pa.Buffer) -> pa.Table:
    """The key-values of lines of the plain form, whose quotes enclose nothing but these; only what has a letter."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    quotes = np.flatnonzero(np.frombuffer(text, np.uint8) == ord('"'))
    # from quote to quote, the first one included
    parts = strings(text, np.append(quotes, len(text)).astype(np.int32))
    keys = parts.take(pa.array(np.arange(0, len(parts), 4))).dictionary_encode()
    values = parts.take(pa.array(np.arange(2, len(parts), 4))).dictionary_encode()
    # of values without a letter, only the key counts
    has_letter = pc.match_substring_regex(values.dictionary, r"[^\x00-@\[-`{-\x7f]")
    letters = np.flatnonzero(has_letter.to_numpy(zero_copy_only=False))
    places = np.full(len(values.dictionary), len(letters))
    places[letters] = np.arange(len(letters))
    width = len(letters) + 1
    pairs = keys.indices.to_numpy() * np.int64(width) + places[values.indices.to_numpy()]
    different, counts = np.unique(pairs, return_counts=True)
    texts = pa.concat_arrays([values.dictionary.take(pa.array(letters)), pa.nulls(1, pa.string())])
    return pa.table(
        {
            "key": pc.utf8_slice_codeunits(keys.dictionary, 1).take(pa.array(different // width)),
            "value": pc.utf8_slice_codeunits(texts, 1).take(pa.array(different % width)),
            "n": pa.array(counts, pa.int64()),
        }
    )


def strings(text: bytes | pa.Buffer, offsets: npt.NDArray[np.int32]) -> pa.Array:
    """The parts of a text from one offset to the next, without a copy."""
    import pyarrow as pa

    return pa.StringArray.from_buffers(len(offsets) - 1, pa.py_buffer(offsets), pa.py_buffer(text))
