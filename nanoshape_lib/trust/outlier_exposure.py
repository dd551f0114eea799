"""Outlier exposure: heads that tell the five shapes, and gold, from others, and the particles that are none of these.

The heads are regressions on what a network makes of an image (Hendrycks, Mazeika & Dietterich 2019). That of the shape
learns from :data:`nanoshape_lib.particles.decoys.OTHERS`, that of the matter from other lattice constants and elements.
None of :data:`KINDS`, which they are asked about, is among these.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from ase import Atoms
from ase.data import atomic_numbers
from torch import Tensor, nn

from nanoshape_lib.datasets.design import DatasetDesign, Split
from nanoshape_lib.datasets.images import ImageSet, Series, image_set
from nanoshape_lib.networks.features import Views
from nanoshape_lib.particles import decoys, orientation
from nanoshape_lib.simulation.devices import on_all_cores
from nanoshape_lib.simulation.exit_waves import exit_wave
from nanoshape_lib.simulation.film import Scene
from nanoshape_lib.simulation.optics import Setting
from nanoshape_lib.trust.spectral_check import SpectralEstimate

HIDDEN = (128, 64)
EPOCHS, STEP_IMAGES, RATE = 25, 256, 1e-3
RATIOS, SHARE_USUAL_LATTICE, SHARE_GOLD = (0.84, 1.09), 0.25, 0.5
ELEMENTS = ("Ti", "Fe", "Se", "Zr", "Sn", "Ba", "Gd", "Hf", "Pb")


class OutlierHead(nn.Module):
    """Logarithm of the odds that a particle is other than the known ones, from so many numbers (``inputs``)."""

    centre: Tensor
    spread: Tensor

    def __init__(self, inputs: int):
        super().__init__()
        first, second = HIDDEN
        self.register_buffer("centre", torch.zeros(inputs))
        self.register_buffer("spread", torch.ones(inputs))
        hidden = nn.Linear(inputs, first), nn.ReLU(), nn.Dropout(0.3), nn.Linear(first, second), nn.ReLU()
        self.layers = nn.Sequential(*hidden, nn.Dropout(0.3), nn.Linear(second, 1))

    def forward(self, values: Tensor) -> Tensor:
        """Logarithms of the odds (N,) from values (N, inputs)."""
        return self.layers((values - self.centre) / self.spread)[:, 0]

    def log_odds(self, values: Tensor) -> np.ndarray:
        """The same as an array, without gradients."""
        with torch.inference_mode():
            return self(values).numpy()


def shape_inputs(views: Views) -> Tensor:
    """What the head of the shape is given (N, inputs): features, channels and maps of :class:`Views`."""
    return torch.as_tensor(np.concatenate([views.features, views.channels, views.maps], axis=1), dtype=torch.float32)


def matter_inputs(views: Views, shown: SpectralEstimate) -> Tensor:
    """What that of the matter is given (N, inputs): the same, and all that the spectral check makes of the images."""
    logarithms, deviations, branches = shown
    spectral = np.concatenate([logarithms, logarithms / deviations, np.log(deviations), branches], axis=1)
    return torch.cat([shape_inputs(views), torch.as_tensor(spectral, dtype=torch.float32)], dim=1)


def fit_head(values: Tensor, other: np.ndarray, seed: int = 0) -> OutlierHead:
    """Logistic regression on values (N, inputs) of whether each image shows an outlier (N,)."""
    truth = torch.as_tensor(other, dtype=torch.float32)
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = OutlierHead(values.shape[1])
        model.centre, model.spread = values.mean(dim=0), values.std(dim=0) + 1e-3
        optimizer = torch.optim.AdamW(model.parameters(), RATE, weight_decay=0.05)
        for _ in range(EPOCHS):
            for rows in torch.randperm(len(values), generator=generator).split(STEP_IMAGES):
                loss = nn.functional.binary_cross_entropy_with_logits(model(values[rows]), truth[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
    return model.eval()


class Kind(NamedTuple):
    """Particles, or ways of imaging the five shapes, that no network and no head learned from.

    ``stream`` is that of the particles' random numbers; ``build`` makes a particle of a size, ``turned`` at random or
    not; ``settings`` are the values that the images of a series take in turn. Of a field of so many ``camera_pixels``
    the middle 128 are taken as if each were 1 Å; it is continued periodically where they are fewer.
    """

    stream: int = 2059804162
    build: decoys.Builder = decoys.known
    turned: bool = True
    settings: Mapping[str, tuple[float, ...]] = {}
    camera_pixels: int | None = None

    def change(self, drawn: list[Setting]) -> list[Setting]:
        """The settings of a series with what makes the kind."""
        return [
            setting.model_copy(update={name: values[place % len(values)] for name, values in self.settings.items()})
            for place, setting in enumerate(drawn)
        ]


KNOWN = "known"
KINDS: dict[str, Kind] = {
    KNOWN: Kind(),
    "bare carbon": Kind(1019339308, decoys.carbon),
    "overlapping pair": Kind(4287362234, decoys.pair, turned=False),
    "Marks decahedron": Kind(2756689284, decoys.decahedron),
    "single twin": Kind(285350883, decoys.twin),
    "sphere": Kind(1442408071, decoys.sphere),
    "truncated cube": Kind(2245598684, decoys.truncated_cube),
    "rod": Kind(9352965, decoys.rod),
    "platinum": Kind(800210029, decoys.metal("Pt")),
    "palladium": Kind(261144766, decoys.metal("Pd")),
    "copper": Kind(3180297205, decoys.metal("Cu")),
    "silver": Kind(794499163, decoys.metal("Ag")),
    "pixel 0.80 Å": Kind(camera_pixels=160),
    "pixel 0.90 Å": Kind(camera_pixels=142),
    "pixel 1.10 Å": Kind(camera_pixels=116),
    "pixel 1.21 Å": Kind(camera_pixels=106),
    "defocus ±500 Å": Kind(settings={"defocus_A": (-525, -475, 475, 525)}),
    "defocus ±1000 Å": Kind(settings={"defocus_A": (-1025, -975, 975, 1025)}),
    "dose 50 e/Å²": Kind(settings={"dose_e_A2": (50,)}),
    "dose 20 e/Å²": Kind(settings={"dose_e_A2": (20,)}),
    "astigmatism 100 Å": Kind(settings={"astigmatism_A": (100,)}),
    "astigmatism 200 Å": Kind(settings={"astigmatism_A": (200,)}),
}


def lay(particle: Atoms, design: DatasetDesign, split: Split, rng: np.random.Generator, turned: bool = True) -> Scene:
    """A particle, turned at random and shaken, somewhere on a film that is cut from one of a split's blocks."""
    if turned:
        particle.positions = particle.positions @ orientation.random_rotations(1, rng)[0].T
    return design.scene(particle, split, rng)


def kind_scene(kind: Kind, design: DatasetDesign, index: int) -> tuple[Scene, tuple[float, float]]:
    """Scene ``index`` of a kind on the films of the test set; its label (-1: none of the five) and size [Å].

    It depends on the design's seed, the kind's stream and the index alone.
    """
    rng = np.random.default_rng(np.random.SeedSequence(design.seed, spawn_key=(kind.stream, index)))
    particle = kind.build(design.sizes_A[index % len(design.sizes_A)], rng)
    about = particle.info.get("shape", -1), particle.info["size_A"]
    return lay(particle, design, "test", rng, kind.turned), about


def decoy_scene(design: DatasetDesign, number: int) -> tuple[Scene, tuple[float]]:
    """What the head of the shape learns from, and 0 for one of the five shapes or 1 for a decoy, by turns."""
    rng, builders = np.random.default_rng((0, number, 2)), list(decoys.OTHERS.values())
    build = builders[number // 2 % len(builders)] if number % 2 else decoys.known
    return lay(build(design.sizes_A[number // 2 % len(design.sizes_A)], rng), design, "train", rng), (number % 2,)


def strained_scene(design: DatasetDesign, number: int) -> tuple[Scene, tuple[float, float]]:
    """What the spectral check learns from, and the logarithms of its lattice constant and atomic number over gold's.

    The lattice constants are 0.84 to 1.09 times gold's; a quarter is as usual, and half of the particles are of gold.
    """
    rng = np.random.default_rng((0, number))
    ratio = 1.0 if rng.random() < SHARE_USUAL_LATTICE else math.exp(rng.uniform(*np.log(RATIOS)))
    symbol = "Au" if rng.random() < SHARE_GOLD else str(rng.choice(ELEMENTS))
    particle = decoys.stretched(design.sizes_A[number % len(design.sizes_A)], ratio, symbol, rng)
    about = math.log(ratio), math.log(atomic_numbers[symbol] / atomic_numbers["Au"])
    return lay(particle, design, "train", rng), about


def make_waves(
    make_scene: Callable[[int], tuple[Scene, tuple[float, ...]]], design: DatasetDesign, numbers: Sequence[int]
) -> dict[str, np.ndarray]:
    """Exit ``waves`` (N, 2, m, m), float16, of scenes by their numbers, and what is known ``about`` each (N, k)."""

    def make(number: int) -> tuple[np.ndarray, tuple[float, ...]]:
        scene, about = make_scene(number)
        wave = exit_wave(scene, design.microscope, design.fidelity)
        return np.stack([wave.real, wave.imag]).astype(np.float16), about

    waves, about = zip(*on_all_cores(make, numbers, "exit waves"), strict=True)
    return {"waves": np.stack(waves), "about": np.array(about, np.float32)}


def make_series(
    waves: Sequence[np.ndarray] | np.ndarray,
    design: DatasetDesign,
    settings: Callable[[np.random.Generator], list[Setting]],
    seed: tuple[int, ...],
    pixels: Sequence[int] | int | None = None,
    device: str = "cpu",
) -> ImageSet:
    """Standardised images (N * series, n, n) of exit waves (2, m, m) at drawn settings, and the settings of each.

    ``pixels`` is into how many pixels the field is truly divided: for all, or for each wave; by default the design's.
    """

    def wave(place: int) -> np.ndarray:
        real, imaginary = waves[place].astype(np.float32)
        return real + 1j * imaginary

    def series(place: int) -> Series:
        rng = np.random.default_rng((*seed, place))
        drawn, noise = settings(rng), torch.Generator(device).manual_seed(int(rng.integers(2**62)))
        return Series(drawn, noise, pixels=pixels[place] if isinstance(pixels, Sequence) else pixels)

    return image_set(wave, series, pd.DataFrame(index=range(len(waves))), design, "images", device)
