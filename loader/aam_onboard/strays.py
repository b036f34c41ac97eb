"""What lies at Audience Manager under a name or an identity that the project no longer has, and the ways out.

What a feed has sent belongs to data sources: under which ones, the names of its files say. A feed that is renamed,
removed or pointed elsewhere leaves it there, and opt-outs never reach it again. So nothing is built upon such a state.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aam_onboard import filenames, state
from aam_onboard.errors import ConfigError, GuardError
from aam_onboard.state import Delivery

if TYPE_CHECKING:
    from aam_onboard.config import Project
    from aam_onboard.running import Run
    from aam_onboard.warehouse import Warehouse

log = logging.getLogger("aam")


@dataclass(frozen=True)
class Stray:
    """A feed or ID sync whose last delivery does not fit what the project says of that name today.

    `users`: of whom something lies there; of an ID sync, rows. `now`: the identity that the project gives to the name.
    """

    last: Delivery
    dpids: tuple[int, ...]
    users: int
    now: str | None

    @property
    def feed(self) -> str:
        """The name that it was sent under."""
        return self.last.feed

    @property
    def what(self) -> str:
        """What `users` counts."""
        return "users" if self.last.kind == "data" else "ID pairs"

    @property
    def identity(self) -> str:
        """`58342 → 58344, dpuuid`: data sources and the type of the IDs."""
        return _identity(self.dpids, self.last.id_type)

    @property
    def says(self) -> str:
        """What lies where, and the ways out."""
        feed = self.feed
        lies = f"{self.users:,} {self.what} of feed {feed} lie at Audience Manager under {self.identity},"
        if self.now is None:
            return (
                f"{lies} but dbt_project.yml has no such feed: put it back, or, where it has another name now,"
                f" `aam rename {feed} NEW`, or `aam retire {feed}` to {_retired(self.last)}"
            )
        return (
            f"{lies} but dbt_project.yml has it as {self.now}: put that back, or `aam retire {feed}` to"
            f" {_retired(self.last)}; the next run then sends everything anew"
        )

    def to_json(self) -> dict[str, Any]:
        """The stable form for scripts."""
        return {
            "feed": self.feed,
            "kind": self.last.kind,
            "destination": self.last.destination,
            "dpids": list(self.dpids),
            "id_type": self.last.id_type,
            "users": self.users,
            "now": self.now,
        }


def _retired(last: Delivery) -> str:
    return "withdraw it" if last.kind == "data" else "forget them (Audience Manager keeps ID pairs)"


def _identity(dpids: Sequence[int], id_type: str | None) -> str:
    return " → ".join(map(str, dpids)) + (f", {id_type}" if id_type else "")


def dpids_of(delivery: Delivery) -> tuple[int, ...] | None:
    """The DPIDs in the names of a delivery's files; None for names that are none of ours."""
    try:
        name = filenames.parse(f"{delivery.file_root}.gz")
    except filenames.FileNameError:
        return None
    if isinstance(name, filenames.InboundName):
        return (name.dpid,) if name.target_dpid is None else (name.dpid, name.target_dpid)
    return tuple(name.dpids) if isinstance(name, filenames.IdSyncName) else None


def find_strays(warehouse: Warehouse, project: Project, destination: str) -> list[Stray]:
    """What the destination has under names or identities that `project` does not know."""
    return _strays_among(warehouse, project, state.last_sent(warehouse, project, destination))


def what_stops(
    warehouse: Warehouse, project: Project, destination: str, place: str
) -> tuple[list[Stray], str]:
    """What would stop every delivery to a destination: strays, and that it is another place now (`moved`)."""
    sent = state.last_sent(warehouse, project, destination)
    return _strays_among(warehouse, project, sent), moved(sent, place)


def _strays_among(warehouse: Warehouse, project: Project, deliveries: Sequence[Delivery]) -> list[Stray]:
    strays = []
    for last in deliveries:
        sent = dpids_of(last)
        now = _identity_now(project, last.feed)
        if sent is None or _is_same(last, sent, now):
            continue
        users = state.users_there(warehouse, project, last)
        if users:
            said = (
                _identity(now[1], now[2]) + (", an ID sync" if now[0] == "id_sync" else "") if now else None
            )
            strays.append(Stray(last, sent, users, said))
    return strays


_Identity = tuple[str, tuple[int, ...], str | None]


def _identity_now(project: Project, name: str) -> _Identity | None:
    """Kind, DPIDs and id type that the project gives to a name."""
    if name in project.vars.id_syncs:
        return "id_sync", tuple(project.dpids_of(name)), None
    if name in project.vars.feeds:
        return "data", tuple(project.dpids_of(name)), project.vars.feeds[name].id_type
    return None


def _is_same(last: Delivery, sent: tuple[int, ...], now: _Identity | None) -> bool:
    """Whether what was sent is what a name stands for today."""
    return now is not None and now[:2] == (last.kind, sent) and last.id_type in (None, now[2])


def moved(sent: Sequence[Delivery], place: str) -> str:
    """What to say of an output that is another place than what was sent went to; empty when it is the same."""
    for last in sent:
        if last.place not in (None, place):
            name = last.destination
            return (
                f"output {name} of destinations.yml is {place}, but what it has went to {last.place}: if that is"
                f" the same place with another address, `aam rename --to {name} {name}`; else give the output another"
                " name, and everything is sent there"
            )
    return ""


def require_none(run: Run) -> None:
    """Raise GuardError when something was sent that today's feeds would never take back, or to another place."""
    sent = state.last_sent(run.warehouse, run.project, run.destination.name)
    if elsewhere := moved(sent, run.place):
        raise GuardError(elsewhere)
    if run.project.vars.retired:  # the build that takes one back
        return
    if strays := _strays_among(run.warehouse, run.project, sent):
        raise GuardError("; ".join(stray.says for stray in strays))


def rename_output(run: Run, old: str) -> None:
    """Let what one output has be what the run's output has. Raises ConfigError where either says otherwise."""
    new = run.destination.name
    if not state.read_deliveries(run.warehouse, run.project, destination=old, limit=1):
        raise ConfigError(f"nothing was ever delivered to an output {old}")
    if new != old and state.read_deliveries(run.warehouse, run.project, destination=new, limit=1):
        raise ConfigError(
            f"output {new} has deliveries of its own: what {old} has can't become its own as well"
        )
    state.rename_destination(run.warehouse, run.project, old, new, run.place)


def stray_of(warehouse: Warehouse, project: Project, destination: str, feed: str) -> Stray:
    """The stray of this name. Raises ConfigError when there is none: nothing is there, or it is as the project says."""
    strays = {stray.feed: stray for stray in find_strays(warehouse, project, destination)}
    if feed in strays:
        return strays[feed]
    others = f"; there are {', '.join(strays)}" if strays else ""
    if feed in project.feed_names:
        raise ConfigError(
            f"{feed} is in dbt_project.yml, as what it was sent; take it out of there first, and its model{others}"
        )
    raise ConfigError(f"nothing of a feed {feed} lies at destination {destination}{others}")


def as_retired(project: Project, stray: Stray) -> Mapping[str, Any]:
    """The vars under which a build takes back all that a stray has sent: it alone, as it was sent, without rows."""
    dpid, *target = stray.dpids
    id_type = stray.last.id_type or project.rules.global_id_type(dpid) or _id_type_of(project, dpid)
    # an overwrite would erase what another feed has there today
    shared = any(
        tuple(project.dpids_of(name)) == stray.dpids for name in project.vars.feeds if name != stray.feed
    )
    feed = {"dpid": dpid, "id_type": id_type, "mode": "sync" if shared else stray.last.mode}
    return {"retired": {stray.feed: feed | ({"target_dpid": target[0]} if target else {})}}


def _id_type_of(project: Project, dpid: int) -> str:
    source = project.vars.data_sources.get(dpid)
    return source.id_type if source else "dpuuid"


def close_retired(warehouse: Warehouse, project: Project, destination: str, feeds: Sequence[str]) -> None:
    """After all was withdrawn that can be: the state forgets the feed, and a warning tells what stays there."""
    for feed in feeds:
        staying = sum(state.rejected_reasons(warehouse, project).get(feed, {}).values())
        if staying:
            log.warning(
                "%s",
                f"feed {feed}: {staying:,} signals stay at Audience Manager: a sync file can't take them back (all but"
                " traits); ask Adobe to remove them, or let them expire",
            )
        state.forget_sent(warehouse, project, destination, feed)


def rename(warehouse: Warehouse, project: Project, old: str, new: str) -> Stray:
    """Let what was sent under one name, to whatever destination, go on under another of the same identity.

    Raises ConfigError where the names do not fit.
    """
    sent = state.read_deliveries(warehouse, project, feeds=[old], limit=1)
    stray = stray_of(warehouse, project, sent[0].destination if sent else "any", old)
    now = _identity_now(project, new)
    if now is None:
        raise ConfigError(f"dbt_project.yml has no feed {new}; known feeds: {', '.join(project.feed_names)}")
    if not _is_same(stray.last, stray.dpids, now):
        raise ConfigError(
            f"{old} was sent under {stray.identity}, and {new} is {_identity(*now[1:])}: they are not the same;"
            f" `aam retire {old}` withdraws what was sent"
        )
    if state.read_deliveries(warehouse, project, feeds=[new], limit=1):
        raise ConfigError(
            f"{new} has sent something under its own name already; `aam retire {old}` withdraws what {old} sent"
        )
    state.rename_feed(warehouse, project, old, new)
    return stray
