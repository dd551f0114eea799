"""Particles in a micrograph: where they are."""

import math

import numpy as np
import pandas as pd
from scipy import fft, ndimage
from skimage.filters import apply_hysteresis_threshold
from skimage.measure import label as measure_label
from skimage.measure import regionprops
from skimage.morphology import h_maxima
from skimage.segmentation import watershed

from nanoshape_lib.errors import NanoshapeError

# The {111}, {200} and {220} fringes of gold, or as many of them as the camera resolves.
FRINGES_PER_A = (1 / 2.6, 1 / 1.8)
WORKING_PIXEL_A, MAP_PIXEL_A, LARGEST_PIXEL_A = 0.9, 2.0, 1.25
SMOOTHED_A = {"darkness": 4.0, "fringes": 7.0}
SPIKE_DEVIATIONS = 8.0
LOW, HIGH = 5.0, 9.0
REACH_A, SADDLE_A, SMALLEST_A = 30.0, 1.5, 20.0
EDGE_SHARE, CHORD_SHARE = 0.4, 0.4
COLUMNS = ["row", "column", "diameter_A", "score", "darkness", "fringes", "cut_off"]


def find(image: np.ndarray, pixel_size_A: float) -> pd.DataFrame:
    """Find the particles of a micrograph, or the one of a small image.

    Two maps tell particles from their film: the energy of lattice fringes within 7 Å, and the loss of electrons that
    the particle scatters past the aperture, which also shows a particle that is far from every zone axis. Each is
    counted in standard deviations of the film around it, both from the image itself, so that dose, contrast and slowly
    varying illumination do not matter. Regions where the two together exceed five deviations, and somewhere nine, are
    divided by a watershed of the distance from their edges, and end where they fall below 0.4 of their own height.

    ``image``: (h, w) of any unit, particles darker than the film; ``pixel_size_A``: at most 1.25 Å, or there are no
    fringes to see. Returns one row a particle, the highest score first: its centre ``row`` and ``column`` [pixels], its
    largest diameter ``diameter_A``, the mean ``score`` in deviations of the film, of which ``darkness`` and ``fringes``
    are the two parts, and ``cut_off``, whether the edge of the image cuts it. Raises NanoshapeError, see :func:`check`.
    """
    check(image, pixel_size_A)
    darkness, fringes, step = _maps(np.asarray(image, np.float32), pixel_size_A)
    combined = np.hypot(np.maximum(darkness, 0), np.maximum(fringes, 0))
    map_A = pixel_size_A * step
    rows = []
    for region in regionprops(_regions(combined, map_A)):
        where = region.coords
        at = tuple(where.T)
        if math.sqrt(4 * region.area / math.pi) * map_A < SMALLEST_A:
            continue
        centre = (where.mean(axis=0) + 0.5) * step - 0.5
        diameter = region.feret_diameter_max
        values = [float(field[at].mean()) for field in (combined, darkness, fringes)]
        # A blurred outline may touch an edge; what is cut off meets it along a chord.
        contact = max(int((where == edge).any(axis=1).sum()) for edge in (0, np.array(combined.shape) - 1))
        rows.append([*centre.tolist(), diameter * map_A, *values, contact > CHORD_SHARE * diameter])
    found = pd.DataFrame(rows, columns=COLUMNS).astype({"cut_off": bool})
    return found.sort_values("score", ascending=False, ignore_index=True)


def check(image: np.ndarray, pixel_size_A: float) -> None:
    """Refuse what is no image, and pixels that are too coarse or absurd."""
    shape, least = np.shape(image), f"at least {SMALLEST_A:g} Å wide"
    if len(shape) != 2 or min(shape) * pixel_size_A < SMALLEST_A or not np.isfinite(image).all():
        raise NanoshapeError(f"image has shape {shape}, but must be (h, w), {least}, of finite numbers")
    if not 0.05 <= pixel_size_A <= LARGEST_PIXEL_A:
        limits = f"between 0.05 and {LARGEST_PIXEL_A:g} Å"
        raise NanoshapeError(f"pixel_size_A is {pixel_size_A:g} Å, but must lie {limits} to show fringes")


def _maps(image: np.ndarray, pixel_size_A: float) -> tuple[np.ndarray, np.ndarray, float]:
    """Darkness and fringes in deviations of the film, and the pixels of the image to a pixel of these maps."""
    some = image[::2, ::2]
    middle = np.median(some)
    reach = SPIKE_DEVIATIONS * 1.4826 * np.median(np.abs(some - middle))
    image = np.clip(image, middle - reach, middle + reach)
    pixels = [max(16, min(n, round(n * pixel_size_A / WORKING_PIXEL_A))) for n in image.shape]
    keep = np.r_[: (pixels[0] + 1) // 2, image.shape[0] - pixels[0] // 2 : image.shape[0]]
    spectrum = fft.rfft2(image)[keep][:, : pixels[1] // 2 + 1] * np.float32(math.prod(pixels) / image.size)
    sizes_A = [n * pixel_size_A / m for n, m in zip(image.shape, pixels, strict=True)]
    q = np.hypot(fft.fftfreq(pixels[0], sizes_A[0])[:, None], fft.rfftfreq(pixels[1], sizes_A[1]))
    light = fft.irfft2(spectrum, s=pixels)
    spectrum *= (q >= FRINGES_PER_A[0]) & (q <= FRINGES_PER_A[1])
    energy = fft.irfft2(spectrum, s=pixels) ** 2
    maps = []
    step = max(1.0, MAP_PIXEL_A / pixel_size_A)
    for name, field in (("darkness", -light), ("fringes", energy)):
        smooth = ndimage.gaussian_filter(field, [SMOOTHED_A[name] / size for size in sizes_A])
        coarse = [max(4, round(n / step)) for n in image.shape]
        zoom = [c / n for c, n in zip(coarse, pixels, strict=True)]
        smooth = ndimage.zoom(smooth, zoom, order=1, grid_mode=True, mode="nearest")
        maps.append(deviations(smooth if name == "darkness" else np.log(np.maximum(smooth, 1e-30))))
    return maps[0], maps[1], step


def deviations(field: np.ndarray) -> np.ndarray:
    """How far a map (h, w) lies above its slowly varying background, in the background's own deviations.

    The background is a quadratic surface, fitted again and again to the pixels within 2.5 deviations
    of the most frequent residual. Only residuals below that, where there are no particles, count for the deviation.
    """
    y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in field.shape), indexing="ij")
    surface = np.stack([np.ones_like(x), x, y, x * y, x * x, y * y], axis=-1).reshape(-1, 6)
    values = field.reshape(-1).astype(float)
    keep = values <= np.quantile(values, 0.5)
    for _ in range(10):
        kept = surface[keep]
        fit, *_ = np.linalg.lstsq(kept.T @ kept, kept.T @ values[keep], rcond=None)
        rest = values - surface @ fit
        low, high = np.quantile(rest, [0.005, 0.7])
        counts, edges = np.histogram(rest, 100, (low, high + 1e-12))
        mode = edges[np.argmax(ndimage.gaussian_filter1d(counts.astype(float), 4))]
        below = rest[rest < mode]
        sigma = max(float(np.sqrt(np.mean((below - mode) ** 2))) if len(below) else 0.0, 1e-12)
        keep = np.abs(rest - mode) < 2.5 * sigma
    return ((rest - mode) / sigma).reshape(field.shape)


def _regions(combined: np.ndarray, map_A: float) -> np.ndarray:
    """Label (h, w) of each particle, zero outside."""
    above = apply_hysteresis_threshold(combined, LOW, HIGH)
    height = ndimage.maximum_filter(combined, round(REACH_A / map_A))
    mask = ndimage.binary_fill_holes(above & (combined >= EDGE_SHARE * height))
    depth = ndimage.gaussian_filter(ndimage.distance_transform_edt(mask) * map_A, 2.0 / map_A)
    markers = measure_label(h_maxima(depth, SADDLE_A))
    return watershed(-depth, markers, mask=mask)
