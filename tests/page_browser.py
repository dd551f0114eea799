"""A small page with the explorer, all its files in one folder, and a browser that opens it from the disk."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from nanoshape_lib.book import javascript
from nanoshape_lib.book.page import SMOKE, write_page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
# WebGL without a graphics card.
OPTIONS = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
PAGE = """<!doctype html><html lang="en" data-theme="light"><head><meta charset="utf-8"><title>Play</title>
<meta name="viewport" content="width=device-width"><link rel="stylesheet" href="book.css"></head>
<body><main class="bd-content"><article class="bd-article"><h1>Play</h1>
<div id="nanoshape-play" class="play"></div><figure><img src="twin.png" alt="A focal series." width="300"></figure>
</article></main><script defer src="play.js"></script></body></html>"""


def write_explorer(folder: Path) -> None:
    """Write the page into a folder, with coarse waves."""
    javascript.install_javascript()
    javascript.bundle()
    write_page(folder, **SMOKE)
    for name in javascript.ENTRIES:
        shutil.copy(javascript.PLAY / f"{name}.js", folder)
    shutil.copy(javascript.BOOK / "css" / "book.css", folder)
    (folder / "page.html").write_text(PAGE, encoding="utf-8")


def write_modules(folder: Path, *names: str) -> None:
    """Write what some modules of ``book/play`` export as the global ``page`` of ``modules.html``."""
    esbuild = [javascript.node_program("node"), str(javascript.MODULES / "esbuild" / "bin" / "esbuild")]
    options = ["--bundle", "--format=iife", "--global-name=page", f"--outfile={folder / 'modules.js'}"]
    options += ["--external:module", "--define:import.meta.url=document.baseURI", "--log-level=error"]
    exports = "".join(f'export * from "./play/{name}.js";' for name in names)
    subprocess.run([*esbuild, *options], input=exports, text=True, cwd=javascript.BOOK, check=True)
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
