"""The command line `aam sandbox …`: parse, call, print."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aam_onboard.errors import ConfigError
from aam_onboard.options import path_option, text_option

if TYPE_CHECKING:
    from aam_onboard.destinations import Destination, DestinationSettings
    from aam_sandbox.export import Put

app = typer.Typer(
    name="sandbox",
    help="A local Audience Manager. It reads inbound files as Adobe documents it, and answers with receipts.\n\n"
    "Example: aam sandbox init && aam sandbox ingest",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Sandbox = Annotated[
    Path, path_option("--sandbox", help="The sandbox's folder.", envvar="AAM_SANDBOX", metavar="PATH")
]
ProjectDir = Annotated[
    Path,
    path_option(
        "--project-dir", help="The folder of dbt_project.yml.", envvar="AAM_PROJECT_DIR", metavar="PATH"
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
_FOLDER = Path(".aam/sandbox")


@app.callback()
def _sandbox() -> None:
    pass


@app.command()
def init(
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FILE]",
            help="Data sources, traits, segments and destinations.",
            show_default="sandbox.yml of the project",
        ),
    ] = None,
    sandbox: Sandbox = _FOLDER,
    project_dir: ProjectDir = Path(),
) -> None:
    """Make a sandbox. In a project, of its data sources and traits, with what FILE adds; anywhere else, of FILE.

    Example: aam sandbox init
    """
    from aam_onboard import output
    from aam_onboard.config import find_project, package_rules
    from aam_sandbox.settings import FILE, fill, read_settings
    from aam_sandbox.store import create

    project = find_project(project_dir)
    if file is None and (project_dir / FILE).is_file():
        file = project_dir / FILE
    if file is None and project is None:
        raise ConfigError(
            f"nothing says what the sandbox is of: give a {FILE}, or go where dbt_project.yml is"
        )
    settings = read_settings(file, project)
    with create(sandbox) as store:
        fill(store.connection, settings, project.rules if project else package_rules())
    counts = {
        name: len(getattr(settings, name)) for name in ("data_sources", "traits", "segments", "destinations")
    }
    made = ", ".join(
        f"{count:,} {(name if count != 1 else name[:-1]).replace('_', ' ')}" for name, count in counts.items()
    )
    output.say(f"{sandbox} is a local Audience Manager with {made}.")


@app.command()
def ingest(
    source: Annotated[
        str | None,
        text_option(
            "--from",
            metavar="NAME|DIR",
            help="An output of destinations.yml, or a folder.",
            show_default="the project's default output",
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", help="Shuffle the data files, and part those of one delivery.")
    ] = None,
    sandbox: Sandbox = _FOLDER,
    project_dir: ProjectDir = Path(),
    as_json: Json = False,
) -> None:
    """Take in what was delivered, and write receipts. ID syncs come first; what was taken in ends in .processed.

    A file that Audience Manager could not process is deleted, as it does; then this ends with 1.

    Example: aam sandbox ingest --from local --seed 7
    """
    from aam_sandbox.ingest import ingest as take_in
    from aam_sandbox.output import show_jobs
    from aam_sandbox.store import open_store

    inbox, prefix = _inbox(source, project_dir)
    with open_store(sandbox) as store:
        try:
            done = take_in(store, inbox, prefix, seed)
        finally:
            inbox.close()
        is_well = show_jobs(store, done, as_json)
    sys.exit(0 if is_well else 1)


def _inbox(source: str | None, project_dir: Path) -> tuple[Destination, str]:
    """Where files wait, and how their keys begin. Raises ConfigError."""
    from aam_onboard.config import find_project
    from aam_onboard.destinations import load_destination, open_destination
    from aam_onboard.destinations.settings import DirectorySettings

    project = find_project(project_dir)
    folder = Path(source) if source is not None else None
    try:
        if project is None or (source is not None and "/" in source):
            raise ConfigError(
                "--from: give an output of destinations.yml, where dbt_project.yml is, or a folder"
            )
        name, settings = load_destination(project, source)
    except ConfigError:
        if folder is None or not folder.is_dir():
            if source is not None and "/" in source:
                raise ConfigError(f"--from {source}: there is no such folder") from None
            raise
        directory = DirectorySettings(type="directory", path=folder, partner_name="any")
        return open_destination("folder", directory), ""
    _require_own(name, settings)
    layout = getattr(settings, "layout", "dated")
    return open_destination(name, settings), "" if layout == "flat" else f"{settings.partner_name}/"


def _require_own(name: str, settings: DestinationSettings) -> None:
    """Raise ConfigError for a place of Adobe's: what the sandbox takes in it renames, and deletes what is broken."""
    from aam_onboard.destinations.settings import BUCKETS, FTP_HOSTS, SFTP_HOSTS

    places = {*BUCKETS.values(), *FTP_HOSTS.values(), *SFTP_HOSTS.values()}
    is_theirs = {getattr(settings, "bucket", None), getattr(settings, "host", None)} & places
    # a store of one's own may have buckets of their names
    if not getattr(settings, "endpoint_url", None) and (is_theirs or getattr(settings, "environment", None)):
        raise ConfigError(
            f"--from {name}: this output is Adobe's own place, where only Audience Manager may rename and delete files;"
            " deliver to an output of yours, such as a directory, and take that in"
        )


@app.command()
def sizes(
    dpid: Annotated[int, typer.Option("--dpid", help="The data source whose IDs are counted.", min=0)] = 0,
    sandbox: Sandbox = _FOLDER,
    as_json: Json = False,
) -> None:
    """Show how many are in each trait and segment.

    Example: aam sandbox sizes --dpid 58342
    """
    from aam_sandbox.output import show_sizes
    from aam_sandbox.profile import sizes_of
    from aam_sandbox.store import open_store

    with open_store(sandbox) as store:
        show_sizes(sizes_of(store, dpid), as_json)


@app.command()
def profile(
    dpid: Annotated[int, typer.Option("--dpid", help="The data source of the ID.", min=0)],
    user_id: Annotated[str, text_option("--id", help="The ID as a file writes it.")],
    sandbox: Sandbox = _FOLDER,
    as_json: Json = False,
) -> None:
    """Show what the sandbox knows of a person: traits, segments, and the IDs that belong together.

    Example: aam sandbox profile --dpid 58342 --id 00021
    """
    from aam_sandbox.output import show_profile
    from aam_sandbox.profile import profile_of
    from aam_sandbox.store import open_store

    with open_store(sandbox) as store:
        show_profile(profile_of(store, dpid, user_id), as_json)


class Mode(str, Enum):
    """What outbound files say."""

    full = "full"
    iter = "iter"


@app.command()
def export(
    destination_ids: Annotated[
        list[int] | None,
        typer.Argument(metavar="[DESTINATION_ID]...", help="Destinations of the sandbox; all without any."),
    ] = None,
    mode: Annotated[
        Mode, typer.Option("--mode", help="Everyone with all, or what has changed since the last export.")
    ] = Mode.iter,
    to: Annotated[
        str | None,
        text_option(
            "--to",
            metavar="NAME|DIR",
            help="An output of destinations.yml, or a folder.",
            show_default="outbound/ of the sandbox",
        ),
    ] = None,
    info_first: Annotated[
        bool, typer.Option("--info-first", help="Send the .info before its files, as it may happen.")
    ] = False,
    without_info: Annotated[bool, typer.Option("--without-info", help="Leave the .info away.")] = False,
    without_part: Annotated[
        int | None, typer.Option("--without-part", metavar="N", help="Leave this part away.", min=1)
    ] = None,
    sandbox: Sandbox = _FOLDER,
    project_dir: ProjectDir = Path(),
    as_json: Json = False,
) -> None:
    """Send outbound files: who is in the segments and traits that are mapped to a destination.

    Example: aam sandbox export 4411 --mode full --to ./outbound
    """
    from aam_sandbox.export import Weakness
    from aam_sandbox.export import export as send
    from aam_sandbox.output import show_exports
    from aam_sandbox.store import open_store

    weakness = Weakness(info_first=info_first, without_part=without_part, without_info=without_info)
    with open_store(sandbox) as store, _outlet(to, sandbox, project_dir) as put:
        wanted = destination_ids or [
            row["destination_id"]
            for row in store.rows("select destination_id from destinations order by destination_id")
        ]
        if not wanted:
            raise ConfigError("the sandbox has no destinations; sandbox.yml lists them")
        done = [send(store, one, mode.value, put, weakness=weakness) for one in wanted]
    show_exports(done, as_json)


@contextmanager
def _outlet(to: str | None, sandbox: Path, project_dir: Path) -> Iterator[Put]:
    """What puts outbound files where they go. Raises ConfigError."""
    from aam_onboard.config import find_project
    from aam_onboard.destinations import load_destination, open_destination
    from aam_sandbox.export import put_at, put_into

    if to is None or "/" in to or Path(to).is_dir():
        yield put_into(sandbox / "outbound" if to is None else Path(to))
        return
    project = find_project(project_dir)
    if project is None:
        raise ConfigError(
            f"--to {to}: there is no such folder, and no dbt_project.yml for an output of destinations.yml;"
            f" ./{to} makes a folder"
        )
    destination = open_destination(*load_destination(project, to))
    try:
        yield put_at(destination)
    finally:
        destination.close()


@app.command()
def serve(
    host: Annotated[
        str,
        text_option("--host", help="The address to listen on; 0.0.0.0 lets other machines in."),
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", help="The port; 0 for any that is free.", min=0, max=65535)
    ] = 8787,
    token_seconds: Annotated[
        int, typer.Option("--token-seconds", help="How long an access token of the REST API lives.", min=0)
    ] = 86_399,
    sandbox: Sandbox = _FOLDER,
) -> None:
    """Answer over HTTP until interrupted: ID syncs, events, opt-outs, the REST API, and a page at /.

    Example: aam sandbox serve --port 8787
    """
    from aam_onboard import output

    try:
        from aam_sandbox.server import serve as answer
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"aam sandbox serve needs {error.name}: pip install 'aam-onboard[sandbox]'"
        ) from None

    def ready(address: str) -> None:
        output.say(f"The local Audience Manager answers at {address} (Ctrl-C ends it)")
        sys.stdout.flush()

    with suppress(KeyboardInterrupt):
        answer(sandbox, host, port, token_seconds, ready)
