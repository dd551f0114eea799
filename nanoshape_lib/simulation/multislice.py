"""The multislice: projected potentials by a nonuniform FFT, and the slice loop, in torch."""

import math
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from ase import Atoms
from ase.data import chemical_symbols
from scipy import constants
from scipy.fft import next_fast_len

from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.simulation.optics import Microscope

Device = str | torch.device

BAND = 2 / 3
KERNEL_PIXELS = 8
OVERSAMPLING = 1.125
# Kernel shape and width of Barnett, Magland & af Klinteberg (2019), eq. 4.5 for this oversampling.
KERNEL_BETA = 0.97 * math.pi * KERNEL_PIXELS * (1 - 1 / (2 * OVERSAMPLING))


class Grid(NamedTuple):
    """Pixels (nx, ny) and extent [Å] (Lx, Ly) of a periodic lateral cell."""

    pixels: tuple[int, int]
    extent_A: tuple[float, float]

    def frequencies(self) -> tuple[np.ndarray, np.ndarray]:
        """Spatial frequencies [1/Å] (nx, 1) and (1, ny), in the order of an unshifted FFT."""
        qx, qy = (np.fft.fftfreq(n, L / n) for n, L in zip(self.pixels, self.extent_A, strict=True))
        return qx[:, None], qy[None, :]


def next_fast_size(minimum: int) -> int:
    """Smallest even size not below ``minimum`` with no prime factor over 5, for which FFTs are fast."""
    return 2 * next_fast_len(-(-minimum // 2), real=True)


def fit_spectrum(spectrum: torch.Tensor, pixels: tuple[int, int]) -> torch.Tensor:
    """Spectra (..., a, b) in the order of an unshifted FFT, cropped or padded with zeros to (..., *pixels)."""
    fitted = spectrum.new_zeros(*spectrum.shape[:-2], *pixels)
    kept = [min(pair) for pair in zip(spectrum.shape[-2:], pixels, strict=True)]
    for rows in (slice(0, (kept[0] + 1) // 2), slice(-(kept[0] // 2), None)):
        for columns in (slice(0, (kept[1] + 1) // 2), slice(-(kept[1] // 2), None)):
            fitted[..., rows, columns] = spectrum[..., rows, columns]
    return fitted


def interaction_parameter(energy_eV: float) -> float:
    """Relativistic interaction parameter σ [rad/(V Å)] (Kirkland 2010, eq. 5.6)."""
    rest_eV = constants.m_e * constants.c**2 / constants.e
    wavelength = Microscope(energy_eV=energy_eV).wavelength_A
    return 2 * np.pi / (wavelength * energy_eV) * (rest_eV + energy_eV) / (2 * rest_eV + energy_eV)


def propagator(grid: Grid, energy_eV: float, distance_A: float, limit_per_A: float | None = None) -> torch.Tensor:
    """Fresnel propagator ``exp(-iπλ z q²)`` (nx, ny), complex64 (Kirkland 2010, eq. 6.65).

    Frequencies above a limit are set to zero, by default above two thirds of the grid's Nyquist frequency.
    """
    if limit_per_A is None:
        limit_per_A = BAND * min(n / L / 2 for n, L in zip(grid.pixels, grid.extent_A, strict=True))
    qx, qy = grid.frequencies()
    phase_per_q2 = -np.pi * Microscope(energy_eV=energy_eV).wavelength_A * distance_A
    x, y = (torch.as_tensor(np.exp(1j * phase_per_q2 * q**2).astype(np.complex64)) for q in (qx, qy))
    return x * y * torch.as_tensor(qx**2 + qy**2 <= limit_per_A**2)


def _kernel(x: np.ndarray) -> np.ndarray:
    """The "exponential of semicircle" on abs(x) <= 1."""
    return np.exp(KERNEL_BETA * (np.sqrt(np.maximum(1 - x**2, 0)) - 1))


@lru_cache(maxsize=512)
def _kernel_transform(n: int, fine: int) -> np.ndarray:
    """Fourier transform of the kernel on a grid of ``fine`` points, at the n lowest frequencies."""
    nodes, weights = np.polynomial.legendre.leggauss(40)
    k = np.fft.fftfreq(n, 1 / n)
    half = KERNEL_PIXELS / 2
    return half * (np.cos(2 * np.pi * k[:, None] * nodes * half / fine) @ (weights * _kernel(nodes)))


def fine_pixels(grid: Grid) -> tuple[int, int]:
    """Pixels of the oversampled grid on which atoms are spread."""
    nx, ny = (next_fast_size(math.ceil(n * OVERSAMPLING)) for n in grid.pixels)
    return nx, ny


@lru_cache(maxsize=64)
def _atom_spectrum(symbol: str, grid: Grid, energy_eV: float) -> torch.Tensor:
    """σ times one atom's projected potential (nx, ny), complex64, over the transform of the kernel."""
    from abtem.parametrizations import KirklandParametrization  # four seconds that classifying does not need

    qx, qy = grid.frequencies()
    factor: np.ndarray = KirklandParametrization().projected_scattering_factor(symbol)(qx**2 + qy**2)  # type: ignore
    kx, ky = (_kernel_transform(n, m) for n, m in zip(grid.pixels, fine_pixels(grid), strict=True))
    pixel_area = math.prod(grid.extent_A) / math.prod(grid.pixels)
    spectrum = interaction_parameter(energy_eV) * factor / pixel_area / (kx[:, None] * ky)
    # The unpaired frequencies at Nyquist would mix the two slices that share one complex transform.
    spectrum[grid.pixels[0] // 2], spectrum[:, grid.pixels[1] // 2] = 0, 0
    return torch.as_tensor(spectrum.astype(np.complex64))


def _spreading(positions: np.ndarray, grid: Grid) -> tuple[torch.Tensor, torch.Tensor]:
    """Where atoms (N) go on the periodic fine grid: flat places, and weights, both (N, 64)."""
    fine, steps, weights = fine_pixels(grid), [], []
    for axis in (0, 1):
        at = positions[:, axis, None] / grid.extent_A[axis] * fine[axis]
        steps.append(np.ceil(at - KERNEL_PIXELS / 2) + np.arange(KERNEL_PIXELS))
        weights.append(_kernel((steps[axis] - at) * (2 / KERNEL_PIXELS)).astype(np.float32))
    rows, columns = ((part % size).astype(np.int64) for part, size in zip(steps, fine, strict=True))
    places = (rows[:, :, None] * fine[1] + columns[:, None, :]).reshape(-1, KERNEL_PIXELS**2)
    return torch.as_tensor(places), torch.as_tensor(weights[0][:, :, None] * weights[1][:, None, :]).view(places.shape)


def _phase_shifts(
    pair: Sequence[np.ndarray], symbol: str, grid: Grid, energy_eV: float, device: Device
) -> torch.Tensor:
    """Phases σV [rad] of atoms of one element in two slices, as real and imaginary part (nx, ny).

    The projected potential holds every frequency of the grid's square, in the Kirkland parametrisation
    with infinite projection. Structure factors come from a type-1 nonuniform FFT (Barnett, Magland
    & af Klinteberg 2019), good to 1e-4. One complex transform costs less than two real ones.
    """
    fine = fine_pixels(grid)
    field = torch.zeros(math.prod(fine), 2, device=device)
    for part, positions in enumerate(pair):
        places, weights = _spreading(positions, grid)
        field[:, part].index_add_(0, places.view(-1).to(device), weights.view(-1).to(device))
    spectrum = torch.fft.fft2(torch.view_as_complex(field).view(fine))
    return torch.fft.ifft2(fit_spectrum(spectrum, grid.pixels).mul_(_atom_spectrum(symbol, grid, energy_eV).to(device)))


def slices(height_A: float, slice_A: float) -> tuple[int, float]:
    """Number of equal slices no thicker than ``slice_A``, and their thickness [Å]."""
    count = max(1, math.ceil(height_A / slice_A - 1e-6))
    return count, height_A / count


def transmissions(
    atoms: Atoms, grid: Grid, energy_eV: float, slice_A: float, device: Device = "cpu"
) -> Iterator[torch.Tensor | None]:
    """Transmission functions ``exp(iσV)`` of the slices of a cell, from the beam's entry on.

    Each is complex64 (nx, ny), or None for a slice without atoms. Slices are at most ``slice_A`` thick, and an atom
    belongs to the slice in which its centre lies; of the orthogonal cell only the height is used. Raises NanoshapeError
    if an atom lies outside ``0 < z < cell height``: it would belong to no slice.
    """
    z, height = atoms.positions[:, 2], atoms.cell.lengths()[2]
    if len(z) and (z.min() <= 0 or z.max() >= height):
        raise NanoshapeError(
            f"atoms reach from z = {z.min():.2f} to {z.max():.2f} Å, but must lie between 0 and {height:.2f} Å"
        )
    count, thickness = slices(height, slice_A)
    owner = np.minimum((z / thickness).astype(int), count - 1)
    for first in range(0, count, 2):
        slabs = [owner == first, owner == first + 1]
        phases: torch.Tensor | None = None
        for number in np.unique(atoms.numbers[slabs[0] | slabs[1]]):
            pair = [atoms.positions[slab & (atoms.numbers == number)] for slab in slabs]
            shifts = _phase_shifts(pair, chemical_symbols[number], grid, energy_eV, device)
            phases = shifts if phases is None else phases + shifts
        if phases is None:
            yield from [None] * min(2, count - first)
            continue
        parts = torch.view_as_real(phases)
        cos, sin = torch.cos(parts), torch.sin(parts)
        for part in range(min(2, count - first)):
            yield torch.complex(cos[..., part], sin[..., part]) if slabs[part].any() else None


def propagate(
    wave: torch.Tensor, through: Iterable[torch.Tensor | None], grid: Grid, energy_eV: float, thickness_A: float
) -> torch.Tensor:
    """Send a wave (nx, ny) through slices of one thickness [Å]: transmit, then propagate, for each.

    The propagator is limited to two thirds of the grid's Nyquist frequency, as usual; the transmission functions are
    not. What they scatter beyond the limit is lost at once, and what folds back lies above a third of Nyquist.
    """
    step = propagator(grid, energy_eV, thickness_A).to(wave.device)
    for transmission in through:
        if transmission is not None:
            wave = wave * transmission
        wave = torch.fft.ifft2(torch.fft.fft2(wave).mul_(step))
    return wave


def multislice(atoms: Atoms, incident: np.ndarray | torch.Tensor, energy_eV: float, slice_A: float) -> torch.Tensor:
    """The wave (nx, ny), complex64, behind all atoms of an orthogonal cell that is periodic laterally.

    The beam runs along +z. The incident wave (nx, ny), indexed [x, y] on the cell's lateral grid, is that at ``z = 0``;
    slices are at most ``slice_A`` thick.
    """
    wave = torch.as_tensor(incident).to(torch.complex64)
    Lx, Ly, height = atoms.cell.lengths()
    grid = Grid((wave.shape[0], wave.shape[1]), (Lx, Ly))
    _, thickness = slices(height, slice_A)
    through = transmissions(atoms, grid, energy_eV, slice_A, wave.device)
    return propagate(wave, through, grid, energy_eV, thickness)
