"""Exit waves of a particle on its film: only what the particle changes is computed afresh."""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from ase import Atoms

from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.particles.specimen import FIELD_A
from nanoshape_lib.simulation.film import Scene, load_film
from nanoshape_lib.simulation.multislice import (
    Grid,
    fit_spectrum,
    multislice,
    next_fast_size,
    propagate,
    propagator,
    slices,
    transmissions,
)
from nanoshape_lib.simulation.optics import Microscope

# Version of the exit waves, raised when that of a scene changes; see `paths.cache_key`.
RECIPE = 1
MARGIN_A = 6.0
TAPER_A = 4.0


class Fidelity(NamedTuple):
    """Grid sampling [Å/pixel] and slice thickness [Å] of a multislice."""

    sampling_A: float
    slice_A: float

    @property
    def pixels(self) -> int:
        """Side of the grid that covers the field, in pixels."""
        return round(FIELD_A / self.sampling_A)


FIDELITIES = {"fast": Fidelity(0.25, 4.0), "standard": Fidelity(1 / 6, 4.0), "reference": Fidelity(1 / 12, 1.0)}


def fidelity(name: str | Fidelity) -> Fidelity:
    """The grid and slices called ``fast``, ``standard`` or ``reference``; their errors are measured in notebook 03."""
    if isinstance(name, Fidelity):
        return name
    if name not in FIDELITIES:
        raise NanoshapeError(f"fidelity is {name!r}, but must be one of {', '.join(FIDELITIES)}")
    return FIDELITIES[name]


def wave_pixels(microscope: Microscope) -> int:
    """Side in pixels of the smallest fast grid that holds everything inside the objective aperture."""
    return next_fast_size(2 * math.ceil(microscope.aperture_per_A * FIELD_A))


class Window(NamedTuple):
    """Part of the periodic field: first pixel and number of pixels along x and y, and their width [Å]."""

    first: tuple[int, int]
    pixels: tuple[int, int]
    pixel_A: float

    @classmethod
    def around(cls, positions: np.ndarray, grid: Fidelity) -> "Window":
        """The window of fast size that holds atoms (N, 3) [Å] and a margin, or the whole field if that is smaller."""
        pixel_A = FIELD_A / grid.pixels
        first, pixels = [], []
        for low, high in zip(positions.min(axis=0)[:2], positions.max(axis=0)[:2], strict=True):
            size = next_fast_size(math.ceil((high - low + 2 * MARGIN_A) / pixel_A))
            whole = size >= grid.pixels
            pixels.append(grid.pixels if whole else size)
            first.append(0 if whole else round((low + high) / 2 / pixel_A) - size // 2)
        return cls((first[0], first[1]), (pixels[0], pixels[1]), pixel_A)

    @property
    def grid(self) -> Grid:
        """The window as a lateral cell of its own."""
        nx, ny = self.pixels
        return Grid(self.pixels, (nx * self.pixel_A, ny * self.pixel_A))

    def indices(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Pixels of the field, (nx, 1) and (1, ny), not yet wrapped into it."""
        rows, columns = (torch.arange(start, start + n) for start, n in zip(self.first, self.pixels, strict=True))
        return rows[:, None], columns[None, :]

    def cell(self, atoms: Atoms, height_A: float) -> Atoms:
        """Atoms of the field in a cell with the window's sides and this height [Å]."""
        origin = np.array(self.first) * self.pixel_A
        moved = atoms.copy()
        moved.positions[:, :2] -= origin
        moved.set_cell([*self.grid.extent_A, height_A])
        return moved

    def taper(self, field_pixels: int) -> torch.Tensor:
        """Weights (nx, ny), one inside and falling to zero at the edges that are not the field's."""
        edges = []
        for n in self.pixels:
            depth = (np.minimum(np.arange(n), np.arange(n)[::-1]) + 0.5) * self.pixel_A / TAPER_A
            rise = 0.5 - 0.5 * np.cos(np.pi * np.minimum(depth, 1.0))
            edges.append(torch.as_tensor(np.ones(n) if n == field_pixels else rise, dtype=torch.float32))
        return edges[0][:, None] * edges[1]


def _film_cell(block: int, thickness_A: float | None) -> Atoms:
    atoms = load_film(block, thickness_A).copy()
    atoms.positions[:, 2] = np.clip(atoms.positions[:, 2], 1e-3, atoms.cell.lengths()[2] - 1e-3)
    return atoms


@lru_cache(maxsize=8)
def film_transmissions(
    block: int, energy_eV: float, grid: Fidelity, device: str = "cpu", thickness_A: float | None = None
) -> tuple[torch.Tensor | None, ...]:
    """Transmission functions (n, n) of the slices of one film, in its block's own placement."""
    field = Grid((grid.pixels, grid.pixels), (FIELD_A, FIELD_A))
    return tuple(transmissions(_film_cell(block, thickness_A), field, energy_eV, grid.slice_A, device))


@lru_cache(maxsize=8)
def film_wave(
    block: int, energy_eV: float, grid: Fidelity, device: str = "cpu", thickness_A: float | None = None
) -> torch.Tensor:
    """The wave (n, n) behind one film under a plane wave, in its block's own placement.

    It is computed once per film: every particle on it has it, rolled, turned and mirrored, as its incident wave. That
    equals the multislice of film and particle together, because the two share no slice.
    """
    incident = torch.ones(grid.pixels, grid.pixels, device=device)
    return multislice(_film_cell(block, thickness_A), incident, energy_eV, grid.slice_A)


@lru_cache(maxsize=8)
def _film_background(
    block: int, energy_eV: float, grid: Fidelity, pixels: int, device: str, thickness_A: float | None
) -> torch.Tensor:
    """The film's wave on a coarser grid of the field, with the low frequencies alone."""
    behind = film_wave(block, energy_eV, grid, device, thickness_A)
    return torch.fft.ifft2(fit_spectrum(torch.fft.fft2(behind, norm="forward"), (pixels, pixels)), norm="forward")


def exit_wave(
    scene: Scene, microscope: Microscope, grid: str | Fidelity = "standard", device: str = "cpu"
) -> np.ndarray:
    """The exit wave, referred to the particle's mid-plane and limited to the objective aperture.

    The particle is computed in a window around it. What it adds to the wave that would be there without
    it is pasted into the film's own wave, which is computed once per block. In a film downstream of the
    particle only that addition is propagated, since the multislice is linear in the wave.

    Parameters
    ----------
    scene
        Particle and film; apply :func:`shake` to the particle beforehand for thermal motion.
    microscope
        Its energy and aperture are used; all its other values act on the image only.
    grid
        ``fast``, ``standard`` or ``reference``, or a sampling and slices of one's own.
    device
        Where torch computes: ``cpu``, ``cuda`` or ``cuda:N``.

    Returns
    -------
    ndarray
        Complex64 wave (n, n) indexed [x, y] over the 128 Å field, ``n = wave_pixels(microscope)``;
        the incident wave has amplitude one.

    Raises
    ------
    NanoshapeError
        If the grid is too coarse for the aperture, or for the steps by which films are rolled.
    """
    grid, n = fidelity(grid), wave_pixels(microscope)
    if grid.pixels < n:
        raise NanoshapeError(
            f"sampling is {grid.sampling_A:g} Å, but must be at most {FIELD_A / n:g} Å to hold the aperture"
        )
    energy, film, z = microscope.energy_eV, scene.film, scene.particle.positions[:, 2]
    count = math.ceil(((-z.min() if scene.downstream else z.max()) + 1.0) / grid.slice_A)
    height = count * grid.slice_A
    window = Window.around(scene.particle.positions, grid)

    incident = torch.ones(window.pixels, dtype=torch.complex64, device=device)
    if film is not None and not scene.downstream:
        behind = film.sample(film_wave(film.block, energy, grid, device, film.thickness_A), *window.indices())
        incident += window.taper(grid.pixels).to(device) * (behind - 1)
    particle = window.cell(scene.particle, height)
    particle.positions[:, 2] += height if scene.downstream else 0.0
    added = multislice(particle, incident, energy, grid.slice_A)
    added -= propagate(incident, [None], window.grid, energy, height)
    # A slice acts at its entrance but stands for atoms around its middle: each plane lies half a slice further on.
    added_A = height + grid.slice_A / 2
    _, thickness = slices(scene.film_thickness_A, grid.slice_A)
    if film is not None and scene.downstream:
        through = film_transmissions(film.block, energy, grid, device, film.thickness_A)
        placed = (None if part is None else film.sample(part, *window.indices()) for part in through)
        added = propagate(added, placed, window.grid, energy, thickness)
        added_A = scene.film_thickness_A + thickness / 2

    # The addition is transformed from the field's corner and moved to the window's place.
    field, limit = Grid((n, n), (FIELD_A, FIELD_A)), microscope.aperture_per_A
    q = np.fft.fftfreq(n, FIELD_A / n)
    ramps = (np.exp(-2j * np.pi * start * window.pixel_A * q).astype(np.complex64) for start in window.first)
    across, along = (torch.as_tensor(ramp).to(device) for ramp in ramps)
    added = torch.fft.fft2(added, s=(grid.pixels, grid.pixels), norm="forward")
    spectrum = fit_spectrum(added, field.pixels) * across[:, None] * along
    spectrum *= propagator(field, energy, scene.mid_plane_A - added_A, limit).to(device)
    if film is None:
        spectrum[0, 0] += 1
    else:
        # Blocks are rolled by whole ångströms, so the grid must have whole pixels to the ångström.
        coarse = math.ceil(n / FIELD_A) * round(FIELD_A)
        background = film.sample(_film_background(film.block, energy, grid, coarse, device, film.thickness_A))
        without_A = (scene.film_thickness_A if scene.downstream else 0.0) + thickness / 2
        back = propagator(field, energy, scene.mid_plane_A - without_A, limit).to(device)
        spectrum += fit_spectrum(torch.fft.fft2(background, norm="forward"), field.pixels) * back
    return torch.fft.ifft2(spectrum, norm="forward").cpu().numpy()
