"""Pixel size, lattice constant and atomic number as an image itself shows them: a regression on power spectra.

The texture of carbon and the shape of the transfer function move with the pixel, the peaks of the lattice with
both, and the particle's contrast with its element. A network for shapes is nearly blind to them; this check, which
knows no shapes, is made for them. It learns from gold whose lattice is stretched or compressed, and from atoms of a
few other elements put in its places; platinum, palladium, copper and silver are not among them.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import trange

from nanoshape_lib.design import DatasetDesign
from nanoshape_lib.exposures import Draw, expose
from nanoshape_lib.strained import StrainedWaves, on_all_cores

RINGS, OUTER_RINGS = 64, 83
CAMERAS = (100, 168)
SHARE_USUAL_PIXEL = 0.4
IMAGES_PER_WAVE = 4
HIDDEN = (256, 64)
FURTHEST, LOG_DEVIATIONS = 1.5, (-6.0, 1.0)
"""Limits of what is said of images unlike any that were learned from: noise, or nothing."""
EPOCHS, STEP_IMAGES, RATE = 40, 128, 3e-3

QUANTITIES = ("pixel size", "lattice", "element")
"""What is estimated: the size of a pixel over 1 Å, the lattice constant over gold's if the pixel were 1 Å, and the
atomic number over gold's.

The first is seen in the carbon, the second in the fringes, the third in the contrast of the particle with the film.
"""


@lru_cache(maxsize=2)
def _plan(pixels: int) -> tuple[Tensor, np.ndarray, np.ndarray]:
    """Windows (3, n, n), frequencies sorted by ring, and where each ring begins."""
    axis = torch.arange(pixels) - (pixels - 1) / 2
    r2 = axis[:, None] ** 2 + axis**2
    fade = torch.cos(torch.pi * axis / pixels).clamp(min=0)
    edge = fade[:, None] * fade
    middle, around = torch.exp(-r2 / (2 * (pixels / 6) ** 2)), 1 - torch.exp(-((r2 / (0.375 * pixels) ** 2) ** 4))
    q = torch.hypot(torch.fft.fftfreq(pixels)[:, None], torch.fft.rfftfreq(pixels))
    ring = (q * 2 * RINGS).long().flatten().numpy()
    order = np.argsort(ring, kind="stable")
    order = order[ring[order] < OUTER_RINGS]
    windows = torch.stack([middle, edge**2, edge.sqrt() * around])
    return windows, order, np.searchsorted(ring[order], np.arange(OUTER_RINGS))


def spectra(images: Tensor) -> np.ndarray:
    """Logarithms (N, 498) of the power of standardised images (N, n, n) in rings up to 0.65 per pixel.

    There are three windows: the middle, the whole, and what surrounds the particle. Of every ring there is
    the mean power, and the greatest over the mean, which is where a lattice shows.
    """
    windows, order, starts = _plan(images.shape[-1])
    found = []
    for batch in images.split(128):
        power = torch.fft.rfft2(batch[:, None].float() * windows).abs().square().flatten(2).numpy()[..., order]
        mean = np.add.reduceat(power, starts, axis=-1) / np.diff(starts, append=len(order))
        greatest = np.maximum.reduceat(power, starts, axis=-1) / np.maximum(mean, 1e-6)
        found.append(np.log(np.maximum(np.stack([mean, greatest], axis=2), 1e-6)).reshape(len(batch), -1))
    return np.concatenate(found).astype(np.float32)


class SpectralEstimate(NamedTuple):
    """Logarithms (N, 3) of :data:`QUANTITIES`, and their standard deviations (N, 3)."""

    logarithms: np.ndarray
    deviations: np.ndarray


class SpectralCheck(nn.Module):
    """Means and deviations of the logarithms of :data:`QUANTITIES`, from :func:`spectra`."""

    centre: Tensor
    spread: Tensor

    def __init__(self, inputs: int):
        super().__init__()
        self.register_buffer("centre", torch.zeros(inputs))
        self.register_buffer("spread", torch.ones(inputs))
        first, second = HIDDEN
        self.layers = nn.Sequential(
            nn.Linear(inputs, first),
            nn.ReLU(),
            nn.Dropout(0.2),
            nn.Linear(first, second),
            nn.ReLU(),
            nn.Linear(second, 2 * len(QUANTITIES)),
        )

    def forward(self, logs: Tensor) -> tuple[Tensor, Tensor]:
        """Means and logarithms of the deviations, both (N, 3)."""
        means, log_deviations = self.layers((logs - self.centre) / self.spread).chunk(2, dim=1)
        return means.clamp(-FURTHEST, FURTHEST), log_deviations.clamp(*LOG_DEVIATIONS)

    def estimate(self, images: Tensor) -> SpectralEstimate:
        """What standardised images (N, n, n) show."""
        with torch.inference_mode():
            means, log_deviations = self(torch.as_tensor(spectra(images)))
        return SpectralEstimate(means.numpy(), log_deviations.exp().numpy())


class StrainedSpectra(NamedTuple):
    """Spectra (N, 498) and the logarithms (N, 3) of :data:`QUANTITIES`."""

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
