"""The best matching simulation against particles whose orientation, size and defocus are known."""

import numpy as np
import pytest
import torch

from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.micrographs import template_matching
from nanoshape_lib.particles import orientation
from nanoshape_lib.particles.shapes import Shape, available_sizes, build
from nanoshape_lib.particles.specimen import shake
from nanoshape_lib.simulation.exit_waves import exit_wave
from nanoshape_lib.simulation.film import Placement, deposit
from nanoshape_lib.simulation.imaging import focal_series, standardise
from nanoshape_lib.simulation.optics import Camera, Microscope


@pytest.fixture(scope="module")
def small_library(tmp_path_factory):
    """Icosahedra of one size along directions 6 degrees apart: what a test can wait for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NANOSHAPE_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(template_matching, "SIZES_A", (48.0,))
        patch.setattr(template_matching, "directions", lambda shape: coarse(shape, 6.0))
        template_matching.library.cache_clear()
        yield template_matching.library(Shape.ICOSAHEDRON)
    template_matching.library.cache_clear()


coarse = template_matching.directions


@pytest.mark.parametrize("shape", Shape)
def test_directions_leave_no_gap_in_the_sector(shape, rng):
    chosen = template_matching.directions(shape, 6.0)
    some = rng.standard_normal((500, 3))
    reduced = orientation.reduce(some / np.linalg.norm(some, axis=1, keepdims=True), shape)
    away = np.degrees(np.arccos(np.clip((reduced @ chosen.T).max(axis=1), -1, 1)))
    assert away.max() < 6.3
    assert np.allclose(orientation.reduce(chosen, shape), chosen, atol=1e-6)


def test_a_signature_turns_with_its_image_and_forgets_shifts(small_library):
    wave = small_library.waves[0, 3].astype(np.float32)
    series = focal_series(wave[0] + 1j * wave[1], np.array([60.0]), Microscope(), Camera(dose_e_A2=None), 0)
    image = series[0]
    mark = template_matching.signature(image)
    quarter = template_matching.signature(np.rot90(image))
    rolled = np.roll(mark, template_matching.ANGLES // 2, axis=1)
    assert np.corrcoef(quarter.ravel(), rolled.ravel())[0, 1] > 0.99
    moved = template_matching.signature(np.roll(image, (3, -2), (0, 1)))
    assert np.corrcoef(moved.ravel(), mark.ravel())[0, 1] > 0.95


def test_orientation_size_and_defocus_of_an_icosahedron_on_carbon_are_recovered(small_library):
    rng, shape = np.random.default_rng(5), Shape.ICOSAHEDRON
    size_A, _ = min(available_sizes(shape), key=lambda each: abs(each[0] - 55))
    turned = orientation.random_rotations(1, rng)[0]
    atoms = build(shape, size_A)
    atoms.positions = atoms.positions @ turned.T
    wave = exit_wave(deposit(shake(atoms, rng), Placement(2), (4.0, -3.0)), Microscope(), "fast")
    camera = Camera(dose_e_A2=1000.0)
    image = standardise(torch.as_tensor(focal_series(wave, np.array([95.0]), Microscope(), camera, 1)))[0].numpy()
    found = template_matching.best_match(image, shape)
    direction = orientation.reduce(orientation.beam_direction(turned), shape)
    assert np.degrees(np.arccos(np.clip(found.direction @ direction, -1, 1))) < 2
    assert found.size_A == pytest.approx(size_A, rel=0.08)
    assert found.defocus_A == pytest.approx(95, abs=20)
    np.testing.assert_allclose(found.shift_A, (4, -3), atol=1.5)
    assert found.ncc > 0.5


def test_noise_matches_nothing(small_library, rng):
    assert template_matching.best_match(rng.standard_normal((128, 128)), Shape.ICOSAHEDRON).ncc < 0.2


def test_an_image_of_another_size_is_refused():
    with pytest.raises(NanoshapeError, match=r"image has shape \(64, 64\), but must be \(128, 128\)"):
        template_matching.best_match(np.zeros((64, 64)), Shape.CUBE)
