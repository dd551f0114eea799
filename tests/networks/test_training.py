"""Training on problems so small that the answer is known."""

import os
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import torch

from nanoshape_lib.datasets.images import ImageSet, save_images
from nanoshape_lib.errors import NanoshapeError, OutOfTime
from nanoshape_lib.networks import models, training
from nanoshape_lib.networks.models import load_weights
from nanoshape_lib.networks.training import TrainingConfig, fit, predict, symmetry_augment


def stripes(n, seed, shuffled=False):
    """Noisy gratings whose period tells the class: a problem that four blocks solve in seconds."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 5
    x, y = np.meshgrid(np.arange(128), np.arange(128))
    waves = [np.sin(2 * np.pi * (x if rng.random() < 0.5 else y) / (3 + 3 * k) + rng.uniform(0, 6)) for k in labels]
    images = torch.tensor(np.stack(waves) + 0.5 * rng.normal(size=(n, 128, 128))).half()
    if shuffled:
        rng.shuffle(labels)
    return ImageSet(images, pd.DataFrame({"group": np.arange(n), "label": labels}))


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Batches of eight images are too small to share, and threads that wait for one another slow a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def sets():
    return stripes(40, 0), stripes(20, 1)


def config_of(**changes):
    return TrainingConfig(**({"architecture": "cnn4", "epochs": 2, "batch_size": 8} | changes))


def same_weights(first, second):
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.equal(one, other) for one, other in pairs)


def test_a_trivial_problem_is_learned(sets, tmp_path):
    model, card = fit(config_of(epochs=12), *sets, tmp_path)
    test = stripes(100, 2)
    accuracy = (predict(model, test.images).argmax(axis=1) == test.labels.numpy()).mean()
    assert accuracy > 0.9
    history = pd.DataFrame(card["history"])
    assert len(history) == 12 and history["train_loss"].iloc[-1] < 0.5 * history["train_loss"].iloc[0]


def test_a_training_stops_between_epochs_when_its_time_is_up_and_goes_on_later(sets, tmp_path):
    config = config_of(epochs=2)
    with pytest.raises(OutOfTime, match="0 of 2 epochs; the same command goes on"):
        fit(config, *sets, tmp_path / "late", deadline=time.monotonic())
    assert not (tmp_path / "late" / "weights.safetensors").exists()
    whole, _ = fit(config, *sets, tmp_path / "whole", deadline=time.monotonic() + 1000)
    assert same_weights(whole, fit(config, *sets, tmp_path / "late")[0])


def test_an_interrupted_training_ends_with_the_same_weights(sets, tmp_path, monkeypatch):
    config = config_of(epochs=2)
    whole, _ = fit(config, *sets, tmp_path / "whole")
    train_epoch = training._Run.train_epoch

    def stop_in_the_second_epoch(run):
        if run.epoch == 1:
            raise KeyboardInterrupt
        train_epoch(run)

    monkeypatch.setattr(training._Run, "train_epoch", stop_in_the_second_epoch)
    with pytest.raises(KeyboardInterrupt):
        fit(config, *sets, tmp_path / "stopped")
    assert [file.name for file in (tmp_path / "stopped").iterdir()] == ["checkpoint.pt"]
    monkeypatch.undo()
    torch.manual_seed(12345)
    resumed, card = fit(config, *sets, tmp_path / "stopped")
    assert same_weights(whole, resumed)
    assert [row["epoch"] for row in card["history"]] == [1, 2]
    assert not (tmp_path / "stopped" / "checkpoint.pt").exists()


TOGETHER = """
import torch
from nanoshape_lib.networks import models, training
from nanoshape_lib.datasets.images import load_images

torch.set_num_threads(1)
torch.nn.BatchNorm2d = lambda channels: torch.nn.Identity()
models.low_precision = lambda device: False
config = training.TrainingConfig(architecture="cnn4", epochs=2, batch_size=8)
training.fit(config, load_images("train"), load_images("validation"), "run")
"""


def test_two_processes_train_the_network_of_one_if_nothing_is_normalised_over_the_batch(sets, tmp_path, monkeypatch):
    for name, images in zip(("train", "validation"), sets, strict=True):
        save_images(images, tmp_path / name)
    (tmp_path / "together.py").write_text(TOGETHER)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "together.py"]
    subprocess.run(launch, cwd=tmp_path, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=True, timeout=300)
    monkeypatch.setattr(torch.nn, "BatchNorm2d", lambda channels: torch.nn.Identity())
    two, card = load_weights(tmp_path / "run/weights.safetensors")
    monkeypatch.setattr(models, "low_precision", lambda device: False)
    one, alone = fit(config_of(), *sets, tmp_path / "alone")
    for first, second in zip(one.state_dict().values(), two.state_dict().values(), strict=True):
        # Adam divides by the gradient's own size: where that is rounding, so is the sign of the step.
        assert (first - second).norm() < 0.01 * first.norm()
    losses = ["train_loss", "validation_loss"]
    assert np.allclose(pd.DataFrame(card["history"])[losses], pd.DataFrame(alone["history"])[losses], rtol=1e-4)


def test_a_batch_that_the_processes_cannot_share_is_refused(sets, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "_place", lambda: (0, 3))
    with pytest.raises(NanoshapeError, match="batch_size is 8, but must be a multiple of 3, the number of processes"):
        fit(config_of(), *sets, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_finished_training_is_loaded_and_not_repeated(sets, tmp_path, monkeypatch):
    first, card = fit(config_of(epochs=1), *sets, tmp_path)
    monkeypatch.setattr(training._Run, "train_epoch", None)
    second, again = fit(config_of(epochs=1), *sets, tmp_path)
    assert same_weights(first, second) and again["history"] == card["history"]


def test_the_seed_decides_the_weights(sets, tmp_path):
    first, again, other = (
        fit(config_of(epochs=1, seed=seed), *sets, tmp_path / folder)[0]
        for folder, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert same_weights(first, again)
    assert not same_weights(first, other)


def test_fine_tuning_begins_with_the_given_weights_and_goes_on_after_an_interruption(sets, tmp_path):
    first, _ = fit(config_of(), *sets, tmp_path / "first")
    given = tmp_path / "first/weights.safetensors"
    idle, _ = fit(config_of(epochs=1, learning_rate=1e-12), *sets, tmp_path / "idle", start=given)
    for before, after in zip(first.parameters(), idle.parameters(), strict=True):
        assert torch.allclose(before, after, atol=1e-6)
    whole, card = fit(config_of(), *sets, tmp_path / "whole", start=given)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "monotonic", iter([0.0, 2.0]).__next__)
        with pytest.raises(OutOfTime, match="has 1 of 2 epochs"):
            fit(config_of(), *sets, tmp_path / "stopped", deadline=1.0, start=given)
    resumed, again = fit(config_of(), *sets, tmp_path / "stopped", start=given)
    assert same_weights(whole, resumed)
    assert [row["train_loss"] for row in card["history"]] == [row["train_loss"] for row in again["history"]]
    with pytest.raises(NanoshapeError, match="start is a cnn4, but must be a cnn5"):
        fit(config_of(architecture="cnn5"), *sets, tmp_path / "other", start=given)


def test_shuffled_labels_teach_nothing(sets, tmp_path):
    model, _ = fit(config_of(epochs=3), stripes(80, 0, shuffled=True), sets[1], tmp_path)
    test = stripes(100, 2)
    accuracy = (predict(model, test.images).argmax(axis=1) == test.labels.numpy()).mean()
    assert accuracy < 0.5


def test_the_kept_epoch_has_the_lowest_validation_loss(sets, tmp_path, monkeypatch):
    losses = iter([1.0, 0.4, 0.8, 0.9, 0.95, 0.99])
    weights = []

    def pretend_epoch(run):
        torch.nn.init.constant_(run.model.head[-1].bias, run.epoch)
        loss = next(losses)
        run.epoch += 1
        if loss < run.best_loss:
            run.best_loss, run.best_epoch = loss, run.epoch
            run.best_weights = {name: tensor.clone() for name, tensor in run.model.state_dict().items()}
        weights.append(loss)
        run.history.append({"epoch": run.epoch, "validation_loss": loss, "seconds": 0.0})

    monkeypatch.setattr(training._Run, "train_epoch", pretend_epoch)
    model, card = fit(config_of(epochs=6, patience=3), *sets, tmp_path)
    assert card["best_epoch"] == 2 and len(card["history"]) == 5, "three epochs without a better one"
    assert model.head[-1].bias.tolist() == [1.0] * 5


def test_early_stopping_looks_at_the_validation_set_alone(sets, tmp_path):
    """With labels no network can know, the validation loss soon rises while the training loss falls."""
    lying = stripes(20, 1, shuffled=True)
    config = config_of(epochs=40, patience=6, learning_rate=3e-3)
    _, card = fit(config, sets[0], lying, tmp_path)
    history = pd.DataFrame(card["history"])
    assert len(history) < 40
    assert card["best_epoch"] == history["validation_loss"].argmin() + 1 == len(history) - 6
    assert history["train_loss"].iloc[-1] < history["train_loss"].iloc[0]


def test_augmentation_draws_exactly_the_eight_symmetries_of_the_square():
    image = torch.arange(9.0).reshape(3, 3)
    found = symmetry_augment(image.expand(4000, 3, 3).clone(), torch.Generator().manual_seed(0))
    distinct, counts = torch.unique(found.reshape(-1, 9), dim=0, return_counts=True)
    expected = [torch.rot90(flipped, turns, dims=(0, 1)) for flipped in (image, image.T) for turns in range(4)]
    assert {tuple(row.tolist()) for row in distinct} == {tuple(one.flatten().tolist()) for one in expected}
    assert counts.min() > 400, "each about 500 times"


def test_the_folder_of_another_configuration_is_refused(sets, tmp_path):
    fit(config_of(epochs=1), *sets, tmp_path)
    for other in ({"seed": 1}, {"learning_rate": 2e-3}, {"architecture": "cnn5"}):
        with pytest.raises(NanoshapeError, match="the run there has another configuration; name another folder"):
            fit(config_of(epochs=1, **other), *sets, tmp_path)


@pytest.mark.parametrize("images", [4, 8, 40, 80])
def test_a_training_of_any_number_of_steps_ends(images, sets, tmp_path):
    """One step, one full batch, and as many steps as make the rise of the rate end at the first, or just after."""
    _, card = fit(config_of(epochs=1 if images < 40 else 2), sets[0].take(np.arange(images) % 40), sets[1], tmp_path)
    assert np.isfinite(card["history"][-1]["train_loss"])


@pytest.mark.parametrize("wrong", [{"epochs": 0}, {"learning_rate": -1}, {"architecture": "vgg"}, {"dropout": 0.1}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        TrainingConfig(**wrong)
