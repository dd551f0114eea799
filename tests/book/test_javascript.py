"""The modules of the page without a kernel: their types by TypeScript, their behaviour by node's own test runner."""

import subprocess
from pathlib import Path

import pytest

from nanoshape_lib.book.javascript import BOOK, MODULES, SOURCES, node_program

TESTS = sorted((Path(__file__).parents[1] / "play").glob("*.test.mjs"))

pytestmark = pytest.mark.usefixtures("javascript")


def test_modules_of_the_page():
    command = [node_program("node"), "--test", *map(str, TESTS)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert TESTS and result.returncode == 0, result.stdout[-6000:] + result.stderr[-2000:]


@pytest.mark.slow
def test_types_of_the_modules():
    modules = list(SOURCES.rglob("*.js"))
    assert modules and all(path.read_text(encoding="utf-8").startswith("// @ts-check\n") for path in modules)
    command = [node_program("node"), str(MODULES / "typescript" / "bin" / "tsc"), "--project", str(BOOK)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout
