"""`aam report`: the page of a delivered project in a real browser, and what it must never hold."""

import itertools
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any, cast

import pytest
import sandboxes
from browsers import CONTRASTS, barriers, complaints, headless, needs_chromium, shown_in
from conftest import DEMO, Stage, Workspace
from selenium.webdriver import Chrome, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.support.select import Select

from aam_onboard.config import load_project
from aam_onboard.errors import ConfigError
from aam_onboard.report import charts, make, make_report
from aam_onboard.report.charts import Series, Step
from aam_onboard.report.figures import Figures
from aam_onboard.report.headline import headline
from aam_onboard.report.page import render
from aam_onboard.run import find_place
from aam_sandbox.export import export, put_into
from aam_sandbox.store import open_store

SCRIPT = "</script></title><script>document.title = 'taken'</script><img src=x onerror=\"document.title = 'taken'\">"
SOMEBODY = "somebody@example.com"
NOW = datetime.now(timezone.utc)

# A row of deliveries that is as another one, but for these.
_DELIVERY = """
    insert into aam_state.deliveries by name
    select deliveries.* replace (
        {id} as delivery_id, {id} as file_root, {feed} as feed, {destination} as destination, {status} as status,
        {reason} as reason, {at} as started_at, {at} as changed_at,
        {added} as signals_added, {removed} as signals_removed
    )
    from aam_state.deliveries, {source}
    where delivery_id = (select min(delivery_id) from aam_state.deliveries where feed = 'crm_traits')
"""


def history(workspace: Workspace, days: int, pairs: int) -> None:
    """Deliveries, rejected rows and runs of so many days, one a day of each of so many feeds."""
    workspace.sql(
        _DELIVERY.format(
            id="'old-' || pair || '-' || ago",
            feed="'feed_' || pair",
            destination="if(pair % 2 = 0, 'local', 'beta')",
            status="'delivered'",
            reason="null",
            at="current_timestamp - ago * interval 1 day",
            added="100 + (pair * 37 + ago * 11) % 50",
            removed="(pair + ago) % 20",
            source=f"range(1, {days}) as days (ago), range({pairs}) as pairs (pair)",
        ),
        "insert into aam_state.rejected_history by name"
        " select current_date - cast(ago as integer) as day, if(pair % 2 = 0, 'local', 'beta') as destination,"
        " 'feed_' || pair as feed, reason, 10 + (ago + pair) % 7 as rows"
        f" from range(1, {days}) as days (ago), range({pairs}) as pairs (pair),"
        " (select unnest(['email_as_id', 'suspicious_id', 'empty_value', 'quote_in_signal', 'unknown_trait',"
        " 'space_around_id', 'colon_in_id', 'invalid_device_id', 'all_zero_id']) as reason)",
    )


def make_page(workspace: Workspace, name: str, **options: Any) -> str:
    """`aam report` in this process: the page."""
    with pytest.MonkeyPatch.context() as patch:
        for variable, value in workspace.env().items():
            patch.setenv(variable, value)
        path = make_report(
            find_place(workspace.root, None, None), workspace.root / name, options.pop("days", 90), **options
        )
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module", params=["duckdb"])
def delivered(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A project with two weeks of deliveries to two destinations; names and samples hold markup."""
    stage: Stage = "delivered"
    workspace: Workspace = request.getfixturevalue("duckdb_stages").copy(
        stage, tmp_path_factory.mktemp("report") / "project"
    )
    failed = _DELIVERY.format(
        id="'failed-1'", feed="'crm_traits'", destination="'beta'", status="'failed'", reason=f"$${SCRIPT}$$",
        at="current_timestamp - interval 1 hour", added="0", removed="0", source="range(1) as once (one)",
    )  # fmt: skip
    markup = _DELIVERY.format(
        id="'odd-1'", feed=f"$${SCRIPT}$$", destination="'beta'", status="'delivered'", reason="null",
        at="current_timestamp - interval 2 hour", added="7", removed="0", source="range(1) as once (one)",
    )  # fmt: skip
    sample = (
        "insert into inbound.rejected_rows by name"
        f" select batch_id, 'crm_traits' as feed, $${SOMEBODY}$$ as user_id, $${SCRIPT}$$ as signal_key,"
        " 'turned \u202e about' as signal_value, 'email_as_id' as reason from inbound.batches limit 1"
    )
    history(workspace, 14, 2)
    workspace.sql(failed, markup, sample)
    workspace.ok("report", "--out", "page.html")
    return workspace


@pytest.fixture(scope="module")
def received(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A project that outbound files of the sandbox came back to for ten days: of one day none was sent, of another one
    it never came."""
    workspace: Workspace = request.getfixturevalue("duckdb_stages").copy(
        "delivered", tmp_path_factory.mktemp("received") / "project"
    )
    workspace.ok("sandbox", "init")
    shutil.copytree(workspace.root / "out", workspace.root / "inbox")
    workspace.ok("sandbox", "ingest", "--from", "inbox")
    sandbox = workspace.root / ".aam" / "sandbox"
    with open_store(sandbox) as store:
        store.connection.execute("create table everything as from qualifications")
        for ago in range(10, -1, -1):
            store.connection.execute(
                "create or replace table qualifications as"
                f" from everything where (hash(user_id) + {ago}) % 9 <> 0"
            )
            if ago == 4:
                continue
            at = NOW - timedelta(days=ago, minutes=5)
            mode: Any = "full" if ago in (10, 3) else "iter"
            export(store, 4411, mode, put_into(sandbox / "outbound"), at=at)
            store.connection.execute(
                "update exports set started_at = $1, ended_at = $1"
                " where export_id = (select max(export_id) from exports)",
                [at.replace(tzinfo=None)],
            )
    lost = [path for path in sorted((sandbox / "outbound").iterdir()) if "_iter_" in path.name][-4:-2]
    for path in lost:
        path.unlink()
    outbound = {
        "destination_id": 4411,
        "master_dpid": 58342,
        "output": "back",
        "separator": "space",
        "max_shrink": 1,
    }
    with sandboxes.serving(sandbox) as address:
        api = {"scope": "openid", "base_url": f"{address}/v1", "token_url": f"{address}/ims/token/v3"}
        workspace.vars(lambda found: found.update(outbound={"e_mail_tool": outbound}, api=api))
        for kept in (workspace.root / ".aam" / "relations").iterdir():  # other vars, other models
            kept.unlink()
        workspace.environment |= {"AAM_API_CLIENT_ID": "tests", "AAM_API_CLIENT_SECRET": "any"}
        workspace.ok("receive")
        workspace.ok("receipts", "--api", ".aam/sandbox/receipts")
    [(schema,)] = workspace.sql(
        "select table_schema from information_schema.tables where table_name = 'traits'"
    )
    workspace.sql(
        f"alter table {schema}.traits add column trait_rule text",  # a taxonomy with rules
        f'update {schema}.traits set trait_rule = $$NOT City == "Denver" OR ic == "x"$$ where trait_id = \'9180101\'',
    )
    workspace.ok("report", "--out", "page.html")
    return workspace


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    with headless(tmp_path_factory.mktemp("chromium")) as chrome:
        yield chrome


def opened(browser: Chrome, workspace: Workspace) -> Chrome:
    browser.get((workspace.root / "page.html").as_uri())
    return browser


def rows_of(browser: Chrome, caption: str) -> list[list[str]]:
    """The cells of a table, without those of rows that a filter hides."""
    table = browser.find_element(By.XPATH, f"//table[caption[. = '{caption}']]")
    return cast(
        list[list[str]],
        browser.execute_script(
            "return [...arguments[0].querySelectorAll('tbody tr:not([hidden])')].map("
            "row => [...row.cells].map(cell => cell.textContent.trim()))",
            table,
        ),
    )


@needs_chromium
def test_the_page_shows_the_figures_of_the_warehouse(browser: Chrome, delivered: Workspace) -> None:
    page = opened(browser, delivered)
    shown = {(row[0], row[1]): (row[3], row[7].split()[0]) for row in rows_of(page, "Feeds by destination")}
    last = delivered.sql(
        "select feed, destination, users_total, status from aam_state.deliveries"
        " qualify row_number() over (partition by feed, destination order by started_at desc) = 1"
    )
    assert shown == {(feed, destination): (f"{users:,}", status) for feed, destination, users, status in last}
    [(sent,)] = delivered.sql(
        "select sum(signals_added + signals_removed) from aam_state.deliveries where status = 'delivered'"
    )
    by_day = rows_of(page, "Deliveries by day, feed and destination")
    assert sum(int(row[4].replace(",", "")) for row in by_day) == sent
    traits = {
        row[1]: row[4].split()[-1] for row in rows_of(page, "Traits by users") if row[2] == "crm_traits"
    }
    [(trait, users)] = delivered.sql(
        "select signal_value, count(*) from aam_state.delivered_signals"
        " where feed = 'crm_traits' and signal_key = 'd_sid' group by 1 order by 2 desc, 1 limit 1"
    )
    assert traits[trait] == f"{users:,}"
    assert "Something needs you now" in page.find_element(By.TAG_NAME, "h1").text


@needs_chromium
def test_nothing_comes_from_elsewhere_and_nothing_in_data_runs(browser: Chrome, delivered: Workspace) -> None:
    page = opened(browser, delivered)
    assert page.title == "shop: Something needs you now"
    assert complaints(page) == []
    assert page.execute_script("return performance.getEntriesByType('resource').map(e => e.name)") == []
    assert len(page.find_elements(By.CSS_SELECTOR, "script")) == 1
    assert page.find_elements(By.CSS_SELECTOR, "img, iframe, object, link, [style], [onerror]") == []
    samples = rows_of(page, "Samples, ten at most of each feed and reason")
    assert ["crm_traits", "email_as_id", SOMEBODY, SCRIPT, "turned \\u202e about"] in samples
    assert SCRIPT in [option.text for option in Select(page.find_element(By.ID, "feed")).options]
    # nor would anything run that had got in, or be fetched
    for attempt, directive in {
        "new Image().src = 'http://127.0.0.1:9/'": "img-src",
        "document.body.innerHTML = ''": "require-trusted-types-for",
        "document.body.setAttribute('style', 'color: red')": "style-src-attr",
    }.items():
        refused = page.execute_async_script(
            "const done = arguments[0];"
            " document.addEventListener('securitypolicyviolation', e => done(e.effectiveDirective), {once: true});"
            f" try {{ {attempt} }} catch {{}}"
        )
        assert refused == directive
    complaints(page)


@needs_chromium
def test_filters_work_by_keyboard_alone(browser: Chrome, delivered: Workspace) -> None:
    page = opened(browser, delivered)
    before = rows_of(page, "Feeds by destination")
    for _ in range(40):
        page.switch_to.active_element.send_keys(Keys.TAB)
        if page.switch_to.active_element.accessible_name == "Feed":
            break
    page.switch_to.active_element.send_keys("crm_traits")
    assert {row[0] for row in rows_of(page, "Feeds by destination")} == {"crm_traits"}
    cards = [card.text for card in page.find_elements(By.CSS_SELECTOR, "article h3") if card.is_displayed()]
    assert cards == ["crm_traits"]
    assert page.find_element(By.ID, "said").get_property("value") == "Shown: feed crm_traits"
    page.switch_to.active_element.send_keys(Keys.TAB, "beta")
    assert [row[1] for row in rows_of(page, "Feeds by destination")] == ["beta"]
    page.switch_to.active_element.send_keys(Keys.TAB)
    assert page.switch_to.active_element.text == "Show all"
    page.switch_to.active_element.send_keys(Keys.ENTER)
    assert rows_of(page, "Feeds by destination") == before
    assert page.switch_to.active_element.accessible_name == "Feed"


@needs_chromium
def test_a_reader_of_screens_finds_its_way(browser: Chrome, delivered: Workspace) -> None:
    page = opened(browser, delivered)
    levels = [int(one.tag_name[1]) for one in page.find_elements(By.CSS_SELECTOR, "h1, h2, h3")]
    assert levels.count(1) == 1
    assert all(later - earlier <= 1 for earlier, later in itertools.pairwise(levels))
    pictures = page.find_elements(By.CSS_SELECTOR, "figure:not([hidden])")
    assert len(pictures) > 10
    for picture in pictures:
        assert picture.find_element(By.CSS_SELECTOR, "[role=img]").get_attribute("aria-label")
        # a feed's own pictures have their figures in the tables of the section
        assert picture.find_elements(By.CSS_SELECTOR, "table") or picture.find_elements(
            By.XPATH, "ancestor::article"
        )
    selector = "nav, section, select, button, a, summary, [role=region]"
    for element in page.find_elements(By.CSS_SELECTOR, selector):
        assert element.accessible_name or element.text or not element.is_displayed()
    assert not page.find_elements(By.CSS_SELECTOR, "th:not([scope]), table:not(:has(caption))")
    for link in page.find_elements(By.CSS_SELECTOR, "a"):
        assert page.find_elements(By.ID, str(link.get_attribute("href")).partition("#")[2])


@needs_chromium
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_legible_on_a_desk_and_on_a_telephone(
    browser: Chrome, delivered: Workspace, scheme: str
) -> None:
    for width in (1440, 390):
        with shown_in(browser, scheme, width):
            page = opened(browser, delivered)
            assert page.execute_script("return document.documentElement.scrollWidth") <= width
            found = page.execute_script(CONTRASTS)
            assert len(found) > 200
            assert [pair for pair in found if pair[0] < 4.5] == []


@needs_chromium
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_bars_anybody_from_it(
    browser: Chrome, delivered: Workspace, received: Workspace, scheme: str
) -> None:
    with shown_in(browser, scheme):
        for project in (delivered, received):
            assert barriers(opened(browser, project)) == []


@needs_chromium
def test_what_came_back_is_shown(browser: Chrome, received: Workspace) -> None:
    page = opened(browser, received)
    batches = rows_of(page, "Batches received")
    assert len(batches) == 9
    sizes = received.sql(
        "select segment_name, token, users from reporting.report_segments order by users desc"
    )
    assert [
        (row[0], row[1], row[4].split()[-1]) for row in rows_of(page, "Segments and traits by users")
    ] == [(name, token, str(users)) for name, token, users in sizes]
    assert {name for name, _, _ in sizes} == {"Gold of the West", "To win back"}
    [(lost,)] = received.sql("select name from reporting.outbound_differences")
    [row] = rows_of(page, "Files not as Audience Manager says")
    assert (row[1], row[3]) == (lost, "never came")
    marked = page.find_elements(
        By.XPATH, "//table[caption[. = 'Batches received']]//*[contains(@class, 'warn')]"
    )
    assert [mark.text for mark in marked] == ["48.0 h", "48.0 h"]
    needs = [need.text for need in page.find_elements(By.CSS_SELECTOR, "a[href='#outbound']")]
    day = NOW - timedelta(days=1, minutes=5)
    assert (
        f"No outbound batch of e_mail_tool came for {day.day} {day:%b}" in needs
    )  # a full healed the other one
    assert "1 outbound file is not as Audience Manager says" in needs
    keys = received.sql(
        "select distinct signal_key from reporting.report_traits where signal_key not in ('d_sid', 'ic', 'city')"
    )
    assert (
        {row[2] for row in rows_of(page, "Keys that no trait rule names")}
        == {key for (key,) in keys}
        != set()
    )


def test_what_was_mended_is_no_longer_kept_back(delivered: Workspace) -> None:
    delivered.sql(
        "update aam_state.deliveries set rejected = 0 where feed = 'feed_1'",
        "delete from aam_state.rejected_history where feed = 'feed_1' and day >= current_date - 1",
    )
    now = "<td>empty_value</td><td>feed_{}</td>"
    page = make_page(delivered, "mended.html")
    assert len(re.findall(now.format(0), page)) == 1
    assert not re.findall(now.format(1), page)


def test_without_user_ids_if_asked_for(delivered: Workspace) -> None:
    assert SOMEBODY in (delivered.root / "page.html").read_text(encoding="utf-8")
    page = make_page(delivered, "anonymous.html", anonymous=True)
    assert SOMEBODY not in page
    assert "without user IDs" in page
    rejected = delivered.sql("select distinct user_id from inbound.rejected_rows where length(user_id) > 5")
    assert len(rejected) > 10
    assert not [user_id for (user_id,) in rejected if re.search(rf"\b{re.escape(user_id)}\b", page)]


def test_a_page_that_can_not_be_written_is_told_in_a_line(delivered: Workspace) -> None:
    said = delivered.refused(2, "report", "--out", "missing/page.html")
    assert said == "aam: missing/page.html can't be written: No such file or directory"
    said = delivered.refused(2, "report", "--out", "models")
    assert said == "aam: models can't be written: it is a folder; name a file in it"
    assert [path.name for path in delivered.root.glob(".*page*")] == []


def test_before_the_first_delivery_the_page_says_what_to_do(delivered: Workspace, tmp_path: Path) -> None:
    empty = replace(delivered, root=tmp_path / "project")
    shutil.copytree(delivered.root, empty.root, symlinks=True)
    empty.sql(*(f"delete from aam_state.{table}" for table in ("deliveries", "rejected_history", "runs")))
    page = make_page(empty, "page.html")
    assert "Nothing has been delivered yet" in page
    assert "<code>aam run</code> sends it" in page
    assert "<figure" not in page


def test_the_page_is_the_same_on_postgres(postgres_workspace: Callable[[Stage], Workspace]) -> None:
    workspace = postgres_workspace("delivered")
    workspace.ok("report", "--out", "page.html")
    page = (workspace.root / "page.html").read_text(encoding="utf-8")
    last = workspace.sql("select feed, users_total from aam_state.deliveries")
    assert len(last) == 7
    for feed, users in last:
        assert re.search(
            rf'<tr data-feed="{feed}" data-destination="local">.*?<td class="figure">{users:,}</td>', page
        )
    [(kept,)] = workspace.sql("select count(*) from inbound.rejected_rows where reason = 'email_as_id'")
    assert page.count("<td>email_as_id</td>") >= min(kept, 10) > 0


def test_three_years_are_shown_by_week_in_a_bounded_page(delivered: Workspace, tmp_path: Path) -> None:
    old = replace(delivered, root=tmp_path / "project")
    shutil.copytree(delivered.root, old.root, symlinks=True)
    old.sql(
        "delete from aam_state.deliveries where delivery_id like 'old-%'",
        "delete from aam_state.rejected_history",
    )
    history(old, 3 * 365, 26)
    page = make_page(old, "page.html", days=3 * 365)
    assert "Deliveries by week, feed and destination" in page
    assert len(page.encode()) < 3_000_000
    assert re.search(r"[0-9,]+ more: see the model <code>report_deliveries</code>", page)


def test_without_the_library_that_draws_it_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(make, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=re.escape("pip install 'aam-onboard[report]'")):
        make_report(cast(Any, None), None, 90)


# --- without a warehouse ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def quiet() -> Figures:
    """A feed that was delivered an hour ago, and nothing else to tell."""
    nothing: dict[str, Any] = {field.name: [] for field in fields(Figures)}
    last = {
        "feed": "crm_traits", "kind": "data", "mode": "sync", "destination": "production", "delivery_id": "one",
        "status": "delivered", "reason": None, "forced": False, "started_at": NOW - timedelta(hours=1), "users": 10,
        "users_total": 10, "signals_added": 10, "signals_removed": 0, "rejected": 0,
    }  # fmt: skip
    step = Step("day")
    steps = step.all(NOW.date() - timedelta(days=13), NOW.date())
    return Figures(**nothing | {"now": NOW, "step": step, "steps": steps, "last": [last], "samples": None})


def _run(hours: float, outcome: str = "done", reason: str | None = None) -> dict[str, Any]:
    return {
        "outcome": outcome,
        "reason": reason,
        "started_at": NOW - timedelta(hours=hours),
        "command": "run",
    }


_DAILY = [_run(hours) for hours in (1, 25, 49, 73)]
_WAITING = {"feed": "a", "destination": "production", "delivery_id": "one", "waiting_files": 2}
_FORCED = {"feed": "a", "destination": "b", "users": 9, "signals_removed": 1234, "rejected": 0}
_KEPT = {"feed": "a", "destination": "b", "reason": "empty_id"}


@pytest.mark.parametrize(
    ("changes", "tone", "need"),
    [
        ({}, "good", None),
        ({"runs": _DAILY}, "good", None),
        ({"runs": [_run(1, "stopped", "feed a: too much"), *_DAILY]}, "bad", "A guard stopped .*too much"),
        ({"runs": [_run(1), _run(2, "failed")]}, "good", None),  # it was well again after
        ({"runs": [_run(0, "running"), _run(1, "killed")]}, "bad", "The last run came to no end"),
        ({"runs": [_run(hours) for hours in (100, 124, 148, 172)]}, "warn", "No run since"),
        ({"waiting": [_WAITING | {"changed_at": NOW - timedelta(hours=25)}]}, "warn", "2 files at production wait"),
        ({"waiting": [_WAITING | {"changed_at": NOW - timedelta(hours=23)}]}, "good", None),
        ({"forced": [_FORCED | {"started_at": NOW - timedelta(days=2)}]}, "warn", "past a guard by force .*1,234"),
        ({"forced": [_FORCED | {"started_at": NOW - timedelta(days=9)}]}, "good", None),
        (
            {
                "kept_back": [_KEPT | {"rows": 200}, _KEPT | {"rows": 100}],
                "kept_back_before": [_KEPT | {"rows": 10}] * 7,
            },
            "warn", "Of a, 300 rows are kept back; 10 were usual",
        ),
        (
            {"mismatches": [{"dpid": 58342, "kind": "case", "users": 60, "total_users": 1000, "share": 0.06}]},
            "warn", "60 users of CRM customers",
        ),
    ],
)  # fmt: skip
def test_the_headline_says_what_needs_somebody(
    quiet: Figures, changes: dict[str, Any], tone: str, need: str | None
) -> None:
    found = headline(replace(quiet, **changes), load_project(DEMO))
    assert found.tone == tone
    assert len(found.needs) == (0 if need is None else 1)
    assert need is None or re.search(need, found.needs[0].says)


@pytest.mark.parametrize(
    ("changes", "needs"),
    [
        ({"outbound": [(3, "iter"), (2, "iter"), (1, "iter")]}, []),
        ({"outbound": [(12, "iter"), (4, "iter"), (1, "iter")]}, ["No outbound batch of web came for .+, …, "]),
        ({"outbound": [(3, "full"), (1, "iter")]}, ["No outbound batch of web came for [0-9]+ [A-Z][a-z]+$"]),
        ({"outbound": [(3, "iter"), (1, "full")]}, []),  # which has healed it
        ({"outbound": [(5, "iter")]}, ["No outbound batch of web came for"]),
        ({"outbound_differences": [{}]}, ["^1 outbound file is not as Audience Manager says"]),
        ({"outbound_differences": [{}, {}]}, ["^2 outbound files are not as"]),
    ],
)  # fmt: skip
def test_the_headline_minds_what_did_not_come_back(
    quiet: Figures, changes: dict[str, Any], needs: list[str]
) -> None:
    project = load_project(DEMO, {"outbound": {"web": {"destination_id": 4411}}})
    batches = [
        {"outbound": "web", "mode": mode, "status": "whole", "made_at": NOW - timedelta(days=ago)}
        for ago, mode in changes.get("outbound", [])
    ]
    found = headline(replace(quiet, **changes | {"outbound": batches}), project).needs
    assert len(found) == len(needs)
    assert all(re.search(need, one.says) for need, one in zip(needs, found, strict=True))


@pytest.mark.parametrize(
    ("status", "tone"),
    [("failed", "bad"), ("uploading", "bad"), ("abandoned", "warn"), ("delivered", "good")],
)
def test_the_headline_minds_a_delivery_that_did_not_arrive(quiet: Figures, status: str, tone: str) -> None:
    last = [quiet.last[0] | {"status": status}]
    assert headline(replace(quiet, last=last), load_project(DEMO)).tone == tone


def test_a_page_is_the_same_for_the_same_figures(quiet: Figures) -> None:
    pages = {render(quiet, load_project(DEMO), "prod", "1.0") for _ in range(2)}
    assert len(pages) == 1
    assert "All is well" in pages.pop()


def test_weeks_begin_on_monday_and_months_on_the_first() -> None:
    assert Step("week").all(date(2026, 11, 19), date(2026, 11, 25)) == [
        date(2026, 11, 16),
        date(2026, 11, 23),
    ]
    assert Step("month").all(date(2026, 1, 31), date(2026, 3, 1)) == [date(2026, n, 1) for n in (1, 2, 3)]


def test_a_bar_that_dwarfs_the_others_is_cut_off_and_says_its_figure() -> None:
    step = Step("day")
    steps = step.all(date(2026, 11, 1), date(2026, 11, 10))
    series = [Series("sent", "sent", {day: 24_512 if day.day == 1 else 100 for day in steps})]
    drawn = charts.bars(series, steps, step, "wide")
    assert charts.cut_off(series, steps) == 125
    assert "24,512 ↑" in drawn
    assert "1 Nov 2026: 24,512 sent" in drawn
    series = [Series("sent", "sent", {day: 100 + day.day for day in steps})]
    assert charts.cut_off(series, steps) is None


def test_the_browser_opens_the_page(delivered: Workspace) -> None:
    opener = delivered.root / "opener"
    opener.write_text('#!/bin/sh\necho "$1" > opened\n')
    opener.chmod(0o755)
    done = delivered.ok("report", "--open", "--days", "7", extra={"BROWSER": str(opener), "DISPLAY": ""})
    assert "making the models" not in done.err  # they are there
    page = delivered.root / "target" / "aam_report.html"
    assert done.out == f"The page is {os.path.relpath(page, delivered.root)}\n"
    assert (delivered.root / "opened").read_text().strip() == page.as_uri()
