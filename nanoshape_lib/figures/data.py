"""A figure as a file to draw with, and the numbers behind it."""

import io
from collections.abc import Iterator

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection, QuadMesh
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle

COLUMNS = ["panel", "title", "x axis", "y axis", "series", "kind", "x", "y", "value"]
LARGEST_MATRIX = 400


def figure_table(figure: Figure) -> pd.DataFrame:
    """Coordinates of everything that is drawn in a figure, in the units of its axes.

    Parameters
    ----------
    figure
        The figure.

    Returns
    -------
    DataFrame
        One row a point: ``panel`` (from 1), ``title`` and labels of its axes, ``series`` (the label in the legend),
        ``kind``, ``x``, ``y`` and ``value``, the number behind a colour. Kinds are ``line``, ``point``, ``bar`` (its
        middle and end), ``segment`` (such as an error bar, end by end) and ``matrix`` (column, row). Photographs are
        left out.
    """
    rows = []
    for panel, ax in enumerate(figure.axes, 1):
        if ax.name == "3d":
            continue
        head = (panel, ax.get_title(), ax.get_xlabel(), ax.get_ylabel())
        for artist in ax.get_children():
            label = str(artist.get_label() or "")
            series = "" if label.startswith("_") else label
            rows += [(*head, series, *point) for point in _points(artist, ax)]
    return pd.DataFrame(rows, columns=COLUMNS)


def _points(artist: Artist, ax: Axes) -> Iterator[tuple]:
    """Kind, x, y and value of all points of one artist that is drawn in the units of its axes."""
    if not artist.get_visible() or artist is ax.patch:
        return
    if artist.get_transform().contains_branch(ax.transData) is False and not isinstance(artist, PathCollection):
        return
    if hasattr(artist, "get_xydata"):
        yield from (("line", x, y, np.nan) for x, y in np.asarray(artist.get_xydata(), float))
    elif isinstance(artist, PathCollection):
        values = artist.get_array()
        offsets = np.asarray(artist.get_offsets(), float)
        numbers = np.full(len(offsets), np.nan) if values is None else np.asarray(values, float)
        yield from (("point", x, y, v) for (x, y), v in zip(offsets, np.resize(numbers, len(offsets)), strict=True))
    elif isinstance(artist, LineCollection):
        yield from (("segment", x, y, np.nan) for part in artist.get_segments() for x, y in np.asarray(part, float))
    elif isinstance(artist, Rectangle):
        x = artist.get_x() + artist.get_width() / 2
        yield "bar", x, artist.get_y() + artist.get_height(), np.nan
    elif isinstance(artist, AxesImage | QuadMesh):
        pixels = np.asarray(artist.get_array())
        if pixels.ndim == 2 and pixels.size <= LARGEST_MATRIX:
            yield from (("matrix", x, y, float(v)) for (y, x), v in np.ndenumerate(pixels))


def figure_files(figure: Figure) -> dict[str, str]:
    """The figure as SVG and, where there are numbers, its table as CSV."""
    drawing = io.StringIO()
    figure.savefig(drawing, format="svg")
    files = {"svg": drawing.getvalue()}
    table = figure_table(figure)
    if len(table):
        files["csv"] = table.to_csv(index=False, float_format="%.8g")
    return files
