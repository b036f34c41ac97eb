"""The REST API's answers, as far as pages show them: the sandbox's rows in Audience Manager's words.

[aam-api-getting-started, aam-api-retrieve-destinations]. What stands here knows no HTTP: an error has the status with
which it is answered.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from aam_onboard.errors import AamError, ConfigError
from aam_sandbox.segments import parse_segment_rule
from aam_sandbox.trait_rules import parse_trait_rule

if TYPE_CHECKING:
    from aam_sandbox.store import Store

PARTNER_ID = 1
FolderKind = Literal["traits", "segments"]

# [usage-limits]
MOST_TRAITS = 100_000
MOST_SEGMENTS = 20_000
MOST_FOLDERS = 2_000
MOST_LEVELS = 5
_DEFAULT_PAGE_SIZE = 10


class ApiError(AamError):
    """An answer that is no 2xx: its status, and a line that says why (Audience Manager documents no body)."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Paging:
    """The options of a list. Without `page` and `page_size` it is an array of everything, with one an object."""

    page: int | None = None
    page_size: int | None = None
    sort_by: str | None = None
    descending: bool = False
    search: str | None = None


@dataclass(frozen=True)
class _Listing:
    """How a list is read: API field → SQL, the table, and what of it stands in details only."""

    table: str
    fields: Mapping[str, str]
    key: str
    details: frozenset[str] = frozenset()


@dataclass
class _Where:
    """Conditions and their parameters."""

    conditions: list[str] = field(default_factory=lambda: ["true"])
    parameters: list[Any] = field(default_factory=list)

    def add(self, condition: str, *parameters: Any) -> None:
        self.conditions.append(condition)
        self.parameters.extend(parameters)

    def equal(self, column: str, value: Any) -> None:
        """`value`: None or an empty list: any."""
        if isinstance(value, list):
            if value:
                self.add(f"list_contains(?, {column})", value)
        elif value is not None:
            self.add(f"{column} = ?", value)

    def __str__(self) -> str:
        return " and ".join(self.conditions)


_DATA_SOURCES = _Listing(
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
_TRAITS = _Listing(
    "traits",
    {
        "sid": "sid",
        "pid": f"{PARTNER_ID}",
        "name": "name",
        "description": "description",
        "dataSourceId": "dpid",
        "folderId": "folder_id",
        "status": "status",
        "traitType": "trait_type",
        "createTime": "epoch_ms(created_at)",
        "updateTime": "epoch_ms(created_at)",
        "ttl": "ttl",
        "integrationCode": "integration_code",
        "traitRule": "rule",
        "traitRuleVersion": "0",
        "type": "if(trait_type = 'ON_BOARDED_TRAIT', 10, 3)",
    },
    "sid",
    frozenset(("ttl", "integrationCode", "traitRule", "traitRuleVersion", "type")),
)
_SEGMENTS = _Listing(
    "segments",
    {
        "sid": "sid",
        "pid": f"{PARTNER_ID}",
        "name": "name",
        "description": "description",
        "integrationCode": "integration_code",
        "dataSourceId": "dpid",
        "mergeRuleDataSourceId": "merge_rule_dpid",
        "folderId": "folder_id",
        "status": "status",
        "segmentRule": "rule",
        "createTime": "epoch_ms(created_at)",
        "updateTime": "epoch_ms(created_at)",
    },
    "sid",
)
_DESTINATIONS = _Listing(
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
_MAPPINGS = _Listing(
    "(select *, row_number() over (partition by destination_id order by sid) as mapping_id"
    " from destination_mappings)",
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


def _listed(
    store: Store, listing: _Listing, where: _Where, paging: Paging, with_details: bool
) -> list[dict[str, Any]] | dict[str, Any]:
    fields = {
        name: sql for name, sql in listing.fields.items() if with_details or name not in listing.details
    }
    if paging.sort_by is not None and paging.sort_by not in fields:
        raise ApiError(400, "sortBy is no field of this list")
    if paging.search is not None:
        where.add(f"contains(lower({fields.get('name', 'null')}), lower(?))", paging.search)
    source = f"from {listing.table} as mappings" if listing is _MAPPINGS else f"from {listing.table}"
    columns = ", ".join(f'{sql} as "{name}"' for name, sql in fields.items())
    # a key after the field, so that pages fit together
    order = ", ".join(
        f"{fields[name]} {'desc' if paging.descending else 'asc'} nulls last"
        for name in (paging.sort_by or listing.key, listing.key)
    )
    sql = f"select {columns} {source} where {where} order by {order}"
    if paging.page is None and paging.page_size is None:
        return store.rows(sql, where.parameters)
    page = paging.page or 0
    page_size = paging.page_size or _DEFAULT_PAGE_SIZE
    found = store.rows(f"{sql} limit {page_size} offset {page * page_size}", where.parameters)
    total = store.value(f"select count(*) {source} where {where}", where.parameters)
    return {"total": total, "page": page, "pageSize": page_size, "list": found}


def _one(store: Store, listing: _Listing, where: _Where, what: str) -> dict[str, Any]:
    found = _listed(store, listing, where, Paging(), with_details=True)
    if len(found) != 1 or not isinstance(found, list):
        raise ApiError(404, f"there is no such {what}")
    one: dict[str, Any] = found[0]
    return one


def data_sources(store: Store, paging: Paging, integration_code: str | None) -> Any:
    """GET /datasources."""
    where = _Where()
    where.equal("integration_code", integration_code)
    return _listed(store, _DATA_SOURCES, where, paging, with_details=True)


def data_source(store: Store, dpid: int) -> dict[str, Any]:
    """GET /datasources/<id>."""
    where = _Where()
    where.equal("dpid", dpid)
    return _one(store, _DATA_SOURCES, where, "data source")


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
    from datetime import timezone

    return None if at is None else int(at.replace(tzinfo=timezone.utc).timestamp() * 1000)


class TraitBody(BaseModel):
    """The body of POST and PUT /traits; what Audience Manager sets itself is not minded."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)

    name: Annotated[str, Field(min_length=1, max_length=255)]
    traitType: Literal["RULE_BASED_TRAIT", "ON_BOARDED_TRAIT"]
    dataSourceId: Annotated[int, Field(ge=0, lt=2**63)]
    folderId: Annotated[int, Field(ge=0, lt=2**63)]
    traitRule: str | None = None
    description: str | None = None
    integrationCode: str | None = None
    ttl: Annotated[int, Field(ge=0, lt=2**31)] = 120
    status: Literal["ACTIVE", "INACTIVE"] = "ACTIVE"


class RuleBody(BaseModel):
    """The body of POST /traits/validate."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)

    code: str


def traits(
    store: Store,
    paging: Paging,
    folder_id: int | None,
    integration_code: str | None,
    dpids: list[int],
    with_details: bool,
) -> Any:
    """GET /traits."""
    where = _Where()
    where.equal("folder_id", folder_id)
    where.equal("integration_code", integration_code)
    where.equal("dpid", dpids)
    return _listed(store, _TRAITS, where, paging, with_details)


def trait(store: Store, sid: int) -> dict[str, Any]:
    """GET /traits/<sid>."""
    where = _Where()
    where.equal("sid", sid)
    return _one(store, _TRAITS, where, "trait")


def trait_by_code(store: Store, integration_code: str) -> dict[str, Any]:
    """GET /traits/ic:<code>."""
    where = _Where()
    where.equal("integration_code", integration_code)
    return _one(store, _TRAITS, where, "trait")


def create_trait(store: Store, body: TraitBody) -> dict[str, Any]:
    """POST /traits. ApiError 400 for what can't be, 409 when the data source has the integration code already."""
    if _count(store, "traits") >= MOST_TRAITS:
        raise ApiError(400, f"there are {MOST_TRAITS:,} traits already, the most there can be")
    _require_possible(store, body)
    with store.transaction() as connection:
        sid = store.value(
            "select max(sid) + 1 from (select sid from traits union all select sid from segments union all select 0)"
        )
        connection.execute(
            f"insert into traits ({', '.join(_columns(body))}, sid, created_at)"
            f" values ({', '.join('?' for _ in _columns(body))}, ?, now()::timestamp)",
            [*_columns(body).values(), sid],
        )
    return trait(store, sid)


def change_trait(store: Store, sid: int, body: TraitBody) -> dict[str, Any]:
    """PUT /traits/<sid>: the whole trait anew. ApiError as create_trait, 404 when there is none."""
    trait(store, sid)
    _require_possible(store, body, sid)
    columns = _columns(body)
    store.connection.execute(
        f"update traits set {', '.join(f'{column} = ?' for column in columns)} where sid = ?",
        [*columns.values(), sid],
    )
    return trait(store, sid)


def delete_traits(store: Store, sids: Sequence[int]) -> None:
    """DELETE /traits/<sid> and POST /traits/bulk-delete: all or, with ApiError 404, none."""
    for sid in sids:
        trait(store, sid)
    with store.transaction() as connection:
        for table in ("traits", "profile_traits", "destination_mappings"):
            connection.execute(f"delete from {table} where list_contains(?, sid)", [list(sids)])


def _columns(body: TraitBody) -> dict[str, Any]:
    return {
        "name": body.name,
        "trait_type": body.traitType,
        "dpid": body.dataSourceId,
        "folder_id": body.folderId,
        "rule": body.traitRule or None,
        "description": body.description,
        "integration_code": body.integrationCode or None,
        "ttl": body.ttl,
        "status": body.status,
    }


def _require_possible(store: Store, body: TraitBody, sid: int | None = None) -> None:
    if store.value("select owned from data_sources where dpid = ?", [body.dataSourceId]) is not True:
        raise ApiError(400, "dataSourceId is no data source of the company")
    if store.value("select 1 from folders where kind = 'traits' and folder_id = ?", [body.folderId]) is None:
        raise ApiError(400, "folderId is no folder of traits")
    if body.traitType == "RULE_BASED_TRAIT" and not body.traitRule:
        raise ApiError(400, "traitRule is missing: a rule-based trait needs one")
    if body.traitRule:
        validate_rule(body.traitRule)
    if body.integrationCode and store.value(
        "select 1 from traits where dpid = ? and integration_code = ? and sid is distinct from ?",
        [body.dataSourceId, body.integrationCode, sid],
    ):
        raise ApiError(409, "integrationCode is that of another trait of the data source")


def validate_rule(rule: str) -> dict[str, Any]:
    """POST /traits/validate. ApiError 400 points at the character."""
    try:
        parse_trait_rule(rule)
    except ConfigError as error:
        raise ApiError(400, str(error)) from None
    return {"code": rule, "valid": True}


def trait_limits(store: Store) -> dict[str, Any]:
    """GET /traits/limits; the shape is ours."""
    return {"limit": MOST_TRAITS, "count": _count(store, "traits")}


def rule_versions(store: Store, sid: int) -> list[dict[str, Any]]:
    """GET /traits/<sid>/trait-rule/versions: the sandbox keeps the newest alone."""
    found = trait(store, sid)
    return [{"version": 0, "traitRule": found["traitRule"], "createTime": found["createTime"]}]


def segments(
    store: Store,
    paging: Paging,
    folder_id: int | None,
    integration_code: str | None,
    dpids: list[int],
    status: str | None,
    contains_trait: int | None,
    merge_rule_dpid: int | None,
    with_trait_sources: bool,
) -> Any:
    """GET /segments."""
    where = _Where()
    where.equal("folder_id", folder_id)
    where.equal("integration_code", integration_code)
    where.equal("dpid", dpids)
    where.equal("status", status)
    where.equal("merge_rule_dpid", merge_rule_dpid)
    if contains_trait is not None:
        where.add(f"regexp_matches(rule, '(^|[^0-9]){int(contains_trait)}([^0-9]|$)')")
    found = _listed(store, _SEGMENTS, where, paging, with_details=True)
    if with_trait_sources:
        rows = found["list"] if isinstance(found, dict) else found
        sources = {row["sid"]: row["dpid"] for row in store.rows("select sid, dpid from traits")}
        for row in rows:
            sids = parse_segment_rule(row["segmentRule"] or "").sids
            row["traitDataSourceIds"] = sorted({sources[sid] for sid in sids if sid in sources})
    return found


def segment(store: Store, sid: int) -> dict[str, Any]:
    """GET /segments/<sid>."""
    where = _Where()
    where.equal("sid", sid)
    return _one(store, _SEGMENTS, where, "segment")


def segment_by_code(store: Store, integration_code: str) -> dict[str, Any]:
    """GET /segments/ic:<code>."""
    where = _Where()
    where.equal("integration_code", integration_code)
    return _one(store, _SEGMENTS, where, "segment")


def segment_limits(store: Store) -> dict[str, Any]:
    """GET /segments/limits; the shape is ours."""
    return {"limit": MOST_SEGMENTS, "count": _count(store, "segments")}


def _count(store: Store, table: str) -> int:
    return int(store.value(f"select count(*) from {table}"))


class FolderBody(BaseModel):
    """The body of POST /folders/…."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)

    parentFolderId: Annotated[int, Field(ge=0, lt=2**63)]
    name: Annotated[str, Field(min_length=1, max_length=255)]


def folders(store: Store, kind: FolderKind) -> list[dict[str, Any]]:
    """GET /folders/traits and /folders/segments: the roots, which hold their folders."""
    rows = store.rows("select * from folders where kind = ? order by folder_id", [kind])
    children: dict[int | None, list[dict[str, Any]]] = {}
    for row in rows:
        is_root = row["parent_folder_id"] is None or row["parent_folder_id"] == row["folder_id"]
        children.setdefault(None if is_root else row["parent_folder_id"], []).append(row)

    def nodes(parent: int | None, path: str) -> Iterator[dict[str, Any]]:
        for row in children.get(parent, []):
            own = "/" if parent is None else f"{path.rstrip('/')}/{row['name']}"
            below = list(nodes(row["folder_id"], own))
            yield {
                "folderId": row["folder_id"],
                "parentFolderId": row["parent_folder_id"] or 0,
                "name": row["name"],
                "path": own,
                "folderCount": len(below),
                "subFolders": below,
            }

    return list(nodes(None, ""))


def folder(store: Store, kind: FolderKind, folder_id: int) -> dict[str, Any]:
    """GET /folders/traits/<id> and /folders/segments/<id>."""
    return _level_of(store, kind, folder_id)[0]


def _level_of(store: Store, kind: FolderKind, folder_id: int) -> tuple[dict[str, Any], int]:
    level, here = 0, folders(store, kind)
    while here:
        for node in here:
            if node["folderId"] == folder_id:
                return node, level
        level, here = level + 1, [below for node in here for below in node["subFolders"]]
    raise ApiError(404, "there is no such folder")


def create_folder(store: Store, kind: FolderKind, body: FolderBody) -> dict[str, Any]:
    """POST /folders/traits and /folders/segments. ApiError: 400 past a limit, 404 no parent, 409 name taken."""
    parent, level = _level_of(store, kind, body.parentFolderId)
    if level >= MOST_LEVELS:
        raise ApiError(400, f"folders have {MOST_LEVELS} levels at most")
    if store.value("select count(*) from folders where kind = ?", [kind]) >= MOST_FOLDERS:
        raise ApiError(400, f"there are {MOST_FOLDERS:,} folders already, the most there can be")
    if any(node["name"] == body.name for node in parent["subFolders"]):
        raise ApiError(409, "the parent has a folder of this name already")
    folder_id = store.value("select max(folder_id) + 1 from folders where kind = ?", [kind])
    store.connection.execute(
        "insert into folders (folder_id, kind, parent_folder_id, name) values (?, ?, ?, ?)",
        [folder_id, kind, body.parentFolderId, body.name],
    )
    return folder(store, kind, folder_id)


def destinations(store: Store, paging: Paging, contains_segment: int | None) -> Any:
    """GET /destinations: not whole, as Audience Manager's list is."""
    where = _Where()
    if contains_segment is not None:
        where.add(
            "destination_id in (select destination_id from destination_mappings where sid = ?)",
            contains_segment,
        )
    return _listed(store, _DESTINATIONS, where, paging, with_details=False)


def destination(store: Store, destination_id: int, with_mappings: bool = False) -> dict[str, Any]:
    """GET /destinations/<id>."""
    where = _Where()
    where.equal("destination_id", destination_id)
    found = _one(store, _DESTINATIONS, where, "destination")
    if with_mappings:
        found["mappings"] = mappings(store, destination_id, Paging())
    return found


def mappings(store: Store, destination_id: int, paging: Paging) -> Any:
    """GET /destinations/<id>/mappings."""
    destination(store, destination_id)
    where = _Where()
    where.equal("destination_id", destination_id)
    return _listed(store, _MAPPINGS, where, paging, with_details=True)


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


def read_body(kind: type[BaseModel], content: bytes) -> Any:
    """A JSON body. ApiError 400 names the field and what is wrong with it, never its value."""
    from pydantic import ValidationError

    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(step) for step in found["loc"])
        raise ApiError(400, f"{where}: {found['msg']}" if where else found["msg"]) from None


def read_numbers(content: bytes) -> list[int]:
    """A JSON array of IDs. ApiError 400 for anything else."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, list) or not all(type(one) is int and 0 <= one < 2**63 for one in found):
        raise ApiError(400, "the body is no array of IDs")
    return found
