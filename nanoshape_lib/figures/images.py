"""Figures of notebooks 07 and 08: galleries of images with the classifier's outputs, and where its failures lie."""

from collections.abc import Iterable, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from torch import Tensor

from nanoshape_lib.figures.orientations import draw_sector, equal_area
from nanoshape_lib.figures.style import INK, PALE, QUIET, SHAPE_COLORS, stamp, styled
from nanoshape_lib.networks.evaluation import PROBABILITIES
from nanoshape_lib.particles.orientation import reduce, sector_corners
from nanoshape_lib.particles.shapes import Shape

COLUMNS = 6
CELL_IN = 1.19
SHORT = {shape: shape.title for shape in Shape} | {Shape.TRUNCATED_OCTAHEDRON: "TOh"}


@styled
def prediction_gallery(images: Tensor, predictions: pd.DataFrame, text: str) -> Figure:
    """Figure S3: images with the five outputs of the classifier as bars and the predicted shape below.

    Parameters
    ----------
    images
        Standardised images (N, pixels, pixels).
    predictions
        Their rows from :func:`nanoshape_lib.networks.evaluation.predictions_table`.
    text
        The profile's stamp.

    Returns
    -------
    matplotlib.figure.Figure
        Six images a row; TOh is the truncated octahedron, and a wrong prediction says so.
    """
    answers = [
        SHORT[Shape(predicted)] + ("" if predicted == label else "\n(wrong)")
        for predicted, label in predictions[["predicted", "label"]].to_numpy(int).tolist()
    ]
    shares, labels = predictions[PROBABILITIES].to_numpy(), predictions["label"].tolist()
    return _gallery(images.float().numpy(), shares, labels, answers, text, COLUMNS)


@styled
def failure_gallery(images: Tensor, predictions: pd.DataFrame, text: str) -> Figure:
    """Figure S4: misclassified images with the five outputs, the predicted and the expected shape.

    Parameters
    ----------
    images
        Standardised images (N, pixels, pixels); N may be zero.
    predictions
        Their rows from :func:`nanoshape_lib.networks.evaluation.predictions_table`.
    text
        The profile's stamp, and how many failures there are.

    Returns
    -------
    matplotlib.figure.Figure
        Six images a row; the black frame is round the bar of the expected shape.
    """
    if predictions.empty:
        fig, ax = plt.subplots(figsize=(7.2, 1.0))
        ax.text(0.5, 0.5, "no test image was misclassified", ha="center", va="center")
        ax.axis("off")
        stamp(fig, text)
        return fig
    answers = [
        f"{SHORT[Shape(predicted)]}\nexpected\n{SHORT[Shape(label)]}"
        for predicted, label in predictions[["predicted", "label"]].to_numpy(int).tolist()
    ]
    shares, labels = predictions[PROBABILITIES].to_numpy(), predictions["label"].tolist()
    return _gallery(images.float().numpy(), shares, labels, answers, text, COLUMNS)


@styled
def failure_sectors(predictions: pd.DataFrame, text: str) -> Figure:
    """Where on the symmetry-reduced sphere of beam directions the failures lie.

    Parameters
    ----------
    predictions
        From :func:`nanoshape_lib.networks.evaluation.predictions_table`, with beam_x, beam_y and beam_z.
    text
        The profile's stamp.

    Returns
    -------
    matplotlib.figure.Figure
        One triangle a shape; every exit wave is a point, the larger and darker the more of its images fail.
    """
    fig, axes = plt.subplots(2, 3, figsize=(7.2, 4.4))
    waves = predictions.groupby("group").agg(
        {"label": "first", "beam_x": "first", "beam_y": "first", "beam_z": "first", "correct": "mean"}
    )
    for ax, shape in zip(axes.flat, Shape, strict=False):
        draw_sector(ax, shape)
        chosen = waves[waves["label"] == shape].sort_values("correct", ascending=False)
        failing = 1 - chosen["correct"].to_numpy()
        few = min(8.0, 400 / max(len(chosen), 1))  # many points that never fail must not hide those that do
        points = equal_area(reduce(chosen[["beam_x", "beam_y", "beam_z"]].to_numpy(), shape), sector_corners(shape))
        drawn = ax.scatter(
            *points.T,
            s=np.where(failing > 0, 8, few) + 34 * failing,
            c=failing,
            cmap="magma_r",
            vmin=-0.15,
            vmax=1.0,
            ec=INK,
            lw=few / 25,
            zorder=3,
        )
        share = f"{100 * failing.mean():.3g} % of images fail" if len(chosen) else "not in this test set"
        ax.set_title(f"{shape.title}\n{len(chosen)} waves, {share}", fontsize=8.5)
    axes.flat[-1].axis("off")
    inset = axes.flat[-1].inset_axes((0.1, 0.55, 0.8, 0.08))
    bar = fig.colorbar(
        drawn, cax=inset, orientation="horizontal", format=PercentFormatter(1), boundaries=np.linspace(0, 1, 200)
    )
    bar.set_ticks([0, 0.5, 1])
    bar.set_label("failed images of the focal series")
    stamp(fig, text)
    return fig


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
    shares: Iterable[np.ndarray],
    labels: Sequence[int],
    answers: Sequence[str],
    text: str,
    columns: int,
) -> Figure:
    """Images in rows, each with its bars and its answer below; laid out by hand, which is fast."""
    rows = -(-len(answers) // columns)
    lines = max(answer.count("\n") for answer in answers) + 1
    picture, bars, words, foot = 1.12, 0.36, 0.26 + 0.13 * lines, 0.26  # heights in inches
    height = rows * (picture + bars + words) + foot
    fig = plt.figure(figsize=(columns * CELL_IN, height), layout="none")
    colours = [SHAPE_COLORS[shape] for shape in Shape]
    for index, (image, heights, answer, label) in enumerate(zip(images, shares, answers, labels, strict=True)):
        row, column = divmod(index, columns)
        left, top = (column + 0.03) / columns, 1 - row * (picture + bars + words) / height
        ax = fig.add_axes((left, top - picture / height, 0.94 / columns, picture / height))
        low, high = np.quantile(image, [0.005, 0.995])
        ax.imshow(image, vmin=low, vmax=high, interpolation="antialiased")
        ax.axis("off")
        ax = fig.add_axes((left, top - (picture + bars) / height, 0.94 / columns, (bars - 0.04) / height))
        edges = [INK if shape == label else "none" for shape in Shape]
        ax.bar(range(len(Shape)), heights, color=colours, ec=edges, lw=0.9, width=0.8)
        ax.set(xlim=(-0.6, 4.6), ylim=(0, 1.04), yticks=[])
        ax.set_xticks(range(len(Shape)))
        ax.tick_params(axis="x", length=0, pad=1.5, labelsize=6.5, colors=QUIET)
        ax.spines["left"].set_visible(False)
        ax.spines["bottom"].set_color(PALE)
        ax.text(0.5, -0.5, answer, transform=ax.transAxes, ha="center", va="top", fontsize=7.5, linespacing=1.15)
    stamp(fig, text)
    return fig
