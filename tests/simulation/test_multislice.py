"""The multislice against other simulators, a solution without a grid, abTEM, and a few lines of numpy."""

import json
from pathlib import Path

import abtem
import numpy as np
import pytest
import torch
from abtem.parametrizations import KirklandParametrization
from ase import Atoms
from ase.io import read
from fourier import fourier_crop, squared_frequencies
from scipy import constants

from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.particles.orientation import euler
from nanoshape_lib.particles.shapes import build
from nanoshape_lib.particles.specimen import shake
from nanoshape_lib.simulation.multislice import (
    Grid,
    interaction_parameter,
    multislice,
    next_fast_size,
    propagate,
    slices,
    transmissions,
)
from nanoshape_lib.simulation.optics import Microscope

REFERENCE = Path(__file__).parents[1] / "reference"
PARAMETERS = json.loads((REFERENCE / "params.json").read_text())
ENERGY_EV = PARAMETERS["energy_eV"]
REST_EV = constants.m_e * constants.c**2 / constants.e
LAMBDA_A = constants.h * constants.c / constants.e / np.sqrt(ENERGY_EV * (ENERGY_EV + 2 * REST_EV)) * 1e10
SIGMA = 2 * np.pi / (LAMBDA_A * ENERGY_EV) * (REST_EV + ENERGY_EV) / (2 * REST_EV + ENERGY_EV)


def through(atoms, n, slice_A):
    """The wave (n, n) behind a cell under a plane wave."""
    return multislice(atoms, torch.ones(n, n), ENERGY_EV, slice_A).numpy()


def lens(wave, extent_A, defocus_A, Cs_A):
    """Coherent image intensity without an aperture, with the library's sign of defocus."""
    u = squared_frequencies(wave.shape[0], extent_A)
    chi = np.pi * LAMBDA_A * u * (-defocus_A + 0.5 * LAMBDA_A**2 * Cs_A * u)
    return np.abs(np.fft.ifft2(np.fft.fft2(wave) * np.exp(-1j * chi))) ** 2


def crop(image, n):
    """A smaller image with the same low frequencies; the unpaired ones at Nyquist are dropped."""
    spectrum = fourier_crop(np.fft.fft2(image), n)
    spectrum[n // 2], spectrum[:, n // 2] = 0, 0
    cropped = np.fft.ifft2(spectrum)
    return cropped if np.iscomplexobj(image) else cropped.real


def relative_rms(image, reference):
    return np.linalg.norm(image - reference) / np.linalg.norm(reference - reference.mean())


def inside(wave, extent_A, limit_per_A=1.0):
    """A wave without what is scattered beyond the objective aperture."""
    return np.fft.ifft2(np.fft.fft2(wave) * (squared_frequencies(len(wave), extent_A) <= limit_per_A**2))


# ------------------------------------------------------------------ other simulators, and a solution without a grid


@pytest.fixture(scope="module", params=["A", "C"])
def scene_of_reference(request):
    """Name, our wave at 512 pixels, width and numbers of one scene of the other simulators."""
    atoms = read(REFERENCE / f"{request.param}.xyz", format="extxyz")
    wave = through(atoms, 512, PARAMETERS["slice_thickness_A"])
    with np.load(REFERENCE / f"ref_{request.param}.npz") as file:
        numbers = {name: file[name] for name in file.files}
    return request.param, wave, atoms.cell.lengths()[0], numbers


def errors(scene_of_reference, key, sign=1, Cs_A=PARAMETERS["Cs_A"]):
    _, wave, extent_A, numbers = scene_of_reference
    images = [crop(lens(wave, extent_A, -sign * c1, Cs_A), 128) for c1 in numbers["C1_A"].astype(float)]
    return np.array([relative_rms(*pair) for pair in zip(images, numbers[key], strict=True)])


def test_images_agree_with_other_simulators(scene_of_reference):
    """Dr. Probe keeps nearly all of the potential's band, as we do; py_multislice does not and needs a finer grid."""
    name, numbers = scene_of_reference[0], scene_of_reference[3]
    found = errors(scene_of_reference, "drprobe_kirkland_coherent")
    in_focus = numbers["C1_A"] == 0
    # Near focus a thick particle has little contrast, and a like error is a larger part of it.
    assert found[~in_focus].max() < {"A": 0.035, "C": 0.085}[name]
    assert found[in_focus] < {"A": 0.04, "C": 0.33}[name]
    if name == "A":
        assert errors(scene_of_reference, "pymultislice_lobato_coherent").max() < 0.05


def test_images_on_a_fine_grid_agree_with_py_multislice_on_the_same_grid(scene_of_reference):
    if scene_of_reference[0] == "C":
        _, _, extent_A, numbers = scene_of_reference
        atoms = read(REFERENCE / "C.xyz", format="extxyz")
        fine = ("C", through(atoms, 1024, 2.0), extent_A, numbers)
        key = "pymultislice_lobato_grid1024_coherent"
        assert errors(fine, key).mean() < 0.06
        theirs = [
            relative_rms(*pair) for pair in zip(numbers["pymultislice_lobato_coherent"], numbers[key], strict=True)
        ]
        # On the coarse grid our images are nearer to the fine grid's than that program's own.
        assert errors(scene_of_reference, key).mean() < 0.7 * np.mean(theirs)


def test_wrong_signs_of_defocus_and_of_spherical_aberration_would_be_noticed(scene_of_reference):
    found = errors(scene_of_reference, "drprobe_kirkland_coherent", sign=-1)
    assert found[scene_of_reference[3]["C1_A"] != 0].min() > 1.0
    assert errors(scene_of_reference, "drprobe_kirkland_coherent", Cs_A=-PARAMETERS["Cs_A"]).min() > 0.35


def test_wave_of_one_atom_agrees_with_the_solution_without_a_grid():
    coarse, fine = (through(read(REFERENCE / "A.xyz", format="extxyz"), n, 2.0) for n in (512, 768))
    with np.load(REFERENCE / "analytic_A.npz") as analytic:
        assert relative_rms(crop(coarse, 128), analytic["wave"]) < 0.022
        assert relative_rms(crop(fine, 128), analytic["wave"]) < 0.01


@pytest.mark.parametrize("defocus_A", [30.0, -30.0])
def test_one_atom_is_dark_on_underfocus_and_bright_on_overfocus(defocus_A):
    """By as much as in the solution without a grid, up to the same spatial frequency."""
    n, extent_A, slice_A, limit_per_A = 768, 51.2, 2.0, 3.0
    atom = Atoms("Au", positions=[[25.6, 25.6, 1.0]], cell=[extent_A, extent_A, slice_A], pbc=True)
    wave = inside(through(atom, n, slice_A), extent_A, limit_per_A)
    # The atom acts at the slice's entrance and the wave is that behind the slice.
    centre = lens(wave, extent_A, defocus_A + slice_A, 0.0)[n // 2, n // 2]
    with np.load(REFERENCE / "analytic_A.npz") as analytic:
        q = np.linspace(0, limit_per_A, 4001)
        scattered = np.interp(q, analytic["q_per_A"], analytic["F_q_A2"])
    exact = abs(1 + 2 * np.pi * np.trapezoid(scattered * np.exp(1j * np.pi * LAMBDA_A * defocus_A * q**2) * q, q)) ** 2
    assert (exact < 0.6) if defocus_A > 0 else (exact > 1.4)
    assert centre == pytest.approx(exact, rel=0.003)


def small_cluster(size_A=30.0, extent_A=48.0, height_A=40.0):
    particle = build("octahedron", size_A)
    particle.positions = particle.positions @ euler(10, 40, 70).T + [extent_A / 2, extent_A / 2, height_A / 2]
    particle.set_cell([extent_A, extent_A, height_A])
    return particle


def abtem_wave(atoms, n, slice_A, **potential):
    with abtem.config.set({"dask.lazy": False, "diagnostics.progress_bar": False}):
        field = abtem.Potential(atoms, gpts=n, slice_thickness=slice_A, parametrization="kirkland", **potential)
        wave = abtem.PlaneWave(energy=ENERGY_EV).multislice(field)
    return np.asarray(wave.array)


def test_abtem_gives_the_same_wave_on_a_fine_grid_and_another_one_on_a_coarse_grid():
    """abTEM damps potentials at high frequencies; on a grid fine enough for gold that no longer matters."""
    atoms = small_cluster(28.0, 32.0, 36.0)
    exact = inside(through(atoms, 640, 2.0), 32.0)
    fine, coarse = (inside(abtem_wave(atoms, n, 2.0), 32.0) for n in (640, 192))
    ours = inside(through(atoms, 192, 2.0), 32.0)
    assert relative_rms(fine, exact) < 0.02
    assert relative_rms(crop(ours, 64), crop(exact, 64)) < 0.7 * relative_rms(crop(coarse, 64), crop(exact, 64))


def test_finite_projection_of_the_slices_gives_nearly_the_same_wave():
    atoms = small_cluster(28.0, 32.0, 36.0)
    finite = inside(abtem_wave(atoms, 640, 2.0, projection="finite"), 32.0)
    assert relative_rms(finite, inside(through(atoms, 640, 2.0), 32.0)) < 0.025


# ------------------------------------------------------------------ a second engine, and the potentials term by term


def potentials(atoms, n, slice_A):
    """Projected potentials [V Å] (slices, n, n) from explicit sums over atoms, with every frequency of the square."""
    extent_A, height_A = atoms.cell.lengths()[0], atoms.cell.lengths()[2]
    q = np.fft.fftfreq(n, extent_A / n)
    factor = KirklandParametrization().projected_scattering_factor("Au")(q[:, None] ** 2 + q**2)
    factor[n // 2], factor[:, n // 2] = 0, 0
    owner = (atoms.positions[:, 2] / slice_A).astype(int)
    result = []
    for index in range(round(height_A / slice_A)):
        x, y = (np.exp(-2j * np.pi * q[:, None] * atoms.positions[owner == index, axis]) for axis in (0, 1))
        result.append(np.fft.ifft2((x @ y.T) * factor).real * (n / extent_A) ** 2)
    return np.stack(result)


def numpy_multislice(potential, extent_A, slice_A):
    """A multislice of its own in double precision: transmit, propagate within two thirds of the grid's band."""
    n = potential.shape[-1]
    q = np.fft.fftfreq(n, extent_A / n)
    u = q[:, None] ** 2 + q**2
    propagator = (u <= (2 / 3 * n / extent_A / 2) ** 2) * np.exp(-1j * np.pi * LAMBDA_A * slice_A * u)
    wave = np.ones((n, n), complex)
    for projected in potential:
        wave = np.fft.ifft2(propagator * np.fft.fft2(np.exp(1j * SIGMA * projected) * wave))
    return wave


def test_a_multislice_in_a_few_lines_of_numpy_gives_the_same_wave():
    """A turned particle of 5 nm: identical potentials by explicit sums, propagated independently."""
    particle = build("truncated octahedron", 50)
    particle.positions = particle.positions @ euler(10, 40, 70).T + [38.4, 38.4, 33.0]
    particle.set_cell([76.8, 76.8, 66.0])
    theirs = numpy_multislice(potentials(particle, 384, 3.0), 76.8, 3.0)
    assert relative_rms(through(particle, 384, 3.0), theirs) < 0.003


@pytest.mark.parametrize("grid", [Grid((160, 144), (32.0, 27.0)), Grid((96, 128), (24.0, 20.0))])
@pytest.mark.parametrize(("symbol", "peak"), [("Au", 1.0), ("C", 0.2)])
def test_phase_shifts_agree_with_their_structure_factors_summed_term_by_term(symbol, peak, grid):
    """Atoms anywhere, on the borders too, on pixels that are not square."""
    rng, (nx, ny), (Lx, Ly) = np.random.default_rng(0), *grid
    positions = np.concatenate([rng.uniform(0, [Lx, Ly, 2], (60, 3)), [[0, 0, 1], [Lx, Ly, 1], [1e-9, Ly - 1e-3, 1]]])
    atoms = Atoms(f"{symbol}{len(positions)}", positions=positions, cell=[Lx, Ly, 2], pbc=True)
    qx, qy = grid.frequencies()
    factor = KirklandParametrization().projected_scattering_factor(symbol)(qx**2 + qy**2)
    factor[nx // 2], factor[:, ny // 2] = 0, 0
    x, y = (np.exp(-2j * np.pi * q.ravel()[:, None] * positions[:, axis]) for axis, q in enumerate((qx, qy)))
    phase = SIGMA * np.fft.ifft2((x @ y.T) * factor).real * nx * ny / (Lx * Ly)
    (found,) = transmissions(atoms, grid, ENERGY_EV, 2.0)
    error = np.angle(found.numpy() * np.exp(-1j * phase))
    assert phase.max() > peak
    assert np.abs(error).max() < 3e-4
    assert relative_rms(phase + error, phase) < 2e-4


def test_the_interaction_parameter_and_the_wavelength_are_those_of_relativity():
    assert interaction_parameter(ENERGY_EV) == pytest.approx(SIGMA, rel=1e-12)
    # Kirkland 2010, table of section 5.2: 0.00729 radians per volt and nanometre at 200 kV.
    assert interaction_parameter(200e3) == pytest.approx(7.2884e-4, rel=1e-4)
    assert Microscope(energy_eV=200e3).wavelength_A == pytest.approx(0.0250793, abs=1e-7)
    assert Microscope(energy_eV=300e3).wavelength_A == pytest.approx(0.0196875, abs=1e-7)


def test_phases_of_two_elements_in_one_slice_add_up():
    grid = Grid((96, 96), (24.0, 24.0))
    rng = np.random.default_rng(1)
    gold, carbon = (Atoms(name, positions=rng.uniform(0, [24, 24, 2], (n, 3))) for name, n in (("Au5", 5), ("C40", 40)))
    found = []
    for atoms in (gold, carbon, gold + carbon):
        atoms.set_cell([24, 24, 2])
        found += list(transmissions(atoms, grid, ENERGY_EV, 2.0))
    assert (found[0] * found[1] - found[2]).abs().max() < 1e-5


# ------------------------------------------------------------------ what must not matter, and what must hold


def test_a_slice_without_atoms_is_free_space():
    atoms = small_cluster(height_A=80.0)
    grid = Grid((192, 192), (48.0, 48.0))
    parts = list(transmissions(atoms, grid, ENERGY_EV, 4.0))
    assert len(parts) == 20 and parts[0] is None and parts[-1] is None and parts[10] is not None
    lower = small_cluster(height_A=80.0)
    lower.positions[:, 2] -= 8.0
    lower.set_cell([48.0, 48.0, 60.0])
    later = propagate(torch.as_tensor(through(lower, 192, 4.0)), [None], grid, ENERGY_EV, 12.0)
    assert relative_rms(later.numpy(), through(small_cluster(height_A=80.0), 192, 4.0)) < 1e-5


def test_thinner_slices_change_wave_and_images_ever_less():
    atoms = small_cluster()
    thick, thin, thinner = (inside(through(atoms, 384, thickness), 48.0) for thickness in (2.0, 1.0, 0.5))
    assert relative_rms(thick, thin) < 0.027
    assert relative_rms(thin, thinner) < 0.5 * relative_rms(thick, thin)
    for defocus_A in (-70.0, 70.0):
        # A slice acts at its entrance, so the plane of focus moves by half the difference in thickness.
        images = lens(thick, 48.0, defocus_A + 0.5, PARAMETERS["Cs_A"]), lens(thin, 48.0, defocus_A, PARAMETERS["Cs_A"])
        assert relative_rms(*images) < 0.033


@pytest.mark.parametrize(("height_A", "slice_A", "expected"), [(10, 3, (4, 2.5)), (12, 3, (4, 3)), (1, 3, (1, 1))])
def test_slices_fill_the_cell_and_are_not_thicker_than_asked(height_A, slice_A, expected):
    assert slices(height_A, slice_A) == pytest.approx(expected)


def test_electrons_are_conserved_but_for_those_scattered_beyond_the_grid():
    for n, lost in ((192, 0.014), (480, 0.005)):
        intensity = np.mean(np.abs(through(small_cluster(), n, 2.0)) ** 2)
        assert 1 - lost < intensity < 1 + 1e-5
    atom = Atoms("C", positions=[[1.0, 1.0, 1.0]], cell=[24.0, 24.0, 40.0], pbc=True)
    assert np.mean(np.abs(through(atom, 96, 4.0)) ** 2) == pytest.approx(1, abs=1e-3)


@pytest.mark.slow
def test_frozen_vibrations_average_to_the_debye_waller_factor():
    """The mean wave behind many shaken atoms is that of one whose potential is damped by exp(-B q²/4)."""
    rng = np.random.default_rng(0)
    atom = Atoms("C", positions=[[8.0, 8.0, 2.0]], cell=[16.0, 16.0, 4.0], pbc=True)
    mean = np.mean([through(shake(atom, rng, 0.085), 128, 4.0) - 1 for _ in range(1500)], axis=0)
    u = squared_frequencies(128, 16.0)
    still = np.fft.fft2(through(atom, 128, 4.0) - 1)
    damped = np.fft.ifft2(still * np.exp(-(8 * np.pi**2 * 0.085**2) * u / 4))
    assert relative_rms(inside(mean, 16.0), inside(damped, 16.0)) < 0.015
    assert relative_rms(inside(mean, 16.0), inside(np.fft.ifft2(still), 16.0)) > 0.04


@pytest.mark.parametrize("z_A", [-0.5, 0.0, 8.0, 9.0])
def test_an_atom_outside_the_cell_is_refused(z_A):
    atom = Atoms("Au", positions=[[5, 5, z_A]], cell=[10, 10, 8], pbc=True)
    with pytest.raises(NanoshapeError, match=rf"atoms reach from z = {z_A:.2f} .*must lie between 0 and 8\.00 Å"):
        through(atom, 32, 2.0)


def test_fast_grid_sizes_have_no_prime_factor_over_five():
    for minimum in range(2, 600, 7):
        size = next_fast_size(minimum)
        assert size >= minimum and size % 2 == 0
        rest = size
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        assert rest == 1
    assert next_fast_size(410) == 432
