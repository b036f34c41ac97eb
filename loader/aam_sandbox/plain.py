"""Blocks of lines that are nothing but an ID and traits, as most are: numpy reads them at once, SQL all others.

It is the quick way, never the only one: whatever is not of this form, to the letter, is left to SQL.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from aam_sandbox.text import LINE_BYTES

if TYPE_CHECKING:
    import numpy.typing as npt
    import pyarrow as pa

    _Numbers: TypeAlias = npt.NDArray[Any]

_KEY = b"d_sid="
_DIGITS = 8  # of a trait ID, at most: they are read as one word
_TAB, _LINE_END, _COMMA = b"\t\n,"
_IN_NO_ID = (b":", b"%")  # SQL must look closer


def plain_records(text: bytes) -> tuple[pa.Array, pa.Array] | None:
    """The user IDs and the lists of trait IDs of whole lines; None where one is of another form."""
    import numpy as np
    import pyarrow as pa

    if any(character in text for character in _IN_NO_ID):
        return None
    codes = np.frombuffer(text, np.uint8)
    # one behind the text ends the last line; in IDs there is no comma, or it would be taken for a trait's
    ends = np.flatnonzero((codes == _TAB) | (codes == _LINE_END) | (codes == _COMMA))
    kinds = np.append(codes[ends], np.uint8(_LINE_END))
    ends = np.append(ends, len(text))
    is_tab, is_line_end = kinds == _TAB, kinds == _LINE_END
    # a TAB follows the start of each line, and nothing else
    if not is_tab[0] or not np.array_equal(is_tab[1:], is_line_end[:-1]):
        return None
    begins = np.append(0, ends[is_line_end] + 1)
    tabs = ends[is_tab]
    if (tabs == begins[:-1]).any() or np.diff(begins).max() > LINE_BYTES + 1:
        return None
    sids = _trait_ids(text, ends[~is_line_end] + 1, ends[~is_tab])
    if sids is None:
        return None
    firsts = np.append(np.flatnonzero(is_tab[~is_line_end]), len(sids)).astype(np.int32)
    return _texts(text, begins[:-1], tabs), pa.ListArray.from_arrays(pa.array(firsts), pa.array(sids))


def _trait_ids(text: bytes, begins: _Numbers, ends: _Numbers) -> _Numbers | None:
    """What stands behind `d_sid=` between these places; None where that is no number, or there is no `d_sid=`."""
    import numpy as np

    digits = ends - begins - len(_KEY)
    if digits.min() < 1 or digits.max() > _DIGITS:
        return None
    # the eight bytes from each place on, as a number whose lowest byte is the first; of the last ones some stand behind
    words = np.ndarray(len(text), "<u8", text + bytes(8), strides=(1,))
    if (words[begins] << 16 != int.from_bytes(b"\0\0" + _KEY, "little")).any():
        return None
    # a digit is its code's lower half; what stands before the number is shifted out, which leaves zeros
    before = ((_DIGITS - digits) * 8).astype(np.uint64)
    number: _Numbers = (words[ends - 8] ^ 0x3030303030303030) >> before << before
    if ((number | (number + 0x7676767676767676)) & 0x8080808080808080).any():  # a byte of more than nine
        return None
    # two digits in each two bytes, four in four, eight in eight
    number = (number * 10 + (number >> 8)) & 0x00FF00FF00FF00FF
    number = (number * 100 + (number >> 16)) & 0x0000FFFF0000FFFF
    number = (number * 10_000 + (number >> 32)) & 0xFFFFFFFF
    return number


def _texts(text: bytes, begins: _Numbers, ends: _Numbers) -> pa.Array:
    """What stands between these places. Arrow cuts the whole text, and every second piece is taken."""
    import numpy as np
    import pyarrow as pa

    cuts = np.empty(2 * len(begins), np.int32)
    cuts[0::2], cuts[1::2] = begins, ends
    pieces = pa.StringArray.from_buffers(len(cuts) - 1, pa.py_buffer(cuts), pa.py_buffer(text))
    return pieces.take(pa.array(np.arange(0, len(cuts), 2, dtype=np.int32)))
