"""The study of OOD scores and coverage on a tiny store, and areas under the curve against scikit-learn."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score

from nanoshape_lib.datasets.design import SplitDesign
from nanoshape_lib.datasets.images import load_examples
from nanoshape_lib.errors import NanoshapeError, OutOfTime
from nanoshape_lib.networks.models import PlainCNN, save_weights
from nanoshape_lib.simulation.film import BLOCKS
from nanoshape_lib.studies import ood, runner
from nanoshape_lib.studies.ood import Fitting, Sizes, auroc, calibration_store, ood_study
from nanoshape_lib.studies.profiles import load_profile
from nanoshape_lib.trust import outlier_exposure
from nanoshape_lib.trust.classifier import Classifier


def test_the_area_is_that_of_scikit_learn_and_its_interval_knows_of_groups():
    rng = np.random.default_rng(3)
    known, other = rng.normal(size=(100, 4)), rng.normal(1, 1, size=(30, 4))
    area, low, high = auroc(known, other)
    truth = np.r_[np.zeros(400), np.ones(120)]
    assert area == pytest.approx(roc_auc_score(truth, np.r_[known.ravel(), other.ravel()]))
    assert low < area < high

    def drawn(scores):
        return scores[rng.integers(len(scores), size=len(scores))]

    drawn_areas = [auroc(drawn(known), drawn(other))[0] for _ in range(300)]
    assert high - low == pytest.approx(np.ptp(np.quantile(drawn_areas, [0.025, 0.975])), rel=0.2), "as a bootstrap says"
    alike = (np.repeat(each[:, :1], 4, axis=1) for each in (known, other))
    assert np.ptp(auroc(*alike)[1:]) > 1.3 * (high - low)


def test_sets_are_calibrated_on_all_films_that_the_design_leaves_aside(tiny_design, tmp_path):
    table = calibration_store(tiny_design, 12, tmp_path).table("validation")
    assert len(table) == 10 and set(table["block"]) <= set(range(3, BLOCKS)) and table["block"].nunique() > 3
    greedy = tiny_design.model_copy(update={"train": SplitDesign(orientations=1, blocks=(0, *range(3, BLOCKS)))})
    with pytest.raises(NanoshapeError, match="uses all 14 blocks of carbon, but must leave one aside"):
        calibration_store(greedy, 42, tmp_path)


def test_a_study_of_a_tiny_store_makes_its_file_and_tables_and_goes_on_from_its_cache(
    tiny_store, tmp_path, monkeypatch
):
    weights = tmp_path / "net.safetensors"
    save_weights(PlainCNN(4).eval(), {"architecture": "cnn4"}, weights)
    monkeypatch.setattr(ood, "KINDS", {name: outlier_exposure.KINDS[name] for name in ("known", "platinum")})
    sizes = Sizes(held=5, test=5, kinds=3, decoys=8, strained=6, matter=5, series=2, epochs=2)
    fitting = Fitting(weights, tiny_store, None, sizes, tmp_path / "cache")
    made = ood_study(fitting)
    tables = {name.removeprefix("trust_net_"): table for name, table in made.tables.items()}
    assert tables["ood"]["auroc"].between(0, 1).all()
    assert set(tables["ood"]["kind"]) - {"platinum, fringes"} == {"known", "platinum", "platinum, none"}
    coverage = tables["coverage"]
    assert set(coverage["images"]) == {1, 2} and set(coverage["shift"]) >= {"none", "none, film 2", "known"}
    assert made.about["particles"] == {"held": 5, "test": 5}
    assert Classifier(weights).classify(torch.randn(1, 128, 128))["known"].isin([True, False]).all()
    monkeypatch.setattr(ood, "look", None)
    monkeypatch.setattr(outlier_exposure, "exit_wave", None)
    again = ood_study(Fitting(weights, tiny_store, None, sizes, tmp_path / "cache", deadline=-1.0))
    pd.testing.assert_frame_equal(again.tables["trust_net_ood"], tables["ood"])
    with pytest.raises(OutOfTime, match="is not made yet; the same command goes on"):
        ood_study(Fitting(weights, tiny_store, None, sizes, tmp_path / "other", deadline=-1.0))


def test_both_networks_are_calibrated_each_for_its_own_settings(tiny_store, tmp_path, monkeypatch):
    asked = {}

    def note(fitting):
        name = fitting.weights.stem
        asked[name] = fitting
        table = pd.DataFrame({"auroc": [0.9]})
        return runner.Made({f"trust_{name}_ood": table, f"trust_{name}_coverage": table})

    monkeypatch.setattr(ood, "ood_study", note)
    monkeypatch.setattr(ood, "prepared_store", lambda profile: tiny_store)
    job = runner.Job(load_profile("smoke"), tmp_path, tmp_path)
    assert runner.run(runner.study("ood", job), job) == []
    assert asked["cnn6"].ranges is None and asked["cnn6"].sizes.decoys < 100
    settings = asked["cnn6_ranges"].draw(200, np.random.default_rng(0))
    errors = [setting.pixel_error for setting in settings]
    assert max(errors) <= 0.01 and min(errors) >= -0.01 and np.std(errors) > 0.004
    reference = load_examples("reference_images", tmp_path)
    assert len(reference.images) == len(reference.table) == min(100, tiny_store.design.records("train"))
    assert reference.images.float().std(dim=(1, 2)).numpy() == pytest.approx(1, abs=0.01)
