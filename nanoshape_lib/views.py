"""What a network makes of images: its answers to turned and mirrored copies, and what two of its layers hold."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.models import PlainCNN, low_precision

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


def early_stage(network: nn.Module) -> nn.Module:
    """Where a plain network's third block, or the first stage of a residual one, ends: both have 64 channels."""
    return network.features[11] if isinstance(network, PlainCNN) else network.layer1  # type: ignore[return-value]


@dataclass(frozen=True)
class Views:
    """What a network makes of N images under some symmetries of the square.

    Attributes
    ----------
    logits
        (N, symmetries, 5).
    features
        Penultimate features (N, d), averaged over the symmetries.
    channels
        Mean and standard deviation over the map of each of the 64 channels of an early stage (N, 128), averaged too.
    """

    logits: np.ndarray
    features: np.ndarray
    channels: np.ndarray


def look(network: nn.Module, images: Tensor, symmetric: bool = True, progress: str | None = None) -> Views:
    """Ask a network about standardised images (N, 128, 128), under all eight symmetries or only as they are.

    Its weights are laid out channels last from then on, and the batches are small: both keep a processor's caches warm.
    """
    device = next(network.to(memory_format=torch.channels_last).parameters()).device
    caught: list[Tensor] = []

    def catch_maps(module: nn.Module, given: tuple[Tensor, ...], made: Tensor) -> None:
        maps = made.float()
        caught.append(torch.cat([maps.mean(dim=(2, 3)), maps.std(dim=(2, 3), correction=0)], dim=1))

    def catch_features(module: nn.Module, given: tuple[Tensor, ...]) -> None:
        caught.append(given[0].float())

    hooks = [
        early_stage(network).register_forward_hook(catch_maps),
        last_layer(network).register_forward_pre_hook(catch_features),
    ]
    parts = []
    try:
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=low_precision(device.type)):
            for batch in tqdm(images.split(BATCH), desc=progress, unit="batch", disable=progress is None):
                views = symmetries(batch.float()) if symmetric else batch[None].float()
                caught.clear()
                given = views.flatten(0, 1)[:, None].to(device)
                logits = network(given.contiguous(memory_format=torch.channels_last)).float()
                channels, features = (each.unflatten(0, views.shape[:2]).mean(dim=0).cpu() for each in caught)
                parts.append((logits.unflatten(0, views.shape[:2]).movedim(0, 1).cpu(), features, channels))
    finally:
        for hook in hooks:
            hook.remove()
    return Views(*(torch.cat(each).numpy() for each in zip(*parts, strict=True)))
