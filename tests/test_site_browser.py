"""The built site in a real browser, without a network: pages, search, a phone's width.

`make docs` builds the site and runs this where it finds a browser: Playwright's own, or Chromium or
Chrome on the path, or the program that the variable BROWSER_PATH names.
"""

from __future__ import annotations

import functools
import http.server
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

SITE = Path(__file__).parents[1] / "site"
PAGES = ("index.html", "libraries.html", "reference/environments.html", "reference/api.html")
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
# A browser in a container has neither a sandbox nor a GPU.
FLAGS = ("--no-sandbox", "--disable-gpu", "--single-process", "--no-zygote", "--headless=shell")

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore")]


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Where the built site is served."""
    if not (SITE / "index.html").exists():
        pytest.skip("no site: make docs")
    handler = functools.partial(_Quiet, directory=str(SITE))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


@pytest.fixture(scope="module")
def page(address: str) -> Iterator[Any]:
    """A page of a browser whose complaints are kept, and which reaches nothing but the site."""
    playwright = pytest.importorskip("playwright.sync_api", reason="make docs")
    found = os.environ.get("BROWSER_PATH") or shutil.which("chromium")
    found = found or shutil.which("google-chrome")
    with playwright.sync_playwright() as started:
        try:
            browser = started.chromium.launch(executable_path=found, args=list(FLAGS))
        except playwright.Error as error:
            pytest.skip(f"no browser: {str(error).splitlines()[0]}")
        opened = browser.new_page()
        opened.complaints = []
        opened.on(
            "console", lambda m: opened.complaints.append(m.text) if m.type == "error" else None
        )
        opened.on("pageerror", lambda error: opened.complaints.append(str(error)))
        opened.on("requestfailed", lambda r: opened.complaints.append(f"failed: {r.url}"))
        opened.on(
            "request",
            lambda r: None if r.url.startswith(address) else opened.complaints.append(r.url),
        )
        yield opened
        browser.close()


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_pages_are_whole(name: str, size: dict[str, int], page: Any, address: str) -> None:
    """Nothing fails to load or comes from elsewhere, and nothing is wider than the window."""
    page.complaints.clear()
    page.set_viewport_size(size)
    page.goto(address + name)
    page.wait_for_load_state("load")
    assert page.locator("h1").first.inner_text().strip()
    broken = "Array.from(document.images).filter(i => i.complete && !i.naturalWidth).length"
    assert page.evaluate(broken) == 0
    assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0
    assert page.complaints == []


def test_search_finds_a_page_without_a_network(page: Any, address: str) -> None:
    page.complaints.clear()
    page.set_viewport_size(DESKTOP)
    page.goto(address + "index.html")
    page.click("input.md-search__input")
    page.keyboard.type("autoreset modes")
    result = page.locator(".md-search-result__item a[href*='libraries.html']").first
    result.wait_for(timeout=20_000)
    result.click()
    page.wait_for_url("**/libraries.html*")
    assert "Other libraries" in page.title()
    assert page.complaints == []
