"""The page without a kernel, made once a run, and the browser that opens it."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from page_browser import chromium, write_explorer

from nanoshape_lib.book.javascript import install_javascript


@pytest.fixture(scope="session")
def javascript(once) -> None:
    """The packages from npm."""
    once("javascript", lambda _: install_javascript())


@pytest.fixture(scope="session")
def page_folder(once, javascript, tmp_path_factory) -> Path:
    """The page with coarse waves, ``page.html``, and its modules alone, ``modules.html``; a copy for this process."""
    return shutil.copytree(once("page", write_explorer), tmp_path_factory.mktemp("copy") / "page")


@pytest.fixture(scope="session")
def browser() -> Iterator:
    """Chromium; skips where there is none."""
    yield from chromium()
