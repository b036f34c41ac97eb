"""How lists are read and paged, what an error is, and how bodies are read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from aam_onboard.errors import AamError

if TYPE_CHECKING:
    from aam_sandbox.store import Store

PARTNER_ID = 1
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
class Listing:
    """How a list is read: API field → SQL, the table, and what of it stands in details only."""

    table: str
    fields: Mapping[str, str]
    key: str
    details: frozenset[str] = frozenset()


@dataclass
class Where:
    """Conditions and their parameters."""

    conditions: list[str] = field(default_factory=lambda: ["true"])
    parameters: list[Any] = field(default_factory=list)

    def add(self, condition: str, *parameters: Any) -> None:
        """And this."""
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


def listed(
    store: Store, listing: Listing, where: Where, paging: Paging, with_details: bool
) -> list[dict[str, Any]] | dict[str, Any]:
    """Those for whom the conditions hold: an array, with page options an object. ApiError 400: sortBy is no field."""
    fields = {
        name: sql for name, sql in listing.fields.items() if with_details or name not in listing.details
    }
    if paging.sort_by is not None and paging.sort_by not in fields:
        raise ApiError(400, "sortBy is no field of this list")
    if paging.search is not None:
        where.add(f"contains(lower({fields.get('name', 'null')}), lower(?))", paging.search)
    source = f"from {listing.table}"
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


def one_of(store: Store, listing: Listing, where: Where, what: str) -> dict[str, Any]:
    """The one for which the conditions hold. ApiError 404 that names `what` there is not."""
    found = listed(store, listing, where, Paging(), with_details=True)
    if len(found) != 1 or not isinstance(found, list):
        raise ApiError(404, f"there is no such {what}")
    one: dict[str, Any] = found[0]
    return one


def count_of(store: Store, table: str) -> int:
    """How many rows a table has."""
    return int(store.value(f"select count(*) from {table}"))


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
