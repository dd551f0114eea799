"""Pixel size, lattice constant and atomic number as an image and its power spectra show them: a regression.

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
from tqdm import trange

from nanoshape_lib.networks.models import IMAGE_PIXELS, convolution_blocks, low_precision
from nanoshape_lib.networks.training import symmetry_augment

RINGS, OUTER_RINGS = 64, 83
HIDDEN = (256, 64)
IMAGE_FILTERS, PLANE_FILTERS = (16, 32, 64, 128, 256), (16, 32, 64, 128)
PLANE_CENTRE, PLANE_SPREAD = 4.0, 3.0
BATCH = 16
STEP_IMAGES, RATE = 256, 3e-3
FURTHEST, LOG_DEVIATIONS = 1.5, (-6.0, 1.0)
"""Limits of what is said of images unlike any that were learned from: noise, or nothing."""

QUANTITIES = ("pixel size", "lattice", "element")
"""What is estimated: the size of a pixel over 1 Å, seen in the carbon; the lattice constant over gold's if the pixel
were 1 Å, in the fringes; the atomic number over gold's, in the contrast of the particle with the film."""


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
    """Logarithms (N, 3) of :data:`QUANTITIES`, their standard deviations (N, 3), and what both are read from (N, 384).

    The last are the outputs of the three branches of :class:`SpectralCheck`.
    """

    logarithms: np.ndarray
    deviations: np.ndarray
    branches: np.ndarray


class SpectralCheck(nn.Module):
    """Means and deviations of the logarithms of :data:`QUANTITIES`, from power spectra and the image itself.

    Three branches: dense layers on :func:`spectra`, convolutions on the image, and convolutions on the plane of
    logarithms of power under the same three windows.
    """

    centre: Tensor
    spread: Tensor
    windows: Tensor

    def __init__(self) -> None:
        super().__init__()
        windows, _, _ = _plan(IMAGE_PIXELS)
        inputs, (first, second) = 2 * len(windows) * OUTER_RINGS, HIDDEN
        self.register_buffer("centre", torch.zeros(inputs))
        self.register_buffer("spread", torch.ones(inputs))
        self.register_buffer("windows", windows, persistent=False)
        self.rings = nn.Sequential(
            nn.Linear(inputs, first), nn.ReLU(), nn.Dropout(0.2), nn.Linear(first, second), nn.ReLU()
        )
        self.image = nn.Sequential(
            *convolution_blocks(1, *IMAGE_FILTERS), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2)
        )
        places = (IMAGE_PIXELS // 2 ** len(PLANE_FILTERS)) ** 2 // 2
        self.plane = nn.Sequential(
            *convolution_blocks(len(windows), *PLANE_FILTERS),
            nn.Flatten(),
            nn.Dropout(0.3),
            nn.Linear(PLANE_FILTERS[-1] * places, second),
            nn.ReLU(),
        )
        self.head = nn.Linear(IMAGE_FILTERS[-1] + 2 * second, 2 * len(QUANTITIES))

    def branches(self, images: Tensor, logs: Tensor) -> Tensor:
        """What the three branches give (N, 384), from images (N, n, n) and their spectra."""
        with torch.autocast(images.device.type, enabled=False):
            spectrum = torch.fft.rfft2(images[:, None].float() * self.windows)[..., : IMAGE_PIXELS // 2]
            power = torch.fft.fftshift(spectrum.abs().square(), dim=-2)
            plane = (power.clamp(min=1e-3).log() - PLANE_CENTRE) / PLANE_SPREAD
        rings = self.rings((logs - self.centre) / self.spread)
        image = self.image(images[:, None].contiguous(memory_format=torch.channels_last))
        return torch.cat([rings, image, self.plane(plane.contiguous(memory_format=torch.channels_last))], dim=1)

    def forward(self, images: Tensor, logs: Tensor) -> tuple[Tensor, Tensor]:
        """Means and logarithms of the deviations, both (N, 3), from images (N, n, n) and their spectra."""
        means, log_deviations = self.head(self.branches(images, logs)).float().chunk(2, dim=1)
        return means, log_deviations

    def estimate(self, images: Tensor) -> SpectralEstimate:
        """What standardised images (N, n, n) show; the weights are laid out channels last from then on."""
        self.to(memory_format=torch.channels_last)
        with torch.inference_mode():
            batches = images.split(BATCH)
            branches = torch.cat([self.branches(each.float(), torch.as_tensor(spectra(each))) for each in batches])
            means, log_deviations = self.head(branches).chunk(2, dim=1)
        means, log_deviations = means.clamp(-FURTHEST, FURTHEST), log_deviations.clamp(*LOG_DEVIATIONS)
        return SpectralEstimate(means.numpy(), log_deviations.exp().numpy(), branches.numpy())


def fit_check(images: Tensor, truth: np.ndarray, epochs: int, seed: int = 0, device: str = "cpu") -> SpectralCheck:
    """Learn from images (N, n, n) and the logarithms (N, 3) of :data:`QUANTITIES` by the likelihood of Gaussians."""
    logs, targets = torch.as_tensor(spectra(images)).to(device), torch.as_tensor(truth).to(device)
    generator, steps = torch.Generator().manual_seed(seed), max(1, len(images) // STEP_IMAGES)
    images = images.to(device)
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
                errors = targets[rows] - means
                loss = (log_deviations + errors**2 * torch.exp(-2 * log_deviations) / 2).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
    return model.cpu().eval()
