"""A small page with the explorer, all its files in one folder, and a browser that opens it from the disk."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from nanoshape_lib.book import javascript
from nanoshape_lib.book.page import COARSE_WAVES, write_page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
# WebGL without a graphics card.
OPTIONS = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
PAGE = """<!doctype html><html lang="en" data-theme="light"><head><meta charset="utf-8"><title>Play</title>
<meta name="viewport" content="width=device-width"><link rel="stylesheet" href="book.css"></head>
<body><main class="bd-content"><article class="bd-article"><h1>Play</h1>
<div id="nanoshape-play" class="play"></div>
<figure><img src="focal-series.png" alt="A focal series." width="300"></figure>
</article></main><script defer src="play.js"></script></body></html>"""


def write_explorer(folder: Path) -> None:
    """Write the page into a folder, with coarse waves, and its modules as the global ``page`` of ``modules.html``."""
    folder.mkdir(exist_ok=True)
    javascript.bundle(folder)
    write_page(folder, COARSE_WAVES)
    shutil.copy(javascript.BOOK / "css" / "book.css", folder)
    (folder / "page.html").write_text(PAGE, encoding="utf-8")
    paths = sorted(path for room in ("optics", "io") for path in (javascript.SOURCES / room).glob("*.js"))
    exports = "".join(f'export * from "./{path.relative_to(javascript.BOOK).as_posix()}";' for path in paths)
    javascript.esbuild(["--global-name=page", f"--outfile={folder / 'modules.js'}"], exports)
    text = '<!doctype html><meta charset="utf-8"><title>modules</title><script src="modules.js"></script>'
    (folder / "modules.html").write_text(text, encoding="utf-8")


def chromium() -> Iterator:
    """The browser, for a fixture; skips where there is none."""
    if not CHROMIUM and not os.environ.get("CI"):
        pytest.skip("there is no Chromium on the PATH")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield browser
        browser.close()
