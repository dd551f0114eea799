"""Training images that are drawn afresh: other ones in every pass, the same ones for the same seed."""

import numpy as np
import pytest
import torch

from nanoshape_lib.datasets.images import FreshImages, make_pass
from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.networks.training import TrainingConfig, fit


def test_a_pass_depends_on_its_number_alone_and_no_two_are_alike(tiny_store):
    first, again, other = (make_pass(tiny_store, number, 2, waves=4) for number in (0, 0, 1))
    assert torch.equal(first.images, again.images) and first.table.equals(again.table)
    assert not torch.equal(first.images, other.images)
    assert not np.allclose(first.table["defocus_A"], other.table["defocus_A"])
    assert first.table["group"].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert torch.equal(first.labels, other.labels)


def test_defoci_of_a_pass_lie_around_different_ones_of_the_design(tiny_store):
    """The design has -70, 10 and 90 Å: half the distance between two of them is 40 Å."""
    table = make_pass(tiny_store, 3, 2).table
    nearest = np.abs(table["defocus_A"].to_numpy()[:, None] - tiny_store.design.defoci_A)
    assert nearest.min(axis=1).max() <= 40 and nearest.min(axis=1).max() > 10
    pairs = nearest.argmin(axis=1).reshape(-1, 2)
    assert (pairs[:, 0] != pairs[:, 1]).all() and len(set(pairs.ravel())) == 3


@pytest.mark.parametrize("count", [0, 4])
def test_more_images_of_a_wave_than_defoci_are_refused(tiny_store, count):
    with pytest.raises(NanoshapeError, match=f"images_per_wave is {count}, but must be between 1 and 3"):
        make_pass(tiny_store, 0, count)


def test_epochs_go_through_the_passes_in_turn_and_a_pass_is_formed_once(tiny_store, tmp_path):
    formed = []
    fresh = FreshImages(tmp_path, 2, lambda number: formed.append(number) or make_pass(tiny_store, number, 1))
    epochs = [fresh.at_epoch(epoch).images.clone() for epoch in range(3)]
    assert torch.equal(epochs[0], epochs[2]) and not torch.equal(epochs[0], epochs[1])
    assert torch.equal(epochs[1], make_pass(tiny_store, 1, 1).images)
    assert torch.equal(fresh.at_epoch(3).images, epochs[1]) and formed == [0, 1]


def test_a_network_is_trained_on_images_that_change(tiny_store, tmp_path):
    fresh = FreshImages(tmp_path / "passes", 2, lambda number: make_pass(tiny_store, number, 2))
    config = TrainingConfig(architecture="cnn4", epochs=3, batch_size=10)
    _, card = fit(config, fresh, fresh.at_epoch(0), tmp_path / "run")
    assert card["train_images"] == 30 and card["train_waves"] == 15 and len(card["history"]) == 3
    assert sorted(path.name for path in (tmp_path / "passes").iterdir()) == ["pass-00", "pass-01"]
