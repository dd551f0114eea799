"""Micrographs of many particles against the image of one, and against what a camera counts."""

import numpy as np
import pytest
import torch
from fourier import fourier_crop

from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.simulation.exit_waves import exit_wave, wave_pixels
from nanoshape_lib.simulation.field import MicrographDesign, _scenes, field_wave, form_micrograph, place
from nanoshape_lib.simulation.imaging import form_images
from nanoshape_lib.simulation.optics import Camera

ONE = MicrographDesign(seed=3, tiles=1, particles=1, defocus_A=60.0, camera=Camera(dose_e_A2=None))


@pytest.fixture(scope="module")
def one():
    return field_wave(ONE)


def test_a_field_of_one_particle_holds_the_wave_of_its_scene(one):
    wave, truth = one
    n = wave_pixels(ONE.microscope)
    got = torch.fft.ifft2(torch.as_tensor(fourier_crop(torch.fft.fft2(wave), n)))
    scenes, corners = _scenes(ONE, truth)
    shift = tuple(round(corner * n / 128) for corner in corners[0])
    expected = torch.roll(torch.as_tensor(exit_wave(scenes[0], ONE.microscope, ONE.fidelity)), shift, (0, 1))
    assert (got - expected).abs().max() < 2e-3


def test_its_image_is_that_of_a_single_wave(one):
    wave, _ = one
    small = torch.fft.ifft2(torch.as_tensor(fourier_crop(torch.fft.fft2(wave), wave_pixels(ONE.microscope))))
    expected = form_images(small[None], torch.tensor([ONE.defocus_A]), ONE.microscope, ONE.camera)[0].numpy()
    got = form_micrograph(wave, ONE.defocus_A, ONE.microscope, ONE.camera)
    np.testing.assert_allclose(got, expected, atol=2e-4)


@pytest.mark.parametrize("threads", [1, 2])
def test_an_empty_field_is_one_everywhere(threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        camera = Camera(pixels=1024, pixel_size_A=0.5, dose_e_A2=None)
        image = form_micrograph(torch.ones(1024, 1024, dtype=torch.complex64), 80.0, ONE.microscope, camera)
    finally:
        torch.set_num_threads(before)
    np.testing.assert_allclose(image, 1.0, atol=1e-5)


def test_noise_falls_with_the_root_of_the_dose_and_light_with_the_slope(one):
    wave, _ = one

    def taken(dose, slope=(0.0, 0.0)):
        camera = ONE.camera.model_copy(update={"dose_e_A2": dose})
        return form_micrograph(wave, ONE.defocus_A, ONE.microscope, camera, 1, slope)

    clean = taken(None)
    noise = [np.std(taken(dose) - clean) for dose in (100.0, 400.0)]
    assert noise[0] / noise[1] == pytest.approx(2, rel=0.05)
    across = (np.arange(128) + 0.5) / 128 - 0.5
    np.testing.assert_allclose(taken(None, (0.2, 0.0)), clean * (1 + 0.2 * across[:, None]), rtol=1e-5)


def test_particles_keep_their_gap_and_stay_inside():
    design = MicrographDesign(seed=1, particles=20, gap_A=5.0)
    truth = place(design)
    spots, radii = truth[["x_A", "y_A"]].to_numpy(), truth["diameter_A"].to_numpy() / 2
    assert ((spots >= radii[:, None]) & (spots <= design.field_A - radii[:, None])).all()
    apart = np.hypot(*(spots[:, None] - spots).T) - radii - radii[:, None]
    assert apart[~np.eye(20, dtype=bool)].min() >= 5.0
    assert truth["label"].value_counts().tolist() == [4] * 5
    assert truth.equals(place(design)) and not truth.equals(place(design.model_copy(update={"seed": 2})))


def test_too_many_particles_are_refused():
    with pytest.raises(NanoshapeError, match="particles is 200, but after"):
        place(MicrographDesign(particles=200))
