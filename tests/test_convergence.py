"""Errors of the named grids, and of the treatments of partial coherence."""

import numpy as np
import pytest

from nanoshape_lib.convergence import (
    coherence_images,
    coherence_table,
    convergence_table,
    relative_error,
    standard_scenes,
)
from nanoshape_lib.hrtem import FIDELITIES, Fidelity, exit_wave
from nanoshape_lib.microscope import Microscope

MICROSCOPE = Microscope()
GENERAL = "general orientation"


@pytest.fixture(scope="module")
def scenes():
    return standard_scenes(0)


def test_relative_error_ignores_the_mean_of_the_reference_alone():
    reference = 5 + np.array([1.0, -1.0, 1.0, -1.0])
    assert relative_error(reference, reference) == 0
    assert relative_error(reference + 1, reference) == pytest.approx(1)
    assert relative_error(5 + 0.9 * (reference - 5), reference) == pytest.approx(0.1)


@pytest.mark.parametrize(("name", "bound"), [("fast", 0.14), ("standard", 0.06), ("reference", 0.02)])
def test_named_fidelities_are_as_near_to_a_finer_grid_as_is_said_of_them(scenes, name, bound):
    table = convergence_table({GENERAL: scenes[GENERAL]}, [FIDELITIES[name]], MICROSCOPE)
    row = table.iloc[0]
    assert row["pixels"] == {"fast": 512, "standard": 768, "reference": 1536}[name]
    assert row["wave"] < row["images_low"] + 0.05
    assert bound / 4 < row["images_low"] <= row["images_high"] < bound


def test_finer_grids_are_nearer_and_zone_axes_are_harder(scenes):
    table = convergence_table(scenes, [(0.4, 4), (0.25, 4)], MICROSCOPE, Fidelity(0.2, 2.0))
    by_scene = table.pivot(index="scene", columns="sampling_A", values="images_high")
    assert (by_scene[0.25] < by_scene[0.4]).all()
    assert (by_scene.loc["along [001]"] > by_scene.loc[GENERAL]).all()


def test_the_low_rank_form_is_right_and_the_envelope_on_the_wave_is_not(scenes):
    wave = exit_wave(scenes[GENERAL], MICROSCOPE, "fast")
    table = coherence_table([coherence_images(wave, 70.0, MICROSCOPE)], [70.0], MICROSCOPE).set_index("treatment")
    assert table.loc["low rank", "error"] < 0.005
    assert table["coherent images"].to_dict() == {"explicit": 625, "low rank": 4, "quasi-coherent": 1}
    assert table.loc["quasi-coherent", "error"] > 0.1
    assert table.loc["quasi-coherent", "mean intensity"] < table.loc["low rank", "mean intensity"] - 0.002
    assert table.loc["low rank", "mean intensity"] == pytest.approx(table.loc["explicit", "mean intensity"], abs=2e-4)
