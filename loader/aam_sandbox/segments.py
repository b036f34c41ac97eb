"""Who is in which segment: a segment's rule over the traits that an ID of a data source has."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from aam_onboard.errors import ConfigError
from aam_sandbox.logic import LogicParser

if TYPE_CHECKING:
    import duckdb

# A trait's ID, which Audience Manager's own pages also write with a T behind it.
_TOKEN = re.compile(
    r"\s*(?:(?P<sid>[0-9]{1,18})[Tt]?\b|(?P<word>AND|OR|NOT)\b|(?P<sign>[()]))", re.IGNORECASE
)


class SegmentRuleError(ConfigError):
    """A rule that can't be read; the message points at the character."""


@dataclass(frozen=True)
class SegmentRule:
    """A rule as SQL over a column `traits`, a map of a user's trait IDs and the time since when; and its trait IDs."""

    condition: str
    sids: tuple[int, ...]

    @property
    def since(self) -> str:
        """When the user came by the newest of the rule's traits, as SQL; null without any."""
        return f"list_max([{', '.join(f'traits[{sid}]' for sid in self.sids)}])"


def parse_segment_rule(rule: str) -> SegmentRule:
    """A rule of trait IDs with AND, OR, NOT and parentheses; NOT binds closest, OR least.

    Raises SegmentRuleError that points at the character that is wrong.
    """
    parser = _Parser(rule)
    condition = parser.parsed()
    return SegmentRule(condition, tuple(parser.sids))


class _Parser(LogicParser[str]):
    token = _TOKEN

    def __init__(self, rule: str) -> None:
        self.sids: dict[int, None] = {}
        super().__init__(rule)

    def member(self) -> str:
        if self.kind != "sid":
            self.wrong("a trait ID, NOT or a parenthesis stands there")
        sid = int(self.text)
        self.next()
        self.sids[sid] = None
        return f"map_contains(traits, {sid})"

    def negated(self, part: str) -> str:
        return f"(not {part})"

    def joined(self, word: str, parts: Sequence[str]) -> str:
        return f"({f' {word} '.join(parts)})"

    def unread(self, rest: str) -> NoReturn:
        self.wrong("only trait IDs, AND, OR, NOT and parentheses stand in a segment's rule")

    def wrong(self, what: str) -> NoReturn:
        raise SegmentRuleError(f"segment rule `{self.rule}`, character {self.start + 1}: {what}")


# What visible_traits says of all, for the IDs of one data source and the traits that matter.
_HELD = """
create or replace temp table held as
with recursive below as (
    select user_id, device_dpid as dpid, device_id as id from id_mappings where dpid = $1
    union
    select below.user_id, id_mappings.device_dpid, id_mappings.device_id
    from below inner join id_mappings on below.dpid = id_mappings.dpid and below.id = id_mappings.user_id
),

above as (
    select device_id as user_id, dpid, user_id as id from id_mappings where device_dpid = $1
    union
    select above.user_id, id_mappings.dpid, id_mappings.user_id
    from above
    inner join id_mappings on above.dpid = id_mappings.device_dpid and above.id = id_mappings.device_id
),

profiles as (
    select dpid, user_id as id, sid, since
    from profile_traits anti join opt_outs using (dpid, user_id)
    where list_contains($2, sid)
)

select user_id, sid, max(since) as since
from (
    select id as user_id, sid, since from profiles where dpid = $1
    union all
    select below.user_id, sid, since from below inner join profiles using (dpid, id)
    union all
    select above.user_id, sid, since from above inner join profiles using (dpid, id)
)
anti join (select user_id from opt_outs where dpid = $1) using (user_id)
group by user_id, sid
"""


def fill_memberships(
    connection: duckdb.DuckDBPyConnection, dpid: int, sids: str, parameters: Sequence[Any] = ()
) -> None:
    """Fill the temporary table `memberships` (user_id, sid, since) of a data source's IDs.

    `sids`: a query of the segments and traits that matter. Only active segments have anyone in them. Raises
    SegmentRuleError.
    """
    wanted = [sid for (sid,) in connection.execute(sids, list(parameters)).fetchall()]
    segments = connection.execute(
        "select sid, rule from segments where status = 'ACTIVE' and list_contains(?, sid) order by sid",
        [wanted],
    ).fetchall()
    rules = {sid: parse_segment_rule(rule or "") for sid, rule in segments}
    of_rules = [sid for rule in rules.values() for sid in rule.sids]
    connection.execute(_HELD, [dpid, [*wanted, *of_rules]])
    connection.execute(
        "create or replace temp table memberships as select * from held where list_contains(?, sid)", [wanted]
    )
    if not rules:
        return
    connection.execute(
        "create or replace temp table known as"
        " select user_id,"
        "  coalesce(map_from_entries(list((sid, since)) filter (list_contains($2, sid))), map {}) as traits"
        " from known_ids left join held using (user_id) where dpid = $1 group by user_id",
        [dpid, of_rules],
    )
    for sid, rule in rules.items():
        connection.execute(
            f"insert into memberships select user_id, {int(sid)}, {rule.since} from known where {rule.condition}"
        )
