"""Whether a particle is like the five shapes at all, and whether it is of gold: regressions on what its image shows.

Each learns from known particles and from others (outlier exposure, Hendrycks, Mazeika & Dietterich 2019): that of the
shape from :data:`nanoshape_lib.particles.decoys.OTHERS`, that of the matter from :mod:`nanoshape_lib.trust.strained`
ones. None of the strangers that they are tested on is among these.
"""

import numpy as np
import torch
from torch import Tensor, nn

from nanoshape_lib.networks.features import Views
from nanoshape_lib.trust.spectral_check import SpectralEstimate

HIDDEN = (128, 64)


class OddsCheck(nn.Module):
    """Logarithm of the odds that a particle is other than the known ones.

    Parameters
    ----------
    inputs
        How many numbers are known of each image.
    """

    centre: Tensor
    spread: Tensor

    def __init__(self, inputs: int):
        super().__init__()
        first, second = HIDDEN
        self.register_buffer("centre", torch.zeros(inputs))
        self.register_buffer("spread", torch.ones(inputs))
        self.layers = nn.Sequential(
            nn.Linear(inputs, first),
            nn.ReLU(),
            nn.Dropout(0.3),
            nn.Linear(first, second),
            nn.ReLU(),
            nn.Dropout(0.3),
            nn.Linear(second, 1),
        )

    def forward(self, values: Tensor) -> Tensor:
        """Logarithms of the odds (N,) from values (N, inputs)."""
        return self.layers((values - self.centre) / self.spread)[:, 0]

    def log_odds(self, values: Tensor) -> np.ndarray:
        """Logarithms of the odds (N,) of N images, of each of which so many numbers are known (N, inputs)."""
        with torch.inference_mode():
            return self(values).numpy()


def shape_values(views: Views) -> Tensor:
    """What the check of the shape is given (N, inputs): features, channels and maps of :class:`Views`."""
    return torch.as_tensor(np.concatenate([views.features, views.channels, views.maps], axis=1), dtype=torch.float32)


def matter_values(views: Views, shown: SpectralEstimate) -> Tensor:
    """What that of the matter is given (N, inputs): the same, and all that the spectral check makes of the images.

    These are the estimates, the same in deviations, the logarithms of the deviations, and what its branches give.
    """
    logarithms, deviations, branches = shown
    spectral = np.concatenate([logarithms, logarithms / deviations, np.log(deviations), branches], axis=1)
    return torch.cat([shape_values(views), torch.as_tensor(spectral, dtype=torch.float32)], dim=1)
