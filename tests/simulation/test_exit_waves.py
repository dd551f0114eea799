"""Exit waves: the particle's window and the reused film against the whole cell, symmetries, and one atom's image."""

from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from fourier import fourier_crop, squared_frequencies

from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.particles.orientation import euler
from nanoshape_lib.particles.shapes import build
from nanoshape_lib.particles.specimen import FIELD_A, shake
from nanoshape_lib.simulation import exit_waves
from nanoshape_lib.simulation.exit_waves import Fidelity, exit_wave, film_wave
from nanoshape_lib.simulation.film import Placement, Scene, deposit, load_block
from nanoshape_lib.simulation.imaging import intensity_spectrum
from nanoshape_lib.simulation.multislice import multislice, next_fast_size
from nanoshape_lib.simulation.optics import Microscope

REFERENCE = Path(__file__).parents[1] / "reference"
MICROSCOPE = Microscope()
COARSE = Fidelity(0.5, 2.0)
PLACEMENTS = [Placement(0), Placement(2, (31, 90), 3, True)]


def relative_rms(image, reference):
    return np.linalg.norm(image - reference) / np.linalg.norm(reference - reference.mean())


def turned_particle(shape="truncated octahedron", size_A=40):
    particle = build(shape, size_A)
    particle.positions = particle.positions @ euler(20, 35, 50).T
    return particle


def whole_cell(scene, grid=COARSE):
    """Exit wave from one multislice of film and particle, both in the cell, over the whole field."""
    atoms = scene.atoms()
    lowest = -scene.film_thickness_A
    if scene.downstream:
        reach = 1.0 - scene.particle.positions[:, 2].min()
        lowest = -np.ceil(reach / grid.slice_A) * grid.slice_A
    atoms.positions[:, 2] -= lowest
    height = np.ceil((atoms.positions[:, 2].max() + (0 if scene.downstream else 1)) / grid.slice_A) * grid.slice_A
    atoms.positions[:, 2] = np.clip(atoms.positions[:, 2], 1e-3, height - 1e-3)
    atoms.set_cell([FIELD_A, FIELD_A, height])
    wave = multislice(atoms, torch.ones(grid.pixels, grid.pixels), MICROSCOPE.energy_eV, grid.slice_A).numpy()
    n = exit_waves.wave_pixels(MICROSCOPE)
    u = squared_frequencies(n)
    back = np.exp(1j * np.pi * MICROSCOPE.wavelength_A * (height + lowest + grid.slice_A / 2 - scene.mid_plane_A) * u)
    return np.fft.ifft2(fourier_crop(np.fft.fft2(wave), n) * back * (u <= MICROSCOPE.aperture_per_A**2))


@pytest.fixture
def whole_field(monkeypatch):
    """Make the particle's window as large as the field."""
    monkeypatch.setattr(exit_waves, "MARGIN_A", FIELD_A)


# ------------------------------------------------------------------ what is left out of the computation


@pytest.mark.usefixtures("whole_field")
@pytest.mark.parametrize("downstream", [False, True])
@pytest.mark.parametrize("placement", [*PLACEMENTS, Placement(1, (3, 77), 2, thickness_A=44.0)])
def test_film_computed_once_and_particle_computed_alone_equal_the_whole_cell(placement, downstream):
    scene = deposit(turned_particle(), placement, (4.0, -3.0), downstream)
    assert scene.film_thickness_A % COARSE.slice_A == 0
    assert relative_rms(exit_wave(scene, MICROSCOPE, COARSE), whole_cell(scene)) < 1e-5


@pytest.mark.usefixtures("whole_field")
def test_slices_that_do_not_meet_the_film_s_face_differ_by_a_few_per_cent():
    """Other atoms share a slice then, which is what slicing costs anyway."""
    scene, grid = deposit(turned_particle(), Placement(1), (4.0, -3.0)), Fidelity(0.25, 4.0)
    assert scene.film_thickness_A % grid.slice_A > 0.1
    assert 1e-4 < relative_rms(exit_wave(scene, MICROSCOPE, grid), whole_cell(scene, grid)) < 0.04


@pytest.mark.parametrize("downstream", [False, True])
def test_the_window_around_a_particle_on_its_film_gives_the_wave_of_the_whole_cell(downstream):
    """The error is relative to what the particle scatters, since the film's grain would make it look small."""
    scene, grid = deposit(turned_particle(), PLACEMENTS[1], (4.0, -3.0), downstream), Fidelity(0.25, 3.0)
    assert max(exit_waves.Window.around(scene.particle.positions, grid).pixels) < 0.5 * grid.pixels
    off = np.linalg.norm(exit_wave(scene, MICROSCOPE, grid) - whole_cell(scene, grid))
    scattered = np.linalg.norm(exit_wave(Scene(scene.particle, None, downstream), MICROSCOPE, grid) - 1)
    assert off < 0.002 * scattered


@pytest.mark.parametrize("film", [None, Placement(1, (3, 77), 2)])
@pytest.mark.parametrize("downstream", [False, True])
def test_the_window_around_the_particle_gives_the_wave_of_the_whole_field(film, downstream, monkeypatch):
    scene = deposit(turned_particle(size_A=50), film, (5.0, -4.0), downstream)
    window = exit_waves.Window.around(scene.particle.positions, exit_waves.fidelity("fast"))
    assert max(window.pixels) < 0.7 * exit_waves.fidelity("fast").pixels
    in_window = exit_wave(scene, MICROSCOPE, "fast")
    monkeypatch.setattr(exit_waves, "MARGIN_A", FIELD_A)
    assert relative_rms(in_window, exit_wave(scene, MICROSCOPE, "fast")) < 0.002


def test_a_window_across_the_edge_of_the_field_is_the_same_as_one_in_its_middle():
    """The field is periodic: a particle moved with its film by 60 Å gives the wave moved by 60 Å."""
    scene = deposit(turned_particle(), Placement(3, (10, 20)), (0.0, 0.0))
    moved = scene.particle.copy()
    moved.positions[:, 0] += 60.0
    other = Scene(moved, Placement(3, (70, 20)))
    window = exit_waves.Window.around(moved.positions, COARSE)
    assert window.first[0] < COARSE.pixels < window.first[0] + window.pixels[0]
    wave = exit_wave(scene, MICROSCOPE, COARSE)
    assert relative_rms(exit_wave(other, MICROSCOPE, COARSE), np.roll(wave, 120, axis=0)) < 1e-4


def test_empty_space_beside_the_particle_and_behind_it_does_not_change_the_wave():
    scene, grid = deposit(turned_particle(), None), exit_waves.fidelity("fast")
    wave = exit_wave(scene, MICROSCOPE, "fast")
    n = exit_waves.wave_pixels(MICROSCOPE)
    assert wave.shape == (n, n) and wave.dtype == np.complex64
    particle = scene.particle.copy()
    particle.set_cell([FIELD_A, FIELD_A, 100.0])
    taller = multislice(particle, torch.ones(grid.pixels, grid.pixels), MICROSCOPE.energy_eV, grid.slice_A).numpy()
    u = squared_frequencies(n)
    back = np.exp(1j * np.pi * MICROSCOPE.wavelength_A * (100.0 + grid.slice_A / 2 - scene.mid_plane_A) * u)
    spectrum = fourier_crop(np.fft.fft2(taller), n) * back * (u <= MICROSCOPE.aperture_per_A**2)
    assert relative_rms(wave, np.fft.ifft2(spectrum)) < 0.002


# ------------------------------------------------------------------ the film


def test_the_order_of_film_and_particle_matters():
    particle, placement = turned_particle(), Placement(1)
    first, second = (deposit(particle, placement, downstream=downstream) for downstream in (False, True))
    waves = [exit_wave(scene, MICROSCOPE, "fast") for scene in (first, second)]
    assert relative_rms(*waves) > 0.3
    corner = [abs(np.abs(wave[:40, :40]) - 1).std() for wave in waves]
    assert min(corner) > 0.01


def test_film_waves_of_different_blocks_differ():
    first, second = (film_wave(block, MICROSCOPE.energy_eV, COARSE).numpy() for block in (0, 1))
    assert abs(np.corrcoef(np.angle(first).ravel(), np.angle(second).ravel())[0, 1]) < 0.1
    assert load_block(0).cell.lengths()[2] == load_block(1).cell.lengths()[2]


def test_electrons_are_conserved_by_the_film():
    intensity = float(film_wave(0, MICROSCOPE.energy_eV, exit_waves.fidelity("fast")).abs().square().mean())
    assert 0.998 < intensity < 1 + 1e-5


# ------------------------------------------------------------------ aperture, symmetries, one atom


def test_nothing_passes_outside_the_aperture():
    microscope = Microscope(aperture_mrad=15)
    spectrum = np.fft.fft2(exit_wave(deposit(turned_particle(), None), microscope, COARSE))
    outside = squared_frequencies(spectrum.shape[0]) > microscope.aperture_per_A**2
    assert outside.any() and np.abs(spectrum[outside]).max() < 1e-5 * np.abs(spectrum).max()


def test_a_smaller_aperture_only_removes_frequencies():
    """The grid of the stored wave is another one; what both hold must agree, with a film too."""
    scene = deposit(turned_particle(), Placement(2, (31, 90), 1))
    wide, narrow = (exit_wave(scene, Microscope(aperture_mrad=value), "fast") for value in (25, 15))
    spectrum = fourier_crop(np.fft.fft2(wide), len(narrow))
    spectrum[squared_frequencies(len(narrow)) > Microscope(aperture_mrad=15).aperture_per_A ** 2] = 0
    assert relative_rms(narrow, np.fft.ifft2(spectrum)) < 1e-4


@pytest.mark.parametrize(("turns", "mirror"), [(1, False), (3, True)])
def test_the_wave_turns_and_mirrors_with_the_particle(turns, mirror):
    """The field's corner is the axis, so the particle comes to lie in another part of the periodic field."""
    placement = Placement(0, (0, 0), turns, mirror)
    scene = deposit(turned_particle(), None, (4.3, -2.1))
    moved = scene.particle.copy()
    if mirror:
        moved.positions[:, 0] *= -1
    for _ in range(turns):
        moved.positions[:, :2] = np.stack([-moved.positions[:, 1], moved.positions[:, 0]], axis=1)
    moved.positions[:, :2] %= FIELD_A
    wave = exit_wave(Scene(moved, None), MICROSCOPE, COARSE)
    expected = placement.sample(torch.as_tensor(exit_wave(scene, MICROSCOPE, COARSE))).numpy()
    assert relative_rms(wave, expected) < 0.003


def values_at(field, points_A):
    """A periodic field of the scene's size between its pixels, by its Fourier series (M, 2)."""
    n = len(field)
    q = np.fft.fftfreq(n, FIELD_A / n)
    x, y = (np.exp(2j * np.pi * points_A[:, axis, None] * q) for axis in (0, 1))
    return ((x @ np.fft.fft2(field)) * y).sum(axis=1) / n**2


@pytest.mark.parametrize(("angle_deg", "shift_A"), [(37.0, (0.0, 0.0)), (0.0, (0.37, -0.19)), (-112.0, (3.37, -2.19))])
def test_a_particle_turned_about_the_beam_and_moved_gives_the_wave_turned_and_moved(angle_deg, shift_A):
    """By any angle and any part of a pixel: the grid must not show, in the wave nor in the image."""
    scene, turned = deposit(turned_particle(), None), turned_particle()
    cos, sin = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
    turn = np.array([[cos, -sin], [sin, cos]])
    turned.positions[:, :2] = turned.positions[:, :2] @ turn.T
    other = deposit(turned, None, shift_A)
    points = np.random.default_rng(0).uniform(-30, 30, (1500, 2))
    here, there = FIELD_A / 2 + points, FIELD_A / 2 + points @ turn.T + shift_A
    waves = [exit_wave(one, MICROSCOPE, "standard") for one in (scene, other)]
    assert relative_rms(values_at(waves[1], there), values_at(waves[0], here)) < 0.01
    spectra = torch.fft.fft2(torch.as_tensor(np.stack(waves)), norm="forward")
    spectra = intensity_spectrum(spectra, torch.tensor([70.0, 70.0]), MICROSCOPE, 512)
    images = torch.fft.irfft2(spectra, s=(512, 512), norm="forward").numpy()
    assert relative_rms(values_at(images[1], there).real, values_at(images[0], here).real) < 0.013
    if angle_deg:
        assert relative_rms(values_at(waves[1], FIELD_A / 2 + points @ turn + shift_A), values_at(waves[0], here)) > 0.5


@pytest.mark.parametrize("defocus_A", [-150.0, -30.0, 0.0, 30.0, 150.0])
def test_our_image_of_one_atom_agrees_with_the_solution_without_a_grid(defocus_A):
    """The whole path, from scene to image: the amplitude scattered into the aperture, added up at the atom."""
    microscope = Microscope(focal_spread_A=0, convergence_mrad=0)
    scene = Scene(Atoms("Au", positions=[[64, 64, 3.0]]), None)
    wave = torch.as_tensor(exit_wave(scene, microscope, Fidelity(1 / 16, 2.0)))[None]
    spectra = torch.fft.fft2(wave, norm="forward")
    spectrum = intensity_spectrum(spectra, torch.tensor([defocus_A]), microscope, 512)
    centre = torch.fft.irfft2(spectrum, s=(512, 512), norm="forward")[0, 256, 256].item()
    with np.load(REFERENCE / "analytic_A.npz") as analytic:
        q = np.linspace(0, microscope.aperture_per_A, 4001)
        scattered = np.interp(q, analytic["q_per_A"], analytic["F_q_A2"])
    lam = microscope.wavelength_A
    chi = np.pi * lam * q**2 * (-defocus_A + 0.5 * lam**2 * microscope.Cs_A * q**2)
    expected = abs(1 + 2 * np.pi * np.trapezoid(scattered * np.exp(-1j * chi) * q, q)) ** 2
    assert centre == pytest.approx(expected, rel=0.007)


def test_thermal_motion_has_the_asked_for_width_and_leaves_the_particle_alone():
    particle = build("cube", 50)
    before = particle.positions.copy()
    moved = shake(particle, np.random.default_rng(0)).positions - before
    assert moved.std() == pytest.approx(0.085, rel=0.03) and abs(moved.mean()) < 0.005
    assert np.array_equal(particle.positions, before)


# ------------------------------------------------------------------ grids


def test_named_grids_are_fast_and_have_whole_pixels_to_the_angstrom():
    for grid in exit_waves.FIDELITIES.values():
        assert next_fast_size(grid.pixels) == grid.pixels and grid.pixels % FIELD_A == 0


def test_an_unknown_fidelity_is_refused_with_the_list_of_known_ones():
    with pytest.raises(NanoshapeError, match="fidelity is 'best', but must be one of fast, standard, reference"):
        exit_waves.fidelity("best")
    assert exit_waves.fidelity(COARSE) is COARSE


def test_grids_that_do_not_suit_the_aperture_or_the_film_are_refused():
    scene = deposit(turned_particle(), None)
    with pytest.raises(NanoshapeError, match=r"sampling is 0.64 Å, but must be at most 0.5 Å to hold the aperture"):
        exit_wave(scene, MICROSCOPE, Fidelity(0.64, 2.0))
    with pytest.raises(NanoshapeError, match="the field has 400 pixels, but must have a multiple of 128"):
        exit_wave(deposit(turned_particle(), Placement(0)), MICROSCOPE, Fidelity(0.32, 4.0))
