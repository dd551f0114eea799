"""Figures of notebook 09: a particle with its exit wave, and its image with what a network says of it."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
from ase import Atoms
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle

from nanoshape_lib.figures.microscopy import draw_wave, scale_bar, show_image
from nanoshape_lib.figures.structures import blank, draw_atoms
from nanoshape_lib.figures.style import INK, PALE, QUIET, SHAPE_COLORS, signed, styled
from nanoshape_lib.particles.shapes import GOLD_LATTICE_CONSTANT_A, Shape
from nanoshape_lib.particles.specimen import FIELD_A
from nanoshape_lib.simulation.imaging import mtf, phase_transfer
from nanoshape_lib.simulation.optics import Camera, Microscope

# Laboratory x to the right and the beam, +z, downwards.
SIDE_VIEW = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
GOLD_111_A = GOLD_LATTICE_CONSTANT_A / np.sqrt(3)
"""Spacing of the {111} planes of gold [Å]."""
TRANSFER, ENVELOPE, CAMERA = "#0072B2", "#D55E00", "#009E73"
GREY_DEVIATIONS = 3.0


def power_spectrum(image: np.ndarray) -> np.ndarray:
    """Decadic logarithm of the power spectrum of an image (n, n) without its mean; zero frequency at [n//2, n//2]."""
    power = np.abs(np.fft.fft2(image - image.mean())) ** 2
    power[0, 0] = power[0, 1]
    return np.fft.fftshift(np.log10(power + 1e-12))


def _show_image(ax: Axes, image: np.ndarray, title: str) -> None:
    middle, half = image.mean(), GREY_DEVIATIONS * image.std()
    show_image(ax, image, middle - half, middle + half, "antialiased")
    scale_bar(ax, len(image))
    ax.set_title(title)


def _show_probabilities(ax: Axes, probabilities: Sequence[float], truth: Shape) -> None:
    ax.barh(range(len(Shape)), probabilities, height=0.72, color=[SHAPE_COLORS[shape] for shape in Shape])
    ax.set(xlim=(0, 1.25), ylim=(len(Shape) - 0.4, -0.6), xticks=[0, 0.5, 1], title="probabilities")
    ax.set_yticks(list(Shape), [shape.title.replace(" ", "\n") for shape in Shape])
    ax.tick_params(axis="y", length=0)
    ax.get_yticklabels()[truth].set_fontweight("bold")
    ax.spines["bottom"].set_bounds(0, 1)
    for shape, probability in zip(Shape, probabilities, strict=True):
        ax.text(probability + 0.02, shape, f"{100 * probability:.0f} %", va="center", fontsize=8)


def _show_spectrum(ax: Axes, image: np.ndarray, pixel_size_A: float) -> None:
    """The power spectrum with the ring of gold's {111} planes, if it lies inside the camera's band."""
    edge, values = 0.5 / pixel_size_A, power_spectrum(image)
    low, high = np.quantile(values, [0.05, 0.9995])
    show_image(ax, values, low, high, "antialiased")
    if edge > 1 / GOLD_111_A:
        radius = len(image) * pixel_size_A / GOLD_111_A
        ax.add_patch(Circle((len(image) // 2,) * 2, radius, fill=False, ec=TRANSFER, lw=1.2))
    ax.set_title(f"power spectrum up to {edge:.2g}/Å")


def _show_transfer(ax: Axes, defocus_A: float, microscope: Microscope, camera: Camera) -> None:
    q = np.linspace(0, microscope.aperture_per_A, 400)
    transfer, envelope = phase_transfer(q, defocus_A, microscope)
    # In one direction, along the pixels' rows: a pixel integrates over its width.
    seen = mtf(camera, torch.as_tensor(q)).numpy() * np.abs(np.sinc(q * camera.pixel_size_A))
    ax.plot(q, transfer, color=TRANSFER, lw=1.3)
    ax.plot(q, np.stack([envelope, -envelope], axis=1), color=ENVELOPE, lw=1, ls="--")
    ax.plot(q, seen, color=CAMERA, lw=1.2, ls=":")
    marks = (("{111}", 1 / GOLD_111_A, -0.01, "right"), ("Nyquist", 0.5 / camera.pixel_size_A, 0.01, "left"))
    for name, place, beside, side in marks:
        if place < q[-1]:
            ax.axvline(place, color=QUIET, lw=0.8, ls=":")
            ax.text(place + beside, 0.55, name, ha=side, color=QUIET, fontsize=7.5)
    ax.set(xlim=(0, q[-1]), ylim=(-1.05, 1.05), yticks=[-1, 0, 1], xlabel="spatial frequency (1/Å)")
    ax.set_title("contrast transfer")


@styled
def particle_and_wave(atoms: Atoms, rotation: np.ndarray, film_below_A: float | None, wave: np.ndarray) -> Figure:
    """A particle from the side, with the film that ends so far below its middle, and along the beam; its exit wave."""
    fig, (side, along, *maps) = plt.subplots(1, 4, figsize=(9.6, 2.6), width_ratios=[1, 1, 1.2, 1.2])
    half_width_A = FIELD_A / 2
    for ax, view, title in ((side, SIDE_VIEW, "from the side"), (along, np.eye(3), "along the beam")):
        draw_atoms(ax, atoms, view @ rotation)
        blank(ax, half_width_A)
        ax.set_title(title)
    if film_below_A is not None:
        side.add_patch(Rectangle((-half_width_A, film_below_A), FIELD_A, half_width_A, color=PALE, lw=0, zorder=0))
        side.text(-half_width_A + 3, film_below_A + 3, "carbon", color=INK, fontsize=8)
    ends = [(-0.88 * half_width_A, share * half_width_A) for share in (-0.95, -0.55)]
    side.annotate("", *ends, arrowprops={"arrowstyle": "-|>", "color": INK, "lw": 1.2})
    side.text(-0.82 * half_width_A, -0.75 * half_width_A, "beam", va="center", color=INK, fontsize=8)
    draw_wave(maps, wave)
    return fig


@styled
def image_and_answer(
    image: np.ndarray,
    probabilities: Sequence[float],
    truth: Shape,
    defocus_A: float,
    microscope: Microscope,
    camera: Camera,
) -> Figure:
    """An image, its power spectrum, the contrast transfer that made it, and the five probabilities."""
    fig = plt.figure(figsize=(9.6, 2.9), layout="none")  # laid out by hand, which halves the time
    axes = [fig.add_axes((x, 0.18, w, 0.72)) for x, w in ((0.005, 0.22), (0.235, 0.22), (0.49, 0.25), (0.86, 0.13))]
    _show_image(axes[0], image, f"image at {signed(defocus_A)} Å, {camera.dose_e_A2:.0f} e/Å²")
    _show_spectrum(axes[1], image, camera.pixel_size_A)
    _show_transfer(axes[2], defocus_A, microscope, camera)
    _show_probabilities(axes[3], probabilities, truth)
    return fig


@styled
def frame(image: np.ndarray, probabilities: Sequence[float], truth: Shape, title: str) -> Figure:
    """An image and the five probabilities, laid out the same whatever they are."""
    sides = {"left": 0.01, "right": 0.97, "bottom": 0.16, "top": 0.9, "wspace": 0.5, "width_ratios": [1, 0.6]}
    fig, (left, right) = plt.subplots(1, 2, figsize=(5.8, 3.0), layout="none", gridspec_kw=sides)
    _show_image(left, image, title)
    _show_probabilities(right, probabilities, truth)
    return fig
