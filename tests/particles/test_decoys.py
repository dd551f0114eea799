"""Decoys against geometry and crystallography."""

import numpy as np
import pytest
from ase import Atoms
from ase.cluster import Decahedron
from scipy.spatial import ConvexHull, cKDTree

from nanoshape_lib.particles import decoys
from nanoshape_lib.particles.shapes import (
    GOLD_ATOMIC_VOLUME_A3,
    GOLD_LATTICE_CONSTANT_A,
    GOLD_NEIGHBOUR_DISTANCE_A,
    Shape,
    build,
    facets,
    neighbour_distances,
    volume_equivalent_diameter,
)
from nanoshape_lib.particles.specimen import EDGE_A, FIELD_A

SIZES = (40, 55, 75)
BUILDERS = (
    decoys.sphere,
    decoys.rod,
    decoys.truncated_cube,
    decoys.decahedron,
    decoys.twin,
)
AXES = (0, 0, 1), (3**-0.5,) * 3


def nearest(positions, atoms):
    """Distance from each of some positions to the nearest atom."""
    return cKDTree(atoms.positions).query(positions)[0]


@pytest.fixture
def rng():
    return np.random.default_rng(3)


@pytest.mark.parametrize("make", BUILDERS)
@pytest.mark.parametrize("size_A", SIZES)
def test_sizes_follow_the_convention(make, size_A, rng):
    atoms = make(size_A, rng)
    assert abs(volume_equivalent_diameter(len(atoms)) - size_A) < 5
    assert atoms.info["size_A"] == pytest.approx((6 / np.pi * len(atoms) * GOLD_ATOMIC_VOLUME_A3) ** (1 / 3))
    assert np.abs(atoms.positions.mean(axis=0)).max() < 1e-9


@pytest.mark.parametrize("make", BUILDERS[:3])
def test_crystals_are_perfect_inside(make, rng):
    atoms = make(45, rng)
    assert neighbour_distances(atoms) == pytest.approx(GOLD_NEIGHBOUR_DISTANCE_A)
    bonds = cKDTree(atoms.positions).query_ball_point(atoms.positions, 3.4, return_length=True) - 1
    middle = np.linalg.norm(atoms.positions, axis=1) < 10
    assert (bonds[middle] == 12).all() and bonds.max() == 12


def test_a_sphere_is_round_and_a_rod_twice_as_long_as_thick(rng):
    shell = np.linalg.norm(decoys.sphere(60, rng).positions, axis=1)
    assert 30 - GOLD_NEIGHBOUR_DISTANCE_A < shell.max() < 30 + 1
    x, y, z = np.ptp(decoys.rod(60, rng).positions, axis=0)
    assert z / np.mean([x, y]) == pytest.approx(2, abs=0.15)
    thick = (60**3 / 6 / (1 / 4 + 1 / 6)) ** (1 / 3)  # π/6 d³ = π/4 t² t + π/6 t³
    assert np.mean([x, y]) == pytest.approx(thick, abs=3)


@pytest.mark.parametrize("size_A", SIZES)
def test_a_truncated_cube_has_lost_its_corners_to_triangles_and_nothing_else(size_A, rng):
    positions = decoys.truncated_cube(size_A, rng).positions
    edge = np.abs(positions).max(axis=0)
    assert edge == pytest.approx(edge[0])
    corner = np.abs(positions).sum(axis=1).max()
    assert corner / edge[0] == pytest.approx(1 + np.sqrt(2), abs=GOLD_LATTICE_CONSTANT_A / 2 / edge[0] + 1e-6)
    steps = round(edge[0] / (GOLD_LATTICE_CONSTANT_A / 2))
    grid = np.indices((2 * steps + 1,) * 3).reshape(3, -1).T - steps
    inside = (grid.sum(axis=1) % 2 == 0) & (np.abs(grid).sum(axis=1) * GOLD_LATTICE_CONSTANT_A / 2 < corner + 0.1)
    assert len(positions) == inside.sum(), "all sites of the lattice within fourteen planes, counted anew"
    faces = facets(Atoms(positions=positions))
    assert sorted(len(face) for face in faces) == [3] * 8 + [8] * 6


def test_a_decahedron_has_five_fold_symmetry_and_the_atoms_of_ase(rng):
    atoms = decoys.decahedron(50, rng)
    assert neighbour_distances(atoms).mean() == pytest.approx(GOLD_NEIGHBOUR_DISTANCE_A)
    angle = 2 * np.pi / 5
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    turned = atoms.positions @ turn.T
    assert nearest(turned, atoms).max() < 0.05, "a fifth of a turn maps it onto itself"
    quarter = atoms.positions[:, [1, 0, 2]] * [-1, 1, 1]
    assert nearest(quarter, atoms).max() > 0.5, "a quarter does not"
    assert len(Decahedron("Au", 2, 2, 1)) == 75, "the smallest Marks decahedron: Marks 1994, table 1"
    assert all(r >= 1 for _, _, r in decoys._decahedra()), "edges are re-entrant"


def test_a_twin_is_mirrored_in_a_close_packed_layer_stacked_as_in_hcp(rng):
    atoms, normal = decoys.twin(45, rng), np.ones(3) / np.sqrt(3)
    height = atoms.positions @ normal
    mirrored = atoms.positions - 2 * height[:, None] * normal
    assert nearest(mirrored, atoms).max() < 1e-6
    assert neighbour_distances(atoms) == pytest.approx(GOLD_NEIGHBOUR_DISTANCE_A)
    assert len(atoms) == pytest.approx(len(build(Shape.TRUNCATED_OCTAHEDRON, 45)), rel=0.1)
    assert nearest(-atoms.positions, atoms).max() > 1, "the fcc particle has inversion symmetry, the twin none"
    # Twelve bonds stay, but in the twin's layer they are those of hcp: the caps above and below look alike.
    centre = np.linalg.norm(atoms.positions, axis=1).argmin()
    bonds = atoms.positions - atoms.positions[centre]
    bonds = bonds[(np.linalg.norm(bonds, axis=1) < 3.4) & (np.linalg.norm(bonds, axis=1) > 1)]
    caps = [bonds[side * (bonds @ normal) > 1] @ (np.eye(3) - np.outer(normal, normal)) for side in (1, -1)]
    assert len(bonds) == 12 and [len(cap) for cap in caps] == [3, 3]
    assert np.linalg.norm(caps[0][:, None] - caps[1], axis=2).min(axis=1) == pytest.approx(0, abs=1e-9)


def test_a_pair_touches_and_overlaps_along_the_beam(rng):
    for _ in range(3):
        atoms = decoys.pair(50, rng)
        assert volume_equivalent_diameter(len(atoms)) == pytest.approx(50, abs=5)
        bonds = neighbour_distances(atoms)
        assert bonds.min() > 0.94 * GOLD_NEIGHBOUR_DISTANCE_A, "icosahedra have bonds a few per cent shorter"
        assert np.ptp(atoms.positions[:, :2], axis=0).max() < 124


def test_irregular_particles_are_convex_fit_into_the_field_and_are_none_of_the_decoys_asked_about(rng):
    sizes, regular = [], {len(make(size_A, rng)) for make in BUILDERS[2:] for size_A in SIZES}
    for number in range(60):
        size_A = SIZES[number % 3]
        atoms = decoys.irregular(size_A, rng)
        assert np.ptp(atoms.positions, axis=0).max() < FIELD_A - 2 * EDGE_A
        assert len(atoms) not in regular
        # The hull through the outermost atoms is half a layer too small all around, and a dent would be filled by it.
        hull, filled = ConvexHull(atoms.positions), len(atoms) * GOLD_ATOMIC_VOLUME_A3
        layer = GOLD_LATTICE_CONSTANT_A / np.sqrt(3)
        assert hull.volume < 1.02 * filled < hull.volume + hull.area * layer
        sizes.append(atoms.info["size_A"] / size_A)
    assert 0.5 < min(sizes) ** 3 < 0.9 and max(sizes) < 1.03, "some are broken, none is larger"


def test_cut_particles_keep_the_symmetry_of_their_shape_and_are_none_of_the_known_nor_of_those_asked_about(rng):
    whole = {len(build(shape, size_A)) for shape in Shape for size_A in range(40, 81)}
    regular = whole | {len(decoys.truncated_cube(size_A, rng)) for size_A in range(40, 81)}
    kept, cubic = [], 0
    for number in range(60):
        size_A = SIZES[number % 3]
        atoms = decoys.cut(size_A, rng)
        assert np.ptp(atoms.positions, axis=0).max() < FIELD_A - 2 * EDGE_A and len(atoms) not in regular
        assert nearest(-atoms.positions, atoms).max() < 1e-6, "each of the five has a centre"
        cubic += nearest(atoms.positions[:, [1, 2, 0]] * [1, 1, -1], atoms).max() < 1e-6
        hull, filled = ConvexHull(atoms.positions), len(atoms) * GOLD_ATOMIC_VOLUME_A3
        assert hull.volume < 1.02 * filled < hull.volume + hull.area * GOLD_LATTICE_CONSTANT_A / np.sqrt(3)
        kept.append(atoms.info["size_A"] / size_A)
    assert cubic > 40, "four of five shapes are cubic"
    assert np.mean(kept) == pytest.approx(1, abs=0.03) and np.std(kept) < 0.06


def test_intermediate_particles_have_the_facets_of_three_known_ones_but_none_is_one_or_a_truncated_cube(rng):
    regular = {len(build(shape, size_A)) for shape in Shape for size_A in range(40, 81)}
    reached = []
    for number in range(60):
        size_A = SIZES[number % 3]
        atoms = decoys.intermediate(size_A, rng)
        assert np.ptp(atoms.positions, axis=0).max() < FIELD_A - 2 * EDGE_A and len(atoms) not in regular
        hull = ConvexHull(atoms.positions)
        normals = np.sort(np.abs(hull.equations[:, :3]), axis=1)
        of_cube, of_octahedron = (np.abs(normals - np.array(each)).max(axis=1) < 1e-6 for each in AXES)
        assert (of_cube | of_octahedron).all() and of_cube.any() and of_octahedron.any()
        distances = [-hull.equations[rows, 3].mean() for rows in (of_cube, of_octahedron)]
        reached.append(np.sqrt(3) * distances[1] / distances[0])
        assert atoms.info["size_A"] == pytest.approx(size_A, abs=4)
    assert 1.05 < min(reached) < 1.42 and 1.58 < max(reached) < 1.92, "1 octahedron, 1.5 truncated, 2 cuboctahedron"
    assert np.abs(np.array(reached) - 1.5).min() > 0.08


@pytest.mark.parametrize(("symbol", "lattice_A"), [("Pt", 3.92), ("Pd", 3.89), ("Cu", 3.61), ("Ag", 4.09)])
def test_other_metals_have_their_own_lattice(symbol, lattice_A, rng):
    atoms = decoys.metal(symbol)(60, rng)
    assert set(atoms.symbols) == {symbol}
    assert neighbour_distances(atoms).mean() == pytest.approx(lattice_A / np.sqrt(2), rel=1e-3)
    size_A = (6 / np.pi * len(atoms) * lattice_A**3 / 4) ** (1 / 3)
    assert atoms.info["size_A"] == pytest.approx(size_A, rel=1e-3) and abs(size_A - 60) < 5
