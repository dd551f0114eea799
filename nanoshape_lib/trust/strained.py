"""Gold that is stretched or compressed, and other elements in its places: what the spectral check learns from."""

import math
from typing import NamedTuple

import numpy as np
from ase.data import atomic_numbers

from nanoshape_lib.datasets.design import DatasetDesign
from nanoshape_lib.particles.decoys import stretched
from nanoshape_lib.simulation.devices import on_all_cores
from nanoshape_lib.trust.ood_kinds import turned_wave

# Version of the strained waves, raised when they change; see `paths.cache_key`.
RECIPE = 1
RATIOS = (0.84, 1.09)
ELEMENTS = ("Ti", "Fe", "Se", "Zr", "Sn", "Ba", "Gd", "Hf", "Pb")
SHARE_USUAL_LATTICE, SHARE_GOLD = 0.25, 0.5


class StrainedWaves(NamedTuple):
    """Exit waves (N, 2, m, m), float16, and the logarithms (N, 2) of lattice constant and atomic number over gold's."""

    waves: np.ndarray
    logarithms: np.ndarray


def strained_waves(design: DatasetDesign, numbers: range, seed: int = 0) -> StrainedWaves:
    """Exit waves of stretched particles on the films of the training, some of them of other elements.

    The lattice constants are 0.84 to 1.09 times gold's; a quarter is as usual, and half of the particles are of gold.
    """

    def make(number: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng((seed, number))
        ratio = 1.0 if rng.random() < SHARE_USUAL_LATTICE else math.exp(rng.uniform(*np.log(RATIOS)))
        symbol = "Au" if rng.random() < SHARE_GOLD else str(rng.choice(ELEMENTS))
        particle = stretched(design.sizes_A[number % len(design.sizes_A)], ratio, symbol, rng)
        logarithms = np.log([ratio, atomic_numbers[symbol] / atomic_numbers["Au"]]).astype(np.float32)
        return turned_wave(particle, design, rng), logarithms

    made = on_all_cores(make, numbers, "stretched particles")
    return StrainedWaves(*(np.stack(each) for each in zip(*made, strict=True)))
