"""Template matching: the simulation of a particle that fits an image best, with its correlation.

Templates are simulated particles along directions that fill the fundamental sector of their shape.
"""

import math
from collections.abc import Iterable, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from scipy import fft, ndimage
from threadpoolctl import ThreadpoolController
from tqdm import tqdm

from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.networks.models import IMAGE_PIXELS
from nanoshape_lib.particles import orientation, shapes
from nanoshape_lib.particles.shapes import Shape
from nanoshape_lib.particles.specimen import FIELD_A
from nanoshape_lib.paths import cache_folder, cache_key, replacing
from nanoshape_lib.simulation import exit_waves, imaging
from nanoshape_lib.simulation.exit_waves import exit_wave
from nanoshape_lib.simulation.film import turned_scene
from nanoshape_lib.simulation.imaging import form_images, intensity_spectrum, record, standardise, turn
from nanoshape_lib.simulation.optics import Camera, Microscope

_THREADS = ThreadpoolController()
MICROSCOPE, CAMERA, FIDELITY = Microscope(), Camera(dose_e_A2=None), "fast"
# Version of the templates, raised when other signatures come of the same waves; see `paths.cache_key`.
RECIPE = 1
SPACING_DEG, SIZES_A, DEFOCI_A = 3.0, (48.0, 66.0), (-120.0, -60.0, 0.0, 60.0, 120.0)
RADII_PER_A = np.linspace(0.10, 0.49, 40)
ANGLES = 120
STEP_DEG = 180 / ANGLES

CANDIDATES, REFINED = 16, 4
STARTS_A = (-120.0, -80.0, -40.0, 0.0, 40.0, 80.0, 120.0)
# Steps of defocus [Å], in-plane angle and tilt [degrees].
COARSE = ((20.0, 0.75, 1.2),)
FINE = ((10.0, 0.5, 0.7), (10.0, 0.25, 0.5), (5.0, 0.25, 0.3))
SIZE_RANGE_A, LARGEST_SHIFT_A, COLLAR_A = (35.0, 85.0), 14.0, 6.0
HIGH_PASS_PER_A = 0.03


class Library(NamedTuple):
    """Waves of one shape along some directions.

    ``sizes_A`` (S,), ``rotations`` (M, 3, 3), ``waves`` (S, M, 2, n, n) with real and imaginary part, and
    ``signatures`` (S, M, defoci, radii, angles) of their images; see `signature`.
    """

    sizes_A: np.ndarray
    rotations: np.ndarray
    waves: np.ndarray
    signatures: np.ndarray


@cache
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


def simulate(shape: Shape, size_A: float, rotation: np.ndarray) -> np.ndarray:
    """Exit wave (n, n), complex64, of a particle in vacuum, turned by a rotation (3, 3), its atoms displaced."""
    scene = turned_scene(shapes.build(shape, size_A), rotation, None, np.random.default_rng(0))
    return exit_wave(scene, MICROSCOPE, FIDELITY)


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
    places = [RADII_PER_A[:, None] * part * padded for part in (np.cos(theta), np.sin(theta))]
    polar = ndimage.map_coordinates(amplitudes, places, order=1, mode="grid-wrap")
    polar = polar - polar.mean(axis=1, keepdims=True)
    return polar / max(float(np.linalg.norm(polar)), 1e-12)


@cache
def library(shape: Shape) -> Library:
    """Waves of one shape along `directions` at two sizes, and the signatures of their images.

    They are computed once and kept in the cache folder, from which they are read when they are used.
    """
    recipes = {"exit waves": exit_waves.RECIPE, "images": imaging.RECIPE, "templates": RECIPE}
    beam = MICROSCOPE.model_dump(include={"energy_eV", "aperture_mrad"})
    key = cache_key("templates", recipes, shape=shape, **beam)
    folder = cache_folder() / "templates" / f"{shape.name.lower()}-{key}"
    if not folder.exists():
        made = _make(shape)
        with replacing(folder) as partial:
            partial.mkdir()
            for name, values in made._asdict().items():
                np.save(partial / f"{name}.npy", values)
    return Library(*(np.load(folder / f"{name}.npy", mmap_mode="r") for name in Library._fields))


def _make(shape: Shape) -> Library:
    """Compute a library: one wave a direction and size, and its images at some defoci."""
    known = [size_A for size_A, _ in shapes.available_sizes(shape)]
    sizes_A = [min(known, key=lambda size_A: abs(size_A - wanted)) for wanted in SIZES_A]
    turned = np.array([_upright(direction) for direction in directions(shape)])
    jobs = [(size_A, rotation) for size_A in sizes_A for rotation in turned]
    waves, marks = [], []
    for size_A, rotation in tqdm(jobs, desc=f"{shape.title} templates", unit="wave"):
        wave = simulate(shape, size_A, rotation)
        images = form_images(wave, torch.tensor(DEFOCI_A), MICROSCOPE, CAMERA)
        marks.append(np.array([signature(image) for image in images.numpy()], np.float16))
        waves.append(np.stack([wave.real, wave.imag]).astype(np.float16))
    arrays = [np.reshape(each, (len(sizes_A), len(turned), *each[0].shape)) for each in (waves, marks)]
    return Library(np.array(sizes_A), turned, *arrays)


class Match(NamedTuple):
    """A simulation laid over an image.

    ``rotation`` takes the particle's frame to the laboratory's and ``direction`` is the beam in the particle's frame,
    both up to the shape's symmetry; ``shift_A`` (2,) is where the particle lies from the middle of the field; ``ncc``
    is the normalised cross-correlation in the circle around it, and ``image`` the simulation (128, 128), standardised,
    without film and noise, in the particle's place.
    """

    shape: Shape
    size_A: float
    rotation: np.ndarray
    defocus_A: float
    shift_A: np.ndarray
    ncc: float
    image: np.ndarray

    @property
    def direction(self) -> np.ndarray:
        """Beam direction (3,) in the particle's frame, reduced to the shape's fundamental sector."""
        return orientation.reduce(orientation.beam_direction(self.rotation), self.shape)


class _Pose(NamedTuple):
    """One candidate: rotation of its direction, whether mirrored, in-plane angle [degrees], size and defocus [Å]."""

    upright: bytes
    mirrored: bool
    turn_deg: float
    size_A: float
    defocus_A: float

    @property
    def direction(self) -> np.ndarray:
        """Rotation (3, 3) of the particle before it is mirrored and turned in its plane."""
        return np.frombuffer(self.upright).reshape(3, 3)

    @property
    def rotation(self) -> np.ndarray:
        """The particle's rotation (3, 3); all shapes have an inversion centre."""
        # A mirror of the image is the mirror x -> -x of the particle, which the inversion makes a rotation again.
        mirror = np.diag([1.0, -1.0, -1.0]) if self.mirrored else np.eye(3)
        return orientation.axis_angle([0, 0, 1], self.turn_deg) @ mirror @ self.direction


class _Matcher:
    """One image, against which simulations of one shape are laid; what several poses share is made once."""

    def __init__(self, image: np.ndarray, shape: Shape):
        self.shape, self.library = shape, library(shape)
        self.numbers = {turned.tobytes(): number for number, turned in enumerate(self.library.rotations)}
        self.lay, self.wave = cache(self._lay), cache(self._wave)
        self.turned, self.circle = cache(self._turned), cache(self._circle)
        qx, qy = (f(IMAGE_PIXELS, CAMERA.pixel_size_A) for f in (np.fft.fftfreq, np.fft.rfftfreq))
        self.weight = np.float32(1 - np.exp(-(qx[:, None] ** 2 + qy**2) / HIGH_PASS_PER_A**2))
        values = self._filtered(np.asarray(image, np.float32))
        values /= values.std()
        self.spectra = fft.rfft2(np.stack([values, values**2]))
        reach = np.abs(fft.fftfreq(IMAGE_PIXELS, 1 / FIELD_A)) <= LARGEST_SHIFT_A
        self.allowed = reach[:, None] & reach

    def best(self, poses: Iterable[_Pose]) -> _Pose:
        """The pose that fits best; of equal ones the first."""
        return max(poses, key=lambda pose: self.lay(pose).ncc)

    def _filtered(self, image: np.ndarray) -> np.ndarray:
        """The image without its low frequencies: all particles are dark, whatever their orientation."""
        return fft.irfft2(fft.rfft2(image) * self.weight, s=image.shape)

    def _wave(self, upright: bytes, size_A: float) -> torch.Tensor:
        """Exit wave (n, n) of a particle, from the library if it holds it."""
        number, stored = self.numbers.get(upright), np.flatnonzero(self.library.sizes_A == size_A)
        if number is None or not len(stored):
            return torch.as_tensor(simulate(self.shape, size_A, np.frombuffer(upright).reshape(3, 3)))
        real, imaginary = self.library.waves[stored[0], number].astype(np.float32)
        return torch.as_tensor(real + 1j * imaginary)

    def _turned(self, pose: _Pose) -> torch.Tensor:
        """Spectrum of a pose's wave, mirrored and turned but for the quarters; its defocus does not matter."""
        wave, rest = self.wave(pose.upright, pose.size_A), pose.turn_deg - 90 * round(pose.turn_deg / 90)
        wave = torch.roll(wave.flip(0), 1, 0) if pose.mirrored else wave
        return turn(torch.fft.fft2(wave, norm="forward")[None], torch.tensor([rest]))

    def _circle(self, radius_A: int) -> tuple[np.ndarray, np.ndarray]:
        """A circle with a collar, and the image's squared deviations from its mean within it, laid at every place."""
        axis = (np.arange(IMAGE_PIXELS) + 0.5) * CAMERA.pixel_size_A - FIELD_A / 2
        circle = (np.hypot(axis[:, None], axis) <= min(radius_A + COLLAR_A, FIELD_A / 2)).astype(np.float32)
        sums, squares = fft.irfft2(fft.rfft2(circle).conj() * self.spectra, s=circle.shape)
        return circle, np.maximum(squares - sums**2 / circle.sum(), 1e-9)

    def _lay(self, pose: _Pose) -> Match:
        """The image of a pose where it fits best.

        By zero-mean normalised correlation within a circle that moves with the simulation (Padfield 2012).
        """
        # Twice the camera's pixels hold all of the intensity that the transmitted beam takes part in.
        wave, defocus = self.turned(pose._replace(defocus_A=0.0)), torch.tensor([pose.defocus_A])
        spectrum = intensity_spectrum(wave, defocus, MICROSCOPE, 2 * CAMERA.pixels)
        image = np.rot90(record(spectrum, CAMERA)[0].numpy(), round(pose.turn_deg / 90))
        across = shapes.build(self.shape, pose.size_A).positions @ pose.direction[:2].T
        circle, squares = self.circle(round(float(np.linalg.norm(across, axis=1).max())))
        filtered = self._filtered(image)
        part = circle * (filtered - (circle * filtered).sum() / circle.sum())
        covariance = fft.irfft2(fft.rfft2(part).conj() * self.spectra[0], s=part.shape)
        ncc = np.where(self.allowed, covariance / np.sqrt(squares * max((part**2).sum(), 1e-12)), -1.0)
        best = np.unravel_index(np.argmax(ncc), ncc.shape)
        shift = (np.array(best) + len(ncc) // 2) % len(ncc) - len(ncc) // 2
        moved = np.roll(standardise(torch.as_tensor(image.copy())).numpy(), shift, (0, 1))
        shift_A = shift * CAMERA.pixel_size_A
        return Match(self.shape, pose.size_A, pose.rotation, pose.defocus_A, shift_A, float(ncc[best]), moved)


# Its transforms are too small to share: on a busy machine, waiting for other threads takes ten times longer.
@_THREADS.wrap(limits=1)
def best_match(image: np.ndarray, shape: Shape) -> Match:
    """The simulation of a shape that fits an image best.

    The spectrum of the image is compared with those of :func:`library`, at every in-plane angle and mirrored too. The
    best of them are laid over the image at each defocus, and the very best are refined in direction, angle, defocus and
    size, each step by the correlation of the images.

    ``image``: one particle (128, 128) at 1.0 Å, within 14 Å of the middle, as `nanoshape_lib.micrographs.cropping.crop`
    makes it. Raises NanoshapeError if the image has another shape or is constant.
    """
    values = np.asarray(image, float)
    if values.shape != (IMAGE_PIXELS, IMAGE_PIXELS) or not np.isfinite(values).all() or not np.ptp(values):
        wanted = f"({IMAGE_PIXELS}, {IMAGE_PIXELS}) of finite, unequal numbers"
        raise NanoshapeError(f"image has shape {values.shape}, but must be {wanted}")
    matcher = _Matcher(values, shape)

    def focused(pose: _Pose) -> _Pose:
        return matcher.best([pose, *(pose._replace(defocus_A=defocus_A) for defocus_A in STARTS_A)])

    started = [focused(pose) for pose in _candidates(values, matcher.library)]
    started.sort(key=lambda pose: -matcher.lay(pose).ncc)
    # The right defocus shows only near the right direction.
    climbed = [focused(_climb(matcher, focused(_climb(matcher, pose, COARSE)), COARSE)) for pose in started[:REFINED]]
    return matcher.lay(_climb(matcher, matcher.best(climbed), FINE))


def _candidates(image: np.ndarray, known: Library) -> list[_Pose]:
    """The poses whose spectra are most like the image's, at most one for each direction and handedness."""
    mark = np.fft.rfft(signature(image), axis=-1)
    marks = np.fft.rfft(np.asarray(known.signatures, np.float32), axis=-1)
    scores = np.stack(
        [np.fft.irfft((mark * part).sum(axis=-2), ANGLES) for part in (marks.conj(), marks)], axis=-2
    )  # (sizes, directions, defoci, handedness, angles)
    by_pose = scores.max(axis=2)
    top = by_pose.max(axis=(0, 3))
    poses = []
    for flat in np.argsort(-top, axis=None)[:CANDIDATES]:
        number, mirrored = np.unravel_index(flat, top.shape)
        size, angle = np.unravel_index(np.argmax(by_pose[:, number, mirrored]), (len(known.sizes_A), ANGLES))
        turn_deg, size_A = float(STEP_DEG * angle), float(known.sizes_A[size])
        poses.append(_Pose(known.rotations[number].tobytes(), bool(mirrored), turn_deg, size_A, STARTS_A[0]))
    return poses


def _climb(matcher: _Matcher, pose: _Pose, steps: Sequence[tuple[float, float, float]]) -> _Pose:
    """A better pose near one: by turns other defoci, angles, tilts and sizes, with ever smaller steps."""
    sizes_A = [size_A for size_A, _ in shapes.available_sizes(matcher.shape, *SIZE_RANGE_A)]
    for defocus_A, turn_deg, tilt_deg in steps:
        pose = matcher.best([pose, *(pose._replace(defocus_A=pose.defocus_A + by) for by in (-defocus_A, defocus_A))])
        pose = matcher.best([pose, *(pose._replace(turn_deg=pose.turn_deg + by) for by in (-turn_deg, turn_deg))])
        tilts = orientation.axis_angle([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0]], tilt_deg)
        pose = matcher.best([pose, *(pose._replace(upright=(tilt @ pose.direction).tobytes()) for tilt in tilts)])
        number = sizes_A.index(pose.size_A)
        beside = sizes_A[max(number - 1, 0) : number + 2]
        pose = matcher.best([pose, *(pose._replace(size_A=size_A) for size_A in beside)])
    return pose
