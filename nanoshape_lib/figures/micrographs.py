"""Figures of notebook 10: micrographs with their particles, and each particle beside what explains its answer."""

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from nanoshape_lib.figures.style import INK, QUIET, SHAPE_COLORS, stamp, styled
from nanoshape_lib.particles.decoys import lattice_ratio
from nanoshape_lib.particles.shapes import GOLD_LATTICE_CONSTANT_A, Shape

LARGEST_SHOWN = 1024
BY_TITLE = {shape.title: shape for shape in Shape}
REFUSED = "#555555"
METALS = {
    "Au": ("gold", "#B37400"),
    "Pt": ("platinum", "#4b2991"),
    "Pd": ("palladium", "#009E73"),
    "Cu": ("copper", "#D55E00"),
}
SCALE_BARS_A = (10, 20, 50, 100, 200, 500, 1000)


@styled
def overview(image: np.ndarray, pixel_size_A: float, boxes: pd.DataFrame, table: pd.DataFrame, text: str) -> Figure:
    """A micrograph with a box around each particle, in the colour of its shape.

    With a scale bar; the numbers are those of the table. ``image``: image (rows, columns); more than 1024 pixels a side
    are averaged before they are shown; ``pixel_size_A``: pixel size [Å]; ``boxes, table``: of
    :class:`nanoshape_lib.micrographs.analysis.Analysis`. Particles cut by the edge have dotted boxes, refused ones grey
    dashed boxes.
    """
    factor = -(-max(image.shape) // LARGEST_SHOWN)
    high, wide = (n // factor * factor for n in image.shape)
    fig, ax = plt.subplots(figsize=(6.4, 6.4 * min(high / wide, 1.6)))
    shown = image[:high, :wide].reshape(high // factor, factor, wide // factor, factor).mean(axis=(1, 3))
    low, top = np.quantile(shown, [0.005, 0.995])
    ax.imshow(shown, cmap="gray", vmin=low, vmax=top, extent=(-0.5, wide - 0.5, high - 0.5, -0.5))
    for box in boxes[boxes["cut_off"]].itertuples():
        _frame(ax, box, pixel_size_A, REFUSED, ":")
    for row in table.itertuples():
        shape = BY_TITLE[str(row.predicted)]
        colour, style = (SHAPE_COLORS[shape], "-") if row.known else (REFUSED, "--")
        corner = _frame(ax, row, pixel_size_A, colour, style)
        words = f"{row.particle}" if row.known else f"{row.particle}?"
        ax.text(*corner, words, color="white", fontsize=8, va="bottom", bbox={"fc": colour, "ec": "none", "pad": 1.5})
    _scale_bar(ax, wide, high, pixel_size_A)
    ax.set_axis_off()
    found = sorted({BY_TITLE[title] for title in table.loc[table["known"], "predicted"]}) if len(table) else []
    handles = [Rectangle((0, 0), 1, 1, fill=False, ec=SHAPE_COLORS[shape], lw=2, label=shape.title) for shape in found]
    if len(table) and not table["known"].all():
        handles.append(Rectangle((0, 0), 1, 1, fill=False, ec=REFUSED, lw=2, ls="--", label="refused"))
    if handles:
        fig.legend(handles=handles, loc="outside upper center", ncols=3)
    stamp(fig, text)
    return fig


def _frame(ax: plt.Axes, box: tuple, pixel_size_A: float, colour: str, style: str) -> tuple[float, float]:
    """Draw a square around a particle; its upper left corner."""
    side = (box.diameter_A + 8) / pixel_size_A  # type: ignore[attr-defined]
    corner = (box.column - side / 2, box.row - side / 2)  # type: ignore[attr-defined]
    ax.add_patch(Rectangle(corner, side, side, fill=False, ec="white", lw=3.2, ls=style, alpha=0.7))
    ax.add_patch(Rectangle(corner, side, side, fill=False, ec=colour, lw=1.8, ls=style))
    return corner


def _scale_bar(ax: plt.Axes, wide: int, high: int, pixel_size_A: float) -> None:
    """A bar of a round length, about a fifth of the image, in its lower left corner."""
    length_A = max((each for each in SCALE_BARS_A if each <= 0.3 * wide * pixel_size_A), default=SCALE_BARS_A[0])
    x, y = 0.04 * wide, 0.95 * high
    for colour, width in (("white", 6), (INK, 3)):
        ax.plot([x, x + length_A / pixel_size_A], [y, y], color=colour, lw=width, solid_capstyle="butt")
    ax.text(x, y - 0.015 * high, f"{length_A / 10:g} nm", fontsize=8, bbox={"fc": "white", "ec": "none", "pad": 1})


@styled
def particle_panels(crops: np.ndarray, why: Any, titles: Sequence[str], text: str) -> Figure:
    """Each particle as the network takes it, its saliency, the most similar simulation, and the best match.

    One column a particle; below the simulations the cosine between features or the normalised cross-correlation, and
    the defocus. ``crops``: images (N, 128, 128); ``why``: a :class:`nanoshape_lib.micrographs.analysis.Explanation` of
    the same particles, with best matches; ``titles``: what stands above each column.
    """
    count = len(crops)
    fig, axes = plt.subplots(4, count, figsize=(1.3 * count + 0.6, 6.0), squeeze=False)
    for column, (image, weights, alike, match) in enumerate(
        zip(crops, why.saliency, why.similar, why.matches, strict=True)
    ):
        first, second, third, fourth = axes[:, column]
        for ax, shown in ((first, image), (second, image), (third, alike[0].image), (fourth, match.image)):
            ax.imshow(shown, cmap="gray", vmin=-2.5, vmax=2.5)
            ax.set(xticks=[], yticks=[])
        second.imshow(weights, cmap="magma", alpha=0.55 * weights, vmin=0, vmax=1)
        first.set_title(titles[column], fontsize=7.5)
        third.set_xlabel(f"{alike[0].similarity:.2f}, {alike[0].defocus_A:.0f} Å", fontsize=7.5)
        fourth.set_xlabel(f"{match.ncc:.2f}, {match.defocus_A:.0f} Å", fontsize=7.5)
    for ax, word in zip(axes[:, 0], ("image", "saliency", "most similar", "best match"), strict=True):
        ax.set_ylabel(word, color=QUIET)
    stamp(fig, text)
    return fig


@styled
def metals_told_apart(lattices: pd.DataFrame, told: pd.DataFrame, text: str) -> Figure:
    """The lattice constant that each micrograph shows, and how well its particles together tell the metal from gold.

    Left: one marker a micrograph with its standard uncertainty, full from rings and hollow from the fringes of the
    single particles; bars are the true lattice constants. Right: bands are 95 % intervals over micrographs, and the
    dotted line is asked for. ``lattices``: of :func:`nanoshape_lib.studies.micrographs.each_micrograph`; ``told``: of
    :func:`nanoshape_lib.studies.micrographs.told_by_count`.
    """
    fig, (left, right) = plt.subplots(1, 2, figsize=(7.2, 3.4), width_ratios=(3, 2))
    for place, (symbol, (name, colour)) in enumerate(METALS.items()):
        part = lattices[lattices["metal"] == symbol]
        x = place + np.linspace(-0.36, 0.36, len(part))
        left.errorbar(x, part["lattice_A"], yerr=part["uncertainty_A"], fmt="none", ecolor=colour, elinewidth=0.6)
        for ring, fill in ((True, colour), (False, "white")):
            rows = (part["ring"] == ring).to_numpy()
            left.plot(x[rows], part["lattice_A"][rows], "o", mec=colour, mfc=fill, ms=3.5)
        true_A = lattice_ratio(symbol) * GOLD_LATTICE_CONSTANT_A
        left.plot([place - 0.45, place + 0.45], [true_A, true_A], color=INK, lw=1)
        line = told[told["metal"] == symbol]
        if len(line):
            right.plot(range(len(line)), line["auroc"], "o-", color=colour, ms=4, label=name)
            right.fill_between(range(len(line)), line["low"], line["high"], color=colour, alpha=0.15, lw=0)
            right.set_xticks(range(len(line)), [str(count) if count else "all,\nrings" for count in line["particles"]])
    left.set_xticks(range(len(METALS)), [name for name, _ in METALS.values()])
    left.set_ylabel("lattice constant [Å]")
    right.axhline(0.95, color=INK, ls=":", lw=1.2)
    right.set(xlabel="particles taken together", ylabel="AUROC against gold", ylim=(0.5, 1.01))
    right.legend(loc="lower right")
    stamp(fig, text)
    return fig
