"""How a destination's outbound files look: their names, their `.info`, and the settings of both.

Adobe sets a template up for each destination [outbound-template-macros]; `Layout` is ours of the ones that its pages
show. The names and the `.info` are as the pages have them, contradictions and slips among them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Literal

from pydantic import Field, model_validator

from aam_onboard.filenames import MAX_NAME_BYTES
from aam_onboard.reading import Settings
from aam_onboard.rules import Count, Dpid

Mode = Literal["full", "iter"]
ItemField = Literal["type", "sid", "value", "lastUpdateTime", "lastRealizationTime"]

SEPARATORS = {"space": " ", "two_spaces": "  ", "tab": "\t", "soh": "\x01"}


class Layout(Settings):
    """The template of a destination's files; without any setting, the standard one [outbound-file-contents]."""

    kind: Literal["segments", "traits", "items", "json_lines"] = Field(
        default="segments",
        description="`segments`: an ID, its segments, those it left · `traits`: an ID and its traits · `items`: an ID"
        " and fields per segment or trait · `json_lines`: an object a user",
    )
    id: Literal["dp_uuid", "uuid"] = Field(
        default="dp_uuid", description="IDs of the destination's `master_dpid`, or AAM UUIDs"
    )
    separator: Literal["space", "two_spaces", "tab", "soh"] | None = Field(
        default=None, description="between the fields of a line; `space` for segments, else `tab`"
    )
    list_separator: str | None = Field(
        default=None, min_length=1, description="between the members of a list; `&` for items, else a comma"
    )
    item_fields: list[ItemField] = Field(
        default=["type", "sid", "value", "lastUpdateTime"], min_length=1, description="what an item says"
    )
    removals: bool | None = Field(
        default=None, description="whether lines say what a user has left; all but `traits` do"
    )
    token: Literal["sid", "alias"] = Field(
        default="sid", description="what stands for a segment or trait: its ID, or its mapping's alias"
    )
    id_key: str | None = Field(default=None, description="json_lines: the key of the ID; `DP_UUID` or `UUID`")
    token_key: str = Field(default="Name", description="json_lines: the key of a segment or trait")
    header: list[str] = Field(
        default=[], description="lines before the first user; an empty text is a blank line"
    )
    sync_type: Literal["ftp", "http", "s3", "FTP", "HTTP", "S3"] | None = Field(
        default="s3", description="the name's first element"
    )
    name_destination: bool = Field(default=True, description="whether the name holds the destination's ID")
    name_dpid: Dpid | None = Field(default=None, description="the name's DPID element, before MASTER_DPID")
    name_master: bool = Field(default=True, description="whether the name holds MASTER_DPID")
    pid_alias: str | None = Field(default=None, min_length=1, description="the name's PID_ALIAS element")
    time_digits: Literal[10, 13, 14] = Field(
        default=13, description="10: seconds, 13: milliseconds, 14: YYYYMMDDhhmmss"
    )
    split: Literal["numbered", "bare_first", "dash"] = Field(
        default="numbered", description="names of parts: 001, 002 … · none, 001 … · -1, -2 …"
    )
    lines_per_file: Count | None = Field(default=None, description="lines at which a new part begins")
    extension: Literal["sync", "csv"] = Field(default="sync", description="the name's ending")
    gzip: bool = Field(default=True, description="whether files are compressed")
    info: Literal["bare_keys", "json", "none"] = Field(
        default="bare_keys",
        description="the `.info`: as Adobe's page shows it, as strict JSON, or not at all",
    )
    info_md5: Literal["file", "text"] = Field(
        default="file", description="what MD5 is taken of: the file as delivered, or its text"
    )
    prefix: str = Field(default="", description="the folder of the bucket or directory")

    @model_validator(mode="after")
    def _names_are_files(self) -> Layout:
        if self.pid_alias is not None and (not self.pid_alias.isprintable() or "/" in self.pid_alias):
            raise ValueError("`pid_alias` is a part of a file's name, without slash or line break")
        if not self.prefix.isprintable() or ".." in self.prefix.split("/") or self.prefix.startswith("/"):
            raise ValueError("`prefix` is a folder such as outbound/daily, without a slash before it or `..`")
        return self

    @property
    def field_separator(self) -> str:
        """The characters between the fields of a line."""
        return SEPARATORS[self.separator or ("space" if self.kind == "segments" else "tab")]

    @property
    def member_separator(self) -> str:
        """The characters between the members of a list."""
        return self.list_separator or ("&" if self.kind == "items" else ",")

    @property
    def tells_removals(self) -> bool:
        """Whether lines say what a user has left."""
        return self.kind != "traits" if self.removals is None else self.removals

    def key(self, name: str) -> str:
        """Where a file goes."""
        return "/".join(part for part in (self.prefix.strip("/"), name) if part)


@dataclass(frozen=True)
class OutboundRoot:
    """What the names of one export begin with: all up to and including the timestamp [outbound-file-name-contents].

    `at`: UTC.
    """

    layout: Layout
    destination_id: int
    master_dpid: int | None
    mode: Mode
    at: datetime

    def __str__(self) -> str:
        """The root."""
        layout = self.layout
        elements = (
            layout.sync_type,
            self.destination_id if layout.name_destination else None,
            layout.name_dpid,
            self.master_dpid if layout.name_master else None,
            layout.pid_alias,
            self.mode,
            self._timestamp(),
        )
        return "_".join(str(element) for element in elements if element is not None)

    def _timestamp(self) -> str:
        at = self.at.astimezone(timezone.utc)
        match self.layout.time_digits:
            case 10:
                return f"{int(at.timestamp()):010}"
            case 13:
                return f"{int(at.timestamp()) * 1000 + at.microsecond // 1000:013}"
            case 14:
                return f"{at:%Y%m%d%H%M%S}"

    def file(self, part: int, parts: int) -> str:
        """The name of a part, from 1, of so many."""
        ending = f".{self.layout.extension}" + (".gz" if self.layout.gzip else "")
        return f"{self}{self._split(part) if parts > 1 else ''}{ending}"

    def _split(self, part: int) -> str:
        match self.layout.split:
            case "numbered":
                return f"{part:03}"
            case "bare_first":
                return f"{part - 1:03}" if part > 1 else ""
            case "dash":
                return f"-{part}"

    @property
    def info(self) -> str:
        """The name of the control file."""
        return f"{self}.info"

    def is_too_long(self, parts: int) -> bool:
        """Whether no file system would take the longest name."""
        return len(self.file(parts, parts).encode()) > MAX_NAME_BYTES


@dataclass(frozen=True)
class OutboundFile:
    """A finished part: bytes and MD5 as delivered, lines of the text with header and blank lines."""

    name: str
    bytes: int
    lines: int
    md5: str


def info_text(root: OutboundRoot, files: Sequence[OutboundFile]) -> str:
    """The control file [transfer-control-files]: keys without quotes and a lower-case `md5`, or strict JSON."""
    content = {
        "Files": [
            {
                "FileByteSize": file.bytes,
                "FileLineCount": file.lines,
                "FileName": file.name,
                "FileSequenceNumber": number,
                "md5": file.md5,
            }
            for number, file in enumerate(files, start=1)
        ],
        "Totals": {
            "FileName": f"{root}.sync",
            "TotalByteSize": sum(file.bytes for file in files),
            "TotalNumberFiles": len(files),
            "TotalNumberLines": sum(file.lines for file in files),
        },
    }
    if root.layout.info == "json":
        return json.dumps(content, indent=2) + "\n"
    return _with_bare_keys(content) + "\n"


def _with_bare_keys(value: Any, indent: str = "") -> str:
    inner = indent + "    "
    match value:
        case dict():
            members = (f"{inner}{key} : {_with_bare_keys(member, inner)}" for key, member in value.items())
            return "{\n" + ",\n".join(members) + f"\n{indent}}}"
        case list():
            return "[ " + ", ".join(_with_bare_keys(member, inner) for member in value) + " ]"
        case _:
            return json.dumps(value, ensure_ascii=False)
