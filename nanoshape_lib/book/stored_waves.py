"""Exit waves for the page without a kernel: each shape in some directions, in one byte a number."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from nanoshape_lib.particles import shapes
from nanoshape_lib.particles.orientation import axis_angle, sector_corners
from nanoshape_lib.particles.shapes import Shape
from nanoshape_lib.particles.specimen import FIELD_A
from nanoshape_lib.paths import cache_folder, cache_key, replacing
from nanoshape_lib.simulation import exit_waves
from nanoshape_lib.simulation.exit_waves import exit_wave
from nanoshape_lib.simulation.film import Placement, turned_scene
from nanoshape_lib.simulation.optics import Microscope

# Version of the stored waves, raised when other particles or bytes are made; see `paths.cache_key`.
RECIPE = 1
# A block of carbon that no network was trained on.
BLOCK = 6
LARGEST = 127


class StoredWave(NamedTuple):
    """An exit wave of the page.

    Attributes
    ----------
    name
        Of its asset.
    shape, size_A, atoms
        The particle, its size [Å] and the number of its atoms.
    direction
        Of the beam in the particle's frame, a unit vector (3,).
    rotation
        Matrix (3, 3) that turned the particle.
    data
        Bytes of :func:`pack`.
    """

    name: str
    shape: Shape
    size_A: float
    atoms: int
    direction: np.ndarray
    rotation: np.ndarray
    data: bytes


def stored_waves(divisions: int, sizes_A: tuple[float, ...], fidelity: str) -> Iterator[StoredWave]:
    """Waves of every shape, size [Å] and direction, one after another; each is computed once and kept on disk.

    There are (divisions + 1) (divisions + 2) / 2 directions of a shape, see :func:`directions`.
    """
    microscope = Microscope()
    recipes = {"exit waves": exit_waves.RECIPE, "stored waves": RECIPE}
    jobs = [
        (shape, size_A, index, direction)
        for shape in Shape
        for size_A in sizes_A
        for index, direction in enumerate(directions(shape, divisions))
    ]
    for shape, size_A, index, direction in tqdm(jobs, desc="waves of the page", unit="wave"):
        name = f"wave-{shape.name.lower()}-{size_A:g}-{index}"
        about = {"shape": shape, "size_A": size_A, "direction": direction.tolist(), "seed": index, "fidelity": fidelity}
        key = cache_key("stored waves", recipes, microscope=microscope, **about)
        path = cache_folder() / "page" / f"{name}-{key}.bin"
        atoms, rotation = shapes.build(shape, size_A), onto_beam(direction)
        if not path.exists():
            scene = turned_scene(atoms, rotation, Placement(BLOCK), np.random.default_rng(index))
            wave = exit_wave(scene, microscope, fidelity)
            with replacing(path) as partial:
                partial.write_bytes(pack(wave, microscope))
        yield StoredWave(name, shape, size_A, len(atoms), direction, rotation, path.read_bytes())


def directions(shape: Shape, divisions: int) -> np.ndarray:
    """Unit vectors (N, 3) spread over a shape's fundamental sector, its corners and edges included."""
    corners = np.stack(list(sector_corners(shape).values()))
    steps = [(i, j, divisions - i - j) for i in range(divisions + 1) for j in range(divisions + 1 - i)]
    points = np.array(steps) @ corners
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def onto_beam(direction: np.ndarray) -> np.ndarray:
    """Rotation (3, 3) that brings a unit vector (3,) of the body, other than ±z, onto the beam by the shortest way."""
    angle_deg = np.degrees(np.arccos(np.clip(direction[2], -1, 1)))
    return axis_angle(np.cross(direction, [0.0, 0.0, 1.0]), angle_deg)


def pack(wave: np.ndarray, microscope: Microscope) -> bytes:
    """An exit wave (n, n) as bytes: its spectrum inside the aperture, rounded to one byte a number.

    The numbers of a ring, one frequency step wide, share one scale, their largest divided by 127. In float32 come first
    the transmitted beam, which is not rounded, and the scales; then the real parts and the imaginary parts, row by row.
    """
    inside, ring = _inside_aperture(microscope, len(wave))
    spectrum = np.fft.fft2(wave, norm="forward")
    beam = spectrum[0, 0]
    spectrum[0, 0] = 0.0
    numbers = np.stack([spectrum[inside].real, spectrum[inside].imag])
    scales = np.zeros(ring.max() + 1)
    np.maximum.at(scales, ring, np.abs(numbers).max(axis=0) / LARGEST)
    scales = np.maximum(scales, 1e-12).astype(np.float32)
    head = np.concatenate([[beam.real, beam.imag], scales]).astype("<f4")
    return head.tobytes() + np.rint(numbers / scales[ring]).astype(np.int8).tobytes()


def unpack(data: bytes, microscope: Microscope, n: int) -> np.ndarray:
    """The wave (n, n) behind the bytes of :func:`pack`, as the page sees it."""
    inside, ring = _inside_aperture(microscope, n)
    head = np.frombuffer(data, "<f4", 2 + ring.max() + 1)
    real, imaginary = np.frombuffer(data, np.int8, offset=head.nbytes).reshape(2, -1) * head[2:][ring]
    spectrum = np.zeros((n, n), complex)
    spectrum[inside] = real + 1j * imaginary
    spectrum[0, 0] = head[0] + 1j * head[1]
    return np.fft.ifft2(spectrum, norm="forward").astype(np.complex64)


def _inside_aperture(microscope: Microscope, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Which frequencies (n, n) lie inside the aperture, and the ring of each of these."""
    k = np.fft.fftfreq(n, 1 / n)
    square = k[:, None] ** 2 + k**2
    inside = square <= (microscope.aperture_per_A * FIELD_A) ** 2
    return inside, np.rint(np.sqrt(square[inside])).astype(int)
