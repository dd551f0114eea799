"""How strange an image is to a network: what its layers say, what the checks say, and distances from the known."""

from dataclasses import dataclass

import numpy as np
from scipy.special import entr, softmax
from torch import Tensor

from nanoshape_lib.networks.features import Views
from nanoshape_lib.trust.outlier_exposure import OddsCheck, matter_values, shape_values
from nanoshape_lib.trust.spectral_check import QUANTITIES, SpectralCheck

NEIGHBOURS = 3
AXES, NEAR_AXES = 128, 32
ROWS = 1000


def disagreement(logits: np.ndarray) -> np.ndarray:
    """How much the answers (N, symmetries, 5) to turned and mirrored copies differ [nat].

    It is the entropy of the mean of the probabilities less the mean of their entropies (Smith & Gal 2018).
    """
    probabilities = softmax(logits, axis=2)
    return entr(probabilities.mean(axis=1)).sum(axis=1) - entr(probabilities).sum(axis=2).mean(axis=1)


@dataclass(frozen=True)
class Neighbourhood:
    """Penultimate features (M, d) of known images, of which no network learned; strange is what is far from them."""

    features: np.ndarray

    def distance(self, features: np.ndarray) -> np.ndarray:
        """One less the cosine between features (N, d) and the third nearest (Sun et al. 2022)."""
        known, asked = (each.astype(np.float32) for each in (self.features, features))
        known, asked = (each / (np.linalg.norm(each, axis=1, keepdims=True) + 1e-12) for each in (known, asked))
        nearest = min(NEIGHBOURS, len(known))
        parts = [asked[first : first + ROWS] @ known.T for first in range(0, len(asked), ROWS)]
        return np.concatenate([1 - np.partition(part, -nearest, axis=1)[:, -nearest] for part in parts])


@dataclass(frozen=True)
class Gaussian:
    """Means (classes, d) and the precision (d, d) that all classes share."""

    means: np.ndarray
    precision: np.ndarray

    @classmethod
    def fit(cls, features: np.ndarray, labels: np.ndarray | None = None) -> "Gaussian":
        """From features (N, d) and their classes, or one for all; the covariance is shrunk (Ledoit & Wolf 2004)."""
        from sklearn.covariance import ledoit_wolf  # a second that classifying does not need

        labels = np.zeros(len(features), int) if labels is None else labels
        classes, place = np.unique(labels, return_inverse=True)
        means = np.stack([features[place == each].mean(axis=0) for each in range(len(classes))])
        spread = (features - means[place]).std(axis=0) + 1e-6
        covariance, _ = ledoit_wolf((features - means[place]) / spread)
        precision = np.linalg.inv(covariance) / spread[:, None] / spread
        return cls(means.astype(np.float32), precision.astype(np.float32))

    def distance(self, features: np.ndarray) -> np.ndarray:
        """Mahalanobis distance of features (N, d) from the nearest mean (Lee et al. 2018)."""
        apart = features[:, None] - self.means
        return np.sqrt(np.maximum(((apart @ self.precision) * apart).sum(axis=2).min(axis=1), 0))


COMPONENTS = ("answers", "classes", "neighbours", "texture", "shape", "matter", *QUANTITIES)
"""What makes an image strange, see :class:`Novelty`."""


@dataclass(frozen=True)
class Novelty:
    """Nine ways in which an image can be strange to a network.

    ``answers``: disagreement between turned and mirrored copies. ``classes``: relative Mahalanobis distance of the
    penultimate features, to the nearest class less to all images (Ren et al. 2021). ``neighbours``: distance to
    known images in the first 32 of these. ``texture``: Mahalanobis distance in an early layer. ``shape`` and
    ``matter``: what the checks of both say, see :mod:`nanoshape_lib.trust.outlier_exposure`. ``pixel size``,
    ``lattice`` and
    ``element``: what the spectral check shows, see :data:`nanoshape_lib.trust.spectral_check.QUANTITIES`, strange on
    either side. The features are reduced to their 128 principal axes.
    """

    axes: np.ndarray
    shapes: Gaussian
    background: Gaussian
    neighbourhood: Neighbourhood
    texture: Gaussian
    shape_check: OddsCheck
    matter_check: OddsCheck
    spectral_check: SpectralCheck

    @classmethod
    def fit(
        cls,
        known: Views,
        labels: np.ndarray,
        others: np.ndarray,
        shape_check: OddsCheck,
        matter_check: OddsCheck,
        spectral_check: SpectralCheck,
    ) -> "Novelty":
        """From what a network makes of training images, and the features (M, d) of other known ones."""
        _, _, axes = np.linalg.svd(known.features, full_matrices=False)
        axes = axes[:AXES].T.astype(np.float32)
        features = known.features @ axes
        return cls(
            axes,
            Gaussian.fit(features, labels),
            Gaussian.fit(features),
            Neighbourhood((others @ axes[:, :NEAR_AXES]).astype(np.float16)),
            Gaussian.fit(known.channels, labels),
            shape_check,
            matter_check,
            spectral_check,
        )

    def measure(self, views: Views, images: Tensor) -> dict[str, np.ndarray]:
        """Every component (N,) in its own unit, of standardised images and what the network makes of them.

        Of each quantity of the spectral check there are two numbers (N, 2): its logarithm over its variance, and one
        over that variance. The means of both over the images of a particle give the weighted mean and its significance.
        """
        shown = self.spectral_check.estimate(images)
        weights = 1 / shown.deviations**2
        features = views.features @ self.axes
        values = (
            disagreement(views.logits),
            self.shapes.distance(features) ** 2 - self.background.distance(features) ** 2,
            self.neighbourhood.distance(features[:, :NEAR_AXES]),
            self.texture.distance(views.channels),
            self.shape_check.log_odds(shape_values(views)),
            self.matter_check.log_odds(matter_values(views, shown)),
            *np.stack([shown.logarithms * weights, weights], axis=-1).swapaxes(0, 1),
        )
        return dict(zip(COMPONENTS, values, strict=True))
