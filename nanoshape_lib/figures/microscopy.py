"""Figures of notebooks 03 and 11: carbon, scene, exit wave, transfer, focal series, coherence, camera, convergence."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from ase import Atoms
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, PercentFormatter

from nanoshape_lib.figures.style import INK, PALE, QUIET, SHAPE_COLORS, stamp, styled
from nanoshape_lib.particles.shapes import Shape
from nanoshape_lib.particles.specimen import FIELD_A
from nanoshape_lib.simulation.film import Scene
from nanoshape_lib.simulation.imaging import mtf, phase_transfer
from nanoshape_lib.simulation.optics import Camera, Microscope

CARBON_COLOUR = "#5b5b5b"
GENERAL, ZONE_AXIS, THIRD = "#4b2991", "#c0392b", "#00796b"
SLICE_MARKERS = {4.0: "s", 3.0: "^", 2.0: "o", 1.0: "D", 0.5: "v"}


def show_image(
    ax: Axes, image: np.ndarray, low: float | None = None, high: float | None = None, interpolation: str = "nearest"
) -> None:
    """A square field ``image[x, y]`` in grey, x to the right and y upwards, without axes."""
    ax.imshow(image.T, origin="lower", cmap="gray", vmin=low, vmax=high, interpolation=interpolation)
    ax.set_axis_off()


def scale_bar(ax: Axes, pixels: int) -> None:
    """A white bar 2 nm long in the lower left corner of an image of the whole field."""
    start, height = 0.05 * pixels, 0.06 * pixels
    ax.plot([start, start + 20 / FIELD_A * pixels], [height, height], color="white", lw=2.5)


@styled
def carbon_blocks(curves: Sequence[tuple[np.ndarray, np.ndarray]], block: Atoms) -> Figure:
    """Radial distribution functions (r, g) of the blocks, and a 4 Å slice through one of them."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(7.2, 3.1), width_ratios=(1.5, 1))
    for r, g in curves:
        left.plot(r, g, color=CARBON_COLOUR, lw=0.8, alpha=0.7)
    left.axvspan(1.40, 1.55, color=PALE, zorder=0)
    left.axhline(1, color=QUIET, ls=":", lw=1)
    left.set(xlabel="distance r (Å)", ylabel="g(r)", xlim=(1, 6), ylim=(0, None))
    positions = block.positions
    inside = (positions[:, 2] < 4) & (positions[:, :2] < 40).all(axis=1)
    right.scatter(*positions[inside, :2].T, s=14, color=CARBON_COLOUR, edgecolors="none")
    right.set(xlabel="x (Å)", ylabel="y (Å)", aspect="equal", xlim=(0, 40), ylim=(0, 40))
    return fig


@styled
def scene_from_the_side(scene: Scene) -> Figure:
    """Film and particle in a 20 Å thick section, the beam running upwards, with the mid-plane of zero defocus."""
    fig, ax = plt.subplots(figsize=(7.2, 4.6))
    atoms = scene.atoms()
    near = np.abs(atoms.positions[:, 1] - scene.particle.positions[:, 1].mean()) < 10
    gold = atoms.numbers == 79
    shape = Shape(scene.particle.info["shape"])
    for chosen, colour, size in ((near & ~gold, CARBON_COLOUR, 2.0), (near & gold, SHAPE_COLORS[shape], 9.0)):
        ax.scatter(atoms.positions[chosen, 0], atoms.positions[chosen, 2], s=size, color=colour, edgecolors="none")
    ax.axhline(scene.mid_plane_A, color=INK, lw=1, ls="--")
    ax.annotate("defocus 0", (3, scene.mid_plane_A), va="bottom")
    ax.annotate(
        "", (9, -scene.film_thickness_A - 2), (9, -scene.film_thickness_A - 16), arrowprops={"arrowstyle": "->"}
    )
    ax.annotate("beam", (12, -scene.film_thickness_A - 11), color=INK)
    low = -scene.film_thickness_A - 17
    ax.set(xlabel="x (Å)", ylabel="z (Å)", aspect="equal", xlim=(0, FIELD_A), ylim=(low, None))
    return fig


@styled
def exit_wave_views(wave: np.ndarray) -> Figure:
    """Amplitude and phase [rad] of an exit wave ``wave[x, y]``."""
    fig, axes = plt.subplots(1, 2, figsize=(7.2, 3.4))
    draw_wave(axes, wave)
    return fig


def wave_maps(wave: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Amplitude of an exit wave, and its phase [rad] relative to that of its mean."""
    return np.abs(wave), np.angle(wave * np.exp(-1j * np.angle(wave.mean())))


def draw_wave(axes: Sequence[Axes], wave: np.ndarray) -> None:
    """Amplitude and phase of an exit wave ``wave[x, y]`` in two panels."""
    looks = (("gray", "amplitude"), ("magma", "phase (rad)"))
    for ax, values, (colours, title) in zip(axes, wave_maps(wave), looks, strict=True):
        low, high = np.quantile(values, [0.002, 0.998])
        drawn = ax.imshow(values.T, origin="lower", cmap=colours, vmin=low, vmax=high, interpolation="antialiased")
        ax.figure.colorbar(drawn, ax=ax, shrink=0.85)
        ax.set_title(title)
        ax.set_axis_off()
        scale_bar(ax, len(wave))


@styled
def transfer_functions(microscope: Microscope, defoci_A: Sequence[float], rings: Mapping[str, float]) -> Figure:
    """Contrast transfer of a weak phase object at some defoci, with gold's lattice frequencies [1/Å] marked."""
    fig, axes = plt.subplots(len(defoci_A), 1, figsize=(7.2, 1.55 * len(defoci_A)), sharex=True, sharey=True)
    q = np.linspace(0, microscope.aperture_per_A, 600)
    for ax, defocus in zip(np.atleast_1d(axes), defoci_A, strict=True):
        transfer, envelope = phase_transfer(q, defocus, microscope)
        ax.fill_between(q, -envelope, envelope, color=PALE, lw=0)
        ax.plot(q, transfer, color=GENERAL)
        ax.axhline(0, color=QUIET, lw=0.6)
        for frequency in rings.values():
            ax.axvline(frequency, color=QUIET, ls=":", lw=1)
        ax.set_title(f"defocus {defocus:+.0f} Å".replace("-", "−"), loc="left", fontsize=9)
        ax.set(ylim=(-1.05, 1.05), xlim=(0, microscope.aperture_per_A), ylabel="sin χ")
    for name, frequency in rings.items():
        np.atleast_1d(axes)[0].annotate(name, (frequency, 1.05), ha="center", va="bottom", fontsize=8, color=QUIET)
    np.atleast_1d(axes)[-1].set_xlabel("spatial frequency (1/Å)")
    return fig


@styled
def focal_series(images: np.ndarray, defoci_A: Sequence[float], text: str) -> Figure:
    """The images (N, h, w) of one exit wave, all in one grey scale, in order of defocus [Å]."""
    columns = 5
    rows = -(-len(images) // columns)
    fig, axes = plt.subplots(rows, columns, figsize=(7.2, 1.58 * rows))
    low, high = np.quantile(images, [0.002, 0.998])
    for ax in axes.flat:
        ax.set_axis_off()
    for ax, image, defocus in zip(axes.flat, images, defoci_A, strict=False):
        show_image(ax, image, low, high)
        ax.set_title(f"{defocus:+.0f} Å".replace("-", "−"), fontsize=9, pad=2)
    scale_bar(axes.flat[0], images.shape[-1])
    stamp(fig, text)
    return fig


@styled
def coherence_comparison(images: Mapping[str, np.ndarray], defocus_A: float) -> Figure:
    """Images of one wave by three treatments of partial coherence, the middle of the field, in one grey scale."""
    fig, axes = plt.subplots(1, len(images), figsize=(7.2, 2.7))
    middle = slice(34, 94)
    low, high = np.quantile(images["explicit"][middle, middle], [0.002, 0.998])
    for ax, (name, image) in zip(axes, images.items(), strict=True):
        show_image(ax, image[middle, middle], low, high)
        ax.set_title(name)
    fig.suptitle(f"defocus {defocus_A:+.0f} Å".replace("-", "−"), fontsize=9, color=QUIET)
    return fig


@styled
def camera(images: Mapping[str, np.ndarray], camera: Camera) -> Figure:
    """One image at several doses, each in its own grey scale, and the camera's modulation transfer."""
    fig, axes = plt.subplots(1, len(images) + 1, figsize=(7.2, 2.2), width_ratios=[*[1] * len(images), 1.25])
    for ax, (name, image) in zip(axes, images.items(), strict=False):
        show_image(ax, image)
        ax.set_title(name, fontsize=9)
    q = torch.linspace(0, 0.5 / camera.pixel_size_A, 200)
    pixel = torch.sinc(q * camera.pixel_size_A)
    ax = axes[-1]
    ax.plot(q, mtf(camera, q), color=GENERAL, ls="--", label="scintillator")
    ax.plot(q, mtf(camera, q) * pixel, color=GENERAL, label="and pixel")
    ax.set(xlabel="frequency (1/Å)", ylim=(0, 1.05), xlim=(0, float(q[-1])))
    ax.set_title("modulation transfer", fontsize=9)
    ax.legend(fontsize=7.5, frameon=False)
    return fig


def _error_axes(ax: Axes, samplings: Sequence[float], title: str) -> None:
    """Logarithmic axes of an error against the sampling."""
    ax.set(xscale="log", yscale="log", xlabel="sampling (Å/pixel)", title=title)
    ticks = sorted(set(samplings))
    ax.set_xticks(ticks, [f"{tick:.2g}" for tick in ticks])
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.set_yticks([0.01, 0.02, 0.05, 0.1, 0.2, 0.5])


@styled
def convergence(table: pd.DataFrame, in_use: tuple[float, float], text: str) -> Figure:
    """Errors of the `convergence_table` against the grid, with the one in use marked."""
    fig, axes = plt.subplots(1, 2, figsize=(7.2, 3.6), sharex=True)
    names = list(table["scene"].unique())
    for name, colour in zip(names, (GENERAL, ZONE_AXIS, THIRD), strict=False):
        rows = table[table["scene"] == name].sort_values(["sampling_A", "slice_A"])
        middle = np.sqrt(rows["images_low"] * rows["images_high"])
        bars = [middle - rows["images_low"], rows["images_high"] - middle]
        axes[0].plot(rows["sampling_A"], rows["wave"], color=colour, lw=1, label=name)
        axes[1].errorbar(rows["sampling_A"], middle, bars, color=colour, lw=1, elinewidth=1.6)
        for thickness, part in rows.groupby("slice_A"):
            looks = {"color": colour, "marker": SLICE_MARKERS.get(float(thickness), "x"), "ls": ""}
            axes[0].plot(part["sampling_A"], part["wave"], **looks)
            axes[1].plot(part["sampling_A"], middle[part.index], **looks)
    for thickness in sorted(table["slice_A"].unique()):
        marker = SLICE_MARKERS.get(float(thickness), "x")
        axes[1].plot([], [], color=QUIET, marker=marker, ls="", label=f"slices of {thickness:g} Å")
    for ax, title in zip(axes, ("wave inside the aperture", "images at −100, 0, +100 Å"), strict=True):
        ax.axvline(in_use[0], color=QUIET, ls="--", lw=1)
        _error_axes(ax, table["sampling_A"].tolist(), title)
        ax.legend(fontsize=7.5, frameon=False)
    axes[0].set_ylabel("relative error")
    axes[1].annotate(
        "in use", (in_use[0], 0.02), xycoords=("data", "axes fraction"), rotation=90, ha="right", color=QUIET
    )
    stamp(fig, text)
    return fig


@styled
def potential_cut(table: pd.DataFrame, text: str) -> Figure:
    """Errors of images from `cut_table`: bars up to the middle, whiskers from least to greatest."""
    fig, ax = plt.subplots(figsize=(7.2, 2.9))
    labels = {"whole": "potential up to the Nyquist frequency", "cut": "potential cut at two thirds of it"}
    grids = table.drop_duplicates(["sampling_A", "slice_A"])
    place = np.arange(len(grids))
    for (potential, label), side, colour in zip(labels.items(), (-0.19, 0.19), (GENERAL, ZONE_AXIS), strict=True):
        rows = table[table["potential"] == potential]
        middle, half = (rows["images_high"] + rows["images_low"]) / 2, (rows["images_high"] - rows["images_low"]) / 2
        ax.bar(place + side, middle, 0.34, yerr=half, color=colour, ecolor=INK, capsize=3, label=label)
    ax.set_xticks(place, [f"{row.sampling_A:.2g} Å\nslices of {row.slice_A:g} Å" for row in grids.itertuples()])
    ax.set(ylabel="error of images", ylim=(0, 1.1 * table["images_high"].max()))
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    ax.legend(loc="upper right")
    stamp(fig, text)
    return fig
