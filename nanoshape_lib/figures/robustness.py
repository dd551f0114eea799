"""Figures of notebook 10: micrographs, other settings and specimens, out-of-distribution scores, conformal sets."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from ase import Atoms
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from scipy.spatial import cKDTree

from nanoshape_lib.figures.structures import GALLERY_VIEW, blank, scale_bar, shade
from nanoshape_lib.figures.style import INK, PALE, QUIET, SHAPE_COLORS, bars, percent, stamp, styled
from nanoshape_lib.particles.decoys import lattice_ratio
from nanoshape_lib.particles.shapes import GOLD_LATTICE_CONSTANT_A, GOLD_NEIGHBOUR_DISTANCE_A, Shape

# Title, unit and factor from the table's unit.
PANELS: dict[str, tuple[str, str, float]] = {
    "dose_e_A2": ("dose", "e/Å²", 1),
    "defocus_A": ("defocus", "Å", 1),
    "astigmatism_A": ("twofold astigmatism", "Å", 1),
    "pixel_error": ("error of the pixel size", "%", 100),
    "Cs_A": ("spherical aberration", "µm", 1e-4),
    "focal_spread_A": ("focal spread", "Å", 1),
    "convergence_mrad": ("convergence", "mrad", 1),
    "mtf_c2": ("width of the MTF", "Nyquist", 2),
    "drift_A": ("drift", "Å", 1),
}
DOSES = (30, 100, 300, 1000, 3000)
# The same, and the usual value in the table's unit.
SPECIMEN_PANELS: dict[str, tuple[str, str, float, float]] = {
    "temperature_K": ("temperature", "K", 1, 300),
    "strain": ("strain", "%", 100, 0),
    "film_A": ("thickness of the film", "Å", 1, 30),
}
LOOKS = (("#9d7fd1", "s", "--"), ("#4b2991", "o", "-"))
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
LARGEST_SHOWN = 1024
BY_TITLE = {shape.title: shape for shape in Shape}
REFUSED = "#555555"
METALS = {
    "Au": ("gold", "#B37400"),
    "Pt": ("platinum", FIRST),
    "Pd": ("palladium", "#009E73"),
    "Cu": ("copper", "#D55E00"),
}
SCALE_BARS_A = (10, 20, 50, 100, 200, 500, 1000)


@styled
def settings_curves(table: pd.DataFrame, ranges: Mapping[str, tuple[float, float]], text: str) -> Figure:
    """Accuracy against each setting of the microscope, before and after training with ranges.

    One panel a setting, all else as in the design. Bands are group-bootstrap intervals; the grey bar at the bottom is
    the range of the training. ``table``: as of :func:`nanoshape_lib.studies.robustness.accuracies`, for two networks at
    most; ``ranges``: lowest and highest value of each setting that the second network was trained with.
    """
    shown = [name for name in PANELS if (table["setting"] == name).any()]
    columns = min(3, len(shown))
    lines = -(-len(shown) // columns)
    fig, axes = plt.subplots(lines, columns, figsize=(7.2, 2.1 * lines + 0.5), sharey=True, squeeze=False)
    lowest = table["low"].min()
    for ax, name in zip(axes.flat, shown, strict=False):
        title, unit, factor = PANELS[name]
        for network, (colour, marker, line) in zip(table["network"].unique(), LOOKS, strict=False):
            rows = table[(table["setting"] == name) & (table["network"] == network)].sort_values("value")
            value = factor * rows["value"]
            ax.fill_between(value, rows["low"], rows["high"], color=colour, alpha=0.25, lw=0)
            ax.plot(value, rows["accuracy"], marker + line, color=colour, ms=3.5, lw=1.3, label=network)
        ax.axvspan(*(factor * np.array(ranges[name])), ymax=0.035, color=QUIET, lw=0)
        ax.set_xlabel(f"{title} [{unit}]")
        if name == "dose_e_A2":
            ax.set_xscale("log")
            ax.set_xticks(DOSES, map(str, DOSES))
            ax.tick_params(axis="x", which="minor", length=0)
        ax.set_ylim(max(0.0, lowest - 0.06), 1.015)
        if lowest < 1 / len(Shape):
            ax.axhline(1 / len(Shape), color=QUIET, ls=":", lw=1)
    for ax in axes.flat[len(shown) :]:
        ax.axis("off")
    for ax in axes[:, 0]:
        ax.set_ylabel("accuracy")
        percent(ax.yaxis)
    bar = Rectangle((0, 0), 1, 1, color=QUIET, lw=0, label="range of the training")
    fig.legend(handles=[*axes.flat[0].get_legend_handles_labels()[0], bar], loc="outside upper center", ncols=3)
    return stamp(fig, text)


@styled
def range_contributions(table: pd.DataFrame, ranges: Mapping[str, tuple[float, float]], text: str) -> Figure:
    """What is lost when the range of one setting is left out of the training.

    Left, all else as in the design, the value within the range at which the network without that range is right least
    often; right, all settings at random. Bars are intervals over groups. ``table``: ``domain_randomisation_ablations``,
    see :func:`nanoshape_lib.studies.robustness.ablations`; ``ranges``: lowest and highest value of each setting.
    """
    shown = [name for name in PANELS if (table["network"] == f"without {name}").any()]
    fig, axes = plt.subplots(1, 2, figsize=(7.2, 0.38 * len(shown) + 1.3), sharey=True)
    place, labels = np.arange(len(shown)), []
    for name in shown:
        title, unit, factor = PANELS[name]
        rows = table[(table["network"] == f"without {name}") & (table["setting"] == name)]
        rows = rows[rows["value"].between(*ranges[name])]
        worst = rows.sort_values("accuracy")["value"].iloc[0]
        labels.append((f"{title}, {factor * worst:g} {unit}", (table["setting"] == name) & (table["value"] == worst)))
    for ax, random in zip(axes, (False, True), strict=True):
        for shift, whole, (colour, marker, _) in ((-0.13, True, LOOKS[1]), (0.13, False, LOOKS[0])):
            networks = ["all ranges" if whole else f"without {name}" for name in shown]
            asked = [table["setting"] == "random" if random else there for _, there in labels]
            rows = pd.concat([table[(table["network"] == n) & m] for n, m in zip(networks, asked, strict=True)])
            label = "all ranges" if whole else "without this range"
            ax.errorbar(rows["accuracy"], place + shift, xerr=bars(rows), fmt=marker, color=colour, ms=4, label=label)
        percent(ax.xaxis, decimals=None)
        ax.grid(axis="y", color=PALE, lw=0.5)
        ax.tick_params(axis="y", length=0)
    axes[0].set_yticks(place, [label for label, _ in labels])
    axes[0].invert_yaxis()
    axes[0].set_xlabel("accuracy, all else as in the design")
    axes[1].set_xlabel("accuracy at random settings")
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return stamp(fig, text)


@styled
def specimen_curves(table: pd.DataFrame, text: str) -> Figure:
    """Right first choices and refusals against temperature, strain and thickness of the film.

    Full markers: share of right first choices; hollow: of refusals; the dotted line is the usual specimen. ``table``:
    of two networks, see :func:`nanoshape_lib.studies.robustness.specimens`.
    """
    fig, axes = plt.subplots(1, len(SPECIMEN_PANELS), figsize=(7.2, 2.8), sharey=True)
    for ax, (quantity, (title, unit, factor, usual)) in zip(axes, SPECIMEN_PANELS.items(), strict=True):
        ax.axvline(factor * usual, color=QUIET, ls=":", lw=1)
        for network, (colour, marker, line) in zip(table["network"].unique(), LOOKS, strict=False):
            rows = table[(table["network"] == network) & (table["quantity"] == quantity)]
            for share, words, fill in (("accuracy", "first choice right", colour), ("refused", "refused", "white")):
                spread = bars(rows, share, f"{share}_low", f"{share}_high")
                looks = {"fmt": marker + line, "color": colour, "mfc": fill, "ms": 3.5, "lw": 1.2, "elinewidth": 1}
                ax.errorbar(factor * rows["value"], rows[share], spread, label=f"{network}, {words}", **looks)
        ax.set_xlabel(f"{title} [{unit}]")
    axes[0].set(ylabel="share of particles", ylim=(-0.03, 1.03))
    percent(axes[0].yaxis)
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return stamp(fig, text)


@styled
def particle_rows(rows: Mapping[str, Sequence[tuple[str, Atoms]]]) -> Figure:
    """Particles with titles, by their surface atoms, brighter where nearer, at one scale; one row a heading."""
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

    Black ticks are what is asked for; bars are 95 % intervals over particles. ``table``: of
    :func:`nanoshape_lib.studies.ood.ood_table`.
    """
    counts, kinds = sorted(table["images"].unique()), list(dict.fromkeys(table["kind"]))
    fig, axes = plt.subplots(1, len(counts), figsize=(7.2, 0.29 * len(kinds) + 1.3), sharey=True, squeeze=False)
    places = np.arange(len(kinds))
    for ax, count in zip(axes.flat, counts, strict=True):
        rows = {
            name: part.set_index("kind").loc[kinds] for name, part in table[table["images"] == count].groupby("method")
        }
        for method, (marker, colour) in METHODS.items():
            ax.plot(rows[method]["auroc"], places, marker, color=colour, ms=3.5, alpha=0.8, label=method)
        best, looks = rows[TOGETHER], {"color": FIRST, "ms": 6, "elinewidth": 1.5}
        ax.errorbar(best["auroc"], places, xerr=bars(best, "auroc"), fmt="o", label=TOGETHER, **looks)
        ax.plot(best["bar"], places, "|", color=INK, ms=13, mew=1.6, label="asked for")
        ax.axvline(0.5, color=QUIET, ls=":", lw=1.2)
        ax.set(xlabel="AUROC", xlim=(0.28, 1.02), ylim=(len(kinds) - 0.4, -0.6))
        ax.set_title("single images" if count == 1 else f"{count} images of each", fontsize=9)
        ax.set_yticks(places, kinds)
        ax.grid(axis="y", color=PALE, lw=0.5)
    looks = {"loc": "outside upper center", "ncols": 4, "handletextpad": 0.2, "columnspacing": 1.2}
    fig.legend(*axes[0, 0].get_legend_handles_labels(), **looks)
    return stamp(fig, text)


@styled
def coverage_of_sets(table: pd.DataFrame, text: str) -> Figure:
    """How often sets hold the true shape, how many shapes are in them, and what becomes of both under shifts.

    Left: images like those of the training, the band is one percentage point either way. Right: single images of each
    shift; rings say how often the first choice is right, over all images and over those not refused. ``table``: of
    :func:`nanoshape_lib.studies.ood.coverage_table`.
    """
    fig, (left, right) = plt.subplots(1, 2, figsize=(7.2, 3.6), width_ratios=(1, 1.45))
    usual = table[table["shift"] == "none"]
    counts = sorted(usual["images"].unique())
    for index, (method, (colour, marker)) in enumerate(SETS.items()):
        rows = usual[usual["method"] == method].set_index("images").loc[counts]
        places = np.arange(len(counts)) + 0.14 * (index - 1.5)
        spread = bars(rows, "coverage")
        left.errorbar(places, rows["coverage"], spread, fmt=marker, color=colour, label=method, capsize=2)
    left.axhspan(0.94, 0.96, color=PALE, alpha=0.6, lw=0)
    left.set_xticks(range(len(counts)), map(str, counts))
    left.set(xlabel="images of the particle", ylabel="true shape is in the set")
    left.set(xlim=(-0.5, len(counts) - 0.5), ylim=(0.9, 1.005))
    shifts = table[(table["images"] == 1) & (table["method"] == "refusing") & ~table["shift"].str.startswith("none")]
    heights = np.arange(len(shifts))
    right.barh(heights, 1 - shifts["empty"], color=PALE, label="not refused")
    right.plot(shifts["coverage"], heights, "o", color=FIRST, label="true shape is in the set")
    right.plot(shifts["accuracy"], heights, "o", mfc="none", color=QUIET, label="first choice is right")
    right.plot(shifts["accuracy_known"], heights, "o", mfc="none", color=FIRST, label="... of those not refused")
    right.set_yticks(heights, shifts["shift"])
    right.set(xlim=(0, 1.03), ylim=(len(shifts) - 0.4, -0.6))
    percent(left.yaxis, right.xaxis)
    fig.legend(*left.get_legend_handles_labels(), loc="outside upper left", ncols=2, fontsize=7)
    fig.legend(*right.get_legend_handles_labels(), loc="outside upper right", ncols=2, fontsize=7)
    return stamp(fig, text)


@styled
def overview(image: np.ndarray, pixel_size_A: float, boxes: pd.DataFrame, table: pd.DataFrame, text: str) -> Figure:
    """A micrograph (rows, columns) with a box around each particle, in the colour of its shape, and its number.

    More than 1024 pixels a side are averaged. ``boxes, table``: of
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
        words = f"{row.particle}{'' if row.known else '?'}"
        ax.text(*corner, words, color="white", fontsize=8, va="bottom", bbox={"fc": colour, "ec": "none", "pad": 1.5})
    length_A = max((each for each in SCALE_BARS_A if each <= 0.3 * wide * pixel_size_A), default=SCALE_BARS_A[0])
    scale_bar(ax, length_A / pixel_size_A, f"{length_A / 10:g} nm", halo=5)
    ax.set_axis_off()
    found = sorted({BY_TITLE[title] for title in table.loc[table["known"], "predicted"]}) if len(table) else []
    handles = [Rectangle((0, 0), 1, 1, fill=False, ec=SHAPE_COLORS[shape], lw=2, label=shape.title) for shape in found]
    if len(table) and not table["known"].all():
        handles.append(Rectangle((0, 0), 1, 1, fill=False, ec=REFUSED, lw=2, ls="--", label="refused"))
    if handles:
        fig.legend(handles=handles, loc="outside upper center", ncols=3)
    return stamp(fig, text)


def _frame(ax: plt.Axes, box: tuple, pixel_size_A: float, colour: str, style: str) -> tuple[float, float]:
    """Draw a square around a particle; its upper left corner."""
    side = (box.diameter_A + 8) / pixel_size_A  # type: ignore[attr-defined]
    corner = (box.column - side / 2, box.row - side / 2)  # type: ignore[attr-defined]
    ax.add_patch(Rectangle(corner, side, side, fill=False, ec="white", lw=3.2, ls=style, alpha=0.7))
    ax.add_patch(Rectangle(corner, side, side, fill=False, ec=colour, lw=1.8, ls=style))
    return corner


@styled
def particle_panels(crops: np.ndarray, why: Any, titles: Sequence[str], text: str) -> Figure:
    """Each particle as the network takes it, its saliency, the most similar simulation, and the best match.

    One column a particle; below the simulations the cosine between features or the normalised cross-correlation, and
    the defocus. ``crops``: images (N, 128, 128); ``why``: a :class:`nanoshape_lib.micrographs.analysis.Explanation` of
    the same particles, with best matches; ``titles``: what stands above each column.
    """
    count = len(crops)
    fig, axes = plt.subplots(4, count, figsize=(1.3 * count + 0.6, 6.0), squeeze=False)
    columns = zip(axes.T, titles, crops, why.saliency, why.similar, why.matches, strict=True)
    for column, title, image, weights, (alike, *_), match in columns:
        for ax, shown in zip(column, (image, image, alike.image, match.image), strict=True):
            ax.imshow(shown, cmap="gray", vmin=-2.5, vmax=2.5)
            ax.set(xticks=[], yticks=[])
        column[1].imshow(weights, cmap="magma", alpha=0.55 * weights, vmin=0, vmax=1)
        column[0].set_title(title, fontsize=7.5)
        column[2].set_xlabel(f"{alike.similarity:.2f}, {alike.defocus_A:.0f} Å", fontsize=7.5)
        column[3].set_xlabel(f"{match.ncc:.2f}, {match.defocus_A:.0f} Å", fontsize=7.5)
    for ax, word in zip(axes[:, 0], ("image", "saliency", "most similar", "best match"), strict=True):
        ax.set_ylabel(word, color=QUIET)
    return stamp(fig, text)


@styled
def metals_told_apart(lattices: pd.DataFrame, told: pd.DataFrame, text: str) -> Figure:
    """The lattice constant that each micrograph shows, and how well its particles together tell the metal from gold.

    Left: one marker a micrograph of :func:`nanoshape_lib.studies.micrographs.each_micrograph` with its standard
    uncertainty, full from rings and hollow from single particles; bars are the true constants. Right: of
    :func:`nanoshape_lib.studies.micrographs.told_by_count`, with 95 % intervals; the dotted line is asked for.
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
    return stamp(fig, text)
