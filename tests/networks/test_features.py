"""Features and logits under the symmetries of the square against the network itself."""

import numpy as np
import pytest
import torch

from nanoshape_lib.datasets.images import load_examples
from nanoshape_lib.networks.features import look, symmetries
from nanoshape_lib.networks.models import load_weights
from nanoshape_lib.paths import DATA


def test_features_are_the_mean_of_the_network_under_each_symmetry():
    network, _ = load_weights(DATA / "weights/cnn6.safetensors")
    images = load_examples("best_cnn6_examples").images[:2].float()
    views = look(network, images)
    assert views.logits.shape == (2, 8, 5) and views.features.shape == (2, 128)
    assert views.channels.shape == (2, 128) and views.maps.shape == (2, 768)
    for index, each in enumerate(symmetries(images)):
        with torch.no_grad():
            logits = network(each[:, None])
        assert views.logits[:, index] == pytest.approx(logits.numpy(), abs=0.5), "bfloat16 or not"
        assert look(network, each).features == pytest.approx(views.features, abs=0.1)
    with torch.no_grad():
        last = torch.stack([network.features(each[:, None]) for each in symmetries(images)]).numpy()
    expected = np.concatenate([last.mean(axis=(0, 3, 4)), last.mean(axis=(3, 4)).std(axis=0)], axis=1)
    assert views.maps[:, :512] == pytest.approx(expected, abs=0.05)
    assert views.maps[:, 512:] == pytest.approx(last.std(axis=(3, 4)).mean(axis=0), abs=0.05)
    assert np.ptp(look(network, symmetries(images)[:, 0]).maps, axis=0).max() < 0.05
