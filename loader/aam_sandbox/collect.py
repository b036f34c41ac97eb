"""What comes from web pages and e-mails one ID at a time: ID syncs by HTTP, event calls, opt-outs.

[id-sync-http, declared-ids]
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, unquote, unquote_to_bytes

from aam_onboard.errors import AamError
from aam_onboard.id_sync_url import UUID_MACRO, broken_rule
from aam_sandbox.mappings import add_mappings
from aam_sandbox.trait_rules import parse_trait_rule

if TYPE_CHECKING:
    from aam_onboard.rules import Rules
    from aam_sandbox.store import Store

AAM_UUID = 0
_UUID = re.compile(r"[0-9]{38}")
_BETWEEN = "\x01"  # a DPID, this, and the ID


class CallError(AamError):
    """A call that says nothing that could be used; the message tells its sender why."""


@dataclass(frozen=True)
class DeclaredId:
    """An ID of a data source, as a call declares it."""

    dpid: int
    user_id: str


@dataclass(frozen=True)
class HttpSync:
    """What an ID sync's URL asks for."""

    declared: DeclaredId
    redirect: str | None


def parse_http_sync(text: str) -> HttpSync:
    """What stands behind `ibs:` in the URL's path, still percent-encoded. Raises CallError."""
    given: dict[str, str] = {}
    for key, value in _pairs(text):
        if key in given:
            raise CallError(f"{key} stands twice in the URL")
        given[key] = value
    for key in ("dpid", "dpuuid"):
        if not given.get(key):
            raise CallError(f"{key} is missing: ibs:dpid=<DPID>&dpuuid=<ID> is the order")
    if ("gdpr" in given) != ("gdpr_consent" in given):
        raise CallError("gdpr and gdpr_consent go together: give both or neither")
    if given.get("gdpr", "0") not in ("0", "1"):
        raise CallError("gdpr is 0 or 1")
    return HttpSync(
        DeclaredId(_number("dpid", given["dpid"]), given["dpuuid"]),
        _redirect(given["redir"]) if "redir" in given else None,
    )


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    for pair in text.split("&"):
        key, _, value = pair.partition("=")
        try:
            yield unquote(key), unquote_to_bytes(value).decode()
        except UnicodeDecodeError:
            raise CallError(f"{key[:50]}: the value is no percent-encoded UTF-8") from None


def _number(what: str, text: str) -> int:
    if not re.fullmatch("[0-9]{1,18}", text):
        raise CallError(f"{what} is a number such as 58342")
    return int(text)


def _redirect(url: str) -> str:
    if not re.match("https?://[^/?#]", url, re.IGNORECASE) or not url.isprintable():
        raise CallError("redir is an address that begins with https:// or http://, percent-encoded")
    return url


def redirect_to(url: str, uuid: str) -> str:
    """The address with the AAM UUID in the place of its macro, as a header may hold it."""
    return quote(url.replace(UUID_MACRO, uuid), safe="!#$%&'()*+,/:;=?@[]~")


def parse_parameters(query: bytes) -> list[tuple[str, str]]:
    """Keys and values of a query or form. Raises CallError."""
    try:
        return parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=1000)
    except ValueError:  # which UnicodeDecodeError is
        raise CallError("the parameters are no percent-encoded UTF-8, or more than 1,000") from None


def parse_declared_ids(store: Store, parameters: Sequence[tuple[str, str]]) -> list[DeclaredId]:
    """The IDs of `d_cid` and `d_cid_ic`, which may stand several times. Raises CallError."""
    found = []
    for key, value in parameters:
        if key not in ("d_cid", "d_cid_ic"):
            continue
        source, between, rest = value.partition(_BETWEEN)
        user_id = rest.partition(_BETWEEN)[0]  # an authentication state may follow
        if not between or not user_id:
            raise CallError(f"{key} is a data source, %01, and an ID")
        found.append(DeclaredId(_source(store, key, source), user_id))
    return found


def _source(store: Store, key: str, source: str) -> int:
    if key == "d_cid":
        return _number("the data source of d_cid", source)
    dpids = store.rows("select dpid from data_sources where integration_code = ?", [source])
    if len(dpids) != 1:
        raise CallError("d_cid_ic names no data source, or more than one, by its integration code")
    return int(dpids[0]["dpid"])


def device_of(cookie: str | None) -> str:
    """The AAM UUID of a browser: that of its cookie, or a new one."""
    if cookie is not None and _UUID.fullmatch(cookie):
        return cookie
    return f"{secrets.randbelow(10**38):038}"


def sync_ids(store: Store, rules: Rules, uuid: str, declared: Sequence[DeclaredId]) -> None:
    """Map IDs to a device, within Audience Manager's limits; nothing of those that opted out.

    Raises CallError for an ID that Audience Manager would not take: an unknown data source, a wrong format, PII.
    """
    for one in declared:
        _require_good(store, rules, one)
    device = DeclaredId(AAM_UUID, uuid)
    if _is_opted_out(store, device):
        return
    with store.transaction() as connection:
        connection.execute(
            "create or replace temp table called"
            " (dpid bigint, user_id varchar, device_dpid bigint, device_id varchar, seen bigint)"
        )
        for number, one in enumerate(declared, start=1):
            if not _is_opted_out(store, one):
                row = [one.dpid, one.user_id, AAM_UUID, uuid, number]
                connection.execute("insert into called values (?, ?, ?, ?, ?)", row)
        add_mappings(connection, "from called")


def _require_good(store: Store, rules: Rules, declared: DeclaredId) -> None:
    id_type = rules.global_id_type(declared.dpid) or store.value(
        "select id_type from data_sources where dpid = ?", [declared.dpid]
    )
    if id_type is None:
        raise CallError(f"data source {declared.dpid} is unknown")
    if declared.dpid == AAM_UUID:
        raise CallError("data source 0 is the device's own: its ID comes by cookie")
    reason = broken_rule(rules, id_type, declared.user_id)
    if reason:
        raise CallError(f"this is no ID of data source {declared.dpid}: {rules.says(reason)} ({reason})")


def _is_opted_out(store: Store, declared: DeclaredId) -> bool:
    sql = "select 1 from opt_outs where dpid = ? and user_id = ? limit 1"
    return store.value(sql, [declared.dpid, declared.user_id]) is not None


def take_event(
    store: Store, uuid: str, declared: Sequence[DeclaredId], signals: Sequence[tuple[str, str]]
) -> list[int]:
    """Qualify a device for the rule-based traits that an event's signals fulfil; return their IDs.

    So do the IDs of cross-device data sources that it declares. Nobody who opted out qualifies. What was so before
    stays as it was.
    """
    with store.transaction() as connection:
        connection.execute("create or replace temp table signals (key varchar, value varchar)")
        for key, value in signals:
            connection.execute("insert into signals values (lower(?), lower(?))", [key, value])
        realized = [
            row["sid"]
            for row in store.rows(
                "select sid, rule from traits"
                " where trait_type = 'RULE_BASED_TRAIT' and status = 'ACTIVE' and rule is not null order by sid"
            )
            if _holds(store, row["rule"])
        ]
        profiles = [DeclaredId(AAM_UUID, uuid)]
        profiles += [
            one
            for one in declared
            if store.value("select cross_device from data_sources where dpid = ?", [one.dpid])
        ]
        for profile in profiles:
            if not _is_opted_out(store, profile):
                _qualify(store, profile, realized)
    return realized


def _holds(store: Store, rule: str) -> Any:
    condition = parse_trait_rule(rule).condition(
        lambda comparison: f"exists (select 1 from signals where {comparison.holds()})"
    )
    return store.value(f"select {condition}")


def _qualify(store: Store, profile: DeclaredId, sids: Sequence[int]) -> None:
    store.connection.execute(
        """
        insert into qualifications (dpid, user_id, sids, since, ordinal)
        select $1, $2, [sid], now()::timestamp, last.ordinal + row_number() over (order by sid)
        from (select unnest($3) as sid), (select coalesce(max(ordinal), 0) as ordinal from qualifications) as last
        where sid not in (select sid from profile_traits where dpid = $1 and user_id = $2)
        """,
        [profile.dpid, profile.user_id, list(sids)],
    )


def opt_out(store: Store, rules: Rules, uuid: str | None, declared: Sequence[DeclaredId]) -> None:
    """Collect nothing more of these IDs, and forget what is known of them; of the device without any.

    Raises CallError as sync_ids does.
    """
    for one in declared:
        _require_good(store, rules, one)
    opted_out = list(declared) or ([DeclaredId(AAM_UUID, uuid)] if uuid is not None else [])
    with store.transaction() as connection:
        for one in opted_out:
            pair = [one.dpid, one.user_id]
            connection.execute("delete from id_mappings where dpid = ? and user_id = ?", pair)
            connection.execute("delete from id_mappings where device_dpid = ? and device_id = ?", pair)
            connection.execute("delete from qualifications where dpid = ? and user_id = ?", pair)
            if not _is_opted_out(store, one):
                connection.execute("insert into opt_outs values (?, ?, now()::timestamp)", pair)
