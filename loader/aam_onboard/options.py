"""How options are declared on every command line of ours: a text is one, and an empty one is refused."""

from pathlib import Path
from typing import Any

import typer

from aam_onboard.errors import ConfigError


def _given(param: typer.CallbackParam, value: Any) -> Any:
    """An option as it is, unless it is empty or no text: `--to "$DEST"` without DEST is not the default destination."""
    from aam_onboard.reading import is_text

    for text in value if isinstance(value, (list, tuple)) else [value]:
        if text == "":
            raise ConfigError(f"{param.opts[0]} is empty: give it a value, or leave it out")
        if isinstance(text, str) and not is_text(text):
            raise ConfigError(f"{param.opts[0]} {text!a}: this is no UTF-8 text")
    return value


def _given_path(param: typer.CallbackParam, value: Any) -> Any:
    return None if value is None else Path(_given(param, value))


def text_option(*names: str, help: str, **more: Any) -> Any:
    """An option that takes a text."""
    return typer.Option(*names, help=help, callback=_given, **more)


def path_option(*names: str, help: str, **more: Any) -> Any:
    """An option that takes a path."""
    # read as a text, for an empty path would be the folder one is in
    return typer.Option(*names, help=help, callback=_given_path, parser=str, **more)
