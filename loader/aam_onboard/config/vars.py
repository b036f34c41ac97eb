"""The vars of dbt_project.yml that the loader reads, and which of several goes first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from aam_onboard.reading import LocalPath, Number, Settings, SomeSettings, Text
from aam_onboard.rules import MOST, Dpid, Rules

Share = Annotated[Number, Field(ge=0, le=1)]


class Guards(Settings):
    """Limits past which a delivery stops and asks; shares are between 0 and 1. Of one ID, dbt warns only."""

    max_removed: Share = 0.2
    max_shrink: Share = 0.2
    max_rejected: Share = 0.2
    max_first: int = Field(default=50_000_000, ge=0, le=MOST)
    max_share_of_one_id: Share = 0.5


class Feed(Settings):
    """One SQL model whose rows go into one series of inbound files."""

    dpid: Dpid
    id_type: str
    mode: Literal["sync", "overwrite"]
    target_dpid: Dpid | None = None
    # What is set here goes before the project's.
    guard: Guards = Guards()

    @property
    def traits_dpid(self) -> int:
        """The data source whose traits the IDs qualify for."""
        return self.dpid if self.target_dpid is None else self.target_dpid


class IdSync(Settings):
    """A feed of ID pairs, or rows of more: one column an ID, in the order of `dpids`."""

    prefix: Literal["adobe_id", "c2c_id"]
    dpids: list[Dpid] = Field(min_length=2)
    columns: list[Text] = Field(min_length=2)
    newest_by: Text | None = None
    chained: bool = False
    guard: Guards = Guards()


class DataSource(Settings):
    """A data source as Audience Manager lists it."""

    name: str
    id_type: str
    owner: str = ""
    client_id_placement: str = ""
    cross_device: bool = False


class Vars(Rules):
    """The vars that the loader reads; a project may hold others."""

    model_config = SomeSettings.model_config

    feeds: dict[str, Feed] = Field(default={})
    id_syncs: dict[str, IdSync] = Field(default={})
    data_sources: dict[Dpid, DataSource] = Field(default={})
    guards: Guards = Guards()
    on_unprocessed: Literal["warn", "hold"] = "warn"
    # Audience Manager keeps files for 30 days [amazon-s3]: nobody looks for older ones.
    not_picked_up_hours: Number = Field(default=24, ge=0, le=30 * 24)
    aam_state_schema: Text = "aam_state"
    destination: Text = "local"
    check: bool = True
    spool_dir: LocalPath = Path(".aam/spool")
    # ten years
    keep_days: Number = Field(default=0, ge=0, le=3650)

    @field_validator("feeds", "id_syncs", "data_sources", "guards", "plain", mode="before")
    @classmethod
    def _empty(cls, value: Any) -> Any:
        """A key with nothing behind it is what is left when all that stood there is a comment."""
        return {} if value is None else value


def merge_vars(package: str, layers: Sequence[Mapping[str, Any]], given: Mapping[str, Any]) -> dict[str, Any]:
    """The vars of a package as dbt sees them: each whole, from the last that has it.

    `layers`: the `vars` of dbt_project.yml files, the package's own before the project's that uses it; in each, what
    stands under the package's name goes before the rest. `given`: --vars, before all of them.
    """
    merged: dict[str, Any] = {}
    for layer in layers:
        merged |= {**layer, **(layer.get(package) or {})}
    return merged | dict(given)
