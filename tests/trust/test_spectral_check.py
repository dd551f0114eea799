"""The spectral check against drawings of known pixel size, lattice and contrast, and against simulated images."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import RidgeCV

from nanoshape_lib.datasets.images import as_designed
from nanoshape_lib.paths import DATA
from nanoshape_lib.simulation.imaging import standardise
from nanoshape_lib.studies.profiles import load_profile
from nanoshape_lib.trust import spectral_check
from nanoshape_lib.trust.conformal import load_trust
from nanoshape_lib.trust.outlier_exposure import KINDS, kind_scene, make_series, make_waves
from nanoshape_lib.trust.spectral_check import fit_check, spectra


@pytest.fixture(scope="module")
def drawings():
    """Noise with a rim at a fixed frequency, a dark disc, and fringes of a lattice of its own, with other pixels."""
    rng, truth, images = np.random.default_rng(4), [], []
    y, x = np.indices((128, 128)) - 63.5
    for _ in range(900):
        size, ratio = np.exp(rng.uniform(-0.2, 0.2)), np.exp(rng.uniform(-0.1, 0.1))
        q = np.hypot(np.fft.fftfreq(128)[:, None], np.fft.fftfreq(128)) / size
        power = np.exp(-(((q - 0.15) / 0.03) ** 2)) + 0.2
        noise = np.fft.ifft2(np.fft.fft2(rng.normal(size=(128, 128))) * np.sqrt(power)).real
        angle, phase = rng.uniform(0, 2 * np.pi, 2)
        fringes = np.cos(2 * np.pi * 0.35 * size / ratio * (x * np.cos(angle) + y * np.sin(angle)) + phase)
        dark = np.exp(rng.uniform(-0.7, 0.7))
        images.append(noise + (fringes - dark) * (np.hypot(x, y) < 25))
        truth.append((np.log(size), np.log(ratio), np.log(dark)))
    return standardise(torch.as_tensor(np.stack(images), dtype=torch.float32)), np.array(truth, np.float32)


def _correlations(found, truth):
    return np.array([np.corrcoef(*pair)[0, 1] for pair in zip(found.T, truth.T, strict=True)])


def test_spectra_hold_pixel_size_lattice_and_contrast(drawings):
    images, truth = drawings
    logs = spectra(images)
    fitted = RidgeCV(np.logspace(0, 4, 9)).fit(logs[:700], truth[:700])
    assert (_correlations(fitted.predict(logs[700:]), truth[700:]) > [0.97, 0.9, 0.97]).all()


def test_the_check_learns_contrast_from_few_images_and_how_little_it_knows_of_the_rest(drawings, monkeypatch):
    images, truth = drawings
    monkeypatch.setattr(spectral_check, "STEP_IMAGES", 16)
    found = fit_check(images[:256], truth[:256], epochs=4).estimate(images[700:])
    assert _correlations(found.logarithms, truth[700:])[2] > 0.8
    assert (np.abs(found.logarithms - truth[700:]) < 2 * found.deviations).mean() > 0.85


@pytest.mark.parametrize("name", ["cnn6", "cnn6_ranges"])
def test_the_shipped_check_reads_off_the_pixel_size(name):
    design, found = load_profile("paper").dataset, {}
    check = load_trust(DATA / f"weights/{name}.safetensors").heads.spectral
    waves = make_waves(lambda number: kind_scene(KINDS["known"], design, number), design, range(4))["waves"]
    for pixels in (112, 128, 144):
        images = make_series(waves, design, lambda rng: as_designed(design)(4, rng), (0,), pixels).images
        found[pixels] = check.estimate(images)
        weights = found[pixels].deviations[:, 0] ** -2
        size_A = np.exp((found[pixels].logarithms[:, 0] * weights).sum() / weights.sum())
        assert size_A == pytest.approx(128 / pixels, rel=0.05)
    errors = np.concatenate([found[n].logarithms[:, 0] - np.log(128 / n) for n in found])
    assert (np.abs(errors) < 3 * np.concatenate([each.deviations[:, 0] for each in found.values()])).mean() > 0.9
