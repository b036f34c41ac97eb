"""Data sources, and what they took in."""

from __future__ import annotations

from datetime import timezone
from typing import TYPE_CHECKING, Any

from aam_sandbox.api.listing import PARTNER_ID, Listing, Paging, Where, listed, one_of

if TYPE_CHECKING:
    from aam_sandbox.store import Store

_DATA_SOURCES = Listing(
    "data_sources",
    {
        "dataSourceId": "dpid",
        "pid": f"{PARTNER_ID}",
        "name": "name",
        "description": "null",
        "status": "'ACTIVE'",
        "integrationCode": "integration_code",
        "idType": "case when cross_device then 'CROSS_DEVICE' when id_type in ('dpuuid', 'aam_uuid') then 'COOKIE'"
        " else 'DEVICE_ADVERTISING_ID' end",
        "subIdType": "if(cross_device, 'CROSS_DEVICE_PERSON', null)",
        "type": "'GENERAL'",
        "inboundS2S": "owned",
        "outboundS2S": "exists (select 1 from destinations where master_dpid = dpid)",
        "useAudienceManagerVisitorID": "id_type = 'aam_uuid'",
        "marketingCloudVisitorIdVersion": "0",
        "uniqueTraitIntegrationCodes": "true",
        "uniqueSegmentIntegrationCodes": "true",
        "dataExportRestrictions": "[]::varchar[]",
    },
    "dataSourceId",
)


def data_sources(store: Store, paging: Paging, integration_code: str | None) -> Any:
    """GET /datasources."""
    where = Where()
    where.equal("integration_code", integration_code)
    return listed(store, _DATA_SOURCES, where, paging, with_details=True)


def data_source(store: Store, dpid: int) -> dict[str, Any]:
    """GET /datasources/<id>."""
    where = Where()
    where.equal("dpid", dpid)
    return one_of(store, _DATA_SOURCES, where, "data source")


def inbound_history(
    store: Store, dpid: int, file_name: str | None, with_samples: bool
) -> list[dict[str, Any]]:
    """GET /datasources/<id>/history/inbound: a row a file, with the counters of its job.

    The fields are ours, in the manner of the outbound history: no page shows them.
    """
    data_source(store, dpid)
    rows = store.rows(
        "select job_files.*, jobs.* exclude (job_id, problem)"
        " from jobs inner join job_files using (job_id)"
        " where (dpid = $1 or target_dpid = $1) and ($2 is null or name = $2) order by job_id, name",
        [dpid, file_name],
    )
    samples: dict[Any, list[dict[str, Any]]] = {}
    if with_samples:
        for sample in store.rows("select * from job_samples order by job_id, file, line_number"):
            samples.setdefault((sample.pop("job_id"), sample.pop("file")), []).append(sample)
    return [_inbound_row(row, samples if with_samples else None) for row in rows]


def _inbound_row(row: dict[str, Any], samples: dict[Any, list[dict[str, Any]]] | None) -> dict[str, Any]:
    said: dict[str, Any] = {
        "jobID": row["job_id"],
        "dataFileName": row["name"],
        "dataSourceID": row["dpid"],
        "targetDataSourceID": row["target_dpid"],
        "startTime": _epoch_ms(row["started_at"]),
        "endTime": _epoch_ms(row["ended_at"]),
        "success": row["success"],
        "problem": row["problem"],
    }
    counters = (
        name
        for name in row
        if name.startswith(("total_", "records_", "no_", "invalid_", "format_", "stored_"))
    )
    said |= {_camel(name): row[name] for name in counters}
    if samples is not None:
        found = samples.get((row["job_id"], row["name"]), [])
        said["samples"] = [{_camel(name): value for name, value in sample.items()} for sample in found]
    return said


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(word.capitalize() for word in others)


def _epoch_ms(at: Any) -> int | None:

    return None if at is None else int(at.replace(tzinfo=timezone.utc).timestamp() * 1000)
