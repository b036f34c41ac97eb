"""Regular expressions for lines of the plain form.

Each part accepts only what breaks no rule, whatever the rules are: one for which that can't be shown is left out, and
its lines take the longer way.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aam_onboard.rules import Rules

_WORD = "0-9A-Za-z_.-"
QUOTE_IN_ID = r'[^"\t\n]*\t'  # what follows the last one
_ONE_CHARACTER = re.compile(r"\[(?:\\.|[^\]\\])+\]|\\?[\"\']|[^\\.^$*+?(){}|\[\]]")
_LARGEST_PATTERN = 5000  # trait IDs that a regular expression holds well


@dataclass(frozen=True)
class Column:
    """A column of IDs. An ID is bad if `bad` matches a part of it, or one of `good` none."""

    bad: str | None
    good: tuple[str, ...]


def id_column(rules: Rules, id_type: str) -> Column:
    """The rules for IDs of a type, all in few patterns."""
    bad: list[str] = []
    good: list[str] = []
    for _, rule in rules.of("user_id", rules.id_types[id_type].kind):
        pattern, breaks = rules.broken_where(rule, id_type)
        (bad if breaks else good).append(pattern)
    return Column("|".join(f"(?:{pattern})" for pattern in bad) or None, tuple(good))


def plain_signals(
    rules: Rules, overwrite: bool, traits: Mapping[str, tuple[str, str]] | None, own: str
) -> str | None:
    """A pattern for the signals of a line of the plain form; None when there is none that is sure."""
    signals = []
    if _harmless(rules, "trait", "0-9"):
        numbers = "[0-9]+"
        if traits is not None:
            known = [trait for trait, of in traits.items() if of[0] == own and of[1].lower() == "onboarded"]
            known = [trait for trait in known if re.fullmatch("[0-9]+", trait)]
            numbers = f"(?:{'|'.join(known)})" if 0 < len(known) <= _LARGEST_PATTERN else ""
        if numbers:
            signals.append(("d_sid=" if overwrite else "d_(?:un)?sid=") + numbers)
    if _harmless(rules, "integration_code", _WORD):
        signals += ["[0-9]+", f"ic=[{_WORD}]+"]
    if doubtful_pairs(rules) is not None:
        signals.append(r'"[^"\t\n]+"="[^"\t\n]+"')
    if not signals:
        return None
    signal = f"(?:{'|'.join(signals)})"
    return f"{signal}(?:, ?{signal})*"


def _harmless(rules: Rules, kind: str, characters: str) -> bool:
    """Is it sure that no text of such characters breaks a rule for signals of this kind?

    It is for rules that come down to single characters: none of these is then refused by itself.
    """
    letters = [chr(code) for code in range(128) if re.fullmatch(f"[{characters}]", chr(code))]
    for _, rule in rules.of("signal_key", kind):
        if any(
            rules.is_broken(rule, key, kind)
            for key in (("ic",) if kind == "integration_code" else ("d_sid", "d_unsid"))
        ):
            return False
    for _, rule in rules.of("signal_value", kind):
        pattern = rule.contains if rule.matches is None else rule.matches.rstrip("*+")
        if pattern is None:
            if rule.unlike != "[0-9]+" or characters != "0-9":
                return False
        elif not _ONE_CHARACTER.fullmatch(pattern) or any(
            re.fullmatch(pattern, letter) for letter in letters
        ):
            return False
    return True


def doubtful_pairs(rules: Rules) -> tuple[str, ...] | None:
    """Patterns for a line of quoted pairs; one matches wherever a key or value breaks a rule. None: can't be told.

    They need not be tried on text without quotes. Each begins with literal text, which RE2 finds fast.
    """
    patterns = []
    for about, begin, end in (("signal_value", '="', '"'), ("signal_key", '"', '"=')):
        # Traits and integration codes may be written as quoted pairs, too; a quote in an ID encloses nothing.
        parts = ['(?:d_sid|d_unsid|ic)"=', QUOTE_IN_ID] if about == "signal_key" else []
        for _, rule in rules.of(about, "key_value"):
            pattern = rule.matches if rule.contains is None else rule.contains
            if pattern == '"':
                continue  # the plain form has no quotes within quotes
            if pattern is None:
                return None
            at_start = pattern.startswith("^") and rule.contains is not None
            bare = pattern[1:] if at_start else pattern
            outside_classes = re.sub(r"\\.|\[\^?(?:\\.|[^\]\\])+\]", "", bare)
            movable = not re.search(r"[$^]", outside_classes) and not (at_start and "|" in outside_classes)
            if not movable or re.search(r"\\[a-wyzA-Z]", bare):
                return None
            if rule.contains is None:
                parts.append(f"(?:{bare}){end}")
            else:
                parts.append(("" if at_start else '[^"]*') + f'(?:{bare})[^"]*{end}')
        if parts:
            patterns.append(f"{begin}(?:{'|'.join(parts)})")
    return tuple(patterns)


def lookalikes(rules: Rules) -> dict[str, str]:
    """The id types with a form that no other ID has by chance: a number is an alphanumeric ID, too."""
    patterns: dict[str, str] = {}
    for name, id_type in rules.id_types.items():
        if (
            id_type.pattern
            and id_type.kind in ("aam_uuid", "device")
            and not re.fullmatch(id_type.pattern, "1")
        ):
            patterns.setdefault(id_type.pattern, name)
    return {name: pattern for pattern, name in patterns.items()}
