"""Spots that crystals leave in the power spectra of small patches of an image."""

import numpy as np
from scipy import ndimage

PATCH = 128
LOWEST_BIN = 5
"""Cycles per patch: below, the shape of a particle is seen and not its lattice."""

_TOGETHER = 64  # patches that are transformed together
_THRESHOLD = 14.0
_SATELLITE, _SATELLITE_RATIO = 0.2, 3.0  # distance over radius, and height over height


def find_spots(image: np.ndarray) -> np.ndarray:
    """Spots (n, 2) in the power spectra of the patches of an image: radius [cycles per pixel] and height.

    The height is in units of the mean speckle at the same radius.
    """
    side = min(PATCH, *image.shape)
    patches = _patches(np.asarray(image, dtype=np.float64), side)
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


def _patches(image: np.ndarray, side: int) -> list[np.ndarray]:
    """Square patches that cover the image, few or none overlapping."""
    starts = [np.linspace(0, n - side, -(-n // side)).round().astype(int) for n in image.shape]
    return [image[a : a + side, b : b + side] for a in starts[0] for b in starts[1]]


def _positions(logs: np.ndarray, peaks: np.ndarray) -> np.ndarray:
    """Frequencies [cycles per pixel] and heights (n, 3) of peaks, placed between pixels by parabolas."""
    side, last = len(logs), logs.shape[1] - 1
    spots = []
    for row, column in peaks:
        here = logs[row, column]
        # The spectrum of a real image is the same on the other side of the origin.
        left = logs[row, column - 1] if column else logs[-row, 1]
        place = [float(row if row < side / 2 else row - side), float(column)]
        for axis, (before, after) in enumerate(
            ((logs[row - 1, column], logs[(row + 1) % side, column]), (left, logs[row, min(column + 1, last)]))
        ):
            curvature = before - 2 * here + after
            if curvature < 0:
                place[axis] += float(np.clip(0.5 * (before - after) / curvature, -0.5, 0.5))
        spots.append((place[0] / side, place[1] / side, np.exp(here)))
    return np.array(spots).reshape(-1, 3)


def _without_satellites(spots: np.ndarray) -> np.ndarray:
    """Radii and heights (n, 2) of spots (n, 3) that are no side maxima of a stronger one nearby."""
    place, height = spots[:, :2], spots[:, 2]
    radius = np.hypot(*place.T)
    apart = np.minimum(*(np.linalg.norm(place[:, None] + sign * place, axis=2) for sign in (-1, 1)))
    beside = (apart < _SATELLITE * radius[:, None]) & (height > _SATELLITE_RATIO * height[:, None])
    return np.stack([radius, height], axis=1)[~beside.any(axis=1)]
