"""The share of atoms in phase against the interference function of a block of lattice planes."""

import numpy as np
import pytest

from nanoshape_lib.particles.shapes import GOLD_LATTICE_CONSTANT_A, Shape, build
from nanoshape_lib.particles.specimen import visible_structure_factor

CELLS = 12


def block():
    """A cube of fcc gold, 12 cells a side, its edges along the axes."""
    corners = np.indices((CELLS,) * 3).reshape(3, -1).T
    basis = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    return (corners[:, None] + basis).reshape(-1, 3) * GOLD_LATTICE_CONSTANT_A


def tilted(positions, degrees):
    """Turned about x."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return positions @ np.array([[1, 0, 0], [0, c, -s], [0, s, c]]).T


def test_planes_that_stand_edge_on_scatter_in_phase():
    assert visible_structure_factor(block()) == pytest.approx(1, abs=0.04), "{200} planes stand along x and y"
    assert visible_structure_factor(build(Shape.OCTAHEDRON, 60).positions) > 0.9


@pytest.mark.parametrize("degrees", [0.5, 1.0, 1.5])
def test_tilted_planes_follow_the_interference_function(degrees):
    """Only about x do {200} planes along y lean; those along x stay, so the others are looked at alone."""
    stretched = block() * np.array([0.9, 1, 1])  # puts the planes along x at 0.545 per Å, out of sight
    layers, g = 2 * CELLS, 2 / GOLD_LATTICE_CONSTANT_A
    phase = np.pi * g * np.sin(np.radians(degrees)) * GOLD_LATTICE_CONSTANT_A / 2
    expected = abs(np.sin(layers * phase) / (layers * np.sin(phase)))
    assert visible_structure_factor(tilted(stretched, degrees)) == pytest.approx(expected, abs=0.06)


def test_few_directions_show_fringes():
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(40, 3, 3))
    shares = [visible_structure_factor(build(Shape.CUBE, 55).positions @ np.linalg.qr(each)[0]) for each in directions]
    assert 0.05 < np.mean(np.array(shares) > 0.25) < 0.5 and min(shares) < 0.08
