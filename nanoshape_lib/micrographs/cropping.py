"""Particles of a micrograph, each cut out as the networks take it."""

import math
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy import ndimage

from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.micrographs.detection import check
from nanoshape_lib.networks.models import IMAGE_PIXELS
from nanoshape_lib.simulation.imaging import standardise

LARGEST_SHIFT_A = 8.0
"""Particles up to 6 Å from the middle along each axis are known to the networks; centres may be a little off."""
MARGIN_A, CLEAR_A, TRIES = 16.0, 4.0, 400


def crop(image: np.ndarray, box: Any, pixel_size_A: float, boxes: pd.DataFrame | None = None) -> np.ndarray:
    """One particle as the networks take it: (128, 128) pixels of 1.0 Å, float32, with mean zero and variance one.

    The image is resampled in Fourier space, at any centre, as a camera whose pixels are 1.0 Å would have recorded it:
    where 1.0 Å is a whole number of pixels, each value is their mean. Detail and noise finer than two such pixels
    are not cut off but fold back, as they do in the images that the networks know: without that part of the noise,
    gold looks lighter than it is. The camera's transfer function acts before its pixels sample the image, so that one
    of finer pixels is sharper at the frequencies that are left than one taken at 1.0 Å. Other particles in the field,
    and what lies beyond the edge of the image, are replaced by film copied from elsewhere in it: networks that have
    seen one particle at a time are misled by parts of a second. Within 8 Å of the edge the window moves inside instead.

    ``box``: a row of the table of :func:`nanoshape_lib.micrographs.detection.find`; ``boxes``: the whole table, to know
    the other particles. Raises NanoshapeError if the image is no image or its pixels too coarse, or the edge of the
    image cuts the particle off.
    """
    check(image, pixel_size_A)
    if box.cut_off:
        where = f"row {box.row:.0f}, column {box.column:.0f}"
        raise NanoshapeError(f"the particle at {where} cannot be used: it is cut off by the edge")
    shape = np.array(image.shape)
    centre = np.array([box.row, box.column])
    half = (IMAGE_PIXELS / pixel_size_A - 1) / 2
    inside = np.clip(centre, np.minimum(half, (shape - 1) / 2), np.maximum(shape - 1 - half, (shape - 1) / 2))
    reach = LARGEST_SHIFT_A / pixel_size_A
    middle = np.where(np.abs(inside - centre) <= reach, inside, centre)

    pixels = math.ceil((IMAGE_PIXELS + 2 * MARGIN_A) / pixel_size_A)
    corner = np.round(middle - (pixels - 1) / 2).astype(int)
    patch = _patch(image, corner, pixels, box, boxes, pixel_size_A)
    level = patch.mean()
    depth = (np.minimum(np.arange(pixels), np.arange(pixels)[::-1]) + 0.5) * pixel_size_A
    rise = 0.5 - 0.5 * np.cos(np.pi * np.minimum(depth / MARGIN_A * 2, 1))
    spectrum = np.fft.fft2((patch - level) * rise[:, None] * rise)
    q = np.fft.fftfreq(pixels, pixel_size_A)
    weight = np.sinc(q) / np.sinc(q * pixel_size_A)
    places = np.arange(IMAGE_PIXELS) - (IMAGE_PIXELS - 1) / 2
    rows, columns = (
        np.exp(2j * np.pi * (places + at * pixel_size_A)[:, None] * q) * weight / pixels for at in middle - corner
    )
    resampled = torch.as_tensor((rows @ spectrum @ columns.T).real.astype(np.float32))
    return standardise(resampled).numpy()


def _patch(
    image: np.ndarray, corner: np.ndarray, pixels: int, box: Any, boxes: pd.DataFrame | None, pixel_size_A: float
) -> np.ndarray:
    """Part of an image (pixels, pixels) from a corner on, with film in place of other particles and of nothing."""
    rows, columns = (start + np.arange(pixels) for start in corner)
    outside = ((rows < 0) | (rows >= len(image)))[:, None] | (columns < 0) | (columns >= image.shape[1])
    patch = image[np.clip(rows, 0, len(image) - 1)[:, None], np.clip(columns, 0, image.shape[1] - 1)].astype(float)
    circles = np.zeros((0, 3)) if boxes is None else boxes[["row", "column", "diameter_A"]].to_numpy(float)
    circles = circles * [1, 1, 0.5 / pixel_size_A]
    own = np.array([box.row, box.column, box.diameter_A / 2 / pixel_size_A])
    others = circles[np.hypot(*(circles[:, :2] - own[:2]).T) > 1e-6]
    clear = CLEAR_A / pixel_size_A
    grid = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1).astype(float)
    away = _distance(grid, _near(others, grid))
    from_own = _distance(grid, own[None])
    foreign = outside | ((away < clear) & (away < from_own))
    film = patch[~foreign & (from_own > clear)]
    if not foreign.any() or not len(film):
        return patch
    soft = np.maximum(ndimage.gaussian_filter(foreign.astype(float), 1.5 / pixel_size_A), outside)
    return patch * (1 - soft) + soft * _film_like(image, grid, foreign, np.vstack([others, own]), film, clear)


def _near(circles: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Those of circles (N, 3) that come near a square grid of points (n, n, 2)."""
    middle = (grid[0, 0] + grid[-1, -1]) / 2
    return circles[np.hypot(*(circles[:, :2] - middle).T) < len(grid) + circles[:, 2]]


def _distance(points: np.ndarray, circles: np.ndarray) -> np.ndarray:
    """Distance of points (..., 2) from the nearest of circles (N, 3), negative inside."""
    nearest = np.full(points.shape[:-1], np.inf)
    for row, column, radius in circles:
        nearest = np.minimum(nearest, np.sqrt((points[..., 0] - row) ** 2 + (points[..., 1] - column) ** 2) - radius)
    return nearest


def _film_like(
    image: np.ndarray, grid: np.ndarray, wanted: np.ndarray, circles: np.ndarray, film: np.ndarray, clear: float
) -> np.ndarray:
    """Pixels of the image, as many as the grid's (n, n, 2), that show film alone where they are wanted."""
    rng = np.random.default_rng(0)
    points = grid[wanted]
    some = points[rng.integers(len(points), size=min(len(points), TRIES))]
    limit = np.array(image.shape) - 1
    best, least = np.zeros(2, int), np.inf
    for _ in range(TRIES):
        shift = rng.integers(-limit, limit + 1)
        moved = some + shift
        bad = ((moved < 0) | (moved > limit)).any(axis=-1) | (_distance(moved, circles) < clear)
        if bad.mean() < least:
            best, least = shift, float(bad.mean())
        if not least:
            break
    moved = grid + best
    bad = ((moved < 0) | (moved > limit)).any(axis=-1) | (_distance(moved, _near(circles, moved)) < clear)
    places = np.clip(moved, 0, limit).astype(int)
    copied = image[places[..., 0], places[..., 1]].astype(float)
    good = wanted & ~bad
    copied += film.mean() - (copied[good].mean() if good.any() else 0.0)
    # Where there is no film to copy, its pixels are drawn at random: the same mean and deviation.
    copied[bad] = rng.choice(film, int(bad.sum()))
    return copied
