"""Every page of the built book by the rules of axe-core, in the light and the dark theme."""

import time

import pytest
from test_offline import HTML, PAGES, Visit, browser, pytestmark  # noqa: F401

from nanoshape_lib.book.javascript import MODULES

AXE = MODULES / "axe-core" / "axe.min.js"
# Icons are drawn by a script and in fonts of their own: until they are, axe-core takes them for text.
DRAWN = """() => document.fonts.status === "loaded" && !document.querySelector("i.fa-solid, i.fa-brands")"""
RUN = """async () => {
    const { violations } = await axe.run(document, { resultTypes: ["violations"] });
    return violations.map(({ id, nodes }) => `${id}: ${nodes.length} x ${nodes[0].html.slice(0, 120)}`);
}"""


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(HTML).as_posix())
def test_page_breaks_no_rule(browser, path, theme):  # noqa: F811
    opened = Visit(browser, path, theme=theme)
    assert opened.page.evaluate("document.documentElement.dataset.theme") == theme
    opened.page.wait_for_function(DRAWN)
    opened.page.evaluate(AXE.read_text(encoding="utf-8"))
    found = opened.page.evaluate(RUN)
    opened.page.close()
    assert found == []


def test_icons_drawn_before_the_page_is_mended_have_no_titles(browser):  # noqa: F811
    """Font Awesome turns a title that it finds into an element; which script comes first is left to chance."""
    page = browser.new_page()

    def late(route):
        time.sleep(1)
        route.continue_()

    page.route("**/accessible.js*", late)
    page.goto(PAGES[0].as_uri())
    page.wait_for_function(DRAWN)
    icons = page.locator(".theme-switch-button > svg")
    assert icons.count() == 3
    assert icons.locator("title").count() == 0
    page.close()
