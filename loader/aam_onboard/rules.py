"""Audience Manager's rules: each stands once, in the vars of the package's dbt_project.yml, for SQL and for Python."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from aam_onboard.errors import ConfigError
from aam_onboard.filenames import MAX_DIGITS
from aam_onboard.reading import Settings, SomeSettings

# AWS's and Adobe's own numbers are far below; the state tables keep counts as bigint.
MOST = 10**15


def _compiles(pattern: str) -> str:
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"is no regular expression: {error}") from None
    return pattern


Dpid = Annotated[int, Field(ge=0, lt=10**MAX_DIGITS)]
Count = Annotated[int, Field(ge=1, le=MOST)]
Pattern = Annotated[str, AfterValidator(_compiles)]


class Limits(Settings):
    """Sizes in bytes; the rest are counts."""

    line_bytes: Count = Field(description="longer lines are dropped by Audience Manager")
    lines_per_user: Count = Field(description="more lines of a user in a file are discarded")
    split_bytes: Count = Field(description="compressed size at which a new file begins; yours to set")
    max_compressed_bytes: Count = Field(description="a larger compressed file is refused")
    max_plain_bytes: Count = Field(description="a file of more text is refused")
    hashed_emails_per_customer: Count = Field(description="of more, the newest stay")
    device_ids_per_user: Count = Field(description="of more device IDs of a DPUUID, the newest stay")
    user_ids_per_device: Count = Field(
        description="of more DPUUIDs of a device ID in one data source, the newest stay"
    )


class IdType(Settings):
    """A kind of user ID; `plain`: IDs that break none of the rules of `vars.plain.unbroken`."""

    kind: Literal["aam_uuid", "device", "dpuuid", "hashed_email"] = Field(description="which rules apply")
    dpid: Dpid | None = Field(default=None, description="the global data source of the type")
    pattern: Pattern | None = Field(default=None, description="what the whole ID is like")
    plain: Pattern | None = Field(default=None, description="what an ID is like that breaks no rule for sure")


class Rule(Settings):
    """A reason to keep a row back; see the comment above `rules` in dbt_project.yml."""

    reason: str
    says: str
    field: Literal["user_id", "signal_key", "signal_value"] | None = None
    kinds: list[str] | None = None
    matches: Pattern | None = None
    contains: Pattern | None = None
    unlike: Pattern | None = None
    guard: bool = False


class Plain(SomeSettings):
    """Of vars.plain, the rules that no plain text breaks."""

    unbroken: list[str] = Field(default=[])


class Rules(Settings):
    """Audience Manager's rules: what the checker needs."""

    limits: Limits = Field(description="Audience Manager's limits")
    id_types: dict[str, IdType] = Field(description="the kinds of user IDs by name")
    rules: list[Rule] = Field(description="the reasons to keep a row back, in order")
    plain: Plain = Field(default=Plain(), description="keys and values that break no rule for sure")
    spaces: str = Field(
        default=" ", min_length=1, description="the characters that `{spaces}` in a pattern means"
    )
    suspicious_ids: Literal["keep_back", "send"] = Field(
        default="keep_back",
        description="IDs such as undefined, N/A, 0 or 1.23E+11, the marks of a broken pipeline: `keep_back` or `send`",
    )

    @model_validator(mode="before")
    @classmethod
    def _fill_in_spaces(cls, given: Any) -> Any:
        if not isinstance(given, dict) or not isinstance(given.get("rules"), list):
            return given
        spaces = str(given.get("spaces", " "))
        rules = [
            {
                key: value.replace("{spaces}", spaces) if isinstance(value, str) else value
                for key, value in rule.items()
            }
            if isinstance(rule, dict)
            else rule
            for rule in given["rules"]
        ]
        return {**given, "rules": rules}

    def global_id_type(self, dpid: int) -> str | None:
        """The id type of a global data source, or None for a DPID of one's own."""
        return next((name for name, kind in self.id_types.items() if kind.dpid == dpid), None)

    def of(self, about: str, kind: str) -> Iterator[tuple[int, Rule]]:
        """The rules of a field for an ID or signal of a kind, with their place in the list."""
        for place, rule in enumerate(self.rules):
            if rule.reason == "suspicious_id" and self.suspicious_ids == "send":
                continue
            if rule.field == about and (rule.kinds is None or kind in rule.kinds):
                yield place, rule

    def sure_ids(self, id_type: str) -> str | None:
        """What an ID is like that breaks no rule for sure; None when there are more rules to try."""
        rules = self.of("user_id", self.id_types[id_type].kind)
        is_sure = all(rule.reason in self.plain.unbroken for _, rule in rules)
        return self.id_types[id_type].plain if is_sure else None

    def broken_where(self, rule: Rule, kind: str) -> tuple[str, bool]:
        """A pattern for RE2, and whether it is the texts with a part like it that break the rule, or those without.

        `kind`: an id type, or the kind of a signal. The macro rejection_reason says the same in the warehouse's SQL.
        Raises ConfigError for a rule that is no pattern here.
        """
        if rule.contains is not None:
            return rule.contains, True
        if rule.matches is not None:
            return rf"\A(?:{rule.matches})\z", True
        id_type = self.id_types.get(kind)
        pattern = id_type and id_type.pattern if rule.unlike == "id_type" else rule.unlike
        if pattern is None:
            raise ConfigError(f"vars.rules: {rule.reason} needs a pattern: give vars.id_types.{kind} one")
        return rf"\A(?:{pattern})\z", False

    def is_broken(self, rule: Rule, text: str, kind: str) -> bool:
        """Whether a text breaks a rule. Raises ConfigError as broken_where does."""
        import pyarrow as pa
        import pyarrow.compute as pc

        pattern, breaks = self.broken_where(rule, kind)
        return bool(pc.match_substring_regex(pa.scalar(text), pattern).as_py()) is breaks

    def says(self, reason: str) -> str:
        """What a reason code means, in words."""
        return next((rule.says for rule in self.rules if rule.reason == reason), reason)
