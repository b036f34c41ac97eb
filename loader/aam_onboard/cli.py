"""The command line: parse, call, print."""

from __future__ import annotations

import gc
import io
import logging
import os
import signal
import sys
from contextlib import suppress
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from aam_onboard import output
from aam_onboard.errors import AamError, ConfigError
from aam_onboard.options import path_option, text_option
from aam_sandbox.cli import app as sandbox

if TYPE_CHECKING:
    from aam_onboard.config import Project
    from aam_onboard.receive import ReceiveResult
    from aam_onboard.running import Options, RunResult

app = typer.Typer(
    name="aam",
    help="Bring warehouse data into Adobe Audience Manager: plan, deliver and check inbound files.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(sandbox)


ProjectDir = Annotated[
    Path,
    path_option(
        "--project-dir", help="The folder of dbt_project.yml.", envvar="AAM_PROJECT_DIR", metavar="PATH"
    ),
]
Target = Annotated[str | None, text_option("--target", help="dbt's target: an output of profiles.yml.")]
To = Annotated[str | None, text_option("--to", help="The destination: an output of destinations.yml.")]
Select = Annotated[
    list[str] | None, text_option("--select", "-s", help="Only these feeds or ID syncs; may be repeated.")
]
Full = Annotated[bool, typer.Option("--full", help="Every user with all signals, as .overwrite files.")]
Vars = Annotated[
    str, text_option("--vars", help="Vars that go before those of dbt_project.yml, as YAML or JSON.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts; logs stay on stderr.")]
Force = Annotated[bool, typer.Option("--force", help="Pass every guard; recorded with the delivery.")]
ForceFeed = Annotated[
    list[str] | None, text_option("--force-feed", help="Pass the guards of this feed; may be repeated.")
]
Check = Annotated[
    bool | None,
    typer.Option("--check/--no-check", help="Check every file before it leaves.", show_default="vars.check"),
]
MetricsFile = Annotated[
    Path | None,
    path_option(
        "--metrics-file",
        help="Also write figures for Prometheus' textfile collector.",
        metavar="FILE",
    ),
]
LogFormat = Annotated[
    output.LogFormat,
    typer.Option("--log-format", help="Log lines for people or for machines.", envvar="AAM_LOG_FORMAT"),
]


def _print_version(wanted: bool) -> None:
    if wanted:
        from aam_onboard.package import package_version

        output.say(f"aam {package_version()}")
        raise typer.Exit


@app.callback()
def _aam(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and end.", callback=_print_version, is_eager=True),
    ] = False,
) -> None:
    """The options of `aam` itself."""


class Engine(str, Enum):
    """The warehouse of a new project."""

    duckdb = "duckdb"
    postgres = "postgres"


@app.command()
def init(
    folder: Annotated[
        Path, typer.Argument(metavar="[DIR]", help="Where the project is or shall be.")
    ] = Path(),
    warehouse: Annotated[
        Engine, typer.Option("--warehouse", help="The default target of a new project.")
    ] = Engine.duckdb,
    example: Annotated[bool, typer.Option("--example", help="With a shop's models and data.")] = False,
) -> None:
    """Make a project, or complete a dbt project. Nothing is overwritten.

    Example: aam init shop --example
    """
    from aam_onboard.init import init_project, next_commands

    changes = init_project(folder, warehouse=warehouse.value, example=example)
    output.show_init(changes, next_commands(folder))


@app.command()
def doctor(
    project_dir: ProjectDir = Path(),
    target: Target = None,
    to: To = None,
    write: Annotated[
        bool, typer.Option("--write", help="Also put a probe at the destination, and delete it again.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Look whether everything is set up, and say what to do. Ends with 0, or with 2 where something is to do.

    Example: aam doctor --to production --write
    """
    from aam_onboard.doctor import examine

    is_well = output.show_findings(examine(project_dir, target, to, write=write), as_json)
    sys.exit(0 if is_well else 2)


@app.command()
def run(
    context: typer.Context,
    project_dir: ProjectDir = Path(),
    select: Select = None,
    target: Target = None,
    to: To = None,
    full: Full = False,
    force: Force = False,
    force_feed: ForceFeed = None,
    check: Check = None,
    receive: Annotated[
        bool, typer.Option("--receive", help="First bring outbound files back, as `aam receive` does.")
    ] = False,
    variables: Vars = "{}",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Without dbt's own output.")] = False,
    metrics_file: MetricsFile = None,
    as_json: Json = False,
    log_format: LogFormat = output.LogFormat.text,
) -> None:
    """Build with dbt, then deliver what changed. What a scheduler runs.

    Example: aam run --to production
    """
    output.start_logging(log_format)
    from aam_onboard.run import build_and_deliver, find_place

    place = find_place(project_dir, target, to, _variables(variables))
    feeds = place.project.select(select)
    with output.progress() as on_progress:
        options = _options(context, place.project, on_progress, full, check, force, force_feed, metrics_file)
        result = build_and_deliver(place, feeds, options, quiet=quiet, receive=receive)
    _end(result, as_json)


@app.command()
def plan(
    project_dir: ProjectDir = Path(),
    select: Select = None,
    target: Target = None,
    to: To = None,
    full: Full = False,
    rejected: Annotated[
        str | None,
        text_option("--rejected", metavar="FEED", help="Samples of this feed's rejected rows instead."),
    ] = None,
    variables: Vars = "{}",
    as_json: Json = False,
) -> None:
    """Show what a delivery would send. It goes by the last build, and says what the guards say.

    Example: aam plan --rejected crm_traits
    """
    from aam_onboard import state
    from aam_onboard.destinations import place_of
    from aam_onboard.plan import make_plan
    from aam_onboard.run import find_place, located, looking
    from aam_onboard.strays import what_stops

    place = find_place(project_dir, target, to, _variables(variables))
    feeds = place.project.select(select)
    if rejected is not None and rejected not in place.project.feed_names:
        place.project.select([rejected], "--rejected")
        raise ConfigError(f"--rejected {rejected}: one feed at a time")
    place = located(place)
    with looking(place) as warehouse:
        plans = make_plan(warehouse, place.project, feeds, full=full)
        samples = state.rejected_samples(warehouse, place.project, rejected) if rejected else []
        mismatches = state.id_mismatches(warehouse, place.project)
        where = place_of(place.destination, place.project.root)
        strays, moved = what_stops(warehouse, place.project, place.destination_name, where)
    if rejected is not None:
        output.show_rejected(place.project.rules, rejected, samples, as_json)
    else:
        output.show_plan(place.project, plans, mismatches, strays, moved, as_json)


@app.command()
def rehearse(
    project_dir: ProjectDir = Path(),
    select: Select = None,
    target: Target = None,
    to: To = None,
    variables: Vars = "{}",
    as_json: Json = False,
) -> None:
    """Deliver the last build into a throw-away local Audience Manager, and show what changes there. Nothing is sent.

    It has what was delivered before, and knows traits and segments as `aam sandbox init` does.

    Example: aam rehearse --to production
    """
    from aam_onboard.rehearse import rehearse as try_it
    from aam_onboard.run import find_place, located, looking
    from aam_sandbox.output import show_rehearsal

    place = find_place(project_dir, target, to, _variables(variables))
    feeds = place.project.select(select)
    place = located(place)
    with looking(place) as warehouse:
        rehearsal = try_it(warehouse, place.project, place.destination_name, feeds)
    show_rehearsal(rehearsal, as_json)


@app.command()
def deliver(
    context: typer.Context,
    project_dir: ProjectDir = Path(),
    select: Select = None,
    target: Target = None,
    to: To = None,
    full: Full = False,
    force: Force = False,
    force_feed: ForceFeed = None,
    check: Check = None,
    abandon: Annotated[
        str | None, text_option("--abandon", metavar="ID", help="Give this open delivery up instead.")
    ] = None,
    variables: Vars = "{}",
    metrics_file: MetricsFile = None,
    as_json: Json = False,
    log_format: LogFormat = output.LogFormat.text,
) -> None:
    """Deliver the last build. What a delivery has left open is finished first.

    Example: aam deliver --select crm_traits --to beta
    """
    output.start_logging(log_format)
    from aam_onboard import delivery
    from aam_onboard.run import deliver_built, find_place, locked

    place = find_place(project_dir, target, to, _variables(variables))
    feeds = place.project.select(select)
    with output.progress() as on_progress:
        options = _options(context, place.project, on_progress, full, check, force, force_feed, metrics_file)
        if abandon is not None:
            with locked(place, feeds, options) as held:
                given_up = delivery.abandon(held, abandon)
            output.say(f"delivery {given_up.delivery_id} is abandoned; the next run sends what is missing")
            return
        result = deliver_built(place, feeds, options)
    _end(result, as_json)


@app.command()
def receive(
    context: typer.Context,
    project_dir: ProjectDir = Path(),
    select: Annotated[
        list[str] | None,
        text_option("--select", "-s", help="Only these entries of vars.outbound; may be repeated."),
    ] = None,
    target: Target = None,
    to: Annotated[
        str | None,
        text_option(
            "--from", help="The output of destinations.yml for entries of vars.outbound that name none."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be received; nothing is changed.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Pass every guard; recorded with the file.")] = False,
    variables: Vars = "{}",
    metrics_file: MetricsFile = None,
    as_json: Json = False,
    log_format: LogFormat = output.LogFormat.text,
) -> None:
    """Bring outbound files of Audience Manager into the warehouse. Each once, in the order in which they were made.

    Example: aam receive --dry-run
    """
    output.start_logging(log_format)
    from aam_onboard.receive import select_outbound
    from aam_onboard.run import find_place, receive_alone

    place = find_place(project_dir, target, to, _variables(variables))
    names = select_outbound(place.project, select)
    options = _options(context, place.project, force=force, metrics_file=metrics_file)
    result = receive_alone(place, names, options, dry_run=dry_run)
    output.show_received(result, as_json)
    _exit(result)


@app.command()
def why(
    feed: Annotated[str, typer.Argument(metavar="FEED", help="A feed or ID sync, one of before too.")],
    user_id: Annotated[str, typer.Argument(metavar="USER_ID", help="The ID as a file writes it.")],
    project_dir: ProjectDir = Path(),
    target: Target = None,
    variables: Vars = "{}",
    as_json: Json = False,
) -> None:
    """Tell what is known of one user. What the model says, what was sent, in which files, what was kept back and why.

    Example: aam why crm_traits 00021
    """
    from aam_onboard.run import find_place, located, looking
    from aam_onboard.why import why as ask

    place = located(find_place(project_dir, target, None, _variables(variables)))
    with looking(place) as warehouse:
        answer = ask(warehouse, place.project, feed, user_id)
    output.show_answer(place.project.rules, answer, as_json)


@app.command()
def retire(
    context: typer.Context,
    feed: Annotated[
        str, typer.Argument(metavar="FEED", help="A feed or ID sync that the project no longer has so.")
    ],
    project_dir: ProjectDir = Path(),
    target: Target = None,
    to: To = None,
    check: Check = None,
    variables: Vars = "{}",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Without dbt's own output.")] = False,
    as_json: Json = False,
    log_format: LogFormat = output.LogFormat.text,
) -> None:
    """Withdraw all that a feed has sent. For one that was removed, or that other data sources have now.

    Example: aam retire crm_traits
    """
    output.start_logging(log_format)
    from aam_onboard.run import find_place
    from aam_onboard.run import retire as retire_feed

    place = find_place(project_dir, target, to, _variables(variables))
    with output.progress() as on_progress:
        options = _options(context, place.project, on_progress, check=check)
        stray, result = retire_feed(place, feed, options, quiet=quiet)
    output.show_result(result, as_json)
    if not result.errors and not as_json:
        output.say(
            f"{feed} is retired: of {stray.users:,} {stray.what} under {stray.identity}, nothing is ours any more."
        )
    _exit(result)


@app.command()
def rename(
    old: Annotated[str, typer.Argument(metavar="OLD", help="The name under which it was sent.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="Its name in dbt_project.yml.")],
    project_dir: ProjectDir = Path(),
    target: Target = None,
    outputs: Annotated[
        bool, typer.Option("--to", help="OLD and NEW are outputs of destinations.yml, the same place.")
    ] = False,
    variables: Vars = "{}",
) -> None:
    """Let what a feed or output has go on under its new name. Nothing is sent.

    Example: aam rename crm_traits loyalty_traits
    """
    from aam_onboard.run import find_place, rename_output
    from aam_onboard.run import rename as rename_feed

    if outputs:
        where = rename_output(find_place(project_dir, target, new, _variables(variables)), old)
        output.say(f"What was delivered to {old} is what {new} has, {where}.")
        return
    stray = rename_feed(find_place(project_dir, target, None, _variables(variables)), old, new)
    output.say(f"{new} goes on where {old} was: {stray.users:,} {stray.what} under {stray.identity}.")


@app.command()
def forget(
    user_id: Annotated[str, typer.Argument(metavar="USER_ID", help="The ID as a file writes it.")],
    dpid: Annotated[int, typer.Option("--dpid", help="The data source of the ID.", min=0)],
    project_dir: ProjectDir = Path(),
    target: Target = None,
    variables: Vars = "{}",
    as_json: Json = False,
) -> None:
    """Erase a person. What was sent is withdrawn with the next delivery, everywhere; then the ID is forgotten here.

    Example: aam forget 00021 --dpid 58342
    """
    from aam_onboard.forget import Person
    from aam_onboard.run import ask_to_forget, find_place

    place = find_place(project_dir, target, None, _variables(variables))
    output.show_forgetting(ask_to_forget(place, Person(dpid, user_id)), as_json)


@app.command()
def receipts(
    files: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FILE...]",
            help="Mails (.eml, .txt), mailboxes (mbox, Maildir), folders; - for one on stdin.",
        ),
    ] = None,
    api: Annotated[
        bool, typer.Option("--api", help="Ask Audience Manager's API (vars.api), too or instead.")
    ] = False,
    project_dir: ProjectDir = Path(),
    target: Target = None,
    variables: Vars = "{}",
    as_json: Json = False,
) -> None:
    """Read what Audience Manager tells of our files, by mail or by its API. Each receipt counts once.

    Example: aam receipts Mail/adobe.mbox
    """
    output.start_logging(output.LogFormat.text)
    from aam_onboard.run import find_place, keep_receipts

    if not files and not api:
        raise ConfigError("name mails to read, or say --api")
    place = find_place(project_dir, target, None, _variables(variables))
    readings = keep_receipts(place, files or [], ask_api=api)
    for reading in readings:
        if reading.receipt is None:
            logging.getLogger("aam").warning("%s", f"{reading.where}: {reading.problem}")
        for warning in reading.warnings:
            logging.getLogger("aam").warning("%s", warning)
    output.show_receipts(readings, as_json)
    # of the API, nothing new is no mistake
    sys.exit(0 if any(reading.receipt for reading in readings) or not (files or readings) else 1)


@app.command()
def status(
    context: typer.Context,
    project_dir: ProjectDir = Path(),
    select: Select = None,
    target: Target = None,
    to: To = None,
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Look at the destination for files that were picked up.")
    ] = False,
    limit: Annotated[int, typer.Option("--limit", help="How many deliveries.", min=1, max=1_000_000)] = 20,
    variables: Vars = "{}",
    metrics_file: MetricsFile = None,
    as_json: Json = False,
    log_format: LogFormat = output.LogFormat.text,
) -> None:
    """Show deliveries and their files, picked up or not.

    Example: aam status --refresh --to production
    """
    output.start_logging(log_format)
    from aam_onboard import pickup, state
    from aam_onboard.receive import received_so_far
    from aam_onboard.run import find_place, located, looking
    from aam_onboard.run import refresh as refresh_files

    place = find_place(project_dir, target, to, _variables(variables))

    def of_old() -> list[str]:
        try:
            there = located(place)
            with looking(there) as warehouse:
                return state.names_of_old(warehouse, there.project)
        except AamError:  # nothing is built yet, or can't be asked
            return []

    feeds = place.project.select(select, also=of_old)
    place = located(place)
    if refresh:
        for file in refresh_files(place, _options(context, place.project)):
            logging.getLogger("aam").warning("%s", pickup.not_picked_up(place.project, file))
    with looking(place) as warehouse:
        state.require_build(warehouse, place.project)
        deliveries = state.read_deliveries(
            warehouse, place.project, destination=to, feeds=feeds if select else None, limit=limit
        )
        stories = [
            (found, state.read_files(warehouse, place.project, found.delivery_id)) for found in deliveries
        ]
        received = received_so_far(warehouse, place.project)
    if metrics_file is not None:
        from aam_onboard import metrics

        metrics.write(metrics_file, metrics.of_deliveries(stories))
    output.show_status(stories, received, as_json)


@app.command()
def check(
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILE...", help="Files or globs; - reads standard input, with --name."),
    ],
    name: Annotated[
        str | None, text_option("--name", help="The file name that standard input would have.")
    ] = None,
    decrypt: Annotated[
        bool, typer.Option("--decrypt", help="Read PGP files with the secret keys of your keyring.")
    ] = False,
    taxonomy: Annotated[
        Path | None,
        path_option(
            "--taxonomy",
            help="CSV of traits.",
            metavar="FILE",
            show_default="the project's seed traits.csv",
        ),
    ] = None,
    errors: Annotated[
        Path | None,
        path_option("--errors", metavar="FILE", help="Write the refused lines with reasons, as TSV."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Let --errors replace a file that is there.")
    ] = False,
    project_dir: ProjectDir = Path(),
    as_json: Json = False,
) -> None:
    """Check inbound and ID sync files. Of your making or anyone's, as Audience Manager would report on them.

    In a project, by its settings and traits; anywhere else, by Audience Manager's rules alone.

    Example: aam check 'out/*/*/*.gz' --errors refused.tsv
    """
    from aam_onboard.check import CheckReport, check_file, check_files, find_files
    from aam_onboard.config import find_project, package_rules

    if errors is not None and errors.is_file() and not overwrite:
        raise ConfigError(f"--errors {errors}: the file is there already; name another, or add --overwrite")
    project = find_project(project_dir)
    rules = project.rules if project else package_rules()
    traits = taxonomy or (project.taxonomy if project else None)
    try:
        if files == ["-"]:
            if name is None:
                raise ConfigError(
                    "standard input has no name; give the one that the file would have with --name"
                )
            stdin = sys.stdin.buffer
            report = CheckReport(
                [check_file(stdin, name, rules, taxonomy=traits, errors_to=errors, decrypt=decrypt)]
            )
        elif name is not None:
            raise ConfigError("--name goes with standard input: aam check - --name NAME")
        else:
            report = check_files(find_files(files), rules, taxonomy=traits, errors_to=errors, decrypt=decrypt)
    except OSError as error:
        if errors is None or error.filename is not None:
            raise
        # what a full disk says, while lines are written or at the end
        raise ConfigError(f"the errors file {errors} can't be written: {error.strerror}") from None
    output.show_check(report, as_json)
    sys.exit(0 if report.ok else 1)


@app.command()
def report(
    project_dir: ProjectDir = Path(),
    target: Target = None,
    out: Annotated[
        Path | None,
        path_option(
            "--out",
            metavar="FILE",
            help="Where the page goes.",
            show_default="aam_report.html beside what dbt makes",
        ),
    ] = None,
    days: Annotated[int, typer.Option("--days", help="How far back, in days.", min=1, max=36_500)] = 90,
    anonymous: Annotated[
        bool, typer.Option("--anonymous", help="Without samples of rejected rows, so without any user ID.")
    ] = False,
    open_it: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
    variables: Vars = "{}",
    log_format: LogFormat = output.LogFormat.text,
) -> None:
    """Make a page of what was sent, kept back and picked up: one HTML file, for everyone who must trust the feeds.

    Example: aam report --anonymous --out report.html
    """
    output.start_logging(log_format)
    from aam_onboard.report import make_report
    from aam_onboard.run import find_place

    path = make_report(
        find_place(project_dir, target, None, _variables(variables)), out, days, anonymous=anonymous
    )
    output.say(f"The page is {path}")
    if open_it:
        import webbrowser

        if not webbrowser.open(path.absolute().as_uri()):
            output.complain(f"no browser to open it with; open {path} yourself")


@app.command("id-sync-url")
def id_sync_url(
    dpid: Annotated[int, typer.Option("--dpid", help="The data source of the ID.", min=0)],
    user_id: Annotated[str, text_option("--id", help="The ID as it stands in your data, not encoded.")],
    redirect: Annotated[
        str | None, text_option("--redirect", help="Where to go next; ${DD_UUID} stands for the AAM UUID.")
    ] = None,
    gdpr: Annotated[
        int | None, typer.Option("--gdpr", help="1 where GDPR applies, else 0.", min=0, max=1)
    ] = None,
    gdpr_consent: Annotated[str | None, text_option("--gdpr-consent", help="The consent string.")] = None,
    project_dir: ProjectDir = Path(),
) -> None:
    """Print the URL that synchronises one ID over HTTP.

    In a project, the ID must be what its data source holds; anywhere else, a data source of your own holds any ID.

    Example: aam id-sync-url --dpid 58342 --id B00123
    """
    from aam_onboard.config import find_project, package_rules
    from aam_onboard.id_sync_url import id_sync_url as make_url

    project = find_project(project_dir)
    rules, sources = (project.rules, project.vars.data_sources) if project else (package_rules(), None)
    output.say(make_url(rules, sources, dpid, user_id, redirect, gdpr, gdpr_consent))


def program() -> NoReturn:
    """The program `aam`: main(), and out, for to take the interpreter apart would take a tenth of a second."""
    code: int | str | None = None
    try:
        main()
    except SystemExit as end:
        code = end.code
    with suppress(OSError):
        if sys.stderr:
            sys.stderr.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


def main() -> None:
    """The console command `aam`: errors become one clear line on stderr and the design's exit code."""
    # a scheduler's way to end a run; dbt, which runs for us, must end with it
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # What is imported stays: to look through it for garbage again and again takes an eighth of the start.
    gc.set_threshold(100_000, 20, 20)
    # a terminal that knows few letters gets the others escaped
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        _require_set("AAM_PROJECT_DIR", "AAM_LOG_FORMAT")
        try:
            app()
        finally:
            if sys.stdout:
                sys.stdout.flush()
    except AamError as error:
        output.complain(str(error))
        sys.exit(error.exit_code)
    except SystemExit as end:
        # what typer makes of a KeyboardInterrupt
        if end.code == 130:
            output.complain("interrupted; the next run finishes what is open")
        raise
    except BrokenPipeError:
        _mute()
        sys.exit(1)
    except Exception as error:
        if os.environ.get("AAM_TRACEBACK"):
            raise
        from aam_onboard.destinations.common import NO_ROOM

        if isinstance(error, OSError) and error.errno in NO_ROOM:  # of any other file it is an AamError
            _mute()
            output.complain(f"standard output can't be written: {error.strerror}")
        else:
            output.complain(
                f"unexpected {type(error).__name__}: {error}; this is a fault of aam, not of yours:"
                " run it again with AAM_TRACEBACK=1 and report what it prints"
            )
        sys.exit(1)


def _mute() -> None:
    """Let what is still to be printed go nowhere: where it should go it can't."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _options(
    context: typer.Context,
    project: Project,
    on_progress: Any = None,
    full: bool = False,
    check: bool | None = None,
    force: bool = False,
    force_feed: list[str] | None = None,
    metrics_file: Path | None = None,
) -> Options:
    from aam_onboard.running import Options, no_progress

    force_feeds = tuple(project.select(force_feed, "--force-feed")) if force_feed else ()
    command = context.command.name or ""
    on_progress = on_progress or no_progress
    return Options(full, check, force, force_feeds, on_progress, command, _as_given(context), metrics_file)


def _as_given(context: typer.Context) -> str:
    """The options of this command as they were written; of --vars the names alone, for a value may be a secret."""
    import shlex

    given: list[str] = []
    for param in context.command.params:
        source = context.get_parameter_source(param.name or "")
        if source is None or source.name != "COMMANDLINE":
            continue
        value = context.params[param.name or ""]
        names = [name for name in param.opts if name.startswith("--")]
        if names == ["--vars"]:
            value = ",".join(_variables(value))
        if isinstance(value, bool):
            given.append(names[0] if value else param.secondary_opts[0])
            continue
        for one in value if isinstance(value, (list, tuple)) else [value]:
            given += [*names[:1], getattr(one, "value", str(one))]
    return shlex.join(given)


def _require_set(*names: str) -> None:
    """The command line takes an empty variable for none."""
    for name in names:
        if os.environ.get(name) == "":
            raise ConfigError(f"{name} is empty: give it a value, or unset it")


def _variables(text: str) -> dict[str, object]:
    import json

    from aam_onboard.reading import parse_yaml, shown

    found = parse_yaml(text, f"--vars {shown(text)}")
    try:
        json.dumps(found, allow_nan=False)
    except (TypeError, ValueError):
        raise ConfigError(f"--vars {shown(text)}: put dates and numbers without end in quotes") from None
    for name, option in {"destination": "--to NAME", "full": "--full"}.items():
        if name in found:
            raise ConfigError(f"--vars: {name} is not for --vars; say it by {option}")
    return found


def _end(result: RunResult, as_json: bool) -> NoReturn:
    output.show_result(result, as_json)
    _exit(result)


def _exit(result: RunResult | ReceiveResult) -> NoReturn:
    """Tell the errors, and end with the code of the gravest."""
    for error in result.errors:
        output.complain(str(error))
    sys.exit(result.exit_code)
