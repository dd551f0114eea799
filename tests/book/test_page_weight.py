"""Weight of the play page of the built book: what a browser loads before anything is touched, and all of it."""

from urllib.parse import unquote, urlsplit

import pytest
from page_browser import chromium

from nanoshape_lib.book.build import HTML

PAGE = HTML / "play.html"
FIRST_MB, ALL_MB = 3, 25

pytestmark = [pytest.mark.book, pytest.mark.skipif(not PAGE.is_file(), reason="there is no built book")]


def weight_MB(urls) -> float:
    """Size of files beside the page [MB]."""
    return sum((HTML / unquote(urlsplit(url).path)).stat().st_size for url in set(urls)) / 1e6


@pytest.fixture(scope="module")
def page():
    for browser in chromium():
        yield browser.new_page(viewport={"width": 1280, "height": 900})


def test_the_page_is_light_before_the_first_touch_and_in_all(page):
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.goto(PAGE.as_uri())
    page.wait_for_selector(".play-explorer .play-image")
    page.locator(".play-body").scroll_into_view_if_needed()
    page.wait_for_timeout(3000)
    assert any(url.endswith("particles.js") for url in requests), "atoms are loaded when they come into view"
    assert weight_MB(requests) < FIRST_MB
    page.get_by_role("button", name="Ask the classifier").click()
    page.wait_for_selector(".play-image[data-shown]", timeout=30_000)
    page.locator(".play-body").hover()
    page.wait_for_selector(".play-body[data-live]")
    waves = {path.as_uri() for path in (HTML / "_static" / "play").glob("wave-*.js")}
    assert len(waves) >= 15
    assert weight_MB([*requests, *waves]) < ALL_MB
