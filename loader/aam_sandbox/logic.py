"""What rules of traits and of segments have in common: members with AND, OR, NOT and parentheses."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar, Generic, NoReturn, TypeVar

_DEEPEST = 100

Part = TypeVar("Part")


class LogicParser(ABC, Generic[Part]):
    """Reads a rule; NOT binds closest, OR least. What a member is, and what becomes of the parts, a kind of rule says.

    `token`: its groups `sign` (a parenthesis) and `word` (AND, OR, NOT in any letter case) are read here. While a part
    is read, `kind` and `text` are those of the next token, None and empty at the end, and `start` is where it stands.
    """

    token: ClassVar[re.Pattern[str]]

    def __init__(self, rule: str) -> None:
        self.rule = rule
        self._at = 0
        self._depth = 0
        self.next()

    def parsed(self) -> Part:
        """The whole rule."""
        part = self._either()
        if self.kind:
            self.wrong("AND, OR or the end stands there")
        return part

    @abstractmethod
    def member(self) -> Part:
        """What stands at the next token, which is no NOT and no parenthesis; the token after it is the next then."""

    @abstractmethod
    def negated(self, part: Part) -> Part:
        """NOT part."""

    @abstractmethod
    def joined(self, word: str, parts: Sequence[Part]) -> Part:
        """Two parts or more with `and` or `or` between."""

    @abstractmethod
    def unread(self, rest: str) -> NoReturn:
        """Say what is wrong with a text that begins with no token."""

    @abstractmethod
    def wrong(self, what: str) -> NoReturn:
        """Raise the error that points at `start`."""

    def next(self) -> None:
        """Go on to the next token."""
        found = self.token.match(self.rule, self._at)
        if found and found.lastgroup:
            self.kind: str | None = found.lastgroup
            self.start = found.start(found.lastgroup)
            self.text = found[found.lastgroup]
            self._at = found.end()
            return
        rest = self.rule[self._at :].lstrip()
        self.start = len(self.rule) - len(rest)
        self.kind, self.text = None, ""
        if rest:
            self.unread(rest)

    def is_word(self, *words: str) -> bool:
        """Whether the next token is one of these words, which are in lower case."""
        return self.kind == "word" and self.text.lower() in words

    def _is_sign(self, sign: str) -> bool:
        return self.kind == "sign" and self.text == sign

    def _either(self) -> Part:
        return self._joined("or", lambda: self._joined("and", self._one))

    def _joined(self, word: str, member: Callable[[], Part]) -> Part:
        parts = [member()]
        while self.is_word(word):
            self.next()
            parts.append(member())
        return parts[0] if len(parts) == 1 else self.joined(word, parts)

    def _one(self) -> Part:
        self._depth += 1
        if self._depth > _DEEPEST:
            self.wrong(f"more than {_DEEPEST} levels of NOT and parentheses")
        if self.is_word("not"):
            self.next()
            part = self.negated(self._one())
        elif self._is_sign("("):
            self.next()
            part = self._either()
            if not self._is_sign(")"):
                self.wrong("a closing parenthesis is missing")
            self.next()
        else:
            part = self.member()
        self._depth -= 1
        return part
