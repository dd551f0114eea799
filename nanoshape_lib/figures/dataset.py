"""Figures of notebook 04: what is in a data set, and how defocus is sampled."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from nanoshape_lib.figures.microscopy import show_image
from nanoshape_lib.figures.style import INK, QUIET, SHAPE_COLORS, SHAPE_MARKERS, stamp, styled
from nanoshape_lib.particles.shapes import Shape
from nanoshape_lib.simulation.optics import Microscope, phase_transfer


@styled
def contact_sheet(images: np.ndarray, table: pd.DataFrame, text: str) -> Figure:
    """One image of each shape (rows) and size (columns); images (N, h, w) and table row by row alike."""
    sizes = sorted(table["size"].unique())
    row_in = min(1.0, 6.4 / len(sizes))
    figsize = (max(3.4, row_in * len(sizes) + 0.8), row_in * len(Shape) + 0.4)
    fig, axes = plt.subplots(len(Shape), len(sizes), figsize=figsize, squeeze=False)
    for ax in axes.flat:
        ax.set_axis_off()
    for image, label, size in zip(images, table["label"], table["size"], strict=True):
        ax = axes[label, sizes.index(size)]
        show_image(ax, image, *np.quantile(image, [0.002, 0.998]))
    for ax, size in zip(axes[0], sizes, strict=True):
        ax.set_title(f"{size:g} Å", fontsize=9)
    for shape, row in zip(Shape, axes, strict=True):
        name = shape.title.replace(" ", "\n")
        row[0].text(-0.08, 0.5, name, transform=row[0].transAxes, ha="right", va="center", fontsize=8)
    stamp(fig, text)
    return fig


@styled
def realised_sizes(table: pd.DataFrame, text: str) -> Figure:
    """Realised sizes [Å] of the waves of a split, one line a class; a marker's area is proportional to their number."""
    fig, ax = plt.subplots(figsize=(7.2, 2.4))
    counts = table.groupby(["label", "size_A"]).size().reset_index(name="waves")
    for shape in Shape:
        rows = counts[counts["label"] == shape]
        area = 400 * rows["waves"] / counts["waves"].max()
        ax.scatter(
            rows["size_A"],
            rows["label"],
            s=area,
            color=SHAPE_COLORS[shape],
            marker=SHAPE_MARKERS[shape],
            alpha=0.8,
            lw=0,
        )
    ax.set_yticks(list(Shape), [shape.title for shape in Shape])
    ax.set(xlabel="volume-equivalent diameter (Å)", ylim=(4.6, -0.6))
    stamp(fig, text)
    return fig


@styled
def defocus_sampling(microscope: Microscope, defoci_A: tuple[float, ...]) -> Figure:
    """Figure S2a, focal series: contrast transfer over frequency and defocus, with the sampled defoci as lines."""
    fig, ax = plt.subplots(figsize=(7.2, 3.6))
    limit = 1.15 * max(abs(defocus) for defocus in defoci_A)
    defocus = np.linspace(-limit, limit, 400)
    q = np.linspace(0, microscope.aperture_per_A, 500)
    rows = np.stack([phase_transfer(q, value, microscope)[0] for value in defocus])
    extent = (0, microscope.aperture_per_A, -limit, limit)
    picture = ax.imshow(rows, origin="lower", aspect="auto", cmap="PuOr", vmin=-1, vmax=1, extent=extent)
    for value in defoci_A:
        ax.axhline(value, color=INK, lw=0.7, ls=(0, (4, 3)))
    ax.axvline(1 / 2.355, color=QUIET, lw=1, ls=":")
    ax.annotate("{111}", (1 / 2.355, limit), ha="center", va="bottom", fontsize=8, color=QUIET, annotation_clip=False)
    ax.set(xlabel="spatial frequency (1/Å)", ylabel="defocus (Å)")
    fig.colorbar(picture, ax=ax, label="contrast transfer")
    return fig


@styled
def contrast_against_defocus(table: pd.DataFrame, text: str) -> Figure:
    """Mean contrast of the images of each shape against defocus [Å], with the middle half of the images shaded."""
    fig, ax = plt.subplots(figsize=(7.2, 3.2))
    for shape in Shape:
        groups = table[table["label"] == shape].groupby("defocus_A")["contrast"]
        mean, colour = groups.mean(), SHAPE_COLORS[shape]
        ax.plot(mean.index, mean, color=colour, marker=SHAPE_MARKERS[shape], label=shape.title)
        ax.fill_between(mean.index, groups.quantile(0.25), groups.quantile(0.75), color=colour, alpha=0.12, lw=0)
    ax.set(xlabel="defocus (Å), positive: underfocus", ylabel="contrast (std / mean)", ylim=(0, None))
    ax.legend(fontsize=8, frameon=False, ncols=3)
    stamp(fig, text)
    return fig
