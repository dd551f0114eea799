"""Particles that are none of the five: twinned, round, cut, long, irregular, in pairs, of other metals or not there."""

import itertools
import math
from collections.abc import Callable
from functools import cache

import numpy as np
from ase import Atoms
from ase.cluster import Decahedron, FaceCenteredCubic
from ase.data import atomic_numbers, reference_states

from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.particles import orientation, shapes
from nanoshape_lib.particles.shapes import (
    GOLD_ATOMIC_VOLUME_A3,
    GOLD_LATTICE_CONSTANT_A,
    GOLD_NEIGHBOUR_DISTANCE_A,
    Shape,
)
from nanoshape_lib.particles.specimen import EDGE_A, FIELD_A, lift_to_contact

Builder = Callable[[float, np.random.Generator], Atoms]

ROD_ASPECT = 2.0
PAIR_OFFSETS = (0.3, 0.7)
PAIR_TRIES = 100
DECAHEDRON_ASPECTS = (0.9, 1.15)
FACETS = ((1, 0, 0), (1, 1, 0), (1, 1, 1), (2, 1, 0), (3, 1, 1))
DISTANCES, ROUND = (0.6, 1.0), 1.25
CUTS, PLANES, FACET_PLANES = (1, 5), (4, 13), (6, 25)
KEPT = (0.55, 0.9)
CUT_FAMILIES = ((1, 1, 0), (2, 1, 0), (2, 1, 1), (3, 1, 1))
CUT_KEPT = (0.75, 0.97)
TRUNCATIONS, TRUNCATION_TRIES, UNLIKE = (1.15, 1.85), 100, 0.08


def _gold(positions: np.ndarray) -> Atoms:
    """Gold atoms around the origin that know their size."""
    info = {"size_A": shapes.volume_equivalent_diameter(len(positions))}
    return Atoms(f"Au{len(positions)}", positions=positions - positions.mean(axis=0), info=info)


def _crystal(gauge: Callable[[np.ndarray], np.ndarray], size_A: float, centre: np.ndarray) -> Atoms:
    """Atoms of the fcc crystal where a function of (N, 3) positions is smallest, in whole shells around a centre."""
    wanted = round(math.pi / 6 * size_A**3 / GOLD_ATOMIC_VOLUME_A3)
    cells = math.ceil(ROD_ASPECT * size_A / GOLD_LATTICE_CONSTANT_A / 2) + 2
    corners = np.indices((2 * cells + 1,) * 3).reshape(3, -1).T - cells
    basis = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    positions = ((corners[:, None] + basis - centre) * GOLD_LATTICE_CONSTANT_A).reshape(-1, 3)
    return _gold(positions[_innermost(gauge(positions), wanted)])


def _innermost(values: np.ndarray, wanted: int) -> np.ndarray:
    """Which atoms have the smallest values, about so many: those of one value go together."""
    values = np.round(values, 6)
    order = np.argsort(values, kind="stable")
    ends = np.flatnonzero(np.diff(values[order])) + 1
    return order[: ends[np.abs(ends - wanted).argmin()]]


def known(size_A: float, rng: np.random.Generator) -> Atoms:
    """One of the five shapes, drawn at random."""
    return shapes.build(int(rng.integers(len(Shape))), size_A)


def sphere(size_A: float, rng: np.random.Generator) -> Atoms:
    """The atoms nearest to a random point of the crystal."""
    return _crystal(lambda r: np.linalg.norm(r, axis=1), size_A, rng.random(3))


def rod(size_A: float, rng: np.random.Generator) -> Atoms:
    """A cylinder along [001] with half spheres at its ends, twice as long as it is thick."""
    radius_A = size_A / 2 / (1 + 1.5 * (ROD_ASPECT - 1)) ** (1 / 3)
    half_A = radius_A * (ROD_ASPECT - 1)

    def to_axis(r: np.ndarray) -> np.ndarray:
        return np.hypot(np.hypot(r[:, 0], r[:, 1]), np.maximum(np.abs(r[:, 2]) - half_A, 0))

    return _crystal(to_axis, size_A, rng.random(3))


@cache
def _truncated_cubes() -> list[Atoms]:
    """Truncated cubes of about regular faces."""
    # The layers are a/2 and a/√3 apart; the planes of a regular one lie at h and (1 + √2) h/√3.
    layers = [[number, round(number * (1 + math.sqrt(2)) / 2)] for number in range(6, 20)]
    faces, lattice = [(1, 0, 0), (1, 1, 1)], {"latticeconstant": GOLD_LATTICE_CONSTANT_A}
    return [_gold(FaceCenteredCubic("Au", faces, each, **lattice).positions) for each in layers]


def truncated_cube(size_A: float, rng: np.random.Generator) -> Atoms:
    """The Archimedean truncated cube, {100} octagons and small {111} triangles, to the nearest layer."""
    return min(_truncated_cubes(), key=lambda atoms: abs(atoms.info["size_A"] - size_A)).copy()


@cache
def _decahedra() -> dict[tuple[int, int, int], int]:
    """Numbers of atoms of the Marks decahedra that are about as high as wide, by ASE's p, q and r."""
    found = {}
    for p in range(3, 14):
        for q in range(max(2, p - 5), p + 2):
            for r in (1, 2):
                atoms = Decahedron("Au", p, q, r, latticeconstant=GOLD_LATTICE_CONSTANT_A)
                wide_x, wide_y, high = np.ptp(atoms.positions, axis=0)
                if DECAHEDRON_ASPECTS[0] <= 2 * high / (wide_x + wide_y) <= DECAHEDRON_ASPECTS[1]:
                    found[p, q, r] = len(atoms)
    return found


def decahedron(size_A: float, rng: np.random.Generator) -> Atoms:
    """The Marks decahedron nearest in size, its five-fold axis along z, scaled to gold's mean bond."""
    sizes = {key: shapes.volume_equivalent_diameter(atoms) for key, atoms in _decahedra().items()}
    nearest = min(sizes, key=lambda key: abs(sizes[key] - size_A))
    atoms = _gold(Decahedron("Au", *nearest, latticeconstant=GOLD_LATTICE_CONSTANT_A).positions)
    atoms.positions *= GOLD_NEIGHBOUR_DISTANCE_A / shapes.neighbour_distances(atoms).mean()
    return atoms


def twin(size_A: float, rng: np.random.Generator) -> Atoms:
    """A truncated octahedron whose upper half is the mirror image of the lower in the (111) layer at its middle."""
    positions = shapes.build(Shape.TRUNCATED_OCTAHEDRON, size_A).positions
    normal = np.ones(3) / np.sqrt(3)
    height = positions @ normal
    plane = height[np.abs(height).argmin()]
    below = height < plane - 0.1
    mirrored = positions[below] - 2 * (height[below] - plane)[:, None] * normal
    return _gold(np.concatenate([positions[below], positions[np.abs(height - plane) <= 0.1], mirrored]))


def pair(size_A: float, rng: np.random.Generator) -> Atoms:
    """Two of the five shapes, each half of the volume and turned at random, one upon the other, partly beside it.

    The beam is along z. The upper one comes down until it touches the lower one or reaches its foot.
    """
    single_A = size_A / 2 ** (1 / 3)
    for _ in range(PAIR_TRIES):
        lower, upper = (known(single_A, rng) for _ in range(2))
        for particle, rotation in zip((lower, upper), orientation.random_rotations(2, rng), strict=True):
            particle.positions = particle.positions @ rotation.T
        azimuth, offset_A = 2 * np.pi * rng.random(), single_A * rng.uniform(*PAIR_OFFSETS)
        upper.positions[:, :2] += offset_A * np.array([np.cos(azimuth), np.sin(azimuth)])
        upper.positions[:, 2] += lower.positions[:, 2].min() - upper.positions[:, 2].min()
        upper.positions[:, 2] += lift_to_contact(upper.positions, lower.positions, GOLD_NEIGHBOUR_DISTANCE_A)
        both = _gold(np.concatenate([lower.positions, upper.positions]))
        both.positions -= (both.positions.min(axis=0) + both.positions.max(axis=0)) / 2
        if np.ptp(both.positions[:, :2], axis=0).max() <= FIELD_A - 2 * EDGE_A:
            return both
    raise NanoshapeError(f"size is {size_A:g} Å, but a pair must fit into {FIELD_A - 2 * EDGE_A:g} Å")


@cache
def _facets(*families: tuple[int, int, int]) -> np.ndarray:
    """Unit normals (N, 3) of all faces of some families."""
    signs = np.array(list(itertools.product((1, -1), repeat=3)))
    normals = np.unique(
        [sign * np.array(order) for each in families for order in itertools.permutations(each) for sign in signs],
        axis=0,
    )
    return normals / np.linalg.norm(normals, axis=1, keepdims=True)


def irregular(size_A: float, rng: np.random.Generator) -> Atoms:
    """A particle of no shape: a third each between random planes, between random facets, and broken.

    Broken ones are one of the five shapes with 10 to 45 % of the atoms cut off by one to four random planes, and
    smaller by that. No atom of the others lies further out than 1.25 times the limit of a plane's distance.
    """
    kind = ("planes", "facets", "broken")[rng.integers(3)]
    if kind == "facets":
        normals = rng.choice(_facets(*FACETS), rng.integers(*FACET_PLANES), replace=False)
    else:
        normals = rng.standard_normal((rng.integers(*(CUTS if kind == "broken" else PLANES)), 3))
        normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    distances = rng.uniform(*DISTANCES, len(normals))

    def gauge(r: np.ndarray) -> np.ndarray:
        return (r @ normals.T / distances).max(axis=1)

    if kind == "broken":
        whole = known(size_A, rng).positions
        return _gold(whole[np.argsort(gauge(whole))[: round(len(whole) * rng.uniform(*KEPT))]])
    return _crystal(lambda r: np.maximum(gauge(r), np.linalg.norm(r, axis=1) / ROUND), size_A, rng.random(3))


def cut(size_A: float, rng: np.random.Generator) -> Atoms:
    """One of the five shapes whose edges or corners are cut off alike, 3 to 25 % of the atoms.

    The cuts are all planes of one of the families (110), (210), (211) and (311), at one distance; of the first two if
    it is a cube, along its edges, and across the corners or the edges if it is an icosahedron.
    """
    shape, kept = Shape(int(rng.integers(len(Shape)))), rng.uniform(*CUT_KEPT)
    whole = shapes.build(shape, size_A / kept ** (1 / 3)).positions
    if shape is Shape.ICOSAHEDRON:
        normals = _icosahedral_axes(whole, edges=bool(rng.integers(2)))
    else:
        normals = _facets(CUT_FAMILIES[rng.integers(2 if shape is Shape.CUBE else len(CUT_FAMILIES))])
    return _gold(whole[_innermost((whole @ normals.T).max(axis=1), round(kept * len(whole)))])


def intermediate(size_A: float, rng: np.random.Generator) -> Atoms:
    """Faces of {100} and {111} between those of an octahedron and a truncated one, or of this and a cuboctahedron.

    The coordinates of its atoms are at most h, and their sum at most s h: s is 1 for the octahedron, 3/2 for the
    regular truncated octahedron, 2 for the cuboctahedron and 3 for the cube. Truncated cubes, which are between the
    last two, are left out.
    """
    for _ in range(TRUNCATION_TRIES):
        s = rng.uniform(*TRUNCATIONS)

        def gauge(r: np.ndarray, s: float = s) -> np.ndarray:
            return np.maximum(np.abs(r).max(axis=1), np.abs(r).sum(axis=1) / s)

        atoms = _crystal(gauge, size_A, np.zeros(3))
        reached = np.abs(atoms.positions).sum(axis=1).max() / np.abs(atoms.positions).max()
        if np.abs(reached - np.array([1, 1.5, 2])).min() > UNLIKE:
            return atoms
    raise NanoshapeError(f"size is {size_A:g} Å, but there must be a polyhedron between those known")


def _icosahedral_axes(positions: np.ndarray, edges: bool) -> np.ndarray:
    """Unit vectors from the centre of an icosahedron to its 12 corners or the middles of its 30 edges."""
    axes = positions[np.argsort(np.linalg.norm(positions, axis=1))[-12:]]
    if edges:
        near = [pair for pair in itertools.combinations(axes, 2) if pair[0] @ pair[1] > 0]
        axes = np.array([first + second for first, second in near])
    return axes / np.linalg.norm(axes, axis=1, keepdims=True)


OTHERS: dict[str, Builder] = {"irregular": irregular, "cut": cut, "intermediate": intermediate}
"""What the shape check is shown that is none of the five."""


def carbon(size_A: float, rng: np.random.Generator) -> Atoms:
    """A single atom of carbon: the film and, on it, nothing that could be seen."""
    return Atoms("C", positions=[[0, 0, 0]], info={"size_A": math.nan})


def stretched(size_A: float, ratio: float, symbol: str, rng: np.random.Generator) -> Atoms:
    """One of the five shapes of some metal, with a lattice constant of so many times gold's."""
    gold = known(size_A / ratio, rng)
    info = {"size_A": gold.info["size_A"] * ratio}
    return Atoms(f"{symbol}{len(gold)}", positions=gold.positions * ratio, info=info)


def lattice_ratio(symbol: str) -> float:
    """Lattice constant of an fcc metal over gold's, as ASE lists it."""
    if symbol == "Au":
        return 1.0
    lattice_A: float = reference_states[atomic_numbers[symbol]]["a"]  # type: ignore
    return lattice_A / GOLD_LATTICE_CONSTANT_A


def metal(symbol: str) -> Builder:
    """Builder of the five shapes in another fcc metal."""
    ratio = lattice_ratio(symbol)
    return lambda size_A, rng: stretched(size_A, ratio, symbol, rng)
