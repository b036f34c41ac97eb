"""Destinations, their mappings, and what they were sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aam_sandbox.api.listing import PARTNER_ID, Listing, Paging, Where, listed, one_of

if TYPE_CHECKING:
    from aam_sandbox.store import Store

_DESTINATIONS = Listing(
    "destinations",
    {
        "destinationId": "destination_id",
        "pid": f"{PARTNER_ID}",
        "name": "name",
        "description": "null",
        "status": "'ACTIVE'",
        "destinationType": "'PUSH'",
        "dataSourceId": "master_dpid",
        "startDate": "null::bigint",
        "endDate": "null::bigint",
        "domainRestrictions": "'ALL'",
    },
    "destinationId",
    frozenset(("startDate", "endDate", "domainRestrictions")),
)
_MAPPINGS = Listing(
    "(select *, row_number() over (partition by destination_id order by sid) as mapping_id"
    " from destination_mappings) as mappings",
    {
        "destinationMappingId": "mapping_id",
        "sid": "sid",
        "traitType": "coalesce((select trait_type from traits where traits.sid = mappings.sid), 'SEGMENT')",
        "traitAlias": "alias",
        "valueAlias": "null",
        "elementName": "coalesce((select name from segments where segments.sid = mappings.sid),"
        " (select name from traits where traits.sid = mappings.sid))",
        "elementStatus": "'active'",
        "startDate": "null::bigint",
        "endDate": "null::bigint",
    },
    "destinationMappingId",
)


def destinations(store: Store, paging: Paging, contains_segment: int | None) -> Any:
    """GET /destinations: not whole, as Audience Manager's list is."""
    where = Where()
    if contains_segment is not None:
        where.add(
            "destination_id in (select destination_id from destination_mappings where sid = ?)",
            contains_segment,
        )
    return listed(store, _DESTINATIONS, where, paging, with_details=False)


def destination(store: Store, destination_id: int, with_mappings: bool = False) -> dict[str, Any]:
    """GET /destinations/<id>."""
    where = Where()
    where.equal("destination_id", destination_id)
    found = one_of(store, _DESTINATIONS, where, "destination")
    if with_mappings:
        found["mappings"] = mappings(store, destination_id, Paging())
    return found


def mappings(store: Store, destination_id: int, paging: Paging) -> Any:
    """GET /destinations/<id>/mappings."""
    destination(store, destination_id)
    where = Where()
    where.equal("destination_id", destination_id)
    return listed(store, _MAPPINGS, where, paging, with_details=True)


def outbound_history(store: Store, destination_id: int, start_ms: int, end_ms: int) -> list[dict[str, Any]]:
    """GET /destinations/<id>/history/outbound: the files that began to be sent in between, epoch milliseconds."""
    destination(store, destination_id)
    return store.rows(
        """
        select
            export_id as "pushID",
            destination_id as "orderID",
            master_dpid as "dataProviderID",
            upper(coalesce(settings ->> '$.sync_type', 's3')) as "syncType",
            mode = 'full' as "fullPublish",
            received_records as "receivedRecords",
            received_records as "attemptedRecords",
            if(exports.success, received_records, 0) as "successRecords",
            epoch_ms(started_at) as "startTime",
            epoch_ms(ended_at) as "endTime",
            file_name as "dataFileName",
            exports.success as success
        from exports inner join destinations using (destination_id)
        where destination_id = ? and epoch_ms(started_at) between ? and ?
        order by export_id
        """,
        [destination_id, start_ms, end_ms],
    )
