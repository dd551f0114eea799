"""Conformal sets against distributions that are known, and the file of a calibration."""

import shutil

import numpy as np
import pytest
import torch
from scipy.special import softmax

from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.networks.features import look
from nanoshape_lib.networks.models import PlainCNN, save_weights
from nanoshape_lib.paths import DATA
from nanoshape_lib.trust.conformal import Calibration, load_trust, mass_above, nonconformity, save_trust, trust_file
from nanoshape_lib.trust.ood import Combination, Tail

WEIGHTS = DATA / "weights/cnn6.safetensors"
NOTHING = Combination({}, Tail.of(np.zeros(1)))


def test_mass_above_counts_the_shapes_that_come_first():
    p = np.array([[0.5, 0.3, 0.1, 0.06, 0.04], [0.05, 0.05, 0.6, 0.2, 0.1]])
    assert mass_above(p) == pytest.approx(np.array([[0, 0.5, 0.8, 0.9, 0.96], [0.9, 0.9, 0, 0.6, 0.8]]))
    levels = nonconformity(p, np.array([0.3, 1.0]))
    assert levels[0] == pytest.approx([0.7, 0.7, 0.8, 0.9, 0.96])
    assert (levels[0] <= 0.69).sum() == 0, "the set is empty if the p-value is below one less the level"


def test_the_level_of_each_shape_is_the_rank_that_conformal_prediction_asks_for():
    levels = np.r_[np.arange(1, 20) / 20, np.arange(1, 10) / 100]
    labels = np.repeat([3, 0], [19, 9])
    mixed = np.random.default_rng(0).permutation(len(levels))
    some = Calibration(NOTHING, levels[mixed], labels[mixed], len(levels))
    assert some.level(0.95)[3] == pytest.approx(19 / 20), "rank (n + 1) 0.95 = 19 of 19"
    assert some.level(0.90)[[3, 0]] == pytest.approx([18 / 20, 9 / 100])
    assert some.level(0.96)[3] == 1.0, "nineteen particles cannot promise more"
    assert some.level(0.5)[[1, 2, 4]].tolist() == [1, 1, 1], "nor can none promise anything"


def test_sets_hold_each_shape_as_often_as_asked_though_images_of_a_particle_depend_on_one_another():
    rng, covered, empty = np.random.default_rng(0), [], []

    def draw(groups, series=4):
        """Particles whose images share most of their OOD score and difficulty; some shapes score higher."""
        p = softmax(3 * rng.normal(size=(groups, 5)), axis=1)
        labels = np.array([rng.choice(5, p=row) for row in p])
        score = np.repeat(rng.exponential(1 + labels), series) + 0.3 * rng.exponential(size=groups * series)
        return np.repeat(p, series, axis=0), np.repeat(labels, series), score

    for _ in range(60):
        _, _, fitted = draw(100)
        scored = Combination({}, Tail.of(fitted))
        p, labels, score = draw(600)
        levels = nonconformity(p, scored.p_value(score))[np.arange(len(labels)), labels]
        calibration = Calibration(scored, levels, labels, 600)
        p, labels, score = draw(600)
        members = nonconformity(p, scored.p_value(score)) <= calibration.level(0.9)
        right = members[np.arange(len(labels)), labels]
        covered.append([right[labels == shape].mean() for shape in range(5)])
        empty.append((~members.any(axis=1)).mean())
    error = np.std(covered, axis=0) / np.sqrt(60)
    assert np.mean(covered, axis=0) == pytest.approx(np.full(5, 0.9), abs=4 * error.max())
    assert 0.01 < np.mean(empty) < 0.1


def test_a_calibration_survives_its_file_and_another_networks_is_refused(tmp_path):
    weights = tmp_path / "other.safetensors"
    save_weights(PlainCNN(6), {"architecture": "cnn6"}, weights)
    with pytest.raises(NanoshapeError, match=r"their calibration other.trust.safetensors must lie beside them"):
        load_trust(weights)
    trust = load_trust(WEIGHTS)
    save_trust(trust, weights)
    again = load_trust(weights)
    image = torch.randn(1, 128, 128)
    assert again.temperature == trust.temperature and again.calibrations[1].groups == trust.calibrations[1].groups
    views = look(PlainCNN(6).eval(), image)
    for name, values in trust.heads.measure(views, image).items():
        assert values == pytest.approx(again.heads.measure(views, image)[name], rel=1e-5), name
    shutil.copy(trust_file(WEIGHTS), trust_file(weights))
    with pytest.raises(NanoshapeError, match=r"is the calibration of other weights than other.safetensors"):
        load_trust(weights)
    whole = trust_file(weights).read_bytes()
    for length in (0, 7, 100, len(whole) // 2, len(whole) - 1):
        trust_file(weights).write_bytes(whole[:length])
        with pytest.raises(NanoshapeError, match="does not hold a calibration"):
            load_trust(weights)


def test_a_calibration_is_at_most_two_megabytes():
    for name in ("cnn6", "cnn6_ranges"):
        assert trust_file(DATA / f"weights/{name}.safetensors").stat().st_size <= 2e6
