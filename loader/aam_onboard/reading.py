"""How all configuration is read: YAML into plain values, `env_var()` into text, both into typed settings.

Whatever may stand there, a mistake is a ConfigError of one line that names the file, and the line or the setting.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
)

from aam_onboard.errors import ConfigError

# Far beyond what a person writes, far below what makes a reader run out of stack or memory.
_LARGEST_FILE = 4 * 1024 * 1024
_DEEPEST = 50
_MOST_VALUES = 200_000
_LONGEST_SHOWN = 80

_TAG = "tag:yaml.org,2002:"
_TAGS = {_TAG + kind for kind in ("map", "seq", "str", "int", "float", "bool", "null", "timestamp", "merge")}

# What a name holds when its value may be a secret.
SECRET_KEYS = ("notify", "pass", "secret", "token", "access_key", "private_key", "credential")


class Settings(BaseModel):
    """A part of the configuration: nothing unknown stands in it, and nothing is taken for what it is not."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class SomeSettings(Settings):
    """A part in which others, such as dbt, have settings of their own."""

    model_config = ConfigDict(extra="ignore")


def from_text(value: object) -> object:
    """`env_var()` renders text: read the number or truth value out of it."""
    if isinstance(value, str):
        text = value.strip()
        if text.isascii() and text.isdigit():
            return int(text[:20])
        if text.lower() in ("true", "false"):
            return text.lower() == "true"
        try:
            return float(text)
        except ValueError:
            return value
    return value


def _no_line_break(value: object) -> object:
    # A line break would end the command in FTP's protocol.
    if isinstance(value, str) and not value.isprintable():
        raise ValueError("holds a control character or a line break")
    return value


def _home(value: object) -> object:
    if not isinstance(value, (str, Path)) or not value:
        return value
    try:
        return Path(value).expanduser()
    except RuntimeError:
        raise ValueError("begins with the home folder of a user that this machine does not know") from None


Text = Annotated[str, BeforeValidator(_no_line_break), Field(min_length=1)]
Whole = Annotated[int, BeforeValidator(from_text)]
Number = Annotated[float, BeforeValidator(from_text), Field(allow_inf_nan=False)]
# A day at most: more is a mistake, and far more than the system's timers count.
Seconds = Annotated[Number, Field(ge=0, le=86_400)]
Flag = Annotated[bool, BeforeValidator(from_text)]
# A path of this machine; `~` is the home folder.
LocalPath = Annotated[Path, BeforeValidator(_home)]
LocalText = Annotated[str, Field(min_length=1), AfterValidator(lambda path: str(_home(path)))]


def read_yaml(path: Path) -> dict[Any, Any] | None:
    """The `key: value` lines of a YAML file; None when there is no such file."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ConfigError(f"{path} cannot be read: it is no file")
        if status.st_size > _LARGEST_FILE:
            raise ConfigError(
                f"{path} cannot be read: it has {status.st_size:,} bytes, which are no settings"
            )
        text = path.read_bytes().decode("utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} cannot be read: byte {error.start + 1} is no UTF-8") from None
    return parse_yaml(text, str(path))


def parse_yaml(text: str, where: str) -> dict[Any, Any]:
    """`key: value` lines as plain values: mappings, lists, texts, numbers, truth values, dates, null.

    A key that stands twice is a mistake, for one of the two would be lost without a word.
    """
    try:
        root = yaml.compose(text, _Loader)
        if root is not None:
            _require_plain(root)
        content = _Loader("").construct_document(root) if root is not None else None
    except yaml.YAMLError as error:
        raise ConfigError(f"{where}{_line_of(error, text)}: this is no YAML: {_one_line(error)}") from None
    except RecursionError:
        raise ConfigError(f"{where}: this is nested deeper than {_DEEPEST} levels") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{where}: expected `key: value` lines")
    return content


class _Loader(yaml.SafeLoader):
    """YAML's plain values. `2026-02-31` or `!!int x` are mistakes of the file too, not of PyYAML."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, KeyError, AttributeError, TypeError, OverflowError):
            kind = node.tag.removeprefix(_TAG)
            raise _mistake(node, f"`{shown(node.value)}` can't be read as {kind}") from None


def _require_plain(root: yaml.Node) -> None:
    """Raise YAMLError for what is no plain value. Aliases count as often as they stand: a few may hold billions."""
    waiting = [(root, 1)]
    values = 0
    while waiting:
        node, depth = waiting.pop()
        values += 1
        if depth > _DEEPEST:
            raise _mistake(node, f"nested deeper than {_DEEPEST} levels, or an alias within itself")
        if values > _MOST_VALUES:
            raise _mistake(node, f"more than {_MOST_VALUES:,} values, aliases included")
        if node.tag not in _TAGS:
            raise _mistake(node, f"{node.tag} has no place in settings")
        if isinstance(node, yaml.MappingNode):
            _require_keys(node)
            waiting += [(child, depth + 1) for pair in node.value for child in pair]
        elif isinstance(node, yaml.SequenceNode):
            waiting += [(child, depth + 1) for child in node.value]
        elif node.tag == _TAG + "int" and len(node.value) > _LONGEST_SHOWN:
            raise _mistake(node, "a number of more digits than anything here counts")
        elif not is_text(node.value):
            raise _mistake(node, "a NUL or half a surrogate pair, which no text may hold")


def _require_keys(node: yaml.MappingNode) -> None:
    seen = set()
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise _mistake(key, "a key is a word or a number")
        if key.tag != _TAG + "merge" and (key.tag, key.value) in seen:
            raise _mistake(key, f"the key `{shown(key.value)}` stands twice")
        seen.add((key.tag, key.value))


def _mistake(node: yaml.Node, problem: str) -> yaml.YAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)


def _line_of(error: yaml.YAMLError, text: str) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        return f", line {error.problem_mark.line + 1}"
    position = getattr(error, "position", None)
    return "" if position is None else f", line {text.count(chr(10), 0, position) + 1}"


def _one_line(error: Exception) -> str:
    words = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    return " ".join(str(words).split()) or type(error).__name__


def is_text(text: str) -> bool:
    """Whether a text is one that every system takes: no NUL, and nothing that UTF-8 can't spell."""
    try:
        return b"\0" not in text.encode("utf-8")
    except UnicodeEncodeError:
        return False


def render(value: Any, where: str, variables: Mapping[str, Any] | None = None) -> Any:
    """Render `{{ env_var('NAME', 'default') }}` in every text of a plain value, as dbt does in profiles.yml.

    With `variables`, `{{ var('name', 'default') }}` too, as dbt does in dbt_project.yml.
    """
    if isinstance(value, dict):
        return {key: render(item, f"{where}.{key}", variables) for key, item in value.items()}
    if isinstance(value, list):
        return [render(item, where, variables) for item in value]
    if not isinstance(value, str) or "{{" not in value:
        return value
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def env_var(name: str, default: str | None = None) -> str:
        found = os.environ.get(name, default)
        if found is None:
            raise ConfigError(f"{where}: the environment variable {shown(name)} is not set")
        return found

    def var(name: str, default: Any = None) -> Any:
        found = (variables or {}).get(name, default)
        if found is None:
            raise ConfigError(f"{where}: there is no var {shown(name)}")
        return found

    known = {"env_var": env_var} if variables is None else {"env_var": env_var, "var": var}
    # values stay text here; pydantic makes the numbers
    environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined)
    for name in ("as_number", "as_bool", "as_text", "as_native"):
        environment.filters[name] = lambda text: text
    try:
        rendered = environment.from_string(value).render(known)
    except ConfigError:
        raise
    except Exception as error:  # an expression may fail in any way that Python knows
        names = " and ".join(f"{name}('NAME')" for name in known)
        raise ConfigError(f"{where}: {_one_line(error)}; {names} is what is known here") from None
    if not is_text(rendered):
        raise ConfigError(f"{where}: what env_var() gives is no UTF-8 text")
    return rendered


Kind = TypeVar("Kind")


def read_as(kind: type[Kind], raw: object, file: str, *place: str) -> Kind:
    """A plain value as settings of a kind; `place`: the keys under which it stands in the file."""
    try:
        return TypeAdapter(kind).validate_python(raw)
    except ValidationError as error:
        raise ConfigError(f"{file}: {first_mistake(error, place)}") from None


def first_mistake(error: ValidationError, place: tuple[str, ...] = ()) -> str:
    """The first mistake of several, as `path: what is wrong`. A value that may be a secret is not shown."""
    first = error.errors(include_url=False)[0]
    path = ".".join([*place, *(str(part) for part in first["loc"] if part != "[key]")])
    value = first["input"]
    message = str(first["msg"]).removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        message = "no such setting; is it misspelt?"
    elif first["type"] == "missing":
        message = "is missing"
    elif first["type"] == "is_instance_of":
        message = "is no path"
    elif value == "":
        message = "is empty"
    elif not isinstance(value, (dict, list)) and not any(word in path.lower() for word in SECRET_KEYS):
        message = f"`{shown(value)}`: {message[0].lower()}{message[1:]}"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"{path}: {message}{more}"


class Outputs(SomeSettings):
    """A default and a choice: what destinations.yml holds, and a profile of profiles.yml."""

    target: Text | None = None
    outputs: dict[str, Any] | None = None

    def choose(self, name: str | None, where: str, kind: str) -> tuple[str, Any]:
        """The output `name`, or the default one, with its texts rendered. Raises ConfigError when there is none."""
        outputs = self.outputs or {}
        known = ", ".join(outputs) or "none"
        chosen = name or render(self.target, f"{where}: target")
        if not chosen:
            raise ConfigError(
                f"{where}: target is empty or missing: it names the {kind} to use; known are {known}"
            )
        if chosen not in outputs:
            raise ConfigError(f"{where}: no {kind} {chosen}; known are {known}")
        return chosen, render(outputs[chosen], f"{where}: {chosen}")


def shown(value: object) -> str:
    """A value in a message: on one line, and not too much of it."""
    text = str(value)
    text = text if text.isprintable() else repr(text)[1:-1]
    return text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "…"
