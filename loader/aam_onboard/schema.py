"""What can be set, for people and for editors: docs/settings.md and the JSON schemas in docs/schema/, from the types.

`python -m aam_onboard.schema docs` writes them anew.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, TypeAdapter
from pydantic_core import PydanticUndefined

from aam_onboard.config import ApiSettings, DataSource, Feed, Guards, IdSync, JsonKeys, Outbound, Vars
from aam_onboard.destinations import DestinationSettings
from aam_onboard.package import NAME, package_settings
from aam_onboard.reading import Settings
from aam_onboard.rules import Dpid, IdType, Limits

# dbt renders what stands between the braces before it is read.
_TEMPLATE = {"type": "string", "pattern": r"\{\{"}
# `environment` fills them in.
_FILLED_IN = ("bucket", "host")


class IdSyncPixel(Settings):
    """A model whose IDs get the URL of an ID sync each."""

    dpid: Dpid = Field(description="the data source of the IDs")
    column: str = Field(description="the column of the model that holds them")


class AllVars(Vars):
    """The vars of the package, those that only dbt reads included."""

    id_sync_pixels: dict[str, IdSyncPixel] = Field(
        default={}, description="models whose IDs get an ID sync URL each, in the model id_sync_pixels"
    )
    segment_taxonomy: str | None = Field(
        default=None,
        description="a seed or model of yours with `segment_id` and `segment_name`: names of segments that come back",
    )
    full: bool = Field(
        default=False, description="every user, whole, as .overwrite; what `aam run --full` sets"
    )
    aam_state_version: int = Field(description="of the state's tables; not for you to set")


def project_schema() -> dict[str, Any]:
    """The JSON schema of dbt_project.yml, as far as its vars are ours."""
    schema = AllVars.model_json_schema()
    definitions = schema.pop("$defs")
    # what a project leaves out stands in the package
    definitions["vars"] = _plain({**schema, "required": [], "title": "vars"})
    ours = {"$ref": "#/$defs/vars"}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "dbt_project.yml of a project that uses aam_onboard",
        "type": "object",
        "properties": {"vars": {"allOf": [ours, {"properties": {NAME: ours}}]}},
        "$defs": {name: _plain(definition) for name, definition in definitions.items()},
    }


def destinations_schema() -> dict[str, Any]:
    """The JSON schema of destinations.yml."""
    schema = TypeAdapter(DestinationSettings).json_schema()
    definitions = {name: _plain(definition) for name, definition in schema["$defs"].items()}
    for definition in definitions.values():
        definition["properties"] = {
            # the kind of an output stands there in plain, so that an editor can tell what else may
            name: value if name == "type" or (value.get("type") == "string" and "enum" not in value)
            else {"anyOf": [value, _TEMPLATE]}
            for name, value in definition["properties"].items()
        }  # fmt: skip
        definition["required"] = [name for name in definition.get("required", []) if name not in _FILLED_IN]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "destinations.yml",
        "type": "object",
        "properties": {
            "target": {"type": "string", "description": "the output to use without --to"},
            "outputs": {"type": "object", "additionalProperties": {"oneOf": schema["anyOf"]}},
        },
        "required": ["outputs"],
        "$defs": definitions,
    }


def _plain(schema: Any) -> Any:
    """pydantic's schema in the words that JSON Schema has, without titles that only say the name again."""
    if isinstance(schema, list):
        return [_plain(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    names = {"ge": "minimum", "le": "maximum", "gt": "exclusiveMinimum", "lt": "exclusiveMaximum"}
    return {
        names.get(key, key): {name: _plain(one) for name, one in value.items()}
        if key == "properties"
        else _plain(value)
        for key, value in schema.items()
        if key != "title"
    }


def settings_page() -> str:
    """docs/settings.md."""
    return "\n".join(_page(package_settings()["vars"])) + "\n"


def _page(defaults: dict[str, Any]) -> Iterator[str]:
    yield from (
        "# Settings",
        "",
        "Made by `make docs` from the types that read the settings; the defaults stand in the dbt package's own"
        " `dbt_project.yml`.",
        "",
        "Set them under `vars:` of your `dbt_project.yml`, either plainly or under `aam_onboard:`. The package's"
        " defaults give way to what stands plainly, that to what stands under `aam_onboard:`, and all to `--vars`; each"
        " time a whole key, so that a map is replaced and not merged. A text may hold"
        " `{{ env_var('NAME', 'default') }}`.",
        "",
        "An editor that knows YAML checks and completes them with"
        " `# yaml-language-server: $schema=.aam/dbt_package/docs/schema/dbt_project.json` as the first line of"
        " `dbt_project.yml`, and `…/destinations.json` in `destinations.yml`.",
        "",
        "## vars",
        "",
    )
    yield from _table(AllVars, defaults)
    for title, model, values in (
        ("guards", Guards, defaults["guards"]),
        ("A feed: feeds.<name>", Feed, {}),
        ("An ID sync: id_syncs.<name>", IdSync, {}),
        ("A data source: data_sources.<DPID>", DataSource, {}),
        ("An outbound destination: outbound.<name>", Outbound, {}),
        ("The keys of a line of JSON: outbound.<name>.json_keys", JsonKeys, {}),
        ("The REST API: api", ApiSettings, {}),
        ("The pixels of a model: id_sync_pixels.<model>", IdSyncPixel, {}),
        ("limits", Limits, defaults["limits"]),
        ("An ID type: id_types.<name>", IdType, {}),
    ):
        yield from ("", f"## {title}", "")
        yield from _table(model, values)


def _table(model: type[BaseModel], values: dict[str, Any]) -> Iterator[str]:
    yield "| setting | default | meaning |"
    yield "|---|---|---|"
    fields = model.model_fields
    for name in sorted(fields, key=list(values).index) if values.keys() == fields.keys() else fields:
        field = fields[name]
        default = values.get(name, field.default)
        if default is PydanticUndefined:
            shown = "must be given"
        elif default is None or default == "":
            shown = "none"
        elif isinstance(default, (dict, list, BaseModel)) or not str(default).isprintable():
            shown = "see there" if default else "none"
        else:
            shown = f"`{json.dumps(default) if not isinstance(default, str) else default}`"
        yield f"| `{name}` | {shown} | {field.description} |"


def write(docs: Path) -> None:
    """Write all of them below `docs`."""
    (docs / "schema").mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (docs / name).write_text(text, encoding="utf-8")


def pages() -> dict[str, str]:
    """What stands below docs/, by its path there."""
    return {
        "settings.md": settings_page(),
        "schema/dbt_project.json": json.dumps(project_schema(), indent=2) + "\n",
        "schema/destinations.json": json.dumps(destinations_schema(), indent=2) + "\n",
    }


if __name__ == "__main__":
    write(Path(sys.argv[1]))
