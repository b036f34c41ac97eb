"""A real browser without a screen, and what a test asks of every page."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Chrome, ChromeOptions, ChromeService

CHROMIUM, DRIVER = (shutil.which(program) for program in ("chromium", "chromedriver"))
needs_chromium = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="needs Chromium (apt-get install chromium chromium-driver)"
)

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
    const style = getComputedStyle(e);
    const colour = e instanceof SVGElement ? style.fill : style.color;
    const [a, b] = [parts(colour), behind(e)].map(luminance);
    return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), e.outerHTML.slice(0, 80)];
});
"""


@contextmanager
def headless(profile: Path) -> Iterator[Chrome]:
    """A Chromium that keeps its log, with a profile of its own."""
    options = ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for argument in ("--headless", f"--user-data-dir={profile}", "--window-size=1200,900"):
        options.add_argument(argument)
    if os.geteuid() == 0:  # where Chromium's own sandbox won't start
        options.add_argument("--no-sandbox")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chrome = Chrome(options, ChromeService(DRIVER))
    try:
        yield chrome
    finally:
        chrome.quit()


def complaints(browser: Chrome) -> list[str]:
    """What the browser has refused or could not load since it was asked last."""
    return [entry["message"] for entry in browser.get_log("browser")]


@contextmanager
def shown_in(browser: Chrome, scheme: str, width: int = 1200) -> Iterator[None]:
    """Pages in light or dark, as wide as a telephone or a desk's screen."""
    feature = {"name": "prefers-color-scheme", "value": scheme}
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        yield
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def barriers(browser: Chrome) -> list[str]:
    """What axe-core finds serious or worse in the page that is shown, an element each."""
    # of this package, what is wanted is the script that it brings along
    browser.execute_script((files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8"))
    found: dict[str, Any] = browser.execute_async_script(
        "const done = arguments[0];"
        " axe.run(document, {resultTypes: ['violations']}).then(done, error => done({error: String(error)}))"
    )
    assert "error" not in found, found
    assert len(found["passes"]) > 20
    return [
        f"{one['id']} ({one['impact']}): {node['html'][:200]}"
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]
