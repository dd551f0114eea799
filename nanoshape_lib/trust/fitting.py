"""What a study of trust learns first: its checks, and what their weights come from; what is slow is kept in files."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from nanoshape_lib.datasets.design import DatasetDesign
from nanoshape_lib.datasets.exposures import Draw
from nanoshape_lib.networks.features import Views, look
from nanoshape_lib.paths import replacing
from nanoshape_lib.simulation.devices import hardware
from nanoshape_lib.studies.ood_tables import Seen
from nanoshape_lib.trust.outlier_exposure import OddsCheck, matter_values
from nanoshape_lib.trust.outlier_training import ExposedWaves, exposed_images, exposed_waves, fit_odds
from nanoshape_lib.trust.spectral_check import SpectralCheck, SpectralEstimate
from nanoshape_lib.trust.spectral_training import StrainedImages, fit_check, strained_images
from nanoshape_lib.trust.strained import StrainedWaves, strained_waves
from nanoshape_lib.trust.weighing import weighed_images

CHUNK, STRAINED_CHUNK = 250, 200


class Sizes(NamedTuple):
    """Exit waves of training, calibration, test, each kind of stranger and the checks; images of a series.

    The check of the shape learns from ``exposed`` waves, every other one of a known particle; the spectral check from
    ``check`` strained ones, going through its images ``epochs`` times. The weights are learned from the next
    ``weighed`` of the former, and from two fifths as many strained ones; the check of the matter from the known ones
    that are exposed, and from the next ``matter`` strained ones.
    """

    known: int = 1200
    held: int = 6000
    test: int = 3200
    strangers: int = 100
    exposed: int = 7000
    series: int = 4
    check: int = 10_500
    epochs: int = 38
    weighed: int = 1500
    matter: int = 7200

    @property
    def strained_apart(self) -> tuple[range, range]:
        """Numbers of the strained waves that the weights are learned from, and the check of the matter."""
        first, second = self.check, self.check + 2 * self.weighed // 5
        return range(first, second), range(second, second + self.matter)


def kept(path: Path, make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Arrays from a file, made and written at the first call."""
    if not path.exists():
        with replacing(path) as partial:
            np.savez(partial, **make())  # type: ignore[arg-type]
    with np.load(path) as file:
        return dict(file)


def _strained(design: DatasetDesign, numbers: range, folder: Path) -> StrainedWaves:
    path = folder / f"strained-{numbers.start}-{numbers.stop}.npz"
    return StrainedWaves(**kept(path, lambda: strained_waves(design, numbers)._asdict()))


def _exposed(design: DatasetDesign, numbers: range, folder: Path) -> ExposedWaves:
    path = folder / f"exposed-{numbers.start}-{numbers.stop}.npz"
    return ExposedWaves(**kept(path, lambda: exposed_waves(design, numbers)._asdict()))


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


class ExposedViews(NamedTuple):
    """What a network makes of N exposed images, their kinds (N,), and what the spectral check makes of the known."""

    views: Views
    kinds: np.ndarray
    shown: SpectralEstimate


def exposed_views(
    network: nn.Module,
    check: SpectralCheck,
    design: DatasetDesign,
    draw: Draw,
    sizes: Sizes,
    shared: Path,
    folder: Path,
) -> ExposedViews:
    """Exposed particles at drawn settings as both see them, the waves kept in the folder that networks share."""

    def looked(first: int) -> dict[str, np.ndarray]:
        waves = _exposed(design, range(first, min(first + CHUNK, sizes.exposed)), shared)
        images = exposed_images(waves.waves, design, draw, sizes.series, first)
        kinds = np.repeat(waves.kinds, sizes.series)
        shown = check.estimate(images[kinds == 0])
        return vars(look(network, images, progress="exposed particles")) | {"kinds": kinds} | shown._asdict()

    joined = _joined(folder / "exposed", range(0, sizes.exposed, CHUNK), looked)
    kinds, shown = joined.pop("kinds"), _estimate_in(joined)
    return ExposedViews(Views(**joined), kinds, shown)


def learned_matter_check(
    network: nn.Module,
    check: SpectralCheck,
    exposed: ExposedViews,
    design: DatasetDesign,
    draw: Draw,
    sizes: Sizes,
    shared: Path,
    folder: Path,
) -> OddsCheck:
    """The check of the matter, from exposed known particles and from strained ones, for images at drawn settings."""
    _, numbers = sizes.strained_apart

    def looked(first: int) -> dict[str, np.ndarray]:
        waves = _strained(design, range(first, min(first + STRAINED_CHUNK, numbers.stop)), shared)
        images = exposed_images(waves.waves, design, draw, sizes.series, first, stream=4)
        other = np.repeat((waves.logarithms != 0).any(axis=1), sizes.series)
        views = look(network, images, progress="strained particles")
        return vars(views) | {"other": other} | check.estimate(images)._asdict()

    joined = _joined(folder / "matter", range(numbers.start, numbers.stop, STRAINED_CHUNK), looked)
    other, shown = joined.pop("other"), _estimate_in(joined)
    known = exposed.kinds == 0
    views = Views(**{name: each[known] for name, each in vars(exposed.views).items()})
    values = torch.cat([matter_values(views, exposed.shown), matter_values(Views(**joined), shown)])
    return fit_odds(values, np.append(np.zeros(known.sum(), bool), other))


def _estimate_in(arrays: dict[str, np.ndarray]) -> SpectralEstimate:
    """An estimate that is taken out of arrays."""
    return SpectralEstimate(*(arrays.pop(name) for name in SpectralEstimate._fields))


def _joined(stem: Path, firsts: range, make: Callable[[int], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Arrays of all chunks, each kept in a file."""
    parts = [kept(stem.with_name(f"{stem.name}-{first}.npz"), partial(make, first)) for first in firsts]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def weighed(network: nn.Module, design: DatasetDesign, draw: Draw, sizes: Sizes, shared: Path, folder: Path) -> Seen:
    """What the weights are learned from, as a network sees it, from waves that the checks leave aside."""
    strained = _strained(design, sizes.strained_apart[0], shared)
    exposed = _exposed(design, range(sizes.exposed, sizes.exposed + sizes.weighed), shared)
    images = weighed_images(exposed, strained, design, draw, sizes.series)
    views = kept(folder / "weighed.npz", lambda: vars(look(network, images.images, progress="weighed")))
    return Seen(images, Views(**views))
