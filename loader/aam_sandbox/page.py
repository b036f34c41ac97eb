"""The page at `/`: what the sandbox knows, for a person to look at. One document, without a script or a network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from aam_onboard.errors import ConfigError
from aam_sandbox.profile import profile_of
from aam_sandbox.segments import fill_memberships
from aam_sandbox.store import COUNTERS

if TYPE_CHECKING:
    from jinja2 import Template

    from aam_sandbox.store import Store

_MOST_JOBS = 50
_MOST_TRAITS = 500
_MOST_SEGMENTS = 500
_MOST_COUNTED = 500_000  # qualifications, for a page that comes at once


@dataclass(frozen=True)
class Asked:
    """The profile that the page's form asks for."""

    dpid: int | None = None
    user_id: str | None = None
    problem: str | None = None


def render_page(store: Store, query: Mapping[str, str], nonce: str) -> str:
    """The page. `query`: the parameters of its form; `nonce`: what the policy of its answer allows."""
    asked, profile = _profile(store, _asked(query))
    jobs = _jobs(store)
    traits = store.rows(
        "with sizes as (select sid, count(*) as size from profile_traits group by sid)"
        " select sid, name, dpid, rule, coalesce(size, 0) as size,"
        "  if(trait_type = 'ON_BOARDED_TRAIT', 'onboarded', 'rule-based') as kind"
        f" from traits left join sizes using (sid) order by size desc, sid limit {_MOST_TRAITS}"
    )
    counts = {
        "mappings of IDs to devices": store.value("select count(*) from id_mappings"),
        "qualifications for a trait": store.value("select count(*) from profile_traits"),
        "traits": store.value("select count(*) from traits"),
        "jobs": store.value("select count(*) from jobs"),
    }
    is_counted = counts["qualifications for a trait"] <= _MOST_COUNTED
    return _template().render(
        nonce=nonce,
        asked=asked,
        profile=profile,
        counts=counts,
        jobs=jobs,
        more_jobs=counts["jobs"] - len(jobs),
        traits=traits,
        more_traits=counts["traits"] - len(traits),
        segments=_segments(store, is_counted),
        segments_counted=is_counted,
        destinations=_destinations(store),
        data_sources=_data_sources(store),
    )


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("aam_sandbox"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["grouped"] = lambda number: "" if number is None else f"{number:,}"
    environment.filters["clock"] = _clock
    return environment.get_template("page.html")


def _clock(at: datetime | None) -> str:
    return "" if at is None else f"{at:%Y-%m-%d %H:%M:%S}"


def _asked(query: Mapping[str, str]) -> Asked:
    dpid, user_id = query.get("dpid", ""), query.get("id", "")
    if not query.keys() & {"dpid", "id"}:
        return Asked()
    if not (dpid.isascii() and dpid.isdigit() and len(dpid) <= 18):
        return Asked(None, None, "A data source is a number.")
    if not user_id:
        return Asked(int(dpid), None, "Give an ID.")
    return Asked(int(dpid), user_id)


def _profile(store: Store, asked: Asked) -> tuple[Asked, dict[str, Any] | None]:
    if asked.dpid is None or asked.user_id is None:
        return asked, None
    try:
        return asked, profile_of(store, asked.dpid, asked.user_id)
    except ConfigError:
        return replace(asked, problem=f"The sandbox has no data source {asked.dpid}."), None


def _jobs(store: Store) -> list[dict[str, Any]]:
    jobs = store.rows(f"select * from jobs order by job_id desc limit {_MOST_JOBS}")
    of_these = f"job_id in (select job_id from jobs order by job_id desc limit {_MOST_JOBS})"
    files = store.rows(f"select * from job_files where {of_these} order by name")
    samples = store.rows(f"select * from job_samples where {of_these} order by error, file, line_number")
    for job in jobs:
        job["files"] = [file for file in files if file["job_id"] == job["job_id"]]
        job["samples"] = [sample for sample in samples if sample["job_id"] == job["job_id"]]
        job["counters"] = [(label, job[column]) for column, label in COUNTERS.items()]
    return jobs


def _segments(store: Store, is_counted: bool) -> list[dict[str, Any]]:
    """With their sizes in devices, for that is what all IDs come down to."""
    fill_memberships(store.connection, 0, "select sid from segments" + ("" if is_counted else " where false"))
    size = "if($1 and status = 'ACTIVE', coalesce(size, 0), null)"
    return store.rows(
        f"select sid, name, rule, status, {size} as size from segments"
        " left join (select sid, count(*) as size from memberships group by sid) using (sid)"
        f" order by sid limit {_MOST_SEGMENTS}",
        [is_counted],
    )


def _destinations(store: Store) -> list[dict[str, Any]]:
    return store.rows(
        "with last as (select * from exports"
        " qualify row_number() over (partition by destination_id order by export_id desc) = 1)"
        " select destination_id, name, master_dpid, file_name, ended_at, received_records"
        " from destinations left join last using (destination_id) order by destination_id"
    )


def _data_sources(store: Store) -> list[dict[str, Any]]:
    return store.rows(
        "with traits_of as (select dpid, count(*) as traits from traits group by dpid),"
        " mappings_of as (select dpid, count(*) as mappings from id_mappings group by dpid)"
        " select data_sources.*, coalesce(traits, 0) as traits, coalesce(mappings, 0) as mappings"
        " from data_sources left join traits_of using (dpid) left join mappings_of using (dpid)"
        " order by owned desc, dpid"
    )
