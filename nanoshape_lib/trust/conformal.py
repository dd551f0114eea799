"""Conformal prediction sets: how often a set of shapes holds the true one, and the file that says so beside weights."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from scipy.special import softmax
from torch import Tensor, nn

from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.networks.evaluation import fit_temperature, particle_means
from nanoshape_lib.particles.shapes import Shape
from nanoshape_lib.paths import file_sha256, replacing
from nanoshape_lib.trust.ood import SCORES, Combination, Heads, Tail
from nanoshape_lib.trust.outlier_exposure import OutlierHead
from nanoshape_lib.trust.spectral_check import SpectralCheck

SERIES = (1, 2, 4)
SCALING_SHARE = 8
EIGHT_BITS = 100_000
"""Matrices of so many numbers are kept as bytes, with a scale for each row: errors of 1 % of a score's deviation."""


def mass_above(probabilities: np.ndarray) -> np.ndarray:
    """Sum of the probabilities that are greater than each (N, 5): zero for the first choice."""
    greater = probabilities[:, None, :] > probabilities[:, :, None]
    return (greater * probabilities[:, None, :]).sum(axis=2)


def nonconformity(probabilities: np.ndarray, p_value: np.ndarray) -> np.ndarray:
    """How badly each shape fits (N, 5): the mass of the shapes before it, or one less the p-value (N,) if greater.

    The labels with values up to a level q are those that gather the probability q (the adaptive sets of Romano,
    Sesia & Candès 2020, not randomised), and none if the p-value of the OOD score is below 1 - q.
    """
    return np.maximum(mass_above(probabilities), 1 - p_value[:, None])


@dataclass(frozen=True)
class Calibration:
    """What decisions from so many images of one particle are measured against.

    ``ood`` has the OOD scores of known particles, averaged over their images; ``levels`` and ``labels`` are the
    nonconformity of the true shape of other known particles, ``groups`` in number, and that shape.
    """

    ood: Combination
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
    """Of one weights file: temperature, heads of the OOD scores, and a calibration for each number of images."""

    temperature: float
    heads: Heads
    calibrations: dict[int, Calibration]


def calibrate(
    heads: Heads,
    logits: np.ndarray,
    measured: dict[str, np.ndarray],
    labels: np.ndarray,
    series: int,
    temperature: float | None = None,
) -> Trust:
    """Calibrate from what a network makes of particles that were held back from its training and from the heads.

    An eighth of them gives the temperature, unless it is known, and the distributions of the scores; the others give
    the levels, so that these are of particles to which nothing was fitted. Logits (N, symmetries, 5), what the heads
    measure and labels (N,) are those of focal series of equal length, one after another; decisions from 1, 2 and 4
    images are calibrated where that divides it.
    """
    first = np.arange(len(labels)) // series % SCALING_SHARE == 0
    if temperature is None:
        temperature = fit_temperature(logits[first].reshape(-1, len(Shape)), np.repeat(labels[first], logits.shape[1]))
    calibrations = {}
    for count in [count for count in SERIES if series % count == 0]:
        place, truth, fits = np.arange(len(labels)) // count, labels[::count], first[::count]
        means = {name: particle_means(each, place) for name, each in measured.items()}
        ood = Combination.fit({name: each[fits] for name, each in means.items()})
        probabilities = softmax(particle_means(logits.mean(axis=1), place) / temperature, axis=1)
        levels = nonconformity(probabilities, ood.p_value(ood.score(means)))[np.arange(len(truth)), truth]
        groups = int((~fits).sum() * count // series)
        calibrations[count] = Calibration(ood, levels[~fits].astype(np.float32), truth[~fits].astype(np.uint8), groups)
    return Trust(temperature, heads, calibrations)


def trust_file(weights: Path) -> Path:
    """Where the calibration of a weights file lies."""
    return weights.with_suffix(".trust.safetensors")


def save_trust(trust: Trust, weights: Path) -> Path:
    """Write a calibration beside its weights, whose SHA-256 it holds."""
    tensors: dict[str, Tensor] = {}
    for head, network in vars(trust.heads).items():
        tensors |= {f"{head}.{name}": each for name, each in _packed(network.state_dict()).items()}
    for count, each in trust.calibrations.items():
        arrays = {name: tail.known for name, tail in each.ood.scores.items()}
        arrays |= {"combined": each.ood.combined.known, "levels": each.levels, "labels": each.labels}
        tensors |= {f"{count}.{name}": torch.as_tensor(values) for name, values in arrays.items()}
    groups = {count: calibration.groups for count, calibration in trust.calibrations.items()}
    about = {"weights_sha256": file_sha256(weights), "temperature": trust.temperature, "groups": groups}
    path = trust_file(weights)
    with replacing(path) as partial:
        save_file(tensors, partial, {"about": json.dumps(about)})
    return path


def load_trust(weights: Path) -> Trust:
    """The calibration beside a weights file.

    Raises NanoshapeError if there is none, it cannot be read, or it is of other weights.
    """
    path = trust_file(weights)
    if not path.is_file():
        raise NanoshapeError(f"weights are {weights}, but their calibration {path.name} must lie beside them")
    try:
        with safe_open(path, "pt") as file:
            about = json.loads(file.metadata()["about"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        shape, matter = (OutlierHead(len(tensors[f"{head}.centre"])) for head in ("shape", "matter"))
        heads = Heads(shape, matter, SpectralCheck())
        for head, network in vars(heads).items():
            own = {name.partition(".")[2]: each for name, each in tensors.items() if name.startswith(f"{head}.")}
            _unpack(network.eval(), own)
        calibrations = {}
        for count, groups in about["groups"].items():
            tails = {name: Tail(tensors[f"{count}.{name}"].numpy()) for name in (*SCORES, "combined")}
            ood = Combination(tails, tails.pop("combined"))
            levels, labels = (tensors[f"{count}.{name}"].numpy() for name in ("levels", "labels"))
            calibrations[int(count)] = Calibration(ood, levels, labels, groups)
    except (SafetensorError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise NanoshapeError(f"{path} does not hold a calibration: {' '.join(str(error).split())}") from None
    if about["weights_sha256"] != file_sha256(weights):
        raise NanoshapeError(f"{path} is the calibration of other weights than {weights.name}; make it again")
    return Trust(float(about["temperature"]), heads, calibrations)


def _packed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Matrices in float16, and large ones as bytes with the ``step`` of each row."""
    packed: dict[str, Tensor] = {}
    for name, each in state.items():
        if each.numel() >= EIGHT_BITS:
            step = each.flatten(1).abs().amax(dim=1).reshape(-1, *[1] * (each.ndim - 1)) / 127
            packed |= {name: (each / step).round().to(torch.int8), f"{name}.step": step}
        else:
            packed[name] = each.half() if each.ndim > 1 else each
    return {name: each.contiguous() for name, each in packed.items()}


def _unpack(network: nn.Module, packed: dict[str, Tensor]) -> None:
    """Load what :func:`_packed` made into a network."""
    state = {name: each * packed.get(f"{name}.step", 1) for name, each in packed.items() if not name.endswith(".step")}
    network.load_state_dict(state)
