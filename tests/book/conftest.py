"""The page without a kernel, made once a run, and the browser that opens it."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock
from page_browser import chromium, write_explorer

from nanoshape_lib.book.javascript import install_javascript
from nanoshape_lib.paths import replacing


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory) -> Path:
    """A folder that all processes of this run share."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


@pytest.fixture(scope="session")
def javascript(run_folder) -> None:
    """The packages from npm."""
    with FileLock(run_folder / "npm.lock"):
        install_javascript()


@pytest.fixture(scope="session")
def page_folder(run_folder, javascript, tmp_path_factory) -> Path:
    """The page with coarse waves, ``page.html``, and its modules alone, ``modules.html``; a copy for this process."""
    shared = run_folder / "page"
    with FileLock(run_folder / "page.lock"):
        if not shared.is_dir():
            with replacing(shared) as folder:
                folder.mkdir()
                write_explorer(folder)
    return shutil.copytree(shared, tmp_path_factory.mktemp("copy") / "page")


@pytest.fixture(scope="session")
def browser() -> Iterator:
    """Chromium; skips where there is none."""
    yield from chromium()
