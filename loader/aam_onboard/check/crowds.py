"""Users with more lines than Audience Manager reads, and customers with more hashed e-mails, in constant memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aam_onboard.check.forms import Form

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

_BUCKETS = 1 << 20  # user IDs are first counted by hash, so that memory doesn't grow with them
_HELD_AT_ONCE = 250_000  # IDs and values of those who may have too many lines; more make another reading


class Crowd:
    """How often IDs stand in a file, by a hash of them: who may have too many lines, and no one else for sure."""

    def __init__(self, most: int) -> None:
        import numpy as np

        self._most = most
        self._counts = np.zeros(_BUCKETS, np.int64)
        self._waiting: list[npt.NDArray[np.int64]] = []
        self._waiting_rows = 0

    def add(self, buckets: npt.NDArray[np.int64]) -> None:
        """Count some IDs."""
        self._waiting.append(buckets)
        self._waiting_rows += len(buckets)
        if self._waiting_rows > _BUCKETS:
            self._count()

    def is_suspected(self) -> bool:
        """Whether anyone may stand there too often."""
        self._count()
        return bool((self._counts > self._most).any())

    def suspects(self, ids: pa.Array) -> pa.Array:
        """Which of the IDs may stand there too often, as booleans."""
        import pyarrow as pa

        return pa.array(self._counts[buckets_of(ids)] > self._most)

    def _count(self) -> None:
        import numpy as np

        if self._waiting:
            self._counts += np.bincount(np.concatenate(self._waiting), minlength=_BUCKETS)
            self._waiting, self._waiting_rows = [], 0


def buckets_of(ids: pa.Array) -> npt.NDArray[np.int64]:
    """A number below _BUCKETS for each ID."""
    import numpy as np
    import pyarrow as pa

    if not len(ids):
        return np.zeros(0, np.int64)
    _, offsets, data = pa.concat_arrays([ids]).buffers()
    ends = np.frombuffer(offsets, np.int32, len(ids) + 1).astype(np.int64)
    return buckets_within(np.frombuffer(data, np.uint8, int(ends[-1])), ends[:-1], ends[1:])


def buckets_within(
    text: npt.NDArray[np.uint8], begins: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """The same for IDs within a text: made of their first and last eight bytes and their lengths."""
    import numpy as np

    padded = np.empty(len(text) + 16, np.uint8)  # so that each may be read as a word
    padded[8:-8] = text
    words = np.ndarray((len(padded) - 7,), np.dtype("<u8"), padded, strides=(1,))
    lengths = ends - begins
    # of a shorter ID, the bytes of its neighbours don't count
    beyond = (8 * np.maximum(8 - lengths, 0)).astype(np.uint64)
    is_empty = beyond == 64
    beyond[is_empty] = 0
    first = words[begins + 8] << beyond
    last = words[ends] >> beyond
    mixed = first * np.uint64(0x9E3779B97F4A7C15) ^ last * np.uint64(0xC2B2AE3D27D4EB4F)
    mixed ^= lengths.astype(np.uint64) * np.uint64(0x165667B19E3779F9)
    mixed[is_empty] = 0
    buckets: npt.NDArray[np.int64] = (mixed >> np.uint64(64 - _BUCKETS.bit_length() + 1)).astype(np.int64)
    return buckets


class Held:
    """Of some users, how many lines they have, or of some customers the first so many hashed e-mails."""

    def __init__(self, form: Form) -> None:
        self._most, self._by_value = form.most, form.counted == "values"
        self._lines: dict[str, int] = {}
        self._values: dict[str, set[str]] = {}
        self._size = 0

    @property
    def is_full(self) -> bool:
        """Whether half of them must go."""
        return self._size > _HELD_AT_ONCE

    def add(self, user_id: str, value: str) -> bool:
        """One more line, and whether it is one too many."""
        if not self._by_value:
            lines = self._lines.get(user_id, 0) + 1
            self._lines[user_id] = lines
            self._size = len(self._lines)
            return lines > self._most
        values = self._values.setdefault(user_id, set())
        if value in values:
            return False
        if len(values) == self._most:
            return True
        values.add(value)
        self._size += 1
        return False

    def keep(self, parts: int, part: int) -> None:
        """Forget those of other parts."""
        self._lines = {key: lines for key, lines in self._lines.items() if hash(key) % parts == part}
        self._values = {key: values for key, values in self._values.items() if hash(key) % parts == part}
        self._size = len(self._lines) + sum(map(len, self._values.values()))
