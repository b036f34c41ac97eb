"""The page of `aam sandbox serve` in a real browser, without a screen."""

import itertools
from collections.abc import Iterator

import pytest
import sandboxes
from browsers import CONTRASTS, complaints, headless, needs_chromium, shown_in
from sandboxes import ADULT, BUYER, CRM, READER, map_ids, map_to_destination, set_destination, set_traits
from selenium.webdriver import Chrome, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

pytestmark = needs_chromium

SCRIPT = "<script>document.title = 'taken'</script><img src=x onerror=\"document.title = 'taken'\">"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("page") / "sandbox"
    with sandboxes.sandbox(folder) as store:
        map_ids(store, ("ann", 1), ("bob", 2))
        set_traits(store, 1, READER, ADULT)
        set_traits(store, 2, BUYER)
        set_destination(store)
        map_to_destination(store, ADULT)
        store.connection.execute("update segments set name = $1, description = $1", [SCRIPT])
        store.connection.execute("update traits set name = $1 where sid = $2", [SCRIPT, ADULT])
        store.connection.execute(sandboxes.JOB)
    with sandboxes.serving(folder) as served:
        yield served


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    with headless(tmp_path_factory.mktemp("chromium")) as chrome:
        yield chrome


def test_it_needs_nothing_from_elsewhere_and_runs_no_script(browser: Chrome, address: str) -> None:
    browser.get(f"{address}/?dpid={CRM}&id=ann")
    assert browser.title == "Profile ann · Local Audience Manager"
    assert SCRIPT in browser.find_element(By.ID, "segments").text
    assert browser.execute_script("return performance.getEntriesByType('resource').map(e => e.name)") == []
    assert complaints(browser) == []
    # the policy holds: the style is that of the page
    assert "monospace" in browser.find_element(By.CLASS_NAME, "id").value_of_css_property("font-family")


def test_a_profile_is_found_by_keyboard_alone(browser: Chrome, address: str) -> None:
    browser.get(address)
    browser.switch_to.active_element.send_keys(Keys.TAB)
    assert browser.switch_to.active_element.text == "Skip to the content"
    assert browser.switch_to.active_element.rect["x"] >= 0
    browser.switch_to.active_element.send_keys(Keys.ENTER, Keys.TAB)
    assert browser.switch_to.active_element.accessible_name == "Data source"
    browser.switch_to.active_element.send_keys(str(CRM), Keys.TAB)
    assert browser.switch_to.active_element.accessible_name == "ID, exactly as it was sent"
    browser.switch_to.active_element.send_keys("bob", Keys.ENTER)
    WebDriverWait(browser, 20).until(lambda _: browser.title.startswith("Profile bob"))
    profile = browser.find_element(By.ID, "profile").text
    assert f"{BUYER}\nBuyer" in profile.replace(" Buyer", "\nBuyer")
    assert f"{READER}" not in profile


def test_a_reader_of_screens_finds_its_way(browser: Chrome, address: str) -> None:
    browser.get(f"{address}/?dpid={CRM}&id=ann")
    assert browser.find_element(By.TAG_NAME, "html").get_attribute("lang") == "en"
    levels = [int(one.tag_name[1]) for one in browser.find_elements(By.CSS_SELECTOR, "h1, h2, h3")]
    assert levels.count(1) == 1
    assert all(later - earlier <= 1 for earlier, later in itertools.pairwise(levels))
    for element in browser.find_elements(
        By.CSS_SELECTOR, "nav, section, select, input, button, a, summary, [tabindex='0']"
    ):
        assert element.accessible_name or element.text, element.get_attribute("outerHTML")
    assert not browser.find_elements(By.CSS_SELECTOR, "th:not([scope])")
    for link in browser.find_elements(By.CSS_SELECTOR, "nav a"):
        assert browser.find_elements(By.ID, str(link.get_attribute("href")).partition("#")[2])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_legible_in_light_and_dark(browser: Chrome, address: str, scheme: str) -> None:
    with shown_in(browser, scheme):
        browser.get(f"{address}/?dpid={CRM}&id=ann")
        page = browser.find_element(By.TAG_NAME, "body").value_of_css_property("background-color")
        assert (int(page.partition("(")[2].partition(",")[0]) > 128) is (scheme == "light")
        found = browser.execute_script(CONTRASTS)
    assert len(found) > 60
    assert [pair for pair in found if pair[0] < 4.5] == []


def test_it_fits_a_telephone(browser: Chrome, address: str) -> None:
    with shown_in(browser, "light", width=360):
        browser.get(f"{address}/?dpid={CRM}&id=ann")
        assert browser.execute_script("return document.documentElement.scrollWidth") <= 360
