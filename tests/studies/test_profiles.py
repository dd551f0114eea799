"""The shipped profiles, and what the studies take from them."""

import numpy as np
import pytest

from nanoshape_lib.datasets.design import SPLITS
from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.networks.models import ARCHITECTURES
from nanoshape_lib.studies.profiles import PROFILES, load_design, load_profile
from nanoshape_lib.studies.trainings import choose_rows, trainings_of, whole_series

NAMES = sorted(path.stem for path in PROFILES.glob("*.yml"))
each_profile = pytest.mark.parametrize("name", NAMES)


def test_the_three_profiles_are_there():
    assert {"smoke", "quick", "paper"} <= set(NAMES)


@each_profile
def test_a_profile_asks_for_no_more_than_its_data(name):
    profile = load_profile(name)
    images = profile.dataset.records("train") * len(profile.dataset.defoci_A)
    assert max(profile.architectures.train_images) <= images
    assert set(profile.architectures.architectures) <= set(ARCHITECTURES)
    for count in profile.architectures.train_images:
        rows = whole_series(profile, count)
        assert len(rows) == count and np.array_equal(rows, np.arange(count))
    for defoci in profile.sampling.defoci_per_wave:
        assert profile.sampling.images % defoci == 0, "samplings of one budget"
        rows = choose_rows(profile, profile.sampling.images // defoci, defoci)
        assert len(set(rows)) == profile.sampling.images and rows.max() < images


@each_profile
def test_a_training_set_holds_equally_many_waves_of_each_shape(name):
    profile = load_profile(name)
    for count in profile.architectures.train_images:
        assert (count // len(profile.dataset.defoci_A)) % 5 == 0


def test_the_paper_profile_has_the_supplement_s_scale():
    design = load_profile("paper").dataset
    assert design.records("test") * len(design.defoci_A) == 67_200 == 5 * 8 * 120 * 14
    assert design.records("train") == 10_000
    assert min(design.sizes_A) >= 40 and max(design.sizes_A) <= 80
    assert max(load_profile("paper").architectures.train_images) == 70_000


@each_profile
def test_no_split_shares_a_carbon_block_with_another(name):
    design = load_profile(name).dataset
    blocks = [set(design.split(split).blocks) for split in SPLITS]
    assert sum(len(some) for some in blocks) == len(set.union(*blocks))


def test_an_unknown_profile_is_refused_with_the_list():
    with pytest.raises(NanoshapeError, match=r"^profile is 'huge', but must be one of: .*paper, quick, smoke$"):
        load_profile("huge")


def test_a_negative_seed_is_refused():
    with pytest.raises(NanoshapeError, match="seed is -1, but must not be negative"):
        load_profile("smoke", -1)


def test_the_seed_reaches_the_data_and_every_training():
    profiles = [load_profile("quick", seed) for seed in (0, 7)]
    assert [profile.dataset.seed for profile in profiles] == [0, 7]
    seeds = [
        {profile.best.seed}
        | {each.seed for name in ARCHITECTURES for each in trainings_of(profile, profile.architectures, name, 64)}
        for profile in profiles
    ]
    assert not seeds[0] & seeds[1]
    assert len(trainings_of(profiles[0], profiles[0].architectures, "cnn6", 64)) == profiles[0].architectures.trainings


@each_profile
def test_a_small_training_set_is_seen_in_more_epochs_and_never_in_fewer_steps_than_asked_for(name):
    study = load_profile(name).architectures.model_copy(update={"steps": 1500, "epochs": 10, "batch_size": 64})
    for images, steps_of_an_epoch in ((1400, 21), (22_400, 350), (30, 1)):
        epochs = study.epochs_of(images)
        assert epochs >= 10 and epochs * steps_of_an_epoch >= 1500
        assert epochs == 10 or (epochs - 1) * steps_of_an_epoch < 1500


@each_profile
def test_a_shipped_design_is_that_of_its_profile_and_its_file(name):
    assert load_design(name, 5) == load_profile(name, 5).dataset == load_design(str(PROFILES / f"{name}.yml"), 5)
    assert load_design(name) == load_design(str(PROFILES / f"{name}.yml"))


def test_a_file_keeps_its_own_seed_unless_another_is_given(tmp_path):
    text = (PROFILES / "smoke.yml").read_text().replace("dataset:", "dataset:\n  seed: 11")
    (tmp_path / "mine.yaml").write_text(text)
    assert [load_design(str(tmp_path / "mine.yaml"), seed).seed for seed in (None, 0, 4)] == [11, 0, 4]


@each_profile
def test_the_stamp_names_profile_and_seed(name):
    profile = load_profile(name, 3)
    assert profile.stamp.startswith(f"profile {name}: ") and profile.stamp.endswith("seed 3")
    assert profile.summary in profile.stamp


def test_chosen_defoci_spread_evenly_over_the_series():
    profile = load_profile("quick")
    series = len(profile.dataset.defoci_A)
    for count in (1, 2, 7, 14):
        places = choose_rows(profile, 3, count).reshape(3, count) - series * np.arange(3)[:, None]
        assert (places == places[0]).all() and (places >= 0).all() and (places < series).all()
        assert np.ptp(np.diff(places[0], append=places[0, 0] + series)) <= 1
        assert places[0].mean() == pytest.approx((series - 1) / 2, abs=0.5)


@pytest.mark.parametrize(("waves", "defoci"), [(0, 1), (641, 1), (1, 0), (1, 15)])
def test_more_rows_than_there_are_cannot_be_chosen(waves, defoci):
    with pytest.raises(NanoshapeError, match=f"waves and defoci_per_wave are {waves} and {defoci}, but must be"):
        choose_rows(load_profile("quick"), waves, defoci)
