"""The networks: sizes and receptive fields by independent routes, weights on disk."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.networks.models import (
    ARCHITECTURES,
    PlainCNN,
    build_model,
    count_parameters,
    load_weights,
    receptive_field,
    save_weights,
)

each_plain = pytest.mark.parametrize(("blocks", "maps", "channels"), [(4, 8, 128), (5, 4, 256), (6, 2, 256)])


@each_plain
def test_maps_before_flattening(blocks, maps, channels):
    features = PlainCNN(blocks).features(torch.zeros(1, 1, 128, 128))
    assert features.shape == (1, channels, maps, maps)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_five_outputs_for_every_image(name):
    assert build_model(name).eval()(torch.zeros(2, 1, 128, 128)).shape == (2, 5)


@each_plain
def test_parameters_of_plain_networks_counted_by_hand(blocks, maps, channels):
    filters = [1, 16, 32, 64, 128, 256, 256][: blocks + 1]
    convolutions = sum(9 * filters[i] * filters[i + 1] for i in range(blocks))
    normalisations = 2 * sum(filters[1:])
    dense = (channels * maps**2 + 1) * 128 + (128 + 1) * 5
    assert count_parameters(PlainCNN(blocks)) == convolutions + normalisations + dense


def test_parameters_of_resnet34_are_those_of_he_2016_with_one_channel_and_five_classes():
    published = 21_797_672  # three channels, 1000 classes
    expected = published - 2 * 64 * 49 - (512 + 1) * (1000 - 5)
    assert count_parameters(build_model("resnet34")) == expected


def linearised(model):
    """The same geometry with all weights positive and no maximum, so that no path to a pixel can cancel."""
    for name, module in list(model.named_modules()):
        parent = model.get_submodule(name.rpartition(".")[0])
        if isinstance(module, nn.MaxPool2d):
            pool = nn.AvgPool2d(module.kernel_size, module.stride, module.padding)
            setattr(parent, name.rpartition(".")[2], pool)
        elif isinstance(module, nn.ReLU | nn.BatchNorm2d):
            setattr(parent, name.rpartition(".")[2], nn.Identity())
        elif isinstance(module, nn.Conv2d):
            nn.init.constant_(module.weight, 8 / module.weight[0].numel())
    return model.eval()


def influence_width(features, height, width):
    """Number of columns of the image that reach the central unit of the last map."""
    image = torch.zeros(1, 1, height, width, dtype=torch.float64, requires_grad=True)
    maps = features(image)
    maps[0, 0, maps.shape[2] // 2, maps.shape[3] // 2].backward()
    return int((image.grad[0, 0].abs().sum(dim=0) > 0).sum())


@pytest.mark.parametrize(("blocks", "side"), [(4, 46), (5, 94), (6, 190)])
def test_receptive_field_of_plain_networks_is_the_reach_of_the_gradient(blocks, side):
    model = PlainCNN(blocks)
    assert receptive_field(model) == side
    assert influence_width(linearised(model).double().features, 64, 512) == side


def test_receptive_field_of_resnet34_is_the_reach_of_the_gradient():
    model = build_model("resnet34")
    assert receptive_field(model) == 899
    body = linearised(model).double()
    body.avgpool = body.fc = nn.Identity()
    layers = nn.Sequential(*(child for name, child in body.named_children() if name not in ("avgpool", "fc")))
    assert influence_width(layers, 32, 1216) == 899


@pytest.mark.parametrize("blocks", [3, 7, 0])
def test_other_numbers_of_blocks_are_refused(blocks):
    with pytest.raises(NanoshapeError, match=f"blocks is {blocks}, but must be 4, 5 or 6"):
        PlainCNN(blocks)


def test_an_unknown_architecture_is_refused_with_the_list():
    with pytest.raises(NanoshapeError, match=r"architecture is 'vgg', but must be one of cnn4, cnn5, cnn6, resnet34"):
        build_model("vgg")


@pytest.mark.parametrize("name", ["cnn6", "resnet34"])
def test_weights_and_card_survive_the_disk(name, tmp_path):
    model = build_model(name).eval()
    images = torch.randn(2, 1, 128, 128)
    save_weights(model, {"architecture": name, "note": "µ"}, tmp_path / "w.safetensors")
    loaded, card = load_weights(tmp_path / "w.safetensors")
    assert torch.equal(loaded(images), model(images))
    assert card["note"] == "µ" and "128" in card["input"] and not loaded.training
    assert sorted(file.name for file in tmp_path.iterdir()) == ["w.json", "w.safetensors"]


def test_weights_of_another_network_are_refused(tmp_path):
    path = tmp_path / "w.safetensors"
    save_weights(build_model("cnn5"), {"architecture": "cnn6"}, path)
    with pytest.raises(NanoshapeError, match="does not hold weights of cnn6"):
        load_weights(path)


def test_incomplete_weights_are_refused(tmp_path):
    path = tmp_path / "w.safetensors"
    save_weights(build_model("cnn6"), {"architecture": "cnn6"}, path)
    state = load_file(path)
    state.popitem()
    save_file(state, path)
    with pytest.raises(NanoshapeError, match="does not hold weights of cnn6"):
        load_weights(path)


def test_weights_without_their_card_are_refused(tmp_path):
    path = tmp_path / "w.safetensors"
    save_weights(build_model("cnn6"), {"architecture": "cnn6"}, path)
    path.with_suffix(".json").unlink()
    with pytest.raises(NanoshapeError, match=r"w\.json beside it must exist"):
        load_weights(path)
