"""The checks of notebook 12 would notice what is wrong; that they hold is tested on the page of the built book."""

from pathlib import Path

import numpy as np
import pytest

from nanoshape_lib.simulation import exit_waves, imaging, validation
from nanoshape_lib.simulation.exit_waves import FIDELITIES
from nanoshape_lib.simulation.film import Scene
from nanoshape_lib.simulation.optics import Microscope
from nanoshape_lib.simulation.validation import Check

MICROSCOPE = Microscope()
FAST = FIDELITIES["fast"]


def test_a_value_outside_its_tolerance_does_not_hold():
    checks = [Check("near", 1.01, 1.0, 0.02, "arithmetic"), Check("far", 0.97, 1.0, 0.02, "arithmetic")]
    assert validation.table(checks)["holds"].to_dict() == {"near": True, "far": False}


def test_the_amplitude_scattered_by_gold_is_that_of_an_independent_quadrature():
    with np.load(Path(__file__).parents[1] / "reference" / "analytic_A.npz") as file:
        q, expected = file["q_per_A"].astype(float)[:200], file["F_q_A2"][:200]
    found = validation.scattered_amplitude("Au", q, 200e3)
    assert np.abs(found - expected).max() < 2e-3 * np.abs(expected).max()


def test_a_window_that_is_too_small_would_be_noticed(monkeypatch):
    monkeypatch.setattr(exit_waves, "MARGIN_A", -1.0)
    assert not validation.table(validation.shortcut_checks(MICROSCOPE, FAST.sampling_A))["holds"].any()


def test_a_wrong_plane_of_zero_defocus_would_be_noticed(monkeypatch):
    monkeypatch.setattr(Scene, "mid_plane_A", property(lambda scene: scene.particle.positions[0, 2] + 8.0))
    assert not validation.table(validation.atom_checks(MICROSCOPE, 0.125))["holds"].iloc[0]


@pytest.fixture
def new_cameras():
    """No transfer function of a camera is kept from before, or for later."""
    imaging._camera_transfer.cache_clear()
    yield
    imaging._camera_transfer.cache_clear()


@pytest.mark.parametrize("wrong", [0.5, 2.0])
def test_a_wrong_modulation_transfer_would_be_noticed(monkeypatch, new_cameras, wrong):
    monkeypatch.setattr(imaging, "mtf", lambda camera, q: validation.mtf(camera, wrong * q))
    noise = [check for check in validation.camera_checks(MICROSCOPE) if "noise" in check.what]
    assert not validation.table(noise)["holds"].any()


def test_coarser_grids_scatter_less_like_one_atom():
    errors = [validation.atom_checks(MICROSCOPE, sampling_A)[0].found for sampling_A in (0.25, 1 / 6, 1 / 12)]
    assert errors == sorted(errors, reverse=True) and errors[-1] < 0.01
