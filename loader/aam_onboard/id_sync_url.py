"""ID synchronisation over HTTP: the URL that tells Audience Manager one user's ID. [id-sync-http, declared-ids]"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from aam_onboard.config import DataSource
from aam_onboard.errors import ConfigError
from aam_onboard.rules import Rules

ENDPOINT = "https://dpm.demdex.net/ibs:"
# Audience Manager puts the AAM UUID in its place, so it must stand in the redirect as it is.
UUID_MACRO = "${DD_UUID}"


def id_sync_url(
    rules: Rules,
    data_sources: Mapping[int, DataSource] | None,
    dpid: int,
    user_id: str,
    redirect: str | None = None,
    gdpr: int | None = None,
    gdpr_consent: str | None = None,
) -> str:
    """The URL for one ID; everything in it is percent-encoded UTF-8 but RFC 3986's unreserved characters.

    `data_sources`: None outside a project, where a DPID that is no global one is taken for a CRM's own.
    Raises ConfigError for an ID that breaks a rule of its data source (PII, format), an unknown data source, and
    `gdpr` without `gdpr_consent` or the inverse.
    """
    id_type = rules.global_id_type(dpid)
    if data_sources is None:
        id_type = id_type or "dpuuid"
    elif dpid in data_sources:
        id_type = id_type or data_sources[dpid].id_type
    if id_type is None:
        raise ConfigError(
            f"--dpid {dpid}: not in vars.data_sources of dbt_project.yml; add it there with its id type"
        )
    reason = broken_rule(rules, id_type, user_id)
    if reason:
        raise ConfigError(f"--id: {rules.says(reason)} ({reason})")
    if (gdpr is None) != (gdpr_consent is None):
        raise ConfigError("--gdpr and --gdpr-consent go together: give both or neither")
    url = f"{ENDPOINT}dpid={dpid}&dpuuid={quote(user_id, safe='')}"
    if gdpr is not None:
        url += f"&gdpr={gdpr}&gdpr_consent={quote(str(gdpr_consent), safe='')}"
    if redirect is not None:
        url += f"&redir={UUID_MACRO.join(quote(part, safe='') for part in redirect.split(UUID_MACRO))}"
    return url


def broken_rule(rules: Rules, id_type: str, user_id: str) -> str | None:
    """The reason of the first rule of vars.rules that an ID breaks."""
    for _, rule in rules.of("user_id", rules.id_types[id_type].kind):
        if rules.is_broken(rule, user_id, id_type):
            return rule.reason
    return None
