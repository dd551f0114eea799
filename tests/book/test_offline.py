"""Every page of the built book, opened from the disk in a browser: no request leaves, nothing is blank."""

import os
import shutil

import pytest

from nanoshape_lib.book.build import HTML
from nanoshape_lib.book.notebooks import _WIDGET_VIEW

# index.html only forwards to the first page.
PAGES = sorted(path for path in HTML.rglob("*.html") if "_static" not in path.parts and path.name != "index.html")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

pytestmark = [
    pytest.mark.book,
    pytest.mark.skipif(not PAGES, reason="there is no built book: run 'make book' first"),
    pytest.mark.skipif(not CHROMIUM and not os.environ.get("CI"), reason="there is no Chromium on the PATH"),
]

# Messages on the console that are known, and why they are harmless.
HARMLESS = (
    "strict mode: use allowUnionTypes",  # the widget manager's JSON schema validator, about its own schema
)

# An image is blank if it has no pixels or all its pixels are equal.
BLANK = """image => {
    if (!image.naturalWidth) return true;
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [64, 64];
    const context = canvas.getContext("2d");
    context.drawImage(image, 0, 0, 64, 64);
    const pixels = new Uint32Array(context.getImageData(0, 0, 64, 64).data.buffer);
    return pixels.every(pixel => pixel === pixels[0]);
}"""


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    options = [
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
    ]
    # File access lets the test read the pixels of images beside the page.
    options += ["--disable-component-update", "--disable-sync", "--allow-file-access-from-files"]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        yield chromium
        chromium.close()


class Visit:
    """One page, opened; what it asked for and complained of."""

    def __init__(self, browser, path, width=1280, theme="light"):
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=theme)
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("requestfailed", lambda request: self.complaints.append(f"failed: {request.url}"))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", self._listen)
        self.page.goto(path.as_uri(), timeout=120_000)
        self.page.evaluate("window.MathJax?.startup?.promise.then(() => true)")
        self.page.wait_for_timeout(500)

    def _listen(self, message):
        if message.type in {"error", "warning"} and not any(text in message.text for text in HARMLESS):
            self.complaints.append(message.text)


@pytest.fixture(params=PAGES, ids=lambda path: path.relative_to(HTML).as_posix())
def visit(request, browser):
    opened = Visit(browser, request.param)
    yield opened
    opened.page.close()


def test_page_works_from_the_disk(visit):
    assert [url for url in visit.requests if not url.startswith(("file:", "data:", "blob:"))] == []
    assert visit.complaints == []

    for image in visit.page.query_selector_all("main img"):
        # Images in widgets that are hidden until a slider moves are loaded all the same.
        assert not image.evaluate(BLANK), image.evaluate("image => image.alt || image.src.slice(0, 80)")

    formulas = visit.page.locator(".math").count()
    assert (visit.page.locator("mjx-container").count() > 0) == (formulas > 0)
    assert visit.page.locator("mjx-merror").count() == 0

    views = visit.page.locator(f'script[type="{_WIDGET_VIEW}"]').count()
    assert visit.page.locator(".widget-subarea").count() == views
    assert all(area.inner_html().strip() for area in visit.page.locator(".widget-subarea").all())


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(HTML).as_posix())
def test_page_fits_a_telephone(browser, path):
    opened = Visit(browser, path, width=390)
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= 390
    opened.page.close()


def test_sliders_of_the_widgets_change_the_picture(browser):
    """A slider linked in the page itself shows another picture when its arrow key is pressed."""
    linked = [path for path in PAGES if "LinkModel" in path.read_text(encoding="utf-8")]
    assert linked
    for path in linked:
        opened = Visit(browser, path)
        picture = opened.page.locator(".widget-subarea").first.locator("img:visible").first
        before = picture.get_attribute("src"), picture.screenshot()
        opened.page.locator(".widget-subarea .noUi-handle").first.focus()
        opened.page.keyboard.press("ArrowRight")
        opened.page.wait_for_function("([image, src]) => image.src !== src", arg=[picture.element_handle(), before[0]])
        after = picture.get_attribute("src"), picture.screenshot()
        assert after[0] != before[0], path.name
        assert after[1] != before[1], path.name
        opened.page.close()
