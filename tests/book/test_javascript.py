"""The modules of the page without a kernel, by node's own test runner."""

import subprocess
from pathlib import Path

from nanoshape_lib.book.javascript import install_javascript, node_program

TESTS = sorted((Path(__file__).parents[1] / "play").glob("*.test.mjs"))


def test_modules_of_the_page():
    install_javascript()
    command = [node_program("node"), "--test", *map(str, TESTS)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert TESTS and result.returncode == 0, result.stdout[-6000:] + result.stderr[-2000:]
