"""Amorphous carbon blocks, and a particle laid on one of them."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from ase import Atoms
from scipy import constants
from scipy.spatial import cKDTree

from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.particles.specimen import FIELD_A, lift_to_contact, shake
from nanoshape_lib.paths import data_file

BLOCKS = 14
CONTACT_A = 2.5
CLEARANCE_A = 0.1
LAYER_ROLL_A = (47.0, 29.0)


@lru_cache(maxsize=BLOCKS)
def load_block(block: int) -> Atoms:
    """One melt-quenched amorphous carbon block of 0 to 13, periodic in all directions, sorted by height.

    The blocks are independent quenches (``data/make_carbon.py``). Raises NanoshapeError if there is no such block, or
    its file is missing or changed.
    """
    if block not in range(BLOCKS):
        raise NanoshapeError(f"block is {block}, but must be a whole number from 0 to {BLOCKS - 1}")
    with np.load(data_file(f"carbon/block_{block:02d}.npz")) as file:
        cell = file["cell_A"]
        positions = file["fractional_uint16"] / 65536.0 * cell
    return Atoms(f"C{len(positions)}", positions=positions, cell=cell, pbc=True)


@lru_cache(maxsize=BLOCKS)
def load_film(block: int, thickness_A: float | None = None) -> Atoms:
    """A film of any thickness [Å]: the upper part of a block, or the block on others of its kind that are rolled aside.

    Raises NanoshapeError if the thickness, by default the block's own, is not positive, or as of :func:`load_block`.
    """
    atoms = load_block(block)
    lengths = atoms.cell.lengths()
    thickness_A = float(lengths[2]) if thickness_A is None else thickness_A
    if not 0 < thickness_A < np.inf:
        raise NanoshapeError(f"thickness_A is {thickness_A:g}, but must be a positive number of ångströms")
    layers = []
    for layer in range(int(np.ceil(thickness_A / lengths[2]))):
        r = atoms.positions.copy()
        r[:, :2] = (r[:, :2] + layer * np.array(LAYER_ROLL_A)) % FIELD_A
        r[:, 2] += thickness_A - (layer + 1) * lengths[2]
        layers.append(r[r[:, 2] >= 0])
    positions = np.concatenate(layers[::-1])
    return Atoms(f"C{len(positions)}", positions=positions, cell=[*lengths[:2], thickness_A], pbc=True)


def density_g_cm3(block: Atoms) -> float:
    """Mass density [g/cm³] of a carbon block."""
    return block.get_masses().sum() * constants.atomic_mass * 1e3 / (block.get_volume() * 1e-24)


def radial_distribution(block: Atoms, maximum_A: float = 6.0, bin_A: float = 0.05) -> tuple[np.ndarray, np.ndarray]:
    """Bin centres [Å] and radial distribution function g(r) of a periodic block; g tends to one at large distance."""
    edges = np.arange(0.0, maximum_A + bin_A / 2, bin_A)
    tree = cKDTree(block.positions, boxsize=block.cell.lengths())
    shells = 4 / 3 * np.pi * np.diff(edges**3)
    ideal = len(block) * shells * len(block) / block.get_volume()
    return (edges[1:] + edges[:-1]) / 2, np.diff(tree.count_neighbors(tree, edges)) / ideal


@dataclass(frozen=True)
class Placement:
    """How a film is laid under the particle: a periodic block rolled by whole ångströms, turned, mirrored.

    With ``thickness_A`` the film is a thinner or thicker one of this block, see :func:`load_film`.
    """

    block: int
    roll_A: tuple[int, int] = (0, 0)
    quarter_turns: int = 0
    mirror: bool = False
    thickness_A: float | None = None

    def positions(self) -> np.ndarray:
        """Carbon positions (N, 3) [Å] in the field, height counted from the film's lower face."""
        r = load_film(self.block, self.thickness_A).positions.copy()
        if self.mirror:
            r[:, 0] = -r[:, 0]
        for _ in range(self.quarter_turns % 4):
            r[:, :2] = np.stack([-r[:, 1], r[:, 0]], axis=1)
        r[:, :2] = (r[:, :2] + self.roll_A) % FIELD_A
        return r

    def sample(
        self, field: torch.Tensor, rows: torch.Tensor | None = None, columns: torch.Tensor | None = None
    ) -> torch.Tensor:
        """The same operation on a periodic field of the block, (n, n) indexed [x, y], its origin in a pixel's centre.

        With ``rows`` (a, 1) and ``columns`` (1, b) only these pixels of the result are returned, counted periodically.
        Raises NanoshapeError if the field has no whole number of pixels to the ångström, by which blocks are rolled.
        """
        n = len(field)
        if n % FIELD_A:
            raise NanoshapeError(f"the field has {n} pixels, but must have a multiple of {FIELD_A:g} with a film in it")
        rows = torch.arange(n)[:, None] if rows is None else rows
        columns = torch.arange(n)[None, :] if columns is None else columns
        down, along = (round(roll * n / FIELD_A) for roll in self.roll_A)
        rows, columns = rows - down, columns - along
        for _ in range(self.quarter_turns % 4):
            rows, columns = columns, -rows
        if self.mirror:
            rows = -rows
        return field[rows.to(field.device) % n, columns.to(field.device) % n]


@dataclass(frozen=True)
class Scene:
    """A particle in the field of view, with or without a carbon film.

    The beam runs along +z. A film upstream ends at the plane ``z = 0`` and the particle lies at
    ``z > 0``; a film downstream begins there and the particle lies at ``z < 0``. ``particle`` has
    positions in the field, 0 to 128 Å laterally.
    """

    particle: Atoms
    film: Placement | None
    downstream: bool = False

    @property
    def mid_plane_A(self) -> float:
        """Height [Å] of the particle's mid-plane, from which defocus is counted."""
        z = self.particle.positions[:, 2]
        return float(z.min() + z.max()) / 2

    @property
    def film_thickness_A(self) -> float:
        """Thickness [Å] of the film, zero without one."""
        if self.film is None:
            return 0.0
        return float(load_film(self.film.block, self.film.thickness_A).cell.lengths()[2])

    def atoms(self) -> Atoms:
        """All atoms, film and particle, in a cell that is periodic laterally; some have negative heights."""
        atoms = self.particle.copy()
        if self.film is not None:
            carbon = self.film.positions() - [0, 0, 0 if self.downstream else self.film_thickness_A]
            atoms += Atoms(f"C{len(carbon)}", positions=carbon)
        atoms.set_cell([FIELD_A, FIELD_A, np.ptp(atoms.positions[:, 2]) + 2])
        atoms.set_pbc([True, True, False])
        return atoms


def deposit(
    particle: Atoms,
    film: Placement | None,
    shift_A: tuple[float, float] = (0.0, 0.0),
    downstream: bool = False,
) -> Scene:
    """Lay a particle, already turned as wanted, on a carbon film (or leave it in vacuum).

    The particle comes down until its nearest carbon atom is 2.5 Å away, or until its lowest atom is
    0.1 Å from the face of the film, so that film and particle never share a slice of the multislice.

    Parameters
    ----------
    particle
        Particle centred at the origin.
    film
        Placement of the block under it; None for vacuum.
    shift_A
        Lateral position of the particle's centre [Å] relative to the centre of the field.
    downstream
        Whether the beam meets the particle first and the film after it.

    Raises
    ------
    NanoshapeError
        If the particle would leave the field of view.
    """
    placed = particle.copy()
    placed.positions[:, :2] += FIELD_A / 2 + np.asarray(shift_A)
    low, high = placed.positions[:, :2].min(), placed.positions[:, :2].max()
    if low < 0 or high > FIELD_A:
        raise NanoshapeError(
            f"shift is {tuple(shift_A)} Å, but the particle must stay within the field of {FIELD_A:g} Å"
            f" (it would reach from {low:.1f} to {high:.1f} Å)"
        )
    away = -1.0 if downstream else 1.0
    z = away * placed.positions[:, 2]
    placed.positions[:, 2] = away * (z - z.min() + CLEARANCE_A)
    scene = Scene(placed, film, downstream)
    if film is not None:
        carbon = film.positions() - [0, 0, 0 if downstream else scene.film_thickness_A]
        gold, carbon = (atoms * [1, 1, away] for atoms in (placed.positions, carbon))
        low, top = gold[gold[:, 2] < CLEARANCE_A + CONTACT_A], carbon[carbon[:, 2] > -CONTACT_A]
        placed.positions[:, 2] += away * lift_to_contact(low, top, CONTACT_A)
    return scene


def turned_scene(
    particle: Atoms,
    rotation: np.ndarray,
    film: Placement | None,
    rng: np.random.Generator,
    shift_A: tuple[float, float] = (0.0, 0.0),
) -> Scene:
    """A particle around the origin, turned by a rotation (3, 3), shaken as at 300 K, on a film or in vacuum."""
    turned = particle.copy()
    turned.positions = turned.positions @ rotation.T
    return deposit(shake(turned, rng), film, shift_A)
