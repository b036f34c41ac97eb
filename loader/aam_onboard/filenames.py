"""The grammar of the file names that Audience Manager reads, in one place.

Data files [inbound-s3-filenames, inbound-ftp-filenames], also of partners [custom-partner-integrations]:
    ftp_dpm_[odc_]DPID[_TARGET DPID]_TIMESTAMP.sync|.overwrite[.SPLIT][.gz|.gpg|.pgp]
ID sync files [id-sync-file-based, people-based-destinations]:
    adobe_id_DPID_DPID[_DPID…]_TIMESTAMP.sync[.SPLIT][.gz|.gpg|.pgp]
    c2c_id_DPID_DPID_TIMESTAMP.sync[.SPLIT][.gz|.gpg|.pgp]

Whether a DPID is a global data source, which makes the target a must, is no matter of grammar: configuration
and check know the list.
"""

import datetime
import re
from dataclasses import dataclass
from typing import ClassVar, Literal, NoReturn, cast, get_args

from aam_onboard.errors import AamError

Mode = Literal["sync", "overwrite"]
Extension = Literal["", "gz", "gpg", "pgp"]
IdSyncPrefix = Literal["adobe_id", "c2c_id"]

# The state tables keep DPIDs and split numbers as bigint.
MAX_DIGITS = 18
# What file systems and FTP servers take as one name.
MAX_NAME_BYTES = 255

_PREFIXES = ("ftp_dpm_odc_", "ftp_dpm_", "adobe_id_", "c2c_id_")
_PROCESSED = "processed"


class FileNameError(AamError):
    """A name that Audience Manager would not read. The message names the element that is wrong."""


@dataclass(frozen=True)
class InboundName:
    """The name of a data file; a malformed value raises FileNameError on construction.

    `timestamp`: UTC Unix seconds, 10 digits; `split`: from 1; `partner`: the variant whose lines begin with
    an ID-type column.
    """

    dpid: int
    timestamp: int
    mode: Mode
    target_dpid: int | None = None
    split: int | None = None
    extension: Extension = ""
    partner: bool = False

    kind: ClassVar[Literal["data"]] = "data"

    def __post_init__(self) -> None:
        _check_dpid(self, "DPID", self.dpid)
        if self.target_dpid is not None:
            _check_dpid(self, "target DPID", self.target_dpid)
        _check_timestamp(self, self.timestamp)
        if self.mode not in get_args(Mode):
            _wrong(self, f"mode {_show(self.mode)} is unknown", "`sync` or `overwrite` stands there")
        _check_ending(self, self.split, self.extension)

    def __str__(self) -> str:
        """The file name."""
        dpids = (self.dpid,) if self.target_dpid is None else (self.dpid, self.target_dpid)
        prefix = "ftp_dpm_odc" if self.partner else "ftp_dpm"
        return _format(self, prefix, dpids)


@dataclass(frozen=True)
class IdSyncName:
    """The name of an ID sync file; a malformed value raises FileNameError on construction.

    `dpids`: one a column, in their order; two of a `c2c_id` (customer ID, hashed e-mail), two or more else.
    `timestamp`: UTC Unix seconds, 10 digits; `split`: from 1.
    """

    prefix: IdSyncPrefix
    dpids: tuple[int, ...]
    timestamp: int
    split: int | None = None
    extension: Extension = ""

    kind: ClassVar[Literal["id_sync"]] = "id_sync"
    mode: ClassVar[Literal["sync"]] = "sync"

    def __post_init__(self) -> None:
        if self.prefix not in get_args(IdSyncPrefix):
            _wrong(self, f"prefix {_show(self.prefix)} is unknown", "`adobe_id` or `c2c_id` stands there")
        for dpid in self.dpids:
            _check_dpid(self, "DPID", dpid)
        if self.prefix == "c2c_id" and len(self.dpids) != 2:
            _wrong(
                self,
                f"{_count(len(self.dpids), 'DPID')} in the name",
                "a c2c_id file has exactly two: the customer IDs' and the hashed e-mails'",
            )
        if len(self.dpids) < 2:
            _wrong(
                self,
                f"{_count(len(self.dpids), 'DPID')} in the name",
                "an adobe_id file has one a column, at least two",
            )
        for index, dpid in enumerate(self.dpids):
            if dpid in self.dpids[:index]:
                _wrong(self, f"DPID `{dpid}` stands twice", "each column has a data source of its own")
        _check_timestamp(self, self.timestamp)
        _check_ending(self, self.split, self.extension)

    def __str__(self) -> str:
        """The file name."""
        return _format(self, self.prefix, self.dpids)


FileName = InboundName | IdSyncName


def parse(name: str) -> FileName:
    """Read a file name; FileNameError says which element is wrong and what stands there rightly.

    `str(parse(name)) == name` for every name that is accepted. A name with `.processed` is refused: Audience
    Manager has taken that file already (see picked_up_names).
    """
    _check_characters(name)
    prefix = _prefix_of(name)
    stem, *ending = name.removeprefix(prefix).split(".")
    if _PROCESSED in ending:
        _wrong(
            name,
            f"mode `.{_PROCESSED}`",
            "Audience Manager has picked this file up; give the name it was sent under",
        )
    dpids, timestamp = _stem_of(name, prefix, stem)
    mode = _mode_of(name, prefix, ending)
    split, extension = _ending_of(name, ending[1:])
    if prefix in ("adobe_id_", "c2c_id_"):
        return IdSyncName(cast(IdSyncPrefix, prefix.rstrip("_")), tuple(dpids), timestamp, split, extension)
    target = dpids[1] if len(dpids) == 2 else None
    return InboundName(dpids[0], timestamp, mode, target, split, extension, partner=prefix == "ftp_dpm_odc_")


def picked_up_names(name: str) -> tuple[str, ...]:
    """The names under which the file may stand once Audience Manager has picked it up [amazon-s3].

    `.processed` in place of `.sync` or `.overwrite`, or appended: Adobe's pages differ, so look for both.
    Raises FileNameError for a name that parse refuses.
    """
    mode = parse(name).mode
    return name.replace(f".{mode}", f".{_PROCESSED}", 1), f"{name}.{_PROCESSED}"


def object_key(partner_name: str, day: datetime.date, name: str) -> str:
    """`<partner_name>/date=<yyyy-mm-dd>/<name>` [inbound-s3-filenames]; `day` is the UTC day of sending.

    FileNameError when the partner name or the file name is no single part of a path.
    """
    partner_problem = partner_name_problem(partner_name)
    if partner_problem:
        raise FileNameError(f"partner_name {_show(partner_name)} {partner_problem}")
    if name in ("", ".", "..") or "/" in name:
        _wrong(name, "the name is no single part of a path", "give the file name alone")
    return f"{partner_name}/date={day:%Y-%m-%d}/{name}"


def partner_name_problem(partner_name: str) -> str | None:
    """What is wrong with a partner name as the first folder of a key; None when nothing is."""
    if not partner_name:
        return "is empty; put the name that Adobe gave you"
    if partner_name.strip() != partner_name or partner_name.startswith("."):
        return "begins or ends with a space, or begins with a dot; put the name that Adobe gave you"
    if not partner_name.isprintable() or re.search(r"[/\\]", partner_name):
        return "holds a slash or a control character; put the name alone, without bucket or folders"
    return None


def _format(name: FileName, prefix: str, dpids: tuple[int, ...]) -> str:
    stem = "_".join(str(part) for part in (prefix, *dpids, name.timestamp))
    return ".".join(
        str(part) for part in (stem, name.mode, name.split, name.extension) if part not in (None, "")
    )


def _check_characters(name: str) -> None:
    if not name:
        raise FileNameError("the file name is empty; a name begins with ftp_dpm_, adobe_id_ or c2c_id_")
    if re.search(r"[/\\]", name):
        _wrong(name, "the name holds a path", "give the file name alone")
    if len(name.encode(errors="replace")) > MAX_NAME_BYTES:
        _wrong(name, f"the name is longer than {MAX_NAME_BYTES} bytes", "no name needs that many")
    space = re.search(r"[\s\x00-\x1f\x7f]", name)
    if space:
        where = "begins" if space.start() == 0 else "ends" if space.end() == len(name) else "is broken"
        _wrong(name, f"the name {where} with a space or control character", "a name holds none")


def _prefix_of(name: str) -> str:
    for prefix in _PREFIXES:
        if name.startswith(prefix):
            return prefix
        if name.lower().startswith(prefix):
            _wrong(name, f"prefix `{name[: len(prefix)]}` is not in lower case", f"`{prefix}` stands there")
    _wrong(
        name,
        "the prefix is unknown",
        "a data file begins with `ftp_dpm_`, an ID sync with `adobe_id_` or `c2c_id_`",
    )


def _stem_of(name: str, prefix: str, stem: str) -> tuple[list[int], int]:
    """The DPIDs and the timestamp, which stand between the prefix and the first dot."""
    *dpid_texts, timestamp_text = stem.split("_")
    if not dpid_texts and re.fullmatch("[0-9]{10}|[0-9]{13}", timestamp_text):
        _wrong(name, "the DPID is missing", f"`{prefix}DPID_TIMESTAMP` is the order")
    if not dpid_texts:
        # One element alone: judge it as the DPID first, for that is what comes first.
        _read_number(name, "DPID", timestamp_text, "digits only, such as 58342")
        _wrong(name, "the timestamp is missing", "after the DPIDs stand `_` and 10 digits, UTC Unix seconds")
    dpids = []
    for index, text in enumerate(dpid_texts):
        label = "target DPID" if prefix.startswith("ftp_") and index == 1 else "DPID"
        dpids.append(_read_number(name, label, text, "digits only, such as 58342"))
    if prefix.startswith("ftp_") and len(dpids) > 2:
        _wrong(
            name,
            f"{_count(len(dpids), 'DPID')} in the name",
            "a data file has one, or two with the target data source",
        )
    timestamp_right = "10 digits stand there: UTC Unix seconds, such as 1700000000"
    if not re.fullmatch("[0-9]+", timestamp_text):
        shown = (
            f"timestamp {_show(timestamp_text)} is not a number"
            if timestamp_text
            else "the timestamp is missing"
        )
        _wrong(name, shown, timestamp_right)
    if len(timestamp_text) == 13:
        _wrong(name, f"timestamp `{timestamp_text}` has 13 digits, milliseconds", timestamp_right)
    if len(timestamp_text) != 10:
        _wrong(
            name, f"timestamp `{timestamp_text}` has {_count(len(timestamp_text), 'digit')}", timestamp_right
        )
    if timestamp_text.startswith("0"):
        _wrong(name, f"timestamp `{timestamp_text}` begins with 0", timestamp_right)
    return dpids, int(timestamp_text)


def _mode_of(name: str, prefix: str, ending: list[str]) -> Mode:
    id_sync = not prefix.startswith("ftp_")
    right = (
        "an ID sync has `.sync` after the timestamp"
        if id_sync
        else "`.sync` or `.overwrite` follows the timestamp"
    )
    if not ending:
        _wrong(name, "the mode is missing", right)
    mode = ending[0]
    if id_sync and mode == "overwrite":
        _wrong(name, "mode `.overwrite` in an ID sync", right)
    if mode not in get_args(Mode):
        if mode.lower() in get_args(Mode):
            _wrong(name, f"mode `.{mode}` is not in lower case", right)
        if set(ending) & set(get_args(Mode)):
            _wrong(name, f"{_show('.' + mode)} stands before the mode", right)
        if re.fullmatch("[0-9]+", mode) or mode.lower() in ("gz", "gpg", "pgp"):
            _wrong(name, f"the mode is missing, `.{mode}` stands in its place", right)
        _wrong(name, f"mode {_show('.' + mode)} is unknown", right)
    return cast(Mode, mode)


def _ending_of(name: str, ending: list[str]) -> tuple[int | None, Extension]:
    """The split number and the extension, which may follow the mode."""
    for element in ending:
        if element in get_args(Mode):
            _wrong(name, f"mode `.{element}` stands a second time", "a name has one mode")
    split: int | None = None
    extension: Extension = ""
    for element in ending:
        if element in ("gz", "gpg", "pgp"):
            if extension:
                _wrong(
                    name,
                    f"extension `.{element}` follows `.{extension}`",
                    "a file is gzip or PGP, never both, and only once",
                )
            extension = cast(Extension, element)
        elif element.lower() in ("gz", "gpg", "pgp"):
            _wrong(name, f"extension `.{element}` is not in lower case", f"`.{element.lower()}` stands there")
        elif re.fullmatch("[0-9]+", element):
            if extension:
                _wrong(name, f"split number `{element}` stands after `.{extension}`", "it goes before it")
            if split is not None:
                _wrong(name, f"split number `{element}` follows another", "a name has one at most")
            split = _read_number(name, "split number", element, "1, 2, 3… stands there")
        elif element and element[0] in "0123456789+-":
            _wrong(name, f"split number {_show(element)} is not a number", "1, 2, 3… stands there")
        else:
            shown = (
                f"extension {_show('.' + element)} is unknown"
                if element
                else "an extension is empty, a dot too many"
            )
            _wrong(
                name,
                shown,
                "only `.gz` (the one compression), `.gpg` or `.pgp`, or a split number, follows the mode",
            )
    return split, extension


def _read_number(name: str, label: str, text: str, right: str) -> int:
    if not text:
        _wrong(name, f"the {label} is empty, an underscore too many", right)
    if not re.fullmatch("[0-9]+", text):
        _wrong(name, f"{label} {_show(text)} is not a number", right)
    if len(text) > 1 and text.startswith("0"):
        _wrong(name, f"{label} `{text}` begins with 0", "numbers stand without leading zeros")
    if len(text) > MAX_DIGITS:
        _wrong(name, f"{label} `{text}` has more than {MAX_DIGITS} digits", right)
    return int(text)


def _check_dpid(name: FileName, label: str, dpid: int) -> None:
    if type(dpid) is not int or not 0 <= dpid < 10**MAX_DIGITS:
        _wrong(name, f"{label} {_show(dpid)} is not a number of 1 to {MAX_DIGITS} digits", "such as 58342")


def _check_timestamp(name: FileName, timestamp: int) -> None:
    if type(timestamp) is not int or not 10**9 <= timestamp < 10**10:
        _wrong(
            name, f"timestamp {_show(timestamp)} is not a number of 10 digits", "UTC Unix seconds stand there"
        )


def _check_ending(name: FileName, split: int | None, extension: str) -> None:
    if split is not None and (type(split) is not int or not 1 <= split < 10**MAX_DIGITS):
        _wrong(name, f"split number {_show(split)} is not a whole number from 1", "1, 2, 3… stands there")
    if extension not in get_args(Extension):
        _wrong(name, f"extension {_show(extension)} is unknown", "`gz`, `gpg`, `pgp` or none stands there")
    if len(str(name)) > MAX_NAME_BYTES:
        _wrong(name, f"the name is longer than {MAX_NAME_BYTES} bytes", "name fewer DPIDs")


def _wrong(name: str | FileName, what: str, right: str) -> NoReturn:
    raise FileNameError(f"{_show(name)[1:-1]}: {what}; {right}")


def _show(value: object) -> str:
    """The value in backquotes, on one line and short, whatever characters it holds."""
    try:
        text = str(value).encode("unicode_escape").decode("ascii")
    except ValueError:  # Python writes no integer of more than 4,300 digits
        text = "a number of thousands of digits"
    return f"`{text if len(text) <= 300 else text[:300] + '…'}`"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
