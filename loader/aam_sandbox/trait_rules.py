"""Trait rules: `ic == "52"`, `gender == "female" AND NOT age < 18`, as SQL over key-value signals.

The syntax is that of [manage-trait-rules, trait-comparison-operators, trait-key-name-requirements]. A comparison holds
for a record if it holds for one of its signals. Keys and values are compared without regard to letter case
[faq-inbound-data-ingestion].
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NoReturn

import pyarrow as pa
import pyarrow.compute as pc

from aam_onboard.errors import ConfigError
from aam_onboard.reading import shown
from aam_sandbox.logic import LogicParser

_COMPARES = ("==", "!=", ">=", "<=", ">", "<")
_WORDS = ("contains", "matcheswords", "startswith", "endswith", "matchesregex")
# `=>` stands on the operators' page, `>=` in its samples
_SPELLINGS = {"=>": ">=", "=<": "<="}
_TOKEN = re.compile(
    r"""\s*(?:(?P<sign>[()])|(?P<operator>==|!=|>=|<=|=>|=<|>|<)|(?P<quoted>"[^"]*")|(?P<word>[^\s()"=!<>]+))"""
)
_KEY = re.compile(r"[0-9A-Za-z_-]*[A-Za-z][0-9A-Za-z_-]*")
_NUMBER = re.compile(r"-?[0-9]+([.][0-9]+)?")


class TraitRuleError(ConfigError):
    """A rule that can't be read; the message points at the character."""


@dataclass(frozen=True)
class Comparison:
    """A key's value compared with one of the rule."""

    key: str
    operator: str
    value: str

    def holds(self, key: str = "key", value: str = "value") -> str:
        """SQL: whether it holds for a signal; `key` and `value`: the SQL of these, which must be in lower case."""
        wanted = _literal(self.value.lower())
        match self.operator:
            case "==":
                holds = f"{value} = {wanted}"
            case "!=":
                holds = f"{value} <> {wanted}"
            case "contains":
                holds = f"contains({value}, {wanted})"
            case "startswith":
                holds = f"starts_with({value}, {wanted})"
            case "endswith":
                holds = f"ends_with({value}, {wanted})"
            case "matcheswords":
                words = r"(^|\W)" + re.escape(self.value.lower()) + r"(\W|$)"
                holds = f"regexp_matches({value}, {_literal(words)})"
            case "matchesregex":
                holds = f"regexp_matches({value}, {_literal(self.value)}, 'i')"
            case _:
                holds = f"coalesce(try_cast({value} as double) {self.operator} {self.value}, false)"
        return f"({key} = {_literal(self.key.lower())} and {holds})"


@dataclass(frozen=True)
class _Joined:
    word: str
    members: tuple[_Part, ...]


_Part = Comparison | _Joined


@dataclass(frozen=True)
class TraitRule:
    """A rule that was read."""

    whole: _Part

    @property
    def comparisons(self) -> list[Comparison]:
        """What it compares, each once."""
        return list(dict.fromkeys(_comparisons_of(self.whole)))

    def condition(self, holds: Callable[[Comparison], str]) -> str:
        """SQL: whether the rule is true; `holds`: the SQL that says it of one comparison."""
        return _condition(self.whole, holds)


def parse_trait_rule(rule: str) -> TraitRule:
    """Comparisons with AND, OR, NOT and parentheses; NOT binds closest, OR least.

    Raises TraitRuleError that points at the character that is wrong.
    """
    return TraitRule(_Parser(rule).parsed())


def _comparisons_of(part: _Part) -> list[Comparison]:
    if isinstance(part, Comparison):
        return [part]
    return [found for member in part.members for found in _comparisons_of(member)]


def _condition(part: _Part, holds: Callable[[Comparison], str]) -> str:
    if isinstance(part, Comparison):
        return holds(part)
    members = [_condition(member, holds) for member in part.members]
    return f"(not {members[0]})" if part.word == "not" else f"({f' {part.word} '.join(members)})"


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


class _Parser(LogicParser[_Part]):
    token = _TOKEN

    def negated(self, part: _Part) -> _Part:
        return _Joined("not", (part,))

    def joined(self, word: str, parts: Sequence[_Part]) -> _Part:
        return _Joined(word, tuple(parts))

    def unread(self, rest: str) -> NoReturn:
        if rest.startswith('"'):
            self.wrong("a closing quote is missing")
        self.wrong("no such operator; known are " + ", ".join((*_COMPARES, *_WORDS)))

    def member(self) -> _Part:
        if self.kind not in ("word", "quoted") or self.is_word("and", "or"):
            self.wrong("a key, NOT or a parenthesis stands there")
        key = self.text.strip('"')
        if not _KEY.fullmatch(key):
            self.wrong(f"key {shown(key)}: a key holds letters, digits, - and _, and a letter at least")
        self.next()
        operator = _SPELLINGS.get(self.text, self.text).lower()
        if operator not in (*_COMPARES, *_WORDS) or self.kind == "quoted":
            self.wrong("an operator stands there: " + ", ".join((*_COMPARES, *_WORDS)))
        self.next()
        if self.kind not in ("word", "quoted"):
            self.wrong('a value stands there, such as 52 or "female"')
        value = self.text.strip('"')
        if self.kind == "word" and not _NUMBER.fullmatch(value):
            self.wrong(f"value {shown(value)}: a text stands in quotes")
        if operator in (">", "<", ">=", "<=") and not _NUMBER.fullmatch(value):
            self.wrong(f"value {shown(value)}: {operator} compares numbers")
        if operator == "matchesregex":
            try:
                pc.match_substring_regex(pa.scalar(""), value)  # by RE2, as DuckDB does
            except pa.ArrowInvalid as error:
                self.wrong(f"no regular expression: {error}")
        self.next()
        return Comparison(key, operator, value)

    def wrong(self, what: str) -> NoReturn:
        raise TraitRuleError(f"trait rule `{shown(self.rule)}`, character {self.start + 1}: {what}")
