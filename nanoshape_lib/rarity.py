"""How rare what is measured of a particle is among known particles: each component, and all of them together."""

from dataclasses import dataclass

import numpy as np

from nanoshape_lib.spectral_check import QUANTITIES

TAIL = 0.02
HIGHEST = 12.0


@dataclass(frozen=True)
class Tail:
    """How rare a value is among known ones: by rank, and beyond their last fiftieth by an exponential tail."""

    known: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray) -> "Tail":
        """From values (n,) of known images."""
        return cls(np.sort(values).astype(np.float32))

    @property
    def _end(self) -> tuple[float, float]:
        """Where the tail begins, and the mean excess over that."""
        start = float(np.quantile(self.known, 1 - TAIL))
        over = self.known[self.known > start] - start
        return start, max(float(over.mean()) if len(over) else 0.0, 1e-9)

    def surprise(self, values: np.ndarray) -> np.ndarray:
        """Minus the logarithm of the share of known images with such a value or a greater one, at most 12."""
        start, excess = self._end
        above = 1 - np.searchsorted(self.known, values) / (len(self.known) + 1)
        beyond = -np.log(TAIL) + (values - start) / excess
        return np.minimum(np.where(values > start, beyond, -np.log(np.maximum(above, TAIL / 2))), HIGHEST)


def averaged(values: dict[str, np.ndarray], count: int) -> dict[str, np.ndarray]:
    """Components of particles from those of their images, so many of each, one after another."""
    return {name: each.reshape(-1, count, *each.shape[1:]).mean(axis=1) for name, each in values.items()}


def _unsigned(name: str, values: np.ndarray) -> np.ndarray:
    """A component (G,) so that greater is stranger: a quantity of the check in deviations from the usual."""
    return np.abs(values[:, 0]) / np.sqrt(values[:, 1]) if name in QUANTITIES else values


@dataclass(frozen=True)
class Rarity:
    """The distribution of the components of strangeness among known particles.

    Attributes
    ----------
    tails
        Of each component.
    scores
        Of all together, see :meth:`score`.
    """

    tails: dict[str, Tail]
    scores: Tail

    @classmethod
    def fit(cls, values: dict[str, np.ndarray]) -> "Rarity":
        """From the components of known particles, as :meth:`nanoshape_lib.novelty.Novelty.measure` gives them."""
        tails = {name: Tail.of(_unsigned(name, each)) for name, each in values.items()}
        alone = cls(tails, Tail.of(np.zeros(1)))
        return cls(tails, Tail.of(alone.score(values)))

    def surprises(self, values: dict[str, np.ndarray]) -> np.ndarray:
        """Surprise (G, components) of the components of particles, see :meth:`Tail.surprise`."""
        return np.stack([tail.surprise(_unsigned(name, values[name])) for name, tail in self.tails.items()], axis=1)

    def score(self, values: dict[str, np.ndarray]) -> np.ndarray:
        """One number (G,): the root of the sum of the squares of the surprises."""
        return np.sqrt((self.surprises(values) ** 2).sum(axis=1))

    def rarity(self, score: np.ndarray) -> np.ndarray:
        """Share of known particles that are less strange than some of these scores (G,)."""
        return 1 - np.exp(-self.scores.surprise(score))
