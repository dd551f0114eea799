"""How far off a simulation is: against its grid and slices, and against the treatment of coherence."""

import time
from collections.abc import Iterable, Sequence

import abtem
import numpy as np
import pandas as pd
import torch

from nanoshape_lib.particles import orientation, shapes
from nanoshape_lib.particles.specimen import FIELD_A, shake
from nanoshape_lib.simulation.exit_waves import Fidelity, exit_wave, wave_pixels
from nanoshape_lib.simulation.film import Scene, deposit
from nanoshape_lib.simulation.imaging import form_images, intensity_spectrum, record
from nanoshape_lib.simulation.multislice import (
    Grid,
    fit_spectrum,
    interaction_parameter,
    next_fast_size,
    propagate,
    propagator,
    slices,
)
from nanoshape_lib.simulation.optics import Camera, Microscope, focal_spread_modes

REFERENCE = Fidelity(1 / 16, 0.5)
DEFOCI_A = (-100.0, 0.0, 100.0)
NOISELESS = Camera(dose_e_A2=None)
FOCUS_NODES, ANGLE_NODES = 25, 5
GENERAL = orientation.euler(20, 35, 50)


def relative_error(values: np.ndarray, reference: np.ndarray) -> float:
    """Norm of the difference over the norm of the reference's own deviation from its mean."""
    return float(np.linalg.norm(values - reference) / np.linalg.norm(reference - reference.mean()))


def _vacuum_scene(shape: str, size_A: float, rotation: np.ndarray, rng: np.random.Generator) -> Scene:
    particle = shapes.build(shape, size_A)
    particle.positions = particle.positions @ rotation.T
    return deposit(shake(particle, rng), None)


def standard_scenes(seed: int = 0) -> dict[str, Scene]:
    """A 43 Å truncated octahedron in vacuum, its atoms displaced as at 300 K: turned anyhow, and along [001]."""
    rng = np.random.default_rng(seed)
    orientations = {"general orientation": GENERAL, "along [001]": np.eye(3)}
    return {name: _vacuum_scene("truncated octahedron", 43, turn, rng) for name, turn in orientations.items()}


def large_scenes(size_A: float, seed: int = 0) -> dict[str, Scene]:
    """A cube, an octahedron and an icosahedron of one size [Å] in vacuum, in a general orientation, as at 300 K."""
    rng = np.random.default_rng(seed)
    return {shape: _vacuum_scene(shape, size_A, GENERAL, rng) for shape in ("cube", "octahedron", "icosahedron")}


def convergence_table(
    scenes: dict[str, Scene],
    grids: Iterable[tuple[float, float]],
    microscope: Microscope,
    reference: Fidelity = REFERENCE,
) -> pd.DataFrame:
    """Errors of waves and images on coarser grids against a fine one.

    Parameters
    ----------
    scenes
        What to simulate, by name.
    grids
        Pairs of sampling [Å/pixel] and slice thickness [Å].
    microscope
        The instrument; its aperture bounds the wave that is compared.
    reference
        The fine grid.

    Returns
    -------
    DataFrame
        Columns scene, sampling_A, slice_A, pixels, wave, images_low, images_high and seconds. ``wave`` is the
        error inside the aperture relative to the scattered wave; the two for images are the least and
        the largest error of noiseless camera images at defoci of -100, 0 and +100 Å, relative to their contrast.
    """
    rows = []
    for name, scene in scenes.items():
        exact = exit_wave(scene, microscope, reference)
        exact_images = _images(exact, microscope)
        for sampling, thickness in grids:
            grid = Fidelity(sampling, thickness)
            start = time.perf_counter()
            wave = exit_wave(scene, microscope, grid)
            seconds = time.perf_counter() - start
            low, high = _image_errors(wave, exact_images, microscope)
            rows.append(
                {
                    "scene": name,
                    "sampling_A": sampling,
                    "slice_A": thickness,
                    "pixels": grid.pixels,
                    "wave": relative_error(wave, exact),
                    "images_low": low,
                    "images_high": high,
                    "seconds": seconds,
                }
            )
    return pd.DataFrame(rows)


def _images(wave: np.ndarray, microscope: Microscope) -> np.ndarray:
    return form_images(wave, DEFOCI_A, microscope, NOISELESS).numpy()


def _image_errors(wave: np.ndarray, exact: np.ndarray, microscope: Microscope) -> tuple[float, float]:
    """The least and the largest error of the images of a wave at the three defoci."""
    errors = [relative_error(*pair) for pair in zip(_images(wave, microscope), exact, strict=True)]
    return min(errors), max(errors)


def cut_potential_wave(scene: Scene, microscope: Microscope, grid: Fidelity) -> np.ndarray:
    """The exit wave of a particle in vacuum if its potential ends at two thirds of the grid's Nyquist frequency.

    The potential is abTEM's, which is cut there; all else is as in
    :func:`~nanoshape_lib.simulation.exit_waves.exit_wave`, on the whole field.
    """
    n, energy = wave_pixels(microscope), microscope.energy_eV
    field, small = (Grid((pixels, pixels), (FIELD_A, FIELD_A)) for pixels in (grid.pixels, n))
    atoms, thickness = scene.particle.copy(), grid.slice_A
    count, _ = slices(atoms.positions[:, 2].max() + 1.0, thickness)
    atoms.set_cell([FIELD_A, FIELD_A, count * thickness])
    potential = abtem.Potential(atoms, gpts=grid.pixels, slice_thickness=thickness, parametrization="kirkland")
    with abtem.config.set({"diagnostics.progress_bar": False}):
        layers = torch.as_tensor(potential.build(lazy=False).array)
    through = (torch.exp(1j * interaction_parameter(energy) * layer) for layer in layers)
    wave = propagate(torch.ones(field.pixels, dtype=torch.complex64), through, field, energy, thickness)
    back = propagator(small, energy, scene.mid_plane_A - (count + 0.5) * thickness, microscope.aperture_per_A)
    return torch.fft.ifft2(
        fit_spectrum(torch.fft.fft2(wave, norm="forward"), small.pixels) * back, norm="forward"
    ).numpy()


def cut_table(
    scene: Scene, grids: Iterable[tuple[float, float]], microscope: Microscope, reference: Fidelity = REFERENCE
) -> pd.DataFrame:
    """What cutting the potential at two thirds of the Nyquist frequency does to the images on coarse grids.

    Parameters
    ----------
    scene
        A particle in vacuum.
    grids
        Pairs of sampling [Å/pixel] and slice thickness [Å].
    microscope
        The instrument.
    reference
        The fine grid, with the whole potential.

    Returns
    -------
    DataFrame
        Columns sampling_A, slice_A, potential (``whole`` or ``cut``), images_low and images_high, as in
        :func:`convergence_table`.
    """
    exact = _images(exit_wave(scene, microscope, reference), microscope)
    rows = []
    for grid in (Fidelity(*pair) for pair in grids):
        waves = {
            "whole": exit_wave(scene, microscope, grid),
            "cut": cut_potential_wave(scene, microscope, grid),
        }
        for potential, wave in waves.items():
            low, high = _image_errors(wave, exact, microscope)
            rows.append([*grid, potential, low, high])
    return pd.DataFrame(rows, columns=["sampling_A", "slice_A", "potential", "images_low", "images_high"])


def explicit_intensity(
    wave: np.ndarray, defocus_A: float, microscope: Microscope, focus_nodes: int = 61, angle_nodes: int = 1
) -> np.ndarray:
    """The slow reference for :func:`intensity_spectrum`: an explicit average over focus and illumination angle.

    Focus is averaged over ±3 widths with equal steps, angles over a square grid of ±2.5 widths, both
    with their Gaussian weights. Returns the intensity (m, m) on a grid of twice the wave's pixels.
    """
    n = wave.shape[0]
    fine = next_fast_size(2 * n)
    lam, q = microscope.wavelength_A, np.fft.fftfreq(n, FIELD_A / n)
    index = np.fft.fftfreq(n, 1 / n).astype(int) % fine
    spectrum = np.fft.fft2(wave)
    t = np.linspace(-3, 3, focus_nodes) if focus_nodes > 1 else np.zeros(1)
    a = np.linspace(-2.5, 2.5, angle_nodes) if angle_nodes > 1 else np.zeros(1)
    total, norm = np.zeros((fine, fine)), 0.0
    for ax in a:
        for ay in a:
            tilt = microscope.convergence_mrad * 1e-3 / lam
            u = (q[:, None] + ax * tilt) ** 2 + (q + ay * tilt) ** 2
            for x in t:
                c1 = -defocus_A + x * microscope.focal_spread_A
                chi = np.pi * lam * u * (c1 + 0.5 * lam**2 * microscope.Cs_A * u)
                padded = np.zeros((fine, fine), complex)
                padded[index[:, None], index] = spectrum * np.exp(-1j * chi)
                weight = np.exp(-(x**2) - ax**2 - ay**2)
                total += weight * np.abs(np.fft.ifft2(padded)) ** 2
                norm += weight
    return total / norm * (fine / n) ** 4


def quasi_coherent_intensity(wave: np.ndarray, defocus_A: float, microscope: Microscope) -> np.ndarray:
    """One coherent image (m, m) by abTEM, with its envelopes on the wave; m is twice the wave's pixels."""
    n = wave.shape[0]
    fine = next_fast_size(2 * n)
    spectrum = np.zeros((fine, fine), complex)
    index = np.fft.fftfreq(n, 1 / n).astype(int) % fine
    spectrum[index[:, None], index] = np.fft.fft2(wave) * (fine / n) ** 2
    waves = abtem.Waves(np.fft.ifft2(spectrum).astype(np.complex64), energy=microscope.energy_eV, extent=FIELD_A)
    ctf = abtem.CTF(
        energy=microscope.energy_eV,
        defocus=defocus_A,
        C30=microscope.Cs_A,
        focal_spread=microscope.focal_spread_A,
        angular_spread=microscope.convergence_mrad,
    )
    return np.abs(np.asarray(waves.apply_ctf(ctf).array)) ** 2  # type: ignore[union-attr]


def coherence_images(wave: np.ndarray, defocus_A: float, microscope: Microscope) -> dict[str, np.ndarray]:
    """Noiseless camera images of one wave by three treatments of partial coherence.

    Returns
    -------
    dict
        ``explicit``: the average over focus and angle, summed term by term. ``low rank``: this library's.
        ``quasi-coherent``: one coherent image under abTEM's envelopes. Units of the incident intensity.
    """
    explicit = explicit_intensity(wave, defocus_A, microscope, FOCUS_NODES, ANGLE_NODES)
    quasi = quasi_coherent_intensity(wave, defocus_A, microscope)
    seen = torch.fft.fft2(torch.as_tensor(wave), norm="forward")[None]
    spectra = {
        "explicit": torch.fft.rfft2(torch.as_tensor(explicit, dtype=torch.float32), norm="forward")[None],
        "low rank": intensity_spectrum(seen, torch.tensor([defocus_A]), microscope, len(explicit)),
        "quasi-coherent": torch.fft.rfft2(torch.as_tensor(quasi, dtype=torch.float32), norm="forward")[None],
    }
    return {name: record(spectrum, NOISELESS)[0].numpy() for name, spectrum in spectra.items()}


def coherence_table(
    images: Sequence[dict[str, np.ndarray]], defoci_A: Sequence[float], microscope: Microscope
) -> pd.DataFrame:
    """Error against the explicit average, mean intensity and cost, for each treatment and defocus [Å]."""
    cost = {
        "explicit": FOCUS_NODES * ANGLE_NODES**2,
        "low rank": len(focal_spread_modes(microscope)),
        "quasi-coherent": 1,
    }
    rows = [
        {
            "defocus_A": defocus,
            "treatment": name,
            "error": relative_error(image, by_name["explicit"]),
            "mean intensity": float(image.mean()),
            "coherent images": cost[name],
        }
        for defocus, by_name in zip(defoci_A, images, strict=True)
        for name, image in by_name.items()
    ]
    return pd.DataFrame(rows)
