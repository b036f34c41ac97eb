"""What a line of a file may look like, by the file's name: as patterns, and as SQL that tries rule after rule."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from aam_onboard import filenames
from aam_onboard.check.plain import QUOTE_IN_ID, Column, doubtful_pairs, id_column, lookalikes, plain_signals
from aam_onboard.check.report import LINE_REASONS, CountedAs

if TYPE_CHECKING:
    from aam_onboard.rules import Rule, Rules

_ANDROID = ("android", "android_id", "androidid", "gaid", "adid", "aaid", "google_ad_id")
_COUNTERS: tuple[CountedAs, ...] = ("format_errors", "invalid_aam_id", "invalid_device_id")
TRAIT_REASONS = ("unknown_trait", "trait_not_onboarded", "trait_of_other_data_source")
_ODD_QUOTES = """((length(signals) - length(replace(signals, '"', ''))) % 2 = 1)"""
_TYPOGRAPHIC = "^[\u201c-\u201f]|[\u201c-\u201f]$"
_SEEMS_SIGNALS = """regexp_matches(text, '[ ,;|](d_sid|d_unsid|ic) *=|"="')"""


@dataclass(frozen=True)
class Form:
    """How the lines of one file are examined.

    A block of lines is accepted at once if `sure` matches it and none of `doubtful` a part of it. Else, a line is if
    `plain` matches it, none of `doubtful` matches a part of it, and its IDs are good;
    of all others `sql` tells: from a table `suspects` (number, line) it makes rows in the same order with the columns
    reason (an index of `reasons`, or null), id, value, the names in `warnings` (boolean), failed (index of
    TRAIT_REASONS, or null), failed_signals. `spelled`: from the same table, the key-values with their number (key,
    value, n).
    """

    sure: str | None
    plain: str | None
    doubtful: tuple[str, ...]
    columns: tuple[Column, ...]
    sql: str
    spelled: str | None
    reasons: tuple[tuple[str, CountedAs], ...]
    warnings: tuple[str, ...]
    counted: Literal["lines", "values"] | None  # what is counted for each ID
    most: int
    lookalikes: Mapping[str, str]  # id type → pattern, where one must not meet another
    traits: Mapping[str, tuple[str, str]] | None


def form_of(name: filenames.FileName, rules: Rules, traits: Mapping[str, tuple[str, str]] | None) -> Form:
    """How to examine the lines of a file of this name. Raises ConfigError for a pattern that is none."""
    reasons: list[tuple[str, CountedAs]] = [(reason, "format_errors") for reason in LINE_REASONS]
    for rule in rules.rules:
        reasons += [(rule.reason, counter) for counter in _COUNTERS]
    if isinstance(name, filenames.IdSyncName):
        return _id_sync_form(name, rules, tuple(reasons))
    return _data_form(name, rules, tuple(reasons), traits)


def _id_sync_form(
    name: filenames.IdSyncName, rules: Rules, reasons: tuple[tuple[str, CountedAs], ...]
) -> Form:
    types = [rules.global_id_type(dpid) or "dpuuid" for dpid in name.dpids]
    hashed = name.prefix == "c2c_id"
    if hashed:
        types[1] = "hashed_email"
    count = len(types)
    broken = [_first_broken(rules, "user_id", id_type, f"ids[{i}]") for i, id_type in enumerate(types, 1)]
    guarded = _guarded(rules, [("user_id", id_type, f"ids[{i}]") for i, id_type in enumerate(types, 1)])
    warned = "".join(f"{breaks} as {_as(reason)}, " for reason, breaks in guarded.items())
    sql = f"""
        with rows as (select number, line, string_split(line, chr(9)) as ids from suspects)
        select
            case
                when regexp_full_match(line, '[ \\t]*') then {_code("blank_line")}
                when regexp_matches(line, '[ \\t]$') then {_code("trailing_space")}
                when len(ids) <> {count} then {_code("wrong_column_count")}
                else coalesce({", ".join(broken)})
            end::smallint as reason,
            ids[1] as id,
            ids[2] as value,
            {warned}
            null::smallint as failed,
            0::bigint as failed_signals
        from rows order by number
    """
    return Form(
        sure=None,
        plain=rf"\A[^\t]+(?:\t[^\t]+){{{count - 2}}}\t[^\t]*[^\t ]\z",
        doubtful=(),
        columns=tuple(id_column(rules, id_type) for id_type in types),
        sql=sql,
        spelled=None,
        reasons=reasons,
        warnings=tuple(guarded),
        counted="values" if hashed else None,
        most=rules.limits.hashed_emails_per_customer,
        lookalikes={},
        traits=None,
    )


def _data_form(
    name: filenames.InboundName,
    rules: Rules,
    reasons: tuple[tuple[str, CountedAs], ...],
    traits: Mapping[str, tuple[str, str]] | None,
) -> Form:
    overwrite = name.mode == "overwrite"
    id_type = rules.global_id_type(name.dpid) or "dpuuid"
    if name.partner:
        # <ID type><TAB><user ID><TAB><traits> [custom-partner-integrations]
        android = ", ".join(f"'{word}'" for word in _ANDROID)
        rest = "substr(line, instr(line, chr(9)) + 1)"
        lines = (
            f"select number, line, lower(split_part(line, chr(9), 1)) as word, {rest} as text from suspects"
        )
        id_broken = f"""case
            when word = 'idfa' then {_first_broken(rules, "user_id", "idfa", "id")}
            when word in ({android}) then {_first_broken(rules, "user_id", "gaid", "id")}
            else {_code("unknown_id_type")} end"""
        bare = "trait"
    else:
        lines = "select number, line, line as text from suspects"
        id_broken = _first_broken(rules, "user_id", id_type, "id")
        bare = "integration_code"
    own = name.dpid if name.target_dpid is None else name.target_dpid
    signal_broken = " ".join(
        f"when '{kind}' then coalesce({_first_broken(rules, 'signal_key', kind, 'key')}, "
        f"{_first_broken(rules, 'signal_value', kind, 'value')})"
        for kind in ("trait", "integration_code", "key_value")
    )
    signal_texts = [
        (about, kind, text)
        for about, text in (("signal_key", "key"), ("signal_value", "value"))
        for kind in ("trait", "integration_code", "key_value")
    ]
    signals_guarded = _guarded(rules, signal_texts)
    # the IDs of a partner file have a form of their own
    ids_guarded = {} if name.partner else _guarded(rules, [("user_id", id_type, "id")])
    guarded = dict.fromkeys([*ids_guarded, *signals_guarded])
    signals_warned = "".join(f"{breaks} as {_as(reason)}, " for reason, breaks in signals_guarded.items())
    lines_warned = "".join(f"bool_or({_as(reason)}) as {_as(reason)}, " for reason in signals_guarded)
    warned = "".join(
        ids_guarded.get(reason, "false")
        + (f" or coalesce(by_line.{_as(reason)}, false)" if reason in signals_guarded else "")
        + f" as {_as(reason)}, "
        for reason in guarded
    )
    failed = "null"
    if traits is not None:
        failed = f"""case
            when kind <> 'trait' then null
            when trait_id is null then 0
            when lower(trait_type) <> 'onboarded' then 1
            when trait_dpid <> '{own}' then 2 end"""
    parsed = f"""
        with texts as ({lines}),
        fields as (
            select *,
                split_part(text, chr(9), 1) as id,
                case when contains(text, chr(9)) then substr(text, instr(text, chr(9)) + 1) end as signals
            from texts
        ),
        users as materialized (select *, {id_broken} as id_broken from fields),
        elements as materialized (
            select number, unnest(
                case
                    when contains(signals, '"')
                        then regexp_extract_all(',' || signals, ',((?:[^",]|"[^"]*")*)', 1)
                    else string_split(signals, ',')
                end
            ) as element
            from users
            where signals is not null and id_broken is null and not {_ODD_QUOTES}
        ),
        -- The same signals stand in many lines: each is judged once.
        different as (select distinct element from elements),
        trimmed as (select element, trim(element, ' ') as signal from different),
        parsed as (
            select *,
                contains(signal, '=') as has_key,
                regexp_extract(signal, '(?s)^("[^"]*"|[^=]*?)[ ]*=[ ]*(.*)$', ['key', 'value']) as pair
            from trimmed
        ),
        unquoted as (
            select
                element,
                signal,
                has_key,
                has_key and (regexp_matches(pair.key, '{_TYPOGRAPHIC}') or regexp_matches(pair.value, '{_TYPOGRAPHIC}'))
                    as typographic_quotes,
                {_unquoted("pair.key")} as written_key,
                {_unquoted("pair.value")} as written_value
            from parsed
        ),
        signals as (
            select
                element,
                signal = '' as empty_element,
                signal <> '' and element <> '' and right(element, 1) = ' ' as space_before_comma,
                typographic_quotes,
                case
                    when signal = '' then 'empty'
                    when has_key and written_key in ('d_sid', 'd_unsid') then 'trait'
                    when has_key and written_key = 'ic' then 'integration_code'
                    when has_key then 'key_value'
                    when regexp_full_match(signal, '[0-9]+') then '{bare}'
                    when regexp_full_match(signal, '[0-9]+ *: *(0|-1)') then 'removal'
                    else 'invalid'
                end as form,
                replace(form, 'removal', 'trait') as kind,
                written_key = 'd_unsid' or form = 'removal' as is_removal,
                case when has_key then written_key when kind = 'trait' then 'd_sid' else 'ic' end as key,
                case
                    when has_key then written_value
                    when form = 'removal' then trim(split_part(signal, ':', 1), ' ')
                    else signal
                end as value
            from unquoted
        )
    """
    sql = f""",
        verdicts as (
            select
                element,
                empty_element,
                space_before_comma,
                typographic_quotes,
                {signals_warned}
                is_removal and {overwrite} as removal_in_overwrite,
                case kind when 'invalid' then {_code("invalid_signal")} {signal_broken} end as broken,
                {failed} as failed
            from signals
            {"" if traits is None else "left join taxonomy on kind = 'trait' and value = trait_id"}
        ),
        by_line as (
            select
                number,
                min(broken) as broken,
                bool_and(empty_element) as no_signals,
                bool_or(empty_element) as empty_element,
                bool_or(space_before_comma) as space_before_comma,
                bool_or(typographic_quotes) as typographic_quotes,
                {lines_warned}
                bool_or(removal_in_overwrite) as removal_in_overwrite,
                min(failed) as failed,
                count(failed) as failed_signals
            from elements inner join verdicts using (element)
            group by number
        )
        select
            case
                when regexp_full_match(line, '[ \\t]*') then {_code("blank_line")}
                when signals is null and {not overwrite or name.partner} and {_SEEMS_SIGNALS}
                    then {_code("no_tab")}
                else coalesce(
                    id_broken,
                    case
                        when {_ODD_QUOTES} then {_code("unbalanced_quote")}
                        when {not overwrite} and coalesce(no_signals, true) then {_code("no_signals")}
                    end,
                    broken
                )
            end::smallint as reason,
            id,
            null::varchar as value,
            signals is null and {_SEEMS_SIGNALS} as no_tab_clears,
            coalesce(empty_element, false) and signals <> '' as empty_element,
            coalesce(space_before_comma, false) as space_before_comma,
            coalesce(typographic_quotes, false) as typographic_quotes,
            {warned}
            coalesce(removal_in_overwrite, false) as removal_in_overwrite,
            failed::smallint as failed,
            coalesce(failed_signals, 0)::bigint as failed_signals
        from users left join by_line using (number)
        order by number
    """
    signals = None if name.partner else plain_signals(rules, overwrite, traits, str(own))
    sure_ids = rules.sure_ids(id_type)
    # a line that clears the user of an overwrite file is an ID and no more
    cleared = r"[^\t ,;|=\"]+|" if overwrite else ""
    return Form(
        sure=rf"\A(?:(?:{sure_ids})\t{signals}(?:\n|\z))+\z" if signals and sure_ids else None,
        plain=rf"\A(?:{cleared}[^\t]+\t{signals})\z" if signals else None,
        doubtful=doubtful_pairs(rules) or (f'"{QUOTE_IN_ID}',),
        columns=(id_column(rules, id_type),),
        sql=parsed + sql,
        spelled=parsed
        + """select key, value, count(*) as n from elements inner join signals using (element)
            where kind = 'key_value' group by key, value""",
        reasons=reasons,
        warnings=(
            "no_tab_clears",
            "empty_element",
            "space_before_comma",
            "typographic_quotes",
            "removal_in_overwrite",
            *guarded,
        ),
        counted="lines",
        most=rules.limits.lines_per_user,
        lookalikes=lookalikes(rules) if id_type == "dpuuid" else {},
        traits=traits,
    )


def _unquoted(text: str) -> str:
    return f"""case when length({text}) > 1 and {text} like '"%"' then {text}[2:-2] else {text} end"""


def _code(reason: str) -> int:
    return list(LINE_REASONS).index(reason)


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _first_broken(rules: Rules, about: str, id_type: str, text: str) -> str:
    """SQL: the code of the first rule that `text` breaks, or null. `id_type`: or the kind of a signal."""
    kind = rules.id_types[id_type].kind if about == "user_id" else id_type
    whens = []
    for place, rule in rules.of(about, kind):
        if rule.guard:
            continue
        breaks = _breaks(rules, rule, id_type, text)
        counter: CountedAs = "format_errors"
        if rule.kinds is not None and kind in ("aam_uuid", "device"):
            counter = "invalid_aam_id" if kind == "aam_uuid" else "invalid_device_id"
        whens.append(f"when {breaks} then {len(LINE_REASONS) + 3 * place + _COUNTERS.index(counter)}")
    return f"case {' '.join(whens)} end" if whens else "null"


def _breaks(rules: Rules, rule: Rule, id_type: str, text: str) -> str:
    """SQL: whether `text` breaks the rule."""
    pattern, breaks = rules.broken_where(rule, id_type)
    return f"{'' if breaks else 'not '}regexp_matches({text}, {_quoted(pattern)})"


def _guarded(rules: Rules, texts: Iterable[tuple[str, str, str]]) -> dict[str, str]:
    """SQL: for the reason of each rule that only guards, whether one of the texts breaks it.

    A text is the field that it is of, its id type or kind of signal, and the SQL of it.
    """
    found: dict[str, list[str]] = {}
    for about, id_type, text in texts:
        kind = rules.id_types[id_type].kind if about == "user_id" else id_type
        for _, rule in rules.of(about, kind):
            if rule.guard:
                condition = "" if about == "user_id" else f"kind = '{kind}' and "
                found.setdefault(rule.reason, []).append(condition + _breaks(rules, rule, id_type, text))
    return {reason: f"coalesce({' or '.join(breaks)}, false)" for reason, breaks in found.items()}


def _as(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
