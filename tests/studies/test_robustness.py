"""Networks at other settings and on other specimens: a training that goes on where it stopped, and their tables."""

import math
import time

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from nanoshape_lib.datasets.generation import make_record
from nanoshape_lib.datasets.images import as_designed
from nanoshape_lib.datasets.store import Store
from nanoshape_lib.errors import NanoshapeError, OutOfTime
from nanoshape_lib.figures.robustness import range_contributions, settings_curves, specimen_curves
from nanoshape_lib.networks.models import build_model, load_weights, save_weights
from nanoshape_lib.networks.training import TrainingConfig, predict
from nanoshape_lib.particles.shapes import neighbour_distances
from nanoshape_lib.particles.specimen import Specimen
from nanoshape_lib.simulation.film import Placement, density_g_cm3, load_block, load_film
from nanoshape_lib.simulation.optics import Ranges
from nanoshape_lib.studies import robustness, runner
from nanoshape_lib.studies.profiles import DomainRandomisation, RobustnessStudy, load_profile
from nanoshape_lib.studies.results import load_results

DESIGN = load_profile("paper").dataset


def at_rest(**quantities):
    """A cube of the test set at 0 K, in its own frame about its centre, and its record."""
    record = make_record(DESIGN, "test", 0, Specimen(temperature_K=0, **quantities))
    positions = record.scene.particle.positions @ record.rotation
    return positions - positions.mean(axis=0), record


def test_atoms_shake_more_the_warmer_they_are_and_rest_at_0_K():
    still, record = at_rest()
    assert np.ptp(neighbour_distances(record.scene.particle)) < 1e-3
    for temperature_K, rms_A in ((300, 0.085), (1200, 0.17)):
        warm = make_record(DESIGN, "test", 0, Specimen(temperature_K=temperature_K))
        moved = warm.scene.particle.positions @ warm.rotation
        moved -= moved.mean(axis=0)
        assert (moved - still).std() == pytest.approx(rms_A, rel=0.05)
    usual = make_record(DESIGN, "test", 0)
    assert (usual.scene.particle.positions == make_record(DESIGN, "test", 0, Specimen()).scene.particle.positions).all()


def test_strain_makes_the_particle_longer_along_one_cube_axis_alone():
    still, _ = at_rest()
    stretched, _ = at_rest(strain=0.02)
    assert np.ptp(stretched, axis=0) / np.ptp(still, axis=0) == pytest.approx([1, 1, 1.02], abs=1e-6)


@pytest.mark.parametrize("thickness_A", [12.0, 60.0, 75.0])
def test_a_film_is_as_thick_and_as_dense_as_asked_and_ends_like_the_block(thickness_A):
    film, block = load_film(3, thickness_A), load_block(3)
    assert film.cell.lengths()[2] == thickness_A
    assert film.positions[:, 2].min() >= 0 and film.positions[:, 2].max() <= thickness_A
    assert density_g_cm3(film) == pytest.approx(density_g_cm3(block), rel=0.03)
    depth = min(thickness_A, 30.0)
    ends = [
        each.positions[each.positions[:, 2] >= top - depth] - [0, 0, top]
        for each, top in ((film, thickness_A), (block, 30.0))
    ]
    assert ends[0] == pytest.approx(ends[1], abs=1e-9)


def test_layers_of_a_thick_film_do_not_repeat_each_other():
    positions = load_film(2, 60.0).positions
    upper, lower = (
        np.histogram2d(*positions[part][:, :2].T, bins=64)[0] for part in (positions[:, 2] >= 30, positions[:, 2] < 30)
    )
    assert abs(np.corrcoef(upper.ravel(), lower.ravel())[0, 1]) < 0.1


@pytest.mark.parametrize("thickness_A", [0.0, -5.0, float("nan"), float("inf")])
def test_a_film_without_thickness_is_refused(thickness_A):
    with pytest.raises(NanoshapeError, match="but must be a positive number of ångströms"):
        load_film(0, thickness_A)


@pytest.mark.parametrize("quantities", [{"temperature_K": -1}, {"strain": 0.2}, {"film_A": 0}, {"pressure": 1}])
def test_impossible_specimens_are_refused(quantities):
    with pytest.raises(ValidationError):
        Specimen(**quantities)


def test_a_film_of_the_blocks_thickness_is_the_usual_one():
    draws = {"cnn6": as_designed(DESIGN)}
    usual, labels = robustness.specimen_images(DESIGN, Specimen(), draws, 5)
    same, _ = robustness.specimen_images(DESIGN, Specimen(film_A=30, strain=0), draws, 5)
    thick, _ = robustness.specimen_images(DESIGN, Specimen(film_A=60), draws, 5)
    assert torch.equal(usual["cnn6"], same["cnn6"]) and list(labels) == [0, 1, 2, 3, 4]
    assert not torch.equal(usual["cnn6"], thick["cnn6"])
    assert Placement(0, thickness_A=30.0).positions() == pytest.approx(Placement(0).positions())


def test_the_study_of_specimens_counts_what_the_classifier_says(tmp_path, monkeypatch):
    monkeypatch.setattr(robustness, "SPECIMENS", {"temperature_K": (300, 600)})
    few = RobustnessStudy(specimen_waves=10)
    job = runner.Job(load_profile("paper").model_copy(update={"robustness": few}), tmp_path, tmp_path)
    assert runner.run(runner.study("specimens", job), job) == []
    table, origin = load_results("specimens", tmp_path)
    assert list(table["value"]) == [300, 300, 600, 600] and list(table["network"]) == ["cnn6", "cnn6_ranges"] * 2
    assert (table["particles"] == 10).all() and origin["parts"] == {"expected": 2, "finished": 2}
    assert (table["accuracy"] >= 0.8).all() and (table["refused"] <= 0.5).all()
    for share in ("accuracy", "refused"):
        assert (table[f"{share}_low"] <= table[share]).all() and (table[share] <= table[f"{share}_high"]).all()


def test_the_shipped_table_asks_the_same_particles_and_a_thick_film_is_noticed():
    table, origin = load_results("specimens")
    of = {"temperature_K": 300, "strain": 0, "film_A": 30}
    usual = table[table["value"] == table["quantity"].map(of)]
    assert (usual.groupby("network")[["accuracy", "refused"]].nunique() == 1).all(axis=None) and len(usual) == 6
    films = table[table["quantity"] == "film_A"].pivot(index="value", columns="network", values="refused")
    assert (films.loc[90] > films.loc[30]).all()
    assert len(specimen_curves(table, origin["profile"]["name"]).axes) == 3


PLAN = DomainRandomisation(passes=2, training=TrainingConfig(epochs=3, batch_size=8, learning_rate=1e-3))


@pytest.fixture
def start(tmp_path):
    """Weights to start from."""
    torch.manual_seed(3)
    path = tmp_path / "weights/cnn6.safetensors"
    save_weights(build_model("cnn6"), {"architecture": "cnn6", "temperature": 1.5}, path)
    return path


@pytest.fixture
def job(copied, start, tmp_path, monkeypatch):
    """A job on the tiny store."""
    store = Store(copied)
    monkeypatch.setattr(robustness, "prepared_store", lambda profile: store)
    monkeypatch.setattr(robustness, "image_set", lambda profile, *_: robustness.random_images(store, Ranges(), 5))
    asked = RobustnessStudy(domain_randomisation=PLAN, ablations=PLAN, random_waves=5, sweep_waves=5)
    profile = load_profile("smoke").model_copy(update={"dataset": store.design, "robustness": asked})
    return runner.Job(profile, tmp_path / "results", start.parent)


def test_a_training_with_ranges_begins_with_the_given_weights_and_resumes(copied, start):
    store = Store(copied)
    idle = PLAN.model_copy(update={"training": TrainingConfig(epochs=1, batch_size=8, learning_rate=1e-12)})
    same, _, _ = robustness.fine_tune(idle, store, start)
    for before, after in zip(load_weights(start)[0].parameters(), same.parameters(), strict=True):
        assert torch.allclose(before, after, atol=1e-6)
    whole, card, validation = robustness.fine_tune(PLAN, store, start)
    assert card["ranges"] == Ranges().model_dump() and card["train_images"] == 30 and len(validation) == 10
    cards = {run: load_weights(run / "weights.safetensors")[1] for run in copied.parent.glob("domain-*/run-*")}
    (run,) = (run for run, each in cards.items() if each["history"] == card["history"])
    run.rename(run.with_name("undisturbed"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "monotonic", iter([0.0, 2.0]).__next__)
        with pytest.raises(OutOfTime, match="has 1 of 3 epochs"):
            robustness.fine_tune(PLAN, store, start, deadline=1.0)
    again, its_card, _ = robustness.fine_tune(PLAN, store, start)
    assert all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), again.state_dict().values(), strict=True))
    assert [row["train_loss"] for row in card["history"]] == [row["train_loss"] for row in its_card["history"]]


def test_the_study_of_domain_randomisation_writes_tables_weights_and_figures(job, monkeypatch):
    monkeypatch.setattr(robustness, "SWEEPS", {"dose_e_A2": (100.0, 1000.0), "defocus_A": (-300.0, 0.0, 300.0)})
    late = runner.Job(job.profile, job.folder, job.weights, -math.inf)
    parts = ["original", "random", "dose_e_A2", "defocus_A"]
    assert runner.run(runner.study("domain_randomisation", late), late) == parts and not job.folder.exists()
    assert runner.run(runner.study("domain_randomisation", job), job) == []

    table, origin = load_results("domain_randomisation_accuracy", job.folder)
    assert table["network"].unique().tolist() == ["cnn6", "cnn6_ranges"]
    counts = table.groupby("setting")["images"].agg(["size", "sum"])
    assert counts["size"].to_dict() == {"original": 2, "random": 2, "dose_e_A2": 4, "defocus_A": 6}
    assert counts["sum"].to_dict() == {"original": 20, "random": 20, "dose_e_A2": 20, "defocus_A": 30}
    model, card = load_weights(job.weights / "cnn6_ranges.safetensors")
    drawn = robustness.random_images(robustness.prepared_store(job.profile), Ranges(), 5)
    right = (predict(model, drawn.images).argmax(axis=1) == drawn.labels.numpy()).mean()
    assert card["test_accuracy"] == pytest.approx(right) and card["temperature"] > 0
    found = table[(table["network"] == "cnn6_ranges") & (table["setting"] == "random")]["accuracy"].item()
    assert found == pytest.approx(right) and origin["plan"]["passes"] == 2

    calibration, _ = load_results("domain_randomisation_calibration", job.folder)
    assert calibration["temperature"].tolist() == pytest.approx([1.5, card["temperature"]], rel=1e-4)
    figure = settings_curves(table, card["ranges"], "test")
    assert sum(ax.lines != [] and bool(ax.get_xlabel()) for ax in figure.axes) == 2


def test_ablations_leave_each_range_out_in_turn(job, start, monkeypatch):
    asked: list[Ranges] = []

    def tuned(plan, *args):
        asked.append(plan.ranges)
        return load_weights(start)[0], {"seconds": 1.0}, None

    monkeypatch.setattr(robustness, "fine_tune", tuned)
    monkeypatch.setattr(robustness, "SWEEPS", {name: getattr(Ranges(), name)[:1] for name in robustness.SWEEPS})
    assert runner.run(runner.study("ablations", job), job) == []
    for ranges, name in zip(asked[1:], Ranges().drawn, strict=True):
        changed = [each for each in Ranges().drawn if getattr(ranges, each) != getattr(Ranges(), each)]
        assert changed == [name]
    assert asked[1].defocus_A == (-70, 90) and asked[2].Cs_A == (-150e3, -150e3)
    table, _ = load_results("domain_randomisation_ablations", job.folder)
    assert table.groupby("network").size().to_dict() == {"all ranges": 10} | {
        f"without {name}": 2 for name in Ranges().drawn
    }
    assert len(range_contributions(table, Ranges().model_dump(), "test").axes) == 2
