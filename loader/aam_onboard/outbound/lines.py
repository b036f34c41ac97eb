"""The lines of outbound files, as DuckDB's SQL reads them: a form a kind of template, a reason for what fits none.

DuckDB reads files for every warehouse, so that this stands once; what it makes of them goes in bulk where it belongs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from aam_onboard.outbound.unpack import LONGEST_LINE, NO_COLUMN, NO_NULL
from aam_onboard.warehouse import SQL_SEPARATOR

if TYPE_CHECKING:
    from aam_onboard.config import Outbound
    from aam_onboard.rules import IdType

_SEPARATORS = {"space": " ", "two_spaces": "  ", "tab": "\t", "soh": "\x01"}

SAYS = {
    "no_utf8": "the line is no UTF-8",
    "control_character": "the line holds a NUL or another control character",
    "line_too_long": f"the line is longer than {LONGEST_LINE:,} bytes",
    "separator_unknown": "two fields whose separator can't be told: the second may be segments or removals; set"
    " `separator`",
    "too_many_fields": "the line has more fields than `columns` names",
    "no_json": "the line is no JSON object",
    "empty_id": "the line has no user ID",
    "invalid_id": "the ID is not of the type of its data source",
    "empty_token": "a segment or trait of the line is empty",
    "item_of_other_fields": "an item has more or fewer fields than `item_fields` names",
    "added_and_removed": "the line says of a segment or trait that the user is in it, and has left it",
}


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def parsed_lines(pieces: Sequence[Path], settings: Outbound, id_type: IdType | None) -> str:
    """A query of `line, user_id, members, removed, reason`; of the two lists listed_lines makes lists."""
    files = ", ".join(_literal(str(piece)) for piece in pieces)
    lines = (
        f"select line from read_csv([{files}], header = false, columns = {{'line': 'VARCHAR'}},"
        f" delim = {_literal(NO_COLUMN)}, quote = '', escape = '', nullstr = {_literal(NO_NULL)},"
        # else a buffer has sixteen times the longest line
        f" max_line_size = {LONGEST_LINE + 1000}, buffer_size = {2 * LONGEST_LINE + 2000}, auto_detect = false)"
        " where line <> ''"
    )
    fields = _of_json(lines, settings) if settings.kind == "json_lines" else _of_delimited(lines, settings)
    valid = "not regexp_matches(user_id, '[\\x00-\\x20\\x7f]')"
    if id_type is not None and id_type.pattern is not None:
        valid = f"regexp_full_match(user_id, {_literal(id_type.pattern)})"
    members, removed = (_tokens(name, settings) for name in ("members", "removed"))
    has_empty = f"({_has_empty('members', settings)} or {_has_empty('removed', settings)})"
    has_control = f"({_has_control('members', settings)} or {_has_control('removed', settings)})"
    has_removed = _has_any("removed", settings)
    # nearly all lines are sound, and one question tells so
    sound = (
        f"fault is null and user_id <> '' and {valid} and not ({has_empty} or {has_control} or {has_removed})"
    )
    return f"""
        select
            line,
            user_id,
            members,
            removed,
            case
                when {sound} then null
                when fault is not null then fault
                when user_id is null or user_id = '' then 'empty_id'
                when not {valid} then 'invalid_id'
                when {has_empty} then 'empty_token'
                when {has_control} then 'control_character'
                when {has_removed} and list_has_any({members}, {removed}) then 'added_and_removed'
            end as reason
        from ({fields}) as fields
    """


def listed_lines(parsed: str, settings: Outbound) -> str:
    """A query of `user_id, members, removed, reason` with lists: of tokens; of items, structs of each_member's columns.

    A list that holds nothing is null.
    """
    members, removed = (_list(name, settings) for name in ("members", "removed"))
    return f"select user_id, {members} as members, {removed} as removed, reason from ({parsed}) as parsed"


def names_twice(name: str, settings: Outbound) -> str:
    """Whether one of the lists of listed_lines holds a token more than once; null: no.

    The list itself tells, but of few tokens 64 bits, one for each, show sooner that none does.
    """
    if settings.kind in ("items", "json_lines"):
        return "false"  # what is loaded of them is grouped, or made distinct
    by_bits = " ".join(
        f"when bit_count(list_bit_or(list_transform({name}, lambda x: 1::ubigint << ((hash(x) >> {shift}) & 63))))"
        f" = len({name}) then false"
        for shift in (0, 6)
    )
    return f"case {by_bits} else list_unique({name}) < len({name}) end"


def each_member(parsed: str, name: str, settings: Outbound, *, sound: bool, once: bool) -> str:
    """A query of `user_id, token, is_trait` and, of items, `since`: what the lists `members` or `removed` hold.

    `sound`: no line has a reason; `once`: no list names a token twice. So that none need be looked for.
    """
    lists = f"(select * from ({listed_lines(parsed, settings)}) as listed where {_those(sound)}) as lists"
    if settings.kind == "items":
        each = f"(select user_id, unnest({name}) as item from {lists}) as items"
        return f"select user_id, item.token, item.is_trait, item.since from {each}"
    list_ = name if once else f"list_distinct({name})"
    return f"select user_id, unnest({list_}) as token, {_is_trait(settings)} as is_trait from {lists}"


def user_sets(
    parsed: str, columns: Mapping[str, str], settings: Outbound, *, sound: bool, once: bool, some: bool
) -> str:
    """A query of `user_id, is_trait` and columns that hold `members` or `removed` as a set, or ''; a row a line.

    Not of items. `some`: without lines that hold nothing; `sound`, `once`: as each_member has them. Lists would take
    most of the time, so there are none where that can be.
    """
    sets = "".join(f", {_set(name, settings, once=once)} as {column}" for column, name in columns.items())
    has_some = " or ".join(_has_any(name, settings) for name in columns.values()) if some else "true"
    return (
        f"select user_id, {_is_trait(settings)} as is_trait{sets} from ({parsed}) as parsed"
        f" where {_those(sound)} and ({has_some})"
    )


def _set(name: str, settings: Outbound, *, once: bool) -> str:
    if once and settings.kind != "json_lines":
        return f"replace({name}, {_literal(_between(settings))}, {SQL_SEPARATOR})"
    return f"coalesce(array_to_string(list_distinct({_list(name, settings)}), {SQL_SEPARATOR}), '')"


def _those(sound: bool) -> str:
    return "true" if sound else "reason is null"


def _list(name: str, settings: Outbound) -> str:
    if settings.kind == "json_lines":
        return name
    split = f"string_split(nullif({name}, ''), {_literal(_between(settings))})"
    return f"list_transform({split}, lambda x: {_item(settings)})" if settings.kind == "items" else split


def _tokens(name: str, settings: Outbound) -> str:
    of_list = _list(name, settings)
    return f"list_transform({of_list}, lambda x: x.token)" if settings.kind == "items" else of_list


def _has_any(name: str, settings: Outbound) -> str:
    return f"len({name}) > 0" if settings.kind == "json_lines" else f"{name} <> ''"


def _has_empty(name: str, settings: Outbound) -> str:
    """Whether a token is empty; of plain lists the text tells, which is quicker than the list."""
    if settings.kind in ("items", "json_lines"):
        return f"list_contains({_tokens(name, settings)}, '')"
    between = _between(settings)
    return (
        f"(contains({name}, {_literal(between * 2)}) or starts_with({name}, {_literal(between)})"
        f" or ends_with({name}, {_literal(between)}))"
    )


def _has_control(name: str, settings: Outbound) -> str:
    """Whether a token holds what no table takes, or what stands between tokens; in JSON it may stand there, escaped."""
    if settings.kind != "json_lines":
        return "false"
    return f"len(list_filter({name}, lambda x: regexp_matches(x, '[\\x00-\\x1f\\x7f]'))) > 0"


def _between(settings: Outbound) -> str:
    return settings.list_separator or ("&" if settings.kind == "items" else ",")


def _of_delimited(lines: str, settings: Outbound) -> str:
    """Columns `line, user_id, members, removed, fault` of lines with fields between separators; the lists are texts."""
    places: dict[str, int] = {
        name: place for place, name in enumerate(settings.columns, start=1) if name != "skip"
    }
    if settings.separator is None and settings.kind == "segments":
        split, unknown = _SPLIT_BY_ANY, _UNKNOWN_SEPARATOR
    else:
        split = f"string_split(line, {_literal(_SEPARATORS[settings.separator or 'tab'])})"
        unknown = "false"
    lists = {
        name: f"coalesce(fields[{places[name]}], '')" if name in places else "''"
        for name in ("members", "removed")
    }
    wrong_items = "false"
    if settings.kind == "items":
        other = f"len(string_split(x, ',')) <> {len(settings.item_fields)}"
        between = _literal(_between(settings))
        wrong_items = " or ".join(
            f"({text} <> '' and len(list_filter(string_split({text}, {between}), lambda x: {other})) > 0)"
            for text in lists.values()
        )
    return f"""
        select
            line,
            fields[{places["user_id"]}] as user_id,
            {lists["members"]} as members,
            {lists["removed"]} as removed,
            case
                when {unknown} then 'separator_unknown'
                when len(fields) > {len(settings.columns)} then 'too_many_fields'
                when {wrong_items} then 'item_of_other_fields'
            end as fault
        from (select line, {split} as fields from ({lines}) as lines) as split
    """


# Spaces as the guide shows them: one, or two. Where a second field follows two, it may be segments after a separator of
# two, or removals after an empty field between separators of one.
_TWO_SPACES = "regexp_full_match(line, '[^ ]+(  [^ ]+  [^ ]+|    [^ ]+|  )')"
_SPLIT_BY_ANY = f"""case
    when contains(line, chr(9)) then string_split(line, chr(9))
    when {_TWO_SPACES} then string_split(line, '  ')
    else string_split(line, ' ')
end"""
_UNKNOWN_SEPARATOR = f"(not contains(line, chr(9)) and contains(line, '  ') and not {_TWO_SPACES})"


def _item(settings: Outbound) -> str:
    """An item `x` of a list as a struct."""
    fields: dict[str, str] = {
        name: f"string_split(x, ',')[{place}]" for place, name in enumerate(settings.item_fields, start=1)
    }
    is_trait = f"({fields['type']} <> '5')" if "type" in fields else _is_trait(settings)
    times = [fields[name] for name in ("lastRealizationTime", "lastUpdateTime") if name in fields]
    since = f"coalesce({', '.join(map(_time, times))})" if times else "null::timestamptz"
    return f"{{'token': {fields['sid']}, 'is_trait': {is_trait}, 'since': {since}}}"


def _time(text: str) -> str:
    """Unix seconds or milliseconds as a time; null where it is none."""
    return (
        f"case when regexp_full_match({text}, '[0-9]{{13}}') then make_timestamptz({text}::bigint * 1000)"
        f" when regexp_full_match({text}, '[0-9]{{10}}') then make_timestamptz({text}::bigint * 1000000) end"
    )


def _of_json(lines: str, settings: Outbound) -> str:
    keys = settings.json_keys
    members = f"json_extract(object, {_literal(_path(keys.members) + '[*]')})"
    left = f"coalesce(json_extract_string(x, {_literal(_path(keys.ttl))}) = '0', false)"
    token = f"coalesce(json_extract_string(x, {_literal(_path(keys.token))}), '')"
    return f"""
        select
            line,
            json_extract_string(object, {_literal(_path(keys.user_id))}) as user_id,
            list_distinct(list_transform(list_filter({members}, lambda x: not {left}), lambda x: {token})) as members,
            list_distinct(list_transform(list_filter({members}, lambda x: {left}), lambda x: {token})) as removed,
            case when object is null then 'no_json' end as fault
        from (
            select line, case when json_valid(line) and json_type(line) = 'OBJECT' then line::json end as object
            from ({lines}) as lines
        ) as objects
    """


def _path(key: str) -> str:
    return '$."' + key.replace('"', '\\"') + '"'


def _is_trait(settings: Outbound) -> str:
    is_trait = settings.members == "trait" or (settings.members is None and settings.kind == "traits")
    return "true" if is_trait else "false"
