"""How the checks of shape and matter learn: images of known particles and of others, and a likelihood."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from nanoshape_lib.datasets.design import DatasetDesign
from nanoshape_lib.datasets.exposures import Draw, expose
from nanoshape_lib.particles.decoys import OTHERS, known
from nanoshape_lib.simulation.devices import on_all_cores
from nanoshape_lib.trust.ood_kinds import turned_wave
from nanoshape_lib.trust.outlier_exposure import OddsCheck

# Version of the exposed waves and their images, raised when they change; see `paths.cache_key`.
RECIPE = 1
EPOCHS, STEP_IMAGES, RATE = 25, 256, 1e-3
EXPOSED = ("known", *OTHERS)


class ExposedWaves(NamedTuple):
    """Exit waves (N, 2, m, m), float16, and what each is of (N,): a place in :data:`EXPOSED`."""

    waves: np.ndarray
    kinds: np.ndarray


def exposed_waves(design: DatasetDesign, numbers: range, seed: int = 0) -> ExposedWaves:
    """Exit waves of new particles on the films of the training: the five shapes, and every other one another."""
    builders = (known, *OTHERS.values())
    kinds = [(1 + number // 2 % len(OTHERS)) if number % 2 else 0 for number in numbers]

    def make(place: int) -> np.ndarray:
        number = numbers[place]
        rng = np.random.default_rng((seed, number, 2))
        size_A = design.sizes_A[number // 2 % len(design.sizes_A)]
        return turned_wave(builders[kinds[place]](size_A, rng), design, rng)

    waves = on_all_cores(make, range(len(numbers)), "exposed particles")
    return ExposedWaves(np.stack(waves), np.array(kinds))


def exposed_images(
    waves: np.ndarray, design: DatasetDesign, draw: Draw, series: int, seed: int, stream: int = 3
) -> Tensor:
    """Focal series (N * series, n, n) of each wave (N, 2, m, m) at drawn settings, float16."""

    def make(number: int) -> Tensor:
        rng, (real, imaginary) = np.random.default_rng((seed, number, stream)), waves[number].astype(np.float32)
        return expose(real + 1j * imaginary, draw(series, rng), design, rng, design.camera.pixels)

    return torch.cat(on_all_cores(make, range(len(waves)), "their images"))


def fit_odds(values: Tensor, other: np.ndarray, epochs: int = EPOCHS, seed: int = 0) -> OddsCheck:
    """Learn from what is known of images (N, inputs), and whether each is of another particle than the known (N,)."""
    truth = torch.as_tensor(other, dtype=torch.float32)
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = OddsCheck(values.shape[1])
        model.centre, model.spread = values.mean(dim=0), values.std(dim=0) + 1e-3
        optimizer = torch.optim.AdamW(model.parameters(), RATE, weight_decay=0.05)
        for _ in range(epochs):
            for rows in torch.randperm(len(values), generator=generator).split(STEP_IMAGES):
                loss = nn.functional.binary_cross_entropy_with_logits(model(values[rows]), truth[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
    return model.eval()
