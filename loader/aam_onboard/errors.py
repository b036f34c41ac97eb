"""Errors that a person can act on, each with the exit code of its kind."""

import re


class AamError(Exception):
    """One clear line: what is wrong, where, and what to do. Exit code 1: a delivery or a check failed."""

    exit_code = 1


class DeliveryError(AamError):
    """A file could not be made or did not reach its destination."""


class CheckFailedError(DeliveryError):
    """A file that Audience Manager would refuse; it was not sent."""


class MissingTableError(DeliveryError):
    """A table or view of the warehouse is not there."""


class ConfigError(AamError):
    """Usage or configuration: a setting, an argument, a missing build."""

    exit_code = 2


class GuardError(AamError):
    """A limit past which a delivery stops and asks."""

    exit_code = 3


class LockedError(AamError):
    """Another run holds the lock."""

    exit_code = 4


# What is quoted after one of these words is a name; anything else may be a person's data.
_NAMES = re.compile(
    r"\b(table|relation|view|column|schema|function|macro|type|constraint|index|sequence|database|role|user|host|"
    r"extension|parameter|property|model|named?|file|directory|near|at|socket|bindings)[\s:]*$",
    re.IGNORECASE,
)
_OPENING = re.compile(r"""(?<!\w)["'`„“»«\u2018]""")
_CLOSING = re.compile(r"""["'`“”«»\u2019](?!\w)""")


def without_values(message: str) -> str:
    """A database's message without the values that it quotes: logs and the state keep no person's data. Names stay."""
    place = 0
    while opening := _OPENING.search(message, place):
        closings = list(_CLOSING.finditer(message, opening.end()))
        if _NAMES.search(message, 0, opening.start()) and closings:
            place = closings[0].end()
            continue
        # a value may hold quotes itself
        end = closings[-1].end() if closings else len(message)
        message = message[: opening.start()] + "(…)" + message[end:]
        break
    return re.sub(r"(with value |[(*/+-] ?)-?[0-9][0-9.e+-]*", r"\1…", message)
