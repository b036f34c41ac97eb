"""The grammar of outbound file names, in one place [outbound-file-name-contents, outbound-template-macros].

`[SYNC_TYPE][_DID][_DPID][_MASTER_DPID][_PID_ALIAS]_SYNC-MODE_TIMESTAMP[SPLITNUM].sync[.gz]`: Adobe's template decides
which elements a name has, so the project says it (`vars.outbound`); nothing is guessed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Literal

from aam_onboard.errors import AamError

if TYPE_CHECKING:
    from aam_onboard.config import Outbound

Mode = Literal["full", "iter"]

_NAME = re.compile(
    r"(?P<head>.*?)_?(?<![^_])(?P<mode>full|iter)_(?P<digits>[0-9]+)(?:-(?P<dash>[0-9]+))?"
    r"\.(?:info|(?:sync|csv)(?P<gzip>\.gz)?(?P<pgp>\.(?:gpg|pgp))?)",
    re.DOTALL,
)
_SYNC_TYPE = re.compile(r"(ftp|http|s3)(_|$)", re.IGNORECASE)
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
# Beyond these, digits are no time that a file was made at: before Audience Manager, and far ahead.
_FIRST, _LAST = datetime(2007, 1, 1, tzinfo=timezone.utc), datetime(2100, 1, 1, tzinfo=timezone.utc)


class OutboundNameError(AamError):
    """A name that does not fit its destination's settings, or fits more than one reading."""

    exit_code = 2


@dataclass(frozen=True)
class OutboundName:
    """What the name of an outbound file says.

    `outbound`: the name in `vars.outbound` · `root`: what all names of a batch begin with, up to and including the
    timestamp · `made_at`: UTC · `split`: None for a name without one.
    """

    name: str
    outbound: str
    root: str
    mode: Mode
    made_at: datetime
    split: int | None
    is_info: bool
    is_gzip: bool
    is_pgp: bool


def read_name(name: str, outbound: Mapping[str, Outbound]) -> OutboundName | None:
    """What a file's name says; None for one that is no outbound file's, or of a destination that is not configured.

    Raises OutboundNameError, with the readings and the setting that decides between them.
    """
    found = _NAME.fullmatch(name)
    if not found:
        return None
    fitting: list[str] = []
    wrong: list[OutboundNameError] = []
    for key, settings in outbound.items():
        try:
            if _fits(name, found["head"], key, settings):
                fitting.append(key)
        except OutboundNameError as error:
            wrong.append(error)
    if len(fitting) > 1:
        raise OutboundNameError(
            f"{name}: it fits vars.outbound.{fitting[0]} and vars.outbound.{fitting[1]}; tell them apart by"
            " `master_dpid`, `dpid` or `alias`"
        )
    if not fitting:
        if wrong:
            raise wrong[0]
        return None
    key = fitting[0]
    made_at, width, split = _time_and_split(
        name, found["digits"], found["dash"], key, outbound[key].time_digits
    )
    return OutboundName(
        name=name,
        outbound=key,
        root=name[: found.start("digits") + width],
        mode="full" if found["mode"] == "full" else "iter",
        made_at=made_at,
        split=split,
        is_info=name.endswith(".info"),
        is_gzip=found["gzip"] is not None,
        is_pgp=found["pgp"] is not None,
    )


def _fits(name: str, head: str, key: str, settings: Outbound) -> bool:
    """Whether the elements before the mode are those that the settings name."""
    elements = _SYNC_TYPE.sub("", head, count=1).split("_") if head else []
    elements = [] if elements == [""] else elements
    where = f"vars.outbound.{key}"
    for place, element in enumerate(settings.in_name):
        wanted = str(getattr(settings, element))
        given = elements[place] if place < len(elements) else None
        if given == wanted:
            continue
        if element == "destination_id" or settings.in_name[0] != "destination_id":
            return False
        says = "nothing" if given is None else given
        raise OutboundNameError(
            f"{name}: {says} stands where {where} has {element} {wanted}; mend it, or list the elements of the name,"
            " in their order, with `in_name`"
        )
    rest = elements[len(settings.in_name) :]
    alias = "_".join(rest)
    if settings.alias is not None:
        if alias != settings.alias:
            raise OutboundNameError(
                f"{name}: {where} has alias {settings.alias}, and the name {alias or 'none'}"
            )
    elif rest and rest[0].isdigit():
        missing = next((one for one in ("master_dpid", "dpid") if one not in settings.in_name), None)
        other = f"{missing} {rest[0]}" if missing else f"an element that {where}.in_name does not list"
        raise OutboundNameError(
            f"{name}: `{rest[0]}` may be {other}, or the begin of an alias `{alias}`; set {where}."
            f"{missing or 'in_name'} or {where}.alias"
        )
    return True


def _time_and_split(
    name: str, digits: str, dash: str | None, key: str, width: int
) -> tuple[datetime, int, int | None]:
    read = _reading(digits, dash, width)
    if read is not None:
        return read[0], width, read[1]
    others = [
        f"with time_digits {other}, made at {at:%Y-%m-%d %H:%M:%S} UTC"
        + ("" if split is None else f", part {split}")
        for other in (10, 13, 14)
        for at, split in [_reading(digits, dash, other) or (_EPOCH, None)]
        if other != width and at != _EPOCH
    ]
    readings = " or ".join(others) or "no other width fits either"
    raise OutboundNameError(
        f"{name}: its {len(digits)} digits are no time of {width} digits and a part of three or more"
        f" (vars.outbound.{key}.time_digits); they are: {readings}"
    )


def _reading(digits: str, dash: str | None, width: int) -> tuple[datetime, int | None] | None:
    """Time and part of a run of digits, with a time of that width; None where it does not fit."""
    stamp, split = digits[:width], digits[width:]
    if len(stamp) < width or (split and (dash or len(split) < 3 or (len(split) > 3 and split[0] == "0"))):
        return None
    try:
        if width == 14:
            at = datetime.strptime(stamp, "%Y%m%d%H%M%S").replace(tzinfo=timezone.utc)
        else:
            at = _EPOCH + timedelta(**{"seconds" if width == 10 else "milliseconds": int(stamp)})
    except (ValueError, OverflowError):
        return None
    number = dash or split
    return (at, int(number) if number else None) if _FIRST <= at < _LAST else None


def batch_of_info(name: OutboundName, batches: Sequence[OutboundName]) -> str:
    """The root of the batch that an `.info` is of; one of the guide's has another mode than its files."""
    roots = {one.root for one in batches}
    if name.root in roots:
        return name.root
    other = name.root.replace(f"_{name.mode}_", "_full_" if name.mode == "iter" else "_iter_")
    return other if other in roots else name.root
