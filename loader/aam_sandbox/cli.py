"""The command line `aam sandbox …`: parse, call, print."""

from __future__ import annotations

import typer

app = typer.Typer(
    name="sandbox",
    help="A local Audience Manager. It reads inbound files as Adobe documents it, and answers with receipts.\n\n"
    "Example: aam sandbox init",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def _sandbox() -> None:
    pass
