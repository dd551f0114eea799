"""Why a particle has its name: where the evidence lies, simulations that look alike, and the one that fits best."""

import copy
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from nanoshape_lib.micrographs.analysis import Analysis
from nanoshape_lib.micrographs.template_matching import Match, best_match
from nanoshape_lib.networks.explanation import Neighbours, grad_cam
from nanoshape_lib.networks.models import IMAGE_PIXELS
from nanoshape_lib.particles.shapes import Shape
from nanoshape_lib.studies.results import load_examples
from nanoshape_lib.trust.classifier import CLASSES, Classifier

REFERENCE = "reference_images"
"""Shipped images of training particles, equally many of each shape, at settings drawn from ranges."""
NEAREST = 2


class Alike(NamedTuple):
    """A simulated image (128, 128), the cosine between its features and the particle's, its size and defocus [Å]."""

    image: np.ndarray
    similarity: float
    size_A: float
    defocus_A: float


@dataclass(frozen=True)
class Evidence:
    """Why each of the G particles of an analysis has the shape that is most probable.

    Attributes
    ----------
    maps
        Grad-CAM (G, 128, 128) in the first image of each, by the first network.
    alike
        For each particle, the simulated images of that shape which the first network finds most like its first image.
    matches
        For each particle, the simulation of that shape that fits its first image best; nothing if not asked for.
    """

    maps: np.ndarray
    alike: list[list[Alike]]
    matches: list[Match]


class Explainer:
    """Says why particles have their names.

    Parameters
    ----------
    classifier
        What named them.
    match
        Whether to look for the simulations that fit best. The first search of a shape computes its simulations,
        about a minute.
    """

    def __init__(self, classifier: Classifier, match: bool = False):
        # Of its own: `look` hooks into a network, and the classifier may be at work in another thread.
        self._network, self._match = copy.deepcopy(classifier.networks[0]), match

    @cached_property
    def _neighbours(self) -> Neighbours:
        return Neighbours(self._network, load_examples(REFERENCE))

    def prepare(self) -> None:
        """Look at the images to compare with, ahead of the first :meth:`explain` and perhaps beside other work."""
        _ = self._neighbours

    def explain(self, analysis: Analysis) -> Evidence:
        """The evidence for each particle of an analysis."""
        if analysis.table.empty:
            return Evidence(np.empty((0, IMAGE_PIXELS, IMAGE_PIXELS)), [], [])
        labels, first = analysis.table[CLASSES].to_numpy().argmax(axis=1), analysis.crops[:, 0]
        images = torch.as_tensor(first)
        found = self._neighbours.find(images, labels, NEAREST)
        reference = self._neighbours.reference
        alike: list[list[Alike]] = [[] for _ in labels]
        for place, row, *about in found[["image", "row", "similarity", "size_A", "defocus_A"]].to_numpy().tolist():
            alike[int(place)].append(Alike(reference.images[int(row)].float().numpy(), *about))
        matches = []
        if self._match:
            pairs = list(zip(first, labels.tolist(), strict=True))
            matches = [
                best_match(image, Shape(label)) for image, label in tqdm(pairs, desc="best matches", unit="particle")
            ]
        return Evidence(grad_cam(self._network, images, labels), alike, matches)
