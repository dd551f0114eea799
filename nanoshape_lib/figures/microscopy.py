"""Figures of notebooks 03, 04 and 09: carbon, waves, contrast transfer, images, data sets, convergence."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from ase import Atoms
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle
from matplotlib.ticker import NullFormatter

from nanoshape_lib.figures.structures import blank, draw_atoms, scale_bar
from nanoshape_lib.figures.style import INK, PALE, QUIET, SHAPE_COLORS, SHAPE_MARKERS, percent, signed, stamp, styled
from nanoshape_lib.particles.shapes import GOLD_LATTICE_CONSTANT_A, Shape
from nanoshape_lib.particles.specimen import FIELD_A
from nanoshape_lib.simulation.film import Scene
from nanoshape_lib.simulation.optics import Camera, Microscope, contrast_transfer, mtf

CARBON_COLOUR = "#5b5b5b"
GENERAL, ZONE_AXIS, THIRD = "#4b2991", "#c0392b", "#00796b"
SLICE_MARKERS = {4.0: "s", 3.0: "^", 2.0: "o", 1.0: "D", 0.5: "v"}


def show_image(
    ax: Axes, image: np.ndarray, low: float | None = None, high: float | None = None, interpolation: str = "nearest"
) -> None:
    """A square field ``image[x, y]`` in grey, x to the right and y upwards, without axes."""
    ax.imshow(image.T, origin="lower", cmap="gray", vmin=low, vmax=high, interpolation=interpolation)
    ax.set_axis_off()


def show_scale(ax: Axes, pixels: int) -> None:
    """A white bar 2 nm long on an image of the whole field."""
    scale_bar(ax, 20 / FIELD_A * pixels, color="white")


def middle_greys(values: np.ndarray) -> np.ndarray:
    """Ends of a grey scale that leaves out the two darkest and the two brightest pixels in a thousand."""
    return np.quantile(values, [0.002, 0.998])


def defocus_words(defocus_A: float) -> str:
    """A defocus with its sign, a proper minus and its unit."""
    return f"{defocus_A:+.0f} Å".replace("-", "−")


@styled
def carbon_blocks(curves: Sequence[tuple[np.ndarray, np.ndarray]], block: Atoms) -> Figure:
    """Radial distribution functions (r, g) of the blocks, and a 4 Å slice through one of them."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(7.2, 3.1), width_ratios=(1.5, 1))
    for r, g in curves:
        left.plot(r, g, color=CARBON_COLOUR, lw=0.8, alpha=0.7)
    left.axvspan(1.40, 1.55, color=PALE, zorder=0)
    left.axhline(1, color=QUIET, ls=":", lw=1)
    left.set(xlabel="distance r (Å)", ylabel="g(r)", xlim=(1, 6), ylim=(0, None))
    inside = (block.positions < (40, 40, 4)).all(axis=1)
    right.scatter(*block.positions[inside, :2].T, s=14, color=CARBON_COLOUR, edgecolors="none")
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
    below = -scene.film_thickness_A
    ax.annotate("", (9, below - 2), (9, below - 16), arrowprops={"arrowstyle": "->"})
    ax.annotate("beam", (12, below - 11), color=INK)
    ax.set(xlabel="x (Å)", ylabel="z (Å)", aspect="equal", xlim=(0, FIELD_A), ylim=(below - 17, None))
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
        low, high = middle_greys(values)
        drawn = ax.imshow(values.T, origin="lower", cmap=colours, vmin=low, vmax=high, interpolation="antialiased")
        ax.figure.colorbar(drawn, ax=ax, shrink=0.85)
        ax.set_title(title)
        ax.set_axis_off()
        show_scale(ax, len(wave))


@styled
def transfer_functions(microscope: Microscope, defoci_A: Sequence[float], rings: Mapping[str, float]) -> Figure:
    """Contrast transfer of a weak phase object at some defoci, with gold's lattice frequencies [1/Å] marked."""
    count = len(defoci_A)
    fig, grid = plt.subplots(count, 1, figsize=(7.2, 1.55 * count), sharex=True, sharey=True, squeeze=False)
    axes = grid[:, 0]
    q = np.linspace(0, microscope.aperture_per_A, 600)
    for ax, defocus in zip(axes, defoci_A, strict=True):
        transfer, envelope = contrast_transfer(q, defocus, microscope)
        ax.fill_between(q, -envelope, envelope, color=PALE, lw=0)
        ax.plot(q, transfer, color=GENERAL)
        ax.axhline(0, color=QUIET, lw=0.6)
        for frequency in rings.values():
            ax.axvline(frequency, color=QUIET, ls=":", lw=1)
        ax.set_title(f"defocus {defocus_words(defocus)}", loc="left", fontsize=9)
        ax.set(ylim=(-1.05, 1.05), xlim=(0, microscope.aperture_per_A), ylabel="sin χ")
    for name, frequency in rings.items():
        axes[0].annotate(name, (frequency, 1.05), ha="center", va="bottom", fontsize=8, color=QUIET)
    axes[-1].set_xlabel("spatial frequency (1/Å)")
    return fig


@styled
def focal_series(images: np.ndarray, defoci_A: Sequence[float], text: str) -> Figure:
    """The images (N, h, w) of one exit wave, all in one grey scale, in order of defocus [Å]."""
    rows = -(-len(images) // 5)
    fig, axes = plt.subplots(rows, 5, figsize=(7.2, 1.58 * rows))
    greys = middle_greys(images)
    for ax in axes.flat:
        ax.set_axis_off()
    for ax, image, defocus in zip(axes.flat, images, defoci_A, strict=False):
        show_image(ax, image, *greys)
        ax.set_title(defocus_words(defocus), fontsize=9, pad=2)
    show_scale(axes.flat[0], images.shape[-1])
    return stamp(fig, text)


@styled
def coherence_comparison(images: Mapping[str, np.ndarray], defocus_A: float) -> Figure:
    """Images of one wave by three treatments of partial coherence, the middle of the field, in one grey scale."""
    fig, axes = plt.subplots(1, len(images), figsize=(7.2, 2.7))
    middle = slice(34, 94)
    greys = middle_greys(images["explicit"][middle, middle])
    for ax, (name, image) in zip(axes, images.items(), strict=True):
        show_image(ax, image[middle, middle], *greys)
        ax.set_title(name)
    fig.suptitle(f"defocus {defocus_words(defocus_A)}", fontsize=9, color=QUIET)
    return fig


@styled
def doses_and_camera(images: Mapping[str, np.ndarray], camera: Camera) -> Figure:
    """One image at several doses, each in its own grey scale, and the camera's modulation transfer."""
    fig, axes = plt.subplots(1, len(images) + 1, figsize=(7.2, 2.2), width_ratios=[*[1] * len(images), 1.25])
    for ax, (name, image) in zip(axes, images.items(), strict=False):
        show_image(ax, image)
        ax.set_title(name, fontsize=9)
    q = torch.linspace(0, 0.5 / camera.pixel_size_A, 200)
    ax, scintillator = axes[-1], mtf(camera, q)
    ax.plot(q, scintillator, color=GENERAL, ls="--", label="scintillator")
    ax.plot(q, scintillator * torch.sinc(q * camera.pixel_size_A), color=GENERAL, label="and pixel")
    ax.set(xlabel="frequency (1/Å)", ylim=(0, 1.05), xlim=(0, float(q[-1])))
    ax.set_title("modulation transfer", fontsize=9)
    ax.legend(fontsize=7.5)
    return fig


@styled
def convergence(table: pd.DataFrame, in_use: tuple[float, float], text: str) -> Figure:
    """Errors of the `convergence_table` against the grid, with the one in use marked."""
    fig, axes = plt.subplots(1, 2, figsize=(7.2, 3.6), sharex=True)
    for name, colour in zip(table["scene"].unique(), (GENERAL, ZONE_AXIS, THIRD), strict=False):
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
    ticks = sorted(table["sampling_A"].unique())
    for ax, title in zip(axes, ("wave inside the aperture", "images at −100, 0, +100 Å"), strict=True):
        ax.axvline(in_use[0], color=QUIET, ls="--", lw=1)
        ax.set(xscale="log", yscale="log", xlabel="sampling (Å/pixel)", title=title)
        ax.set_xticks(ticks, [f"{tick:.2g}" for tick in ticks])
        percent(ax.yaxis)
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_minor_formatter(NullFormatter())
        ax.set_yticks([0.01, 0.02, 0.05, 0.1, 0.2, 0.5])
        ax.legend(fontsize=7.5)
    axes[0].set_ylabel("relative error")
    place = (in_use[0], 0.02)
    axes[1].annotate("in use", place, xycoords=("data", "axes fraction"), rotation=90, ha="right", color=QUIET)
    return stamp(fig, text)


@styled
def damped_potential(table: pd.DataFrame, text: str) -> Figure:
    """Errors of images from `potential_table`: bars up to the middle, whiskers from least to greatest."""
    fig, ax = plt.subplots(figsize=(7.2, 2.9))
    labels = {"whole": "potential up to the Nyquist frequency", "damped": "potential damped at high frequencies"}
    grids = table.drop_duplicates(["sampling_A", "slice_A"])
    place = np.arange(len(grids))
    for (potential, label), side, colour in zip(labels.items(), (-0.19, 0.19), (GENERAL, ZONE_AXIS), strict=True):
        rows = table[table["potential"] == potential]
        middle, half = (rows["images_high"] + rows["images_low"]) / 2, (rows["images_high"] - rows["images_low"]) / 2
        ax.bar(place + side, middle, 0.34, yerr=half, color=colour, ecolor=INK, capsize=3, label=label)
    ax.set_xticks(place, [f"{row.sampling_A:.2g} Å\nslices of {row.slice_A:g} Å" for row in grids.itertuples()])
    ax.set(ylabel="error of images", ylim=(0, 1.1 * table["images_high"].max()))
    percent(ax.yaxis)
    ax.legend(loc="upper right")
    return stamp(fig, text)


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
        show_image(axes[label, sizes.index(size)], image, *middle_greys(image))
    for ax, size in zip(axes[0], sizes, strict=True):
        ax.set_title(f"{size:g} Å", fontsize=9)
    for shape, row in zip(Shape, axes, strict=True):
        name = shape.title.replace(" ", "\n")
        row[0].text(-0.08, 0.5, name, transform=row[0].transAxes, ha="right", va="center", fontsize=8)
    return stamp(fig, text)


@styled
def realised_sizes(table: pd.DataFrame, text: str) -> Figure:
    """Realised sizes [Å] of the waves of a split, one line a class; a marker's area is proportional to their number."""
    fig, ax = plt.subplots(figsize=(7.2, 2.4))
    counts = table.groupby(["label", "size_A"]).size().reset_index(name="waves")
    for shape in Shape:
        rows = counts[counts["label"] == shape]
        area, colour = 400 * rows["waves"] / counts["waves"].max(), SHAPE_COLORS[shape]
        ax.scatter(rows["size_A"], rows["label"], area, colour, marker=SHAPE_MARKERS[shape], alpha=0.8, lw=0)
    ax.set_yticks(list(Shape), [shape.title for shape in Shape])
    ax.set(xlabel="volume-equivalent diameter (Å)", ylim=(4.6, -0.6))
    return stamp(fig, text)


@styled
def defocus_sampling(microscope: Microscope, defoci_A: tuple[float, ...]) -> Figure:
    """Figure S2a, focal series: contrast transfer over frequency and defocus, with the sampled defoci as lines."""
    fig, ax = plt.subplots(figsize=(7.2, 3.6))
    limit = 1.15 * max(abs(defocus) for defocus in defoci_A)
    defocus = np.linspace(-limit, limit, 400)
    q = np.linspace(0, microscope.aperture_per_A, 500)
    rows = np.stack([contrast_transfer(q, value, microscope)[0] for value in defocus])
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
    ax.legend(fontsize=8, ncols=3)
    return stamp(fig, text)


# Laboratory x to the right and the beam, +z, downwards.
SIDE_VIEW = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
GOLD_111_A = GOLD_LATTICE_CONSTANT_A / np.sqrt(3)  # spacing of the {111} planes
TRANSFER, ENVELOPE, CAMERA = "#0072B2", "#D55E00", "#009E73"


def power_spectrum(image: np.ndarray) -> np.ndarray:
    """Decadic logarithm of the power spectrum of an image (n, n) without its mean; zero frequency at [n//2, n//2]."""
    power = np.abs(np.fft.fft2(image - image.mean())) ** 2
    power[0, 0] = power[0, 1]
    return np.fft.fftshift(np.log10(power + 1e-12))


def _show_image(ax: Axes, image: np.ndarray, title: str) -> None:
    middle, half = image.mean(), 3 * image.std()
    show_image(ax, image, middle - half, middle + half, "antialiased")
    show_scale(ax, len(image))
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
    transfer, envelope = contrast_transfer(q, defocus_A, microscope)
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
    edge_A = FIELD_A / 2
    for ax, view, title in ((side, SIDE_VIEW, "from the side"), (along, np.eye(3), "along the beam")):
        draw_atoms(ax, atoms, view @ rotation)
        blank(ax, edge_A)
        ax.set_title(title)
    if film_below_A is not None:
        side.add_patch(Rectangle((-edge_A, film_below_A), FIELD_A, edge_A, color=PALE, lw=0, zorder=0))
        side.text(-edge_A + 3, film_below_A + 3, "carbon", color=INK, fontsize=8)
    arrow = {"arrowstyle": "-|>", "color": INK, "lw": 1.2}
    side.annotate("", (-0.88 * edge_A, -0.95 * edge_A), (-0.88 * edge_A, -0.55 * edge_A), arrowprops=arrow)
    side.text(-0.82 * edge_A, -0.75 * edge_A, "beam", va="center", color=INK, fontsize=8)
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
