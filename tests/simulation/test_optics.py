"""Microscope and camera: constants of nature, round trips, and values that are refused."""

import abtem
import numpy as np
import pytest
import torch
from pydantic import ValidationError

from nanoshape_lib.simulation.imaging import form_images
from nanoshape_lib.simulation.optics import Camera, Microscope, aberration_function, aberration_gradient


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


# ------------------------------------------------------------------ aberrations


def random_lens(seed):
    """A microscope with every aberration, its defocus, and the same for abTEM."""
    rng = np.random.default_rng(seed)
    sizes = {"astigmatism": 60, "C21": 1e3, "C23": 1e3, "C32": 1e5, "C34": 1e5}
    fields = {f"{name}_A": rng.uniform(0, size) for name, size in sizes.items()}
    fields |= {f"{name}_deg": rng.uniform(-180, 180) for name in sizes}
    microscope, defocus_A = Microscope(Cs_A=rng.uniform(-3e5, 3e5), **fields), rng.uniform(-200, 200)
    theirs = {"C10": -defocus_A, "C30": microscope.Cs_A}
    for name in sizes:
        symbol = "C12" if name == "astigmatism" else name
        theirs |= {symbol: fields[f"{name}_A"], f"phi{symbol[1:]}": np.radians(fields[f"{name}_deg"])}
    return microscope, defocus_A, theirs


@pytest.mark.parametrize("seed", range(4))
def test_all_aberrations_are_those_of_abtem(seed):
    microscope, defocus_A, theirs = random_lens(seed)
    alpha, phi = np.meshgrid(np.linspace(0, 25e-3, 40), np.linspace(-np.pi, np.pi, 50, endpoint=False))
    expected = abtem.CTF(energy=microscope.energy_eV, **theirs)._evaluate_from_angular_grid(alpha, phi)
    q = alpha / microscope.wavelength_A
    chi = aberration_function(q * np.cos(phi), q * np.sin(phi), microscope, defocus_A)
    assert np.abs(np.exp(-1j * chi) - expected).max() < 1e-4
    assert np.abs(chi).max() > 3


@pytest.mark.parametrize("seed", range(4))
def test_the_gradient_is_that_of_the_aberration_function(seed):
    microscope, defocus_A, _ = random_lens(seed)
    qx, qy = np.random.default_rng(seed).uniform(-0.7, 0.7, (2, 300))
    step = 1e-5
    expected = [
        (
            aberration_function(qx + dx, qy + dy, microscope, defocus_A)
            - aberration_function(qx - dx, qy - dy, microscope, defocus_A)
        )
        / (2 * step)
        for dx, dy in ((step, 0), (0, step))
    ]
    found = aberration_gradient(qx, qy, microscope, defocus_A)
    assert np.allclose(found, expected, rtol=1e-6, atol=1e-3)


def test_torch_and_numpy_give_the_same_aberrations():
    microscope, defocus_A, _ = random_lens(7)
    q = np.linspace(-0.9, 0.9, 21)
    pair = [aberration_function(each[:, None], each, microscope, defocus_A) for each in (q, torch.as_tensor(q))]
    assert np.allclose(pair[0], pair[1].numpy(), atol=1e-9)


def test_turning_the_specimen_and_the_directions_of_the_lens_turns_the_image():
    """Quarter turns of the specimen under fixed directions are those of the image under directions turned back."""
    rng = np.random.default_rng(0)
    wave = torch.as_tensor(1 + 0.1 * rng.normal(size=(64, 64)) + 0.1j * rng.normal(size=(64, 64)))
    microscope, camera = random_lens(3)[0], Camera(pixels=16, pixel_size_A=1.0, dose_e_A2=None)
    microscope = microscope.model_copy(update={"aperture_mrad": 20.0})
    about_centre = torch.roll(torch.rot90(wave, 1), 1, 0)
    expected = form_images(about_centre, [40.0], microscope, camera, field_A=16.0)
    found = form_images(wave, [40.0], microscope, camera, turn_deg=torch.tensor([90.0]), field_A=16.0)
    assert (found - expected).abs().max() < 1e-4
    assert expected.std() > 0.01
