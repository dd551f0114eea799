"""Rotation matrices, random orientations and the symmetry of the five shapes.

A matrix R turns column vectors, r' = R r; atoms in rows are turned by ``positions @ R.T``. The beam runs
along +z of the laboratory. Angles are in degrees in every public function.
"""

from functools import cache
from itertools import permutations, product

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.distance import cdist
from scipy.spatial.transform import Rotation

from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.particles.shapes import Shape

Array = NDArray[np.float64]
GOLDEN_RATIO = (1 + np.sqrt(5)) / 2


def axis_angle(axis: ArrayLike, angle_deg: ArrayLike) -> Array:
    """Active rotations about axes: equation (1) of the supplement, Rodrigues' formula.

    Axes are (3,) or (N, 3), of any length, and angles [degrees] numbers or (N,), counter-clockwise when the axis points
    at the viewer; matrices are (3, 3) or (N, 3, 3). Raises NanoshapeError if an axis has no direction.

    Examples
    --------
    >>> axis_angle([0, 0, 2], 90).round(6) @ [1, 0, 0]
    array([0., 1., 0.])
    """
    u = _unit(axis, "axis")
    eta = np.radians(np.asarray(angle_deg, dtype=float))
    ux, uy, uz, eta = np.broadcast_arrays(u[..., 0], u[..., 1], u[..., 2], eta)
    c, s = np.cos(eta), np.sin(eta)
    return _matrix(
        [c + ux**2 * (1 - c), ux * uy * (1 - c) - uz * s, ux * uz * (1 - c) + uy * s],
        [uy * ux * (1 - c) + uz * s, c + uy**2 * (1 - c), uy * uz * (1 - c) - ux * s],
        [uz * ux * (1 - c) - uy * s, uz * uy * (1 - c) + ux * s, c + uz**2 * (1 - c)],
    )


def euler(psi_deg: ArrayLike, theta_deg: ArrayLike, phi_deg: ArrayLike) -> Array:
    """Rotation by three Euler angles: the printed product in equation (2) of the supplement.

    The convention is passive z-x-z: the matrix is the transpose of the active rotation by φ about z, then θ about the
    turned x axis, then ψ about the turned z axis. Angles ψ, θ and φ [degrees] are numbers or (N,), matrices (3, 3) or
    (N, 3, 3).

    Examples
    --------
    >>> euler(0, 90, 0).round(6) @ [0, 0, 1]
    array([0., 1., 0.])
    """
    angles = (np.radians(np.asarray(angle, dtype=float)) for angle in (psi_deg, theta_deg, phi_deg))
    (c1, s1), (c2, s2), (c3, s3) = ((np.cos(angle), np.sin(angle)) for angle in np.broadcast_arrays(*angles))
    return _matrix(
        [c1 * c3 - c2 * s3 * s1, c1 * s3 + c2 * c3 * s1, s1 * s2],
        [-s1 * c3 - c2 * s3 * c1, -s1 * s3 + c2 * c3 * c1, c1 * s2],
        [s2 * s3, -s2 * c3, c2],
    )


def to_euler(matrices: ArrayLike) -> tuple[Array, Array, Array]:
    """Euler angles ψ, θ and φ [degrees] of equation (2), () or (N,), that give matrices (3, 3) or (N, 3, 3) back.

    ψ and φ lie in [-180, 180], θ in [0, 180]. Where θ is exactly 0 or 180 only the sum or the difference of ψ and φ is
    defined (gimbal lock), and ψ is set to 0.

    Examples
    --------
    >>> [float(angle.round(6)) for angle in to_euler(euler(10, 20, 30))]
    [10.0, 20.0, 30.0]
    """
    matrix = np.asarray(matrices, dtype=float)
    psi = np.arctan2(matrix[..., 0, 2], matrix[..., 1, 2])
    # Without its first factor, the product is the matrix of θ about x times that of φ about z.
    c, s = np.cos(psi)[..., None], np.sin(psi)[..., None]
    first = c * matrix[..., 0, :] - s * matrix[..., 1, :]
    second = s * matrix[..., 0, :] + c * matrix[..., 1, :]
    theta = np.arctan2(second[..., 2], matrix[..., 2, 2])
    phi = np.arctan2(first[..., 1], first[..., 0])
    return np.degrees(psi), np.degrees(theta), np.degrees(phi)


def random_rotations(n: int, rng: np.random.Generator) -> Array:
    """Rotations drawn uniformly from SO(3), the uniform (Haar) measure.

    Parameters
    ----------
    n
        How many.
    rng
        Source of random numbers.

    Returns
    -------
    numpy.ndarray
        Matrices, shape (n, 3, 3).

    Raises
    ------
    NanoshapeError
        If `n` is negative.
    """
    if n < 0:
        raise NanoshapeError(f"n is {n}, but must be 0 or more")
    return Rotation.random(n, rng=rng).as_matrix().reshape(n, 3, 3)


def beam_direction(matrices: ArrayLike) -> Array:
    """Beam directions R^T z, (3,) or (N, 3), in the frame of particles turned by matrices (3, 3) or (N, 3, 3)."""
    return np.asarray(matrices, dtype=float)[..., 2, :].copy()


def symmetry_group(shape: Shape | int | str) -> Array:
    """Point group of a shape, rotations and improper operations, as orthogonal matrices.

    The 48 of m-3m, (48, 3, 3), or for the icosahedron the 120 of I_h, (120, 3, 3), in the orientation of
    `ase.cluster.Icosahedron` (vertices along (τ, 0, ±1) and its cyclic permutations, τ the golden ratio).
    """
    return (_icosahedral_group() if Shape.parse(shape) is Shape.ICOSAHEDRON else _cubic_group()).copy()


def sector_corners(shape: Shape | int | str) -> dict[str, Array]:
    """Symmetry axes at the three corners of a shape's fundamental sector: unit vectors (3,) by name.

    For the fcc shapes the zone axes ``[001]``, ``[011]``, ``[111]`` with x ≥ y ≥ z ≥ 0; for the icosahedron the two-,
    five- and three-fold axes along (1, 0, 0), (τ, 0, 1) and (τ², 1, 0).
    """
    if Shape.parse(shape) is Shape.ICOSAHEDRON:
        axes = {"2-fold": (1, 0, 0), "5-fold": (GOLDEN_RATIO, 0, 1), "3-fold": (GOLDEN_RATIO**2, 1, 0)}
    else:
        axes = {"[001]": (1, 0, 0), "[011]": (1, 1, 0), "[111]": (1, 1, 1)}
    return {name: _unit(axis, "axis") for name, axis in axes.items()}


def reduce(direction: ArrayLike, shape: Shape | int | str) -> Array:
    """Equivalents, unit vectors (3,) or (N, 3), of beam directions in the fundamental sector of a shape.

    The sector is 1/48 of the sphere, x ≥ y ≥ z ≥ 0, for the fcc shapes (m-3m) and 1/120 of it for the icosahedron
    (I_h); `sector_corners` gives its corners. Both groups are generated by mirrors, so that of all equivalents of a
    direction the one in the sector is the nearest to the sector's middle. Raises NanoshapeError if a direction has zero
    length or is not finite.

    Examples
    --------
    >>> (reduce([0, -3, 4], "cube") * 5).round(6)
    array([4., 3., 0.])
    """
    unit = _unit(direction, "direction")
    group = symmetry_group(shape)
    middle = np.sum(list(sector_corners(shape).values()), axis=0)
    nearest = np.argmax(unit @ (middle @ group).T, axis=-1)
    return np.einsum("...ij,...j->...i", group[nearest], unit) + 0.0  # +0.0 turns -0.0 into 0.0


def angular_distance(directions_a: ArrayLike, directions_b: ArrayLike, shape: Shape | int | str) -> Array:
    """Smallest angles (N, M) [degrees] between directions (N, 3) and (M, 3) of a particle, equivalent ones as one.

    Raises NanoshapeError if a direction has zero length or is not finite.
    """
    # In a group generated by mirrors, no equivalents are closer than the two in the same sector.
    chord = cdist(np.atleast_2d(reduce(directions_a, shape)), np.atleast_2d(reduce(directions_b, shape)))
    return np.degrees(2 * np.arcsin(np.minimum(chord / 2, 1)))


def _unit(vectors: ArrayLike, name: str) -> Array:
    """Vectors scaled to length 1."""
    array = np.asarray(vectors, dtype=float)
    if array.ndim == 0 or array.shape[-1] != 3:
        raise NanoshapeError(f"{name} has shape {array.shape}, but must be (3,) or (N, 3)")
    length = np.linalg.norm(array, axis=-1, keepdims=True)
    bad = ~((length > 0) & np.isfinite(length))[..., 0]
    if bad.any():
        value = array[bad][0].tolist()
        raise NanoshapeError(f"{name} is {value}, but must be a finite vector that is not zero")
    return array / length


def _matrix(*rows: list[Array]) -> Array:
    """Stack three rows of three elements, each of shape (N,) or (), into matrices."""
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


@cache
def _cubic_group() -> Array:
    """The 48 signed permutation matrices."""
    signed = product(permutations(range(3)), product([1.0, -1.0], repeat=3))
    return np.array([np.eye(3)[list(order)] * np.array(signs)[:, None] for order, signs in signed])


@cache
def _icosahedral_group() -> Array:
    """The 60 rotations that scipy lists, with and without inversion."""
    rotations = Rotation.create_group("I").as_matrix()
    return np.concatenate([rotations, -rotations])
