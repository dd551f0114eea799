"""What camera and illumination add to a micrograph: hits of x-rays, dead pixels, a slope of brightness."""

from typing import NamedTuple

import numpy as np
from numpy.polynomial import polynomial
from scipy import ndimage

THRESHOLD = 10.0
"""An outlier is so many standard deviations of its surroundings off their median."""
BLOCK, QUADRATIC_BLOCKS = 16, 48
CLIPPING, CLIPPINGS = 2.5, 8
_NEAR, _AROUND = 2, 4
_CHUNK = 100_000
_NORMAL = 1.4826  # standard deviation of a normal distribution over its median absolute deviation


class Cleaned(NamedTuple):
    """The image, in its old units, and how much was changed."""

    image: np.ndarray
    bright: int
    dark: int
    slope: float


def clean(image: np.ndarray) -> Cleaned:
    """Replace single bad pixels and make the brightness of the background even.

    ``image``: one (rows, columns), finite, any units. Returns the float32 image with the old mean; numbers of replaced
    bright and dark pixels; change of the background's brightness over the field, as a fraction of its mean, or of the
    image's range if it is not in counts.
    """
    fixed, bright, dark = replace_outliers(np.asarray(image, dtype=np.float32))
    background = illumination(fixed)
    middle = float(background.mean())
    # Only an image in counts has a background to divide by.
    even = fixed * (middle / background) if background.min() > 0 else fixed - (background - middle)
    even += fixed.mean() - even.mean()
    slope = float(np.ptp(background)) / (middle if background.min() > 0 else max(float(np.ptp(fixed)), 1e-30))
    return Cleaned(even.astype(np.float32), bright, dark, slope)


def replace_outliers(image: np.ndarray) -> tuple[np.ndarray, int, int]:
    """Replace pixels far off their surroundings by the median of the 5 x 5 pixels around them.

    The surroundings are 9 x 9 pixels; their standard deviation is taken from the median absolute deviation, and is at
    least that of the whole image. Where lattice fringes or an edge are stronger than the noise, so is the scale.
    Pixels that touch an outlier are outliers at half the threshold, since one x-ray often lights several. Returns a new
    image, and the numbers of replaced pixels above and below their surroundings.
    """
    off = image - ndimage.uniform_filter(image, 2 * _NEAR + 1, mode="mirror")
    scale = _NORMAL * float(np.median(np.abs(off[::2, ::2])))
    # Bad pixels pull the mean they are compared with, so candidates are looked for at a bit under half the threshold.
    rows, columns = np.nonzero(np.abs(off) > 0.4 * THRESHOLD * scale)
    padded = np.pad(image, _AROUND, mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (2 * _AROUND + 1,) * 2)
    score, medians = np.zeros(len(rows), np.float32), np.zeros(len(rows), np.float32)
    near = slice(_AROUND - _NEAR, _AROUND + _NEAR + 1)
    for part in (slice(start, start + _CHUNK) for start in range(0, len(rows), _CHUNK)):
        around = windows[rows[part], columns[part]]
        middle = np.median(around, axis=(1, 2))
        spread = _NORMAL * np.median(np.abs(around - middle[:, None, None]), axis=(1, 2))
        medians[part] = np.median(around[:, near, near], axis=(1, 2))
        score[part] = (image[rows[part], columns[part]] - middle) / np.maximum(np.maximum(spread, scale), 1e-30)
    strong = np.zeros([n + 2 for n in image.shape], bool)
    strong[rows + 1, columns + 1] = np.abs(score) > THRESHOLD
    touching = np.lib.stride_tricks.sliding_window_view(strong, (3, 3))[rows, columns].any(axis=(1, 2))
    bad = touching & (np.abs(score) > THRESHOLD / 2)
    fixed = image.copy()
    fixed[rows[bad], columns[bad]] = medians[bad]
    return fixed, int((score[bad] > 0).sum()), int((score[bad] < 0).sum())


def illumination(image: np.ndarray) -> np.ndarray:
    """Brightness of the background, float32 (rows, columns): a plane, in images of 768 pixels and more a paraboloid.

    It is fitted by least squares to the medians of blocks of 16 x 16 pixels. Those that lie over two and a half robust
    standard deviations off, such as particles, are left out, and the rest is fitted again, up to eight times.
    """
    high, wide = (n // BLOCK for n in image.shape)
    blocks = image[: high * BLOCK, : wide * BLOCK].reshape(high, BLOCK, wide, BLOCK)
    values = np.median(blocks.swapaxes(1, 2), axis=(2, 3)).ravel().astype(np.float64)
    order = 2 if min(high, wide) >= QUADRATIC_BLOCKS else 1
    # Coordinates from -1 to 1 over the field; powers of both up to the order in all.
    y, x = (2 * BLOCK * (np.arange(n) + 0.5) / size - 1 for n, size in zip((high, wide), image.shape, strict=True))
    used = np.add.outer(np.arange(order + 1), np.arange(order + 1)).ravel() <= order
    terms = polynomial.polyvander2d(np.repeat(y, wide), np.tile(x, high), [order, order])[:, used]
    kept = np.ones(len(values), bool)
    for _ in range(CLIPPINGS):
        fitted = np.linalg.lstsq(terms[kept], values[kept], rcond=None)[0]
        left = values - terms @ fitted
        left -= np.median(left[kept])
        inside = np.abs(left) <= CLIPPING * _NORMAL * np.median(np.abs(left[kept])) + 1e-12
        if (inside == kept).all() or inside.sum() < len(values) / 4:
            break
        kept = inside
    coefficients = np.zeros(used.size)
    coefficients[used] = fitted
    y, x = (polynomial.polyvander(2 * (np.arange(n) + 0.5) / n - 1, order) for n in image.shape)
    return (y @ coefficients.reshape(order + 1, order + 1) @ x.T).astype(np.float32)
