"""Specimens of other temperatures and strains, on other films, and what networks say of them."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from nanoshape_lib.datasets.generation import make_record
from nanoshape_lib.datasets.images import as_designed
from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.figures.transfer import specimen_curves
from nanoshape_lib.particles.shapes import neighbour_distances
from nanoshape_lib.particles.specimen import Specimen
from nanoshape_lib.paths import DATA
from nanoshape_lib.simulation.film import Placement, density_g_cm3, load_block, load_film
from nanoshape_lib.studies import specimens
from nanoshape_lib.studies.profiles import load_profile
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
    usual, labels = specimens.specimen_images(DESIGN, Specimen(), draws, 5)
    same, _ = specimens.specimen_images(DESIGN, Specimen(film_A=30, strain=0), draws, 5)
    thick, _ = specimens.specimen_images(DESIGN, Specimen(film_A=60), draws, 5)
    assert torch.equal(usual["cnn6"], same["cnn6"]) and list(labels) == [0, 1, 2, 3, 4]
    assert not torch.equal(usual["cnn6"], thick["cnn6"])
    assert Placement(0, thickness_A=30.0).positions() == pytest.approx(Placement(0).positions())


def test_the_study_counts_what_the_classifier_says(monkeypatch):
    monkeypatch.setattr(specimens, "SPECIMENS", {"temperature_K": (300, 600)})
    draws = {"cnn6": as_designed(DESIGN)}
    table = specimens.specimen_study({"cnn6": DATA / "weights/cnn6.safetensors"}, draws, DESIGN, 10)
    assert list(table["value"]) == [300, 600] and (table["particles"] == 10).all()
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
    assert len(specimen_curves(table, origin["profile"]).axes) == 3
