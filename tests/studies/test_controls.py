"""The controls, on the smoke profile and on images whose answer is known."""

import numpy as np
import pandas as pd
import pytest
import torch

from nanoshape_lib.datasets.images import ImageSet
from nanoshape_lib.errors import OutOfTime
from nanoshape_lib.simulation.imaging import standardise
from nanoshape_lib.studies import controls, runner
from nanoshape_lib.studies.profiles import load_profile
from nanoshape_lib.studies.results import load_results


@pytest.fixture(scope="module")
def profile(tmp_path_factory):
    """The smoke profile; waves and networks are kept apart from the user's own."""
    patch = pytest.MonkeyPatch()
    patch.setenv("NANOSHAPE_CACHE", str(tmp_path_factory.mktemp("cache")))
    yield load_profile("smoke")
    patch.undo()


@pytest.fixture(scope="module")
def shared(profile):
    return controls._Controls(runner.Job(profile, None, None))


@pytest.mark.slow
def test_the_study_stops_in_time_and_goes_on_with_what_is_missing(profile, tmp_path, monkeypatch):
    names = ("radial_spectrum", "split_by_image", "reference_fidelity")
    monkeypatch.setattr(controls, "CONTROLS", names)
    real = controls._Controls.split_by_image
    with monkeypatch.context() as patch:

        def stopped(self):
            raise OutOfTime("in the first epoch")

        patch.setattr(controls._Controls, "split_by_image", stopped)
        stopped.__doc__ = real.__doc__
        job = runner.Job(profile, tmp_path, tmp_path)
        assert runner.run(runner.study("controls", job), job) == list(names[1:])
    first, _ = load_results("controls", tmp_path)
    assert list(first["control"]) == ["radial_spectrum"]
    assert runner.run(runner.study("controls", job), job) == []
    table, origin = load_results("controls", tmp_path)
    assert list(table["control"]) == ["radial_spectrum", *["split_by_image"] * 2, *["reference_fidelity"] * 2]
    assert table["low"].le(table["accuracy"]).all() and table["accuracy"].le(table["high"]).all()
    fine, usual = table["accuracy"].iloc[-2:]
    assert table["difference"].iloc[-2] == pytest.approx(fine - usual, abs=1e-6)
    assert origin["parts"] == {"expected": 3, "finished": 3}


def test_shuffled_labels_belong_to_particles_and_keep_their_numbers(shared, monkeypatch):
    seen = {}
    monkeypatch.setattr(shared, "trained", lambda name, train, *tests: [seen.setdefault(name, train)])
    shared.shuffled_labels()
    table = seen["shuffled_labels"].table
    assert (table.groupby("group")["label"].nunique() == 1).all()
    assert sorted(table["label"]) == sorted(shared.train.table["label"])
    assert not (table["label"] == shared.train.table["label"]).all()


def test_a_split_by_image_shares_particles_and_no_image(shared, monkeypatch):
    seen = []
    monkeypatch.setattr(shared, "trained", lambda name, train, *tests: seen.extend([train, *tests]) or tests)
    shared.split_by_image()
    train, rest, other = (set(zip(each.table["group"], each.table["defocus_A"], strict=True)) for each in seen)
    assert not train & rest and len(train | rest) == len(shared.train)
    assert {group for group, _ in train} == {group for group, _ in rest}
    assert seen[2] is shared.test and other


def test_held_out_sizes_are_not_in_the_training_set(shared, monkeypatch):
    seen = []
    monkeypatch.setattr(shared, "trained", lambda name, train, *tests: seen.extend([train, *tests]) or tests)
    names = list(shared.sizes_held_out())
    train, new, known = (set(each.table["size_A"].round(-1)) for each in seen)
    assert new == {40.0} and not train & new and train == known
    assert names[0] == "particles of 40 Å, never seen"


def test_the_mask_leaves_nothing_of_the_particle(shared):
    """Without carbon, every pixel that differs from the mean lies in the masked disc."""
    x = np.arange(128) - 63.5
    disc = torch.as_tensor(np.hypot(x, x[:, None]) < 59.9).half()
    masked = controls._masked(ImageSet(disc[None], pd.DataFrame({"group": [0]})))
    assert not masked.images.any()
    assert shared._reach(40) < shared._reach(55) < controls.MASK_RADIUS


def test_the_rim_does_not_tell_the_contrast_of_the_particle():
    """The same carbon beside a weak and a strong particle, standardised with it, gives the same rim."""
    rng = np.random.default_rng(0)
    carbon, particle = rng.normal(size=(128, 128)), np.zeros((128, 128))
    particle[44:84, 44:84] = 1 + rng.normal(size=(40, 40))
    both = np.stack([carbon - strength * particle for strength in (1, 9)])
    images = ImageSet(standardise(torch.as_tensor(both)), pd.DataFrame({"group": [0, 1]}))
    weak, strong = controls._masked(images).images
    assert weak.std() > 0.3
    torch.testing.assert_close(weak, strong, rtol=0, atol=1e-5)


def test_the_radial_spectrum_of_a_grating_has_its_peak_at_the_grating_and_does_not_know_its_direction():
    x = np.arange(128)
    gratings = np.stack(
        [
            np.sin(2 * np.pi * 10 * x / 128)[None].repeat(128, 0),
            np.sin(2 * np.pi * 10 * x / 128)[:, None].repeat(128, 1),
        ]
    )
    found = controls._radial_spectrum(ImageSet(torch.as_tensor(gratings).half(), pd.DataFrame({"group": [0, 1]})))
    assert found.argmax(axis=1).tolist() == [10, 10] and np.allclose(found[0], found[1], atol=0.05)


def test_the_apparent_area_grows_with_the_particle():
    x = np.arange(128) - 63.5
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(2, 128, 128))
    images = np.stack(
        [noise[k] * np.where(np.hypot(x, x[:, None]) < radius, 3, 0.5) for k, radius in enumerate((20, 30))]
    )
    table = pd.DataFrame({"group": [0, 1], "contrast": [0.1, 0.2]})
    area, contrast = controls._area_and_contrast(ImageSet(torch.as_tensor(images).half(), table)).T
    assert area[1] / area[0] == pytest.approx((30 / 20) ** 2, rel=0.25) and list(contrast) == [0.1, 0.2]
