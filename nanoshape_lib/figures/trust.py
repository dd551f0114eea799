"""Figures about trust: particles that are out of distribution, how well they are told, and the coverage of sets."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from ase import Atoms
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from scipy.spatial import cKDTree

from nanoshape_lib.figures.structures import GALLERY_VIEW, blank, shade
from nanoshape_lib.figures.style import INK, PALE, QUIET, stamp, styled
from nanoshape_lib.particles.shapes import GOLD_NEIGHBOUR_DISTANCE_A

TOGETHER, FIRST = "all together", "#4b2991"
METHODS = {
    "probability": ("o", "#E69F00"),
    "shape": ("*", "#000000"),
    "matter": ("h", "#999933"),
    "pixel size": ("D", "#D55E00"),
    "lattice": ("P", "#0072B2"),
}
BOND_A, INSIDE = 1.2 * GOLD_NEIGHBOUR_DISTANCE_A, 12
SETS = {
    "refusing": (FIRST, "o"),
    "least ambiguous": ("#009E73", "s"),
    "adaptive, randomised": ("#E69F00", "^"),
    "adaptive, never empty": (QUIET, "D"),
}


@styled
def particle_rows(rows: Mapping[str, Sequence[tuple[str, Atoms]]]) -> Figure:
    """Particles by the atoms of their surface, brighter where nearer: one row under each heading.

    ``rows``: by heading, what stands above each particle, and the particle; all are drawn at one scale.
    """
    fig = plt.figure(figsize=(7.2, 1.55 * len(rows)))
    half_width_A = max(np.linalg.norm(atoms.positions, axis=1).max() for row in rows.values() for _, atoms in row)
    for part, (heading, particles) in zip(fig.subfigures(len(rows), 1, squeeze=False)[:, 0], rows.items(), strict=True):
        part.suptitle(heading, x=0.01, ha="left", fontsize=9)
        for ax, (name, atoms) in zip(part.subplots(1, len(particles), squeeze=False)[0], particles, strict=True):
            neighbours = cKDTree(atoms.positions).query_ball_point(atoms.positions, BOND_A, return_length=True) - 1
            seen = atoms.positions[neighbours < INSIDE] @ GALLERY_VIEW.T
            x, y, height = seen[np.argsort(seen[:, 2])].T
            colours = shade(FIRST, np.interp(height, [height[0], height[-1]], [0, 1]))
            ax.scatter(x, y, s=6, c=colours, lw=0, rasterized=True)
            ax.set_title(name, fontsize=7)
            blank(ax, half_width_A)
    return fig


@styled
def ood_auroc(table: pd.DataFrame, text: str) -> Figure:
    """Area under the curve of every kind of particle, for the combined OOD score and for single ones.

    Left for single images, right for focal series. Black ticks are what is asked for; bars are 95 % intervals over
    particles. ``table``: from :func:`nanoshape_lib.studies.ood.ood_table`.
    """
    counts, kinds = sorted(table["images"].unique()), list(dict.fromkeys(table["kind"]))
    fig, axes = plt.subplots(1, len(counts), figsize=(7.2, 0.29 * len(kinds) + 1.3), sharey=True, squeeze=False)
    for ax, count in zip(axes.flat, counts, strict=True):
        rows = table[table["images"] == count].pivot(index="kind", columns="method").loc[kinds]
        places = np.arange(len(kinds))
        for method, (marker, colour) in METHODS.items():
            ax.plot(rows["auroc", method], places, marker, color=colour, ms=3.5, alpha=0.8, label=method)
        low, middle, high = (rows[name, TOGETHER].to_numpy() for name in ("low", "auroc", "high"))
        interval = np.maximum([middle - low, high - middle], 0)
        ax.errorbar(middle, places, xerr=interval, fmt="o", color=FIRST, ms=6, elinewidth=1.5, label=TOGETHER)
        bars = rows["bar", TOGETHER].to_numpy(float)
        ax.plot(bars, places, "|", color=INK, ms=13, mew=1.6, label="asked for")
        ax.axvline(0.5, color=QUIET, ls=":", lw=1.2)
        ax.set(xlabel="AUROC", xlim=(0.28, 1.02), ylim=(len(kinds) - 0.4, -0.6))
        ax.set_title("single images" if count == 1 else f"{count} images of each", fontsize=9)
        ax.set_yticks(places, kinds)
        ax.grid(axis="y", color=PALE, lw=0.5)
        ax.set_axisbelow(True)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside upper center", ncols=4, handletextpad=0.2, columnspacing=1.2)
    stamp(fig, text)
    return fig


@styled
def coverage_of_sets(table: pd.DataFrame, text: str, asked: float = 0.95) -> Figure:
    """How often sets hold the true shape, how many shapes are in them, and what becomes of both under shifts.

    Left: images like those of the training, the band is one percentage point either way. Right: single images of each
    shift; rings say how often the first choice is right, over all images and over those not refused. ``table``: from
    :func:`nanoshape_lib.studies.ood.coverage_table`; ``asked``: the coverage asked for.
    """
    fig, (left, right) = plt.subplots(1, 2, figsize=(7.2, 3.6), width_ratios=(1, 1.45))
    usual = table[table["shift"] == "none"]
    counts = sorted(usual["images"].unique())
    for index, (method, (colour, marker)) in enumerate(SETS.items()):
        rows = usual[usual["method"] == method].set_index("images").loc[counts]
        places = np.arange(len(counts)) + 0.14 * (index - 1.5)
        interval = np.maximum([rows["coverage"] - rows["low"], rows["high"] - rows["coverage"]], 0)
        left.errorbar(places, rows["coverage"], interval, fmt=marker, color=colour, label=method, capsize=2)
    left.axhspan(asked - 0.01, asked + 0.01, color=PALE, alpha=0.6, lw=0)
    left.set_xticks(range(len(counts)), [str(count) for count in counts])
    left.set(xlabel="images of the particle", ylabel="true shape is in the set", ylim=(0.9, 1.005))
    left.set_xlim(-0.5, len(counts) - 0.5)
    left.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    shifts = table[(table["images"] == 1) & (table["method"] == "refusing") & ~table["shift"].str.startswith("none")]
    heights = np.arange(len(shifts))
    right.barh(heights, 1 - shifts["empty"], color=PALE, label="not refused")
    right.plot(shifts["coverage"], heights, "o", color=FIRST, label="true shape is in the set")
    right.plot(shifts["accuracy"], heights, "o", mfc="none", color=QUIET, label="first choice is right")
    right.plot(shifts["accuracy_known"], heights, "o", mfc="none", color=FIRST, label="... of those not refused")
    right.set_yticks(heights, shifts["shift"])
    right.set(xlim=(0, 1.03), ylim=(len(shifts) - 0.4, -0.6))
    right.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    fig.legend(*left.get_legend_handles_labels(), loc="outside upper left", ncols=2, fontsize=7)
    fig.legend(*right.get_legend_handles_labels(), loc="outside upper right", ncols=2, fontsize=7)
    stamp(fig, text)
    return fig
