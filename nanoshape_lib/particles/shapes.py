"""The five gold particles of the study: their labels, magic sizes and atoms.

A *size* is everywhere the diameter, in Å, of the sphere that has the particle's volume, and the volume is the
number of atoms times the atomic volume of bulk gold. Every shape is therefore compared at equal mass.
"""

from collections.abc import Callable
from enum import IntEnum
from functools import cache
from itertools import count

import numpy as np
from ase import Atoms
from ase.cluster import FaceCenteredCubic, Icosahedron, Octahedron
from scipy.spatial import ConvexHull, cKDTree

from nanoshape_lib.errors import NanoshapeError

GOLD_LATTICE_CONSTANT_A = 4.078
"""Edge of the cubic cell of gold at room temperature [Å]."""
GOLD_ATOMIC_VOLUME_A3 = GOLD_LATTICE_CONSTANT_A**3 / 4
"""Volume per atom of bulk gold [Å³]: the fcc cell holds four atoms."""
GOLD_NEIGHBOUR_DISTANCE_A = GOLD_LATTICE_CONSTANT_A / np.sqrt(2)
"""Nearest-neighbour distance of bulk gold [Å]."""

SMALLEST_SIZE_A, LARGEST_SIZE_A = 30.0, 100.0
LARGEST_MISFIT_A = 5.0


class Shape(IntEnum):
    """The class labels, in the order of the paper's supplement (figs. S3 and S4)."""

    CUBE = 0
    CUBOCTAHEDRON = 1
    TRUNCATED_OCTAHEDRON = 2
    OCTAHEDRON = 3
    ICOSAHEDRON = 4

    @property
    def title(self) -> str:
        """The name as it is written in text and figures, such as ``"truncated octahedron"``."""
        return self.name.lower().replace("_", " ")

    @classmethod
    def parse(cls, value: "Shape | int | str") -> "Shape":
        """The shape of a label 0 to 4, or of a name in any case, with blanks, hyphens or underscores.

        Raises NanoshapeError if no shape has that label or name.

        Examples
        --------
        >>> Shape.parse("truncated octahedron")
        <Shape.TRUNCATED_OCTAHEDRON: 2>
        """
        try:
            if isinstance(value, str):
                return cls[value.strip().upper().replace(" ", "_").replace("-", "_")]
            return cls(value)
        except (KeyError, ValueError):
            allowed = ", ".join(f"{shape.value} ({shape.title})" for shape in cls)
            raise NanoshapeError(f"shape is {value!r}, but must be one of {allowed}") from None


# Atoms in the particle of order n; compared with ASE's clusters in the tests. The order counts: cells along
# the cube's edge; atomic steps along the edge of the cuboctahedron, truncated octahedron and icosahedron;
# atoms along the edge of the octahedron.
_ATOMS_OF_ORDER: dict[Shape, Callable[[int], int]] = {
    Shape.CUBE: lambda n: 4 * n**3 + 6 * n**2 + 3 * n + 1,
    Shape.CUBOCTAHEDRON: lambda n: (2 * n + 1) * (5 * n**2 + 5 * n + 3) // 3,
    Shape.TRUNCATED_OCTAHEDRON: lambda n: 16 * n**3 + 15 * n**2 + 6 * n + 1,
    Shape.OCTAHEDRON: lambda n: n * (2 * n**2 + 1) // 3,
    Shape.ICOSAHEDRON: lambda n: (2 * n + 1) * (5 * n**2 + 5 * n + 3) // 3,
}


def volume_equivalent_diameter(n_atoms: int) -> float:
    """Diameter [Å] of the sphere of gold that holds so many atoms.

    Examples
    --------
    >>> round(volume_equivalent_diameter(1289), 1)
    34.7
    """
    return float((6 * n_atoms * GOLD_ATOMIC_VOLUME_A3 / np.pi) ** (1 / 3))


def neighbour_distances(atoms: Atoms) -> np.ndarray:
    """Lengths (bonds,) [Å] of all nearest-neighbour bonds of a gold particle, each counted once.

    Two atoms are neighbours if they are closer than halfway between the first and the second shell of bulk gold.
    """
    halfway_A = GOLD_NEIGHBOUR_DISTANCE_A * (1 + np.sqrt(2)) / 2
    pairs = cKDTree(atoms.positions).query_pairs(halfway_A, output_type="ndarray")
    return np.linalg.norm(atoms.positions[pairs[:, 0]] - atoms.positions[pairs[:, 1]], axis=1)


@cache
def _orders(shape: Shape, minimum_A: float, maximum_A: float) -> dict[int, tuple[float, int]]:
    """Size [Å] and number of atoms of every order of the shape in a range of sizes."""
    found: dict[int, tuple[float, int]] = {}
    for order in count(1):
        n_atoms = _ATOMS_OF_ORDER[shape](order)
        size_A = volume_equivalent_diameter(n_atoms)
        if size_A > maximum_A:
            break
        if size_A >= minimum_A:
            found[order] = size_A, n_atoms
    return found


def available_sizes(
    shape: Shape | int | str, minimum_A: float = SMALLEST_SIZE_A, maximum_A: float = LARGEST_SIZE_A
) -> list[tuple[float, int]]:
    """Sizes [Å] at which a shape exists with closed facets ("magic" sizes), and numbers of atoms, smallest first.

    Sizes lie between the two given ones, ends included. Raises NanoshapeError if the shape is unknown or the range is
    not finite.

    Examples
    --------
    >>> [n_atoms for size_A, n_atoms in available_sizes("truncated octahedron", 40, 60)]
    [2406, 4033, 6266]
    """
    if not np.isfinite([minimum_A, maximum_A]).all():
        raise NanoshapeError(f"size range is {minimum_A} to {maximum_A} Å, but both ends must be finite")
    return list(_orders(Shape.parse(shape), float(minimum_A), float(maximum_A)).values())


def build(shape: Shape | int | str, size_A: float) -> Atoms:
    """Gold particle of the magic size nearest to the requested one.

    The faces of the fcc shapes are complete and, for the truncated octahedron, regular. ASE's icosahedron has
    tangential bonds 5 % longer than its radial ones; it is scaled so that its mean bond is that of bulk gold,
    or else the lattice spacing alone would tell its class.

    Parameters
    ----------
    shape
        A shape, its label or its name.
    size_A
        Requested volume-equivalent diameter [Å], within 5 Å of one of `available_sizes`.

    Returns
    -------
    ase.Atoms
        Particle centred at the origin, without a cell; ``info`` holds the label (``"shape"``) and the
        realised size (``"size_A"``, Å). The cubic axes of the fcc shapes lie along x, y and z, and so do
        two-fold axes of the icosahedron.

    Raises
    ------
    NanoshapeError
        If the shape is unknown or its nearest magic size is more than 5 Å from the requested one.

    Examples
    --------
    >>> atoms = build("cube", 52)
    >>> len(atoms), round(atoms.info["size_A"], 1)
    (4631, 53.1)
    """
    shape = Shape.parse(shape)
    return _particle(shape, nearest_order(shape, size_A)).copy()


def nearest_order(shape: Shape, size_A: float) -> int:
    """Order of the magic particle nearest to the requested size [Å]; see `build` for what it refuses."""
    orders = _orders(shape, SMALLEST_SIZE_A, LARGEST_SIZE_A)
    order = min(orders, key=lambda n: abs(orders[n][0] - size_A))
    if not abs(orders[order][0] - size_A) <= LARGEST_MISFIT_A:
        listed = ", ".join(f"{size:.1f}" for size, _ in orders.values())
        raise NanoshapeError(
            f"size is {size_A:g} Å, but must lie within {LARGEST_MISFIT_A:g} Å of a size at which "
            f"the {shape.title} exists: {listed} Å"
        )
    return order


@cache
def _particle(shape: Shape, order: int) -> Atoms:
    """The particle of a shape and order; copy it before changing it."""
    atoms = _icosahedron(order) if shape is Shape.ICOSAHEDRON else _crystal(shape, order)
    atoms.positions -= atoms.positions.mean(axis=0)
    info = {"shape": int(shape), "size_A": volume_equivalent_diameter(len(atoms))}
    return Atoms(atoms.symbols, atoms.positions, info=info)


def _icosahedron(order: int) -> Atoms:
    """ASE's icosahedron with the mean neighbour distance of gold."""
    atoms = Icosahedron("Au", order + 1, latticeconstant=GOLD_LATTICE_CONSTANT_A)
    atoms.positions -= atoms.positions.mean(axis=0)
    atoms.positions *= GOLD_NEIGHBOUR_DISTANCE_A / neighbour_distances(atoms).mean()
    return atoms


def _crystal(shape: Shape, order: int) -> Atoms:
    """ASE's cluster of a face-centred cubic shape and order, before centring."""
    lattice = {"latticeconstant": GOLD_LATTICE_CONSTANT_A}
    if shape is Shape.OCTAHEDRON:
        return Octahedron("Au", order, **lattice)
    if shape is Shape.CUBOCTAHEDRON:
        return Octahedron("Au", 2 * order + 1, cutoff=order, **lattice)
    if shape is Shape.TRUNCATED_OCTAHEDRON:
        return Octahedron("Au", 3 * order + 1, cutoff=order, **lattice)
    # Layers are half a cell apart, counted from an atom; even numbers on both sides put atoms on the corners.
    below, above = 2 * (order // 2), 2 * (order - order // 2)
    faces = [(1, 0, 0), (0, 1, 0), (0, 0, 1), (-1, 0, 0), (0, -1, 0), (0, 0, -1)]
    return FaceCenteredCubic("Au", faces, [above] * 3 + [below] * 3, **lattice)


def facets(atoms: Atoms) -> list[np.ndarray]:
    """Plane faces of a particle's convex hull: the corners (corners, 3) [Å] of each, in order around it.

    Examples
    --------
    >>> sorted(len(face) for face in facets(build("cuboctahedron", 40)))
    [3, 3, 3, 3, 3, 3, 3, 3, 4, 4, 4, 4, 4, 4]
    """
    hull = ConvexHull(atoms.positions)
    planes, member = np.unique(np.round(hull.equations, 3), axis=0, return_inverse=True)
    faces = []
    for index, plane in enumerate(planes):
        corners = hull.points[np.unique(hull.simplices[member.ravel() == index])]
        outline = corners - corners.mean(axis=0)
        first = outline[np.argmax(np.linalg.norm(outline, axis=1))]
        angle = np.arctan2(outline @ np.cross(plane[:3], first), outline @ first)
        faces.append(corners[np.argsort(angle)])
    return faces


def projected_area(atoms: Atoms, directions: np.ndarray) -> np.ndarray:
    """Areas (N,) [Å²] of a particle's shadows along unit vectors (N, 3) in its own frame.

    Each face of a convex body counts with its area times the cosine of its tilt; the shadow is half the
    sum over all faces (Cauchy). The body is the convex hull of the atoms' centres.
    """
    vector_areas = [np.cross(face, np.roll(face, -1, axis=0)).sum(axis=0) / 2 for face in facets(atoms)]
    return np.abs(np.asarray(directions) @ np.transpose(vector_areas)).sum(axis=-1) / 2
