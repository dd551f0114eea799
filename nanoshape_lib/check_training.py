"""How the spectral check learns: images of strained particles at drawn settings, and a likelihood."""

import math
from typing import NamedTuple

import numpy as np
import torch
from tqdm import trange

from nanoshape_lib.design import DatasetDesign
from nanoshape_lib.exposures import Draw, expose
from nanoshape_lib.spectral_check import SpectralCheck, spectra
from nanoshape_lib.strained import StrainedWaves, on_all_cores

CAMERAS = (100, 168)
SHARE_USUAL_PIXEL = 0.4
IMAGES_PER_WAVE = 4
EPOCHS, STEP_IMAGES, RATE = 40, 128, 3e-3


class StrainedSpectra(NamedTuple):
    """Spectra (N, 498) and the logarithms (N, 3) of :data:`nanoshape_lib.spectral_check.QUANTITIES`."""

    logs: np.ndarray
    truth: np.ndarray


def strained_spectra(strained: StrainedWaves, design: DatasetDesign, draw: Draw, seed: int = 0) -> StrainedSpectra:
    """Four images of each wave at drawn settings, with pixels of 0.76 to 1.28 Å, many of 1 Å."""
    n = design.detector.pixels

    def make(number: int) -> tuple[np.ndarray, np.ndarray]:
        rng, (real, imaginary) = np.random.default_rng((seed, number, 1)), strained.waves[number].astype(np.float32)
        lattice, element = strained.logarithms[number]
        logs, truth = [], []
        for _ in range(IMAGES_PER_WAVE):
            usual = rng.random() < SHARE_USUAL_PIXEL
            pixels = n if usual else 2 * int(rng.integers(CAMERAS[0] // 2, CAMERAS[1] // 2 + 1))
            logs.append(spectra(expose(real + 1j * imaginary, draw(1, rng), design, rng, pixels)))
            truth.append((math.log(n / pixels), lattice + math.log(pixels / n), element))
        return np.concatenate(logs), np.array(truth, np.float32)

    logs, truth = on_all_cores(make, range(len(strained.waves)), "their images")
    return StrainedSpectra(logs.reshape(-1, logs.shape[-1]), truth.reshape(-1, truth.shape[-1]))


def fit_check(logs: np.ndarray, truth: np.ndarray, seed: int = 0) -> SpectralCheck:
    """Learn the quantities (N, 3) from spectra by the likelihood of Gaussians whose deviations are learned too."""
    given, asked = torch.as_tensor(logs), torch.as_tensor(truth)
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = SpectralCheck(given.shape[1])
        model.centre, model.spread = given.mean(dim=0), given.std(dim=0) + 1e-3
        steps = max(1, len(given) // STEP_IMAGES)
        optimizer = torch.optim.AdamW(model.parameters(), RATE, weight_decay=0.05)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=EPOCHS * steps)
        for _ in trange(EPOCHS, desc="spectral check", unit="epoch"):
            for rows in torch.randperm(len(given), generator=generator).chunk(steps):
                noise = torch.randn(len(rows), given.shape[1], generator=generator)
                means, log_deviations = model(given[rows] + 0.1 * model.spread * noise)
                errors = asked[rows] - means
                loss = (log_deviations + errors**2 * torch.exp(-2 * log_deviations) / 2).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
    return model.eval()
