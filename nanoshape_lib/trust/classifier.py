"""A shape one can trust: calibrated probabilities, a set that holds the true shape as often as asked, and refusal."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from ase.data import atomic_numbers
from scipy.special import softmax
from torch import Tensor, nn

from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.networks.evaluation import particle_means
from nanoshape_lib.networks.features import look
from nanoshape_lib.networks.models import IMAGE_PIXELS, load_weights
from nanoshape_lib.particles.shapes import GOLD_LATTICE_CONSTANT_A, Shape
from nanoshape_lib.simulation.imaging import standardise
from nanoshape_lib.trust.conformal import Trust, load_trust, nonconformity
from nanoshape_lib.trust.ood import SCORES
from nanoshape_lib.trust.spectral_check import QUANTITIES

COVERAGES = (0.5, 0.99)
CLASSES = [f"p_{shape.name.lower()}" for shape in Shape]
REASONS = {
    "probability": "no shape is as probable as the first choice for most particles of the five shapes",
    "shape": "it is more like particles that lie between or beside the five shapes than like these",
    "matter": "it is more like particles of other metals or lattices than like gold",
    "pixel size": "its texture fits pixels of {0:.2f} Å rather than {3:.2f} Å",
    "lattice": "its fringes fit a lattice constant of {1:.2f} Å rather than gold's {4:.2f} Å",
}

USUAL = np.array([1.0, GOLD_LATTICE_CONSTANT_A, atomic_numbers["Au"]])
"""What the spectral check shows of the training images, in the order of QUANTITIES."""
SHOWN = ("shown_pixel_ratio", "shown_lattice_A", "shown_atomic_number")
"""Columns of what it shows of others, in the same order."""
DEVIATIONS = tuple(f"{name}_sd" for name in SHOWN)


class Judgement(NamedTuple):
    """What one network says of G particles.

    ``probabilities`` of the shapes (G, 5), each row summing to one; whether each shape is a member of the set (G, 5),
    of which a refused particle has none; the combined ``ood_score`` (G,) and the ``parts`` (G, scores) of its square;
    pixel size and lattice constant [Å] and atomic number (G, 3) that the spectral check shows, and their standard
    ``deviations``: those of a single image, since images of one particle err alike.
    """

    probabilities: np.ndarray
    members: np.ndarray
    ood_score: np.ndarray
    parts: np.ndarray
    shown: np.ndarray
    deviations: np.ndarray


def judge(
    trust: Trust, logits: np.ndarray, measured: dict[str, np.ndarray], place: np.ndarray, coverage: float
) -> Judgement:
    """Decide about particles from images.

    Logits (N, symmetries, 5) and what :meth:`nanoshape_lib.trust.ood.Heads.measure` gives are those of each image,
    ``place`` (N,) is the number of the particle that it shows; sets shall hold the true shape with this ``coverage``.
    """
    means = {name: particle_means(each, place) for name, each in measured.items()}
    probabilities = softmax(particle_means(logits.mean(axis=1), place) / trust.temperature, axis=1)
    members = np.empty(probabilities.shape, bool)
    scores, parts = np.empty(len(members)), np.empty((len(members), len(SCORES)))
    counts = np.array([max(count for count in trust.calibrations if count <= size) for size in np.bincount(place)])
    for count in np.unique(counts):
        here, calibration = counts == count, trust.calibrations[count]
        some = {name: each[here] for name, each in means.items()}
        parts[here], scores[here] = calibration.ood.parts(some), calibration.ood.score(some)
        levels = nonconformity(probabilities[here], calibration.ood.p_value(scores[here]))
        members[here] = levels <= calibration.level(coverage)
    shown = np.exp(np.stack([means[name][:, 0] / means[name][:, 1] for name in QUANTITIES], axis=1)) * USUAL
    deviations = shown * np.stack([means[name][:, 1] ** -0.5 for name in QUANTITIES], axis=1)
    return Judgement(probabilities, members, scores, parts, shown, deviations)


class Classifier:
    """One network or several, with their calibrations.

    Logits are averaged over the eight symmetries of the square and over the images of one particle. Several
    networks average their probabilities, and a majority of them decides which shapes are in the set: if each has
    the coverage 1 - a, theirs is at least 1 - 2a (Gasparin & Ramdas 2024).

    Parameters
    ----------
    weights
        Weights files, their calibrations beside them.
    coverage
        How often the set shall hold the true shape of a particle like those of the training, 0.5 to 0.99. It is
        empty for the least usual, so that about 1 - coverage of such particles are refused.

    Raises
    ------
    NanoshapeError
        If the coverage is out of range, or a file is missing or does not fit.
    """

    def __init__(self, weights: Path | Sequence[Path], coverage: float = 0.95):
        low, high = COVERAGES
        if not low <= coverage <= high:
            raise NanoshapeError(f"coverage is {coverage:g}, but must lie between {low:g} and {high:g}")
        files = [weights] if isinstance(weights, Path) else list(weights)
        if not files:
            raise NanoshapeError("weights is empty, but must name at least one file")
        self.coverage = coverage
        self._members: list[tuple[nn.Module, Trust]] = [(load_weights(file)[0], load_trust(file)) for file in files]

    @property
    def networks(self) -> list[nn.Module]:
        """The networks."""
        return [network for network, _ in self._members]

    def classify(self, images: Tensor, groups: Sequence | np.ndarray | None = None) -> pd.DataFrame:
        """Shape, probabilities, set and warnings for each particle.

        Parameters
        ----------
        images
            Images (N, 128, 128) of 1 Å a pixel, in any unit.
        groups
            Which particle each image shows (N,); by default each shows one of its own.

        Returns
        -------
        DataFrame
            One row a particle in the order of appearance: ``group``, ``images``, ``p_cube`` to
            ``p_icosahedron``, ``predicted``, ``set`` (titles joined by `` | ``, empty if refused), ``ood_score``
            (the greater, the less usual), ``known``, and ``reason``, a sentence if it is refused. Then what the
            spectral check shows: ``shown_pixel_ratio`` (size of the pixels over 1 Å), ``shown_lattice_A`` (if they are
            1 Å) and ``shown_atomic_number``, each with its standard deviation, ``_sd``.

        Raises
        ------
        NanoshapeError
            If the images are not 128 x 128 finite numbers, or the groups are not as many.
        """
        if images.ndim != 3 or images.shape[-2:] != (IMAGE_PIXELS, IMAGE_PIXELS) or not len(images):
            raise NanoshapeError(f"images have shape {tuple(images.shape)}, but must have (N, 128, 128)")
        if not torch.isfinite(images).all():
            raise NanoshapeError("images hold values that are not finite, but must be finite")
        place, names = pd.factorize(np.arange(len(images)) if groups is None else np.asarray(groups))
        if len(place) != len(images):
            raise NanoshapeError(f"groups has {len(place)} entries, but must have one for each of {len(images)} images")
        images = standardise(images.float())
        said = []
        for network, trust in self._members:
            views = look(network, images)
            said.append(judge(trust, views.logits, trust.heads.measure(views, images), place, self.coverage))
        mean = Judgement(*(np.mean(each, axis=0) for each in zip(*said, strict=True)))
        titles, sets, reasons = np.array([shape.title for shape in Shape]), [], []
        for p, share, _, parts, shown, _ in zip(*mean, strict=True):
            order, members = np.argsort(-p), share > 0.5
            sets.append(" | ".join(titles[order[members[order]]]))
            reason = REASONS[SCORES[parts.argmax()]].format(*shown, *USUAL)
            reasons.append("" if members.any() else f"Refused: {reason}.")
        table = pd.DataFrame({"group": names, "images": np.bincount(place)})
        table[CLASSES] = mean.probabilities
        predicted = titles[mean.probabilities.argmax(axis=1)]
        known = [bool(chosen) for chosen in sets]
        table = table.assign(predicted=predicted, set=sets, ood_score=mean.ood_score, known=known, reason=reasons)
        table[[*SHOWN, *DEVIATIONS]] = np.hstack([mean.shown, mean.deviations])
        return table
