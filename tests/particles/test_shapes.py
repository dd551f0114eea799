"""The particles against ASE's clusters, crystal geometry and the size convention."""

import time

import numpy as np
import pytest
from ase.cluster import Icosahedron
from scipy.spatial import ConvexHull, cKDTree

from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.particles.orientation import symmetry_group
from nanoshape_lib.particles.shapes import (
    GOLD_ATOMIC_VOLUME_A3,
    GOLD_LATTICE_CONSTANT_A,
    GOLD_NEIGHBOUR_DISTANCE_A,
    Shape,
    available_sizes,
    build,
    facets,
    neighbour_distances,
    projected_area,
    volume_equivalent_diameter,
)

each_shape = pytest.mark.parametrize("shape", list(Shape), ids=lambda shape: shape.name.lower())


def test_labels_have_the_order_of_the_supplement():
    titles = ["cube", "cuboctahedron", "truncated octahedron", "octahedron", "icosahedron"]
    assert [shape.title for shape in Shape] == titles
    assert [Shape.parse(title) for title in titles] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("name", ["Truncated-Octahedron", "truncated_octahedron", 2, np.int64(2), Shape(2)])
def test_a_shape_is_found_by_label_and_by_name(name):
    assert Shape.parse(name) is Shape.TRUNCATED_OCTAHEDRON


@pytest.mark.parametrize("name", ["sphere", 5, -1, 1.5, None])
def test_an_unknown_shape_is_refused_with_the_list_of_known_ones(name):
    with pytest.raises(NanoshapeError, match=r"shape is .*must be one of 0 \(cube\).*4 \(icosahedron\)"):
        Shape.parse(name)


@each_shape
def test_counted_atoms_are_those_of_the_cluster(shape):
    for size_A, n_atoms in available_sizes(shape, 30, 70):
        atoms = build(shape, size_A)
        assert len(atoms) == n_atoms
        assert atoms.info == {"shape": int(shape), "size_A": pytest.approx(size_A)}
        assert np.pi / 6 * size_A**3 == pytest.approx(n_atoms * GOLD_ATOMIC_VOLUME_A3)


def test_listing_every_size_takes_less_than_a_second():
    start = time.perf_counter()
    assert sum(len(available_sizes(shape, 30, 100.5)) for shape in Shape) > 70
    assert time.perf_counter() - start < 1


@each_shape
def test_the_nearest_size_is_taken_and_lies_within_5_A(shape):
    listed = np.array([size_A for size_A, _ in available_sizes(shape)])
    for wanted_A in (40, 55, 70):
        realised_A = build(shape, wanted_A).info["size_A"]
        assert abs(realised_A - wanted_A) == pytest.approx(np.abs(listed - wanted_A).min())
        assert abs(realised_A - wanted_A) < 5


@pytest.mark.parametrize("size_A", [10, 200, float("nan"), float("inf")])
def test_a_size_without_a_particle_is_refused_with_the_list(size_A):
    with pytest.raises(NanoshapeError, match=r"size is .* Å, but must lie within 5 Å .*34\.7, 42\.7"):
        build("truncated octahedron", size_A)


@each_shape
def test_every_symmetry_operation_maps_the_particle_onto_itself(shape):
    atoms = build(shape, 32)
    assert np.abs(atoms.positions.mean(axis=0)).max() < 1e-9
    tree = cKDTree(atoms.positions)
    for operation in symmetry_group(shape):
        distance_A, _ = tree.query(atoms.positions @ operation.T)
        assert distance_A.max() < 1e-6


@each_shape
def test_the_mean_neighbour_distance_is_that_of_bulk_gold(shape):
    assert neighbour_distances(build(shape, 50)).mean() == pytest.approx(GOLD_NEIGHBOUR_DISTANCE_A, rel=1e-9)


def test_icosahedron_of_ase_is_2_8_percent_too_wide():
    raw = Icosahedron("Au", 11, latticeconstant=GOLD_LATTICE_CONSTANT_A)
    assert neighbour_distances(raw).mean() / GOLD_NEIGHBOUR_DISTANCE_A == pytest.approx(1.028, abs=0.001)
    bonds_A = neighbour_distances(build("icosahedron", 50))
    assert bonds_A.max() / bonds_A.min() == pytest.approx(1.0515, abs=1e-3)


@each_shape
def test_fcc_particles_have_one_bond_length_and_twelve_neighbours_inside(shape):
    atoms = build(shape, 35)
    tree = cKDTree(atoms.positions)
    neighbours = np.array([len(near) - 1 for near in tree.query_ball_point(atoms.positions, 3.4)])
    assert neighbours.max() == 12
    if shape is not Shape.ICOSAHEDRON:
        np.testing.assert_allclose(neighbour_distances(atoms), GOLD_NEIGHBOUR_DISTANCE_A)


@pytest.mark.parametrize("size_A", [43, 48])
def test_cube_has_complete_square_faces_with_atoms_on_all_corners(size_A):
    positions = build("cube", size_A).positions
    half_A = positions.max()
    cells = 2 * half_A / GOLD_LATTICE_CONSTANT_A
    assert cells == pytest.approx(round(cells))
    corners = half_A * np.array(np.meshgrid(*[[-1, 1]] * 3)).reshape(3, -1).T
    assert cKDTree(positions).query(corners)[0].max() < 1e-6
    on_face = np.isclose(positions[:, 2], half_A).sum()
    assert on_face == (round(cells) + 1) ** 2 + round(cells) ** 2


@pytest.mark.parametrize(
    ("shape", "corners_of_faces"),
    [
        ("cube", {4: 6}),
        ("cuboctahedron", {3: 8, 4: 6}),
        ("truncated octahedron", {4: 6, 6: 8}),
        ("octahedron", {3: 8}),
        ("icosahedron", {3: 20}),
    ],
)
def test_faces_are_those_of_the_regular_polyhedron(shape, corners_of_faces):
    faces = facets(build(shape, 45))
    counted = {n: sum(len(face) == n for face in faces) for n in {len(face) for face in faces}}
    assert counted == corners_of_faces
    edges_A = [np.linalg.norm(face - np.roll(face, 1, axis=0), axis=1) for face in faces]
    np.testing.assert_allclose(np.concatenate(edges_A), edges_A[0][0], rtol=1e-6)


def test_volume_equivalent_diameter_of_four_atoms_is_that_of_the_cell():
    assert np.pi / 6 * volume_equivalent_diameter(4) ** 3 == pytest.approx(GOLD_LATTICE_CONSTANT_A**3)


@each_shape
def test_projected_area_is_that_of_the_projected_atoms(shape):
    particle = build(shape, 40)
    directions = np.random.default_rng(0).normal(size=(5, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    for direction, area_A2 in zip(directions, projected_area(particle, directions), strict=True):
        plane = np.linalg.svd(direction[None])[2][1:]
        assert area_A2 == pytest.approx(ConvexHull(particle.positions @ plane.T).volume, rel=1e-6)
