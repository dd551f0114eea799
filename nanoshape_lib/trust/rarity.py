"""How rare what is measured of a particle is among known particles: each component, and all of them together."""

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import expit

from nanoshape_lib.trust.spectral_check import QUANTITIES

TAIL = 0.02
HIGHEST = 12.0
ALIKE = 0.1


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


def fit_weights(squares: np.ndarray, kinds: np.ndarray) -> np.ndarray:
    """Weights (components,), none negative and one in the mean, whose sum of squares best tells others from known ones.

    Logistic regression on the squares of the surprises (outlier exposure, Hendrycks et al. 2019). What is
    added to the loss keeps the weights alike, for strangers are of other kinds than the others: a tenth of their
    variance, which did as well as any when weights learned from all kinds but one were asked about that one.

    Parameters
    ----------
    squares
        Of known particles and others (N, components).
    kinds
        Zero for the known, other numbers for kinds of others (N,). Each kind counts alike, all as much as the known.
    """
    from scipy.optimize import minimize  # half a second that classifying does not need

    count = squares.shape[1]
    strange, places = kinds > 0, np.unique(kinds, return_inverse=True)[1]
    shares = 1 / np.bincount(places)[places]
    shares[strange] /= len(np.unique(kinds[strange]))

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        weights, offset = parameters[:-1], parameters[-1]
        odds = squares @ weights + offset
        total = weights.sum() + 1e-9
        unlike = count * (weights**2).sum() / total**2
        slope = shares * (expit(odds) - strange)
        uneven = 2 * count * weights / total**2 - 2 * unlike / total
        value = (shares * (np.logaddexp(0, odds) - strange * odds)).sum() + ALIKE * (unlike - 1)
        return value, np.append(squares.T @ slope + ALIKE * uneven, slope.sum())

    start = np.append(np.full(count, 1 / (1 + squares.sum(axis=1).mean())), -1.0)
    found = minimize(loss, start, jac=True, bounds=[(0, None)] * count + [(None, None)], method="L-BFGS-B").x[:-1]
    return found / found.mean()


@dataclass(frozen=True)
class Rarity:
    """The distribution of the components of strangeness among known particles.

    Attributes
    ----------
    tails
        Of each component.
    weights
        Of the squares of their surprises (components,), in the same order.
    scores
        Of all together, see :meth:`score`.
    """

    tails: dict[str, Tail]
    weights: np.ndarray
    scores: Tail

    @classmethod
    def fit(cls, values: dict[str, np.ndarray], others: dict[str, np.ndarray], kinds: np.ndarray) -> "Rarity":
        """From the components of known particles, as :meth:`nanoshape_lib.trust.ood.Novelty.measure` gives them.

        The weights come from the components of more of them and of others, see :func:`fit_weights`.
        """
        tails = {name: Tail.of(_unsigned(name, each)) for name, each in values.items()}
        equal = cls(tails, np.ones(len(tails)), Tail.of(np.zeros(1)))
        weighted = replace(equal, weights=fit_weights(equal.parts(others), kinds))
        return replace(weighted, scores=Tail.of(weighted.score(values)))

    def surprises(self, values: dict[str, np.ndarray]) -> np.ndarray:
        """Surprise (G, components) of the components of particles, see :meth:`Tail.surprise`."""
        return np.stack([tail.surprise(_unsigned(name, values[name])) for name, tail in self.tails.items()], axis=1)

    def parts(self, values: dict[str, np.ndarray]) -> np.ndarray:
        """What each component adds (G, components): the square of its surprise times its weight."""
        return self.weights * self.surprises(values) ** 2

    def score(self, values: dict[str, np.ndarray]) -> np.ndarray:
        """One number (G,): the root of the sum of all parts."""
        return np.sqrt(self.parts(values).sum(axis=1))

    def rarity(self, score: np.ndarray) -> np.ndarray:
        """Share of known particles that are less strange than some of these scores (G,)."""
        return 1 - np.exp(-self.scores.surprise(score))
