"""The pixel size from the lattice, on simulated micrographs whose pixel size is known."""

import re
from dataclasses import replace

import numpy as np
import pytest

from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.micrographs.pixel_size import RING_111_A, NoLattice, check, estimate_pixel_size, find_spots, settle
from nanoshape_lib.micrographs.reading import Micrograph
from nanoshape_lib.particles import orientation, shapes
from nanoshape_lib.particles.specimen import FIELD_A, shake
from nanoshape_lib.simulation.exit_waves import FIDELITIES, exit_wave, film_wave
from nanoshape_lib.simulation.film import Placement, deposit
from nanoshape_lib.simulation.imaging import focal_series
from nanoshape_lib.simulation.optics import Camera, Microscope
from nanoshape_lib.studies.micrographs import draw_design, take

PARTICLES = 16
PIXELS = (128, 144, 160, 200, 256, 384)
MICROSCOPE = Microscope()


@pytest.fixture(scope="module")
def waves(once) -> np.ndarray:
    """Exit waves of particles of all shapes, in random orientations, on carbon."""
    rng = np.random.default_rng(31)
    turns = orientation.random_rotations(PARTICLES, rng)
    return np.load(once("pixel_size.npy", lambda path: np.save(path, _particles(rng, turns))))


def _particles(rng: np.random.Generator, turns: np.ndarray, symbol: str = "Au", ratio: float = 1.0):
    """Exit waves of one particle for each rotation, of a metal with a lattice constant of so many times gold's."""
    made = []
    for index, turn in enumerate(turns):
        shape = shapes.Shape(index % 5)
        size_A = rng.choice([size_A for size_A, _ in shapes.available_sizes(shape, 40, 70)])
        atoms = shapes.build(shape, size_A)
        atoms.positions = ratio * atoms.positions @ turn.T
        atoms.symbols[:] = symbol
        made.append(exit_wave(deposit(shake(atoms, rng), Placement(index % 8)), MICROSCOPE, "fast"))
    return made


def _field(waves: list[np.ndarray], pixels: int, defocus_A: float, dose_e_A2: float, seed: int, side: int = 4):
    """A field of side² waves in random order, with soft seams; pixels of 128 Å / pixels."""
    rng = np.random.default_rng(seed)
    camera = Camera(pixels=pixels, pixel_size_A=FIELD_A / pixels, dose_e_A2=dose_e_A2)
    overlap = pixels // 8
    ramp = np.ones(pixels)
    ramp[:overlap] = np.sin(np.pi / 2 * (np.arange(overlap) + 0.5) / overlap)
    ramp[-overlap:] = ramp[:overlap][::-1]
    step = pixels - overlap
    field = np.zeros((step * side + overlap,) * 2)
    for place, index in enumerate(rng.permutation(len(waves))[: side**2]):
        image = focal_series(waves[index], np.array([defocus_A]), MICROSCOPE, camera, int(rng.integers(1 << 30)))[0]
        row, column = step * (place // side), step * (place % side)
        field[row : row + pixels, column : column + pixels] += (image - image.mean()) * ramp[:, None] * ramp
    return (100 * (1 + field)).astype(np.float32)


@pytest.fixture(scope="module")
def measured(waves) -> list[tuple[float, float, float]]:
    """Pixel size [Å], relative error and relative uncertainty for six magnifications and two settings."""
    results = []
    for number, pixels in enumerate(PIXELS):
        for defocus_A, dose_e_A2 in ((80.0, 300.0), (-100.0, 2000.0)):
            true_A = FIELD_A / pixels
            try:
                found = estimate_pixel_size(_field(waves, pixels, defocus_A, dose_e_A2, number))
            except NoLattice:
                continue
            results.append((true_A, found.pixel_size_A / true_A - 1, found.uncertainty_A / true_A))
    return results


@pytest.mark.slow
def test_the_pixel_size_is_within_one_percent(measured):
    assert len(measured) >= 11
    assert {true_A for true_A, _, _ in measured} == {FIELD_A / pixels for pixels in PIXELS}
    errors = np.array([error for _, error, _ in measured])
    assert np.abs(errors).max() < 0.01
    assert np.abs(errors.mean()) < 0.004


@pytest.mark.slow
def test_the_uncertainty_is_honest(measured):
    _, errors, uncertainties = np.array(measured).T
    assert (np.abs(errors) < 2 * uncertainties).mean() >= 0.9
    assert uncertainties.max() < 0.01


def _gratings(pixel_size_A: float, spacings_A: list[float], seed: int = 0, n: int = 768) -> np.ndarray:
    """Crystallites of single gratings in random places and directions, as many of each spacing, in white noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:n, :n] * pixel_size_A
    image = rng.normal(0, 1, (n, n))
    for spacing_A in spacings_A * 12:
        angle, (row, column) = rng.uniform(0, np.pi), rng.uniform(0, n * pixel_size_A, 2)
        envelope = np.exp(-((y - row) ** 2 + (x - column) ** 2) / (2 * 20.0**2))
        image += envelope * np.cos(2 * np.pi / spacing_A * (y * np.sin(angle) + x * np.cos(angle)) + angle)
    return image


@pytest.mark.parametrize("pixel_size_A", [0.25, 0.4, 0.9])
def test_ideal_gratings_give_the_exact_scale(pixel_size_A):
    spacings_A = [RING_111_A, RING_111_A * np.sqrt(3 / 4), RING_111_A * np.sqrt(3 / 8), RING_111_A * np.sqrt(3 / 11)]
    seen = [spacing_A for spacing_A in spacings_A if spacing_A > 2 * pixel_size_A]
    found = estimate_pixel_size(_gratings(pixel_size_A, seen))
    assert found.pixel_size_A == pytest.approx(pixel_size_A, rel=0.002)
    for name, spacing_A in zip(("111", "200", "220", "311"), spacings_A, strict=True):
        assert (found.spots[name] >= 5) == (spacing_A in seen)


@pytest.mark.parametrize(
    ("squares", "what"), [([1], "a single ring"), ([2, 4, 6, 8], "a body-centred lattice"), ([3, 7, 12], "graphite")]
)
def test_other_rings_are_not_taken_for_gold(squares, what):
    with pytest.raises(NoLattice):
        estimate_pixel_size(_gratings(0.4, [2.2 * np.sqrt(squares[0] / n) for n in squares]))


def test_gain_offset_and_turning_do_not_matter(waves):
    image = _field(waves, 256, 80.0, 500.0, 3)
    first = estimate_pixel_size(image)
    for other in (3 * image - 1000, np.rot90(image).copy(), image[::-1]):
        second = estimate_pixel_size(other)
        assert second.pixel_size_A == pytest.approx(first.pixel_size_A, rel=2e-3)


def test_a_series_of_the_same_particles_is_no_surer_than_its_images(waves):
    image = _field(waves, 256, 80.0, 500.0, 3)
    alone, series = estimate_pixel_size(image), estimate_pixel_size(np.stack([image] * 4))
    assert series.pixel_size_A == pytest.approx(alone.pixel_size_A, rel=1e-6)
    assert series.uncertainty_A >= 0.99 * alone.uncertainty_A


@pytest.mark.parametrize("pixels", [128, 256])
def test_bare_carbon_shows_no_lattice(pixels):
    film = film_wave(0, MICROSCOPE.energy_eV, FIDELITIES["fast"]).numpy()
    wave = exit_wave(deposit(shapes.build("cube", 40), Placement(0)), MICROSCOPE, "fast")
    n = len(wave)
    spectrum = np.fft.fftshift(np.fft.fft2(film))
    middle = len(film) // 2
    cut = spectrum[middle - n // 2 : middle + n // 2, middle - n // 2 : middle + n // 2] * (n / len(film)) ** 2
    bare = np.fft.ifft2(np.fft.ifftshift(cut)).astype(np.complex64)
    with pytest.raises(NoLattice, match="spots"):
        estimate_pixel_size(_field([bare] * 16, pixels, 80.0, 500.0, 0))


def test_pixels_too_coarse_for_the_lattice_are_refused(waves):
    with pytest.raises(NoLattice):
        estimate_pixel_size(_field(waves, 96, 80.0, 500.0, 0))


def test_noise_has_one_spot_in_a_million():
    noise = np.random.default_rng(0).normal(0, 1, (2048, 2048))
    assert len(find_spots(noise)) <= 8
    with pytest.raises(NoLattice, match=r"but 5 are needed"):
        estimate_pixel_size(noise[:256, :256])


def test_settling_takes_the_lattice_only_where_nothing_is_given(waves):
    images = _field(waves, 256, 80.0, 500.0, 3)[None]
    unknown, found = settle(Micrograph(images, None, None, "a.tif", ("old",)))
    assert unknown.source == "lattice" and unknown.pixel_size_A == found.pixel_size_A
    assert unknown.notes[0] == "old" and "was measured on gold" in unknown.notes[1]
    right, _ = settle(Micrograph(images, 0.49, "metadata", "a.tif"))
    assert (right.pixel_size_A, right.source, right.notes) == (0.49, "metadata", ())
    wrong, _ = settle(Micrograph(images, 0.45, "metadata", "a.tif"))
    assert (wrong.pixel_size_A, wrong.source) == (0.45, "metadata")
    assert wrong.notes == (check(found, 0.45, "a.tif"),)
    assert wrong.notes[0].startswith("the pixels of a.tif are said to be 0.45 Å, but if the particles are gold")
    assert check(found, found.pixel_size_A * 1.024, "a.tif") is None
    assert check(found, found.pixel_size_A * 1.03, "a.tif") is not None


def test_platinum_is_told_from_gold_by_the_lattice_of_all_particles():
    rng = np.random.default_rng(31)
    platinum = _particles(rng, orientation.random_rotations(PARTICLES, rng), "Pt", 3.92 / 4.078)
    found = estimate_pixel_size(_field(platinum, 256, 80.0, 500.0, 3))
    assert found.pixel_size_A / 0.5 == pytest.approx(4.078 / 3.92, abs=0.008), "gold would need longer pixels"
    note = check(found, 0.5, "a.tif")
    assert note is not None and float(re.search(r"constant is (\S+) Å", note)[1]) == pytest.approx(3.92, abs=0.03)
    assert check(replace(found, uncertainty_A=0.01), 0.5, "a.tif") is None, "not if the lattice is that uncertain"


@pytest.mark.slow
def test_an_expected_size_decides_between_two_that_fit_about_equally_well():
    for metal, ratio in (("Au", 1.0), ("Pt", 4.078 / 3.92)):
        micrograph = take(draw_design(2011).model_copy(update={"metal": metal}))
        with pytest.raises(NoLattice, match="about equally well"):
            estimate_pixel_size(micrograph.images[0])
        found = estimate_pixel_size(micrograph.images[0], 0.64)
        assert found.pixel_size_A / micrograph.pixel_size_A == pytest.approx(ratio, abs=0.01)
        with pytest.raises(NoLattice, match="about equally well"):
            estimate_pixel_size(micrograph.images[0], 0.3)


def test_an_expected_size_does_not_hide_a_lattice_that_is_plain_to_see(waves):
    images = _field(waves, 256, 80.0, 500.0, 3)
    assert estimate_pixel_size(images, 0.4) == estimate_pixel_size(images, 0.7) == estimate_pixel_size(images)


def test_without_a_lattice_a_given_pixel_size_stays_and_a_missing_one_is_an_error():
    noise = np.random.default_rng(0).normal(0, 1, (1, 128, 128)).astype(np.float32)
    assert settle(Micrograph(noise, 0.4, "user", "a.tif"))[1] is None
    with pytest.raises(NanoshapeError, match=r"^the pixel size of a\.tif is neither given nor measurable: its power"):
        settle(Micrograph(noise, None, None, "a.tif"))
