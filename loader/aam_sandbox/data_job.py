"""A data file's lines → what each profile is told, and the receipt's counts [inbound-file-contents].

All of it is SQL over the whole job; no line passes through Python.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aam_onboard.filenames import InboundName
from aam_sandbox.ids import DEVICES, PARTNER_TYPES, fault_of
from aam_sandbox.mappings import fill_reached
from aam_sandbox.text import LINE_BYTES, NO_TEXT
from aam_sandbox.trait_rules import Comparison, TraitRule, parse_trait_rule

if TYPE_CHECKING:
    import duckdb

LINES_PER_USER = 200  # of a file; more are discarded
QUALIFICATIONS = 150_000  # of a profile; past them, the first goes [usage-limits]
LISTED = 20_000_000  # rows that are made lists at a time: DuckDB holds all of these in memory
_PLAIN_TRAITS = "d_sid=[0-9]{1,18}(,d_sid=[0-9]{1,18})*"
# What stands between commas that stand in no quotes.
_SPLIT = """
    case when contains(signals, '"') then regexp_extract_all(signals || ',', '((?:"[^"]*"|[^",])*),', 1)
    else string_split(signals, ',') end
"""

# `record`: the number of a line within the job · sids: of a line that is nothing but traits, as most are; it has no
# `signals`, and one that clears a user has neither · fault: a counter of the receipt, for `reason`; then `line` is kept
RECORDS = """
    create or replace temp table records (
        file integer, record bigint, dpid bigint, user_id varchar, sids bigint[], signals varchar, fault varchar,
        reason varchar, line varchar
    )
"""
# a record as it was written, all but
LINE = "concat_ws(chr(9), user_id, coalesce(signals, 'd_sid=' || array_to_string(sids, ',d_sid=')))"


@dataclass(frozen=True)
class DataJob:
    """What a job's file names say, and what the sandbox knows of the data source.

    `ids`: the data source whose profiles the user IDs are: a global one's devices or a cross-device source's own;
    None: the profiles are those of the devices that are mapped to the ID.
    """

    name: InboundName
    ids: int | None

    @property
    def target(self) -> int:
        """The data source whose traits the IDs qualify for."""
        return self.name.dpid if self.name.target_dpid is None else self.name.target_dpid

    @property
    def is_overwrite(self) -> bool:
        """Whether the signals of the users in it are replaced."""
        return self.name.mode == "overwrite"

    @property
    def may_be_plain(self) -> bool:
        """Whether lines may be nothing but an ID and traits."""
        return not self.name.partner

    def records(self, lines: str) -> str:
        """SQL: the rows of `records` for `lines` (file, record, line, odd, user_id, sids)."""
        partner = self.name.partner
        types = " ".join(f"when '{word}' then {dpid}" for word, dpid in PARTNER_TYPES.items())
        first = 2 if partner else 1
        dpid = f"case lower(split_part(line, chr(9), 1)) {types} end" if partner else str(self.name.dpid)
        ids = self.name.dpid if self.ids is None else self.ids
        id_fault = fault_of("user_id", ids)
        if partner:
            by_type = " ".join(
                f"when {one} then {fault_of('user_id', one)}" for one in set(PARTNER_TYPES.values())
            )
            id_fault = f"case dpid {by_type} end"
        needs_signals = (
            "false" if self.is_overwrite and not partner else "coalesce(trim(signals, ' ,'), '') = ''"
        )
        # most lines are of one form, and one look is enough
        first_column = r"[^\t]+\t" if partner else ""
        id_form = r"[^\t:%]+" if ids not in DEVICES else r"[^\t]+"
        plain = rf"{first_column}{id_form}\t{_PLAIN_TRAITS}"
        sure_id = "plain and " if ids not in DEVICES and not partner else "false and "
        return f"""
            with forms as (
                select *,
                    line is null or regexp_full_match(line, '{plain}') and strlen(line) <= {LINE_BYTES} as plain
                from {lines}
            ),
            split as (
                select *, case when not plain then string_split(line, chr(9)) end as parts,
                    case when plain then split_part(line, chr(9), {first + 1}) end as traits
                from forms
            ),
            fields as (
                select file, record, line, odd, plain, len(parts) as columns, {dpid} as dpid,
                    case
                        when line is null then user_id
                        when plain then split_part(line, chr(9), {first})
                        else parts[{first}]
                    end as user_id,
                    case
                        when line is null then sids
                        when plain then string_split(replace(traits, 'd_sid=', ''), ',')::bigint[]
                    end as sids,
                    parts[{first + 1}] as signals
                from split
            ),
            judged as (
                select *,
                    case
                        when odd and contains(line, {_literal(NO_TEXT)}) then 'no UTF-8'
                        when dpid is null then 'an ID type that no partner file has'
                        when plain then null
                        when strlen(line) > {LINE_BYTES} then 'a line of more than {LINE_BYTES:,} bytes'
                        when trim(line, ' ' || chr(9)) = '' then 'a blank line'
                        when columns > {first + 1} then 'a TAB too many'
                        when {needs_signals} then 'no signals'
                        when contains(signals, '"') and len(string_split(signals, '"')) % 2 = 0 then 'a quote is open'
                    end as form_fault,
                    case
                        when form_fault is not null then 'format_errors'
                        when {sure_id} true then null
                        else {id_fault}
                    end as fault
                from fields
            )
            select file, record, dpid, user_id, sids, signals, fault,
                case when fault is not null then coalesce(form_fault, 'no ID of this data source') end as reason,
                case when fault is not null then line end as line
            from judged
        """


def take_in(connection: duckdb.DuckDBPyConnection, job: DataJob) -> dict[str, int]:
    """Change the profiles by `records`, and mark there what comes to nothing; the other counters."""
    once = _is_each_once(connection)
    _read_signals(connection, job, once=once)
    _accept_traits(connection, job)
    is_plain = once and _is_plain(connection, job)
    if is_plain:
        counts = _look_through(connection, job)
    else:
        _judge_signals(connection, job)
        _find_profiles(connection, job)
        _join_words(connection)
        counts = _count_signals(connection)
    counts |= _apply(connection, job, is_plain=is_plain)
    for name in ("wanted", "matched"):
        connection.execute(f"drop {'view' if is_plain else 'table'} {name}")
    for name in (
        "elements",
        "meanings",
        "crowds",
        "accepted",
        "stated",
        "true_of",
        "used",
        "known",
        "added",
        "gone",
    ):
        connection.execute(f"drop table if exists {name}")
    return counts


def _is_each_once(connection: duckdb.DuckDBPyConnection) -> bool:
    """Whether no user stands in two records."""
    return not _count(
        connection, "select count(*) - count(distinct hash(user_id)) from records where fault is null"
    )


def _read_signals(connection: duckdb.DuckDBPyConnection, job: DataJob, *, once: bool) -> None:
    """From `records`, fill `elements` (record, place, element), which leaves out plain lines of traits, and `meanings`.

    `meanings` (element, kind, sid, key, value) says what each different text is: trait | removal | pair | empty |
    invalid. A record with an invalid one is faulty.
    """
    bare = "trait" if job.name.partner else "pair"
    connection.execute(
        f"""
        create or replace temp table elements as
        with lists as (
            select record, {_SPLIT} as list from records where fault is null and signals is not null
        )
        select record, unnest(range(1, len(list) + 1)) as place, unnest(list) as element from lists
        """
    )
    connection.execute(
        f"""
        create or replace temp table meanings as
        with texts as (select distinct element, trim(element, ' ') as text from elements),
        pairs as (
            select *, regexp_extract(text, '(?s)^("[^"]*"|[^=]*?) *= *(.*)$', ['key', 'value']) as pair from texts
        ),
        unquoted as (
            select element, text, contains(text, '=') as has_key, {_unquoted("pair.key")} as written_key,
                {_unquoted("pair.value")} as written_value
            from pairs
        ),
        named as (
            -- a leading dash of a key is ignored
            select *, if(written_key[1] = '-', written_key[2:], written_key) as name from unquoted
        ),
        kinds as (
            select *,
                case
                    when text = '' then 'empty'
                    when has_key and name in ('d_sid', 'd_unsid')
                        then if(not regexp_full_match(written_value, '[0-9]{{1,18}}'), 'invalid',
                            if(name = 'd_sid', 'trait', 'removal'))
                    when has_key and (name = '' or written_value = '' or contains(name || written_value, '"'))
                        then 'invalid'
                    when has_key then 'pair'
                    when regexp_full_match(text, '[0-9]{{1,18}}') then '{bare}'
                    when regexp_full_match(text, '[0-9]+') then 'pair'
                    when regexp_full_match(text, '[0-9]{{1,18}} *: *(0|-1)') then 'removal'
                    else 'invalid'
                end as kind
            from named
        )
        select element, kind,
            case
                when kind not in ('trait', 'removal') then null
                when has_key then written_value::bigint
                else trim(split_part(text, ':', 1))::bigint
            end as sid,
            case when kind = 'pair' then if(has_key, lower(name), 'ic') end as key,
            case when kind = 'pair' then if(has_key, lower(written_value), text) end as value
        from kinds
        """
    )
    connection.execute(
        f"""
        update records
        set fault = 'format_errors', reason = 'a signal that is none: ' || broken.element,
            line = {LINE}
        from (
            select record, arg_min(element, place) as element
            from elements inner join meanings using (element) where kind = 'invalid' group by record
        ) as broken
        where records.record = broken.record
        """
    )
    if not once:
        _discard_crowds(connection)
    connection.execute(
        "delete from elements"
        " where record in (select record from records where fault is not null and signals is not null)"
    )


def _unquoted(text: str) -> str:
    return f"""if(length({text}) > 1 and {text}[1] = '"' and {text}[-1] = '"', {text}[2:-2], {text})"""


def _discard_crowds(connection: duckdb.DuckDBPyConnection) -> None:
    """Of a user's lines in a file, the first 200 count."""
    # first by a part of the hash, which costs next to nothing
    share = "hash(user_id) & 1048575"
    connection.execute(
        f"""
        create or replace temp table crowds as
        select file, {share} as share from records where fault is null group by all having count(*) > {LINES_PER_USER}
        """
    )
    connection.execute(
        f"""
        update records
        set fault = 'format_errors', reason = 'more than {LINES_PER_USER} lines of this user',
            line = {LINE}
        where fault is null and record in (
            select record from records
            where fault is null and (file, {share}) in (select (file, share) from crowds)
            qualify row_number() over (partition by file, dpid, user_id order by record) > {LINES_PER_USER}
        )
        """
    )


def _accept_traits(connection: duckdb.DuckDBPyConnection, job: DataJob) -> None:
    """Fill `accepted` (sid, rule): the traits that the file may set."""
    connection.execute(
        f"""
        create or replace temp table accepted as
        select sid, rule from traits
        where dpid = {job.target} and trait_type = 'ON_BOARDED_TRAIT' and status = 'ACTIVE'
        """
    )


def _is_plain(connection: duckdb.DuckDBPyConnection, job: DataJob) -> bool:
    """Whether records of a user each are what they say: each trait once and accepted, and no rule to be judged.

    It costs a fraction of what it saves, which is to set the words of all records against one another.
    """
    if job.ids is None or job.name.partner or _count(connection, "select count(*) from elements"):
        return False
    rules = connection.execute("select rule from accepted where rule is not null").fetchall()
    if any(not isinstance(parse_trait_rule(rule).whole, Comparison) for (rule,) in rules):
        return False
    [[refused, falls]] = connection.execute(
        """
        select count(*) filter (accepted.sid is null), count(*) filter (sid >= following)
        from (select unnest(sids) as sid, unnest(sids[2:]) as following from records where fault is null) as pairs
        left join accepted using (sid)
        """
    ).fetchall()
    # in order, none stands twice: to see that is a fifth of the work of counting
    return not refused and not (
        falls
        and _count(
            connection,
            "select coalesce(sum(len(sids) - list_unique(sids)), 0) from records where fault is null",
        )
    )


def _look_through(connection: duckdb.DuckDBPyConnection, job: DataJob) -> dict[str, int]:
    """`matched`, `wanted` and `failed` of plain records, without a table of their own; and what is counted of them."""
    ids = f"{job.ids}::bigint as dpid, user_id"
    connection.execute(f"create temp view matched as select record, {ids} from records where fault is null")
    connection.execute(
        f"create temp view wanted as select {ids}, unnest(sids) as sid, true as adds, record"
        " from records where fault is null"
    )
    connection.execute("create or replace temp table failed (record bigint, sid bigint)")
    return {
        "total_signals": _count(
            connection, "select coalesce(sum(len(sids)), 0) from records where fault is null"
        ),
        "total_devices": _count(connection, "select count(*) from matched"),
    }


def _judge_signals(connection: duckdb.DuckDBPyConnection, job: DataJob) -> None:
    """Fill `stated` (record, place, sid, adds), `failed` (record, sid) and `used` (record, element).

    `failed`: traits that are none of the data source's, or not onboarded. `used`: key-values that a rule knows.
    """
    connection.execute(
        """
        create or replace temp table named_traits as
        select record, 1 as place, unnest(sids) as sid, true as adds from records where fault is null
        union all
        select record, place, sid, kind = 'trait'
        from elements inner join meanings using (element) where kind in ('trait', 'removal')
        """
    )
    connection.execute(
        "create or replace temp table failed as select record, sid from named_traits anti join accepted using (sid)"
    )
    removals = "where adds" if job.is_overwrite else ""
    connection.execute(
        "create or replace temp table stated as"
        f" select record, place, sid, adds from (from named_traits {removals}) semi join accepted using (sid)"
    )
    _apply_rules(connection)
    connection.execute("drop table named_traits")


def _apply_rules(connection: duckdb.DuckDBPyConnection) -> None:
    """Traits by their rules: a record's own signals make them true, those of other records do not."""
    import pyarrow as pa

    rules = {
        sid: parse_trait_rule(rule)
        for sid, rule in connection.execute(
            "select sid, rule from accepted where rule is not null"
        ).fetchall()
    }
    numbers: dict[Comparison, int] = {}
    for rule in rules.values():
        for comparison in rule.comparisons:
            numbers.setdefault(comparison, len(numbers))
    equal = [
        (number, one.key.lower(), one.value.lower())
        for one, number in numbers.items()
        if one.operator == "=="
    ]
    connection.register(
        "comparisons",
        pa.table(
            {
                "comparison": pa.array([one[0] for one in equal], pa.int64()),
                "key": pa.array([one[1] for one in equal], pa.string()),
                "value": pa.array([one[2] for one in equal], pa.string()),
            }
        ),
    )
    others = "".join(
        f" union all select element, {number} from meanings where kind = 'pair' and {one.holds()}"
        for one, number in numbers.items()
        if one.operator != "=="
    )
    connection.execute(
        f"""
        create or replace temp table true_of as
        select element, comparison from meanings inner join comparisons using (key, value) where kind = 'pair' {others}
        """
    )
    connection.unregister("comparisons")
    connection.execute(
        "create or replace temp table used as"
        " select record, element from elements where element in (select element from true_of)"
    )
    simple = [(numbers[rule.whole], sid) for sid, rule in rules.items() if isinstance(rule.whole, Comparison)]
    if simple:
        connection.register(
            "simple_rules",
            pa.table({"comparison": [one[0] for one in simple], "sid": [one[1] for one in simple]}),
        )
        connection.execute(
            "insert into stated select record, 0, sid, true"
            " from elements inner join true_of using (element) inner join simple_rules using (comparison)"
        )
        connection.unregister("simple_rules")
    joined = {sid: rule for sid, rule in rules.items() if not isinstance(rule.whole, Comparison)}
    if joined:
        _apply_joined_rules(connection, joined, numbers)


def _apply_joined_rules(
    connection: duckdb.DuckDBPyConnection, rules: dict[int, TraitRule], numbers: dict[Comparison, int]
) -> None:
    """Rules with AND, OR, NOT: over the set of comparisons that are true of a record, the empty set too."""
    whens = ", ".join(
        f"case when {rule.condition(lambda one: f'list_contains(truths, {numbers[one]})')} then {sid} end"
        for sid, rule in rules.items()
    )
    connection.execute(
        f"""
        insert into stated
        with found as (
            select record, list_sort(list(distinct comparison)) as truths
            from elements inner join true_of using (element) group by record
        ),
        everyone as (
            select record, coalesce(truths, []) as truths
            from records left join found using (record)
            where fault is null and (sids is not null or signals is not null)
        ),
        sets as (select distinct truths from everyone),
        sids as (select truths, unnest(list_filter([{whens}], lambda sid: sid is not null)) as sid from sets)
        select record, 0, sid, true from everyone inner join sids using (truths)
        """
    )


def _find_profiles(connection: duckdb.DuckDBPyConnection, job: DataJob) -> None:
    """Fill `matched` (record, dpid, user_id): the profiles of each record without fault that has one."""
    if job.name.partner:
        source = "select record, dpid, user_id from records where fault is null"
    elif job.ids is not None:
        source = f"select record, {job.ids}::bigint as dpid, user_id from records where fault is null"
    else:
        fill_reached(connection, job.name.dpid, "select user_id from records where fault is null")
        source = (
            "select record, device_dpid as dpid, device_id as user_id"
            " from records inner join reached using (user_id) where fault is null"
        )
    connection.execute(f"create or replace temp table matched as {source}")
    if job.ids is None:
        connection.execute(
            "update records set fault = 'no_matching_aam_id', reason = 'the ID is not synced'"
            " where fault is null and record not in (select record from matched)"
        )
    # to clear a user is what a line of an overwrite file without signals is for
    clears = "and (sids is not null or trim(signals, ' ,') <> '')" if job.is_overwrite else ""
    connection.execute(
        "update records set fault = 'no_trait_realized', reason = 'no signal realizes or removes a trait'"
        f" where fault is null and record not in (select record from stated) {clears}"
    )


def _count_signals(connection: duckdb.DuckDBPyConnection) -> dict[str, int]:
    """Signals of all records that are well-formed, whether anything came of them or not."""
    well_formed = "fault is null or fault in ('no_matching_aam_id', 'no_trait_realized')"
    pairs = "from elements inner join meanings using (element) where kind"
    return {
        "total_signals": _count(
            connection,
            f"select coalesce((select sum(len(sids)) from records where {well_formed}), 0)"
            f" + (select count(*) {pairs} <> 'empty')",
        ),
        "total_unused_signals": _count(
            connection, f"select (select count(*) {pairs} = 'pair') - (select count(*) from used)"
        ),
        "total_traits_failed_validation": _count(connection, "select count(*) from failed"),
        "total_users_failed_validation": _count(
            connection,
            "select count(distinct user_id) from records where record in (select record from failed)",
        ),
        "total_devices": _count(
            connection,
            "select count(distinct (matched.dpid, matched.user_id))"
            " from matched inner join records using (record) where fault is null",
        ),
    }


def _join_words(connection: duckdb.DuckDBPyConnection) -> None:
    """Fill `wanted` (dpid, user_id, sid, adds, record): the last word of each trait of each profile."""
    connection.execute(
        """
        create or replace temp table wanted as
        select dpid, user_id, sid, arg_max(adds, record * 1048576 + place) as adds, max(record) as record
        from stated inner join matched using (record) group by dpid, user_id, sid
        """
    )


def _apply(connection: duckdb.DuckDBPyConnection, job: DataJob, *, is_plain: bool) -> dict[str, int]:
    """Change the profiles by `wanted`; the counters that come of it.

    What a profile has already keeps the time since when.
    """
    removed = _take_back(connection, job)
    [[last]] = connection.execute("select coalesce(max(ordinal), 0) from qualifications").fetchall()
    row = f"current_timestamp::timestamp, record + {last}"
    connection.execute(
        "create or replace temp table known as"
        " select distinct dpid, user_id from qualifications semi join matched using (dpid, user_id)"
    )
    connection.execute(
        f"""
        create or replace temp table added as
        select dpid, user_id, sid, record
        from (from wanted {"semi join known using (dpid, user_id)" if is_plain else ""}) as said
        anti join profile_traits using (dpid, user_id, sid) where adds
        """
    )
    for part in _parts(connection, "added"):
        connection.execute(
            f"insert into qualifications select dpid, user_id, list(sid), {row} from added where {part}"
            " group by dpid, user_id, record"
        )
    if is_plain:  # whoever has nothing yet has all of it now
        connection.execute(
            f"insert into qualifications select {job.ids}, user_id, sids, {row}"
            " from records anti join known using (user_id) where fault is null and sids is not null"
        )
    _forget_first(connection)
    return {
        "total_realized_traits": _count(connection, "select count(*) from wanted where adds"),
        "total_removed_traits": removed,
    }


def _take_back(connection: duckdb.DuckDBPyConnection, job: DataJob) -> int:
    """Take from the profiles what `wanted` says, or leaves out where it replaces; how many qualifications."""
    if not job.is_overwrite:
        taken_back = "(from wanted where not adds) as taken_back"
        return _delete(
            connection,
            f"select dpid, user_id, sid from profile_traits semi join {taken_back} using (dpid, user_id, sid)",
        )
    connection.execute(
        "create or replace temp table traits_of_target as select sid from traits"
        f" where dpid = {job.target} and trait_type = 'ON_BOARDED_TRAIT'"
    )
    return _delete(
        connection,
        "select dpid, user_id, sid from profile_traits semi join matched using (dpid, user_id)"
        " semi join traits_of_target using (sid) anti join wanted using (dpid, user_id, sid)",
    )


def _forget_first(connection: duckdb.DuckDBPyConnection) -> None:
    # nobody has more than there are
    if _count(connection, "select count(*) from traits") <= QUALIFICATIONS:
        return
    _delete(
        connection,
        f"""
        select dpid, user_id, sid from profile_traits semi join matched using (dpid, user_id)
        qualify row_number() over (partition by dpid, user_id order by ordinal desc) > {QUALIFICATIONS}
        """,
    )


def _delete(connection: duckdb.DuckDBPyConnection, gone: str) -> int:
    """Take away the qualifications that a query (dpid, user_id, sid) names, each once; how many."""
    connection.execute(f"create or replace temp table gone as {gone}")
    for part in _parts(connection, "gone"):
        connection.execute(
            f"""
            update qualifications set sids = list_filter(sids, lambda sid: not list_contains(less.gone, sid))
            from (select dpid, user_id, list(sid) as gone from gone where {part} group by dpid, user_id) as less
            where qualifications.dpid = less.dpid and qualifications.user_id = less.user_id
            """
        )
    count = _count(connection, "select count(*) from gone")
    if count:
        connection.execute("delete from qualifications where sids = []")
    return count


def _parts(connection: duckdb.DuckDBPyConnection, rows: str) -> list[str]:
    """Conditions that part a table's users, so that DuckDB has memory for a part's lists; none for an empty table."""
    parts = -(-_count(connection, f"select count(*) from {rows}") // LISTED)
    return [f"hash(user_id) % {parts} = {part}" for part in range(parts)]


def _count(connection: duckdb.DuckDBPyConnection, sql: str) -> int:
    [[count]] = connection.execute(sql).fetchall()
    return int(count)


def _literal(text: str) -> str:
    return "chr(0)" if text == "\0" else f"'{text}'"
