"""The vars of dbt_project.yml that the loader reads, and which of several goes first."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, field_validator, model_validator

from aam_onboard.errors import ConfigError
from aam_onboard.package import NAME as PACKAGE
from aam_onboard.package import PROJECT_FILE, package_root, package_settings
from aam_onboard.reading import LocalPath, Number, Settings, SomeSettings, Text, first_mistake, render
from aam_onboard.rules import MOST, Dpid, Rules

Kind = TypeVar("Kind", bound=Rules)
Share = Annotated[Number, Field(ge=0, le=1)]


class Guards(Settings):
    """Limits past which a delivery stops and asks; shares are between 0 and 1. Of one ID, dbt warns only."""

    max_removed: Share = Field(
        default=0.2, description="share of the delivered signals that one delivery may remove"
    )
    max_shrink: Share = Field(default=0.2, description="share of the users that may lose all their signals")
    max_rejected: Share = Field(default=0.2, description="share of the rows that may be rejected")
    max_first: int = Field(default=50_000_000, ge=0, le=MOST, description="users in a feed's first delivery")
    max_share_of_one_id: Share = Field(
        default=0.5,
        description="share of a feed's rows that one user ID may have; past it dbt warns, and nothing stops",
    )


class Feed(Settings):
    """One SQL model whose rows go into one series of inbound files."""

    dpid: Dpid = Field(description="the data source whose IDs the rows carry")
    id_type: str = Field(description="of these IDs, a name of `id_types`")
    mode: Literal["sync", "overwrite"] = Field(
        description="`sync` sends what changed; `overwrite` replaces all that a user has in the traits' data source"
    )
    target_dpid: Dpid | None = Field(
        default=None,
        description="the data source whose traits the IDs qualify for; a must with a global data source",
    )
    guard: Guards = Field(default=Guards(), description="guards of this feed, before the project's")

    @property
    def traits_dpid(self) -> int:
        """The data source whose traits the IDs qualify for."""
        return self.dpid if self.target_dpid is None else self.target_dpid


class IdSync(Settings):
    """A feed of ID pairs, or rows of more: one column an ID, in the order of `dpids`."""

    prefix: Literal["adobe_id", "c2c_id"] = Field(
        description="`adobe_id`: device IDs to your IDs; `c2c_id`: your IDs to hashed e-mails"
    )
    dpids: list[Dpid] = Field(min_length=2, description="the data source of each column")
    columns: list[Text] = Field(min_length=2, description="the columns of the model, in the order of `dpids`")
    newest_by: Text | None = Field(
        default=None, description="a column with a time, date or number: of too many IDs, the newest stay"
    )
    chained: bool = Field(
        default=False, description="the first column's source is synced already, so it may be your own"
    )
    guard: Guards = Field(default=Guards(), description="guards of this feed, before the project's")


Separator = Literal["space", "two_spaces", "tab", "soh"]


class JsonKeys(Settings):
    """The keys of a line of JSON: the template of the destination names them."""

    user_id: Text = Field(default="DP_UUID", description="of the user's ID")
    members: Text = Field(default="Data", description="of the array of segments or traits")
    token: Text = Field(default="Name", description="of a segment or trait in it")
    ttl: Text = Field(default="TtlInMinutes", description="of a member that the user has left, where it is 0")


class Outbound(Settings):
    """A destination of Audience Manager's whose outbound files come back, and how its template has them look."""

    destination_id: Dpid = Field(description="as Audience Manager shows it")
    output: Text | None = Field(
        default=None,
        description="the output of `destinations.yml` where the files lie; without it, the one of `--to`",
    )
    dpid: Dpid | None = Field(default=None, description="the name's DPID element, before MASTER_DPID")
    master_dpid: Dpid | None = Field(
        default=None, description="the name's MASTER_DPID: whose IDs the files hold"
    )
    alias: Text | None = Field(
        default=None, description="the name's PID_ALIAS; without it, any that is no number"
    )
    in_name: list[Literal["destination_id", "dpid", "master_dpid"]] = Field(
        default=[], description="the numbers of the name in their order; without it, those that are set"
    )
    ids_of: Dpid | None = Field(
        default=None,
        description="the data source of the IDs in the lines; without it, `master_dpid`, else 0 (AAM UUIDs)",
    )
    time_digits: Literal[10, 13, 14] = Field(
        default=13, description="the name's time: 10: seconds, 13: milliseconds, 14: YYYYMMDDhhmmss"
    )
    kind: Literal["segments", "traits", "items", "json_lines"] = Field(
        default="segments",
        description="lines: ID, segments, those left · ID and traits · ID and `item_fields` of each · JSON",
    )
    members: Literal["segment", "trait"] | None = Field(
        default=None,
        description="what the tokens are; without it, traits where `kind` is `traits`, else segments",
    )
    separator: Separator | None = Field(
        default=None,
        description="between the fields: `space`, `two_spaces`, `tab` or `soh`; without it TABs, in `segments` spaces"
        " too, and a line that can be read in two ways is rejected",
    )
    list_separator: Annotated[str, Field(min_length=1, max_length=8)] | None = Field(
        default=None, description="between the members of a list; without it, `&` for items, else a comma"
    )
    columns: list[Literal["user_id", "members", "removed", "skip"]] = Field(
        default=["user_id", "members", "removed"], min_length=1, description="the fields of a line"
    )
    item_fields: list[Literal["type", "sid", "value", "lastUpdateTime", "lastRealizationTime", "skip"]] = (
        Field(
            default=["type", "sid", "value", "lastUpdateTime"],
            min_length=1,
            description="the fields of an item",
        )
    )
    json_keys: JsonKeys = Field(default=JsonKeys(), description="the keys of a line of JSON")
    header_lines: int = Field(default=0, ge=0, le=1000, description="lines before the first user")
    every_hours: Number = Field(
        default=24,
        gt=0,
        le=24 * 31,
        description="how often Audience Manager sends; a day without a batch is a gap",
    )
    max_shrink: Share = Field(
        default=0.2, description="share of the memberships that one full may end; past it, it is not received"
    )
    max_rejected: Share = Field(
        default=0.2, description="share of a file's lines that may be rejected; past it, it is not received"
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Outbound:
        unknown = [one for one in self.in_name if getattr(self, one) is None]
        if unknown:
            raise ValueError(f"`in_name` lists {unknown[0]}, which is not set")
        if "user_id" not in self.columns or "members" not in self.columns:
            raise ValueError("`columns` needs user_id and members")
        named = [one for one in self.columns if one != "skip"]
        if len(set(named)) < len(named):
            raise ValueError("`columns` names a field twice")
        if self.list_separator and any(one in self.list_separator for one in "\0\x02\x03\x1f\r\n"):
            raise ValueError("`list_separator` holds a control character that no line may hold")
        if "sid" not in self.item_fields:
            raise ValueError("`item_fields` needs sid")
        if not self.in_name:
            set_ = [
                one for one in ("destination_id", "dpid", "master_dpid") if getattr(self, one) is not None
            ]
            object.__setattr__(self, "in_name", set_)  # as pydantic's own validators do with frozen models
        return self

    @property
    def user_dpid(self) -> int:
        """The data source of the IDs in the lines."""
        return next((one for one in (self.ids_of, self.master_dpid) if one is not None), 0)


class ApiSettings(Settings):
    """Audience Manager's REST API; its credentials are secrets, and stand in the environment."""

    scope: Text = Field(
        description="of the server-to-server credentials, as the Adobe Developer Console shows it, commas between"
    )
    base_url: Text = Field(
        default="https://aam.adobe.io/v1",
        description="where the API is; `https://aam-beta.adobe.io/v1` is beta",
    )
    token_url: Text = Field(
        default="https://ims-na1.adobelogin.com/ims/token/v3", description="where Adobe gives tokens out"
    )
    org_id: Text | None = Field(
        default=None,
        description="your organization's ID (`…@AdobeOrg`), sent as `x-gw-ims-org-id` where Adobe wants it",
    )

    @field_validator("base_url", "token_url")
    @classmethod
    def _is_safe(cls, value: str) -> str:
        try:
            parts = urlsplit(value)
            host, _ = parts.hostname, parts.port
        except ValueError:
            raise ValueError("is no URL") from None
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("holds more than scheme, host and path; credentials stand in the environment")
        is_here = host in ("localhost", "127.0.0.1", "::1")
        if not host or not (parts.scheme == "https" or (parts.scheme == "http" and is_here)):
            raise ValueError(
                "is no https URL (http is for this machine alone), and would get secrets of yours"
            )
        return value

    @field_validator("org_id")
    @classmethod
    def _is_header(cls, value: str | None) -> str | None:
        if value is not None and not value.isascii():
            raise ValueError("is no ID of an organization")
        return value


class DataSource(Settings):
    """A data source as Audience Manager lists it."""

    name: str = Field(description="as Audience Manager shows it")
    id_type: str = Field(description="of its IDs, a name of `id_types`")
    owner: str = Field(default="", description="who answers for it")
    client_id_placement: str = Field(default="", description="where the ID stands on the site")
    cross_device: bool = Field(
        default=False,
        description="Audience Manager keeps signals of IDs that are not synced yet; on others it skips them",
    )


class Vars(Rules):
    """The vars that the loader reads; a project may hold others."""

    model_config = SomeSettings.model_config

    feeds: dict[str, Feed] = Field(default={}, description="your feeds by the name of their model")
    id_syncs: dict[str, IdSync] = Field(default={}, description="your ID syncs by the name of their model")
    data_sources: dict[Dpid, DataSource] = Field(default={}, description="your data sources by their DPID")
    outbound: dict[str, Outbound] = Field(
        default={},
        description="destinations of Audience Manager's whose outbound files come back, by names of yours",
    )
    api: ApiSettings | None = Field(
        default=None,
        description="Audience Manager's REST API: what it says of files is held against what we know; credentials in"
        " `AAM_API_CLIENT_ID` and `AAM_API_CLIENT_SECRET`",
    )
    retired: dict[str, Feed] = Field(default={}, description="`aam retire` passes the feed, as it was sent")
    guards: Guards = Field(default=Guards(), description="limits past which a delivery stops and asks")
    on_unprocessed: Literal["warn", "hold"] = Field(
        default="warn",
        description="`warn` or `hold` when an earlier file with the opposite sense still waits at the destination",
    )
    # Audience Manager keeps files for 30 days [amazon-s3]: nobody looks for older ones.
    not_picked_up_hours: Number = Field(
        default=24,
        ge=0,
        le=30 * 24,
        description="hours after which aam warns that a delivered file still waits there",
    )
    aam_state_schema: Text = Field(
        default="aam_state", description="schema of what has been delivered; never drop it"
    )
    destination: Text = Field(
        default="local", description="an output of destinations.yml; aam passes the one of --to"
    )
    check: bool = Field(default=True, description="check every file before it leaves")
    spool_dir: LocalPath = Field(
        default=Path(".aam/spool"),
        description="where files are made and wait, a path from the project's folder",
    )
    # ten years
    keep_days: Number = Field(
        default=0, ge=0, le=3650, description="days that delivered files stay in the spool; 0: not at all"
    )

    notify: Text | None = Field(
        default=None,
        description="who is to hear when a run fails, is stopped, or all is well again: a command, or the name of an"
        " environment variable with a webhook's URL; see docs/reporting.md",
    )

    @field_validator("notify", mode="before")
    @classmethod
    def _no_url(cls, value: Any) -> Any:
        if isinstance(value, str) and re.match(r"\s*[a-z]+://", value, re.IGNORECASE):
            raise ValueError(
                "a webhook's URL is a secret: put it into an environment variable, and its name here"
            )
        return value

    @field_validator("feeds", "id_syncs", "data_sources", "outbound", "guards", "plain", mode="before")
    @classmethod
    def _empty(cls, value: Any) -> Any:
        """A key with nothing behind it is what is left when all that stood there is a comment."""
        return {} if value is None else value


@dataclass(frozen=True)
class Found:
    """A var, and where it stands, as a message names it: `dbt_project.yml: vars.feeds`."""

    value: Any
    where: str


def merge_vars(project: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Found]:
    """The package's vars as dbt shows them to it: each whole, from the last place that has it, a text rendered.

    `project`: the `vars` of the project's dbt_project.yml, before the package's own; in it, what stands under the
    package's name goes before the rest. `given`: --vars, before all of them.
    """
    layers = [
        (f"{package_root() / PROJECT_FILE}: vars.", package_settings()["vars"]),
        (f"{PROJECT_FILE}: vars.", project),
        (f"{PROJECT_FILE}: vars.{PACKAGE}.", project.get(PACKAGE, {})),
        ("--vars: ", given),
    ]
    known = layers[0][1]  # others' vars may be written in what only dbt can render
    merged = {
        name: Found(value, f"{place}{name}") for place, layer in layers for name, value in layer.items()
    }
    return {
        name: replace(found, value=render(found.value, found.where))
        if isinstance(found.value, str)
        else found
        for name, found in merged.items()
        if name in known
    }


def read_vars(kind: type[Kind], merged: Mapping[str, Found]) -> Kind:
    """What `kind` wants of the vars, typed. Raises ConfigError that names the file and the setting."""
    try:
        return kind.model_validate({name: merged[name].value for name in kind.model_fields if name in merged})
    except ValidationError as error:
        name = str(error.errors(include_url=False)[0]["loc"][0])
        place = merged[name].where if name in merged else f"{PROJECT_FILE}: vars.{name}"
        raise ConfigError(place.removesuffix(name) + first_mistake(error)) from None
