"""Figures of notebook 09: a particle with its exit wave, and images with the classifier's outputs."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colorbar import Colorbar
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Circle, Rectangle
from matplotlib.patheffects import withStroke

from nanoshape_lib.figures.structures import blank, draw_atoms
from nanoshape_lib.figures.style import INK, PALE, QUIET, SHAPE_COLORS, styled
from nanoshape_lib.particles.shapes import GOLD_LATTICE_CONSTANT_A, Shape
from nanoshape_lib.particles.specimen import FIELD_A
from nanoshape_lib.simulation.film import CONTACT_A
from nanoshape_lib.simulation.imaging import phase_transfer
from nanoshape_lib.widgets.explorer_model import ExplorerModel, Simulated, power_spectrum

# Laboratory x to the right and the beam, +z, downwards.
SIDE_VIEW = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
GREY_DEVIATIONS = 3.0
TRANSFER, ENVELOPE = "#0072B2", "#D55E00"
SHORT = dict(zip(Shape, ("cube", "cubo", "TOh", "octa", "ico"), strict=True))
FIELD = (0.0, FIELD_A, 0.0, FIELD_A)
GOLD_111_A = GOLD_LATTICE_CONSTANT_A / np.sqrt(3)
"""Spacing of the {111} planes of gold [Å]."""


def as_grey(image: np.ndarray) -> np.ndarray:
    """Bytes (n, n), rows from top to bottom, of an image indexed [x, y]; mean ± 3 deviations fill the scale."""
    deviations = (image.T[::-1] - image.mean()) / image.std()
    return np.round(np.clip((deviations / GREY_DEVIATIONS + 1) / 2, 0, 1) * 255).astype(np.uint8)


def signed(value: float) -> str:
    """A whole number with its sign, if it has one, and a proper minus: ``"−130"``."""
    return f"{value:+.0f}".replace("-", "−") if round(value) else "0"


def _bare(ax: Axes) -> None:
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)


def _show_image(ax: Axes, image: np.ndarray, scale: bool) -> None:
    ax.imshow(as_grey(image), cmap="gray", vmin=0, vmax=255, extent=FIELD)
    _bare(ax)
    if scale:
        edge = [withStroke(linewidth=3, foreground="white")]
        ax.plot([6, 26], [7, 7], color=INK, lw=2.5, solid_capstyle="butt", path_effects=edge)
        ax.text(6, 10, "20 Å", color=INK, va="bottom", fontsize=7.5, path_effects=edge)


def _show_outputs(ax: Axes, outputs: np.ndarray, truth: Shape, names: bool) -> None:
    """Bars of the five outputs; the name of the true shape is bold."""
    ax.barh(range(len(Shape)), outputs, height=0.72, color=[SHAPE_COLORS[shape] for shape in Shape])
    ax.set(xlim=(0, 1.2 if names else 1), ylim=(len(Shape) - 0.4, -0.6), xticks=[0, 0.5, 1] if names else [])
    ax.set_yticks(list(Shape), [shape.title if names else str(int(shape)) for shape in Shape])
    ax.tick_params(axis="y", length=0)
    ax.get_yticklabels()[truth].set_fontweight("bold")
    if names:
        ax.set_xlabel("probability")
        ax.spines["bottom"].set_bounds(0, 1)
        for shape, output in zip(Shape, outputs, strict=True):
            ax.text(output + 0.02, shape, f"{100 * output:.0f} %", va="center", fontsize=8)


def _draw_particle(axes: Sequence[Axes], simulated: Simulated) -> None:
    """The particle from the side, with the film it lies on, and along the beam as the camera sees it."""
    half_width_A = FIELD_A / 2
    side, along = axes
    draw_atoms(side, simulated.atoms, SIDE_VIEW @ simulated.rotation)
    draw_atoms(along, simulated.atoms, simulated.rotation)
    for ax in axes:
        blank(ax, half_width_A)
    if simulated.film_below_A is not None:
        bottom = simulated.film_below_A
        side.add_patch(Rectangle((-half_width_A, bottom), FIELD_A, half_width_A, color=PALE, lw=0, zorder=0))
        side.text(-half_width_A + 3, bottom + CONTACT_A, "carbon", color=INK, fontsize=8)
    arrow = {"arrowstyle": "-|>", "color": INK, "lw": 1.2}
    side.annotate(
        "", (-0.88 * half_width_A, -0.95 * half_width_A), (-0.88 * half_width_A, -0.55 * half_width_A), arrowprops=arrow
    )
    side.text(-0.82 * half_width_A, -0.75 * half_width_A, "beam", va="center", color=INK, fontsize=8)
    side.set_title("from the side")
    along.set_title("along the beam")


def wave_maps(wave: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Phase [rad], relative to that of the mean, and amplitude of an exit wave, rows from bottom to top."""
    return np.angle(wave * np.exp(-1j * np.angle(wave.mean()))).T, np.abs(wave).T


def _draw_wave(axes: Sequence[Axes], wave: np.ndarray) -> None:
    phase, amplitude = wave_maps(wave)
    for ax, values, title, unit in (
        (axes[0], phase, "phase of the exit wave", "rad"),
        (axes[1], amplitude, "amplitude", "incident = 1"),
    ):
        low, high = np.quantile(values, [0.002, 0.998])
        drawn = ax.imshow(values, cmap="gray", vmin=low, vmax=high, origin="lower", extent=FIELD)
        bar: Colorbar = ax.figure.colorbar(drawn, ax=ax, location="bottom", shrink=0.85, aspect=22, pad=0.03)
        bar.set_label(unit, fontsize=8)
        bar.outline.set_visible(False)
        _bare(ax)
        ax.set_title(title)


def _particle_and_wave(fig: Figure | SubFigure, simulated: Simulated) -> None:
    axes = fig.subplots(1, 4)
    _draw_particle(axes[:2], simulated)
    _draw_wave(axes[2:], simulated.wave)


def _draw_spectrum(ax: Axes, image: np.ndarray, pixel_size_A: float) -> None:
    """Power spectrum with the ring of the {111} planes, if it lies inside the camera's band."""
    edge = 0.5 / pixel_size_A
    values = power_spectrum(image).T
    low, high = np.quantile(values, [0.05, 0.9995])
    step = 2 * edge / len(image)
    start, stop = -edge - step / 2, edge - step / 2
    ax.imshow(values, cmap="gray", vmin=low, vmax=high, origin="lower", extent=(start, stop, start, stop))
    if edge > 1 / GOLD_111_A:
        ax.add_patch(Circle((0, 0), 1 / GOLD_111_A, fill=False, ec=TRANSFER, lw=1.2))
    _bare(ax)
    ax.set_title(f"power spectrum\nup to {edge:.2g}/Å")


def _draw_transfer(ax: Axes, model: ExplorerModel) -> None:
    q = np.linspace(0, model.microscope.aperture_per_A, 400)
    transfer, envelope = phase_transfer(q, model.imaging.defocus_A, model.microscope)
    ax.plot(q, transfer, color=TRANSFER, lw=1.3)
    for sign in (1, -1):
        ax.plot(q, sign * envelope, color=ENVELOPE, lw=1, ls="--")
    ax.axvline(1 / GOLD_111_A, color=QUIET, lw=0.8, ls=":")
    ax.text(1 / GOLD_111_A - 0.02, 0.55, "{111}", ha="right", color=QUIET, fontsize=7.5)
    ax.set(xlim=(0, q[-1]), ylim=(-1.05, 1.05), yticks=[-1, 0, 1], xlabel="spatial frequency [1/Å]")
    ax.set_title("contrast transfer")


@styled
def overview(model: ExplorerModel) -> Figure:
    """What the explorer shows, in one figure.

    Parameters
    ----------
    model
        The explorer's model, with a classifier.

    Returns
    -------
    matplotlib.figure.Figure
        Above: the particle and its wave. Below: image, power spectrum, contrast transfer and probabilities.
    """
    image = model.image()
    outputs = model.outputs(image[None])
    fig = plt.figure(figsize=(7.4, 4.9))
    above, below = fig.subfigures(2, 1, height_ratios=[2.5, 2.4], squeeze=False).flat
    _particle_and_wave(above, model.simulated)
    axes = below.subplots(1, 4, width_ratios=[1, 1, 1.05, 0.75])
    _show_image(axes[0], image, scale=True)
    axes[0].set_title(f"image at {signed(model.imaging.defocus_A)} Å\n{model.imaging.dose_e_A2:.0f} e/Å²")
    _draw_spectrum(axes[1], image, model.imaging.pixel_size_A)
    _draw_transfer(axes[2], model)
    if outputs is None:
        axes[3].axis("off")
    else:
        _show_outputs(axes[3], outputs[0], model.particle.shape, names=False)
        axes[3].set_yticks(list(Shape), [SHORT[shape] for shape in Shape], fontsize=7.5)
        axes[3].set(xticks=[0, 1], xlabel="probability")
    return fig


def _image_beside_outputs(
    fig: Figure | SubFigure, image: np.ndarray, outputs: np.ndarray | None, title: str, truth: Shape
) -> None:
    left, right = fig.subplots(1, 2, width_ratios=[1, 0.9])
    _show_image(left, image, scale=True)
    left.set_title(title)
    if outputs is None:
        right.axis("off")
    else:
        _show_outputs(right, outputs, truth, names=True)
        right.set_title("probabilities")


@styled
def frame(image: np.ndarray, outputs: np.ndarray | None, title: str, truth: Shape) -> Figure:
    """One frame of a stack: an image and, beside it, the classifier's outputs.

    Parameters
    ----------
    image
        Image (n, n), indexed [x, y].
    outputs
        The classifier's outputs (5,); None leaves their place empty.
    title
        Written over the image.
    truth
        The shape whose name is set in bold.

    Returns
    -------
    matplotlib.figure.Figure
        Two panels; of the same layout whatever they show, so that frames do not jump.
    """
    fig = plt.figure(figsize=(5.8, 3.0))
    _image_beside_outputs(fig, image, outputs, title, truth)
    return fig


@styled
def images_with_outputs(
    images: Sequence[np.ndarray],
    titles: Sequence[str],
    outputs: Sequence[np.ndarray],
    truths: Sequence[Shape],
    columns: int,
) -> Figure:
    """Images with the five outputs as bars under each.

    Parameters
    ----------
    images
        Images (n, n), indexed [x, y].
    titles
        Title of each image.
    outputs
        The classifier's outputs (5,) for each image.
    truths
        The true shape of each image, whose label is set in bold.
    columns
        Images in a row.

    Returns
    -------
    matplotlib.figure.Figure
        A grid of panels and a legend of the five labels.
    """
    rows = -(-len(images) // columns)
    width = 7.4 / columns
    fig = plt.figure(figsize=(7.4, rows * (width * 1.0 + 0.95) + 0.3))
    grid = fig.add_gridspec(2 * rows, columns, height_ratios=[width, 0.6] * rows)
    for index, (image, title, truth) in enumerate(zip(images, titles, truths, strict=True)):
        row, column = divmod(index, columns)
        top = fig.add_subplot(grid[2 * row, column])
        _show_image(top, image, scale=index == 0)
        top.set_title(title, fontsize=8.5)
        _show_outputs(fig.add_subplot(grid[2 * row + 1, column]), outputs[index], truth, names=False)
    names = "   ".join(f"{int(shape)} {shape.title}" for shape in Shape)
    fig.suptitle(names, fontsize=8.5, color=QUIET)
    return fig
