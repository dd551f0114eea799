"""Figures about networks at other settings of the microscope, trained with and without them, and on other specimens."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from nanoshape_lib.figures.style import PALE, QUIET, stamp, styled
from nanoshape_lib.particles.shapes import Shape

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
# The same, and the usual value in the table's unit.
SPECIMEN_PANELS: dict[str, tuple[str, str, float, float]] = {
    "temperature_K": ("temperature", "K", 1, 300),
    "strain": ("strain", "%", 100, 0),
    "film_A": ("thickness of the film", "Å", 1, 30),
}
LOOKS = (("#9d7fd1", "s", "--"), ("#4b2991", "o", "-"))


@styled
def transfer_curves(table: pd.DataFrame, ranges: Mapping[str, tuple[float, float]], text: str) -> Figure:
    """Accuracy against each setting of the microscope, before and after training with ranges.

    One panel a setting, all else as in the design. Bands are group-bootstrap intervals; the grey bar at the bottom is
    the range of the training. ``table``: columns as of :func:`nanoshape_lib.studies.robustness.accuracies`, for two
    networks at most; ``ranges``: lowest and highest value of each setting that the second network was trained with.
    """
    shown = [name for name in PANELS if (table["setting"] == name).any()]
    columns = min(3, len(shown))
    fig, axes = plt.subplots(
        -(-len(shown) // columns),
        columns,
        figsize=(7.2, 2.1 * -(-len(shown) // columns) + 0.5),
        sharey=True,
        squeeze=False,
    )
    lowest = table["low"].min()
    for ax, name in zip(axes.flat, shown, strict=False):
        title, unit, factor = PANELS[name]
        _panel(ax, table[table["setting"] == name], factor)
        ax.axvspan(*(factor * np.array(ranges[name])), ymax=0.035, color=QUIET, lw=0)
        ax.set_xlabel(f"{title} [{unit}]")
        if name == "dose_e_A2":
            ax.set_xscale("log")
            ax.set_xticks([30, 100, 300, 1000, 3000], ["30", "100", "300", "1000", "3000"], minor=False)
            ax.tick_params(axis="x", which="minor", length=0)
        ax.set_ylim(max(0.0, lowest - 0.06), 1.015)
        if lowest < 1 / len(Shape):
            ax.axhline(1 / len(Shape), color=QUIET, ls=":", lw=1)
    for ax in axes.flat[len(shown) :]:
        ax.axis("off")
    for ax in axes[:, 0]:
        ax.set_ylabel("accuracy")
        ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    handles, labels = axes.flat[0].get_legend_handles_labels()
    bar = plt.Rectangle((0, 0), 1, 1, color=QUIET, lw=0)
    fig.legend([*handles, bar], [*labels, "range of the training"], loc="outside upper center", ncols=3)
    stamp(fig, text)
    return fig


def _panel(ax: Axes, rows: pd.DataFrame, factor: float) -> None:
    """Accuracy of each network, with its band."""
    for network, (colour, marker, line) in zip(rows["network"].unique(), LOOKS, strict=False):
        part = rows[rows["network"] == network].sort_values("value")
        value = factor * part["value"]
        ax.fill_between(value, part["low"], part["high"], color=colour, alpha=0.25, lw=0)
        ax.plot(value, part["accuracy"], marker + line, color=colour, ms=3.5, lw=1.3, label=network)


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
            spread = [rows["accuracy"] - rows["low"], rows["high"] - rows["accuracy"]]
            label = "all ranges" if whole else "without this range"
            ax.errorbar(rows["accuracy"], place + shift, xerr=spread, fmt=marker, color=colour, ms=4, label=label)
        ax.xaxis.set_major_formatter(PercentFormatter(1))
        ax.grid(axis="y", color=PALE, lw=0.5)
        ax.tick_params(axis="y", length=0)
    axes[0].set_yticks(place, [label for label, _ in labels])
    axes[0].invert_yaxis()
    axes[0].set_xlabel("accuracy, all else as in the design")
    axes[1].set_xlabel("accuracy at random settings")
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    stamp(fig, text)
    return fig


@styled
def specimen_curves(table: pd.DataFrame, text: str) -> Figure:
    """Right first choices and refusals against temperature, strain and thickness of the film.

    One panel a quantity. Full markers: share of right first choices; hollow: of refusals. Bars are their intervals; the
    dotted line is the usual specimen. ``table``: table ``specimens`` of two networks, see
    :func:`nanoshape_lib.studies.robustness.specimens`.
    """
    fig, axes = plt.subplots(1, len(SPECIMEN_PANELS), figsize=(7.2, 2.8), sharey=True)
    for ax, (quantity, (title, unit, factor, usual)) in zip(axes, SPECIMEN_PANELS.items(), strict=True):
        ax.axvline(factor * usual, color=QUIET, ls=":", lw=1)
        for network, (colour, marker, line) in zip(table["network"].unique(), LOOKS, strict=False):
            rows = table[(table["network"] == network) & (table["quantity"] == quantity)]
            for share, words, fill in (("accuracy", "first choice right", colour), ("refused", "refused", "white")):
                spread = [rows[share] - rows[f"{share}_low"], rows[f"{share}_high"] - rows[share]]
                looks = {"fmt": marker + line, "color": colour, "mfc": fill, "ms": 3.5, "lw": 1.2, "elinewidth": 1}
                ax.errorbar(factor * rows["value"], rows[share], spread, label=f"{network}, {words}", **looks)
        ax.set_xlabel(f"{title} [{unit}]")
    axes[0].set_ylabel("share of particles")
    axes[0].yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes[0].set_ylim(-0.03, 1.03)
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    stamp(fig, text)
    return fig
