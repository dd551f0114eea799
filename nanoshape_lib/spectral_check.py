"""Pixel size, lattice constant and atomic number as an image itself shows them: a regression on power spectra.

The texture of carbon and the shape of the transfer function move with the pixel, the peaks of the lattice with
both, and the particle's contrast with its element. A network for shapes is nearly blind to them; this check, which
knows no shapes, is made for them. It learns from gold whose lattice is stretched or compressed, and from atoms of a
few other elements put in its places; platinum, palladium, copper and silver are not among them.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

RINGS, OUTER_RINGS = 64, 83
HIDDEN = (256, 64)
FURTHEST, LOG_DEVIATIONS = 1.5, (-6.0, 1.0)
"""Limits of what is said of images unlike any that were learned from: noise, or nothing."""

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
        return means, log_deviations

    def estimate(self, images: Tensor) -> SpectralEstimate:
        """What standardised images (N, n, n) show."""
        with torch.inference_mode():
            means, log_deviations = self(torch.as_tensor(spectra(images)))
        means, log_deviations = means.clamp(-FURTHEST, FURTHEST), log_deviations.clamp(*LOG_DEVIATIONS)
        return SpectralEstimate(means.numpy(), log_deviations.exp().numpy())
