"""The networks: plain CNNs of 4, 5 and 6 blocks, and ResNet34."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.particles.shapes import Shape
from nanoshape_lib.paths import replacing

IMAGE_PIXELS = 128
FILTERS = (16, 32, 64, 128, 256, 256)
HIDDEN = 128
Architecture = Literal["cnn4", "cnn5", "cnn6", "resnet34"]
ARCHITECTURES: dict[Architecture, str] = {
    "cnn4": "plain CNN, 4 blocks",
    "cnn5": "plain CNN, 5 blocks",
    "cnn6": "plain CNN, 6 blocks",
    "resnet34": "ResNet34",
}


def convolution_blocks(*filters: int) -> list[nn.Module]:
    """The layers of blocks that lead from each number of maps to the next.

    A block is a 3 x 3 convolution, 2 x 2 max pooling, batch normalisation (Ioffe & Szegedy 2015) and ReLU. Pooling
    comes first because the largest maps cost the most: it leaves a quarter of them to normalise.
    """
    layers: list[nn.Module] = []
    for before, after in pairwise(filters):
        layers += [
            nn.Conv2d(before, after, 3, padding=1, bias=False),
            nn.MaxPool2d(2),
            nn.BatchNorm2d(after),
            nn.ReLU(inplace=True),
        ]
    return layers


class PlainCNN(nn.Module):
    """4, 5 or 6 blocks of convolution, pooling, batch normalisation and ReLU, then a small dense head.

    The blocks are those of :func:`convolution_blocks`; the number of filters doubles from 16 to 256. An image of
    128 x 128 pixels is left with maps of 8 x 8, 4 x 4 and 2 x 2 pixels after 4, 5 and 6 blocks: the supplement's
    "2 x 2 just before flattening".
    """

    def __init__(self, blocks: int):
        super().__init__()
        if blocks not in (4, 5, 6):
            raise NanoshapeError(f"blocks is {blocks}, but must be 4, 5 or 6")
        self.blocks = blocks
        self.features = nn.Sequential(*convolution_blocks(1, *FILTERS[:blocks]))
        maps = FILTERS[blocks - 1] * (IMAGE_PIXELS // 2**blocks) ** 2
        self.head = nn.Sequential(
            nn.Flatten(), nn.Linear(maps, HIDDEN), nn.ReLU(inplace=True), nn.Linear(HIDDEN, len(Shape))
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                # Variance 1/fan-in: max pooling makes up for what ReLU takes, and the first loss is close to log 5.
                nn.init.kaiming_normal_(module.weight, nonlinearity="linear")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, 5) of images (N, 1, 128, 128)."""
        return self.head(self.features(images))


def resnet34() -> nn.Module:
    """torchvision's ResNet34 with one input channel and five outputs, from random weights."""
    from torchvision.models import resnet34  # two seconds that the plain networks do not need

    model = resnet34(num_classes=len(Shape))
    model.conv1 = nn.Conv2d(1, 64, kernel_size=7, stride=2, padding=3, bias=False)
    nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
    return model


def build_model(name: str) -> nn.Module:
    """The network called ``cnn4``, ``cnn5``, ``cnn6`` or ``resnet34``."""
    if name not in ARCHITECTURES:
        raise NanoshapeError(f"architecture is {name!r}, but must be one of {', '.join(ARCHITECTURES)}")
    return resnet34() if name == "resnet34" else PlainCNN(int(name.removeprefix("cnn")))


def low_precision(device: str) -> bool:
    """Whether bfloat16 is faster than float32 here: on CUDA, and on CPUs with bfloat16 instructions."""
    return device.startswith("cuda") or torch.cpu._is_avx512_bf16_supported()


def forward(model: nn.Module, images: Tensor, device: str | torch.device) -> Tensor:
    """Logits (N, 5) of standardised images (N, 128, 128) on a model's device, in bfloat16 where that is faster."""
    batch = images[:, None].to(device, torch.float32).contiguous(memory_format=torch.channels_last)
    kind = torch.device(device).type
    with torch.autocast(kind, torch.bfloat16, enabled=low_precision(kind)):
        return model(batch)


def count_parameters(model: nn.Module) -> int:
    """Number of trained parameters."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def receptive_field(model: nn.Module) -> int:
    """Side in pixels of the patch of the image that one unit of the last feature map sees.

    Every convolution and pooling of kernel k adds (k - 1) times the product of the strides before it
    (Dumoulin & Visin 2016). Layers are met in the order of the forward pass; the 1 x 1 shortcuts of
    ResNet34 run beside the main path and add nothing.
    """
    field, jump = 1, 1
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d | nn.MaxPool2d) and "downsample" not in name:
            kernel, stride = (int(np.ravel(size)[0]) for size in (module.kernel_size, module.stride))
            field += (kernel - 1) * jump
            jump *= stride
    return field


def save_weights(model: nn.Module, card: dict[str, Any], path: str | Path) -> None:
    """Write weights as safetensors and, beside them, a card as JSON: ``architecture`` and all a user must know."""
    path = Path(path)
    state = {name: tensor.contiguous().clone() for name, tensor in model.state_dict().items()}
    card = card | {"input": f"(N, 1, {IMAGE_PIXELS}, {IMAGE_PIXELS}) float, standardised per image, 1.0 Å a pixel"}
    with replacing(path.with_suffix(".json")) as partial:
        partial.write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
    with replacing(path) as partial:
        save_file(state, partial)


def load_weights(path: str | Path) -> tuple[nn.Module, dict[str, Any]]:
    """The network and the card written by :func:`save_weights`.

    Raises
    ------
    NanoshapeError
        If a file is missing or the weights do not fit the card's architecture.
    """
    path = Path(path)
    if not path.exists() or not path.with_suffix(".json").exists():
        raise NanoshapeError(f"weights are {path}, but that file and a card {path.stem}.json beside it must exist")
    card = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    model = build_model(card["architecture"])
    try:
        model.load_state_dict(load_file(path))
    except RuntimeError as error:
        raise NanoshapeError(f"{path} does not hold weights of {card['architecture']}: {error}") from None
    return model.eval(), card
