"""The specimen besides shape, size and orientation: field of view, thermal motion, strain, thickness of the film."""

import math

import numpy as np
from ase import Atoms
from pydantic import BaseModel, ConfigDict, Field

FIELD_A = 128.0
"""Side of the square field of view of every exit wave [Å]."""
EDGE_A = 2.0
"""Least distance of a particle's atoms from the edge of the field [Å]."""
ROOM_K = 300.0
THERMAL_RMS_A = 0.085
"""Root mean square displacement per axis of gold at 300 K [Å]."""


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
