"""`aam sandbox export`: what a destination's users are in, as outbound files and their `.info`.

SQL makes the lines, Arrow carries them; no row is touched in Python.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from aam_onboard.errors import ConfigError, DeliveryError
from aam_onboard.reading import read_as
from aam_sandbox.outbound import Layout, Mode, OutboundFile, OutboundRoot, info_text
from aam_sandbox.segments import fill_memberships

if TYPE_CHECKING:
    import duckdb

    from aam_onboard.destinations import Destination
    from aam_sandbox.store import Store

AAM_UUID = 0
_BLOCK = 1 << 20

# A finished local file → where the destination of the outbound files keeps it, under this key.
Put = Callable[[Path, str], None]


@dataclass(frozen=True)
class Weakness:
    """What Audience Manager may do to a receiver [transfer-control-files], to be played on purpose.

    `info_first`: the `.info` comes before its files · `without_part`: this part, from 1, never comes · `without_info`:
    the files come alone.
    """

    info_first: bool = False
    without_part: int | None = None
    without_info: bool = False


@dataclass(frozen=True)
class Exported:
    """One export: the files with their keys in the order in which they were put, and how many users are in them."""

    destination_id: int
    mode: Mode
    files: tuple[OutboundFile, ...]
    keys: tuple[str, ...]
    info: str
    users: int


def export(
    store: Store,
    destination_id: int,
    mode: Mode,
    put: Put,
    *,
    at: datetime | None = None,
    weakness: Weakness = Weakness(),
) -> Exported:
    """Write and put one export of a destination, and remember what it said.

    `full`: everyone who is in something mapped to the destination, with all of it; `iter`: what has changed since the
    last export, be it full or iter. Without a change the file is empty. `at`: the names' time, UTC; moved on where a
    file of that name was sent already. What was said counts once every file is put; a failed export changes nothing.

    Raises ConfigError for a destination that is not there or has nothing mapped, and what `put` raises.
    """
    destination = _destination(store, destination_id)
    layout = layout_of(destination)
    started = datetime.now(timezone.utc)
    root = _free_root(store, destination, layout, mode, at or started)
    with TemporaryDirectory(prefix="aam-sandbox-") as folder, store.transaction() as connection:
        _remember_memberships(store, destination, layout)
        users = _fill_lines(connection, destination, layout, mode)
        files = tuple(_written(connection, root, Path(folder)))
        if weakness.without_part is not None and not 1 <= weakness.without_part <= len(files):
            raise ConfigError(f"--without-part {weakness.without_part}: this export has {len(files)} part(s)")
        keys = tuple(_put_all(root, files, Path(folder), put, weakness))
        _record(connection, destination_id, mode, files, users, started)
    return Exported(destination_id, mode, files, keys, root.info, sum(users))


def layout_of(destination: dict[str, Any]) -> Layout:
    """The template of a row of `destinations`. Raises ConfigError when its settings are none."""
    settings = json.loads(destination["settings"] or "{}")
    return read_as(Layout, settings, f"destination {destination['destination_id']}")


def put_into(folder: Path) -> Put:
    """Put files into a folder of this machine; no half file ever stands under its name there.

    Raises DeliveryError when it can't be written.
    """

    def put(file: Path, key: str) -> None:
        target = folder / key
        temporary = target.with_name(f".{target.name}.part")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with file.open("rb") as source, temporary.open("wb") as copy:
                while block := source.read(_BLOCK):
                    copy.write(block)
            temporary.rename(target)
        except OSError as error:
            raise DeliveryError(f"{target} can't be written: {error.strerror or error}") from None

    return put


def put_at(destination: Destination) -> Put:
    """Put files at an output of destinations.yml."""
    from aam_onboard.files import Part

    def put(file: Path, key: str) -> None:
        with file.open("rb") as content:
            sha256 = hashlib.file_digest(content, "sha256").hexdigest()
        size = file.stat().st_size
        destination.put(Part(file, lines=0, bytes=size, plain_bytes=size, sha256=sha256), key)

    return put


def _destination(store: Store, destination_id: int) -> dict[str, Any]:
    found = store.rows("select * from destinations where destination_id = ?", [destination_id])
    if not found:
        known = [
            row["destination_id"] for row in store.rows("select destination_id from destinations order by 1")
        ]
        there = f"there are {', '.join(map(str, known))}" if known else "the sandbox has none"
        raise ConfigError(f"destination {destination_id} is unknown; {there}")
    [destination] = found
    if not store.value(
        "select 1 from destination_mappings where destination_id = $1"
        " union all select 1 from exported_memberships where destination_id = $1 limit 1",
        [destination_id],
    ):
        raise ConfigError(
            f"destination {destination_id} has no segment or trait mapped: nothing can be exported"
        )
    return destination


def _free_root(
    store: Store, destination: dict[str, Any], layout: Layout, mode: Mode, at: datetime
) -> OutboundRoot:
    root = OutboundRoot(layout, destination["destination_id"], destination["master_dpid"], mode, at)
    step = timedelta(milliseconds=1) if layout.time_digits == 13 else timedelta(seconds=1)
    while store.value("select 1 from exports where starts_with(file_name, ?)", [str(root)]):
        root = replace(root, at=root.at + step)
    return root


def _remember_memberships(store: Store, destination: dict[str, Any], layout: Layout) -> None:
    """Fill `memberships` with who is in what of all that is mapped, and `changes` with what was not said so."""
    dpid = AAM_UUID if layout.id == "uuid" else destination["master_dpid"]
    if dpid is None:
        raise ConfigError(
            f"destination {destination['destination_id']} has no master_dpid: say whose IDs its files hold,"
            " or `id: uuid` for AAM UUIDs"
        )
    fill_memberships(
        store.connection,
        dpid,
        "select sid from destination_mappings where destination_id = ?",
        [destination["destination_id"]],
    )


def _fill_lines(
    connection: duckdb.DuckDBPyConnection, destination: dict[str, Any], layout: Layout, mode: Mode
) -> list[int]:
    """Fill `lines` (part from 1, number, line, lines); return the users of each part."""
    removals = "true" if layout.tells_removals else "false"
    connection.execute(
        f"""
        create or replace temp table changes as
        with said as (
            select user_id, sid from exported_memberships where destination_id = $destination
        )
        select user_id, sid, since, true as member
        from memberships
        {"" if mode == "full" else "anti join said using (user_id, sid)"}
        union all by name
        select user_id, sid, null::timestamp as since, false as member
        from said anti join memberships using (user_id, sid)
        where {removals} and {"false" if mode == "full" else "true"}
        """,
        {"destination": destination["destination_id"]},
    )
    connection.execute(
        f"""
        create or replace temp table lines as
        with kinds as (
            select sid, '5' as type from segments
            union all
            select sid, if(trait_type = 'ON_BOARDED_TRAIT', '10', '3') as type from traits
        ),

        aliases as (
            select sid, any_value(alias) as alias
            from destination_mappings
            where destination_id = $destination
            group by sid
        ),

        tokens as (
            select
                changes.user_id,
                changes.sid,
                changes.member,
                kinds.type,
                coalesce(if($token = 'alias', aliases.alias, null), changes.sid::varchar) as token,
                epoch_ms(coalesce(changes.since, now()::timestamp))::varchar as since
            from changes
            left join kinds using (sid)
            left join aliases using (sid)
        ),

        users as (
            select
                user_id,
                coalesce(string_agg({_member(layout)}, $between order by sid) filter (member), '') as members,
                string_agg({_member(layout)}, $between order by sid) filter (not member) as removed
            from tokens
            group by user_id
        ),

        numbered as (
            select row_number() over (order by user_id) - 1 as number, {_line(layout)} as line from users
        )

        select number // $per_file + 1 as part, number, line || chr(10) as line, 1 as lines from numbered
        """,
        {
            "destination": destination["destination_id"],
            "token": layout.token,
            "between": layout.member_separator,
            "per_file": layout.lines_per_file or 2**62,
            **_line_parameters(layout),
        },
    )
    counts = connection.execute("select count(*) from lines group by part order by part").fetchall()
    return [count for (count,) in counts] or [0]


_ITEM_FIELDS = {
    "type": "type",
    "sid": "token",
    "value": "'1'",
    "lastUpdateTime": "since",
    "lastRealizationTime": "since",
}


def _member(layout: Layout) -> str:
    """A segment or trait in its list, as SQL."""
    match layout.kind:
        case "items":
            return f"concat_ws(',', {', '.join(_ITEM_FIELDS[field] for field in layout.item_fields)})"
        case "json_lines":
            ttl = "if(member, '', ',\"TtlInMinutes\":0')"
            return f"'{{' || to_json($token_key::varchar) || ':' || to_json(token) || {ttl} || '}}'"
        case _:
            return "token"


def _line(layout: Layout) -> str:
    """A user's line, as SQL."""
    if layout.kind == "json_lines":
        between = "if(members = '' or removed is null, '', ',')"
        return (
            "'{' || to_json($id_key::varchar) || ':' || to_json(user_id) || ',\"Data\":['"
            f" || members || {between} || coalesce(removed, '') || ']}}'"
        )
    return "user_id || $separator || members || coalesce($separator || removed, '')"


def _line_parameters(layout: Layout) -> dict[str, str]:
    if layout.kind == "json_lines":
        return {"id_key": layout.id_key or layout.id.upper(), "token_key": layout.token_key}
    return {"separator": layout.field_separator}


def _written(
    connection: duckdb.DuckDBPyConnection, root: OutboundRoot, folder: Path
) -> Iterator[OutboundFile]:
    """Write each part of `lines` into the folder under its name."""
    [(parts,)] = connection.execute("select coalesce(max(part), 1) from lines").fetchall()
    if root.is_too_long(parts):
        raise ConfigError(
            f"destination {root.destination_id}: its files' names are too long; shorten pid_alias"
        )
    header = "".join(f"{line}\n" for line in root.layout.header).encode()
    for part in range(1, parts + 1):
        found = connection.sql("select line, lines from lines where part = ? order by number", params=[part])
        yield _write(found.to_arrow_reader(100_000), header, folder / root.file(part, parts), root.layout)


def _write(batches: Any, header: bytes, file: Path, layout: Layout) -> OutboundFile:
    from isal import isal_zlib

    from aam_onboard.files import BatchText

    text_md5, file_md5 = (hashlib.md5(usedforsecurity=False) for _ in range(2))
    compressor = isal_zlib.compressobj(1, wbits=31) if layout.gzip else None
    lines = 0
    with file.open("wb") as out:

        def write(data: bytes) -> None:
            file_md5.update(data)
            out.write(data)

        text = io.BufferedReader(BatchText(batches), _BLOCK)
        block = header or text.read1(_BLOCK)
        while block:
            lines += block.count(b"\n")
            text_md5.update(block)
            write(compressor.compress(block) if compressor else block)
            block = text.read1(_BLOCK)
        if compressor:
            write(compressor.flush())
    md5 = file_md5 if layout.info_md5 == "file" else text_md5
    return OutboundFile(file.name, file.stat().st_size, lines, md5.hexdigest())


def _put_all(
    root: OutboundRoot, files: tuple[OutboundFile, ...], folder: Path, put: Put, weakness: Weakness
) -> Iterator[str]:
    names = [file.name for number, file in enumerate(files, start=1) if number != weakness.without_part]
    if root.layout.info != "none" and not weakness.without_info:
        (folder / root.info).write_text(info_text(root, files), encoding="utf-8")
        names.insert(0 if weakness.info_first else len(names), root.info)
    for name in names:
        key = root.layout.key(name)
        put(folder / name, key)
        yield key


def _record(
    connection: duckdb.DuckDBPyConnection,
    destination_id: int,
    mode: Mode,
    files: tuple[OutboundFile, ...],
    users: list[int],
    started: datetime,
) -> None:
    """The outbound history, and what has been said now."""
    ended = datetime.now(timezone.utc)
    connection.executemany(
        "insert into exports select coalesce(max(export_id), 0) + 1, ?, ?, ?, ?, ?, ?, true from exports",
        [
            [destination_id, mode, file.name, started.replace(tzinfo=None), ended.replace(tzinfo=None), count]
            for file, count in zip(files, users, strict=True)
        ],
    )
    connection.execute("delete from exported_memberships where destination_id = ?", [destination_id])
    connection.execute(
        "insert into exported_memberships select ?, user_id, sid from memberships", [destination_id]
    )
