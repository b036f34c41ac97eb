"""The control file `.info` of a transfer [transfer-control-files]: which files belong to it, and how large they are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import Field, ValidationError

from aam_onboard.errors import DeliveryError
from aam_onboard.reading import SomeSettings, first_mistake

# Far beyond what names a terabyte's parts.
LARGEST = 64 * 1024 * 1024
_DEEPEST = 20
_WORD = re.compile(r'[{}\[\]:,]|"(?:[^"\\]|\\.)*"|[^\s{}\[\]:,"]+')
_DIGEST = re.compile("[0-9a-fA-F]{32}")


class _File(SomeSettings):
    name: str = Field(validation_alias="FileName", min_length=1)
    size: int | None = Field(default=None, validation_alias="FileByteSize", ge=0)
    lines: int | None = Field(default=None, validation_alias="FileLineCount", ge=0)
    md5: str | None = None


class _Totals(SomeSettings):
    files: int | None = Field(default=None, validation_alias="TotalNumberFiles", ge=0)


class _Content(SomeSettings):
    files: list[_File] = Field(validation_alias="Files")
    totals: _Totals = Field(default=_Totals(), validation_alias="Totals")


@dataclass(frozen=True)
class ControlledFile:
    """What an `.info` says of a file: bytes as delivered, lines of its text, MD5 as lower-case hex; None: not said."""

    name: str
    bytes: int | None
    lines: int | None
    md5: str | None


@dataclass(frozen=True)
class Control:
    """An `.info`. `count`: how many files the batch has."""

    files: tuple[ControlledFile, ...]
    count: int


def read_control(text: str, name: str) -> Control:
    """What an `.info` says: strict JSON, or with keys that no quotes surround, and commas after the last member.

    Raises DeliveryError with the file's name.
    """
    try:
        try:
            raw = json.loads(text)
        except ValueError:
            raw = _Parser(text.removeprefix("\ufeff")).parse()
        found = _Content.model_validate(raw)
    except ValidationError as error:
        raise DeliveryError(f"{name}: {first_mistake(error)}; ask Adobe for the batch anew") from None
    except (ValueError, RecursionError) as error:
        raise DeliveryError(f"{name} is no control file: {error}; ask Adobe for the batch anew") from None
    files = tuple(
        # the guide's own digests hold letters that no digest has
        ControlledFile(one.name, one.size, one.lines, _digest(one.md5))
        for one in found.files
    )
    if len({one.name for one in files}) < len(files):
        raise DeliveryError(f"{name} names a file twice; ask Adobe for the batch anew")
    return Control(files, max(len(files), found.totals.files or 0))


def _digest(text: str | None) -> str | None:
    return text.lower() if text is not None and _DIGEST.fullmatch(text) else None


class _Parser:
    """JSON whose keys may stand without quotes, and whose last member may have a comma after it."""

    def __init__(self, text: str) -> None:
        self._words = _words(text)
        self._next = next(self._words, "")

    def parse(self) -> Any:
        value = self._value(0)
        if self._next:
            raise ValueError(f"`{self._next[:40]}` stands after its end")
        return value

    def _take(self, wanted: str = "") -> str:
        word = self._next
        if not word or (wanted and word != wanted):
            raise ValueError(
                f"{f'`{word[:40]}`' if word else 'its end'} stands where {wanted or 'a value'} should"
            )
        self._next = next(self._words, "")
        return word

    def _value(self, depth: int) -> Any:
        if depth > _DEEPEST:
            raise ValueError("it is nested too deeply")
        word = self._take()
        if word == "{":
            members: dict[str, Any] = {}
            while self._next != "}":
                key = self._take()
                self._take(":")
                members[str(json.loads(key)) if key.startswith('"') else key] = self._value(depth + 1)
                if self._next != "}":
                    self._take(",")
            self._take("}")
            return members
        if word == "[":
            items = []
            while self._next != "]":
                items.append(self._value(depth + 1))
                if self._next != "]":
                    self._take(",")
            self._take("]")
            return items
        return json.loads(word)


def _words(text: str) -> Iterator[str]:
    place = 0
    while place < len(text):
        if text[place].isspace():
            place += 1
            continue
        found = _WORD.match(text, place)
        if not found:
            raise ValueError("a quote is never closed")
        yield found[0]
        place = found.end()
