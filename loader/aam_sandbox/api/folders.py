"""Folders of traits and of segments: trees."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from aam_sandbox.api.listing import ApiError

if TYPE_CHECKING:
    from aam_sandbox.store import Store

FolderKind = Literal["traits", "segments"]
MOST_FOLDERS = 2_000
MOST_LEVELS = 5


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
