"""How right the simulation is: its checks against what is known by other means, and errors of its grids and optics."""

import time
from collections.abc import Iterable, Sequence
from itertools import product
from typing import NamedTuple

import abtem
import numpy as np
import pandas as pd
import torch
from abtem.core.energy import energy2sigma, energy2wavelength
from abtem.parametrizations import KirklandParametrization
from ase import Atoms
from scipy.special import j0

from nanoshape_lib.particles import orientation, shapes
from nanoshape_lib.particles.specimen import FIELD_A, THERMAL_RMS_A, shake
from nanoshape_lib.simulation.exit_waves import Fidelity, exit_wave, film_wave, wave_pixels
from nanoshape_lib.simulation.film import Placement, Scene, deposit, turned_scene
from nanoshape_lib.simulation.imaging import focal_series, form_images, intensity_spectrum, record
from nanoshape_lib.simulation.multislice import (
    Grid,
    fit_spectrum,
    interaction_parameter,
    multislice,
    next_fast_size,
    propagate,
    propagator,
    slices,
)
from nanoshape_lib.simulation.optics import (
    Camera,
    Microscope,
    aberration_function,
    contrast_transfer,
    focal_spread_modes,
    intensity_pixels,
    mtf,
)

# Film blocks are 30 Å thick: slices of 3 Å end at the film's faces.
ALIGNED_A = 3.0
FILM = Placement(0, (17, 64), 1, True)
PLACE_A = (4.0, -3.0)
ANGLE_DEG = 37.0
FRAMES = 24
REFERENCE = Fidelity(1 / 16, 0.5)
DEFOCI_A = (-100.0, 0.0, 100.0)
NOISELESS = Camera(dose_e_A2=None)
FOCUS_NODES, ANGLE_NODES = 25, 5
GENERAL = orientation.euler(20, 35, 50)


def relative_error(values: np.ndarray, reference: np.ndarray) -> float:
    """Norm of the difference over the norm of the reference's own deviation from its mean."""
    return float(np.linalg.norm(values - reference) / np.linalg.norm(reference - reference.mean()))


def standard_scenes(seed: int = 0) -> dict[str, Scene]:
    """A 43 Å truncated octahedron in vacuum, its atoms displaced as at 300 K: turned anyhow, and along [001]."""
    rng, particle = np.random.default_rng(seed), shapes.build("truncated octahedron", 43)
    orientations = {"general orientation": GENERAL, "along [001]": np.eye(3)}
    return {name: turned_scene(particle, turn, None, rng) for name, turn in orientations.items()}


def large_scenes(size_A: float, seed: int = 0) -> dict[str, Scene]:
    """A cube, an octahedron and an icosahedron of one size [Å] in vacuum, in a general orientation, as at 300 K."""
    rng, names = np.random.default_rng(seed), ("cube", "octahedron", "icosahedron")
    return {name: turned_scene(shapes.build(name, size_A), GENERAL, None, rng) for name in names}


def convergence_table(
    scenes: dict[str, Scene],
    grids: Iterable[tuple[float, float]],
    microscope: Microscope,
    reference: Fidelity = REFERENCE,
) -> pd.DataFrame:
    """Errors of waves and images on coarser grids, (sampling [Å/pixel], slice [Å]) each, against a fine one.

    ``wave`` is the error inside the aperture relative to the scattered wave; ``images_low`` and ``images_high`` are the
    least and the largest error of noiseless camera images at defoci of -100, 0 and +100 Å, relative to their contrast.
    """
    rows = []
    for name, scene in scenes.items():
        exact = exit_wave(scene, microscope, reference)
        exact_images = _images(exact, microscope)
        for grid in (Fidelity(*pair) for pair in grids):
            start = time.perf_counter()
            wave = exit_wave(scene, microscope, grid)
            seconds = time.perf_counter() - start
            errors = relative_error(wave, exact), *_image_errors(wave, exact_images, microscope)
            rows.append([name, *grid, grid.pixels, *errors, seconds])
    columns = ["scene", "sampling_A", "slice_A", "pixels", "wave", "images_low", "images_high", "seconds"]
    return pd.DataFrame(rows, columns=columns)


def _images(wave: np.ndarray, microscope: Microscope) -> np.ndarray:
    return form_images(wave, DEFOCI_A, microscope, NOISELESS).numpy()


def _image_errors(wave: np.ndarray, exact: np.ndarray, microscope: Microscope) -> tuple[float, float]:
    """The least and the largest error of the images of a wave at the three defoci."""
    errors = [relative_error(*pair) for pair in zip(_images(wave, microscope), exact, strict=True)]
    return min(errors), max(errors)


def _at_mid_plane(wave: torch.Tensor, distance_A: float, microscope: Microscope) -> np.ndarray:
    """A wave (m, m) of the field, propagated by a distance [Å], in the form of :func:`exit_wave`."""
    n = wave_pixels(microscope)
    on = propagator(Grid((n, n), (FIELD_A, FIELD_A)), microscope.energy_eV, distance_A, microscope.aperture_per_A)
    return torch.fft.ifft2(fit_spectrum(torch.fft.fft2(wave, norm="forward"), (n, n)) * on, norm="forward").numpy()


def damped_potential_wave(scene: Scene, microscope: Microscope, grid: Fidelity) -> np.ndarray:
    """The exit wave of a particle in vacuum if its potential is damped at the grid's high frequencies.

    The potential is abTEM's: 0.72 of the whole just below two thirds of the Nyquist frequency, 0.56 near it. All else
    is as in :func:`~nanoshape_lib.simulation.exit_waves.exit_wave`, on the whole field.
    """
    energy, field = microscope.energy_eV, Grid((grid.pixels, grid.pixels), (FIELD_A, FIELD_A))
    atoms, thickness = scene.particle.copy(), grid.slice_A
    count, _ = slices(atoms.positions[:, 2].max() + 1.0, thickness)
    atoms.set_cell([FIELD_A, FIELD_A, count * thickness])
    potential = abtem.Potential(atoms, gpts=grid.pixels, slice_thickness=thickness, parametrization="kirkland")
    with abtem.config.set({"diagnostics.progress_bar": False}):
        layers = torch.as_tensor(potential.build(lazy=False).array)
    through = (torch.exp(1j * interaction_parameter(energy) * layer) for layer in layers)
    wave = propagate(torch.ones(field.pixels, dtype=torch.complex64), through, field, energy, thickness)
    return _at_mid_plane(wave, scene.mid_plane_A - (count + 0.5) * thickness, microscope)


def potential_table(
    scene: Scene, grids: Iterable[tuple[float, float]], microscope: Microscope, reference: Fidelity = REFERENCE
) -> pd.DataFrame:
    """What damping the potential at high frequencies does to the images of a particle in vacuum on coarse grids.

    ``potential`` is ``whole`` or ``damped``; grids and errors are as in :func:`convergence_table`, and the fine grid
    has the whole potential.
    """
    exact = _images(exit_wave(scene, microscope, reference), microscope)
    rows = []
    for grid in (Fidelity(*pair) for pair in grids):
        for potential, simulate in {"whole": exit_wave, "damped": damped_potential_wave}.items():
            rows.append([*grid, potential, *_image_errors(simulate(scene, microscope, grid), exact, microscope)])
    return pd.DataFrame(rows, columns=["sampling_A", "slice_A", "potential", "images_low", "images_high"])


def explicit_intensity(
    wave: np.ndarray, defocus_A: float, microscope: Microscope, focus_nodes: int = 61, angle_nodes: int = 1
) -> np.ndarray:
    """The slow reference for :func:`intensity_spectrum`: an explicit average over focus and illumination angle.

    Focus is averaged over ±3 widths with equal steps, angles over a square grid of ±2.5 widths, both
    with their Gaussian weights. Returns the intensity (m, m) on a grid of twice the wave's pixels.
    """
    n, fine, spectrum = len(wave), next_fast_size(2 * len(wave)), np.fft.fft2(wave)
    q = np.fft.fftfreq(n, FIELD_A / n)
    tilt = microscope.convergence_mrad * 1e-3 / microscope.wavelength_A
    t = np.linspace(-3, 3, focus_nodes) if focus_nodes > 1 else np.zeros(1)
    a = np.linspace(-2.5, 2.5, angle_nodes) if angle_nodes > 1 else np.zeros(1)
    total, norm = np.zeros((fine, fine)), 0.0
    for ax, ay, x in product(a, a, t):
        focus_A = defocus_A - x * microscope.focal_spread_A
        chi = aberration_function(q[:, None] + ax * tilt, q + ay * tilt, microscope, focus_A)
        padded = fit_spectrum(torch.as_tensor(spectrum * np.exp(-1j * chi)), (fine, fine)).numpy()
        weight = np.exp(-(x**2) - ax**2 - ay**2)
        total += weight * np.abs(np.fft.ifft2(padded)) ** 2
        norm += weight
    return total / norm * (fine / n) ** 4


def quasi_coherent_intensity(wave: np.ndarray, defocus_A: float, microscope: Microscope) -> np.ndarray:
    """One coherent image (m, m) by abTEM, with its envelopes on the wave; m is twice the wave's pixels."""
    n, fine = len(wave), next_fast_size(2 * len(wave))
    spectrum = fit_spectrum(torch.as_tensor(np.fft.fft2(wave) * (fine / n) ** 2), (fine, fine)).numpy()
    waves = abtem.Waves(np.fft.ifft2(spectrum).astype(np.complex64), energy=microscope.energy_eV, extent=FIELD_A)
    ctf = abtem.CTF(
        energy=microscope.energy_eV,
        defocus=defocus_A,
        C30=microscope.Cs_A,
        focal_spread=microscope.focal_spread_A,
        angular_spread=microscope.convergence_mrad,
    )
    return np.abs(np.asarray(waves.apply_ctf(ctf).array)) ** 2  # type: ignore[union-attr]


def _intensity(wave: np.ndarray | torch.Tensor, defocus_A: float, microscope: Microscope, pixels: int) -> torch.Tensor:
    """The :func:`intensity_spectrum` (1, pixels, pixels // 2) of one wave at one defocus [Å]."""
    spectra = torch.fft.fft2(torch.as_tensor(wave), norm="forward")[None]
    return intensity_spectrum(spectra, torch.tensor([defocus_A]), microscope, pixels)


def _in_real_space(spectrum: torch.Tensor, pixels: int) -> np.ndarray:
    """The intensity (pixels, pixels) of a spectrum as of :func:`_intensity`."""
    return torch.fft.irfft2(spectrum, s=(pixels, pixels), norm="forward")[0].numpy()


def coherence_images(wave: np.ndarray, defocus_A: float, microscope: Microscope) -> dict[str, np.ndarray]:
    """Noiseless camera images [incident intensity] of one wave by three treatments of partial coherence.

    ``explicit`` is the average over focus and angle, summed term by term, ``low rank`` this library's, and
    ``quasi-coherent`` one coherent image under abTEM's envelopes.
    """
    explicit = explicit_intensity(wave, defocus_A, microscope, FOCUS_NODES, ANGLE_NODES)
    quasi = quasi_coherent_intensity(wave, defocus_A, microscope)
    theirs, usual = (torch.fft.rfft2(torch.as_tensor(x).float(), norm="forward")[None] for x in (explicit, quasi))
    ours = _intensity(wave, defocus_A, microscope, len(explicit))
    spectra = {"explicit": theirs, "low rank": ours, "quasi-coherent": usual}
    return {name: record(spectrum, NOISELESS)[0].numpy() for name, spectrum in spectra.items()}


def coherence_table(
    images: Sequence[dict[str, np.ndarray]], defoci_A: Sequence[float], microscope: Microscope
) -> pd.DataFrame:
    """Error against the explicit average, mean intensity and cost, for each treatment and defocus [Å]."""
    modes = len(focal_spread_modes(microscope))
    cost = {"explicit": FOCUS_NODES * ANGLE_NODES**2, "low rank": modes, "quasi-coherent": 1}
    rows = [
        [defocus_A, name, relative_error(image, by_name["explicit"]), float(image.mean()), cost[name]]
        for defocus_A, by_name in zip(defoci_A, images, strict=True)
        for name, image in by_name.items()
    ]
    return pd.DataFrame(rows, columns=["defocus_A", "treatment", "error", "mean intensity", "coherent images"])


class Check(NamedTuple):
    """One number: what was found, what it must be, by how much it may differ, and how that is known."""

    what: str
    found: float
    expected: float
    allowed: float
    means: str


def table(checks: list[Check]) -> pd.DataFrame:
    """Checks as a table, one row each, with a column that says whether it holds."""
    rows = pd.DataFrame(checks)
    rows["holds"] = (rows["found"] - rows["expected"]).abs() <= rows["allowed"]
    return rows.set_index("what")


def beam_checks() -> list[Check]:
    """Wavelength [Å] and interaction parameter [rad/(V Å)] at 200 and 300 kV."""
    checks = []
    for energy_eV in (200e3, 300e3):
        at, wavelength, sigma = f"at {energy_eV / 1e3:g} kV", energy2wavelength(energy_eV), energy2sigma(energy_eV)
        found = Microscope(energy_eV=energy_eV).wavelength_A
        checks.append(Check(f"wavelength {at} (Å)", found, wavelength, 1e-6 * wavelength, "abTEM"))
        found = interaction_parameter(energy_eV)
        checks.append(Check(f"interaction parameter {at} (rad/VÅ)", found, sigma, 1e-6 * sigma, "abTEM"))
    return checks


def scattered_amplitude(symbol: str, q_per_A: np.ndarray, energy_eV: float) -> np.ndarray:
    """Complex amplitudes [Å²] that one atom adds to the spectrum of the wave right behind it, without any grid.

    The Hankel transform of the phase grating ``exp(iσ v(r)) - 1`` of Kirkland's projected potential v(r) (Kirkland
    2010, appendix C), by the trapezoidal rule over the logarithm of r.
    """
    r = np.geomspace(1e-6, 12.0, 6000)
    potential: np.ndarray = KirklandParametrization().projected_potential(symbol)(r)  # type: ignore[operator]
    added = np.exp(1j * interaction_parameter(energy_eV) * potential) - 1
    return 2 * np.pi * np.trapezoid(added * j0(2 * np.pi * q_per_A[:, None] * r) * r**2, np.log(r))


def atom_checks(microscope: Microscope, sampling_A: float) -> list[Check]:
    """One gold atom: its wave inside the aperture, and its coherent image on both sides of focus."""
    coherent = microscope.model_copy(update={"focal_spread_A": 0.0, "convergence_mrad": 0.0})
    energy, means = microscope.energy_eV, "integral without a grid"
    # In the middle of a slice, where it counts as being: nothing is left to propagate.
    scene = Scene(Atoms("Au", positions=[[FIELD_A / 2, FIELD_A / 2, 3.0]]), None)
    wave = exit_wave(scene, microscope, Fidelity(sampling_A, 2.0))
    n = len(wave)
    q = np.fft.fftfreq(n, FIELD_A / n)[: int(microscope.aperture_per_A * FIELD_A) + 1]
    ours = np.fft.fft2(np.fft.ifftshift(wave) - 1)[: len(q), 0] * (FIELD_A / n) ** 2
    exact = scattered_amplitude("Au", q, energy)
    error = float(np.linalg.norm(ours - exact) / np.linalg.norm(exact))
    checks = [Check("error of a gold atom's wave", error, 0.0, 0.03, means)]
    q, pixels = np.linspace(0, microscope.aperture_per_A, 1001), 512
    exact = scattered_amplitude("Au", q, energy)
    for defocus_A in (30.0, -30.0):
        chi = np.asarray(aberration_function(q, 0 * q, microscope, defocus_A))
        expected = float(np.abs(1 + 2 * np.pi * np.trapezoid(exact * np.exp(-1j * chi) * q, q))) ** 2
        image = _in_real_space(_intensity(wave, defocus_A, coherent, pixels), pixels)
        found = float(image[pixels // 2, pixels // 2])
        checks.append(Check(f"brightness at the atom, defocus {defocus_A:+g} Å", found, expected, 0.03, means))
    return checks


def thermal_checks(microscope: Microscope, configurations: int = 100, seed: int = 0) -> list[Check]:
    """The mean wave of a vibrating gold atom, over its wave at rest, at 0.5 per Å."""
    rng, grid = np.random.default_rng(seed), Fidelity(0.125, 4.0)
    rest = Scene(Atoms("Au", positions=[[FIELD_A / 2, FIELD_A / 2, 2.0]]), None)
    scenes = [Scene(shake(rest.particle, rng), None) for _ in range(configurations)]
    mean = np.mean([exit_wave(scene, microscope, grid) for scene in scenes], axis=0)
    n = len(mean)
    q = np.fft.fftfreq(n, FIELD_A / n)
    ring = np.abs(np.hypot(q[:, None], q) - 0.5) < 0.02
    still, moving = (np.fft.fft2(wave)[ring] for wave in (exit_wave(rest, microscope, grid), mean))
    found = float((np.vdot(still, moving) / np.vdot(still, still)).real)
    expected = float(np.exp(-2 * (np.pi * THERMAL_RMS_A * 0.5) ** 2))
    return [Check("mean wave of a vibrating atom at 0.5 Å⁻¹", found, expected, 0.01, "Debye–Waller factor")]


def _whole_cell(scene: Scene, microscope: Microscope, grid: Fidelity) -> np.ndarray:
    """Film and particle in one multislice of the whole field, in the form of :func:`exit_wave`."""
    thickness, atoms, entry_A = grid.slice_A, scene.atoms(), -scene.film_thickness_A
    if scene.downstream:
        entry_A = -slices(1.0 - scene.particle.positions[:, 2].min(), thickness)[0] * thickness
    atoms.positions[:, 2] -= entry_A
    height = slices(atoms.positions[:, 2].max() + (0.0 if scene.downstream else 1.0), thickness)[0] * thickness
    atoms.positions[:, 2] = np.clip(atoms.positions[:, 2], 1e-3, height - 1e-3)
    atoms.set_cell([FIELD_A, FIELD_A, height])
    wave = multislice(atoms, torch.ones(grid.pixels, grid.pixels), microscope.energy_eV, thickness)
    return _at_mid_plane(wave, scene.mid_plane_A - (entry_A + height + thickness / 2), microscope)


def _particle(angle_deg: float = 0.0) -> Atoms:
    """A 40 Å octahedron in a general orientation, then turned about the beam."""
    particle = shapes.build("octahedron", 40)
    particle.positions = particle.positions @ GENERAL.T
    particle.rotate(angle_deg, "z")
    return particle


def shortcut_checks(microscope: Microscope, sampling_A: float) -> list[Check]:
    """The particle in its window, and the film computed once, for slices that end at the film's faces."""
    grid, particle = Fidelity(sampling_A, ALIGNED_A), _particle()
    vacuum = deposit(particle, None, PLACE_A)
    scattered = np.linalg.norm(exit_wave(vacuum, microscope, grid) - 1)
    cases = {
        "particle in its window, without film": vacuum,
        "the same behind a film whose wave is reused": deposit(particle, FILM, PLACE_A),
        "the same before a film whose slices are reused": deposit(particle, FILM, PLACE_A, downstream=True),
    }
    checks = []
    for name, scene in cases.items():
        # Relative to what the particle scatters: the film's grain would make an error look small.
        off = np.linalg.norm(exit_wave(scene, microscope, grid) - _whole_cell(scene, microscope, grid))
        checks.append(Check(f"error: {name}", float(off / scattered), 0.0, 0.005, "multislice of the whole cell"))
    return checks


def engine_checks(microscope: Microscope) -> list[Check]:
    """A particle's wave inside the aperture on a fine grid, by this library and by abTEM."""
    grid, side_A, particle = Fidelity(0.1, 1.0), 64.0, _particle()
    particle.positions += side_A / 2
    particle.set_cell([side_A, side_A, side_A])
    pixels = round(side_A / grid.sampling_A)
    ours = multislice(particle, torch.ones(pixels, pixels), microscope.energy_eV, grid.slice_A).numpy()
    options = {"dask.lazy": False, "diagnostics.progress_bar": False, "fftw.planning_effort": "FFTW_ESTIMATE"}
    with abtem.config.set(options):
        potential = abtem.Potential(particle, gpts=pixels, slice_thickness=grid.slice_A, parametrization="kirkland")
        wave = abtem.PlaneWave(energy=microscope.energy_eV).multislice(potential)
    q = np.fft.fftfreq(pixels, grid.sampling_A)
    inside = q[:, None] ** 2 + q**2 <= microscope.aperture_per_A**2
    seen = [np.fft.ifft2(np.fft.fft2(found) * inside) for found in (ours, np.asarray(wave.array))]  # type: ignore
    what = f"error of a particle's wave, {grid.sampling_A:g} Å, slices of {grid.slice_A:g} Å"
    return [Check(what, relative_error(*seen), 0.0, 0.04, "abTEM")]


def invariance_checks(microscope: Microscope, grid: Fidelity) -> list[Check]:
    """What must change nothing or only turn the image, and the number of electrons."""
    scene, defocus = deposit(_particle(), None), torch.tensor([60.0])
    wave = exit_wave(scene, microscope, grid)
    raised = scene.particle.copy()
    raised.positions[:, 2] += 6 * grid.slice_A
    error = relative_error(exit_wave(Scene(raised, None), microscope, grid), wave)
    checks = [Check("error: vacuum added before the particle", error, 0.0, 1e-3, "the same wave")]
    other = torch.as_tensor(exit_wave(deposit(_particle(ANGLE_DEG), None), microscope, grid))[None]
    angle = torch.tensor([ANGLE_DEG])
    turned = form_images(torch.as_tensor(wave)[None], defocus, microscope, NOISELESS, None, angle)
    simulated = form_images(other, defocus, microscope, NOISELESS)
    x = np.arange(NOISELESS.pixels) + 0.5 - NOISELESS.pixels / 2
    disc = np.hypot(x[:, None], x) < 0.43 * NOISELESS.pixels
    error = relative_error(turned[0].numpy()[disc], simulated[0].numpy()[disc])
    checks.append(Check(f"error: image turned by {ANGLE_DEG:g}°", error, 0.0, 0.05, "the turned particle, simulated"))
    kept = float(np.mean(np.abs(film_wave(FILM.block, microscope.energy_eV, grid).numpy()) ** 2))
    checks.append(Check("electrons behind the film, of all", kept, 1.0, 0.01, "none are absorbed"))
    return checks


def lens_checks(
    wave: np.ndarray, treatments: dict[str, np.ndarray], defocus_A: float, microscope: Microscope
) -> list[Check]:
    """The optics: partial coherence, the coherent image, aliasing, and weak objects.

    ``treatments`` are the :func:`~coherence_images` of the wave at this defocus [Å].
    """
    pixels = intensity_pixels(microscope, NOISELESS)
    coherent = microscope.model_copy(update={"focal_spread_A": 0.0, "convergence_mrad": 0.0})
    error = relative_error(treatments["low rank"], treatments["explicit"])
    terms = f"sum over {FOCUS_NODES * ANGLE_NODES**2} foci and angles"
    checks = [Check("error: partial coherence by a few modes", error, 0.0, 0.01, terms)]
    by_abtem = quasi_coherent_intensity(wave, defocus_A, coherent)
    ours = _in_real_space(_intensity(wave, defocus_A, coherent, len(by_abtem)), len(by_abtem))
    checks.append(Check("error: coherent image", relative_error(ours, by_abtem), 0.0, 1e-4, "abTEM's lens"))
    sides = (pixels, 2 * pixels)
    formed = [record(_intensity(wave, defocus_A, microscope, side), NOISELESS)[0].numpy() for side in sides]
    error = relative_error(*formed)
    checks.append(Check("error: aliasing in the camera's image", error, 0.0, 1e-3, "a grid twice as fine"))
    n, cycles, phase = len(wave), round(FIELD_A / 2.354), 1e-3
    grating = np.exp(1j * phase * np.cos(2 * np.pi * cycles * np.arange(n) / n)).astype(np.complex64)
    weak = torch.as_tensor(grating)[:, None].expand(n, n)
    for value_A in (defocus_A, -defocus_A):
        spectrum = _intensity(weak, value_A, microscope, pixels)[0]
        transfer, _ = contrast_transfer(np.array([cycles / FIELD_A]), value_A, microscope)
        found = spectrum[cycles, 0].real.item() / phase
        what = f"transfer of {{111}} fringes, defocus {value_A:+g} Å"
        checks.append(Check(what, found, float(transfer[0]), 0.005, "formula for a weak phase object"))
    return checks


def camera_checks(microscope: Microscope, seed: int = 0) -> list[Check]:
    """Counting statistics before, and the spectrum of the noise behind the scintillator."""
    even, defoci = np.ones((wave_pixels(microscope),) * 2, np.complex64), np.zeros(FRAMES)
    counts = 100 * focal_series(even, defoci, microscope, Camera(dose_e_A2=100.0, mtf_c1=1.0), seed)
    mean, ratio = float(counts.mean()), float(counts.var() / counts.mean())
    checks = [Check("mean count, 100 electrons a pixel", mean, 100.0, 0.5, "dose × area")]
    checks.append(Check("variance of the counts over their mean", ratio, 1.0, 0.02, "Poisson's law"))
    camera = Camera(dose_e_A2=400.0)
    noise = focal_series(even, defoci, microscope, camera, seed) - 1
    power = (np.abs(np.fft.rfft2(noise)) ** 2).mean(axis=0) * 400 / noise[0].size
    q = torch.hypot(torch.fft.fftfreq(camera.pixels)[:, None], torch.fft.rfftfreq(camera.pixels))
    for middle in (0.1, 0.25, 0.45):
        ring = (q - middle).abs() < 0.02
        found, expected = float(power[ring.numpy()].mean()), float((mtf(camera, q[ring]) ** 2).mean())
        checks.append(Check(f"noise at {middle:g} Å⁻¹, white is one", found, expected, 0.02, "square of the MTF"))
    return checks
