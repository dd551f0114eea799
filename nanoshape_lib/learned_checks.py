"""What a study of trust learns first: both checks, and what their weights come from; what is slow is kept in files."""

import hashlib
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from nanoshape_lib.check_training import StrainedImages, fit_check, strained_images
from nanoshape_lib.design import DatasetDesign
from nanoshape_lib.exposures import Draw
from nanoshape_lib.other_particles import Builder, cut, irregular
from nanoshape_lib.results import hardware
from nanoshape_lib.shape_check import ShapeCheck
from nanoshape_lib.shape_training import ExposedWaves, exposed_images, exposed_waves, fit_shape_check
from nanoshape_lib.spectral_check import SpectralCheck
from nanoshape_lib.strained import StrainedWaves, strained_waves
from nanoshape_lib.trust_tables import Seen
from nanoshape_lib.views import Views, look
from nanoshape_lib.weighing import weighed_images

CHUNK = 250


class Sizes(NamedTuple):
    """Exit waves of training, calibration, test, each kind of stranger and the checks; images of a series.

    The shape check learns from ``exposed`` waves, every other one of an irregular particle, and as many of cut ones as
    ``cut`` says; the spectral check from ``check``, going through its images ``epochs`` times. The weights are learned
    from ``weighed`` irregular and known ones, and from one and two thirds as many that are cut and strained.
    """

    known: int = 1200
    held: int = 6000
    test: int = 3200
    strangers: int = 100
    exposed: int = 3200
    cut: int = 2000
    series: int = 4
    check: int = 10_500
    epochs: int = 38
    weighed: int = 1200

    @property
    def cut_waves(self) -> range:
        """Numbers of the waves of known and cut particles: those before are of known and irregular ones."""
        first = self.exposed + self.weighed
        return range(first, first + self.cut)


def short_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def kept(path: Path, make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Arrays from a file, made and written at the first call."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial.npz")
        np.savez(partial, **make())  # type: ignore[arg-type]
        partial.replace(path)
    with np.load(path) as file:
        return dict(file)


def _strained(design: DatasetDesign, numbers: range, folder: Path) -> StrainedWaves:
    path = folder / f"strained-{numbers.start}-{numbers.stop}.npz"
    return StrainedWaves(**kept(path, lambda: strained_waves(design, numbers)._asdict()))


def _exposed(design: DatasetDesign, numbers: range, other: Builder, folder: Path) -> ExposedWaves:
    path = folder / f"exposed-{numbers.start}-{numbers.stop}.npz"
    return ExposedWaves(**kept(path, lambda: exposed_waves(design, numbers, other)._asdict()))


def learned_spectral_check(
    design: DatasetDesign, draw: Draw, sizes: Sizes, shared: Path, folder: Path, device: str
) -> tuple[SpectralCheck, dict]:
    """The spectral check for images at drawn settings, and the hardware on which it learned.

    Its waves are kept in the folder that networks share, its images and weights in the other.
    """

    def images(first: int) -> StrainedImages:
        numbers = range(first, min(first + CHUNK, sizes.check))
        waves = _strained(design, numbers, shared)
        path = folder / f"strained-{numbers.start}-{numbers.stop}.npz"
        return StrainedImages(**kept(path, lambda: strained_images(waves, design, draw, first, device)._asdict()))

    def learn() -> dict[str, np.ndarray]:
        parts = [images(first) for first in range(0, sizes.check, CHUNK)]
        joined = StrainedImages(*(np.concatenate(each) for each in zip(*parts, strict=True)))
        weights = fit_check(joined, sizes.epochs, device=device).state_dict()
        about = {"hardware": np.array(json.dumps(hardware(device)))}
        return {name: each.numpy() for name, each in weights.items()} | about

    found, check = kept(folder / "check.npz", learn), SpectralCheck().eval()
    about = json.loads(str(found.pop("hardware")))
    check.load_state_dict({name: torch.as_tensor(each) for name, each in found.items()})
    return check, about


def learned_shape_check(
    network: nn.Module, design: DatasetDesign, draw: Draw, sizes: Sizes, shared: Path, folder: Path
) -> ShapeCheck:
    """The shape check for images at drawn settings, with its waves kept in the folder that networks share."""

    def looked(numbers: range, other: Builder) -> dict[str, np.ndarray]:
        waves = _exposed(design, numbers, other, shared)
        images = exposed_images(waves, design, draw, sizes.series, numbers.start)
        views = look(network, images, progress="exposed particles")
        return vars(views) | {"other": np.repeat(waves.other, sizes.series)}

    blocks = (irregular, range(sizes.exposed)), (cut, sizes.cut_waves)
    parts = [
        kept(folder / f"exposed-{numbers[first]}.npz", partial(looked, numbers[first : first + CHUNK], other))
        for other, numbers in blocks
        for first in range(0, len(numbers), CHUNK)
    ]
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    truth = joined.pop("other")
    return fit_shape_check(Views(**joined), truth)


def weighed(network: nn.Module, design: DatasetDesign, draw: Draw, sizes: Sizes, shared: Path, folder: Path) -> Seen:
    """What the weights are learned from, as a network sees it, from waves that the checks leave aside."""
    strained = _strained(design, range(sizes.check, sizes.check + 2 * sizes.weighed // 3), shared)
    irregulars = _exposed(design, range(sizes.exposed, sizes.exposed + sizes.weighed), irregular, shared)
    last = sizes.cut_waves.stop
    cuts = _exposed(design, range(last, last + sizes.weighed // 3), cut, shared)
    images = weighed_images(irregulars, strained, cuts, design, draw, sizes.series)
    views = kept(folder / "weighed.npz", lambda: vars(look(network, images.images, progress="weighed")))
    return Seen(images, Views(**views))
