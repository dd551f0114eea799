"""Microscope and camera: constants of nature, round trips, and values that are refused."""

import numpy as np
import pytest
from pydantic import ValidationError

from nanoshape_lib.simulation.optics import Camera, Microscope


@pytest.mark.parametrize(("energy_eV", "wavelength_A"), [(200e3, 0.0250793), (300e3, 0.0196875)])
def test_wavelength_is_that_of_a_relativistic_electron(energy_eV, wavelength_A):
    assert Microscope(energy_eV=energy_eV).wavelength_A == pytest.approx(wavelength_A, abs=5e-8)


def test_scherzer_defocus_has_the_sign_of_the_spherical_aberration():
    assert Microscope(Cs_A=-150e3).scherzer_defocus_A == pytest.approx(-75, abs=0.2)
    assert Microscope(Cs_A=1.2e7).scherzer_defocus_A == pytest.approx(np.sqrt(1.5 * 1.2e7 * 0.0250793), rel=1e-5)


def test_the_aperture_of_25_mrad_ends_at_one_per_angstrom():
    assert Microscope().aperture_per_A == pytest.approx(1.0, rel=0.01)


def test_json_brings_every_value_back():
    microscope = Microscope(energy_eV=300e3, Cs_A=1234.5, focal_spread_A=0.1 + 0.2)
    assert Microscope.model_validate_json(microscope.model_dump_json()) == microscope
    camera = Camera(pixels=64, pixel_size_A=2.0, dose_e_A2=None)
    assert Camera.model_validate_json(camera.model_dump_json()) == camera
    assert camera.field_A == 128


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (Microscope, {"energy_eV": 200}),
        (Microscope, {"focal_spread_A": -1}),
        (Microscope, {"aperture_mrad": 0}),
        (Microscope, {"convergence_mrad": float("nan")}),
        (Microscope, {"Cs_mm": 1.2}),
        (Camera, {"dose_e_A2": 0}),
        (Camera, {"pixels": 8}),
        (Camera, {"mtf_c1": 1.5}),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(kind, values):
    with pytest.raises(ValidationError, match=next(iter(values))):
        kind(**values)
