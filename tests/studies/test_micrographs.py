"""The study of whole micrographs: what it counts, and how it goes on where it stopped."""

import pytest
from pandas.testing import assert_frame_equal

from nanoshape_lib.errors import NanoshapeError, OutOfTime
from nanoshape_lib.micrographs.analysis import WEIGHTS
from nanoshape_lib.particles.shapes import Shape
from nanoshape_lib.studies import micrographs, runner
from nanoshape_lib.studies.micrographs import name_particles, shares
from nanoshape_lib.studies.profiles import RobustnessStudy, load_profile
from nanoshape_lib.studies.results import load_results
from nanoshape_lib.trust.classifier import Classifier


@pytest.fixture(scope="module")
def classifier():
    return Classifier(WEIGHTS)


def test_the_study_counts_what_was_found_right_wrong_and_refused(micrograph, classifier):
    table = name_particles(micrograph, {"ours": classifier})
    counted = shares(table).iloc[0]
    assert counted["particles"] == len(micrograph.truth)
    assert counted["found"] == (table["found"] & (table["label"] >= 0)).sum() / len(micrograph.truth)
    assert counted["right"] + counted["wrong"] + counted["refused"] == pytest.approx(1)
    assert counted["right_low"] < counted["right"] <= counted["right_high"]
    # A particle that was named wrongly and one that was not found, by hand.
    spoiled = table.copy()
    spoiled.loc[0, ["predicted", "known"]] = [(spoiled["label"].iloc[0] + 1) % len(Shape), True]
    spoiled.loc[1, ["found", "known", "predicted"]] = [False, False, -1]
    assert shares(spoiled).iloc[0]["found"] == counted["found"] - 1 / len(table)
    assert shares(spoiled).iloc[0]["wrong"] >= 1 / len(table)


def test_the_study_goes_on_where_it_stopped_and_refuses_tables_of_another_recipe(tmp_path, monkeypatch, micrograph):
    taken = []

    def note(design):
        if len(taken) == 2:
            raise OutOfTime("before the third")
        taken.append((design.metal, design.seed, design.fidelity))
        return micrograph

    monkeypatch.setattr(micrographs, "METALS", ("Au", "Pt"))
    few = {"robustness": RobustnessStudy(micrographs=1)}
    job = runner.Job(load_profile("smoke", 3).model_copy(update=few), tmp_path, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(micrographs, "take", note)
        assert runner.run(runner.study("micrographs", job), job) == ["metals Pt 35000"]
    assert taken == [("Au", 30000, "fast"), ("Au", 35000, "fast")]
    gold, first = (load_results(name, tmp_path)[0] for name in ("micrographs", "metals"))
    assert set(gold["network"]) == {"cnn6", "cnn6_ranges"} and len(gold) >= 2 * len(micrograph.truth)
    monkeypatch.setattr(micrographs, "take", lambda design: micrograph)
    assert runner.run(runner.study("micrographs", job), job) == []
    both, origin = load_results("metals", tmp_path)
    assert_frame_equal(both.iloc[: len(first)], first)
    assert set(both["metal"]) == {"Au", "Pt"} and set(both["network"]) == {"cnn6_ranges"}
    assert origin["dose_e_A2"] == 300 and origin["parts"] == {"expected": 3, "finished": 3}
    monkeypatch.setattr(micrographs, "RECIPE", 1000)
    with pytest.raises(NanoshapeError, match="is of another design"):
        runner.run(runner.study("micrographs", job), job)
