"""Exit waves against other simulators, a solution without a grid, and a multislice of a few lines."""

import json
from pathlib import Path

import abtem
import numpy as np
import pytest
import torch
from ase import Atoms
from ase.io import read
from scipy import constants

from nanoshape_lib import hrtem
from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.hrtem import Fidelity, exit_wave, film_wave, fourier_crop, multislice, squared_frequencies
from nanoshape_lib.imaging import intensity_spectrum
from nanoshape_lib.microscope import Microscope
from nanoshape_lib.rotations import euler
from nanoshape_lib.shapes import build
from nanoshape_lib.substrate import FIELD_A, Placement, Scene, deposit, load_block

REFERENCE = Path(__file__).parent / "reference"
PARAMETERS = json.loads((REFERENCE / "params.json").read_text())
ENERGY_EV = PARAMETERS["energy_eV"]
COARSE = Fidelity(0.5, 2.0)


def plane(n):
    return np.ones((n, n), np.complex64)


def lens(wave, extent_A, defocus_A, Cs_A):
    """Coherent image intensity without an aperture, with the library's sign of defocus."""
    lam, u = Microscope(energy_eV=ENERGY_EV).wavelength_A, squared_frequencies(wave.shape[0], extent_A)
    chi = np.pi * lam * u * (-defocus_A + 0.5 * lam**2 * Cs_A * u)
    return np.abs(np.fft.ifft2(np.fft.fft2(wave) * np.exp(-1j * chi))) ** 2


def crop(image, n):
    """A smaller image with the same low frequencies; the unpaired ones at Nyquist are dropped."""
    spectrum = fourier_crop(np.fft.fft2(image), n)
    spectrum[n // 2], spectrum[:, n // 2] = 0, 0
    cropped = np.fft.ifft2(spectrum)
    return cropped if np.iscomplexobj(image) else cropped.real


def relative_rms(image, reference):
    return np.linalg.norm(image - reference) / np.linalg.norm(reference - reference.mean())


def at_mid_plane(wave, height_A, scene, microscope):
    """A wave in the plane z = height, propagated to the particle's mid-plane and cut by the aperture."""
    n = hrtem.wave_pixels(microscope)
    u = squared_frequencies(n)
    back = np.exp(1j * np.pi * microscope.wavelength_A * (height_A - scene.mid_plane_A) * u)
    return np.fft.ifft2(fourier_crop(np.fft.fft2(wave), n) * back * (u <= microscope.aperture_per_A**2))


def turned_particle(shape="truncated octahedron", size_A=40):
    particle = build(shape, size_A)
    particle.positions = particle.positions @ euler(20, 35, 50).T
    return particle


@pytest.fixture(scope="module", params=["A", "C"])
def scene_of_reference(request):
    """Name, our wave at 512 pixels, width and numbers of one scene of the other simulators."""
    atoms = read(REFERENCE / f"{request.param}.xyz", format="extxyz")
    wave = multislice(atoms, plane(512), ENERGY_EV, PARAMETERS["slice_thickness_A"])
    with np.load(REFERENCE / f"ref_{request.param}.npz") as file:
        numbers = {name: file[name] for name in file.files}
    return request.param, wave, atoms.cell.lengths()[0], numbers


def errors(scene_of_reference, key, sign=1, Cs_A=PARAMETERS["Cs_A"]):
    _, wave, extent_A, numbers = scene_of_reference
    images = [crop(lens(wave, extent_A, -sign * c1, Cs_A), 128) for c1 in numbers["C1_A"].astype(float)]
    return np.array([relative_rms(*pair) for pair in zip(images, numbers[key], strict=True)])


@pytest.mark.parametrize("engine", ["drprobe_kirkland_coherent", "pymultislice_lobato_coherent"])
def test_images_agree_with_other_simulators(scene_of_reference, engine):
    found = errors(scene_of_reference, engine)
    if scene_of_reference[0] == "A":
        assert found.max() < 0.05
    else:
        assert found.mean() < (0.11 if "pymultislice" in engine else 0.13)


def test_wrong_signs_of_defocus_and_of_spherical_aberration_would_be_noticed(scene_of_reference):
    found = errors(scene_of_reference, "drprobe_kirkland_coherent", sign=-1)
    assert found[scene_of_reference[3]["C1_A"] != 0].min() > 1.0
    assert errors(scene_of_reference, "drprobe_kirkland_coherent", Cs_A=-PARAMETERS["Cs_A"]).min() > 0.35


def test_wave_of_one_atom_agrees_with_the_solution_without_a_grid():
    wave = multislice(read(REFERENCE / "A.xyz", format="extxyz"), plane(512), ENERGY_EV, 2.0)
    with np.load(REFERENCE / "analytic_A.npz") as analytic:
        assert relative_rms(crop(wave, 128), analytic["wave"]) < 0.03


@pytest.mark.parametrize("defocus_A", [-150.0, -30.0, 0.0, 30.0, 150.0])
def test_our_image_of_one_atom_agrees_with_the_solution_without_a_grid(defocus_A):
    """The whole path, from scene to image: the amplitude scattered into the aperture, added up at the atom."""
    microscope = Microscope(focal_spread_A=0, convergence_mrad=0)
    scene = Scene(Atoms("Au", positions=[[64, 64, 3.0]]), None)
    wave = torch.as_tensor(exit_wave(scene, microscope, Fidelity(0.125, 2.0)))[None]
    spectrum = intensity_spectrum(wave, torch.tensor([defocus_A]), microscope, 512)
    centre = torch.fft.irfft2(spectrum, s=(512, 512))[0, 256, 256].item()
    with np.load(REFERENCE / "analytic_A.npz") as analytic:
        q = np.linspace(0, microscope.aperture_per_A, 4001)
        scattered = np.interp(q, analytic["q_per_A"], analytic["F_q_A2"])
    lam = microscope.wavelength_A
    chi = np.pi * lam * q**2 * (-defocus_A + 0.5 * lam**2 * microscope.Cs_A * q**2)
    expected = abs(1 + 2 * np.pi * np.trapezoid(scattered * np.exp(-1j * chi) * q, q)) ** 2
    assert centre == pytest.approx(expected, rel=0.02)


def one_atom_centre(n, defocus_A):
    atom = Atoms("Au", positions=[[25.6, 25.6, 1.0]], cell=[51.2, 51.2, 2.0], pbc=True)
    return lens(multislice(atom, plane(n), ENERGY_EV, 2.0), 51.2, defocus_A, 0.0)[n // 2, n // 2]


def test_one_atom_is_dark_on_underfocus_and_bright_on_overfocus():
    """Without an aperture the value at the atom still depends on the grid; a fine one comes near the exact value."""
    assert [one_atom_centre(256, defocus_A) for defocus_A in (30, -30)] == pytest.approx([0.66, 1.41], abs=0.03)
    lam = Microscope(energy_eV=ENERGY_EV).wavelength_A
    with np.load(REFERENCE / "analytic_A.npz") as analytic:
        q, scattered = analytic["q_per_A"].astype(float), analytic["F_q_A2"]
    for defocus_A in (30, -30):
        lens_phase = np.exp(1j * np.pi * lam * defocus_A * q**2)
        exact = abs(1 + 2 * np.pi * np.trapezoid(scattered * lens_phase * q, q)) ** 2
        assert one_atom_centre(1024, defocus_A) == pytest.approx(exact, rel=0.03)


@pytest.mark.parametrize("placement", [Placement(0), Placement(2, (31, 90), 3, True)])
def test_film_and_particle_together_equal_the_film_first_and_the_particle_in_its_wave(placement):
    microscope = Microscope()
    scene = deposit(turned_particle(), placement, (4.0, -3.0))
    assert scene.film_thickness_A % COARSE.slice_A == 0
    atoms = scene.atoms()
    atoms.positions[:, 2] = np.maximum(atoms.positions[:, 2] + scene.film_thickness_A, 1e-3)
    slices = np.ceil((atoms.positions[:, 2].max() + 1) / COARSE.slice_A)
    height = slices * COARSE.slice_A
    atoms.set_cell([FIELD_A, FIELD_A, height])
    whole = multislice(atoms, plane(COARSE.pixels), microscope.energy_eV, COARSE.slice_A)
    whole = at_mid_plane(whole, height - scene.film_thickness_A, scene, microscope)
    factorised = exit_wave(scene, microscope, COARSE)
    assert relative_rms(factorised, whole) < 1e-5


def test_electrons_are_conserved():
    scene = deposit(turned_particle(), None)
    particle = scene.particle.copy()
    particle.set_cell([FIELD_A, FIELD_A, 60.0])
    through_gold = multislice(particle, plane(512), ENERGY_EV, 4.0)
    assert 0.9 < np.mean(np.abs(through_gold) ** 2) <= 1 + 1e-5
    through_film = film_wave(0, ENERGY_EV, COARSE)
    assert 0.9 < np.mean(np.abs(through_film) ** 2) <= 1 + 1e-5
    corner = Atoms("C", positions=[[1.0, 1.0, 1.0]], cell=[FIELD_A, FIELD_A, 40.0], pbc=True)
    assert np.mean(np.abs(multislice(corner, plane(256), ENERGY_EV, 4.0)) ** 2) == pytest.approx(1, abs=1e-4)


def test_vacuum_around_the_particle_does_not_change_the_wave():
    microscope = Microscope()
    scene = deposit(turned_particle(), None)
    wave, grid = exit_wave(scene, microscope, "fast"), hrtem.fidelity("fast")
    assert wave.shape == (hrtem.wave_pixels(microscope),) * 2 and wave.dtype == np.complex64
    for below_A, height_A in ((0.0, 80.0), (20.0, 100.0)):
        particle = scene.particle.copy()
        particle.positions[:, 2] += below_A
        particle.set_cell([FIELD_A, FIELD_A, height_A])
        taller = multislice(particle, plane(grid.pixels), microscope.energy_eV, grid.slice_A)
        taller = at_mid_plane(taller, height_A - below_A, scene, microscope)
        assert relative_rms(wave, taller) < 1e-4


def test_nothing_passes_outside_the_aperture():
    microscope = Microscope(aperture_mrad=15)
    spectrum = np.fft.fft2(exit_wave(deposit(turned_particle(), None), microscope, COARSE))
    outside = squared_frequencies(spectrum.shape[0]) > microscope.aperture_per_A**2
    assert outside.any() and np.abs(spectrum[outside]).max() < 1e-5 * np.abs(spectrum).max()


@pytest.mark.parametrize(("turns", "mirror"), [(1, False), (3, True)])
def test_the_wave_turns_and_mirrors_with_the_particle(turns, mirror):
    """The field's corner is the axis, so the particle comes to lie in another part of the periodic field."""
    microscope, placement = Microscope(), Placement(0, (0, 0), turns, mirror)
    scene = deposit(turned_particle(), None, (4.3, -2.1))
    moved = scene.particle.copy()
    if mirror:
        moved.positions[:, 0] *= -1
    for _ in range(turns):
        moved.positions[:, :2] = np.stack([-moved.positions[:, 1], moved.positions[:, 0]], axis=1)
    moved.positions[:, :2] %= FIELD_A
    wave = exit_wave(Scene(moved, None), microscope, COARSE)
    assert relative_rms(wave, placement.apply(exit_wave(scene, microscope, COARSE))) < 1e-4


def numpy_multislice(potential, extent_A, slice_A, energy_eV):
    """A multislice of its own: transmit, propagate, both limited to two thirds of the grid's band."""
    rest_eV = constants.m_e * constants.c**2 / constants.e
    lam = constants.h * constants.c / constants.e / np.sqrt(energy_eV * (energy_eV + 2 * rest_eV)) * 1e10
    sigma = 2 * np.pi / (lam * energy_eV) * (rest_eV + energy_eV) / (2 * rest_eV + energy_eV)
    n = potential.shape[-1]
    q = np.fft.fftfreq(n, extent_A / n)
    u = q[:, None] ** 2 + q**2
    band = u <= (2 / 3 * n / extent_A / 2) ** 2
    propagator = band * np.exp(-1j * np.pi * lam * slice_A * u)
    wave = np.ones((n, n), complex)
    for projected in potential:
        transmission = np.fft.ifft2(band * np.fft.fft2(np.exp(1j * sigma * projected)))
        wave = np.fft.ifft2(propagator * np.fft.fft2(transmission * wave))
    return wave


def test_a_multislice_in_a_few_lines_of_numpy_gives_the_same_wave():
    particle = build("octahedron", 31)
    particle.positions = particle.positions @ euler(10, 40, 70).T + 25.6
    particle.set_cell([51.2, 51.2, 52.0])
    potential = abtem.Potential(particle, gpts=512, slice_thickness=2.0, parametrization="kirkland")
    slices = potential.build(lazy=False).array
    ours = multislice(particle, plane(512), ENERGY_EV, 2.0)
    theirs = numpy_multislice(slices, 51.2, 2.0, ENERGY_EV)
    # abTEM's band limit has a soft edge: compare below it, up to 1.25 per angstrom.
    assert relative_rms(crop(ours, 128), crop(theirs, 128)) < 0.005


def test_film_waves_of_different_blocks_differ():
    first, second = film_wave(0, ENERGY_EV, COARSE), film_wave(1, ENERGY_EV, COARSE)
    assert abs(np.corrcoef(np.angle(first).ravel(), np.angle(second).ravel())[0, 1]) < 0.1
    assert load_block(0).cell.lengths()[2] == load_block(1).cell.lengths()[2]


def test_thermal_motion_has_the_asked_for_width_and_leaves_the_particle_alone():
    particle = build("cube", 50)
    before = particle.positions.copy()
    moved = hrtem.shake(particle, np.random.default_rng(0)).positions - before
    assert moved.std() == pytest.approx(0.085, rel=0.03) and abs(moved.mean()) < 0.005
    assert np.array_equal(particle.positions, before)


@pytest.mark.parametrize("z_A", [-0.5, 0.0, 8.0, 9.0])
def test_an_atom_outside_the_cell_is_refused(z_A):
    atom = Atoms("Au", positions=[[5, 5, z_A]], cell=[10, 10, 8], pbc=True)
    with pytest.raises(NanoshapeError, match=rf"atoms reach from z = {z_A:.2f} .*must lie between 0 and 8\.00 Å"):
        multislice(atom, plane(32), ENERGY_EV, 2.0)


def test_fast_grid_sizes_have_no_prime_factor_over_five():
    for minimum in range(2, 600, 7):
        size = hrtem.next_fast_size(minimum)
        assert size >= minimum and size % 2 == 0
        rest = size
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        assert rest == 1
    assert hrtem.next_fast_size(410) == 432
    assert all(hrtem.next_fast_size(grid.pixels) == grid.pixels for grid in hrtem.FIDELITIES.values())


def test_an_unknown_fidelity_is_refused_with_the_list_of_known_ones():
    with pytest.raises(NanoshapeError, match="fidelity is 'best', but must be one of fast, standard, reference"):
        hrtem.fidelity("best")
    assert hrtem.fidelity(COARSE) is COARSE
