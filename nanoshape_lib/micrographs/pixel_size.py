"""Pixel size of a micrograph of gold particles from their lattice, and its check against what the file says.

The spots of crystals stand out of the spectrum of a small patch of the image; carbon and noise leave a speckle whose
intensities follow an exponential distribution. Spots of many particles lie on rings, whose radii are known in 1/Å.
"""

import contextlib
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import ndimage

from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.micrographs.formats import display
from nanoshape_lib.micrographs.reading import DISAGREEMENT, Micrograph
from nanoshape_lib.particles.shapes import GOLD_LATTICE_CONSTANT_A
from nanoshape_lib.trust.classifier import DEVIATIONS, SHOWN, USUAL
from nanoshape_lib.trust.spectral_check import QUANTITIES

RING_111_A = GOLD_LATTICE_CONSTANT_A / np.sqrt(3)
"""Spacing of the {111} planes of gold [Å]."""
REFLECTIONS = {"111": 3, "200": 4, "220": 8, "311": 11, "222": 12}
"""h² + k² + l² of the reflections of the face-centred lattice that are looked for."""
COARSEST_PIXEL_A, FINE_PIXEL_A, FINEST_PIXEL_A = 1.12, 0.25, 0.1
PATCH, LOWEST_BIN = 128, 5
"""Side of a patch [pixels]; cycles per patch, below which the shape of a particle is seen and not its lattice."""
SYSTEMATIC = 0.005
"""Relative uncertainty from strain, relaxation and shape."""

_TOGETHER = 64  # patches that are transformed together
_THRESHOLD = 14.0
_SATELLITE, _SATELLITE_RATIO = 0.2, 3.0  # distance over radius, and height over height
_FRAMES, _MOST_SPOTS = 4, 3000  # images of a series that are measured; spots that are used
_STEP, _APART = 0.001, 0.03  # of the logarithm of the pixel size: step of the search, least distance of a rival
_EVIDENCE, _MARGIN = 12.0, 8.0  # least log likelihood ratios against strays and against the best rival
_NEAR = 0.14  # of the logarithm, about an expected size: no wider, for {111} taken for {200} are 0.144 apart
_EXPECTED = 5.0  # log odds in favour of sizes that near
_SMALL, _SURE = 0.025, 4.0  # least disagreement that is said, and that in standard uncertainties
_LEAST_SPOTS, _LEAST_PER_RING, _WELL_INSIDE = 5, 2, 0.45
_SHARES = np.array([0.34, 0.26, 0.14, 0.18, 0.08])  # of the reflections among spots, rough: they steer the search

FIELD_SYSTEMATIC = np.array([0.005, 0.005, 0.02])
"""Relative uncertainties that no number of particles lessens, seen on 40 simulated micrographs of gold."""
SURE = 3.0
"""Standard uncertainties from which on a quantity is said to be another."""
SENTENCES = {
    "pixel size": "the particles in {name} and their film together fit pixels of {value:.3g} ± {uncertainty:.1g} Å"
    " rather than {usual:.3g} Å",
    "lattice": "the fringes of all particles in {name} together fit a lattice constant of {value:.2f} ±"
    " {uncertainty:.2f} Å rather than gold's {usual:.2f} Å: the pixel size is wrong, or this is another metal",
    "element": "the contrast of all particles in {name} together fits atoms of number {value:.0f} ± {uncertainty:.0f}"
    " rather than gold's {usual:.0f}",
}


class NoLattice(NanoshapeError):
    """No rings of the gold lattice were found; the message says why."""


@dataclass(frozen=True)
class PixelSize:
    """Pixel size [Å] from the lattice of gold, its standard uncertainty [Å], and the spots on each ring."""

    pixel_size_A: float
    uncertainty_A: float
    spots: dict[str, int]


def estimate_pixel_size(images: np.ndarray, expected_A: float | None = None) -> PixelSize:
    """Pixel size from the spots that gold particles leave in the power spectrum.

    Each patch of 128 pixels is multiplied by a Hann window and its power spectrum divided by the median over rings, so
    that neither contrast transfer nor the camera matters. Peaks above 14 times the mean of the speckle are spots; with
    amorphous material alone there is one in 1.2 million independent values. The logarithms of their radii are a
    mixture of the rings of gold at the wanted scale, and of strays; its likelihood is maximised over the scale. Below
    0.25 Å, or where nothing is found, the same is tried with two by two pixels averaged.

    ``images``: one (rows, columns) or several (N, rows, columns) at one magnification, any units, better cleaned;
    ``expected_A``: the pixel size [Å] that the file or the user gives. Sizes within 14 % of it are taken to be 150
    times as likely as others; if none stands out even so, but the best is one of them, they are tried alone. The
    uncertainty combines the scatter of the spots with 0.5 % for strain, relaxation and shape. Without a corrector (Cs
    over 0.5 mm) the contrast transfer changes so fast across a ring that single micrographs were up to 3.4 % off.
    Raises NoLattice if too few spots lie on rings: no crystal on a visible lattice plane, too much noise, or pixels
    over 1.12 Å, which cannot show the {111} planes at 2.35 Å.
    """
    stack = images[None] if images.ndim == 2 else images
    chosen = stack[np.unique(np.linspace(0, len(stack) - 1, _FRAMES).round().astype(int))]
    error: NoLattice | None = None
    try:
        first = _estimate(chosen, expected_A)
        if first.pixel_size_A > FINE_PIXEL_A:
            return first
    except NoLattice as refused:
        error = refused
    # A patch of fine pixels is smaller than a particle; two by two they show the lattice better.
    if min(chosen.shape[-2:]) >= 2 * PATCH:
        with contextlib.suppress(NoLattice):
            rows, columns = (n // 2 for n in chosen.shape[-2:])
            pairs = chosen[:, : 2 * rows, : 2 * columns].reshape(-1, rows, 2, columns, 2)
            halved = estimate_pixel_size(pairs.mean(axis=(2, 4)), 2 * expected_A if expected_A else None)
            if halved.pixel_size_A <= 2 * FINE_PIXEL_A * 1.1:
                return PixelSize(halved.pixel_size_A / 2, halved.uncertainty_A / 2, halved.spots)
    if error:
        raise error
    return first


def _estimate(images: np.ndarray, expected_A: float | None) -> PixelSize:
    """The pixel size from patches at full resolution; see `estimate_pixel_size`."""
    side = min(PATCH, *images.shape[-2:])
    found = np.concatenate([find_spots(image) for image in images])
    if len(found) < _LEAST_SPOTS:
        few = f"its power spectrum shows {len(found)} spots"
        raise NoLattice(f"{few}, but {_LEAST_SPOTS} are needed to find the lattice")
    found = found[np.argsort(-found[:, 1])[:_MOST_SPOTS]]
    radius, root = found[:, 0], np.sqrt(found[:, 1])
    density = 1 / (np.log(0.5) - np.log(LOWEST_BIN / side))
    # Chosen on 140 simulated micrographs of known pixel size, other than those of the tests.
    spots = _Spots(np.log(radius), 0.001 + 0.1 / root, np.minimum(0.3 + 3.0 / root, 0.95), density)
    scales = np.arange(np.log(FINEST_PIXEL_A), np.log(COARSEST_PIXEL_A), _STEP)
    evidence = np.array([spots.evidence(scale) for scale in scales])
    near = np.abs(scales - np.log(expected_A)) < _NEAR if expected_A else np.zeros(len(scales), bool)
    odds = evidence + _EXPECTED * near
    try:
        return _best(spots, scales, evidence, odds, len(images))
    except NoLattice:
        if near[odds.argmax()]:
            with contextlib.suppress(NoLattice):
                return _best(spots, scales[near], evidence[near], odds[near], len(images))
        raise


def _best(spots: "_Spots", scales: np.ndarray, evidence: np.ndarray, odds: np.ndarray, frames: int) -> PixelSize:
    """The most likely of some log pixel sizes, if the spots lie on its rings and it is likelier than all others."""
    best = int(odds.argmax())
    rivals = np.abs(scales - scales[best]) > _APART
    if evidence[best] < _EVIDENCE:
        raise NoLattice("the spots of its power spectrum do not lie on the rings of gold, at any pixel size")
    if odds[best] - odds[rivals].max(initial=-np.inf) < _MARGIN:
        second = np.exp(scales[rivals][odds[rivals].argmax()])
        sizes = f"{np.exp(scales[best]):.2f} Å and of {second:.2f} Å"
        raise NoLattice(f"the spots of its power spectrum fit gold with pixels of {sizes} about equally well")
    size = spots.fit(scales[best], frames)
    inner = [size.spots[name] for name in ("111", "200")]
    both = np.sqrt(REFLECTIONS["200"]) / GOLD_LATTICE_CONSTANT_A * size.pixel_size_A < _WELL_INSIDE
    if sum(inner) < _LEAST_SPOTS or (both and min(inner) < _LEAST_PER_RING):
        raise NoLattice("too few spots of its power spectrum lie on the rings {111} and {200} of gold")
    return size


class _Spots(NamedTuple):
    """Logarithms of radii [cycles per pixel], their standard deviations, chances to be strays, density of strays.

    Strong spots are of planes that meet the diffraction condition, and lie within a percent of their ring. Weak
    ones are cut off it, through the streaks that facets give every spot, or stem from beams that interfere.
    """

    logs: np.ndarray
    widths: np.ndarray
    stray: np.ndarray
    density: float

    def on_rings(self, scale: float) -> tuple[np.ndarray, np.ndarray]:
        """Densities (n, rings) of the spots on the visible rings at a log pixel size, and distances from these."""
        lines = scale + np.log(np.sqrt(list(REFLECTIONS.values())) / GOLD_LATTICE_CONSTANT_A)
        shares = np.where(lines < np.log(0.5), _SHARES, 0.0)
        shares /= max(shares.sum(), 1e-12)
        widths, distance = self.widths[:, None], self.logs[:, None] - lines
        normal = np.exp(-0.5 * (distance / widths) ** 2) / (widths * np.sqrt(2 * np.pi))
        return (1 - self.stray[:, None]) * shares * normal, distance

    def evidence(self, scale: float) -> float:
        """Log likelihood of spots on rings and strays, less that of strays alone."""
        return float(np.log(self.on_rings(scale)[0].sum(axis=1) / self.density + self.stray).sum())

    def fit(self, scale: float, frames: int) -> PixelSize:
        """Mean scale of the spots that belong to rings (expectation maximisation), and its uncertainty."""
        for _ in range(50):
            density, distance = self.on_rings(scale)
            member = density / (density.sum(axis=1) + self.stray * self.density)[:, None]
            weight = member / self.widths[:, None] ** 2
            shift = float((weight * distance).sum() / weight.sum())
            scale += shift
            if abs(shift) < 1e-6:
                break
        # The sandwich form of the variance, once for single spots and once for whole rings, which shift together
        # where contrast transfer is steep.
        pull = weight * distance
        variance = frames * (pull**2).sum() + (pull.sum(axis=0) ** 2).sum()
        relative = np.hypot(np.sqrt(variance) / weight.sum(), SYSTEMATIC)
        size_A = float(np.exp(scale))
        counts = zip(REFLECTIONS, member.sum(axis=0).round().astype(int).tolist(), strict=True)
        return PixelSize(size_A, float(relative * size_A), dict(counts))


def settle(micrograph: Micrograph) -> tuple[Micrograph, PixelSize | None]:
    """The micrograph, better cleaned, with a pixel size and all that is to be said about it; None for no lattice found.

    A missing pixel size is the one of the lattice (its source is ``"lattice"``). One that the user or the file gave
    stays; a note is added if the lattice's is another, see :func:`check`. Raises NanoshapeError if neither the user,
    nor the file, nor the lattice gives a pixel size.
    """
    name = display(micrograph.path)
    try:
        found = estimate_pixel_size(micrograph.images, micrograph.pixel_size_A)
    except NoLattice as error:
        if micrograph.pixel_size_A is None:
            raise NanoshapeError(f"the pixel size of {name} is neither given nor measurable: {error}") from None
        return micrograph, None
    if micrograph.pixel_size_A is None:
        note = f"the pixel size of {name}, {found.pixel_size_A:.4f} ± {found.uncertainty_A:.4f} Å, was measured on gold"
        settled = replace(micrograph, pixel_size_A=found.pixel_size_A, source="lattice")
        return replace(settled, notes=(*micrograph.notes, note)), found
    warning = check(found, micrograph.pixel_size_A, name)
    return (replace(micrograph, notes=(*micrograph.notes, warning)) if warning else micrograph), found


def check(found: PixelSize, pixel_size_A: float, name: str) -> str | None:
    """A sentence if a pixel size [Å] and the lattice's differ by over 5 %, or surely by over 2.5 %: platinum's, say."""
    ratio, relative = found.pixel_size_A / pixel_size_A, found.uncertainty_A / found.pixel_size_A
    if abs(ratio - 1) <= min(DISAGREEMENT, max(_SMALL, _SURE * relative)):
        return None
    return (
        f"the pixels of {name} are said to be {pixel_size_A:.4g} Å, but if the particles are gold their lattice"
        f" makes them {found.pixel_size_A:.4g} ± {found.uncertainty_A:.2g} Å; if the pixels are right, the lattice"
        f" constant is {GOLD_LATTICE_CONSTANT_A / ratio:.2f} Å, and this is another metal"
    )


def find_spots(image: np.ndarray) -> np.ndarray:
    """Spots (n, 2) of an image's patches: radius [cycles per pixel] and height over the mean speckle at that radius."""
    side = min(PATCH, *image.shape)
    starts = [np.linspace(0, n - side, -(-n // side)).round().astype(int) for n in image.shape]
    values = np.asarray(image, dtype=np.float64)
    patches = [values[a : a + side, b : b + side] for a in starts[0] for b in starts[1]]
    rows, columns = np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None]
    radius = np.hypot(rows, columns)
    ring = np.minimum(np.rint(radius * side).astype(int), side // 2)
    window = np.hanning(side + 1)[:side]
    allowed = (radius * side >= LOWEST_BIN) & (ring < side // 2) & ((columns > 0) | (rows > 0))
    order = np.argsort(ring, axis=None, kind="stable")
    parts = np.split(order, np.searchsorted(ring.ravel()[order], np.arange(1, side // 2 + 1)))
    spots = [np.empty((0, 2))]
    for first in range(0, len(patches), _TOGETHER):
        some = np.stack(patches[first : first + _TOGETHER])
        some -= some.mean(axis=(1, 2), keepdims=True)
        powers = np.abs(np.fft.rfft2(some * window[:, None] * window)) ** 2 + 1e-300
        flat = powers.reshape(len(some), -1)
        levels = np.stack([np.median(flat[:, part], axis=1) for part in parts], axis=1) / np.log(2)
        levels = np.exp(ndimage.gaussian_filter1d(np.log(levels), 1.5, axis=1))
        for power, level in zip(powers, levels, strict=True):
            height = power / level[ring]
            high = (height > _THRESHOLD) & allowed
            if high.any():
                high &= height == ndimage.maximum_filter(height, 5, mode="wrap")
                spots.append(_without_satellites(_positions(np.log(height), np.argwhere(high))))
    return np.concatenate(spots)


def _positions(logs: np.ndarray, peaks: np.ndarray) -> np.ndarray:
    """Frequencies [cycles per pixel] and heights (n, 3) of peaks, placed between pixels by parabolas."""
    side, last = len(logs), logs.shape[1] - 1
    row, column = peaks.T
    here = logs[row, column]
    # The spectrum of a real image is the same on the other side of the origin.
    left = np.where(column > 0, logs[row, column - 1], logs[-row, 1])
    before = np.stack([logs[row - 1, column], left])
    after = np.stack([logs[(row + 1) % side, column], logs[row, np.minimum(column + 1, last)]])
    curvature = before - 2 * here + after
    shift = np.clip(0.5 * (before - after) / np.where(curvature < 0, curvature, -np.inf), -0.5, 0.5)
    place = np.stack([np.where(row < side / 2, row, row - side), column]) + shift
    return np.stack([*(place / side), np.exp(here)], axis=1)


def _without_satellites(spots: np.ndarray) -> np.ndarray:
    """Radii and heights (n, 2) of spots (n, 3) that are no side maxima of a stronger one nearby."""
    place, height = spots[:, :2], spots[:, 2]
    radius = np.hypot(*place.T)
    apart = np.minimum(*(np.linalg.norm(place[:, None] + sign * place, axis=2) for sign in (-1, 1)))
    beside = (apart < _SATELLITE * radius[:, None]) & (height > _SATELLITE_RATIO * height[:, None])
    return np.stack([radius, height], axis=1)[~beside.any(axis=1)]


class Consensus(NamedTuple):
    """What all particles of a field show together of QUANTITIES: logarithms over the usual (3,), and uncertainties.

    Usual are the pixel size that was given and the lattice constant and atomic number of gold. Each particle alone says
    little, since few show fringes. ``ring`` says that the lattice is told by rings.
    """

    logarithms: np.ndarray
    uncertainties: np.ndarray
    ring: bool

    @property
    def surprises(self) -> np.ndarray:
        """Distance from the usual in standard uncertainties (3,)."""
        return np.abs(self.logarithms) / self.uncertainties


def consensus(table: pd.DataFrame, pixel_size_A: float, ring: PixelSize | None = None) -> Consensus:
    """Means over the particles of one field, weighted by the inverse variances that the spectral check gives.

    ``table``: one row a particle, with the columns ``shown_`` of
    :meth:`nanoshape_lib.trust.classifier.Classifier.classify`; ``pixel_size_A``: the pixel size [Å] at which the
    particles were cut out; ``ring``: the pixel size from the rings of the whole field, which tell the lattice where
    there are any. The variance of a mean is one over the sum of the weights, plus that of :data:`FIELD_SYSTEMATIC`.
    """
    logs = np.log(table[list(SHOWN)].to_numpy() / USUAL)
    weights = (table[list(SHOWN)].to_numpy() / table[list(DEVIATIONS)].to_numpy()) ** 2
    means = (logs * weights).sum(axis=0) / weights.sum(axis=0)
    uncertainties = np.hypot(FIELD_SYSTEMATIC, 1 / np.sqrt(weights.sum(axis=0)))
    if ring is not None:
        lattice = QUANTITIES.index("lattice")
        means[lattice] = np.log(pixel_size_A / ring.pixel_size_A)
        uncertainties[lattice] = ring.uncertainty_A / ring.pixel_size_A
    return Consensus(means, uncertainties, ring is not None)


def sentences(found: Consensus, pixel_size_A: float, name: str) -> list[str]:
    """A sentence on each quantity of a field that is surely not as usual; of rings :func:`check` speaks."""
    usual = USUAL * [pixel_size_A, 1, 1]
    values = usual * np.exp(found.logarithms)
    return [
        SENTENCES[quantity].format(name=name, value=value, uncertainty=value * relative, usual=known)
        for quantity, value, relative, known, surprise in zip(
            QUANTITIES, values, found.uncertainties, usual, found.surprises, strict=True
        )
        if surprise > SURE and not (quantity == "lattice" and found.ring)
    ]
