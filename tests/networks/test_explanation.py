"""Grad-CAM against its definition and against networks that look where they are told; neighbours against truth."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.nn import functional

from nanoshape_lib.datasets.images import ImageSet, load_examples
from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.networks.explanation import Neighbours, grad_cam, last_convolution
from nanoshape_lib.networks.features import symmetries
from nanoshape_lib.networks.models import PlainCNN, load_weights, resnet34
from nanoshape_lib.paths import DATA
from nanoshape_lib.simulation.imaging import standardise


@pytest.fixture(scope="module")
def network():
    return load_weights(DATA / "weights/cnn6.safetensors")[0]


@pytest.fixture(scope="module")
def examples():
    examples = load_examples("best_cnn6_examples")
    return examples.take(np.flatnonzero(examples.table["kind"] == "drawn"))


def test_the_map_is_the_definition_worked_out_by_hand(network, examples):
    image = examples.images[:1, None].float()
    features, head, layer = network.features, network.head, last_convolution(network)
    place = list(features).index(layer)
    maps = features[: place + 1](image).detach().requires_grad_()
    logits = head(features[place + 1 :](maps))
    logits[0, logits.argmax()].backward()
    cells = functional.relu((maps.grad.mean(dim=(2, 3), keepdim=True) * maps).sum(dim=1, keepdim=True)).detach()
    by_hand = functional.interpolate(cells, (128, 128), mode="bilinear")[0, 0]
    assert grad_cam(network, image[:, 0])[0] == pytest.approx((by_hand / by_hand.max()).numpy(), abs=1e-4)


class Quarter(nn.Module):
    """Two channels: the image's brightness, from which class 1 is told, and its darkness, from which class 0 is."""

    def __init__(self):
        super().__init__()
        self.map = nn.Conv2d(1, 2, 1, bias=False)
        with torch.no_grad():
            self.map.weight[:, 0, 0, 0] = torch.tensor([-1.0, 1.0])

    def forward(self, images):
        return functional.relu(self.map(images)).mean(dim=(2, 3))


def test_evidence_lies_where_it_was_put():
    image = torch.zeros(1, 128, 128)
    image[0, :40, 80:] = 2.0
    image[0, 90:, 10:50] = -1.0
    bright, dark = (grad_cam(Quarter(), image, [label])[0] for label in (1, 0))
    assert (bright > 0).nonzero()[0].max() < 40 and (bright > 0).nonzero()[1].min() >= 80
    assert (dark > 0).nonzero()[0].min() >= 90 and bright.max() == dark.max() == 1
    assert grad_cam(Quarter(), torch.zeros(1, 128, 128), [1]).max() == 0


def test_the_network_looks_at_the_particle_rather_than_at_the_carbon(network, examples):
    maps = grad_cam(network, examples.images)
    x = np.arange(128) - 63.5
    disc = np.hypot(x[:, None], x) < examples.table["size_A"].to_numpy()[:, None, None] / 2 + 6
    inside = (maps * disc).sum(axis=(1, 2)) / maps.sum(axis=(1, 2))
    chance = disc.mean(axis=(1, 2))
    gain = inside - chance
    assert gain.mean() > 5 * gain.std() / np.sqrt(len(gain)), "five standard errors above an even map"
    assert (inside / chance).mean() > 1.3


def test_gain_and_offset_of_the_camera_do_not_change_the_map(network, examples):
    images = examples.images[:5].float()
    assert grad_cam(network, standardise(3 * images + 7)) == pytest.approx(grad_cam(network, images), abs=1e-3)


def test_another_shape_has_other_evidence(network, examples):
    images, said = examples.images[:10], examples.table["predicted"].to_numpy()[:10]
    assert grad_cam(network, images, said) == pytest.approx(grad_cam(network, images))
    other = grad_cam(network, images, (said + 1) % 5)
    assert np.abs(other - grad_cam(network, images)).max() > 0.1


def test_the_last_convolution_of_a_residual_network_is_no_shortcut():
    network = resnet34().eval()
    assert last_convolution(network) is network.layer2[3].conv2
    assert last_convolution(network, cells=4) is network.layer4[2].conv2
    with pytest.raises(NanoshapeError, match="network has no convolution with a map of 16 cells"):
        last_convolution(nn.Linear(3, 3))


def test_an_image_is_its_own_nearest_neighbour_and_so_are_its_turned_and_mirrored_copies(network, examples):
    search = Neighbours(network, examples)
    labels = examples.table["label"].to_numpy()
    for copies in (examples.images, symmetries(examples.images.float())[5]):
        nearest = search.find(copies, labels, count=2)
        first = nearest[nearest["rank"] == 1]
        assert first["row"].tolist() == list(range(len(examples)))
        assert first["similarity"].to_numpy() == pytest.approx(1, abs=0.01)
        assert (nearest["label"].to_numpy() == np.repeat(labels, 2)).all()


def test_neighbours_agree_with_a_search_through_all_pairs():
    torch.manual_seed(1)
    network = PlainCNN(4).eval()
    reference = ImageSet(torch.randn(12, 128, 128), pd.DataFrame({"label": [0, 1] * 6}))
    asked = torch.randn(3, 128, 128)
    found = Neighbours(network, reference).find(asked, np.array([0, 1, 1]), count=2)

    def features(images):
        caught = []
        hook = network.head[3].register_forward_pre_hook(lambda module, given: caught.append(given[0]))
        with torch.no_grad():
            for view in symmetries(images):
                network(view[:, None])
        hook.remove()
        return functional.normalize(torch.stack(caught).mean(dim=0))

    cosine = features(asked) @ features(reference.images).T
    cosine[0, 1::2], cosine[1:, ::2] = -1, -1
    assert found["row"].to_numpy().reshape(3, 2).tolist() == cosine.topk(2).indices.tolist()
    with pytest.raises(NanoshapeError, match="count is 7, but must be between 1 and 6"):
        Neighbours(network, reference).find(asked, np.array([0, 1, 1]), count=7)
