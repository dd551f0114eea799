"""How the spectral check learns: images of strained particles at drawn settings, and a likelihood."""

import math
from typing import NamedTuple

import numpy as np
import torch
from tqdm import trange

from nanoshape_lib.datasets.design import DatasetDesign
from nanoshape_lib.datasets.exposures import Draw, expose
from nanoshape_lib.networks.models import low_precision
from nanoshape_lib.networks.training import symmetry_augment
from nanoshape_lib.simulation.devices import on_all_cores
from nanoshape_lib.trust.spectral_check import SpectralCheck, spectra
from nanoshape_lib.trust.strained import StrainedWaves

# Version of the spectral check, raised when its images or its training change; see `paths.cache_key`.
RECIPE = 1
CAMERAS = (100, 168)
SHARE_USUAL_PIXEL = 0.4
IMAGES_PER_WAVE = 6
STEP_IMAGES, RATE = 256, 3e-3


class StrainedImages(NamedTuple):
    """Images (N, n, n), float16, their spectra (N, 498) and the logarithms (N, 3) of :data:`QUANTITIES`."""

    images: np.ndarray
    logs: np.ndarray
    truth: np.ndarray


def strained_images(
    strained: StrainedWaves, design: DatasetDesign, draw: Draw, seed: int = 0, device: str = "cpu"
) -> StrainedImages:
    """Images of each wave at drawn settings, with pixels of 0.76 to 1.28 Å, many of 1 Å."""
    n = design.camera.pixels

    def make(number: int) -> tuple[np.ndarray, ...]:
        rng, (real, imaginary) = np.random.default_rng((seed, number, 1)), strained.waves[number].astype(np.float32)
        lattice, element = strained.logarithms[number]
        images, truth = [], []
        for _ in range(IMAGES_PER_WAVE):
            usual = rng.random() < SHARE_USUAL_PIXEL
            pixels = n if usual else 2 * int(rng.integers(CAMERAS[0] // 2, CAMERAS[1] // 2 + 1))
            images.append(expose(real + 1j * imaginary, draw(1, rng), design, rng, pixels, device))
            truth.append((math.log(n / pixels), lattice + math.log(pixels / n), element))
        formed = torch.cat(images)
        return formed.numpy(), spectra(formed), np.array(truth, np.float32)

    made = on_all_cores(make, range(len(strained.waves)), "their images")
    return StrainedImages(*(np.concatenate(each) for each in zip(*made, strict=True)))


def fit_check(strained: StrainedImages, epochs: int, seed: int = 0, device: str = "cpu") -> SpectralCheck:
    """Learn the quantities by the likelihood of Gaussians whose deviations are learned too."""
    images, logs, truth = (torch.as_tensor(each).to(device) for each in strained)
    generator, steps = torch.Generator().manual_seed(seed), max(1, len(images) // STEP_IMAGES)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = SpectralCheck()
        model.centre, model.spread = logs.mean(dim=0).cpu(), logs.std(dim=0).cpu() + 1e-3
        model = model.to(device).to(memory_format=torch.channels_last)
        optimizer = torch.optim.AdamW(model.parameters(), RATE, weight_decay=0.05)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=epochs * steps)
        for _ in trange(epochs, desc="spectral check", unit="epoch"):
            order = torch.randperm(len(images), generator=generator)[: steps * STEP_IMAGES].to(device)
            for rows in order.chunk(steps):
                given = symmetry_augment(images[rows].float(), generator)
                noise = 0.1 * model.spread * torch.randn(len(rows), logs.shape[1], device=device)
                with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=low_precision(device)):
                    means, log_deviations = model(given, logs[rows] + noise)
                errors = truth[rows] - means
                loss = (log_deviations + errors**2 * torch.exp(-2 * log_deviations) / 2).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
    return model.cpu().eval()
