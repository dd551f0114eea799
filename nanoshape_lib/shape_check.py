"""Whether a particle is like the five shapes at all: a regression on what a network makes of its image.

It learns from the five shapes and from others (outlier exposure, Hendrycks, Mazeika & Dietterich 2019): irregular ones
and those with their edges or corners cut off, see :func:`nanoshape_lib.other_particles.irregular` and
:func:`nanoshape_lib.other_particles.cut`. None of the strangers that it is tested on is among these.
"""

import numpy as np
import torch
from torch import Tensor, nn

from nanoshape_lib.views import Views

HIDDEN = (128, 64)


class ShapeCheck(nn.Module):
    """Logarithm of the odds that a particle is none of the five, from features, channels and maps of :class:`Views`.

    Parameters
    ----------
    inputs
        Features, channels and maps together.
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

    def log_odds(self, views: Views) -> np.ndarray:
        """Logarithms of the odds (N,) of N images."""
        with torch.inference_mode():
            return self(values_of(views)).numpy()


def values_of(views: Views) -> Tensor:
    """What the check is given (N, inputs)."""
    return torch.as_tensor(np.concatenate([views.features, views.channels, views.maps], axis=1), dtype=torch.float32)
