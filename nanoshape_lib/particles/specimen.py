"""The specimen besides shape, size and orientation: field of view, thermal motion, strain, thickness of the film."""

import math

import numpy as np
from ase import Atoms
from pydantic import BaseModel, ConfigDict, Field
from scipy.spatial import cKDTree

FIELD_A = 128.0
"""Side of the square field of view of every exit wave [Å]."""
EDGE_A = 2.0
"""Least distance of a particle's atoms from the edge of the field [Å]."""
ROOM_K = 300.0
THERMAL_RMS_A = 0.085
"""Root mean square displacement per axis of gold at 300 K [Å]."""
VISIBLE_PER_A = (0.38, 0.50)
"""Spatial frequencies of the fringes of close-packed metals that pixels of 1 Å show: up to their Nyquist frequency."""
BIN_A = 0.25
WINDOW_A = 256.0


class Specimen(BaseModel):
    """What a particle and its film are like; by default as in every data set.

    ``temperature_K`` and ``strain`` are the particle's: by how much it is longer along its own z axis, over its length.
    ``film_A`` is the thickness [Å] of the film, by default that of the blocks of carbon.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    temperature_K: float = Field(ROOM_K, ge=0, le=1300)
    strain: float = Field(0.0, ge=-0.1, le=0.1)
    film_A: float | None = Field(None, gt=0, le=300)

    @property
    def rms_A(self) -> float:
        """Root mean square displacement of an atom per axis [Å].

        Its square grows in proportion to the temperature, as it does above half the Debye temperature (Willis & Pryor,
        *Thermal Vibrations in Crystallography*, 1975), which is 170 K for gold; atoms are at rest at 0 K.
        """
        return THERMAL_RMS_A * math.sqrt(self.temperature_K / ROOM_K)

    def strained(self, positions: np.ndarray) -> np.ndarray:
        """Positions (N, 3) [Å] of the strained particle, in its own frame."""
        return positions * [1.0, 1.0, 1.0 + self.strain]


def shake(atoms: Atoms, rng: np.random.Generator, rms_A: float = THERMAL_RMS_A) -> Atoms:
    """Frozen phonons: a copy with every atom displaced independently by Gaussians of this width [Å] per axis."""
    shaken = atoms.copy()
    shaken.positions += rng.normal(0.0, rms_A, shaken.positions.shape)
    return shaken


def lift_to_contact(upper: np.ndarray, lower: np.ndarray, contact_A: float) -> float:
    """Least upward shift [Å] of atoms (N, 3) that leaves them a distance [Å] or more from those below, (M, 3)."""
    lift = 0.0
    pairs = cKDTree(upper[:, :2]).query_ball_tree(cKDTree(lower[:, :2]), contact_A)
    for atom, neighbours in zip(upper, pairs, strict=True):
        if neighbours:
            apart = lower[neighbours] - atom
            wanted = np.sqrt(np.maximum(contact_A**2 - (apart[:, :2] ** 2).sum(axis=1), 0.0))
            lift = max(lift, float((apart[:, 2] + wanted).max()))
    return lift


def visible_structure_factor(positions: np.ndarray) -> float:
    """The greatest share of a particle's atoms that scatter in phase into fringes that can be seen.

    It is the structure factor of the atoms' projection along z over their number, at its maximum between 0.38 and
    0.50 per Å. One says that planes stand edge-on throughout the particle. Planes tilted out of the beam by more than
    their spacing over the particle's thickness leave little, since their excitation error exceeds the inverse of the
    thickness (Williams & Carter, *Transmission Electron Microscopy*, 2009, chapter 12).

    ``positions``: of the atoms (N, 3) [Å], within 256 Å.
    """
    xy, half_A = positions[:, :2] - positions[:, :2].mean(axis=0), WINDOW_A / 2
    bins = round(WINDOW_A / BIN_A)
    counts, _ = np.histogramdd(xy, bins=bins, range=[(-half_A, half_A)] * 2)
    q = np.hypot(np.fft.fftfreq(bins, BIN_A)[:, None], np.fft.rfftfreq(bins, BIN_A))
    low, high = VISIBLE_PER_A
    return float(np.abs(np.fft.rfft2(counts))[(q >= low) & (q <= high)].max() / len(positions))
