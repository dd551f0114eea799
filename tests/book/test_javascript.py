"""The modules of the page without a kernel: their types by TypeScript, their behaviour by node's own test runner."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from nanoshape_lib.book.javascript import BOOK, MODULES, SOURCES, node_program
from nanoshape_lib.particles.orientation import random_rotations, reduce, sector_corners
from nanoshape_lib.particles.shapes import Shape

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


@pytest.mark.parametrize("shape", [Shape.TRUNCATED_OCTAHEDRON, Shape.ICOSAHEDRON])
def test_directions_are_reduced_as_the_library_does(shape, rng):
    sent = {
        "corners": [corner.tolist() for corner in sector_corners(shape).values()],
        "directions": random_rotations(300, rng)[:, 2].tolist(),
    }
    script = f"""
        import {{ readFileSync }} from "node:fs";
        import {{ Symmetry }} from "{(SOURCES / "optics" / "orientation.js").as_uri()}";
        const {{ corners, directions }} = JSON.parse(readFileSync(0, "utf8"));
        const symmetry = new Symmetry(corners);
        console.log(JSON.stringify(directions.map((direction) => symmetry.reduce(direction))));"""
    command = [node_program("node"), "--input-type=module", "-e", script]
    result = subprocess.run(command, input=json.dumps(sent), capture_output=True, text=True, check=True)
    assert np.array(json.loads(result.stdout)) == pytest.approx(reduce(sent["directions"], shape), abs=1e-9)
