"""The HTML report: self-contained, escaped, honest about what is absent, right in a browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from holdfast.report import html
from holdfast.report.load import load
from holdfast.report.samples import choose


@pytest.fixture(scope="module")
def page(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return html.write(load(run_folder), tmp_path_factory.mktemp("page") / "report.html")


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))


def test_one_safe_file(page: Path) -> None:
    text = page.read_text("utf-8")
    assert len(text.encode()) < 3_000_000
    parser = _Tags()
    parser.feed(text)
    tags = {tag for tag, _ in parser.seen}
    assert not tags & {"script", "img", "iframe", "object", "embed", "form", "b"}
    ids = [attrs["id"] for _, attrs in parser.seen if "id" in attrs]
    assert len(ids) == len(set(ids))
    for _, attrs in parser.seen:
        assert not any(name.startswith("on") for name in attrs)
        for name in ("src", "href", "xlink:href"):
            assert (attrs.get(name) or "#").startswith(("#", "data:,"))
    assert not re.search(r"url\((?!#)|@import", text)
    assert "&lt;script&gt;" in text
    assert "{{ 7 * 7 }}" in text
    assert not set(text) & {"\x1b", "\u202e", "\x00"}


def test_figures_have_words(page: Path) -> None:
    text = page.read_text("utf-8")
    figures = re.findall(r'<svg class="plot".*?</svg>', text, re.DOTALL)
    assert len(figures) == 15
    assert all("<title " in figure and "<desc " in figure for figure in figures)
    assert "plain: alarm at step 28" in text
    assert "#0102" not in text  # every stand-in colour became a variable


def test_red_team_text_stays_out_unless_asked(run_folder: Path) -> None:
    run = load(run_folder)
    quiet = {s.suite: s for s in choose(run)}
    assert not quiet["harmbench"].text_shown
    assert all(not a.text for s in quiet["harmbench"].samples for a in s.answers)
    assert quiet["harbor-harmful"].samples[0].answers[0].text
    loud = {s.suite: s for s in choose(run, show_samples=True)}
    assert loud["harmbench"].warn
    assert not loud["harbor-harmful"].warn
    assert all(len(a.text) < 440 for s in loud["harmbench"].samples for a in s.answers)


def test_half_a_run_claims_nothing(tmp_path: Path) -> None:
    (tmp_path / "arms" / "plain").mkdir(parents=True)
    text = html.render(load(tmp_path))
    assert "NOT MEASURED" in text
    assert "PASS" not in text
    assert "Nothing is claimed" in text


def test_matplotlib_loads_only_to_draw() -> None:
    program = (
        "import sys, holdfast.report.html, holdfast.report.terminal, holdfast.cli.report;"
        "bad = {'matplotlib', 'torch', 'transformers', 'scipy.stats'} & set(sys.modules);"
        "sys.exit(f'loaded: {bad}' if bad else 0)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


# --- in the browser ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    binary = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if not binary or not driver:
        pytest.skip("chromium and chromedriver are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for argument in (
        "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run",
        "--disable-background-networking", "--disable-dev-shm-usage",
        f"--user-data-dir={tmp_path_factory.mktemp('profile')}",
    ):  # fmt: skip
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    chrome = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield chrome
    chrome.quit()


def _open(browser: Any, page: Path, width: int) -> None:
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 600},
    )
    browser.get("about:blank")
    for log in ("browser", "performance"):
        browser.get_log(log)  # what the browser did for itself while it started
    browser.get(page.as_uri())


@pytest.mark.parametrize("width", [390, 1280])
def test_in_chromium(browser: Any, page: Path, width: int) -> None:
    _open(browser, page, width)
    scroll, client = browser.execute_script(
        "const e = document.documentElement; return [e.scrollWidth, e.clientWidth]"
    )
    assert client == width
    assert scroll <= client
    assert browser.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    urls = [
        e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"
    ]
    assert page.as_uri() in urls
    assert [url for url in urls if url != page.as_uri() and not url.startswith("data:")] == []
    shown = browser.find_element("tag name", "body").text
    assert "FAIL" in shown
    assert "PASS" in shown
    words = browser.find_elements("css selector", ".verdict .word")
    assert [w.text.split()[0] for w in words] == ["FAIL", "PASS"]
    assert all(word.is_displayed() for word in words)


def test_hostile_answers_are_text(
    browser: Any, tmp_path: Path, build_run: Callable[[Path], Path]
) -> None:
    run = load(build_run(tmp_path / "run"))
    page = html.write(run, tmp_path / "all.html", show_samples=True)
    _open(browser, page, 390)
    made, hacked = browser.execute_script(
        "document.querySelectorAll('details').forEach(d => d.open = true);"
        "return [document.querySelectorAll('script, img, b, iframe').length, window.hacked ?? null]"
    )
    assert made == 0
    assert hacked is None
    scroll, client = browser.execute_script(
        "const e = document.documentElement; return [e.scrollWidth, e.clientWidth]"
    )
    assert scroll <= client
    assert "<script>window.hacked = 1" in browser.find_element("tag name", "body").text
