"""Equations (1) and (2) against independent forms, uniform sampling, and symmetry reduction."""

import numpy as np
import pytest
from scipy.spatial import ConvexHull
from scipy.spatial.transform import Rotation
from scipy.stats import kstest

from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.particles.orientation import (
    angular_distance,
    axis_angle,
    beam_direction,
    euler,
    random_rotations,
    reduce,
    sector_corners,
    symmetry_group,
    to_euler,
)
from nanoshape_lib.particles.shapes import Shape

one_of_each_group = pytest.mark.parametrize("shape", [Shape.CUBE, Shape.ICOSAHEDRON])


@pytest.fixture
def rng():
    return np.random.default_rng(20250718)


@pytest.fixture
def angles(rng):
    return rng.uniform(-360, 360, (3, 200))


def test_equation_1_agrees_with_the_rotation_vector(rng):
    axis, angle_deg = rng.normal(size=(200, 3)), rng.uniform(-360, 360, 200)
    vector = axis / np.linalg.norm(axis, axis=1, keepdims=True) * np.radians(angle_deg)[:, None]
    np.testing.assert_allclose(axis_angle(axis, angle_deg), Rotation.from_rotvec(vector).as_matrix(), atol=1e-12)


def test_equation_1_broadcasts_axes_and_angles():
    assert axis_angle([0, 0, 1], 30).shape == (3, 3)
    assert axis_angle([0, 0, 1], [30, 40]).shape == (2, 3, 3)
    assert axis_angle([[0, 0, 1], [1, 0, 0]], 30).shape == (2, 3, 3)


@pytest.mark.parametrize("axis", [[0, 0, 0], [np.nan, 0, 1], [1, 0], 3])
def test_an_axis_without_direction_is_refused(axis):
    with pytest.raises(NanoshapeError, match="axis"):
        axis_angle(axis, 10)


def test_equation_2_is_the_product_of_its_three_factors(angles):
    psi, theta, phi = angles
    product = (
        axis_angle([0, 0, 1], psi).swapaxes(1, 2)
        @ axis_angle([1, 0, 0], theta).swapaxes(1, 2)
        @ axis_angle([0, 0, 1], phi).swapaxes(1, 2)
    )
    np.testing.assert_allclose(euler(psi, theta, phi), product, atol=1e-14)


def test_equation_2_is_the_transpose_of_the_active_zxz_rotation(angles):
    psi, theta, phi = angles
    active = Rotation.from_euler("ZXZ", np.stack([phi, theta, psi], axis=1), degrees=True).as_matrix()
    np.testing.assert_allclose(euler(psi, theta, phi), active.swapaxes(1, 2), atol=1e-14)
    np.testing.assert_array_equal(euler(psi[0], theta[0], phi[0]), euler(psi, theta, phi)[0])


def test_both_equations_give_proper_rotations(angles):
    for matrices in (euler(*angles), axis_angle(angles.T, angles[0])):
        np.testing.assert_allclose(
            matrices @ matrices.swapaxes(1, 2), np.broadcast_to(np.eye(3), (200, 3, 3)), atol=1e-12
        )
        np.testing.assert_allclose(np.linalg.det(matrices), 1)


def test_euler_angles_are_recovered(angles):
    matrices = euler(*angles)
    np.testing.assert_allclose(euler(*to_euler(matrices)), matrices, atol=1e-14)


@pytest.mark.parametrize("theta_deg", [0, 180, 1e-7, 180 - 1e-7, 1e-14])
def test_euler_angles_are_recovered_at_the_gimbal_lock(theta_deg):
    matrix = euler(33, theta_deg, 71)
    np.testing.assert_allclose(euler(*to_euler(matrix)), matrix, atol=1e-14)


def test_random_rotations_are_uniform(rng):
    psi, theta, phi = to_euler(random_rotations(5000, rng))
    assert kstest(np.cos(np.radians(theta)), "uniform", (-1, 2)).pvalue > 0.01
    assert kstest(psi, "uniform", (-180, 360)).pvalue > 0.01
    assert kstest(phi, "uniform", (-180, 360)).pvalue > 0.01


def test_drawing_theta_uniformly_is_not_uniform_on_the_sphere(rng):
    cosine = np.cos(np.radians(rng.uniform(0, 180, 5000)))
    assert np.abs(cosine).mean() == pytest.approx(2 / np.pi, abs=0.02)
    assert kstest(cosine, "uniform", (-1, 2)).pvalue < 1e-10


def test_the_same_seed_gives_the_same_rotations():
    draws = [random_rotations(3, np.random.default_rng(7)) for _ in range(2)]
    np.testing.assert_array_equal(*draws)
    assert random_rotations(0, np.random.default_rng(7)).shape == (0, 3, 3)


def test_the_beam_turns_against_the_particle(rng):
    matrices = random_rotations(20, rng)
    np.testing.assert_allclose(
        np.einsum("nij,nj->ni", matrices, beam_direction(matrices)), np.tile([0, 0, 1.0], (20, 1)), atol=1e-12
    )


@pytest.mark.parametrize(("shape", "order"), [("cube", 48), ("octahedron", 48), ("icosahedron", 120)])
def test_symmetry_operations_form_a_group_with_inversion(shape, order):
    group = symmetry_group(shape)
    keys = {tuple(matrix.ravel().round(6) + 0.0) for matrix in group}
    products = np.einsum("aij,bjk->abik", group, group).reshape(-1, 9).round(6) + 0.0
    assert len(keys) == order
    assert {tuple(matrix) for matrix in products} == keys
    assert tuple((-np.eye(3)).ravel() + 0.0) in keys


@one_of_each_group
def test_reduction_ignores_symmetry_and_is_idempotent(shape, rng):
    directions = rng.normal(size=(300, 3))
    reduced = reduce(directions, shape)
    np.testing.assert_allclose(reduce(reduced, shape), reduced, atol=1e-12)
    for operation in symmetry_group(shape):
        np.testing.assert_allclose(reduce(directions @ operation.T, shape), reduced, atol=1e-12)


def test_cubic_reduction_sorts_the_magnitudes(rng):
    directions = rng.normal(size=(500, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    np.testing.assert_allclose(reduce(directions, 0), np.sort(np.abs(directions))[:, ::-1], atol=1e-12)


@one_of_each_group
def test_reduced_directions_fill_the_sector_and_its_solid_angle(shape, rng):
    corners = np.array(list(sector_corners(shape).values()))
    reduced = reduce(beam_direction(random_rotations(20000, rng)), shape)
    # Inside the spherical triangle, all coordinates along its corners are positive.
    assert np.linalg.solve(corners.T, reduced.T).min() > -1e-9
    # Van Oosterom and Strackee (1983): solid angle of the triangle.
    a, b, c = corners
    solid_angle = 2 * np.arctan2(abs(np.linalg.det(corners)), 1 + a @ b + b @ c + c @ a)
    assert 4 * np.pi / solid_angle == pytest.approx(len(symmetry_group(shape)))
    # In equal-area projection, the hull of the points covers the triangle.
    middle = corners.sum(axis=0) / np.linalg.norm(corners.sum(axis=0))
    frame = np.linalg.svd(middle[None])[2][1:]
    flat = reduced @ frame.T * np.sqrt(2 / (1 + reduced @ middle))[:, None]
    assert ConvexHull(flat).volume == pytest.approx(solid_angle, rel=0.04)


@one_of_each_group
def test_reduced_directions_are_uniform_in_the_sector(shape, rng):
    reduced = reduce(beam_direction(random_rotations(40000, rng)), shape)
    corners = np.array(list(sector_corners(shape).values()))
    cut = np.array([corners[0], corners[1], corners[1] + corners[2]])
    inside = np.linalg.solve(cut.T, reduced.T).min(axis=0) > 0
    a, b, c = cut / np.linalg.norm(cut, axis=1, keepdims=True)
    part = 2 * np.arctan2(abs(np.linalg.det([a, b, c])), 1 + a @ b + b @ c + c @ a)
    expected = part / (4 * np.pi / len(symmetry_group(shape)))
    assert inside.mean() == pytest.approx(expected, abs=4 * np.sqrt(0.25 / 40000))


@one_of_each_group
def test_angular_distance_is_the_smallest_over_the_group(shape, rng):
    first, second = (beam_direction(random_rotations(n, rng)) for n in (30, 40))
    cosines = np.einsum("ai,gij,bj->gab", first, symmetry_group(shape), second)
    smallest_deg = np.degrees(np.arccos(np.clip(cosines.max(axis=0), -1, 1)))
    np.testing.assert_allclose(angular_distance(first, second, shape), smallest_deg, atol=1e-5)


def test_a_direction_of_zero_length_is_refused():
    with pytest.raises(NanoshapeError, match=r"direction is .* must be a finite vector that is not zero"):
        reduce([0, 0, 0], "cube")
