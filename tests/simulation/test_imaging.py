"""Images against sums taken term by term, abTEM, the theory of weak objects, and counting statistics."""

import abtem
import numpy as np
import pytest
import torch
from fourier import squared_frequencies

from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.particles.orientation import euler
from nanoshape_lib.particles.shapes import build
from nanoshape_lib.particles.specimen import FIELD_A
from nanoshape_lib.simulation.exit_waves import exit_wave, wave_pixels
from nanoshape_lib.simulation.film import deposit
from nanoshape_lib.simulation.imaging import focal_series, form_images, intensity_spectrum, record, standardise, turn
from nanoshape_lib.simulation.optics import (
    KERNEL_POINTS,
    Camera,
    Microscope,
    contrast_transfer,
    focal_spread_modes,
    intensity_pixels,
    mtf,
)
from nanoshape_lib.simulation.validation import explicit_intensity

MICROSCOPE = Microscope()
COHERENT = Microscope(focal_spread_A=0, convergence_mrad=0)
NOISELESS = Camera(dose_e_A2=None)
IDEAL = Camera(dose_e_A2=None, mtf_c1=1.0)
PIXELS = wave_pixels(MICROSCOPE)


@pytest.fixture(scope="module")
def gold():
    """Exit wave of a truncated octahedron of 4 nm: thick gold, far from a weak object."""
    particle = build("truncated octahedron", 40)
    particle.positions = particle.positions @ euler(20, 35, 50).T
    return exit_wave(deposit(particle, None), MICROSCOPE, "fast")


@pytest.fixture(scope="module")
def weak():
    """A weak phase object of white noise, and its phase."""
    spectrum = np.fft.fft2(np.random.default_rng(0).normal(0, 1e-3, (PIXELS, PIXELS)))
    spectrum[squared_frequencies(PIXELS) > (0.98 * MICROSCOPE.aperture_per_A) ** 2] = 0
    phase = np.fft.ifft2(spectrum).real
    return 1 + 1j * phase, phase


def intensity(wave, defocus_A, microscope, pixels=PIXELS):
    spectra = torch.fft.fft2(torch.as_tensor(wave, dtype=torch.complex64), norm="forward")[None]
    spectrum = intensity_spectrum(spectra, torch.tensor([float(defocus_A)]), microscope, pixels)
    return torch.fft.irfft2(spectrum, s=(pixels, pixels), norm="forward")[0].numpy()


def camera_image(fine, camera=NOISELESS):
    return record(torch.fft.rfft2(torch.as_tensor(fine, dtype=torch.float32), norm="forward")[None], camera)[0].numpy()


def relative_rms(image, reference):
    return np.linalg.norm(image - reference) / np.linalg.norm(reference - reference.mean())


# ------------------------------------------------------------------ partial coherence


@pytest.mark.parametrize("focal_spread_A", [0.0, 10.0, 30.0, 60.0])
def test_focal_modes_add_up_to_the_gaussian_average(focal_spread_A):
    microscope = Microscope(focal_spread_A=focal_spread_A)
    modes = focal_spread_modes(microscope)
    u = np.linspace(0, microscope.aperture_per_A**2, KERNEL_POINTS)
    kernel = np.exp(-((np.pi * microscope.wavelength_A * focal_spread_A / 2 * (u[:, None] - u)) ** 2))
    error = np.abs(modes.T @ modes - kernel)
    # Interference with the transmitted beam, the first row, and the number of electrons are all but exact.
    assert error[0].max() < 1e-5 and np.diag(error).max() < 1e-5
    # The rest weighs as much as is scattered there.
    weight = (1 + 8 * np.linspace(0, 1, KERNEL_POINTS)) ** -2
    assert weight @ error @ weight < 2e-3 * weight.sum() ** 2
    assert len(modes) <= 2 + focal_spread_A / 15


@pytest.mark.parametrize("defocus_A", [-90.0, 70.0])
@pytest.mark.parametrize(
    ("changes", "nodes", "tolerance"),
    [
        ({"convergence_mrad": 0}, (25, 1), 0.002),
        ({"focal_spread_A": 0}, (1, 7), 0.002),
        ({}, (11, 5), 0.003),
    ],
    ids=["focus", "angle", "both"],
)
def test_images_agree_with_the_average_taken_term_by_term(gold, defocus_A, changes, nodes, tolerance):
    microscope = MICROSCOPE.model_copy(update=changes)
    explicit = explicit_intensity(gold, defocus_A, microscope, *nodes)
    ours = intensity(gold, defocus_A, microscope, explicit.shape[0])
    assert relative_rms(camera_image(ours), camera_image(explicit)) < tolerance


def test_focal_spread_is_the_half_width_at_1_over_e(gold):
    width_A, defocus_A = 30.0, 40.0
    offsets = np.linspace(-3, 3, 41) * width_A
    coherent = np.stack([intensity(gold, defocus_A + offset, COHERENT, 512) for offset in offsets])
    ours = camera_image(intensity(gold, defocus_A, Microscope(focal_spread_A=width_A, convergence_mrad=0), 512))
    for exponent, lowest, highest in ((offsets**2 / width_A**2, 0, 0.003), (offsets**2 / (2 * width_A**2), 0.03, 1)):
        weights = np.exp(-exponent) / np.exp(-exponent).sum()
        assert lowest <= relative_rms(ours, camera_image(np.tensordot(weights, coherent, 1))) < highest


@pytest.mark.parametrize("defocus_A", [-100.0, 0.0, 60.0])
def test_envelopes_are_those_of_abtem_for_a_weak_object(weak, defocus_A):
    waves = abtem.Waves(weak[0].astype(np.complex64), energy=MICROSCOPE.energy_eV, extent=FIELD_A)
    ctf = abtem.CTF(
        energy=MICROSCOPE.energy_eV,
        defocus=defocus_A,
        C30=MICROSCOPE.Cs_A,
        focal_spread=MICROSCOPE.focal_spread_A,
        angular_spread=MICROSCOPE.convergence_mrad,
    )
    theirs = np.abs(waves.apply_ctf(ctf).array) ** 2
    ours = intensity(weak[0], defocus_A, MICROSCOPE)
    assert ours.mean() == pytest.approx(theirs.mean(), abs=1e-4)
    assert relative_rms(ours - ours.mean(), theirs - theirs.mean()) < 0.01


@pytest.mark.parametrize("defocus_A", [-75.0, 0.0, 130.0])
@pytest.mark.parametrize("microscope", [COHERENT, MICROSCOPE], ids=["coherent", "partially coherent"])
def test_a_weak_phase_is_transferred_by_the_sine_of_chi_at_every_frequency(weak, microscope, defocus_A):
    wave, phase = weak
    image = np.fft.fft2(intensity(wave, defocus_A, microscope) - 1)
    q = np.sqrt(squared_frequencies(PIXELS))
    expected = 2 * contrast_transfer(q, defocus_A, microscope)[0] * np.fft.fft2(phase)
    inside = (q > 0) & (q < 0.95 * microscope.aperture_per_A)
    assert np.linalg.norm((image - expected)[inside]) < 0.01 * np.linalg.norm(expected[inside])


def test_defocus_undoes_propagation(gold):
    distance_A = 55.0
    ahead = np.exp(-1j * np.pi * MICROSCOPE.wavelength_A * distance_A * squared_frequencies(PIXELS))
    propagated = np.fft.ifft2(np.fft.fft2(gold) * ahead)
    assert relative_rms(intensity(propagated, distance_A + 20, COHERENT), intensity(gold, 20, COHERENT)) < 1e-4


# ------------------------------------------------------------------ grids and pixels


@pytest.mark.parametrize("camera", [NOISELESS, Camera(dose_e_A2=None, pixels=256, pixel_size_A=0.5)])
def test_nothing_aliases_into_the_camera_image(gold, camera):
    pixels = intensity_pixels(MICROSCOPE, camera)
    images = [camera_image(intensity(gold, 70, MICROSCOPE, n), camera) for n in (pixels, 2 * pixels)]
    assert relative_rms(*images) < 1e-3
    assert pixels % camera.pixels == 0


def test_an_intensity_formed_on_the_grid_of_the_wave_would_alias(gold):
    """The wave's own grid holds its amplitude, but not the square of it."""
    images = [camera_image(intensity(gold, 70, MICROSCOPE, n)) for n in (PIXELS, 2 * PIXELS)]
    assert relative_rms(*images) > 0.015


def test_each_image_of_a_batch_is_the_image_of_its_own_wave_and_defocus(gold):
    waves = torch.as_tensor(np.stack([gold, gold[::-1].copy()]))
    together = form_images(waves, torch.tensor([-80.0, 40.0]), MICROSCOPE, NOISELESS)
    for number, defocus_A in enumerate((-80.0, 40.0)):
        alone = form_images(waves[number : number + 1], torch.tensor([defocus_A]), MICROSCOPE, NOISELESS)
        assert (together[number] - alone[0]).abs().max() < 1e-5


def test_pixels_integrate_the_intensity(gold):
    fine, factor = 128 * 16, 16
    detail = intensity(gold, 70, MICROSCOPE, fine)
    # The trapezoidal rule over each pixel: both ends count half.
    sums = sum(np.roll(detail, -k, axis=0) * (0.5 if k in (0, factor) else 1) for k in range(factor + 1))
    sums = sum(np.roll(sums, -k, axis=1) * (0.5 if k in (0, factor) else 1) for k in range(factor + 1))
    image = camera_image(detail, IDEAL)
    assert relative_rms(image, sums[::factor, ::factor] / factor**2) < 0.02
    assert image.mean() == pytest.approx(detail.mean(), rel=1e-5)


def test_vacuum_is_even_and_one():
    images = focal_series(np.ones((PIXELS, PIXELS), np.complex64), np.array([-100, 0, 100]), MICROSCOPE, NOISELESS)
    assert images.shape == (3, 128, 128) and images.dtype == np.float32
    assert np.abs(images - 1).max() < 2e-4


def test_a_camera_with_another_field_is_refused(gold):
    with pytest.raises(NanoshapeError, match=r"pixels x pixel_size_A is 64 Å, but must be the field of the waves, 128"):
        focal_series(gold, np.array([0.0]), MICROSCOPE, Camera(pixels=64))


# ------------------------------------------------------------------ counting and modulation transfer


@pytest.mark.parametrize(("pixels", "pixel_size_A", "dose_e_A2"), [(128, 1.0, 100.0), (64, 2.0, 7.0)])
def test_counts_have_the_mean_and_the_variance_of_poisson(pixels, pixel_size_A, dose_e_A2):
    camera = Camera(pixels=pixels, pixel_size_A=pixel_size_A, dose_e_A2=dose_e_A2, mtf_c1=1.0)
    image = focal_series(np.ones((PIXELS, PIXELS)), np.zeros(8), MICROSCOPE, camera, seed=1)
    counts = image * dose_e_A2 * pixel_size_A**2
    assert counts == pytest.approx(np.round(counts), abs=0.01)
    assert counts.mean() == pytest.approx(dose_e_A2 * pixel_size_A**2, rel=0.01)
    assert counts.var() == pytest.approx(counts.mean(), rel=0.05)
    assert not np.array_equal(image[0], image[1])


def test_modulation_transfer_is_one_at_zero_and_falls_to_its_plateau():
    q = torch.linspace(0, 50, 500)
    transfer = mtf(NOISELESS, q)
    assert transfer[0] == 1 and (transfer.diff() < 0).all()
    assert transfer[-1].item() == pytest.approx(NOISELESS.mtf_c1, abs=1e-3)
    nyquist = torch.tensor(0.5 / NOISELESS.pixel_size_A)
    assert mtf(NOISELESS, nyquist).item() == pytest.approx(0.9 / (1 + 1.25**2) + 0.1)


def test_noise_is_white_before_the_scintillator_and_has_its_transfer_after():
    camera = Camera(dose_e_A2=400.0)
    noise = focal_series(np.ones((PIXELS, PIXELS)), np.zeros(40), MICROSCOPE, camera, seed=2) - 1
    power = (np.abs(np.fft.rfft2(noise)) ** 2).mean(axis=0) * camera.dose_e_A2 / noise[0].size
    q = torch.hypot(torch.fft.fftfreq(128)[:, None], torch.fft.rfftfreq(128))
    for low in np.arange(0.05, 0.5, 0.05):
        ring = ((q >= low) & (q < low + 0.05)).numpy()
        assert power[ring].mean() == pytest.approx((mtf(camera, q)[ring] ** 2).mean().item(), rel=0.05)


@pytest.mark.parametrize("frequency", [0.3, 0.7, 0.9])
def test_fringes_are_damped_at_their_own_frequency_before_they_are_sampled(frequency):
    camera, fine = Camera(dose_e_A2=None), 384
    cycles = round(frequency * FIELD_A)
    x = torch.arange(fine) * (FIELD_A / fine)
    intensity = (1 + 0.1 * torch.cos(2 * torch.pi * cycles / FIELD_A * x))[None, :, None].expand(1, fine, fine)
    seen = np.fft.rfft2(record(torch.fft.rfft2(intensity, norm="forward"), camera)[0].numpy()) / camera.pixels**2
    aliased = min(cycles, camera.pixels - cycles)
    q = cycles / FIELD_A
    expected = 0.05 * np.sinc(q) * (0.9 / (1 + (q / 0.4) ** 2) + 0.1)
    assert abs(seen[aliased, 0]) == pytest.approx(expected, rel=1e-3)


def test_the_same_seed_gives_the_same_noise(gold):
    first, same, other = (focal_series(gold, np.array([20.0]), MICROSCOPE, Camera(), seed) for seed in (3, 3, 4))
    assert np.array_equal(first, same) and not np.array_equal(first, other)


# ------------------------------------------------------------------ turns and standardisation


def in_disc(image, radius_A):
    """Values within a radius about the field's centre."""
    x = (np.arange(len(image)) + 0.5) / len(image) * FIELD_A - FIELD_A / 2
    return image[np.hypot(x[:, None], x) < radius_A]


@pytest.mark.parametrize("angle_deg", [90.0, 180.0, 270.0, -90.0])
def test_quarter_turns_of_images_are_exact(gold, angle_deg):
    waves, defocus = torch.as_tensor(gold)[None], torch.tensor([50.0])
    upright = form_images(waves, defocus, MICROSCOPE, NOISELESS)
    turned = form_images(waves, defocus, MICROSCOPE, NOISELESS, None, torch.tensor([angle_deg]))
    assert (turned - torch.rot90(upright, round(angle_deg / 90), (-2, -1))).abs().max() < 1e-5


def test_turns_add_up_and_their_inverse_undoes_them(gold):
    wave = torch.as_tensor(gold)[None]

    def turned(*angles_deg):
        spectra = torch.fft.fft2(wave)
        for angle_deg in angles_deg:
            spectra = turn(spectra, torch.tensor([angle_deg]))
        return torch.fft.ifft2(spectra)[0].numpy()

    back = turned(33.0, -33.0)
    assert np.linalg.norm(in_disc(back - gold, 50)) < 0.01 * np.linalg.norm(in_disc(gold - gold.mean(), 50))
    twice = turned(20.0, 25.0)
    once = turned(45.0)
    assert np.linalg.norm(in_disc(twice - once, 50)) < 0.01 * np.linalg.norm(in_disc(gold - gold.mean(), 50))


@pytest.mark.parametrize("angle_deg", [13.0, 45.0, 160.0, 211.0])
def test_an_image_turned_is_the_image_of_the_particle_turned(angle_deg):
    """The particle itself, turned about the beam, simulated again: the sense of the turn and its sharpness."""
    particle = build("octahedron", 40)
    particle.positions = particle.positions @ euler(20, 35, 50).T
    other = particle.copy()
    other.rotate(angle_deg, "z")
    pair = [torch.as_tensor(exit_wave(deposit(atoms, None), MICROSCOPE, "fast"))[None] for atoms in (particle, other)]
    defocus = torch.tensor([60.0])
    turned = form_images(pair[0], defocus, MICROSCOPE, NOISELESS, None, torch.tensor([angle_deg]))[0].numpy()
    simulated = form_images(pair[1], defocus, MICROSCOPE, NOISELESS)[0].numpy()
    assert relative_rms(in_disc(turned, 55), in_disc(simulated, 55)) < 0.1
    assert in_disc(turned, 55).std() == pytest.approx(in_disc(simulated, 55).std(), rel=0.03)


@pytest.mark.parametrize("angle_deg", [13.0, 45.0, 31.0])
def test_turning_does_not_blur_the_finest_fringes_inside_the_aperture(angle_deg):
    """A plane wave near the aperture's edge, windowed so that it is zero at the field's edge, stays as strong."""
    x = torch.arange(256) / 2 - FIELD_A / 2
    first, second = torch.meshgrid(x, x, indexing="ij")
    envelope = torch.exp(-(first**2 + second**2) / (2 * 15.0**2))
    angle = np.radians(angle_deg)
    upright = envelope * torch.exp(2j * np.pi * second * 0.9)
    drawn = envelope * torch.exp(2j * np.pi * (second * np.cos(angle) - first * np.sin(angle)) * 0.9)
    spectrum = torch.fft.fft2(upright[None].to(torch.complex64))
    turned = torch.fft.ifft2(turn(spectrum, torch.tensor([angle_deg])))[0]
    assert torch.linalg.norm(turned - drawn) < 2e-3 * torch.linalg.norm(drawn)


def test_turned_images_have_the_noise_of_the_others(gold):
    waves = torch.as_tensor(gold).expand(4, -1, -1)
    angles, dim = torch.tensor([0.0, 31.0, 45.0, 77.0]), Camera(dose_e_A2=20.0)
    images = form_images(waves, torch.full((4,), 50.0), MICROSCOPE, dim, torch.Generator().manual_seed(0), angles)
    spread = images[:, :24, :].std(dim=(1, 2))
    assert (spread / spread[0] - 1).abs().max() < 0.05


def test_standardised_images_ignore_gain_and_offset(gold):
    images = torch.as_tensor(focal_series(gold, np.array([-50.0, 50.0]), MICROSCOPE, Camera(dose_e_A2=100.0)))
    standard = standardise(images)
    assert torch.allclose(standard, standardise(3.7 * images + 11), atol=1e-4)
    assert torch.allclose(standard.mean(dim=(1, 2)), torch.zeros(2), atol=1e-5)
    assert torch.allclose(standard.var(dim=(1, 2), correction=0), torch.ones(2), atol=1e-4)
    assert torch.isfinite(standardise(torch.ones(1, 8, 8))).all()
