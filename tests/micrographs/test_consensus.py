"""What all particles of a micrograph show together: weighted means, what is said of them, and other metals."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from nanoshape_lib.micrographs.analysis import WEIGHTS, analyse
from nanoshape_lib.micrographs.pixel_size import (
    FIELD_SYSTEMATIC,
    SURE,
    NoLattice,
    PixelSize,
    consensus,
    estimate_pixel_size,
    sentences,
)
from nanoshape_lib.particles.shapes import GOLD_LATTICE_CONSTANT_A, available_sizes, build
from nanoshape_lib.simulation.field import _scenes, place
from nanoshape_lib.studies.micrographs import draw_design, each_micrograph, take, told_by_count
from nanoshape_lib.studies.results import load_results
from nanoshape_lib.trust.classifier import DEVIATIONS, SHOWN, USUAL, Classifier

RING = PixelSize(0.52, 0.003, {})


def _shown(logs: np.ndarray, deviations: np.ndarray) -> pd.DataFrame:
    """Particles that show such logarithms over the usual (N, 3) with such relative deviations."""
    values = USUAL * np.exp(logs)
    return pd.DataFrame(np.hstack([values, values * deviations]), columns=[*SHOWN, *DEVIATIONS])


@pytest.fixture(scope="module")
def platinum():
    """A micrograph with pixels of 1 Å, whose rings nobody can read, in gold and in platinum."""
    design = draw_design(2006)
    assert design.camera.pixel_size_A == 1
    return {metal: take(design.model_copy(update={"metal": metal})) for metal in ("Au", "Pt")}


def test_a_consensus_is_the_weighted_mean_and_as_uncertain_as_it_scatters():
    rng, true = np.random.default_rng(0), np.array([0.01, -0.04, 0.1])
    deviations = rng.uniform(0.01, 0.2, (12, 3))
    found = [consensus(_shown(true + deviations * rng.standard_normal((12, 3)), deviations), 1.0) for _ in range(4000)]
    means = np.array([each.logarithms for each in found])
    assert means.mean(axis=0) == pytest.approx(true, abs=5 * means.std(axis=0).max() / np.sqrt(4000))
    assert found[0].uncertainties == pytest.approx(np.hypot(means.std(axis=0), FIELD_SYSTEMATIC), rel=0.03)
    table = _shown(true + deviations, deviations)
    shown = np.log(table[list(SHOWN)].to_numpy() / USUAL)
    by_hand = [np.average(shown[:, column], weights=deviations[:, column] ** -2.0) for column in range(3)]
    assert consensus(table, 1.0).logarithms == pytest.approx(by_hand)


def test_rings_tell_the_lattice_and_are_spoken_of_elsewhere():
    table = _shown(np.zeros((3, 3)), np.full((3, 3), 0.02))
    found = consensus(table, 0.5, RING)
    assert found.logarithms == pytest.approx([0, np.log(0.5 / 0.52), 0])
    assert found.uncertainties[1] == pytest.approx(0.003 / 0.52)
    assert found.surprises[1] > SURE and sentences(found, 0.5, "a.tif") == []


def test_what_is_surely_not_as_usual_is_said_with_its_uncertainty():
    logs = np.log([[1.05, 0.96, 46 / 79]])
    said = sentences(consensus(_shown(logs, np.full((1, 3), 0.009)), 0.4), 0.4, "a.tif")
    assert said == [
        "the particles in a.tif and their film together fit pixels of 0.42 ± 0.004 Å rather than 0.4 Å",
        "the fringes of all particles in a.tif together fit a lattice constant of 3.91 ± 0.04 Å rather than gold's"
        " 4.08 Å: the pixel size is wrong, or this is another metal",
        "the contrast of all particles in a.tif together fits atoms of number 46 ± 1 rather than gold's 79",
    ]
    assert sentences(consensus(_shown(logs / 20, np.full((1, 3), 0.009)), 0.4), 0.4, "a.tif") == []


def test_a_micrograph_in_another_metal_has_its_atoms_and_its_lattice():
    design = draw_design(0).model_copy(update={"metal": "Pt"})
    gold, truth = place(draw_design(0)), place(design)
    assert truth["size_A"].to_numpy() == pytest.approx(gold["size_A"].to_numpy() * 3.92 / GOLD_LATTICE_CONSTANT_A)
    scene = _scenes(design, truth)[0][0]
    assert set(scene.particle.symbols) == {"Pt"}
    size_A = min(available_sizes(gold["label"][0], 40, 80), key=lambda each: abs(each[0] - gold["size_A"][0]))[0]
    whole = build(gold["label"][0], size_A)
    spread = np.linalg.norm(scene.particle.positions - scene.particle.positions.mean(axis=0), axis=1).mean()
    expected = np.linalg.norm(whole.positions, axis=1).mean() * 3.92 / GOLD_LATTICE_CONSTANT_A
    assert spread == pytest.approx(expected, rel=2e-3), "thermal motion apart"


def test_particles_together_tell_platinum_from_gold_where_no_ring_can_be_read(platinum, tmp_path):
    notes, classifier = {}, Classifier(WEIGHTS)
    for metal, micrograph in platinum.items():
        with pytest.raises(NoLattice):
            estimate_pixel_size(micrograph.images[0], micrograph.pixel_size_A)
        np.save(tmp_path / f"{metal}.npy", micrograph.images[0])
        found = analyse(tmp_path / f"{metal}.npy", classifier, micrograph.pixel_size_A)
        notes[metal] = " ".join(found.micrograph.notes)
    assert "lattice constant" in notes["Pt"] and "rather than" not in notes["Au"]


def test_a_metal_is_told_as_an_independent_count_of_pairs_says():
    rng, tables = np.random.default_rng(1), []
    for metal, ratio in (("Au", 1.0), ("Pt", 0.99)):
        for number in range(15):
            deviations = np.full((8, 3), [0.05, 0.02, 0.05])
            logs = np.log([1, ratio, 1]) + deviations * rng.standard_normal((8, 3))
            about = {"metal": metal, "micrograph": number, "pixel_size_A": 0.5, "found": True, "label": 0}
            tables.append(_shown(logs, deviations).assign(**about, ring_A=np.nan, ring_sd_A=np.nan))
    table = pd.concat(tables, ignore_index=True)
    each = each_micrograph(table)
    ratios = each.groupby("metal")["lattice_A"].mean() / GOLD_LATTICE_CONSTANT_A
    assert ratios.to_numpy() == pytest.approx([1, 0.99], abs=0.004)
    told = told_by_count(table, (1, 4)).set_index("particles")
    assert told.loc[0, "auroc"] == pytest.approx(roc_auc_score(each["metal"] == "Pt", each["surprise"]))
    assert told.loc[1, "auroc"] < told.loc[4, "auroc"] < told.loc[0, "auroc"]
    assert (told["low"] <= told["auroc"]).all() and (told["auroc"] <= told["high"]).all()


def test_the_shipped_micrographs_tell_every_metal_and_seldom_accuse_gold():
    table, _ = load_results("metals")
    assert table.groupby(["metal", "micrograph"]).ngroups == 160
    told = told_by_count(table)
    assert (told.loc[told["particles"] == 0, "auroc"] >= 0.95).all()
    said = each_micrograph(table).groupby("metal")["said"].mean()
    assert said["Au"] <= 0.05 and said["Pt"] >= 0.8
