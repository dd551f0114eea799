"""Exit waves of a particle on its film, by abTEM's multislice."""

import math
from functools import lru_cache
from typing import NamedTuple

import abtem
import numpy as np
import pyfftw
from ase import Atoms

from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.microscope import Microscope
from nanoshape_lib.paths import data_file
from nanoshape_lib.substrate import FIELD_A, Scene, load_block

THERMAL_RMS_A = 0.085
PARAMETRIZATION = "kirkland"

_ABTEM_CONFIG = {"dask.lazy": False, "diagnostics.progress_bar": False}

# Without stored plans FFTW times its own at every start, and the last bits of the waves differ from run to run.
pyfftw.import_wisdom((b"", data_file("fftw_wisdom.txt").read_bytes(), b""))


class Fidelity(NamedTuple):
    """Grid sampling [Å/pixel] and slice thickness [Å] of a multislice."""

    sampling_A: float
    slice_A: float

    @property
    def pixels(self) -> int:
        """Side of the grid that covers the field, in pixels."""
        return round(FIELD_A / self.sampling_A)


FIDELITIES = {
    "fast": Fidelity(0.25, 4.0),
    "standard": Fidelity(0.125, 2.0),
    "reference": Fidelity(0.1, 1.0),
}


def fidelity(name: str | Fidelity) -> Fidelity:
    """The grid and slices called ``fast``, ``standard`` or ``reference``; their errors are measured in notebook 03."""
    if isinstance(name, Fidelity):
        return name
    if name not in FIDELITIES:
        raise NanoshapeError(f"fidelity is {name!r}, but must be one of {', '.join(FIDELITIES)}")
    return FIDELITIES[name]


def next_fast_size(minimum: int) -> int:
    """Smallest even size not below ``minimum`` with no prime factor over 5, for which FFTs are fast."""
    size = minimum + minimum % 2
    while True:
        rest = size
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return size
        size += 2


def wave_pixels(microscope: Microscope) -> int:
    """Side in pixels of the smallest fast grid that holds everything inside the objective aperture."""
    return next_fast_size(2 * math.ceil(microscope.aperture_per_A * FIELD_A))


def shake(atoms: Atoms, rng: np.random.Generator, rms_A: float = THERMAL_RMS_A) -> Atoms:
    """One frozen-phonon configuration: independent Gaussian displacements of every atom.

    Parameters
    ----------
    atoms
        The atoms at rest.
    rng
        Source of the random numbers.
    rms_A
        Root mean square displacement per axis [Å]; 0.085 Å is gold's at 300 K.
    """
    shaken = atoms.copy()
    shaken.positions += rng.normal(0.0, rms_A, shaken.positions.shape)
    return shaken


def multislice(atoms: Atoms, incident: np.ndarray, energy_eV: float, slice_A: float) -> np.ndarray:
    """Propagate a wave through atoms with abTEM.

    Parameters
    ----------
    atoms
        Atoms in an orthogonal cell, periodic laterally; the beam runs along +z.
    incident
        Complex wave (n, n) indexed [x, y] on the cell's lateral grid, at ``z = 0``.
    energy_eV
        Beam energy [eV].
    slice_A
        Largest slice thickness [Å].

    Returns
    -------
    ndarray
        The wave (n, n), complex64, in the plane ``z = cell height``.

    Raises
    ------
    NanoshapeError
        If an atom lies outside ``0 < z < cell height``: it would wrap into another slice.
    """
    z, height = atoms.positions[:, 2], atoms.cell.lengths()[2]
    if z.min() <= 0 or z.max() >= height:
        raise NanoshapeError(
            f"atoms reach from z = {z.min():.2f} to {z.max():.2f} Å, but must lie between 0 and {height:.2f} Å"
        )
    with abtem.config.set(_ABTEM_CONFIG):
        potential = abtem.Potential(
            atoms, gpts=incident.shape[0], slice_thickness=slice_A, parametrization=PARAMETRIZATION
        )
        extent = tuple(atoms.cell.lengths()[:2])
        incoming = abtem.Waves(incident.astype(np.complex64), energy=energy_eV, extent=extent)
        outgoing = incoming.multislice(potential)
    return np.asarray(outgoing.array)  # type: ignore[union-attr]


@lru_cache(maxsize=16)
def film_wave(block: int, energy_eV: float, grid: Fidelity) -> np.ndarray:
    """The wave (n, n) behind one carbon block under a plane wave, in the block's own placement.

    It is computed once per block: every particle on that block has it, rolled, turned and mirrored,
    as its incident wave. That equals the multislice of film and particle together, because the two
    share no slice.
    """
    atoms = load_block(block).copy()
    atoms.positions[:, 2] = np.clip(atoms.positions[:, 2], 1e-3, atoms.cell.lengths()[2] - 1e-3)
    return multislice(atoms, np.ones((grid.pixels, grid.pixels)), energy_eV, grid.slice_A)


def squared_frequencies(n: int, extent_A: float = FIELD_A) -> np.ndarray:
    """Squared spatial frequency [1/Å²] (n, n) in the order of an unshifted FFT."""
    q = np.fft.fftfreq(n, extent_A / n)
    return q[:, None] ** 2 + q[None, :] ** 2


def fourier_crop(spectrum: np.ndarray, n: int) -> np.ndarray:
    """The central n x n frequencies of a larger square spectrum in unshifted FFT order."""
    old = spectrum.shape[-1]
    index = np.fft.fftfreq(n, 1 / n).astype(int) % old
    return spectrum[..., index[:, None], index] * (n / old) ** 2


def exit_wave(scene: Scene, microscope: Microscope, grid: str | Fidelity = "standard") -> np.ndarray:
    """The exit wave, referred to the particle's mid-plane and limited to the objective aperture.

    Parameters
    ----------
    scene
        Particle and film; apply :func:`shake` to the particle beforehand for thermal motion.
    microscope
        Its energy and aperture are used; all its other values act on the image only.
    grid
        ``fast``, ``standard`` or ``reference``, or a sampling and slices of one's own.

    Returns
    -------
    ndarray
        Complex64 wave (n, n) indexed [x, y] over the 128 Å field, ``n = wave_pixels(microscope)``;
        the incident wave has amplitude one. Free-space propagation back from the last slice to the
        mid-plane uses the Fresnel propagator ``exp(-iπλ z q²)`` (Kirkland 2010, eq. 6.65).
    """
    grid = fidelity(grid)
    energy = microscope.energy_eV
    if scene.film is None:
        incident = np.ones((grid.pixels, grid.pixels), np.complex64)
    else:
        incident = scene.film.apply(film_wave(scene.film.block, energy, grid))
    particle = scene.particle.copy()
    slices = math.ceil((particle.positions[:, 2].max() + 1.0) / grid.slice_A)
    height = slices * grid.slice_A
    particle.set_cell([FIELD_A, FIELD_A, height])
    particle.set_pbc([True, True, False])
    wave = multislice(particle, incident, energy, grid.slice_A)

    n = wave_pixels(microscope)
    spectrum = fourier_crop(np.fft.fft2(wave), n)
    q2 = squared_frequencies(n)
    spectrum *= np.exp(1j * np.pi * microscope.wavelength_A * (height - scene.mid_plane_A) * q2)
    spectrum[q2 > microscope.aperture_per_A**2] = 0
    return np.fft.ifft2(spectrum).astype(np.complex64)
