"""Conformal calibration: how often a set of shapes holds the true one, and the file that says so beside the weights."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from scipy.special import softmax

from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.networks.evaluation import fit_temperature
from nanoshape_lib.particles.shapes import Shape
from nanoshape_lib.paths import file_sha256, replacing
from nanoshape_lib.trust.ood import COMPONENTS, Gaussian, Neighbourhood, Novelty
from nanoshape_lib.trust.outlier_exposure import OddsCheck
from nanoshape_lib.trust.rarity import Rarity, Tail, averaged
from nanoshape_lib.trust.spectral_check import SpectralCheck

SERIES = (1, 2, 4)
SCALING_SHARE = 8
CHECKS = ("shape_check", "matter_check", "spectral_check")


def mass_above(probabilities: np.ndarray) -> np.ndarray:
    """Sum of the probabilities that are greater than each (N, 5): zero for the first choice."""
    greater = probabilities[:, None, :] > probabilities[:, :, None]
    return (greater * probabilities[:, None, :]).sum(axis=2)


def nonconformity(probabilities: np.ndarray, rarity: np.ndarray) -> np.ndarray:
    """How badly each shape fits (N, 5): the mass of the shapes before it, or the image's rarity (N,) if greater.

    The labels with values up to a level q are those that gather the probability q (the adaptive sets of Romano,
    Sesia & Candès 2020, not randomised), and none if fewer than 1 - q of known images are as strange.
    """
    return np.maximum(mass_above(probabilities), rarity[:, None])


@dataclass(frozen=True)
class Calibration:
    """What decisions from so many images of one particle are measured against.

    Attributes
    ----------
    rarity
        How strange known particles are: components are averaged over the images first.
    levels, labels
        Nonconformity of the true shape of other known particles, and that shape; each particle has equally many.
    groups
        How many particles these are.
    """

    rarity: Rarity
    levels: np.ndarray
    labels: np.ndarray
    groups: int

    def level(self, coverage: float) -> np.ndarray:
        """The levels (5,) whose sets hold the true shape of a new particle of each shape at least this often.

        Each shape is calibrated by itself (Vovk 2013), or the shapes that are easily known would be refused less often
        than the others. Images of one particle depend on one another; particles are exchangeable. Every one of G
        particles has the weight 1/(G + 1), shared by its images (Lee, Barber & Willett 2023).
        """
        limits, each = np.ones(len(Shape)), len(self.levels) / self.groups
        for shape in Shape:
            known = np.sort(self.levels[self.labels == shape])
            needed = int(np.ceil(coverage * (len(known) + each)))
            if needed <= len(known):
                limits[shape] = known[needed - 1]
        return limits


@dataclass(frozen=True)
class Trust:
    """Calibration of one weights file: temperature, novelty, and a calibration for 1, 2 and 4 images a particle."""

    temperature: float
    novelty: Novelty
    calibrations: dict[int, Calibration]


def calibrate(
    novelty: Novelty,
    logits: np.ndarray,
    values: dict[str, np.ndarray],
    labels: np.ndarray,
    others: dict[str, np.ndarray],
    kinds: np.ndarray,
    series: int,
) -> Trust:
    """Calibrate from what a network makes of images that were held back from its training.

    An eighth of the held particles sets the temperature and the scales of strangeness; the others give the levels,
    so that these are of particles to which nothing was fitted.

    Parameters
    ----------
    novelty
        Fitted to training images.
    logits, values, labels
        Of images held back, focal series one after another: logits (N, symmetries, 5), what novelty measures of them,
        and their shapes (N,).
    others, kinds
        What novelty measures of the images from which the weights are learned, focal series too, and the kind of each:
        zero for the known.
    series
        Images in each focal series; decisions from 1, 2 and 4 of them are calibrated where that divides it.
    """
    first = np.arange(len(labels)) // series % SCALING_SHARE == 0
    single = logits[first].reshape(-1, len(Shape))
    temperature = fit_temperature(single, np.repeat(labels[first], logits.shape[1]))
    logits = logits.mean(axis=1)
    calibrations: dict[int, Calibration] = {}
    for count in (each for each in SERIES if series % each == 0):
        means = averaged(values, count)
        truth, fits = labels[::count], first[::count]
        scaled = {name: each[fits] for name, each in means.items()}
        rarity = Rarity.fit(scaled, averaged(others, count), kinds[::count])
        probabilities = softmax(logits.reshape(-1, count, len(Shape)).mean(axis=1) / temperature, axis=1)
        levels = nonconformity(probabilities, rarity.rarity(rarity.score(means)))
        levels = levels[np.arange(len(truth)), truth][~fits].astype(np.float32)
        groups = int((~fits).sum() * count // series)
        calibrations[count] = Calibration(rarity, levels, truth[~fits].astype(np.uint8), groups)
    return Trust(temperature, novelty, calibrations)


def trust_file(weights: Path) -> Path:
    """Where the calibration of a weights file lies."""
    return weights.with_suffix(".trust.safetensors")


def save_trust(trust: Trust, weights: Path) -> Path:
    """Write a calibration beside its weights, whose SHA-256 it holds."""
    novelty = trust.novelty
    tensors = {
        f"{check}.{name}": value.contiguous()
        for check in CHECKS
        for name, value in getattr(novelty, check).state_dict().items()
    }
    arrays = {"axes": novelty.axes, "neighbours": novelty.neighbourhood.features}
    for name in ("shapes", "background", "texture"):
        gaussian = getattr(novelty, name)
        arrays |= {f"{name}.means": gaussian.means, f"{name}.precision": gaussian.precision}
    for count, calibration in trust.calibrations.items():
        rarity = calibration.rarity
        arrays |= {f"{count}.tail.{name}": tail.known for name, tail in rarity.tails.items()}
        arrays |= {f"{count}.weights": rarity.weights, f"{count}.scores": rarity.scores.known}
        arrays |= {f"{count}.levels": calibration.levels, f"{count}.labels": calibration.labels}
    tensors |= {name: torch.as_tensor(np.ascontiguousarray(value)) for name, value in arrays.items()}
    about = {
        "weights_sha256": file_sha256(weights),
        "temperature": trust.temperature,
        "groups": {count: calibration.groups for count, calibration in trust.calibrations.items()},
    }
    path = trust_file(weights)
    with replacing(path) as partial:
        save_file(tensors, partial, {"about": json.dumps(about)})
    return path


def load_trust(weights: Path) -> Trust:
    """The calibration beside a weights file.

    Raises
    ------
    NanoshapeError
        If there is none, it cannot be read, or it is of other weights.
    """
    path = trust_file(weights)
    if not path.is_file():
        raise NanoshapeError(f"weights are {weights}, but their calibration {path.name} must lie beside them")
    try:
        with safe_open(path, "pt") as file:
            about = json.loads(file.metadata()["about"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
        shape_check, matter_check = (OddsCheck(len(arrays[f"{name}.centre"])).eval() for name in CHECKS[:2])
        checks = shape_check, matter_check, SpectralCheck().eval()
        for name, check in zip(CHECKS, checks, strict=True):
            parts = {key.partition(".")[2]: value for key, value in tensors.items() if key.startswith(f"{name}.")}
            check.load_state_dict(parts)
        shapes, background, texture = (
            Gaussian(arrays[f"{name}.means"], arrays[f"{name}.precision"])
            for name in ("shapes", "background", "texture")
        )
        near = Neighbourhood(arrays["neighbours"])
        novelty = Novelty(arrays["axes"], shapes, background, near, texture, *checks)
        calibrations = {}
        for count, groups in about["groups"].items():
            tails = {name: Tail(arrays[f"{count}.tail.{name}"]) for name in COMPONENTS}
            rarity = Rarity(tails, arrays[f"{count}.weights"], Tail(arrays[f"{count}.scores"]))
            levels, labels = arrays[f"{count}.levels"], arrays[f"{count}.labels"]
            calibrations[int(count)] = Calibration(rarity, levels, labels, groups)
    except (SafetensorError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise NanoshapeError(f"{path} does not hold a calibration: {' '.join(str(error).split())}") from None
    if about["weights_sha256"] != file_sha256(weights):
        raise NanoshapeError(f"{path} is the calibration of other weights than {weights.name}; make it again")
    return Trust(float(about["temperature"]), novelty, calibrations)
