"""How the shape check learns: images of the five shapes and of others, and a likelihood."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from nanoshape_lib.cores import on_all_cores
from nanoshape_lib.design import DatasetDesign
from nanoshape_lib.exposures import Draw, expose
from nanoshape_lib.other_particles import Builder, irregular, known
from nanoshape_lib.shape_check import ShapeCheck, values_of
from nanoshape_lib.strangers import turned_wave
from nanoshape_lib.views import Views

EPOCHS, STEP_IMAGES, RATE = 40, 256, 1e-3


class ExposedWaves(NamedTuple):
    """Exit waves (N, 2, m, m), float16, and whether each is of none of the five shapes (N,)."""

    waves: np.ndarray
    other: np.ndarray


def exposed_waves(design: DatasetDesign, numbers: range, other: Builder = irregular, seed: int = 0) -> ExposedWaves:
    """Exit waves of new particles on the films of the training: the five shapes, and every other one another."""

    def make(number: int) -> np.ndarray:
        rng = np.random.default_rng((seed, number, 2))
        build = other if number % 2 else known
        return turned_wave(build(design.sizes_A[number // 2 % len(design.sizes_A)], rng), design, rng)

    waves = on_all_cores(make, numbers, "exposed particles")
    return ExposedWaves(np.stack(waves), np.array([number % 2 == 1 for number in numbers]))


def exposed_images(exposed: ExposedWaves, design: DatasetDesign, draw: Draw, series: int, seed: int) -> Tensor:
    """Focal series (N * series, n, n) of each wave at drawn settings, float16."""

    def make(number: int) -> Tensor:
        rng, (real, imaginary) = np.random.default_rng((seed, number, 3)), exposed.waves[number].astype(np.float32)
        return expose(real + 1j * imaginary, draw(series, rng), design, rng, design.detector.pixels)

    return torch.cat(on_all_cores(make, range(len(exposed.waves)), "their images"))


def fit_shape_check(views: Views, other: np.ndarray, epochs: int = EPOCHS, seed: int = 0) -> ShapeCheck:
    """Learn from what a network makes of images (N), and whether each shows none of the five shapes (N,)."""
    values, truth = values_of(views), torch.as_tensor(other, dtype=torch.float32)
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = ShapeCheck(values.shape[1])
        model.centre, model.spread = values.mean(dim=0), values.std(dim=0) + 1e-3
        optimizer = torch.optim.AdamW(model.parameters(), RATE, weight_decay=0.05)
        for _ in range(epochs):
            for rows in torch.randperm(len(values), generator=generator).split(STEP_IMAGES):
                loss = nn.functional.binary_cross_entropy_with_logits(model(values[rows]), truth[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
    return model.eval()
