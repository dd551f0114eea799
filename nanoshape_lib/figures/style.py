"""The style sheet, colours and markers of all figures, and each figure as files: a drawing and its numbers."""

import io
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import ParamSpec

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.collections import LineCollection, PathCollection, QuadMesh
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from matplotlib.ticker import PercentFormatter

from nanoshape_lib.particles.shapes import Shape

# The type under which a notebook keeps a figure's files beside its picture.
FILES = "application/vnd.nanoshape.figure+json"
STYLE_SHEET = Path(__file__).with_name("nanoshape.mplstyle")

# From the palette of Okabe and Ito (2008), which stays distinct under the common forms of colour blindness.
SHAPE_COLORS = dict(zip(Shape, ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7"), strict=True))
SHAPE_MARKERS = dict(zip(Shape, "sohD^", strict=True))
INK, QUIET, PALE = "#222222", "#767676", "#d9d9d9"

P = ParamSpec("P")


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Draw a figure in the book's style and leave it closed, so that a notebook shows it once, with its files."""

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with plt.style.context(STYLE_SHEET):
            figure = draw(*args, **kwargs)
            figure.draw_without_rendering()  # ticks are made at the first drawing and must see the style
        plt.close(figure)
        figure._repr_mimebundle_ = lambda **kwargs: {FILES: figure_files(figure)}  # type: ignore[attr-defined]
        return figure

    return drawn


def signed(value: float) -> str:
    """A whole number with its sign, if it has one, and a proper minus: ``"−130"``."""
    return f"{value:+.0f}".replace("-", "−") if round(value) else "0"


def stamp(fig: Figure, text: str) -> Figure:
    """The figure with a small line under it, such as the profile that made it."""
    fig.supxlabel(text, x=0.995, ha="right", fontsize=7.5, color=QUIET)
    return fig


def percent(*axes: Axis, decimals: int | None = 0) -> None:
    """Label shares on some axes in percent; None gives as many decimals as the range asks for."""
    for axis in axes:
        axis.set_major_formatter(PercentFormatter(1, decimals))


def bars(rows: pd.DataFrame, middle: str = "accuracy", low: str = "low", high: str = "high") -> np.ndarray:
    """Lengths (2, N) of error bars, below and above, of intervals that are columns of a table."""
    return np.maximum([rows[middle] - rows[low], rows[high] - rows[middle]], 0)


COLUMNS = ["panel", "title", "x axis", "y axis", "series", "kind", "x", "y", "value"]
LARGEST_MATRIX = 400


def figure_table(figure: Figure) -> pd.DataFrame:
    """Coordinates of everything that is drawn in a figure, in the units of its axes.

    One row a point: ``panel`` (from 1), ``title`` and labels of its axes, ``series`` (the label in the legend),
    ``kind``, ``x``, ``y`` and ``value``, the number behind a colour. Kinds are ``line``, ``point``, ``bar`` (its middle
    and end), ``segment`` (such as an error bar, end by end) and ``matrix`` (column, row). Photographs are left out.
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
