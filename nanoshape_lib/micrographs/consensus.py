"""What all particles of a field show together: the size of a pixel, the lattice and the element, which they share.

Each particle alone says little about them, since few show fringes. The spectral check says how little, and the mean of
many, each weighted by its certainty, says much.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd

from nanoshape_lib.micrographs.pixel_size import PixelSize
from nanoshape_lib.trust.classifier import DEVIATIONS, SHOWN, USUAL
from nanoshape_lib.trust.spectral_check import QUANTITIES

SYSTEMATIC = np.array([0.005, 0.005, 0.02])
"""Relative uncertainties that no number of particles lessens, seen on 40 simulated micrographs of gold."""
SURE = 3.0
"""Standard uncertainties from which on a quantity is said to be another."""
SENTENCES = {
    "pixel size": "the particles in {name} and their film together fit pixels of {value:.3g} ± {uncertainty:.1g} Å"
    " rather than {usual:.3g} Å",
    "lattice": "the fringes of all particles in {name} together fit a lattice constant of {value:.2f} ±"
    " {uncertainty:.2f} Å rather than gold's {usual:.2f} Å: the pixel size is wrong, or this is another metal",
    "element": "the contrast of all particles in {name} together fits atoms of number {value:.0f} ± {uncertainty:.0f}"
    " rather than gold's {usual:.0f}",
}


class Consensus(NamedTuple):
    """Of :data:`nanoshape_lib.trust.spectral_check.QUANTITIES`: logarithms over what is usual (3,), and their
    uncertainties.

    Usual are the pixel size that was given and the lattice constant and atomic number of gold. ``ring`` says that the
    lattice is told by rings.
    """

    logarithms: np.ndarray
    uncertainties: np.ndarray
    ring: bool

    @property
    def surprises(self) -> np.ndarray:
        """Distance from the usual in standard uncertainties (3,)."""
        return np.abs(self.logarithms) / self.uncertainties


def consensus(table: pd.DataFrame, pixel_size_A: float, ring: PixelSize | None = None) -> Consensus:
    """Weighted means over the particles of one field.

    Parameters
    ----------
    table
        One row a particle, with the columns ``shown_`` of :meth:`nanoshape_lib.trust.classifier.Classifier.classify`.
    pixel_size_A
        The pixel size [Å] at which the particles were cut out.
    ring
        The pixel size from the rings of the whole field; where there are rings, they tell the lattice.

    Returns
    -------
    Consensus
        The particles' weights are one over the variances that the spectral check gives; the variance of the mean is one
        over their sum, and the square of :data:`SYSTEMATIC` is added to it.
    """
    logs = np.log(table[list(SHOWN)].to_numpy() / USUAL)
    weights = (table[list(SHOWN)].to_numpy() / table[list(DEVIATIONS)].to_numpy()) ** 2
    means = (logs * weights).sum(axis=0) / weights.sum(axis=0)
    uncertainties = np.hypot(SYSTEMATIC, 1 / np.sqrt(weights.sum(axis=0)))
    if ring is not None:
        lattice = QUANTITIES.index("lattice")
        means[lattice] = np.log(pixel_size_A / ring.pixel_size_A)
        uncertainties[lattice] = ring.uncertainty_A / ring.pixel_size_A
    return Consensus(means, uncertainties, ring is not None)


def sentences(found: Consensus, pixel_size_A: float, name: str) -> list[str]:
    """What is to be said of a field of this name: a sentence on each quantity that is surely not as usual.

    Of rings :func:`nanoshape_lib.micrographs.pixel_size.check` speaks.
    """
    usual = USUAL * [pixel_size_A, 1, 1]
    values = usual * np.exp(found.logarithms)
    return [
        SENTENCES[quantity].format(name=name, value=value, uncertainty=value * relative, usual=known)
        for quantity, value, relative, known, surprise in zip(
            QUANTITIES, values, found.uncertainties, usual, found.surprises, strict=True
        )
        if surprise > SURE and not (quantity == "lattice" and found.ring)
    ]
