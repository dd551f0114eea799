"""Out-of-distribution (OOD) scores of images, and how rare they are among particles of the five shapes.

Each score of a particle is the mean over its images; a score is turned into the p-value of its rank among known
particles, and the p-values are combined into one number.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp
from torch import Tensor

from nanoshape_lib.networks.features import Views
from nanoshape_lib.trust.outlier_exposure import OutlierHead, matter_inputs, shape_inputs
from nanoshape_lib.trust.spectral_check import QUANTITIES, SpectralCheck

WEIGHTS = {"probability": 3, "shape": 4, "matter": 3, "pixel size": 1, "lattice": 1}
"""Of the squares of the surprises: from a flat optimum on 280 decoys and strained particles that no head had seen
(heads weighted two to four times as much as the rest do equally well, to 0.003 of AUROC), and settled after the kinds
of the table had been looked at, so that the gain on these kinds is slightly optimistic."""
SCORES = tuple(WEIGHTS)
TAIL, HIGHEST = 0.02, 12.0


@dataclass(frozen=True)
class Heads:
    """The networks behind three of the scores; the first score is what the network for shapes says itself."""

    shape: OutlierHead
    matter: OutlierHead
    spectral: SpectralCheck

    def measure(self, views: Views, images: Tensor) -> dict[str, np.ndarray]:
        """Scores (N,) of N standardised images, and what the spectral check shows of each of its quantities (N, 2).

        ``probability`` is the logarithm of the odds against the most probable shape (Hendrycks & Gimpel 2017),
        ``shape`` and ``matter`` are those of the heads. Of a quantity there are its logarithm over its variance, and
        one over that: the means of both over the images of a particle give the weighted mean and its significance.
        """
        shown = self.spectral.estimate(images)
        weights = 1 / shown.deviations**2
        logits = np.sort(views.logits.mean(axis=1), axis=1)
        return {
            "probability": logsumexp(logits[:, :-1], axis=1) - logits[:, -1],
            "shape": self.shape.log_odds(shape_inputs(views)),
            "matter": self.matter.log_odds(matter_inputs(views, shown)),
            **dict(
                zip(QUANTITIES, np.stack([shown.logarithms * weights, weights], axis=-1).swapaxes(0, 1), strict=True)
            ),
        }


@dataclass(frozen=True)
class Tail:
    """How rare a value is among sorted known ones: by rank, and beyond their last fiftieth by an exponential tail."""

    known: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray) -> "Tail":
        """From values (n,) of known particles."""
        return cls(np.sort(values).astype(np.float32))

    def surprise(self, values: np.ndarray) -> np.ndarray:
        """Minus the logarithm of the share of known particles with such a value or a greater one, at most 12."""
        start = float(np.quantile(self.known, 1 - TAIL))
        over = self.known[self.known > start] - start
        excess = max(float(over.mean()) if len(over) else 0.0, 1e-9)
        above = 1 - np.searchsorted(self.known, values) / (len(self.known) + 1)
        beyond = -np.log(TAIL) + (values - start) / excess
        return np.minimum(np.where(values > start, beyond, -np.log(np.maximum(above, TAIL / 2))), HIGHEST)


@dataclass(frozen=True)
class Combination:
    """The distributions of each score, and of all together, among known particles."""

    scores: dict[str, Tail]
    combined: Tail

    @classmethod
    def fit(cls, measured: dict[str, np.ndarray]) -> "Combination":
        """From what :meth:`Heads.measure` gives of known particles, averaged over the images of each."""
        single = cls({name: Tail.of(_one_sided(name, measured[name])) for name in SCORES}, Tail.of(np.zeros(1)))
        return cls(single.scores, Tail.of(single.score(measured)))

    def parts(self, measured: dict[str, np.ndarray]) -> np.ndarray:
        """What each score adds (G, scores) to the square of the combined one: its weight times its surprise squared."""
        surprises = [tail.surprise(_one_sided(name, measured[name])) for name, tail in self.scores.items()]
        return np.stack([WEIGHTS[name] * each**2 for name, each in zip(self.scores, surprises, strict=True)], axis=1)

    def score(self, measured: dict[str, np.ndarray]) -> np.ndarray:
        """One number a particle (G,): the root of the sum of all parts."""
        return np.sqrt(self.parts(measured).sum(axis=1))

    def p_value(self, score: np.ndarray) -> np.ndarray:
        """Share of known particles with such combined scores (G,) or greater ones."""
        return np.exp(-self.combined.surprise(score))


def _one_sided(name: str, values: np.ndarray) -> np.ndarray:
    """A score (G,) that is greater the less usual: a quantity of the spectral check in standard deviations."""
    return np.abs(values[:, 0]) / np.sqrt(values[:, 1]) if name in QUANTITIES else values
