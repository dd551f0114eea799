"""Ranges of imaging settings: the optics against analytic results."""

import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from nanoshape_lib.datasets.images import make_images_at
from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.particles.specimen import FIELD_A
from nanoshape_lib.simulation.imaging import focal_series, form_images
from nanoshape_lib.simulation.optics import LIMITS, Camera, Microscope, Ranges, Setting, contrast_transfer

QUIET = Camera(dose_e_A2=None)
COHERENT = Microscope(focal_spread_A=0, convergence_mrad=0)


def plain(**values) -> Setting:
    """A noiseless setting without aberration_function, but for the given values."""
    usual = {"defocus_A": 0, "Cs_A": 0, "focal_spread_A": 0, "convergence_mrad": 0, "mtf_c2": 0.4, "dose_e_A2": None}
    return Setting(**(usual | values))


def grating(indices, amplitude=1e-3, n=256):
    """A weak phase object: cosines with these numbers of periods in the field, along x and y."""
    x = torch.arange(n) / n
    phase = sum(torch.cos(2 * torch.pi * (h * x[:, None] + k * x)) for h, k in indices)
    return torch.complex(torch.ones(n, n), amplitude * phase)[None]


def amplitude_at(image, h, k):
    """Amplitude of a cosine in an image, with the phase that it has on pixels centred half a pixel off."""
    n = len(image)
    x = (torch.arange(n) + 0.5) / n
    wave = torch.exp(-2j * torch.pi * (h * x[:, None] + k * x))
    return float(2 * (image * wave).mean().real)


def camera(h, k, camera=QUIET):
    """Pixel integration and MTF, from their definitions."""
    q = math.hypot(h, k) / FIELD_A
    mtf = 0.9 / (1 + (2 * q / 0.8) ** 2) + 0.1
    return np.sinc(h / FIELD_A) * np.sinc(k / FIELD_A) * mtf


def test_ranges_are_checked():
    for wrong, text in (
        ({"dose_e_A2": (0, 100)}, "dose_e_A2 is 0 to 100, but must rise and lie between 1 and 1e\\+07"),
        ({"defocus_A": (100, -100)}, "defocus_A is 100 to -100, but must rise"),
        ({"pixel_error": (-0.5, 0)}, "pixel_error is -0.5 to 0, but must rise and lie between -0.1 and 0.1"),
        ({"Cs_A": (0, math.nan)}, "finite number"),
        ({"gamma": (0, 1)}, "Extra inputs"),
    ):
        with pytest.raises(ValidationError, match=text):
            Ranges(**wrong)
    with pytest.raises(NanoshapeError, match="name is 'tilt', but must be one of defocus_A, Cs_A"):
        Ranges().narrowed("tilt", 0, 1)
    assert Ranges().narrowed("Cs_A", 5, 5) == Ranges(Cs_A=(5, 5))


def test_settings_fill_their_ranges_evenly():
    higher = {"C21_A": (0, 2e3), "C23_A": (100, 3e3), "C32_A": (0, 1e5), "C34_A": (0, 2e5)}
    ranges, rng = Ranges(**higher), np.random.default_rng(0)
    drawn = [ranges.draw(rng) for _ in range(4000)]
    for name in LIMITS:
        values, (low, high) = np.array([getattr(each, name) for each in drawn]), getattr(ranges, name)
        if name == "dose_e_A2":
            values, low, high = np.log(values), np.log(low), np.log(high)
        assert values.min() >= low and values.max() <= high
        # Standard error of the mean of a uniform distribution: 0.0046 of its width.
        assert abs((values.mean() - (low + high) / 2) / (high - low)) < 0.025
        assert values.std() / (high - low) == pytest.approx(1 / math.sqrt(12), abs=0.05)
    assert len({each.focal_spread_A for each in drawn}) == 8


def test_ranges_without_width_give_the_images_of_the_design(tiny_store):
    design = tiny_store.design
    wave = tiny_store.waves("test", 1, 2)
    usual = Setting.nominal(design.microscope, design.camera)
    widthless = Ranges(
        **{name: (getattr(usual, name),) * 2 for name in LIMITS if name != "defocus_A"}, defocus_A=(90, 90)
    )
    drawn = widthless.draw(np.random.default_rng(0))
    quiet = design.camera.model_copy(update={"dose_e_A2": None})
    expected = focal_series(wave[0], np.array([90.0]), design.microscope, quiet)
    silent = drawn.model_copy(update={"dose_e_A2": None})
    found = form_images(torch.as_tensor(wave), [silent], design.microscope, design.camera)
    assert np.abs(found.numpy() - expected).max() < 1e-5
    noise = form_images(torch.as_tensor(wave), [drawn], design.microscope, design.camera).numpy() - expected
    usual_noise = focal_series(wave[0], np.array([90.0]), design.microscope, design.camera, seed=4) - expected
    neighbours = [(each[..., 1:] * each[..., :-1]).mean() / each.var() for each in (noise, usual_noise)]
    assert noise.std() == pytest.approx(usual_noise.std(), rel=0.03)
    assert neighbours[0] == pytest.approx(neighbours[1], abs=0.03)


def test_astigmatism_acts_as_defocus_that_depends_on_the_direction():
    setting = plain(defocus_A=60, Cs_A=-1e5, astigmatism_A=45, astigmatism_deg=30)
    spots = [(30, 0), (0, 30), (24, 18), (-18, 24)]
    image = form_images(grating(spots), [setting], COHERENT, QUIET)[0] - 1
    for h, k in spots:
        q, azimuth = math.hypot(h, k) / FIELD_A, math.degrees(math.atan2(k, h))
        local = 60 - 45 * math.cos(math.radians(2 * (azimuth - 30)))
        sine, _ = contrast_transfer(np.array(q), local, COHERENT.model_copy(update={"Cs_A": -1e5}))
        # A weak phase object of amplitude a gives the contrast 2 a sin χ.
        assert amplitude_at(image, h, k) == pytest.approx(2e-3 * float(sine) * camera(h, k), abs=2e-6)


def test_convergence_damps_by_the_slope_of_the_aberrations():
    """Against the sum over tilted illuminations: a tilt shifts each Fourier component by the gradient of χ."""
    theta, spots = 0.5, [(30, 0), (24, 18)]
    setting = plain(defocus_A=250, Cs_A=-1e5, astigmatism_A=60, astigmatism_deg=40, convergence_mrad=theta)
    damped = form_images(grating(spots), [setting], COHERENT, QUIET)[0] - 1
    sharp = form_images(grating(spots), [setting.model_copy(update={"convergence_mrad": 0})], COHERENT, QUIET)[0] - 1
    wavelength, step = COHERENT.wavelength_A, 1e-4

    def chi(qx, qy):
        q2, azimuth = qx**2 + qy**2, math.atan2(qy, qx)
        twofold = 60 * math.cos(2 * (azimuth - math.radians(40)))
        return math.pi * wavelength * q2 * (-250 + twofold - 0.5e5 * wavelength**2 * q2)

    for h, k in spots:
        qx, qy = h / FIELD_A, k / FIELD_A
        slope = [
            (chi(qx + step * i, qy + step * (1 - i)) - chi(qx - step * i, qy - step * (1 - i))) / (2 * step)
            for i in (1, 0)
        ]
        expected = math.exp(-((theta * 1e-3 / (2 * wavelength)) ** 2) * (slope[0] ** 2 + slope[1] ** 2))
        assert amplitude_at(damped, h, k) / amplitude_at(sharp, h, k) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("error", [-0.05, 0.03, 0.05])
def test_a_wrong_pixel_size_moves_the_111_fringes(error):
    """Lattice fringes of 2.355 Å: on longer pixels they have more periods per pixel."""
    periods = round(FIELD_A / 2.355)
    setting = plain(defocus_A=60, pixel_error=error)
    image = form_images(grating([(periods, 0)]), [setting], COHERENT, QUIET)[0]
    profile = (image - image.mean()).mean(dim=1).double() * torch.hann_window(128, dtype=torch.float64)
    power = torch.fft.rfft(profile, 128 * 64).abs()
    assert int(power.argmax()) / 64 == pytest.approx(periods * (1 + error), abs=0.05)


def test_the_field_stays_centred_whatever_the_pixel_size():
    n = 256
    x = (torch.arange(n) + 0.5) / n - 0.5 - 0.5 / n  # the middle of the field is at n / 2
    blob = torch.exp(-((x[:, None] * 20) ** 2) - (x * 20) ** 2)
    wave = torch.complex(1 + 0.1 * blob, torch.zeros(n, n))[None]
    pixels = torch.arange(128) - 63.5
    for error in (-0.05, 0.0, 0.05):
        image = form_images(wave, [plain(pixel_error=error)], COHERENT, QUIET)[0] - 1
        assert abs(float((image.sum(dim=1) * pixels).sum() / image.sum())) < 0.01
        width = float((image.sum(dim=1) * pixels**2).sum() / image.sum())
        if error == 0:
            usual = width
        elif error < 0:
            wide = width
    # Shorter pixels: more of them across the same blob.
    assert wide / usual == pytest.approx(1 / 0.95**2, rel=0.01)


def test_drift_blurs_along_its_direction_only():
    spots = [(30, 0), (0, 30)]
    still, moved = (
        form_images(grating(spots), [plain(defocus_A=60, drift_A=d)], COHERENT, QUIET)[0] - 1 for d in (0, 2)
    )
    ratios = [amplitude_at(moved, *spot) / amplitude_at(still, *spot) for spot in spots]
    assert ratios == pytest.approx([np.sinc(2 * 30 / FIELD_A), 1], abs=1e-3)


def test_noise_follows_dose_and_pixel_area():
    empty = torch.ones(1, 256, 256, dtype=torch.complex64)
    deviations = []
    for dose, error in ((100, 0.0), (400, 0.0), (100, 0.05)):
        setting = plain(dose_e_A2=dose, pixel_error=error, mtf_c2=10)
        image = form_images(empty, [setting], COHERENT, QUIET, torch.Generator().manual_seed(1))[0]
        assert float(image.mean()) == pytest.approx(1, abs=0.01)
        deviations.append(float(image.std()))
    # The MTF of a width of ten Nyquist frequencies is one to within a percent.
    assert deviations == pytest.approx([0.1, 0.05, 0.1 / 1.05], rel=0.03)


def test_images_depend_on_seed_split_number_and_wave_alone(tiny_store):

    def draw(index, rng):
        return [Ranges().draw(rng) for _ in range(2)]

    four = make_images_at(tiny_store, "train", draw, 4, turned=True)
    two = make_images_at(tiny_store, "train", draw, 2, turned=True)
    assert torch.equal(four.images[:4], two.images) and len(four) == 8
    other = make_images_at(tiny_store, "train", draw, 2, turned=True, number=1)
    assert (other.table["defocus_A"] != two.table["defocus_A"]).all()
    assert four.table["group"].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert float(four.images.float().mean(dim=(1, 2)).abs().max()) < 1e-3
    with pytest.raises(NanoshapeError, match="waves is 16, but must be between 1 and 15, the train waves there are"):
        make_images_at(tiny_store, "train", draw, 16)
