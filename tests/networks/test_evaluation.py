"""Evaluation against counts by hand and simulations whose truth is known."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax
from scipy.stats import norm

from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.networks.evaluation import (
    PROBABILITIES,
    accuracy_by,
    accuracy_interval,
    bootstrap_confusions,
    by_particle,
    by_subset,
    calibration_error,
    confusion_counts,
    confusion_matrix,
    fit_temperature,
    nearest_direction,
    predictions_table,
    subset_difference,
    training_difference,
    verdict,
)


def table_of(labels, groups=None):
    return pd.DataFrame({"group": np.arange(len(labels)) if groups is None else groups, "label": labels})


def clustered(rng, groups, series, accuracy, together):
    """Right and wrong answers: with probability ``together`` a whole series shares one fate."""
    fate = rng.random((groups, 1)) < accuracy
    own = rng.random((groups, series)) < accuracy
    correct = np.where(rng.random((groups, 1)) < together, fate, own)
    return pd.DataFrame({"group": np.repeat(np.arange(groups), series), "correct": correct.ravel()})


def test_predictions_rank_the_outputs_and_sum_to_one():
    logits = np.array([[0.0, 3.0, 1.0, -1.0, 2.0], [5.0, 0.0, 0.0, 0.0, 1.0]])
    predictions = predictions_table(table_of([1, 4]), logits)
    assert predictions["predicted"].tolist() == [1, 0]
    assert predictions["second"].tolist() == [4, 4]
    assert predictions["correct"].tolist() == [True, False]
    assert predictions[PROBABILITIES].sum(axis=1).to_numpy() == pytest.approx(1)
    hot = predictions_table(table_of([1, 4]), logits, temperature=10)
    assert hot["predicted"].tolist() == [1, 0] and hot["p1"][0] < predictions["p1"][0]


def test_logits_of_other_images_are_refused():
    with pytest.raises(NanoshapeError, match="logits has 3 rows, but must have one for each of 2 images"):
        predictions_table(table_of([0, 1]), np.zeros((3, 5)))


def test_confusion_matrix_matches_a_count_by_hand():
    pairs = [(0, 0), (0, 0), (0, 3), (0, 0), (1, 4), (1, 1), (2, 2), (4, 1), (4, 4), (4, 4)]
    logits = np.eye(5)[[predicted for _, predicted in pairs]]
    matrix = confusion_matrix(predictions_table(table_of([true for true, _ in pairs]), logits))
    expected = np.zeros((5, 5))
    expected[0, [0, 3]] = 3 / 4, 1 / 4
    expected[1, [1, 4]] = 1 / 2
    expected[2, 2] = 1
    expected[4, [1, 4]] = 1 / 3, 2 / 3
    assert matrix == pytest.approx(expected)


def test_a_focal_series_is_decided_by_its_mean_logits():
    rng = np.random.default_rng(0)
    groups = np.array([7, 3, 7, 3, 7])
    logits = rng.normal(size=(5, 5))
    result = by_particle(table_of([2, 1, 2, 1, 2], groups), logits)
    assert result["group"].tolist() == [3, 7] and result["label"].tolist() == [1, 2]
    means = np.stack([logits[groups == group].mean(axis=0) for group in (3, 7)])
    assert result[PROBABILITIES].to_numpy() == pytest.approx(softmax(means, axis=1))


def test_the_group_interval_covers_the_truth_19_times_in_20():
    rng = np.random.default_rng(1)
    hits = 0
    for trial in range(200):
        _, low, high = accuracy_interval(clustered(rng, 120, 14, 0.7, 0.8), seed=trial)
        hits += low <= 0.7 <= high
    assert 0.90 <= hits / 200 <= 0.99  # 95 % and three standard errors


def test_the_group_interval_is_wider_than_the_binomial_one_if_a_series_fails_together():
    predictions = clustered(np.random.default_rng(2), 200, 14, 0.7, 1.0)
    accuracy, low, high = accuracy_interval(predictions)
    naive = 2 * norm.ppf(0.975) * np.sqrt(accuracy * (1 - accuracy) / len(predictions))
    assert (high - low) / naive == pytest.approx(np.sqrt(14), rel=0.1)


def test_the_group_interval_is_the_binomial_one_for_independent_images():
    predictions = clustered(np.random.default_rng(3), 200, 14, 0.7, 0.0)
    accuracy, low, high = accuracy_interval(predictions)
    naive = 2 * norm.ppf(0.975) * np.sqrt(accuracy * (1 - accuracy) / len(predictions))
    assert (high - low) / naive == pytest.approx(1, rel=0.15)


def test_pairing_finds_a_difference_that_separate_intervals_do_not():
    rng = np.random.default_rng(4)
    second = clustered(rng, 100, 10, 0.6, 0.9)
    mended = ~second["correct"] & (rng.random(len(second)) < 0.1)
    first = second.assign(correct=second["correct"] | mended)
    groups, right, other = first["group"].to_numpy(), *(each[["correct"]].to_numpy().T for each in (first, second))
    difference, low, high = training_difference(groups, right, other)
    assert difference == pytest.approx(mended.mean())
    assert 0 < low < difference < high
    assert accuracy_interval(first)[1] < accuracy_interval(second)[2]
    assert training_difference(groups, other, right)[0] == pytest.approx(-difference)


@pytest.mark.parametrize("right", [True, False])
def test_an_interval_without_a_failure_is_the_exact_one_of_independent_groups(right):
    """No failure in n groups allows every rate p of failure with (1 - p)^n > 0.025, whatever a group holds."""
    predictions = pd.DataFrame({"group": np.repeat(np.arange(40), 14), "correct": right})
    accuracy, low, high = accuracy_interval(predictions)
    assert accuracy == right
    bound = 0.025 ** (1 / 40)
    assert (low, high) == pytest.approx((bound, 1) if right else (0, 1 - bound), abs=1e-9)
    assert accuracy_interval(predictions, level=0.5)[1 if right else 2] == pytest.approx(
        0.25 ** (1 / 40) if right else 1 - 0.25 ** (1 / 40), abs=1e-9
    )


def test_trainings_that_disagree_widen_the_interval():
    rng = np.random.default_rng(6)
    groups = np.repeat(np.arange(300), 4)
    second = rng.random((6, len(groups))) < 0.6
    steady = rng.random((6, len(groups))) < 0.7
    lucky = rng.random((6, len(groups))) < np.linspace(0.5, 0.9, 6)[:, None]
    widths = [high - low for _, low, high in (training_difference(groups, first, second) for first in (steady, lucky))]
    assert widths[1] > 3 * widths[0]
    assert verdict(*training_difference(groups, steady, second)[1:]) == "yes"
    assert verdict(*training_difference(groups, lucky, second)[1:]) == "not decided"


def test_a_subset_that_fails_more_often_is_found():
    rng = np.random.default_rng(7)
    chosen = np.tile(np.arange(14) < 5, 200)
    correct = rng.random(len(chosen)) < np.where(chosen, 0.5, 0.8)
    predictions = pd.DataFrame({"group": np.repeat(np.arange(200), 14), "correct": correct})
    difference, low, high = subset_difference(predictions, chosen)
    assert low < -0.3 < high < 0 and difference == pytest.approx(correct[chosen].mean() - correct[~chosen].mean())
    assert verdict(low, high) == "no, the reverse"
    with pytest.raises(NanoshapeError, match="chosen holds 0 of 2800 images"):
        subset_difference(predictions, np.zeros(2800, bool))


def test_accuracy_by_a_column_takes_every_image_once():
    predictions = clustered(np.random.default_rng(8), 50, 14, 0.7, 0.3)
    predictions["defocus_A"] = np.tile(np.arange(14.0), 50)
    predictions["contrast"] = np.random.default_rng(9).random(700)
    by_value, by_bin = accuracy_by(predictions, "defocus_A"), accuracy_by(predictions, "contrast", bins=7)
    assert by_value["value"].tolist() == list(range(14)) and set(by_value["images"]) == {50}
    assert set(by_bin["images"]) == {100}
    for table in (by_value, by_bin):
        assert np.average(table["accuracy"], weights=table["images"]) == pytest.approx(predictions["correct"].mean())


def test_resampled_confusions_scatter_about_the_counted_one():
    rng = np.random.default_rng(10)
    labels = np.repeat(np.arange(5), 200)
    logits = 2 * np.eye(5)[labels] + rng.normal(size=(1000, 5))
    predictions = predictions_table(table_of(labels, np.arange(1000) // 4), logits)
    draws = bootstrap_confusions(predictions)
    assert draws.sum(axis=2) == pytest.approx(1)
    assert draws.mean(axis=0) == pytest.approx(confusion_matrix(predictions), abs=0.005)


def test_a_calibrated_predictor_has_hardly_any_calibration_error():
    rng = np.random.default_rng(11)
    logits = rng.normal(scale=1.5, size=(40_000, 5))
    labels = (softmax(logits, axis=1).cumsum(axis=1) < rng.random((40_000, 1))).sum(axis=1)
    assert calibration_error(predictions_table(table_of(labels), logits)) < 0.01
    assert fit_temperature(logits, labels) == pytest.approx(1, abs=0.03)


def test_temperature_of_an_overconfident_predictor_is_recovered():
    rng = np.random.default_rng(12)
    honest = rng.normal(scale=1.5, size=(40_000, 5))
    labels = (softmax(honest, axis=1).cumsum(axis=1) < rng.random((40_000, 1))).sum(axis=1)
    loud = 2.5 * honest
    temperature = fit_temperature(loud[:20_000], labels[:20_000])
    assert temperature == pytest.approx(2.5, rel=0.03)
    rest = table_of(labels[20_000:])
    assert calibration_error(predictions_table(rest, loud[20_000:])) > 0.1
    assert calibration_error(predictions_table(rest, loud[20_000:], temperature)) < 0.015


def test_decisions_from_parts_of_a_focal_series_use_every_image_at_most_once():
    rng = np.random.default_rng(0)
    groups, labels = np.repeat(np.arange(6), 7), np.repeat(np.arange(6) % 5, 7)
    logits = rng.normal(size=(42, 5)) + 2 * np.eye(5)[labels]
    order = rng.permutation(42)
    table = pd.DataFrame({"group": groups, "label": labels}).iloc[order].reset_index(drop=True)
    whole = by_subset(table, logits[order], 7)
    assert whole["correct"].to_numpy() == pytest.approx(by_particle(table, logits[order])["correct"])
    single = by_subset(table, logits[order], 1)
    assert single["correct"].mean() == predictions_table(table, logits[order])["correct"].mean()
    thirds = by_subset(table, logits[order], 3)
    assert (thirds.groupby("group").size() == 2).all() and len(thirds) == 12
    with pytest.raises(NanoshapeError, match="images is 8, but must be between 1 and 7"):
        by_subset(table, logits[order], 8)


def test_confusion_counts_are_those_of_the_matrix():
    rng = np.random.default_rng(1)
    table = pd.DataFrame({"group": np.arange(60), "label": rng.integers(5, size=60)})
    predictions = predictions_table(table, rng.normal(size=(60, 5)))
    counts = confusion_counts(predictions)["images"].to_numpy().reshape(5, 5)
    assert counts.sum() == 60
    assert counts / counts.sum(axis=1, keepdims=True) == pytest.approx(confusion_matrix(predictions))


def test_the_nearest_direction_is_that_of_the_same_shape_and_counts_equivalent_ones_as_one():
    """Along a cube's edge, its face diagonal is 45 degrees away; all six edges are one direction."""
    seen = pd.DataFrame({"label": [0, 4], "beam_x": [0.0, 1.0], "beam_y": [0.0, 0.0], "beam_z": [-1.0, 0.0]})
    half = np.sqrt(0.5)
    waves = pd.DataFrame({"label": [0, 0, 1], "beam_x": [1.0, half, 1.0], "beam_y": [0.0, half, 0.0], "beam_z": 0.0})
    found = nearest_direction(waves, seen)
    assert found[:2] == pytest.approx([0, 45], abs=1e-5) and np.isnan(found[2])
