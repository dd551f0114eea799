"""What a network makes of images: its answers to turned and mirrored copies, and what three of its layers hold."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.networks.models import PlainCNN, forward

# Version of what is taken of a network, raised when that changes; see `paths.cache_key`.
RECIPE = 1
BATCH = 4


def symmetries(images: Tensor) -> Tensor:
    """The eight images (8, N, h, w) that turns by 90 degrees and mirrors make of each one (N, h, w)."""
    turned = [torch.rot90(images, k, dims=(-2, -1)) for k in range(4)]
    return torch.stack([*turned, *(each.flip(-2) for each in turned)])


def last_layer(network: nn.Module) -> nn.Linear:
    """The layer that makes the logits; what it is given are the penultimate features."""
    layers = [module for module in network.modules() if isinstance(module, nn.Linear)]
    if not layers:
        raise NanoshapeError("network has no linear layer, but its last one must be linear")
    return layers[-1]


def stages(network: nn.Module) -> tuple[nn.Module, nn.Module]:
    """Where a plain network's third block, or a residual one's first stage, ends; and what makes the last maps.

    The first have 64 channels, the last, of a network of six blocks, 256 channels of 2 x 2 places.
    """
    names = ("features.11", "features") if isinstance(network, PlainCNN) else ("layer1", "layer4")
    early, last = map(network.get_submodule, names)
    return early, last


@dataclass(frozen=True)
class Views:
    """What a network makes of N images under the symmetries of the square.

    There are the ``logits`` (N, symmetries, 5); the penultimate ``features`` (N, d), averaged over the symmetries; of
    each of the 64 ``channels`` of an early stage the mean and the standard deviation over its map (N, 128), averaged
    too; and of the C channels of the last ``maps`` of the convolutions, one after another (N, 3 C), the mean over all,
    the standard deviation over the symmetries, and that over the places, averaged over the symmetries.
    """

    logits: np.ndarray
    features: np.ndarray
    channels: np.ndarray
    maps: np.ndarray


def _over_places(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of maps (symmetries, N, channels, h, w) over their places."""
    return maps.mean(dim=(3, 4)), maps.std(dim=(3, 4), correction=0)


def look(network: nn.Module, images: Tensor, progress: str | None = None) -> Views:
    """Ask a network about standardised images (N, 128, 128) under all eight symmetries.

    Its weights are laid out channels last from then on, and the batches are small: both keep a processor's caches warm.
    """
    device = next(network.to(memory_format=torch.channels_last).parameters()).device
    caught: dict[str, Tensor] = {}

    def catch(name: str, given: bool = False) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], made: Tensor) -> None:
            caught[name] = (inputs[0] if given else made).float()

        return hook

    early_stage, last_stage = stages(network)
    hooks = [
        early_stage.register_forward_hook(catch("early")),
        last_stage.register_forward_hook(catch("last")),
        last_layer(network).register_forward_hook(catch("features", given=True)),
    ]
    parts = []
    try:
        with torch.inference_mode():
            for batch in tqdm(images.split(BATCH), desc=progress, unit="batch", disable=progress is None):
                views = symmetries(batch.float())
                logits = forward(network, views.flatten(0, 1), device).float()
                of_each = logits, caught["features"], caught["early"], caught["last"]
                logits, features, early, last = (each.unflatten(0, views.shape[:2]) for each in of_each)
                mean, spread = _over_places(last)
                made = (
                    logits.movedim(0, 1),
                    features.mean(dim=0),
                    torch.cat(_over_places(early), dim=2).mean(dim=0),
                    torch.cat([mean.mean(dim=0), mean.std(dim=0, correction=0), spread.mean(dim=0)], dim=1),
                )
                parts.append([each.cpu() for each in made])
    finally:
        for hook in hooks:
            hook.remove()
    return Views(*(torch.cat(each).numpy() for each in zip(*parts, strict=True)))
