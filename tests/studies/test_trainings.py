"""The studies that are shipped: interrupted and resumed, they end with the tables of an undisturbed run."""

import time

import numpy as np
import pytest
import torch
from pandas.testing import assert_frame_equal

from nanoshape_lib.datasets.design import SplitDesign
from nanoshape_lib.datasets.images import load_examples
from nanoshape_lib.networks.models import load_weights, low_precision
from nanoshape_lib.networks.training import predict
from nanoshape_lib.studies import runner, trainings
from nanoshape_lib.studies.profiles import FreshTraining, load_profile
from nanoshape_lib.studies.results import load_results
from nanoshape_lib.studies.trainings import (
    architecture_differences,
    architecture_runs,
    image_sets,
    prepared_store,
    shipped_shares,
)


@pytest.fixture(scope="module")
def profile(tmp_path_factory):
    """Two trainings of two small networks; waves and networks are kept apart from the user's own."""
    smoke = load_profile("smoke")
    dataset = smoke.dataset.model_copy(
        update={"sizes_A": (40,), "train": SplitDesign(orientations=2, blocks=(0, 1)), "defoci_A": (-70.0, 10.0, 90.0)}
    )
    study = smoke.architectures.model_copy(update={"architectures": ("cnn4", "cnn6"), "train_images": (30,)})
    fresh = FreshTraining(images_per_wave=2, passes=2)
    patch = pytest.MonkeyPatch()
    patch.setenv("NANOSHAPE_CACHE", str(tmp_path_factory.mktemp("cache")))
    yield smoke.model_copy(update={"dataset": dataset, "architectures": study, "fresh": fresh})
    patch.undo()


def test_a_study_stops_in_time_and_goes_on_with_what_is_missing(profile, tmp_path, monkeypatch):
    job = runner.Job(profile, tmp_path, tmp_path)
    late = runner.Job(profile, tmp_path, tmp_path, time.monotonic() - 1)
    names = [part.name for part in runner.study("architectures", job).parts]
    assert runner.run(runner.study("architectures", late), late) == names and not list(tmp_path.iterdir())
    small = profile.architectures.model_copy(update={"architectures": ("cnn4",)})
    few = runner.Job(profile.model_copy(update={"architectures": small}), tmp_path, tmp_path)
    assert runner.run(runner.study("architectures", few), few) == []
    earlier = load_results("architectures", tmp_path)[0]
    trained = []
    real = trainings.train_and_test
    monkeypatch.setattr(trainings, "train_and_test", lambda *args: trained.append(args[1]) or real(*args))
    assert runner.run(runner.study("architectures", job), job) == []
    assert trained == [config for config, _ in architecture_runs(profile)[2:]]
    table, origin = load_results("architectures", tmp_path)
    assert_frame_equal(table.head(2), earlier)
    assert list(table["architecture"]) == ["cnn4", "cnn4", "cnn6", "cnn6"] and list(table["seed"]) == [0, 1, 0, 1]
    assert origin["parts"] == {"expected": 4, "finished": 4}
    assert origin["hours"] == pytest.approx(table["seconds"].sum() / 3600, abs=1e-5)

    particles, confusions = (load_results(f"architectures_{part}", tmp_path)[0] for part in ("particles", "confusions"))
    images = len(particles) * len(profile.dataset.defoci_A)
    assert np.allclose(particles.iloc[:, 1:].sum() / images, table["test_accuracy"])
    shares = shipped_shares("architectures", tmp_path)
    anew, its_shares = trainings.architecture_study(profile, image_sets(profile, prepared_store(profile)))
    assert_frame_equal(shares, its_shares)
    assert_frame_equal(anew, table, rtol=1e-5, check_dtype=False)
    difference = architecture_differences(shares, [("cnn6", "cnn4"), ("resnet34", "cnn6")])
    means = table.groupby("architecture")["test_accuracy"].mean()
    # The shipped accuracies have six digits.
    assert difference["difference"].to_numpy() == pytest.approx([means["cnn6"] - means["cnn4"]], abs=2e-6)
    assert (difference["low"] <= difference["difference"]).all() and (
        difference["difference"] <= difference["high"]
    ).all()
    right = confusions[confusions["expected"] == confusions["predicted"]].groupby(["architecture", "seed"])["images"]
    assert np.allclose(right.sum() / images, table["test_accuracy"])
    assert (confusions.groupby(["architecture", "seed"])["images"].sum() == images).all()


def test_the_best_network_is_shipped_with_what_it_says_of_every_test_image(profile, tmp_path, monkeypatch):
    monkeypatch.setattr(trainings, "BEST", ("cnn6",))
    job = runner.Job(profile, tmp_path, tmp_path / "weights")
    assert runner.run(runner.study("best", job), job) == []
    table, _ = load_results("best", tmp_path)
    outputs = trainings.shipped_predictions("cnn6", folder=tmp_path)
    model, card = load_weights(tmp_path / "weights/cnn6.safetensors")
    images = trainings.image_set(profile, trainings.prepared_store(profile), "test")
    logits = predict(model, images.images)
    # In bfloat16 the layout of the weights matters, too.
    assert outputs[trainings.LOGITS].to_numpy() == pytest.approx(logits, abs=0.02 if low_precision("cpu") else 1e-3)
    known = ["group", "label", "size_A", "defocus_A", "beam_z"]
    assert_frame_equal(outputs[known], images.table[known], check_dtype=False, rtol=1e-5)
    assert list(table["images"]) == [1, 2] and card["temperature"] == pytest.approx(table["temperature"][0], rel=1e-5)
    assert table["accuracy"][0] == pytest.approx((logits.argmax(axis=1) == images.labels.numpy()).mean())
    assert len(card["history"]) == profile.best.epochs and card["train_images"] == 20

    examples = load_examples("best_cnn6_examples", tmp_path)
    assert torch.equal(examples.images, images.take(examples.table["row"].to_numpy()).images)
    assert predict(model, examples.images).argmax(axis=1).tolist() == examples.table["predicted"].tolist()
    failed = examples.table["kind"] == "failed"
    assert not examples.table["correct"][failed].any() and (~failed).sum() == min(60, len(images))
