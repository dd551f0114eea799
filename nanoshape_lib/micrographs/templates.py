"""Simulated particles to compare an image with: waves along directions that fill a sector, and their spectra."""

import math
import uuid
from contextlib import suppress
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from nanoshape_lib.datasets.fingerprint import code_hash
from nanoshape_lib.particles import orientation, shapes
from nanoshape_lib.particles.shapes import Shape
from nanoshape_lib.particles.specimen import shake
from nanoshape_lib.paths import GENERATED
from nanoshape_lib.simulation.exit_waves import exit_wave
from nanoshape_lib.simulation.film import deposit
from nanoshape_lib.simulation.imaging import form_images
from nanoshape_lib.simulation.optics import Camera, Microscope

SPACING_DEG = 3.0
SIZES_A = (48.0, 66.0)
DEFOCI_A = (-120.0, -60.0, 0.0, 60.0, 120.0)
RADII_PER_A = np.linspace(0.10, 0.49, 40)
ANGLES = 120
STEP_DEG = 180 / ANGLES
FIDELITY = "fast"


class Library(NamedTuple):
    """Waves of one shape along some directions.

    ``sizes_A`` (S,), ``rotations`` (M, 3, 3), ``waves`` (S, M, 2, n, n) with real and imaginary part, and
    ``signatures`` (S, M, defoci, radii, angles) of their images; see `signature`.
    """

    sizes_A: np.ndarray
    rotations: np.ndarray
    waves: np.ndarray
    signatures: np.ndarray


@lru_cache
def directions(shape: Shape, spacing_deg: float = SPACING_DEG) -> np.ndarray:
    """Beam directions (M, 3) in the shape's fundamental sector that leave none farther than this from all of them.

    Starting from the sector's corners, the direction farthest from those chosen is added until none is too far.
    """
    count = 40_000
    z = 1 - (2 * np.arange(count) + 1) / count
    turn = np.pi * (1 + 5**0.5) * np.arange(count)
    sphere = np.stack([np.sqrt(1 - z**2) * np.cos(turn), np.sqrt(1 - z**2) * np.sin(turn), z], axis=1)
    inside = np.unique(np.round(orientation.reduce(sphere, shape), 9), axis=0)
    chosen = list(orientation.sector_corners(shape).values())
    nearest = (inside @ np.transpose(chosen)).max(axis=1)
    while nearest.min() < math.cos(math.radians(spacing_deg)):
        chosen.append(inside[np.argmin(nearest)])
        nearest = np.maximum(nearest, inside @ chosen[-1])
    return np.array(chosen)


def _upright(direction: np.ndarray) -> np.ndarray:
    """A rotation (3, 3) that turns a direction of the particle's frame into the beam."""
    helper = np.eye(3)[np.argmin(np.abs(direction))]
    x = np.cross(helper, direction)
    x /= np.linalg.norm(x)
    return np.stack([x, np.cross(direction, x), direction])


def simulate(shape: Shape, size_A: float, rotation: np.ndarray, microscope: Microscope) -> np.ndarray:
    """Exit wave (n, n), complex64, of a particle in vacuum, turned by a rotation (3, 3), its atoms displaced."""
    particle = shapes.build(shape, size_A)
    particle.positions = particle.positions @ rotation.T
    return exit_wave(deposit(shake(particle, np.random.default_rng(0)), None), microscope, FIDELITY)


def signature(image: np.ndarray) -> np.ndarray:
    """What of an image's spectrum tells the orientation: amplitudes (radii, angles) above their mean at each radius.

    Rows are 40 spatial frequencies from 0.10 to 0.49 1/Å, columns 120 directions over half a turn.
    It does not change with shifts, and turning the image rolls its columns.
    """
    n = len(image)
    axis = np.arange(n) - (n - 1) / 2
    away = np.hypot(axis[:, None], axis) / (n / 2)
    window = np.where(away < 1, np.cos(np.pi / 2 * np.minimum(away, 1)) ** 2, 0)
    padded = 2 * n
    amplitudes = np.sqrt(np.abs(np.fft.fft2((image - image.mean()) * window, s=(padded, padded))))
    theta = np.radians(STEP_DEG * np.arange(ANGLES))
    rows, columns = (RADII_PER_A[:, None] * part * padded for part in (np.cos(theta), np.sin(theta)))
    low, left = np.floor(rows).astype(int), np.floor(columns).astype(int)
    down, right = rows - low, columns - left
    polar = sum(
        weight * amplitudes[(low + i) % padded, (left + j) % padded]
        for i, j, weight in (
            (0, 0, (1 - down) * (1 - right)),
            (1, 0, down * (1 - right)),
            (0, 1, (1 - down) * right),
            (1, 1, down * right),
        )
    )
    polar = polar - polar.mean(axis=1, keepdims=True)
    return polar / max(float(np.linalg.norm(polar)), 1e-12)


@lru_cache(maxsize=len(Shape))
def library(shape: Shape, energy_eV: float = 200e3, aperture_mrad: float = 25.0) -> Library:
    """Waves of one shape along `directions` at two sizes, and the signatures of their images.

    They are computed once, for an energy and an aperture, and kept in ``data/generated`` under the hash of
    the code that made them; other settings of the microscope act on the images only.

    Parameters
    ----------
    shape
        The shape.
    energy_eV, aperture_mrad
        Beam energy [eV] and aperture [mrad].

    Returns
    -------
    Library
        Read from files when it is used.
    """
    code = code_hash("nanoshape_lib.micrographs.templates")[:12]
    folder = GENERATED / f"templates-{code}" / f"{shape.name.lower()}-{energy_eV / 1e3:g}kV-{aperture_mrad:g}mrad"
    if not folder.exists():
        made = _make(shape, Microscope(energy_eV=energy_eV, aperture_mrad=aperture_mrad))
        partial = folder.with_name(f"{folder.name}.{uuid.uuid4().hex}.partial")
        partial.mkdir(parents=True)
        for name, values in made._asdict().items():
            np.save(partial / f"{name}.npy", values)
        with suppress(OSError):  # another process may have been faster
            partial.replace(folder)
    return Library(*(np.load(folder / f"{name}.npy", mmap_mode="r") for name in Library._fields))


def _make(shape: Shape, microscope: Microscope) -> Library:
    """Compute a library: one wave a direction and size, and its images at some defoci."""
    known = [size_A for size_A, _ in shapes.available_sizes(shape)]
    sizes_A = [min(known, key=lambda size_A: abs(size_A - wanted)) for wanted in SIZES_A]
    turned = np.array([_upright(direction) for direction in directions(shape)])
    camera, defoci = Camera(dose_e_A2=None), torch.tensor(DEFOCI_A)
    jobs = [(size_A, rotation) for size_A in sizes_A for rotation in turned]
    waves, marks = [], []
    for size_A, rotation in tqdm(jobs, desc=f"{shape.title} templates", unit="wave"):
        wave = simulate(shape, size_A, rotation, microscope)
        images = form_images(torch.as_tensor(wave).expand(len(defoci), -1, -1), defoci, microscope, camera)
        marks.append(np.array([signature(image) for image in images.numpy()], np.float16))
        waves.append(np.stack([wave.real, wave.imag]).astype(np.float16))
    grid = (len(sizes_A), len(turned))
    return Library(
        np.array(sizes_A),
        turned,
        np.reshape(waves, (*grid, *waves[0].shape)),
        np.reshape(marks, (*grid, *marks[0].shape)),
    )
