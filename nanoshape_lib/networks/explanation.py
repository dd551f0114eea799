"""Why a network gives its answer: saliency maps (Grad-CAM), and the simulated images with the nearest features."""

import numpy as np
import pandas as pd
import torch
from captum.attr import LayerAttribution, LayerGradCam
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from nanoshape_lib.datasets.images import ImageSet
from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.networks.features import look
from nanoshape_lib.networks.models import IMAGE_PIXELS

CELLS = 16


def last_convolution(network: nn.Module, cells: int = CELLS) -> nn.Conv2d:
    """The last convolution on the main path whose map of a 128-pixel image has at least so many cells a side.

    The very last one of six blocks has 4 x 4 cells; for 45 % of the shipped examples nothing in its map is positive.
    """
    fine: list[nn.Conv2d] = []

    def note(module: nn.Module, given: tuple[Tensor, ...], made: Tensor) -> None:
        if isinstance(module, nn.Conv2d) and made.shape[-1] >= cells:
            fine.append(module)

    layers = [module for name, module in network.named_modules() if "downsample" not in name]
    hooks = [layer.register_forward_hook(note) for layer in layers if isinstance(layer, nn.Conv2d)]
    if hooks:
        with torch.inference_mode():
            network(torch.zeros(1, 1, IMAGE_PIXELS, IMAGE_PIXELS, device=next(network.parameters()).device))
    for hook in hooks:
        hook.remove()
    if not fine:
        raise NanoshapeError(f"network has no convolution with a map of {cells} cells, but Grad-CAM needs one")
    return fine[-1]


def grad_cam(
    network: nn.Module, images: Tensor, labels: np.ndarray | None = None, layer: nn.Module | None = None
) -> np.ndarray:
    """Saliency maps (N, h, w) of images (N, h, w) for a shape (Grad-CAM: Selvaraju et al. 2017), by Captum.

    The network is in evaluation mode; the labels (N,) are by default those it predicts, and the layer is
    :func:`last_convolution`, 16 x 16 cells in the plain networks, bilinear in between. No map is negative; the greatest
    value of each is one, or zero where nothing speaks for the shape.
    """
    device = next(network.parameters()).device
    given = images[:, None].to(device, torch.float32)
    with torch.no_grad():
        target = network(given).argmax(dim=1) if labels is None else torch.tensor(labels, device=device)
    cam = LayerGradCam(network, layer or last_convolution(network))
    maps = cam.attribute(given, target=target.long(), relu_attributions=True).detach()
    maps = LayerAttribution.interpolate(maps, tuple(images.shape[-2:]), "bilinear")[:, 0]
    return (maps / maps.amax(dim=(1, 2), keepdim=True).clamp(min=1e-12)).cpu().numpy()


class Neighbours:
    """Simulated images, of a reference set, whose features in a network are nearest to those of a given one."""

    def __init__(self, network: nn.Module, reference: ImageSet):
        self._network, self.reference = network, reference
        self._features = torch.as_tensor(look(network, reference.images, progress="reference images").features)

    def find(self, images: Tensor, labels: np.ndarray, count: int = 3) -> pd.DataFrame:
        """The nearest images of a shape, by the cosine between penultimate features averaged over eight symmetries.

        For each standardised image (N, 128, 128) there are so many of its shape in ``labels`` (N,): ``image`` (0 to
        N - 1), ``rank`` (from 1), ``similarity`` (1: the same direction), ``row`` in the reference, and the columns of
        its table. Raises NanoshapeError if the reference has fewer images of a shape.
        """
        labels = np.asarray(labels)
        features = torch.as_tensor(look(self._network, images).features)
        known = self.reference.table["label"].to_numpy()
        found = []
        for label in np.unique(labels):
            rows, asked = np.flatnonzero(known == label), np.flatnonzero(labels == label)
            if not 1 <= count <= len(rows):
                raise NanoshapeError(
                    f"count is {count}, but must be between 1 and {len(rows)}, the reference images of shape {label}"
                )
            similarity, place = cosine_similarity(features[asked][:, None], self._features[rows], dim=2).topk(count)
            image, rank = np.repeat(asked, count), np.tile(np.arange(1, count + 1), len(asked))
            columns = {"image": image, "rank": rank, "similarity": similarity.flatten().numpy()}
            found.append(pd.DataFrame(columns | {"row": rows[place.flatten().numpy()]}))
        table = pd.concat(found).sort_values(["image", "rank"]).reset_index(drop=True)
        known_of = self.reference.table.drop(columns=table.columns, errors="ignore")
        return table.join(known_of, on="row")
