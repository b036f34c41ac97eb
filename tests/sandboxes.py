"""A local Audience Manager with a handful of people in it."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aam_sandbox.server import listening, server_of
from aam_sandbox.store import Store, create, open_store

CRM, DEVICES, LOYALTY = 58342, 0, 58400  # a CRM's, AAM UUIDs, a cross-device source of the company
DESTINATION = 4411
ADULT, READER, BUYER, VISITOR = 9001, 9002, 9003, 9004  # traits
READERS_NOT_BUYERS, ANYONE_ELSE, PAUSED = 7001, 7002, 7003  # segments

# what an ingest leaves behind
JOB = """
insert into jobs (job_id, kind, dpid, target_dpid, mode, started_at, ended_at, success, records_received,
    stored_records)
values (1, 'data', 20914, 58342, 'sync', timestamp '2026-11-25 12:00:00', timestamp '2026-11-25 12:00:01', true, 3, 2);
insert into job_files values
    (1, 'ftp_dpm_20914_58342_1795597336.sync.gz', 'out/x', 99, 3, 'processed', null),
    (1, 'ftp_dpm_20914_58342_1795597336.sync.2.gz', 'out/y', 9, 0, 'deleted', '<i>cut</i> off');
insert into job_samples values
    (1, 'Format Errors', 'ftp_dpm_20914_58342_1795597336.sync.gz', 2, 'no tab <script>alert(1)</script>', 'no TAB');
"""


def uuid(number: int) -> str:
    """An AAM UUID."""
    return f"{number:038}"


@contextmanager
def sandbox(folder: Path) -> Iterator[Store]:
    """A sandbox with data sources, traits and segments, and nobody in it."""
    with create(folder) as store:
        store.connection.execute(
            f"""
            insert into data_sources values
                ({DEVICES}, 'AAM UUID', null, 'aam_uuid', false, false),
                ({CRM}, 'CRM', 'crm', 'dpuuid', false, true),
                ({LOYALTY}, 'Loyalty', 'loyalty', 'dpuuid', true, true);
            insert into folders values (0, 'traits', null, 'All Traits'), (11, 'traits', 0, 'Shop'),
                (0, 'segments', null, 'All Segments');
            insert into traits by name
            select
                sid, {CRM} as dpid, name, code as integration_code, rule, 120 as ttl, folder as folder_id,
                if(rule is null, 'ON_BOARDED_TRAIT', 'RULE_BASED_TRAIT') as trait_type, 'ACTIVE' as status,
                timestamp '2026-11-25 12:00:00' as created_at, created_at as updated_at
            from (
                values
                ({ADULT}, 'Adult', 'adult', null, 0),
                ({READER}, 'Reader', 'reader', null, 11),
                ({BUYER}, 'Buyer', null, null, 11),
                ({VISITOR}, 'Visitor of the shop', null, 'c_page == "shop"', 11)
            ) as given (sid, name, code, rule, folder);
            insert into segments
            select sid, {CRM}, name, null, null, rule, 0, null, status, timestamp '2026-11-25 12:00:00'
            from (
                values
                ({READERS_NOT_BUYERS}, 'Readers, not buyers', '{READER}T AND NOT {BUYER}', 'ACTIVE'),
                ({ANYONE_ELSE}, 'Anyone else', 'NOT ({READER} OR {BUYER})', 'ACTIVE'),
                ({PAUSED}, 'Paused', '{READER}', 'INACTIVE')
            ) as given (sid, name, rule, status);
            """
        )
    with open_store(folder) as store:
        yield store


def map_ids(store: Store, *pairs: tuple[str, int]) -> None:
    """Customers' IDs and the numbers of their devices' AAM UUIDs."""
    for number, (user_id, device) in enumerate(pairs):
        row = [CRM, user_id, DEVICES, uuid(device), number]
        store.connection.execute("insert into id_mappings values (?, ?, ?, ?, ?)", row)


def set_traits(store: Store, device: int, *sids: int, since: str = "2026-11-25 12:00:00") -> None:
    """What a device has from now on."""
    store.connection.execute("delete from qualifications where user_id = ?", [uuid(device)])
    for sid in sids:
        row = [DEVICES, uuid(device), [sid], since, sid]
        store.connection.execute("insert into qualifications values (?, ?, ?, ?, ?)", row)


def set_destination(store: Store, master_dpid: int | None = CRM, **layout: Any) -> None:
    """One destination, with this layout."""
    store.connection.execute("delete from destinations")
    row = [DESTINATION, "Partner", master_dpid, json.dumps(layout)]
    store.connection.execute("insert into destinations values (?, ?, ?, ?)", row)


def map_to_destination(store: Store, *sids: int, **aliases: int) -> None:
    """What the destination receives: segments and traits, those with an alias as `alias=sid`."""
    store.connection.execute("delete from destination_mappings")
    for sid, alias in [*((sid, None) for sid in sids), *((sid, alias) for alias, sid in aliases.items())]:
        store.connection.execute(
            "insert into destination_mappings values (?, ?, ?)", [DESTINATION, sid, alias]
        )


@contextmanager
def serving(folder: Path, **options: Any) -> Iterator[str]:
    """`aam sandbox serve` in a thread of the test: its address, without a slash at its end."""
    server = server_of(folder, **options)
    with listening("127.0.0.1", 0) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()
