"""The page of `aam sandbox serve` in a real browser, without a screen."""

import itertools
import os
import shutil
from collections.abc import Iterator

import pytest
import sandboxes
from sandboxes import ADULT, BUYER, CRM, READER, map_ids, map_to_destination, set_destination, set_traits
from selenium.webdriver import Chrome, ChromeOptions, ChromeService, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

CHROMIUM, DRIVER = (shutil.which(program) for program in ("chromium", "chromedriver"))

pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="needs Chromium (apt-get install chromium chromium-driver)"
)

SCRIPT = "<script>document.title = 'taken'</script><img src=x onerror=\"document.title = 'taken'\">"
# Every pair of a text's colour and the colour behind it.
CONTRASTS = """
const luminance = ([r, g, b]) => [r, g, b].map(c => c / 255)
    .map(c => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
const parts = colour => colour.match(/[0-9.]+/g).map(Number);
const behind = element => {
    for (let e = element; e; e = e.parentElement) {
        const colour = parts(getComputedStyle(e).backgroundColor);
        if (colour.length === 3 || colour[3] > 0) return colour;
    }
};
return [...document.querySelectorAll('body *')].filter(e => e.checkVisibility()
    && [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())).map(e => {
    const [a, b] = [parts(getComputedStyle(e).color), behind(e)].map(luminance);
    return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), e.outerHTML.slice(0, 80)];
});
"""


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
    options = ChromeOptions()
    options.binary_location = str(CHROMIUM)
    arguments = [
        "--headless",
        f"--user-data-dir={tmp_path_factory.mktemp('chromium')}",
        "--window-size=1200,900",
    ]
    if os.geteuid() == 0:  # where Chromium's own sandbox won't start
        arguments.append("--no-sandbox")
    for argument in arguments:
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chrome = Chrome(options, ChromeService(DRIVER))
    yield chrome
    chrome.quit()


def complaints(browser: Chrome) -> list[str]:
    """What the browser has refused or could not load since it was asked last."""
    return [entry["message"] for entry in browser.get_log("browser")]


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
    feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    browser.get(f"{address}/?dpid={CRM}&id=ann")
    page = browser.find_element(By.TAG_NAME, "body").value_of_css_property("background-color")
    assert (int(page.partition("(")[2].partition(",")[0]) > 128) is (scheme == "light")
    found = browser.execute_script(CONTRASTS)
    assert len(found) > 60
    assert [pair for pair in found if pair[0] < 4.5] == []


def test_it_fits_a_telephone(browser: Chrome, address: str) -> None:
    size = {"width": 360, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        browser.get(f"{address}/?dpid={CRM}&id=ann")
        assert browser.execute_script("return document.documentElement.scrollWidth") <= 360
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
