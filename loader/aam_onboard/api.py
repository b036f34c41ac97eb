"""Audience Manager's REST API, asked and never changed: what it says of files, to hold against our own knowledge.

[aam-api-getting-started, aam-api-retrieve-destinations]. Server-to-server credentials, from the environment alone.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from aam_onboard.errors import AamError, ConfigError
from aam_onboard.package import package_version
from aam_onboard.reading import shown

if TYPE_CHECKING:
    import httpx

    from aam_onboard.config import ApiSettings, Project

CLIENT_ID, CLIENT_SECRET = "AAM_API_CLIENT_ID", "AAM_API_CLIENT_SECRET"
_TIMEOUT_SECONDS = 30.0
_WAITS = (1.0, 4.0, 15.0)  # before the second attempt, and those after it
_LONGEST_WAIT = 120.0  # that a server may ask for
_EARLY_SECONDS = 60  # before a token expires
_MOST_PAGES = 10_000


class ApiError(AamError):
    """The API can't be reached, or does not answer as it should."""


class UnknownToApiError(ConfigError):
    """The API does not know what a setting names."""


@contextmanager
def opened_api(project: Project) -> Iterator[Api | None]:
    """The API that vars.api says, None without it. Nothing is asked yet.

    Raises ConfigError where the credentials or the library are missing.
    """
    settings = project.vars.api
    if settings is None:
        yield None
        return
    try:
        import httpx
    except ImportError:
        raise ConfigError("vars.api needs httpx: pip install 'aam-onboard[api]'") from None
    missing = [name for name in (CLIENT_ID, CLIENT_SECRET) if not os.environ.get(name)]
    if missing:
        raise ConfigError(
            f"vars.api is set, but the environment variable {missing[0]} is not: it holds the server-to-server"
            " credentials of the Adobe Developer Console"
        )
    with httpx.Client(timeout=_TIMEOUT_SECONDS) as client:
        yield Api(client, settings, os.environ[CLIENT_ID], os.environ[CLIENT_SECRET])


class Api:
    """What Audience Manager says. Each method raises ConfigError where it lets us not in or knows no such thing, and
    ApiError where it does not answer as it should."""

    def __init__(self, client: httpx.Client, settings: ApiSettings, client_id: str, secret: str) -> None:
        self._client, self._settings = client, settings
        self._client_id, self._secret = client_id, secret
        self._token, self._renew_at = "", 0.0

    def reach(self) -> None:
        """Prove that it lets us in. The first call of a technical account also makes its user there."""
        self._get("users/self", {})

    def destination(self, destination_id: int) -> dict[str, Any]:
        """A destination."""
        found = self._get(f"destinations/{destination_id}", {})
        return found if isinstance(found, dict) else {}

    def outbound_history(self, destination_id: int, since: datetime, until: datetime) -> list[dict[str, Any]]:
        """The files that it began to send to a destination in between, with all fields that it tells."""
        limits = {"startDate": _epoch_ms(since), "endDate": _epoch_ms(until)}
        return self.listed(f"destinations/{destination_id}/history/outbound", limits)

    def inbound_history(self, dpid: int) -> list[dict[str, Any]]:
        """The files that a data source took in, with all fields that it tells."""
        return self.listed(f"datasources/{dpid}/history/inbound", {})

    def listed(self, path: str, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
        """A list, whole: an array as it comes, or page by page."""
        found: list[dict[str, Any]] = []
        before: list[dict[str, Any]] = []
        for page in range(_MOST_PAGES):
            # without options of pages the answer is an array of everything, say the pages; an object is a first page
            said = self._get(path, {**parameters, **({"page": page} if page else {})})
            rows = said.get("list") if isinstance(said, dict) else said
            if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
                raise ApiError(
                    f"{self._url(path)} answers with no list; is vars.api.base_url that of the API?"
                )
            # whether all lists tell their total is not said: without it, to the first page with nothing new
            if not rows or rows == before:
                break
            found += rows
            before = rows
            total = whole(said, "total") if isinstance(said, dict) else len(found)
            if total is not None and len(found) >= total:
                break
        return found

    def _url(self, path: str) -> str:
        return f"{self._settings.base_url.rstrip('/')}/{path}"

    def _get(self, path: str, parameters: Mapping[str, Any]) -> Any:
        url = self._url(path)
        answer = self._send("GET", url, params=dict(parameters), headers=self._headers())
        if answer.status_code == 401:  # expired early
            self._token = ""
            answer = self._send("GET", url, params=dict(parameters), headers=self._headers())
        if answer.status_code in (401, 403):
            raise ConfigError(
                f"{url} refuses us (HTTP {answer.status_code}{_said(answer)}): put the technical account of"
                f" {CLIENT_ID} into a user group of Audience Manager that may see it"
            )
        if answer.status_code == 404:
            raise UnknownToApiError(f"{url}: Audience Manager knows no such thing (HTTP 404{_said(answer)})")
        if answer.status_code != 200:
            raise ApiError(f"{url} answers HTTP {answer.status_code}{_said(answer)}")
        return _json(url, answer)

    def _headers(self) -> dict[str, str]:
        if not self._token or time.monotonic() >= self._renew_at:
            self._renew()
        headers = {
            "authorization": f"Bearer {self._token}",
            "x-api-key": self._client_id,
            "accept": "application/json",
            "user-agent": f"aam/{package_version()}",
        }
        if self._settings.org_id is not None:
            headers["x-gw-ims-org-id"] = self._settings.org_id
        return headers

    def _renew(self) -> None:
        url = self._settings.token_url
        form = {
            "grant_type": "client_credentials",
            "client_id": self._client_id,
            "client_secret": self._secret,
            "scope": self._settings.scope,
        }
        answer = self._send("POST", url, data=form)
        if answer.status_code in (400, 401, 403):
            raise ConfigError(
                f"{url} gives no token (HTTP {answer.status_code}{_said(answer, self._secret)}): look at"
                f" {CLIENT_ID}, {CLIENT_SECRET} and vars.api.scope; the Adobe Developer Console shows all three"
            )
        if answer.status_code != 200:
            raise ApiError(f"{url} answers HTTP {answer.status_code}{_said(answer, self._secret)}")
        said = _json(url, answer)
        token = said.get("access_token") if isinstance(said, dict) else None
        if not isinstance(token, str) or not token.isascii() or not token.isprintable() or not token:
            raise ApiError(f"{url} answers without a token; is vars.api.token_url that of Adobe's tokens?")
        self._token = token
        self._renew_at = time.monotonic() + (whole(said, "expires_in") or 0) - _EARLY_SECONDS

    def _send(self, method: str, url: str, **more: Any) -> httpx.Response:
        """An answer, asked for again where that may help. All that we ask changes nothing there."""
        import httpx

        for wait in (*_WAITS, None):
            asked = 0.0
            try:
                answer = self._client.request(method, url, **more)
            except httpx.TransportError as error:
                problem = f"{url} can't be reached: {shown(str(error) or type(error).__name__)}"
            except httpx.RequestError as error:
                raise ApiError(f"{url} answers with what can't be read: {shown(error)}") from None
            else:
                if answer.status_code != 429 and answer.status_code < 500:
                    return answer
                asked = _retry_after(answer.headers.get("retry-after", ""))
                problem = f"{url} answers HTTP {answer.status_code}{_said(answer, self._secret)}"
            if asked > _LONGEST_WAIT:
                raise ApiError(f"{problem}; it wants to be asked again after {asked:,.0f} seconds")
            if wait is not None:
                time.sleep(max(wait, asked))
        raise ApiError(f"{problem}; tried {len(_WAITS) + 1} times")


def _said(answer: httpx.Response, secret: str = "") -> str:
    """What an answer says beside its status; no page shows a form of it."""
    text = answer.text.replace(secret, "…") if secret else answer.text
    return f", {shown(' '.join(text.split()))}" if text.strip() else ""


def _json(url: str, answer: httpx.Response) -> Any:
    try:
        return answer.json()
    except (ValueError, RecursionError):
        raise ApiError(f"{url} answers with no JSON{_said(answer)}") from None


def _retry_after(text: str) -> float:
    """Seconds, or a date of HTTP; 0 where nothing is asked for."""
    text = text.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    return max(0.0, (at - datetime.now(at.tzinfo or timezone.utc)).total_seconds()) if at.tzinfo else 0.0


def _epoch_ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)


# What a row of the API tells. A field that is not there, or not as it should be, is None: rows are kept raw.


def whole(row: Mapping[str, Any], *names: str) -> int | None:
    """The first of these fields that holds a number which a table holds, too."""
    for name in names:
        value = row.get(name)
        if isinstance(value, str) and value.isascii() and value.isdigit():
            value = int(value[:20])
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63:
            return value
    return None


def moment(row: Mapping[str, Any], name: str) -> datetime | None:
    """A time: epoch milliseconds."""
    value = whole(row, name)
    try:
        return None if value is None else datetime.fromtimestamp(value / 1000, timezone.utc)
    except (ValueError, OverflowError, OSError):
        return None


def file_name(row: Mapping[str, Any]) -> str | None:
    """The name of the file that a row is about, without folders."""
    value = row.get("dataFileName")
    name = value.rstrip("/").rpartition("/")[2] if isinstance(value, str) else ""
    return name if name and name.isprintable() else None


def raw(row: Any) -> str:
    """As it is kept: JSON that any database takes for text."""
    return json.dumps(row, sort_keys=True)
