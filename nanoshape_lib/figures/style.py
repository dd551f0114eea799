"""What all figures of the book share: one style sheet, one colour and one marker per shape."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import ParamSpec

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from nanoshape_lib.figures.data import figure_files
from nanoshape_lib.particles.shapes import Shape

# The type under which a notebook keeps a figure's files beside its picture.
FILES = "application/vnd.nanoshape.figure+json"
STYLE_SHEET = Path(__file__).with_name("nanoshape.mplstyle")

# From the palette of Okabe and Ito (2008), which stays distinct under the common forms of colour blindness.
SHAPE_COLORS: dict[Shape, str] = {
    Shape.CUBE: "#0072B2",
    Shape.CUBOCTAHEDRON: "#E69F00",
    Shape.TRUNCATED_OCTAHEDRON: "#009E73",
    Shape.OCTAHEDRON: "#D55E00",
    Shape.ICOSAHEDRON: "#CC79A7",
}

SHAPE_MARKERS: dict[Shape, str] = {
    Shape.CUBE: "s",
    Shape.CUBOCTAHEDRON: "o",
    Shape.TRUNCATED_OCTAHEDRON: "h",
    Shape.OCTAHEDRON: "D",
    Shape.ICOSAHEDRON: "^",
}

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


def stamp(fig: Figure, text: str) -> None:
    """Write a small line under a figure, such as the profile that made it.

    Parameters
    ----------
    fig
        The figure.
    text
        What to write.
    """
    fig.supxlabel(text, x=0.995, ha="right", fontsize=7.5, color=QUIET)
