"""What a person sees of the sandbox."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from aam_onboard.output import print_json, say, table
from aam_sandbox.export import Exported
from aam_sandbox.ingest import Ingested
from aam_sandbox.store import COUNTERS, Store

if TYPE_CHECKING:
    from aam_onboard.rehearse import Rehearsal

_SHOWN = (
    "records_received", "format_errors", "invalid_aam_id", "no_matching_aam_id", "no_trait_realized", "stored_records",
    "total_realized_traits", "total_removed_traits", "total_traits_failed_validation",
)  # fmt: skip


def show_jobs(store: Store, done: Ingested, as_json: bool) -> bool:
    """What an ingest has done: a row a job. Whether every file was processed."""
    jobs = store.rows("select * from jobs where job_id in (select unnest(?)) order by job_id", [done.jobs])
    for job in jobs:
        job["files"] = store.rows(
            "select * exclude (job_id) from job_files where job_id = ? order by name", [job["job_id"]]
        )
        job["samples"] = store.rows(
            "select * exclude (job_id) from job_samples where job_id = ?", [job["job_id"]]
        )
        job["receipt"] = str(store.folder / "receipts" / f"{job['job_id']:06}.eml")
    is_well = not done.left and all(file["outcome"] == "processed" for job in jobs for file in job["files"])
    if as_json:
        left = [{"file": file, "problem": problem} for file, problem in done.left]
        print_json({"ok": is_well, "jobs": jobs, "left": left, "finished": done.finished})
        return is_well
    if not jobs and not done.left:
        say("Nothing waits there.")
        return is_well
    _show_receipts("Receipts", jobs, [[file["name"] for file in job["files"]] for job in jobs])
    for job in jobs:
        for file in job["files"]:
            if file["problem"]:
                say(f"{file['name']} was deleted, as Audience Manager does: {file['problem']}.")
    for file, problem in done.left:
        say(f"{file} was left: {problem}.")
    return is_well


def show_exports(exports: Sequence[Exported], as_json: bool) -> None:
    """What was sent, a row a file as it was put."""
    if as_json:
        print_json({"exports": [asdict(export) for export in exports]})
        return
    for export in exports:
        for key in export.keys:
            say(key)
        users = "1 user" if export.users == 1 else f"{export.users:,} users"
        say(f"destination {export.destination_id}: {export.mode}, {users}")


def _show_receipts(title: str, jobs: list[dict[str, Any]], files: list[Any]) -> None:
    heads = [COUNTERS[counter].lower().removeprefix("total ") for counter in _SHOWN]
    rows = [(file, *(job[counter] for counter in _SHOWN)) for job, file in zip(jobs, files, strict=True)]
    table(title, ("file", *heads), rows, numbers=heads)


def show_rehearsal(rehearsal: Rehearsal, as_json: bool) -> None:
    """What a delivery would change, a row a trait or segment."""
    if as_json:
        print_json(rehearsal.to_json())
        return
    if not rehearsal.feeds:
        say(
            f"Nothing would be delivered to {rehearsal.destination}: the last build is there, or changes nothing."
        )
        return
    files = [receipt["file"] for receipt in rehearsal.receipts]
    _show_receipts(f"Receipts of a delivery to {rehearsal.destination}", rehearsal.receipts, files)
    for title, changes in (("Traits", rehearsal.traits), ("Segments", rehearsal.segments)):
        changed = [one for one in changes if one.gained or one.lost]
        rows = [(str(one.sid), one.name, one.before, one.after, one.gained, one.lost) for one in changed]
        numbers = ("before", "after", "gained", "lost")
        if rows:
            table(f"{title} that change, in profiles", ("ID", "name", *numbers), rows, numbers=numbers)
        elif changes:
            say(f"No one of {len(changes):,} {title.lower()} changes.")
    for feed, guard in rehearsal.guards.items():
        say(f"Feed {feed} would be stopped: {guard}.")


def show_profile(profile: dict[str, Any], as_json: bool) -> None:
    """Traits and segments, and the IDs that belong together."""
    if as_json:
        print_json(profile)
        return
    if profile["opted_out"]:
        say(f"{profile['user_id']} opted out: nothing is kept of it.")
        return
    if not profile["known"]:
        say(f"Nothing is known of {profile['user_id']} in data source {profile['dpid']}.")
        return
    for title, found in (
        ("Devices", profile["devices"]),
        ("Customers' IDs that lead to it", profile["ids"]),
    ):
        if found:
            table(title, ("data source", "ID"), [(str(one["dpid"]), one["id"]) for one in found])
    traits = [(str(one["sid"]), one["name"], f"{one['since']:%Y-%m-%d %H:%M}") for one in profile["traits"]]
    if traits:
        table("Traits", ("ID", "name", "since (UTC)"), traits)
    else:
        say("It has no traits.")
    if profile["segments"]:
        table("Segments", ("ID", "name"), [(str(one["sid"]), one["name"]) for one in profile["segments"]])


def show_sizes(sizes: dict[str, Any], as_json: bool) -> None:
    """Traits and segments with those who are in them."""
    if as_json:
        print_json(sizes)
        return
    for title, found in (("Traits", sizes["traits"]), ("Segments", sizes["segments"])):
        rows = [(str(one["sid"]), one["name"], one["users"]) for one in found]
        if rows:
            table(
                f"{title}, in IDs of data source {sizes['dpid']}",
                ("ID", "name", "users"),
                rows,
                numbers=("users",),
            )
        else:
            say(f"Nobody of data source {sizes['dpid']} is in any of the {title.lower()}.")
