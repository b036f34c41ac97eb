"""Who is in which segment: a segment's rule over the traits that an ID of a data source has."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from aam_onboard.errors import ConfigError

if TYPE_CHECKING:
    import duckdb

# A trait's ID, which Audience Manager's own pages also write with a T behind it.
_TOKEN = re.compile(
    r"\s*(?:(?P<sid>[0-9]{1,18})[Tt]?\b|(?P<word>AND|OR|NOT)\b|(?P<sign>[()]))", re.IGNORECASE
)
_DEEPEST = 100


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
    return _Parser(rule).parsed()


class _Parser:
    def __init__(self, rule: str) -> None:
        self._rule = rule
        self._at = 0
        self._depth = 0
        self._sids: dict[int, None] = {}
        self._next()

    def parsed(self) -> SegmentRule:
        condition = self._either()
        if self._word:
            self._wrong("AND, OR or the end stands there")
        return SegmentRule(condition, tuple(self._sids))

    def _next(self) -> None:
        found = _TOKEN.match(self._rule, self._at)
        self._start = found.start(found.lastgroup or 0) if found else self._at
        if found:
            self._at = found.end()
            self._word = found[found.lastgroup or 0].upper()
        elif self._rule[self._at :].strip():
            self._start += len(self._rule[self._at :]) - len(self._rule[self._at :].lstrip())
            self._wrong("only trait IDs, AND, OR, NOT and parentheses stand in a segment's rule")
        else:
            self._word = ""
            self._start = len(self._rule)

    def _either(self) -> str:
        return self._joined("OR", lambda: self._joined("AND", self._one))

    def _joined(self, word: str, member: Callable[[], str]) -> str:
        members = [member()]
        while self._word == word:
            self._next()
            members.append(member())
        return members[0] if len(members) == 1 else f"({f' {word.lower()} '.join(members)})"

    def _one(self) -> str:
        self._depth += 1
        if self._depth > _DEEPEST:
            self._wrong(f"more than {_DEEPEST} levels of NOT and parentheses")
        word = self._word
        if word.isdigit():
            self._next()
            self._sids[int(word)] = None
            condition = f"map_contains(traits, {int(word)})"
        elif word == "NOT":
            self._next()
            condition = f"(not {self._one()})"
        elif word == "(":
            self._next()
            condition = self._either()
            if self._word != ")":
                self._wrong("a closing parenthesis is missing")
            self._next()
        else:
            self._wrong("a trait ID, NOT or a parenthesis stands there")
        self._depth -= 1
        return condition

    def _wrong(self, what: str) -> NoReturn:
        raise SegmentRuleError(f"segment rule `{self._rule}`, character {self._start + 1}: {what}")


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
