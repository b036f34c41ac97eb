"""`aam sandbox serve`: calls of web pages, the REST API, and the page, over real HTTP."""

import http.client
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import sandboxes
from sandboxes import (
    ADULT,
    ANYONE_ELSE,
    BUYER,
    CRM,
    DESTINATION,
    DEVICES,
    JOB,
    LOYALTY,
    PAUSED,
    READER,
    READERS_NOT_BUYERS,
    VISITOR,
    map_ids,
    map_to_destination,
    set_destination,
    set_traits,
    uuid,
)
from typer.testing import CliRunner

from aam_onboard.errors import ConfigError
from aam_onboard.id_sync_url import ENDPOINT, id_sync_url
from aam_sandbox.cli import app
from aam_sandbox.export import export, put_into
from aam_sandbox.profile import profile_of
from aam_sandbox.segments import fill_memberships
from aam_sandbox.server import LARGEST_BODY, listening, make_app
from aam_sandbox.store import open_store

CREDENTIALS = {
    "grant_type": "client_credentials",
    "client_id": "tests",
    "client_secret": "any",
    "scope": "openid,AdobeID",
}


@dataclass
class Served:
    """A sandbox that is served."""

    folder: Path
    address: str
    client: httpx.Client

    def store(self) -> Any:
        return open_store(self.folder)

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        with self.store() as store:
            return [tuple(row.values()) for row in store.rows(sql)]

    def api(self, method: str, path: str, **more: Any) -> httpx.Response:
        return self.client.request(method, f"/v1/{path}", **more)

    def get(self, path: str, **more: Any) -> Any:
        """What the REST API answers, which must be 200."""
        answer = self.api("GET", path, **more)
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`ann` reads and has two devices, `bob` buys; a destination has been sent to."""
    folder = tmp_path_factory.mktemp("sandbox") / "template"
    with sandboxes.sandbox(folder) as store:
        map_ids(store, ("ann", 1), ("bob", 2), ("ann", 3))
        set_traits(store, 1, READER, ADULT)
        set_traits(store, 2, BUYER)
        set_destination(store)
        map_to_destination(store, READERS_NOT_BUYERS, gold=ADULT)
        export(store, DESTINATION, "full", put_into(folder / "out"))
    return folder


@contextmanager
def serving(folder: Path) -> Iterator[Served]:
    with sandboxes.serving(folder) as address, httpx.Client(base_url=address, timeout=30) as client:
        token = client.post("/ims/token/v3", data=CREDENTIALS).json()["access_token"]
        client.headers.update({"authorization": f"Bearer {token}", "x-api-key": CREDENTIALS["client_id"]})
        yield Served(folder, address, client)


@pytest.fixture(scope="module")
def shared(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """For tests that only ask, or ask for what is refused."""
    folder = tmp_path_factory.mktemp("shared") / "sandbox"
    shutil.copytree(template, folder)
    with serving(folder) as found:
        yield found


@pytest.fixture
def served(template: Path, tmp_path: Path) -> Iterator[Served]:
    """For tests that change it."""
    folder = tmp_path / "sandbox"
    shutil.copytree(template, folder)
    with serving(folder) as found:
        yield found


# ID sync by HTTP


def test_the_loaders_urls_synchronise_an_id(served: Served) -> None:
    """What `aam id-sync-url` writes is read here, whatever the ID holds."""
    from aam_onboard.config import package_rules

    odd = "B 00/1&ü?=+ß"
    url = id_sync_url(package_rules(), None, CRM, odd, redirect="https://example.com/p?u=${DD_UUID}&a=b")
    answer = served.client.get("/ibs:" + url.removeprefix(ENDPOINT))
    assert answer.status_code == 302
    [(device,)] = served.rows(f"select device_id from id_mappings where user_id = '{odd}' and dpid = {CRM}")
    assert answer.headers["location"] == f"https://example.com/p?u={device}&a=b"
    assert served.client.cookies["demdex"] == device

    again = served.client.get(f"/ibs:dpid={LOYALTY}&dpuuid=card-1&gdpr=1&gdpr_consent=BO")
    assert (again.status_code, again.headers["content-type"]) == (200, "image/gif")
    assert again.content[:6] == b"GIF89a"
    mapped = served.rows(f"select dpid, user_id from id_mappings where device_id = '{device}' order by 1")
    assert mapped == [(CRM, odd), (LOYALTY, "card-1")]


def test_the_same_browser_again_is_one_mapping_that_is_the_newest(served: Served) -> None:
    served.client.cookies.set("demdex", uuid(1))
    assert served.client.get(f"/ibs:dpid={CRM}&dpuuid=ann").status_code == 200
    assert served.rows("select device_id from id_mappings where user_id = 'ann' order by seen") == [
        (uuid(3),),
        (uuid(1),),
    ]


def test_of_too_many_mappings_the_oldest_goes(served: Served) -> None:
    for number in range(11):
        served.client.cookies.set("demdex", uuid(1))
        served.client.get(f"/ibs:dpid={LOYALTY}&dpuuid=card-{number}")
    cards = served.rows(f"select user_id from id_mappings where dpid = {LOYALTY} order by seen")
    assert cards == [(f"card-{number}",) for number in range(1, 11)]
    with served.store() as store:
        store.connection.execute(
            f"insert into id_mappings select {CRM}, 'many', 0, lpad(i::varchar, 38, '9'), i - 1000"
            " from range(100, 200) r(i)"
        )
    served.client.get(f"/ibs:dpid={CRM}&dpuuid=many")
    devices = served.rows("select device_id from id_mappings where user_id = 'many' order by seen")
    assert (len(devices), devices[0], devices[-1]) == (100, ("9" * 35 + "101",), (uuid(1),))


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        ("", "dpid is missing"),
        ("dpid=58342", "dpuuid is missing"),
        ("dpid=58342&dpuuid=", "dpuuid is missing"),
        ("dpid=abc&dpuuid=x", "dpid is a number"),
        ("dpid=1&dpuuid=x", "data source 1 is unknown"),
        ("dpid=9999999999999999999999&dpuuid=x", "dpid is a number"),
        ("dpid=0&dpuuid=" + uuid(5), "data source 0 is the device's own"),
        ("dpid=58342&dpuuid=a&dpuuid=b", "dpuuid stands twice"),
        ("dpid=58342&dpuuid=%FF", "dpuuid: the value is no percent-encoded UTF-8"),
        ("dpid=58342&dpuuid=ann%40example.com", "e-mail"),
        ("dpid=58342&dpuuid=a%0Ab", "no ID of data source 58342"),
        ("dpid=58342&dpuuid=x&gdpr=1", "gdpr and gdpr_consent go together"),
        ("dpid=58342&dpuuid=x&gdpr_consent=BO", "gdpr and gdpr_consent go together"),
        ("dpid=58342&dpuuid=x&gdpr=2&gdpr_consent=BO", "gdpr is 0 or 1"),
        ("dpid=58342&dpuuid=x&redir=javascript%3Aalert(1)", "redir is an address"),
        ("dpid=58342&dpuuid=x&redir=https%3A%2F%2Fe.com%2F%0D%0ASet-Cookie%3A%20x", "redir is an address"),
    ],
)
def test_what_is_no_id_sync(shared: Served, rest: str, said: str) -> None:
    before = shared.rows("from id_mappings")
    answer = shared.client.get(f"/ibs:{rest}")
    assert answer.status_code == 400
    assert said in answer.text
    assert len(answer.text.splitlines()) == 1
    assert shared.rows("from id_mappings") == before


def test_a_redirect_stays_one_header(shared: Served) -> None:
    answer = shared.client.get(
        f"/ibs:dpid={CRM}&dpuuid=x&redir=https%3A%2F%2Fexample.com%2Fstra%C3%9Fe%3Fq%3D%22%3Cb%3E%26u%3D%24%7BDD_UUID%7D"
    )
    assert answer.headers["location"].startswith("https://example.com/stra%C3%9Fe?q=%22%3Cb%3E&u=")


# event calls and opt-outs


def test_an_event_qualifies_a_device_and_what_it_declares(served: Served) -> None:
    answer = served.client.get(f"/event?d_cid={LOYALTY}%01card-1&d_cid_ic=crm%01cyd&c_page=Shop&x=y")
    said = answer.json()
    assert said["traits"] == [VISITOR]
    assert said["uuid"] == served.client.cookies["demdex"]
    rows = served.rows(f"select dpid, user_id from profile_traits where sid = {VISITOR} order by dpid")
    assert rows == [(DEVICES, said["uuid"]), (LOYALTY, "card-1")]
    mapped = served.rows(
        f"select dpid, user_id from id_mappings where device_id = '{said['uuid']}' order by dpid"
    )
    assert mapped == [(CRM, "cyd"), (LOYALTY, "card-1")]

    posted = served.client.post("/event?x=y", content=b"c_page=shop&d_cid=58400%01card-1")
    assert posted.json() == said
    assert len(served.rows(f"from profile_traits where sid = {VISITOR}")) == 2
    assert served.client.get("/event?c_page=other").json()["traits"] == []


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("d_cid=58342", "d_cid is a data source, %01, and an ID"),
        ("d_cid=58342%01", "d_cid is a data source, %01, and an ID"),
        ("d_cid=x%01y", "the data source of d_cid is a number"),
        ("d_cid_ic=nix%01y", "d_cid_ic names no data source"),
        ("d_cid=58342%01%FF", "no percent-encoded UTF-8"),
        ("&".join(f"a{number}=1" for number in range(1001)), "more than 1,000"),
    ],
)
def test_what_is_no_event(shared: Served, query: str, said: str) -> None:
    answer = shared.client.get(f"/event?{query}")
    assert (answer.status_code, len(answer.text.splitlines())) == (400, 1)
    assert said in answer.text


def test_who_opts_out_is_forgotten_and_stays_so(served: Served) -> None:
    assert served.client.get(f"/demoptout.jpg?d_cid={CRM}%01bob").status_code == 200
    served.client.cookies.set("demdex", uuid(1))
    assert served.client.get("/demoptout.jpg").status_code == 200  # the browser's own ID
    served.client.get(f"/ibs:dpid={CRM}&dpuuid=bob")
    served.client.get("/event?c_page=shop")
    assert served.rows("select user_id, device_id from id_mappings") == [("ann", uuid(3))]
    assert served.rows("select user_id, sid from profile_traits") == [(uuid(2), BUYER)]
    with served.store() as store:
        # even if a file brings it later
        map_ids(store, ("bob", 2), ("ann", 1))
        set_traits(store, 1, READER)
        assert store.rows("select user_id, sid from visible_traits") == [{"user_id": uuid(2), "sid": BUYER}]
        assert profile_of(store, CRM, "bob")["opted_out"]
    assert served.client.get(f"/demoptout.jpg?d_cid={CRM}").status_code == 400


def test_a_profile_is_what_the_views_say(served: Served) -> None:
    """What is asked of one ID is what the views say of all."""
    with served.store() as store:
        store.connection.execute(
            f"insert into data_sources values (58343, 'Hashed', null, 'hashed_email', false, true);"
            f"insert into id_mappings values (58343, 'chained', {CRM}, 'ann', 9),"
            f" ({LOYALTY}, 'card', 0, '{uuid(2)}', 9);"
            f"insert into qualifications values ({LOYALTY}, 'card', [{VISITOR}], null, 1)"
        )
        asked = store.rows("select distinct dpid, user_id from known_ids")
        assert len(asked) == 7
        for one in asked:
            found = profile_of(store, one["dpid"], one["user_id"])
            visible = store.rows(
                "select sid, since from visible_traits where dpid = ? and user_id = ? order by sid",
                [one["dpid"], one["user_id"]],
            )
            assert [{"sid": trait["sid"], "since": trait["since"]} for trait in found["traits"]] == visible
            for segment in (READERS_NOT_BUYERS, ANYONE_ELSE):
                fill_memberships(store.connection, one["dpid"], "values (?::bigint)", [segment])
                is_in = store.value("select true from memberships where user_id = ?", [one["user_id"]])
                assert (segment in [is_of["sid"] for is_of in found["segments"]]) is bool(is_in)
        ann = profile_of(store, CRM, "ann")
        assert [(one["dpid"], one["id"]) for one in ann["devices"]] == [
            (DEVICES, uuid(1)),
            (DEVICES, uuid(3)),
        ]
        assert [(one["dpid"], one["id"]) for one in ann["ids"]] == [(58343, "chained")]
        nobody = profile_of(store, CRM, "nobody")
        assert (nobody["known"], nobody["segments"]) == (False, [])
        with pytest.raises(
            ConfigError, match="--dpid 7: the sandbox has no such data source; known are 0, 58342"
        ):
            profile_of(store, 7, "ann")


# the REST API


def test_tokens(shared: Served) -> None:
    for missing in CREDENTIALS:
        asked = {name: value for name, value in CREDENTIALS.items() if name != missing}
        answer = shared.client.post("/ims/token/v3", data=asked)
        assert (answer.status_code, missing in answer.text) == (400, True)
    for headers in ({"authorization": ""}, {"authorization": "Bearer no"}, {"authorization": "Basic eDp5"}):
        answer = shared.api("GET", "traits/", headers=headers)
        assert answer.status_code == 401
        assert 'error="invalid_token"' in answer.headers["www-authenticate"]
    assert shared.api("GET", "traits/", headers={"x-api-key": "other"}).status_code == 403
    assert shared.get("users/self")["status"] == "ACTIVE"


def test_a_token_expires(template: Path) -> None:
    with sandboxes.serving(template, token_seconds=0) as address:
        given = httpx.post(f"{address}/ims/token/v3", data=CREDENTIALS).json()
        assert given["expires_in"] == 0
        headers = {"authorization": f"Bearer {given['access_token']}", "x-api-key": "tests"}
        assert httpx.get(f"{address}/v1/users/self", headers=headers).status_code == 401


def test_lists_are_arrays_without_page_options_and_objects_with_them(shared: Served) -> None:
    everything = shared.get("traits/")
    assert [trait["sid"] for trait in everything] == [ADULT, READER, BUYER, VISITOR]
    assert shared.get("traits") == everything
    assert shared.get("traits/?page=0") == {"total": 4, "page": 0, "pageSize": 10, "list": everything}
    second = shared.get("traits/?page=1&pageSize=3")
    assert second == {"total": 4, "page": 1, "pageSize": 3, "list": everything[3:]}
    assert shared.get("traits/?page=7&pageSize=3")["list"] == []
    names = [trait["name"] for trait in shared.get("traits/?sortBy=name&descending=true")]
    assert names == ["Visitor of the shop", "Reader", "Buyer", "Adult"]
    assert [trait["sid"] for trait in shared.get("traits/?search=SHOP")] == [VISITOR]
    for kind in ("datasources", "segments", "destinations", f"destinations/{DESTINATION}/mappings"):
        assert isinstance(shared.get(f"{kind}/"), list)
        assert shared.get(f"{kind}/?pageSize=1")["list"] == shared.get(f"{kind}/")[:1]


@pytest.mark.parametrize(
    "query",
    ["page=-1", "page=x", "pageSize=0", "pageSize=1000000", "sortBy=sid;drop table traits", "descending=maybe",
     "page=1000000000", "folderId=99999999999999999999", "dataSourceId=x"],
)  # fmt: skip
def test_wrong_page_options(shared: Served, query: str) -> None:
    answer = shared.api("GET", f"traits/?{query}")
    assert answer.status_code == 400
    assert len(answer.text.splitlines()) == 1


def test_data_sources(shared: Served) -> None:
    found = {one["dataSourceId"]: one for one in shared.get("datasources/")}
    assert set(found) == {DEVICES, CRM, LOYALTY}
    assert (found[CRM]["idType"], found[LOYALTY]["idType"]) == ("COOKIE", "CROSS_DEVICE")
    assert found[DEVICES]["useAudienceManagerVisitorID"]
    assert (
        shared.get("datasources/?integrationCode=crm") == [found[CRM]] == [shared.get(f"datasources/{CRM}")]
    )
    assert shared.api("GET", "datasources/7").status_code == 404


def test_traits(shared: Served) -> None:
    short = shared.get("traits/")[0]
    assert not {"ttl", "integrationCode", "traitRule", "type"} & short.keys()
    [adult, *_] = shared.get("traits/?includeDetails=true")
    assert adult == shared.get(f"traits/{ADULT}") == shared.get("traits/ic:adult")
    assert (adult["ttl"], adult["integrationCode"], adult["type"]) == (120, "adult", 10)
    assert adult["createTime"] == 1795608000000
    assert [one["sid"] for one in shared.get("traits/?folderId=11")] == [READER, BUYER, VISITOR]
    assert len(shared.get(f"traits/?dataSourceId={CRM}&dataSourceId=7")) == 4
    assert shared.get("traits/?dataSourceId=7") == []
    assert shared.get("traits/?integrationCode=reader")[0]["sid"] == READER
    assert shared.get("traits/limits") == {"limit": 100_000, "count": 4}
    assert shared.get(f"traits/{VISITOR}/trait-rule/versions")[0]["traitRule"] == 'c_page == "shop"'
    for path in ("traits/1", "traits/ic:nix", "traits/abc", "traits/1/trait-rule/versions"):
        assert shared.api("GET", path).status_code == 404


TRAIT = {
    "name": "Newsletter",
    "traitType": "ON_BOARDED_TRAIT",
    "dataSourceId": CRM,
    "folderId": 11,
    "integrationCode": "news",
    "traitRule": 'ic == "news"',
    "comments": "of the web team",
}


def test_a_trait_is_created_changed_and_deleted(served: Served) -> None:
    made = served.api("POST", "traits/", json=TRAIT)
    assert made.status_code == 201
    sid = made.json()["sid"]
    assert made.json() == served.get("traits/ic:news")
    assert made.json().items() >= {**TRAIT, "ttl": 120, "status": "ACTIVE"}.items()

    again = served.api("POST", "traits/", json=TRAIT)
    assert (again.status_code, "integrationCode" in again.text) == (409, True)
    taken = served.api("PUT", f"traits/{sid}", json={**TRAIT, "integrationCode": "adult"})
    assert taken.status_code == 409
    changed = served.api("PUT", f"traits/{sid}", json={**TRAIT, "name": "News", "ttl": 0})
    assert (changed.status_code, changed.json()["name"], changed.json()["ttl"]) == (200, "News", 0)

    deleted = served.api("DELETE", f"traits/{sid}")
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert served.api("DELETE", f"traits/{sid}").status_code == 404
    assert served.api("PUT", f"traits/{sid}", json=TRAIT).status_code == 404
    assert served.api("POST", "traits/bulk-delete", json=[READER, 1]).status_code == 404
    assert served.api("POST", "traits/bulk-delete", json=[READER, ADULT]).status_code == 204
    assert [one["sid"] for one in served.get("traits/")] == [BUYER, VISITOR]
    assert served.rows("select distinct sid from profile_traits") == [(BUYER,)]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": None}, "name"),
        ({"name": ""}, "name"),
        ({"name": "x" * 256}, "name"),
        ({"traitType": "ALGO_TRAIT"}, "traitType"),
        ({"traitType": "RULE_BASED_TRAIT", "traitRule": None}, "traitRule is missing"),
        ({"dataSourceId": DEVICES}, "dataSourceId"),
        ({"dataSourceId": "58342"}, "dataSourceId"),
        ({"folderId": 99}, "folderId"),
        ({"folderId": 10**30}, "folderId"),
        ({"ttl": -1}, "ttl"),
        ({"traitRule": 'ic = "4"'}, "character 4"),
        ({"traitRule": "(" * 5000}, "character"),
        ({"traitRule": 'a matchesregex "(?=b)"'}, "no regular expression"),  # Python's, not DuckDB's
    ],
)
def test_what_is_no_trait(shared: Served, change: dict[str, Any], said: str) -> None:
    answer = shared.api("POST", "traits/", json={**TRAIT, **change})
    assert answer.status_code == 400
    assert said in answer.text
    assert len(shared.get("traits/")) == 4


@pytest.mark.parametrize("path", ["traits/", "traits/validate", "traits/bulk-delete", "folders/traits/"])
def test_bodies_that_are_none(shared: Served, path: str) -> None:
    for body in (
        b"",
        b"{",
        b"4",
        b"\xff",
        b'{"name": "\\ud800"}',
        b"[" * 100_000,
        b'{"a":' * 9999,
        b"[true]",
    ):
        assert shared.api("POST", path, content=body).status_code == 400


def test_rules_are_validated(shared: Served) -> None:
    assert shared.api("POST", "traits/validate", json={"code": 'a == "b" AND NOT c > 4'}).status_code == 200
    answer = shared.api("POST", "traits/validate", json={"code": 'a == "b" UND c > 4'})
    assert (answer.status_code, "character 10" in answer.text) == (400, True)


def test_folders(served: Served) -> None:
    [root] = served.get("folders/traits/")
    assert (root["folderId"], root["path"], root["folderCount"]) == (0, "/", 1)
    made = served.api("POST", "folders/traits/", json={"parentFolderId": 11, "name": "Rings"})
    assert made.status_code == 201
    assert made.json() == served.get("folders/traits/12")
    assert (made.json()["path"], made.json()["subFolders"]) == ("/Shop/Rings", [])
    for body, status in [
        ({"parentFolderId": 11, "name": "Rings"}, 409),
        ({"parentFolderId": 99, "name": "Rings"}, 404),
        ({"parentFolderId": 11}, 400),
    ]:
        assert served.api("POST", "folders/traits/", json=body).status_code == status
    for parent in (12, 13, 14):
        made = served.api("POST", "folders/traits/", json={"parentFolderId": parent, "name": "deeper"})
        assert made.status_code == 201
    assert served.api("POST", "folders/traits/", json={"parentFolderId": 15, "name": "x"}).status_code == 400
    [segments] = served.get("folders/segments/")
    assert segments["subFolders"] == []
    assert served.api("GET", "folders/nix/").status_code == 400
    assert served.api("GET", "folders/traits/99").status_code == 404


def test_segments(shared: Served) -> None:
    found = shared.get("segments/?includeTraitDataSourceIds=true")
    assert [one["sid"] for one in found] == [READERS_NOT_BUYERS, ANYONE_ELSE, PAUSED]
    assert found[0]["traitDataSourceIds"] == [CRM]
    assert shared.get(f"segments/{PAUSED}")["segmentRule"] == str(READER)
    assert [one["sid"] for one in shared.get(f"segments/?containsTrait={BUYER}")] == [
        READERS_NOT_BUYERS,
        ANYONE_ELSE,
    ]
    assert shared.get(f"segments/?containsTrait={str(BUYER)[:-1]}") == []
    assert [one["sid"] for one in shared.get("segments/?status=INACTIVE")] == [PAUSED]
    assert shared.get("segments/limits")["count"] == 3
    assert shared.api("GET", "segments/ic:nix").status_code == 404


def test_destinations_and_their_history(shared: Served) -> None:
    assert "mappings" not in shared.get("destinations/")[0]
    mappings = shared.get(f"destinations/{DESTINATION}?includeMappings=true")["mappings"]
    assert [(one["sid"], one["traitAlias"], one["traitType"]) for one in mappings] == [
        (READERS_NOT_BUYERS, None, "SEGMENT"),
        (ADULT, "gold", "ON_BOARDED_TRAIT"),
    ]
    assert len(shared.get(f"destinations/?containsSegment={READERS_NOT_BUYERS}")) == 1
    assert shared.get("destinations/?containsSegment=1") == []

    now = int(datetime.now(timezone.utc).timestamp() * 1000)
    [sent] = shared.get(f"destinations/{DESTINATION}/history/outbound?startDate=0&endDate={now}")
    assert sent["dataFileName"].startswith("s3_4411_58342_full_")
    assert (sent["fullPublish"], sent["receivedRecords"], sent["success"]) == (True, 1, True)
    assert 0 < sent["startTime"] <= sent["endTime"] <= now
    assert shared.get(f"destinations/{DESTINATION}/history/outbound?startDate=0&endDate=1") == []
    for query in ("", "?startDate=0", "?endDate=0", "?startDate=x&endDate=1"):
        assert shared.api("GET", f"destinations/{DESTINATION}/history/outbound{query}").status_code == 400
    assert shared.api("GET", "destinations/1/history/outbound?startDate=0&endDate=1").status_code == 404


def test_the_inbound_history(served: Served) -> None:
    assert served.get(f"datasources/{CRM}/history/inbound") == []
    with served.store() as store:
        store.connection.execute(JOB)
    [second, first] = served.get(f"datasources/{CRM}/history/inbound?includeSamplingDetails=true")
    assert first["dataFileName"] == "ftp_dpm_20914_58342_1795597336.sync.gz"
    assert (first["recordsReceived"], first["storedRecords"], first["startTime"]) == (3, 2, 1795608000000)
    assert first["samples"][0]["lineNumber"] == 2
    assert second["samples"] == []
    [named] = served.get(f"datasources/{CRM}/history/inbound?dataFileName={first['dataFileName']}")
    assert "samples" not in named


# hostile input


def raw(served: Served, *parts: bytes, most: int = 1 << 30) -> tuple[int, int]:
    """Send bytes as they are until an answer comes: its status, and the bytes that were taken before it."""
    url = urlsplit(served.address)
    with socket.create_connection((str(url.hostname), url.port), timeout=30) as connection:
        sent = 0
        try:
            connection.sendall(parts[0])
            while len(parts) > 1 and sent < most:
                connection.settimeout(30)
                connection.sendall(parts[1])
                sent += len(parts[1])
        except OSError:
            pass  # it has heard enough
        try:
            status = http.client.HTTPResponse(connection)
            status.begin()
        except ConnectionResetError:
            return 0, sent
        return status.status, sent


@pytest.mark.parametrize("path", ["/v1/traits/", "/event", "/ims/token/v3", "/nowhere", "/"])
def test_a_gigabyte_is_refused_by_its_head(shared: Served, path: str) -> None:
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {10**9}\r\n\r\n".encode()
    assert raw(shared, head) == (413, 0)


def test_a_gigabyte_in_chunks_is_refused_as_soon_as_it_is_too_much(shared: Served) -> None:
    head = b"POST /event HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    status, sent = raw(shared, head, chunk)
    assert status in (413, 0)  # the connection may be reset before the answer is read
    assert sent < 40 * LARGEST_BODY
    assert shared.client.get("/event").status_code == 200


@pytest.mark.parametrize(
    "target",
    [b"/../../etc/passwd", b"/%2e%2e/%2e%2e/etc/passwd", b"/v1/traits/%00", b"/v1/traits/ic:%2e%2e%2f", b"/ibs:%00",
     b"/ibs:dpid=58342&dpuuid=%00", b"//example.com/", b"/v1//traits//", b"/\xff\xfe", b"/?dpid=58342&id=%FF%00",
     b"/v1/folders/traits'--", b"/" + b"a" * 10_000, b"/v1/traits/ic:" + b"%27%20or%201=1--", b"*", b"/ibs:\xff=\xff"],
)  # fmt: skip
def test_hostile_addresses_get_one_clear_answer(shared: Served, target: bytes) -> None:
    url = urlsplit(shared.address)
    with socket.create_connection((str(url.hostname), url.port), timeout=30) as connection:
        connection.sendall(b"GET " + target + b" HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith((b"HTTP/1.1 4", b"HTTP/1.1 200")), answer[:200]
    assert b"root:" not in answer
    assert b"Traceback" not in answer


def test_another_sites_name_for_this_address_is_refused(shared: Served) -> None:
    assert shared.client.get("/", headers={"host": "evil.example:80"}).status_code == 400
    assert shared.client.get("/", headers={"host": "localhost:1"}).status_code == 200


# the page


def page(served: Served, query: str = "") -> str:
    answer = served.client.get(f"/{query}")
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'nonce-")
    assert f'nonce="{policy.split("nonce-")[1].split(chr(39))[0]}"' in answer.text
    assert "http" not in answer.text.replace("</html>", "")  # no address beyond this machine
    return answer.text


def test_the_page_escapes_what_comes_from_data(served: Served) -> None:
    script = "<script>alert(1)</script>"
    with served.store() as store:
        store.connection.execute(JOB)
        store.connection.execute("update traits set name = $1, rule = $1, description = $1", [script])
        store.connection.execute("update segments set name = $1", [script])
        store.connection.execute("update data_sources set name = $1", [f'"{script}'])
        store.connection.execute("update destinations set name = $1", [script])
        store.connection.execute("insert into id_mappings values (58342, ?, 0, ?, 9)", [script, uuid(1)])
    text = page(served, f"?dpid=0&id={uuid(1)}") + page(served, f"?dpid=58342&id={script}")
    assert "<script" not in text
    assert "<i>" not in text
    assert text.count("&lt;script&gt;") > 10
    assert 'href="/?dpid=58342&amp;id=%3Cscript%3E' in text


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("?dpid=58342&id=ann", "Readers, not buyers"),
        ("?dpid=58342&id=nobody", "never heard of this ID"),
        ("?dpid=58342&id=", "Give an ID."),
        ("?dpid=abc&id=ann", "A data source is a number."),
        ("?dpid=99999999999999999999&id=ann", "A data source is a number."),
        ("?dpid=7&id=ann", "The sandbox has no data source 7."),
        ("?id=ann", "A data source is a number."),
    ],
)
def test_the_page_looks_a_profile_up(shared: Served, query: str, said: str) -> None:
    assert said in page(shared, query)


def test_a_request_waits_while_another_command_has_the_sandbox(
    shared: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold = "import sys, duckdb; c = duckdb.connect(sys.argv[1]); print(flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", hold, str(shared.folder / "sandbox.duckdb")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdin and other.stdout
        other.stdout.readline()
        with monkeypatch.context() as patched:
            patched.setattr("aam_sandbox.access.PATIENCE", 0.1)
            busy = shared.client.get("/")
        assert (busy.status_code, busy.headers["retry-after"]) == (503, "1")
        assert "another process has the sandbox open" in busy.text
        threading.Timer(0.2, other.stdin.close).start()
        assert shared.client.get("/").status_code == 200


# starting


def test_a_port_that_is_taken_is_one_clear_line() -> None:
    with listening("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            ConfigError, match=f"127.0.0.1, port {port}: Address already in use; give another with --port"
        ):
            listening("127.0.0.1", port)
    with pytest.raises(
        ConfigError, match=r"192\.0\.2\.1, port 0: Cannot assign .*; give another with --host"
    ):
        listening("192.0.2.1", 0)  # of nobody


def test_without_a_sandbox_nothing_is_served(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no sandbox; make one with `aam sandbox init`"):
        make_app(tmp_path)


def test_the_command(template: Path) -> None:
    """In a process of its own: the address on stdout, a second one is refused, and an interrupt is a good end."""
    aam = [str(Path(sys.executable).parent / "aam"), "sandbox", "serve", "--sandbox", str(template)]
    with subprocess.Popen([*aam, "--port", "0"], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        try:
            [address] = re.findall("http://127.0.0.1:([0-9]+)/", server.stdout.readline())
            assert httpx.get(f"http://127.0.0.1:{address}/").status_code == 200
            second = subprocess.run([*aam, "--port", address], capture_output=True, text=True, check=False)
            assert (second.returncode, second.stdout) == (2, "")
            assert second.stderr == (
                f"aam: 127.0.0.1, port {address}: Address already in use;"
                " give another with --port (0: any that is free)\n"
            )
        finally:
            server.terminate()
        assert server.wait(30) == 0


def test_what_is_not_installed_is_told(monkeypatch: pytest.MonkeyPatch, template: Path) -> None:
    monkeypatch.delitem(sys.modules, "aam_sandbox.server")
    monkeypatch.setitem(sys.modules, "fastapi", None)
    found = CliRunner().invoke(app, ["serve", "--sandbox", str(template)])
    assert isinstance(found.exception, ConfigError)
    assert str(found.exception) == "aam sandbox serve needs fastapi: pip install 'aam-onboard[sandbox]'"
