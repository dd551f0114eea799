"""Figures of notebooks 05 to 08: learning curves, confusion, calibration, galleries of images, where failures lie."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter
from torch import Tensor

from nanoshape_lib.figures.structures import draw_sector, equal_area
from nanoshape_lib.figures.style import INK, PALE, QUIET, SHAPE_COLORS, bars, percent, stamp, styled
from nanoshape_lib.networks.evaluation import BEAM, PROBABILITIES
from nanoshape_lib.networks.models import ARCHITECTURES, Architecture
from nanoshape_lib.particles.orientation import reduce, sector_corners
from nanoshape_lib.particles.shapes import Shape

CHANCE = 1 / len(Shape)
HIGH = 0.8
FIRST, SECOND = "#4b2991", "#9d7fd1"  # no shape has these colours

# Colour, marker and line; the more blocks, the darker.
ARCHITECTURE_LOOKS: dict[Architecture, tuple[str, str, str]] = {
    "cnn4": ("#b9a6dd", "o", "-"),
    "cnn5": ("#8560c4", "s", "-"),
    "cnn6": ("#4b2991", "^", "-"),
    "resnet34": (INK, "D", "--"),
}


def _chance_line(ax: Axes) -> None:
    ax.axhline(CHANCE, color=QUIET, ls=":", lw=1.2)
    ax.annotate("chance", (1, CHANCE), xycoords=("axes fraction", "data"), ha="right", va="bottom", color=QUIET)


def _size_axis(ax: Axes, images: np.ndarray) -> None:
    ax.set_xscale("log")
    ax.set_xticks(images, [f"{count:,}" for count in images])
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.tick_params(axis="x", which="minor", length=0)
    ax.set(xlabel="training images", xlim=(images.min() / 1.45, images.max() * 1.45))


@styled
def learning_curves(table: pd.DataFrame, text: str) -> Figure:
    """Figure S1: test accuracy against the number of images (left) and exit waves (right), for each architecture.

    Points are trainings, set slightly apart, with their group-bootstrap intervals; lines join the means. ``table``: of
    :func:`nanoshape_lib.studies.trainings.architecture_study`.
    """
    fig, (left, right) = plt.subplots(1, 2, figsize=(7.2, 3.7), sharey=True, width_ratios=(1.5, 1))
    names = table["architecture"].unique()
    for position, name in enumerate(names):
        colour, marker, line = ARCHITECTURE_LOOKS[name]
        rows = table[table["architecture"] == name]
        means = rows.groupby("train_images")[["train_waves", "test_accuracy"]].mean()
        shift = 1.07 ** (position - (len(names) - 1) / 2)
        left.plot(means.index * shift, means["test_accuracy"], line, color=colour)
        right.plot(means["train_waves"], means["test_accuracy"], line, color=colour, marker=marker)
        spread = 1.015 ** (rows["seed"] - rows["seed"].mean())
        lengths, looks = bars(rows, "test_accuracy", "test_low", "test_high"), {"color": colour, "elinewidth": 0.8}
        places, label = rows["train_images"] * shift * spread, ARCHITECTURES[name]
        left.errorbar(places, rows["test_accuracy"], lengths, fmt=marker, label=label, **looks)
    _size_axis(left, table["train_images"].unique())
    _size_axis(right, table["train_waves"].unique())
    right.set_xlabel("training exit waves")
    left.set_ylabel("accuracy on test images")
    percent(left.yaxis)
    left.set_ylim(min(0.15, table["test_low"].min() - 0.02), min(1.01, table["test_high"].max() + 0.03))
    for ax in (left, right):
        _chance_line(ax)
    fig.legend(loc="outside upper center", ncols=4, handletextpad=0.1, columnspacing=1.2)
    return stamp(fig, text)


@styled
def paired_differences(differences: pd.DataFrame, text: str) -> Figure:
    """Differences in accuracy between pairs of architectures, with their intervals, one panel a pair.

    Above zero the first is better. ``differences``: of
    :func:`nanoshape_lib.studies.trainings.architecture_differences`.
    """
    pairs: Any = differences.groupby(["first", "second"], sort=False)
    fig, axes = plt.subplots(1, len(pairs), figsize=(7.2, 2.7), sharey=True, squeeze=False)
    for ax, (names, rows) in zip(axes.flat, pairs, strict=True):
        colour, marker, _ = ARCHITECTURE_LOOKS[names[0]]
        lengths, looks = 100 * bars(rows, "difference"), {"color": colour, "capsize": 3, "elinewidth": 1.2}
        ax.axhline(0, color=INK, lw=0.8)
        ax.errorbar(rows["train_images"], 100 * rows["difference"], lengths, fmt=marker, **looks)
        ax.set_title(" minus ".join(ARCHITECTURES[name].removeprefix("plain CNN, ") for name in names))
        _size_axis(ax, rows["train_images"].to_numpy())
    axes[0, 0].set_ylabel("difference in accuracy\n[percentage points]")
    return stamp(fig, text)


@styled
def confusion_grid(matrices: Mapping[str, np.ndarray], text: str) -> Figure:
    """Figure S2b: confusion matrices, shares (5, 5) of each true shape by title, in percent; two panels a row."""
    columns = min(2, len(matrices))
    rows = -(-len(matrices) // columns)
    fig, axes = plt.subplots(rows, columns, figsize=(3.6 * columns, 3.5 * rows + 0.3), squeeze=False)
    short = ["cube", "cubo-\noctahedron", "TOh", "octa-\nhedron", "icosa-\nhedron"]
    for ax, (title, matrix) in zip(axes.flat, matrices.items(), strict=False):
        looks = {"cmap": sns.light_palette(FIRST, as_cmap=True), "cbar": False, "square": True, "linewidths": 1}
        labels = {"annot": True, "fmt": ".0f", "xticklabels": short, "yticklabels": short}
        sns.heatmap(100 * matrix, vmin=0, vmax=100, ax=ax, **looks, **labels)
        ax.tick_params(length=0, labelsize=7, rotation=0)
        ax.set_title(title, fontsize=9)
        ax.set(xlabel="predicted shape", ylabel="true shape")
    for ax in axes.flat[len(matrices) :]:
        ax.axis("off")
    return stamp(fig, text)


@styled
def accuracy_panels(panels: Mapping[str, pd.DataFrame], text: str) -> Figure:
    """Accuracy against properties of the image, with group-bootstrap intervals, one panel a property.

    Where every accuracy is high, the axis begins at the last 5 % below them. ``panels``: tables of
    :func:`nanoshape_lib.networks.evaluation.accuracy_by`, by the label of the horizontal axis.
    """
    fig, axes = plt.subplots(1, len(panels), figsize=(7.2, 2.9), sharey=True, squeeze=False)
    lowest = min(table["low"].min() for table in panels.values())
    bottom, top = (0.0, 1.02) if lowest < HIGH else (np.floor(20 * lowest) / 20, 1.001)
    for ax, (label, table) in zip(axes.flat, panels.items(), strict=True):
        ax.fill_between(table["value"], table["low"], table["high"], color=SECOND, alpha=0.25, lw=0)
        ax.plot(table["value"], table["accuracy"], "o-", color=FIRST, ms=4)
        if bottom < CHANCE:
            _chance_line(ax)
        ax.set(xlabel=label, ylim=(bottom, top))
    axes[0, 0].set_ylabel("accuracy")
    percent(axes[0, 0].yaxis, decimals=None)
    return stamp(fig, text)


@styled
def reliability_diagram(curves: Mapping[str, pd.DataFrame], text: str) -> Figure:
    """Accuracy against confidence, on the diagonal if calibrated; below, the share of images in each bin.

    ``curves``: two tables of :func:`nanoshape_lib.networks.evaluation.reliability`, by the entry of the legend.
    """
    fig, (top, bottom) = plt.subplots(2, 1, figsize=(5.4, 5.0), sharex=True, height_ratios=(3, 1))
    top.plot([0, 1], [0, 1], color=QUIET, ls=":", lw=1.2)
    looks = ((PALE, "s", "--", QUIET), (FIRST, "o", "-", FIRST))
    for (name, table), (fill, marker, line, colour) in zip(curves.items(), looks, strict=False):
        top.plot(table["confidence"], table["accuracy"], marker + line, color=colour, label=name)
        share = table["images"] / table["images"].sum()
        bottom.plot(table["confidence"], share, marker + line, color=colour, mfc=fill)
    top.set(ylabel="accuracy", xlim=(0, 1.02), ylim=(0, 1.02))
    fig.legend(loc="outside upper center", ncols=2)
    bottom.set(xlabel="confidence (the highest of the five probabilities)", ylabel="images", ylim=(0, None))
    percent(top.xaxis, top.yaxis, bottom.xaxis, bottom.yaxis)
    return stamp(fig, text)


@styled
def training_history(history: pd.DataFrame, best_epoch: int, text: str) -> Figure:
    """Cross-entropy and validation accuracy over the epochs of a card's history; the line is the epoch that is kept."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(7.2, 2.9))
    marker = "o" if len(history) <= 20 else ""
    left.plot(history["epoch"], history["train_loss"], marker=marker, ls="--", color=SECOND, label="training")
    left.plot(history["epoch"], history["validation_loss"], marker=marker, color=FIRST, label="validation")
    left.axhline(np.log(len(Shape)), color=QUIET, ls=":", lw=1.2, label="guessing")
    left.set(ylabel="cross-entropy", ylim=(0, None))
    left.legend()
    right.plot(history["epoch"], history["validation_accuracy"], marker=marker, color=FIRST)
    right.set(ylabel="validation accuracy", ylim=(0, 1.02))
    percent(right.yaxis)
    _chance_line(right)
    for ax in (left, right):
        ax.axvline(best_epoch, color=QUIET, lw=0.8)
        ax.set(xlabel="epoch", xlim=(0.5, len(history) + 0.5))
        ax.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
    return stamp(fig, text)


COLUMNS = 6
CELL_IN = 1.19
SHORT = {shape: shape.title for shape in Shape} | {Shape.TRUNCATED_OCTAHEDRON: "TOh"}


@styled
def prediction_gallery(images: Tensor, predictions: pd.DataFrame, text: str) -> Figure:
    """Figure S3: images with the five outputs of the classifier as bars and the predicted shape below.

    TOh is the truncated octahedron. ``images``: standardised images (N, pixels, pixels); ``predictions``: their rows of
    :func:`nanoshape_lib.networks.evaluation.predictions_table`.
    """
    return _predictions(images, predictions, "{predicted}", "{predicted}\n(wrong)", text)


@styled
def failure_gallery(images: Tensor, predictions: pd.DataFrame, text: str) -> Figure:
    """Figure S4: misclassified images with the five outputs, the predicted and the expected shape.

    The black frame is round the bar of the expected shape. ``images``: standardised images (N, pixels, pixels), of
    which there may be none; ``predictions``: their rows of
    :func:`nanoshape_lib.networks.evaluation.predictions_table`.
    """
    if predictions.empty:
        fig, ax = plt.subplots(figsize=(7.2, 1.0))
        ax.text(0.5, 0.5, "no test image was misclassified", ha="center", va="center")
        ax.axis("off")
        return stamp(fig, text)
    words = "{predicted}\nexpected\n{label}"
    return _predictions(images, predictions, words, words, text)


def _predictions(images: Tensor, predictions: pd.DataFrame, right: str, wrong: str, text: str) -> Figure:
    """A gallery of images with the words for right and for wrong predictions, filled in with the shapes."""
    answers = [
        (right if predicted == label else wrong).format(predicted=SHORT[Shape(predicted)], label=SHORT[Shape(label)])
        for predicted, label in predictions[["predicted", "label"]].to_numpy(int).tolist()
    ]
    shares, labels = predictions[PROBABILITIES].to_numpy(), predictions["label"].tolist()
    return _gallery(images.float().numpy(), shares, labels, answers, text, COLUMNS)


@styled
def failure_sectors(predictions: pd.DataFrame, text: str) -> Figure:
    """Where on the symmetry-reduced sphere of beam directions the failures lie, one triangle a shape.

    Every exit wave is a point, the larger and darker the more of its images fail. ``predictions``: of
    :func:`nanoshape_lib.networks.evaluation.predictions_table`, with the beam directions.
    """
    fig, axes = plt.subplots(2, 3, figsize=(7.2, 4.4))
    waves = predictions.groupby("group").agg(dict.fromkeys(["label", *BEAM], "first") | {"correct": "mean"})
    for ax, shape in zip(axes.flat, Shape, strict=False):
        draw_sector(ax, shape)
        chosen = waves[waves["label"] == shape].sort_values("correct", ascending=False)
        failing = 1 - chosen["correct"].to_numpy()
        few = min(8.0, 400 / max(len(chosen), 1))  # many points that never fail must not hide those that do
        points = equal_area(reduce(chosen[BEAM].to_numpy(), shape), sector_corners(shape))
        areas, looks = np.where(failing > 0, 8, few) + 34 * failing, {"cmap": "magma_r", "vmin": -0.15, "vmax": 1.0}
        drawn = ax.scatter(*points.T, s=areas, c=failing, ec=INK, lw=few / 25, zorder=3, **looks)
        share = f"{100 * failing.mean():.3g} % of images fail" if len(chosen) else "not in this test set"
        ax.set_title(f"{shape.title}\n{len(chosen)} waves, {share}", fontsize=8.5)
    axes.flat[-1].axis("off")
    inset = axes.flat[-1].inset_axes((0.1, 0.55, 0.8, 0.08))
    bar = fig.colorbar(drawn, cax=inset, orientation="horizontal", boundaries=np.linspace(0, 1, 200), ticks=[0, 0.5, 1])
    percent(bar.ax.xaxis)
    bar.set_label("failed images of the focal series")
    return stamp(fig, text)


@styled
def image_gallery(
    images: Iterable[np.ndarray],
    probabilities: Iterable[np.ndarray],
    labels: Sequence[int],
    words: Sequence[str],
    text: str,
    columns: int = COLUMNS,
) -> Figure:
    """Images (N, n, n), indexed [x, y], with the five probabilities (N, 5) as bars and some words below each."""
    return _gallery([image.T[::-1] for image in images], probabilities, labels, words, text, columns)


def _gallery(
    images: Iterable[np.ndarray],
    shares: Iterable,
    labels: Sequence[int],
    answers: Sequence[str],
    text: str,
    columns: int,
) -> Figure:
    """Images in rows, each with its bars and its answer below; laid out by hand, which is fast."""
    rows = -(-len(answers) // columns)
    lines = max(answer.count("\n") for answer in answers) + 1
    picture, outputs, words, foot = 1.12, 0.36, 0.26 + 0.13 * lines, 0.26  # heights in inches
    height = rows * (picture + outputs + words) + foot
    fig = plt.figure(figsize=(columns * CELL_IN, height), layout="none")
    colours = [SHAPE_COLORS[shape] for shape in Shape]
    for index, (image, heights, answer, label) in enumerate(zip(images, shares, answers, labels, strict=True)):
        row, column = divmod(index, columns)
        left, top = (column + 0.03) / columns, 1 - row * (picture + outputs + words) / height
        ax = fig.add_axes((left, top - picture / height, 0.94 / columns, picture / height))
        low, high = np.quantile(image, [0.005, 0.995])
        ax.imshow(image, vmin=low, vmax=high, interpolation="antialiased")
        ax.axis("off")
        ax = fig.add_axes((left, top - (picture + outputs) / height, 0.94 / columns, (outputs - 0.04) / height))
        edges = [INK if shape == label else "none" for shape in Shape]
        ax.bar(range(len(Shape)), heights, color=colours, ec=edges, lw=0.9, width=0.8)
        ax.set(xlim=(-0.6, 4.6), ylim=(0, 1.04), xticks=range(len(Shape)), yticks=[])
        ax.tick_params(axis="x", length=0, pad=1.5, labelsize=6.5, colors=QUIET)
        ax.spines["left"].set_visible(False)
        ax.spines["bottom"].set_color(PALE)
        ax.text(0.5, -0.5, answer, transform=ax.transAxes, ha="center", va="top", fontsize=7.5, linespacing=1.15)
    return stamp(fig, text)
