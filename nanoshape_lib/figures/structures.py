"""Figures of notebook 01: the particles, their sizes and their bonds."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from ase import Atoms
from matplotlib.axes import Axes
from matplotlib.collections import EllipseCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from nanoshape_lib.figures.style import INK, QUIET, SHAPE_COLORS, SHAPE_MARKERS, styled
from nanoshape_lib.particles.orientation import axis_angle
from nanoshape_lib.particles.shapes import GOLD_NEIGHBOUR_DISTANCE_A, Shape, available_sizes, facets

LIGHT = np.array([-0.45, 0.62, 0.64]) / np.linalg.norm([-0.45, 0.62, 0.64])
GALLERY_VIEW = axis_angle([1, 0, 0], -62) @ axis_angle([0, 0, 1], -25)
ZONE_VIEWS = {
    "[001]": np.eye(3),
    "[011]": axis_angle([1, 0, 0], 45),
    "[111]": axis_angle([1, 0, 0], np.degrees(np.arccos(1 / np.sqrt(3)))) @ axis_angle([0, 0, 1], 45),
}


def _shape(atoms: Atoms) -> Shape:
    return Shape(atoms.info["shape"])


def shade(colour: str, brightness: np.ndarray) -> np.ndarray:
    """Colours from dark (0) through the colour itself (0.6) to nearly white (1)."""
    base = np.array(to_rgb(colour))
    stops = np.array([base * 0.25, base, base + (1 - base) * 0.75])
    return np.stack([np.interp(brightness, [0, 0.6, 1], stops[:, channel]) for channel in range(3)], axis=-1)


def blank(ax: Axes, half_width_A: float) -> None:
    """A square panel without axes, centred at the origin."""
    ax.set(xlim=(-half_width_A, half_width_A), ylim=(-half_width_A, half_width_A), aspect="equal")
    ax.axis("off")


def draw_atoms(ax: Axes, atoms: Atoms, rotation: np.ndarray) -> None:
    """Surface atoms as lit balls, seen along -z."""
    planes = [(face.mean(axis=0), face) for face in facets(atoms)]
    normals = np.array([outward_normal(face) for _, face in planes])
    offsets = np.einsum("ij,ij->i", normals, np.array([middle for middle, _ in planes]))
    depth = offsets - atoms.positions @ normals.T
    on_surface = depth.min(axis=1) < 0.9 * GOLD_NEIGHBOUR_DISTANCE_A
    # An atom near an edge is lit as a mixture of the faces that meet there.
    weight = np.exp(-np.clip(depth[on_surface], 0, None) / 0.6)
    normal = weight @ normals
    normal = normal / np.linalg.norm(normal, axis=1, keepdims=True) @ rotation.T
    position = atoms.positions[on_surface] @ rotation.T
    front = np.flatnonzero(normal[:, 2] > -0.45)
    order = front[np.argsort(position[front, 2])]
    brightness = 0.22 + 0.62 * np.clip(normal[order] @ LIGHT, 0, 1)
    # Three discs per ball, each smaller, brighter and nearer to the light, all of one ball before the next.
    size, shift, gain = np.array([(1.0, 0.0, 0.0), (0.62, 0.13, 0.09), (0.28, 0.22, 0.26)]).T
    centres = position[order, None, :2] + shift[:, None] * GOLD_NEIGHBOUR_DISTANCE_A * LIGHT[:2]
    diameters = np.tile(size, len(order)) * GOLD_NEIGHBOUR_DISTANCE_A
    ax.add_collection(
        EllipseCollection(
            diameters,
            diameters,
            np.zeros_like(diameters),
            units="xy",
            offsets=centres.reshape(-1, 2),
            offset_transform=ax.transData,
            facecolors=shade(SHAPE_COLORS[_shape(atoms)], np.clip(brightness[:, None] + gain, 0, 1).ravel()),
            edgecolors=np.tile([[0, 0, 0, 0.35], [0, 0, 0, 0], [0, 0, 0, 0]], (len(order), 1)),
            linewidths=0.25,
        )
    )


def outward_normal(face: np.ndarray) -> np.ndarray:
    """Unit normal of a face of a particle centred at the origin."""
    normal = np.cross(face[1] - face[0], face[2] - face[1])
    return normal / np.linalg.norm(normal) * np.sign(normal @ face.mean(axis=0))


def _scale_bar(ax: Axes, length_A: float) -> None:
    left, right = ax.get_xlim()
    bottom, top = ax.get_ylim()
    x, y = left + 0.04 * (right - left), bottom + 0.04 * (top - bottom)
    ax.plot([x, x + length_A], [y, y], color=INK, lw=2.2, solid_capstyle="butt")
    ax.text(x + length_A / 2, y + 0.02 * (top - bottom), f"{length_A:g} Å", ha="center", va="bottom", fontsize=8)


@styled
def shape_gallery(particles: Sequence[Atoms]) -> Figure:
    """Particles as lit balls, each with the circle of its volume-equivalent diameter.

    Parameters
    ----------
    particles
        Particles from `nanoshape_lib.particles.shapes.build`.

    Returns
    -------
    matplotlib.figure.Figure
        One panel per particle, all at the same scale.
    """
    fig, axes = plt.subplots(2, 3, figsize=(7.2, 5.3))
    half_width_A = 1.02 * max(np.linalg.norm(atoms.positions, axis=1).max() for atoms in particles)
    for ax in axes.flat:
        blank(ax, half_width_A)
    for ax, atoms in zip(axes.flat, particles, strict=False):
        draw_atoms(ax, atoms, GALLERY_VIEW)
        radius_A = atoms.info["size_A"] / 2
        ax.add_patch(Circle((0, 0), radius_A, fill=False, ls=(0, (4, 3)), lw=1.1, ec=INK, zorder=3))
        ax.set_title(f"{_shape(atoms).title}\n{len(atoms)} atoms, size {2 * radius_A:.1f} Å")
    last = axes.flat[len(particles)]
    _scale_bar(last, 20)
    last.text(-0.92 * half_width_A, -0.5 * half_width_A, "dashed circle:\nsphere of equal volume", color=QUIET)
    return fig


@styled
def zone_axis_views(particles: Sequence[Atoms]) -> Figure:
    """Columns of atoms seen along [001], [011] and [111].

    Parameters
    ----------
    particles
        Particles from `nanoshape_lib.particles.shapes.build`; for an icosahedron the three directions are its
        two-fold axis z, the direction (0, 1, 1) and its three-fold axis (1, 1, 1).

    Returns
    -------
    matplotlib.figure.Figure
        One row per view, one column per particle, all at the same scale.
    """
    fig, axes = plt.subplots(len(ZONE_VIEWS), len(particles), figsize=(7.4, 4.9), squeeze=False)
    half_width_A = 1.1 * max(np.linalg.norm(atoms.positions, axis=1).max() for atoms in particles)
    for row, (zone, rotation) in zip(axes, ZONE_VIEWS.items(), strict=True):
        for ax, atoms in zip(row, particles, strict=True):
            seen = atoms.positions @ rotation.T
            ax.scatter(*seen[:, :2].T, s=1.8, color=SHAPE_COLORS[_shape(atoms)], alpha=0.25, lw=0)
            blank(ax, half_width_A)
        row[0].text(-0.05, 0.5, zone, transform=row[0].transAxes, ha="right", va="center", fontsize=10)
    for ax, atoms in zip(axes[0], particles, strict=True):
        ax.set_title(_shape(atoms).title.replace(" ", "\n"))
    _scale_bar(axes[-1, 0], 20)
    return fig


@styled
def magic_sizes(minimum_A: float, maximum_A: float) -> Figure:
    """Every size at which each shape exists.

    Parameters
    ----------
    minimum_A, maximum_A
        The band of sizes to mark [Å].

    Returns
    -------
    matplotlib.figure.Figure
        One line of markers per shape over 30 to 100 Å.
    """
    fig, ax = plt.subplots(figsize=(7.0, 2.7))
    ax.axvspan(minimum_A, maximum_A, color="#f0f0f0", lw=0)
    for shape in Shape:
        sizes = np.array([size for size, _ in available_sizes(shape)])
        inside = (sizes >= minimum_A) & (sizes <= maximum_A)
        for some, fill in ((inside, SHAPE_COLORS[shape]), (~inside, "white")):
            ax.plot(
                sizes[some],
                np.full(some.sum(), shape),
                SHAPE_MARKERS[shape],
                mec=SHAPE_COLORS[shape],
                mfc=fill,
                ms=7,
            )
        ax.text(102, shape, f"{inside.sum()}", va="center", color=INK)
    ax.text(102, -0.75, "in band", va="center", color=QUIET, fontsize=8)
    ax.set_yticks(list(Shape), [shape.title for shape in Shape])
    ax.set(xlabel="size (volume-equivalent diameter) [Å]", xlim=(28, 110), ylim=(4.6, -1.1))
    ax.set_xticks(range(30, 101, 10))
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    return fig


@styled
def neighbour_histograms(distances_A: Mapping[str, np.ndarray], colours: Mapping[str, str]) -> Figure:
    """Lengths of nearest-neighbour bonds, one histogram per row.

    Parameters
    ----------
    distances_A
        Bond lengths [Å] by the name of the row.
    colours
        Colour of the bars by the name of the row.

    Returns
    -------
    matplotlib.figure.Figure
        Rows that share the horizontal axis; the dashed line is bulk gold, the triangle each row's mean.
    """
    fig, axes = plt.subplots(len(distances_A), 1, figsize=(7.0, 0.72 * len(distances_A) + 0.6), sharex=True)
    bins = np.arange(2.75, 3.1001, 0.01)
    for ax, (name, lengths) in zip(axes, distances_A.items(), strict=True):
        ax.hist(lengths, bins, weights=np.full(len(lengths), 100 / len(lengths)), color=colours[name])
        ax.axvline(GOLD_NEIGHBOUR_DISTANCE_A, color=INK, ls="--", lw=1)
        ax.plot(lengths.mean(), 112, "v", color=INK, ms=5, clip_on=False)
        excess = 100 * (lengths.mean() / GOLD_NEIGHBOUR_DISTANCE_A - 1)
        ax.text(
            0.995,
            0.55,
            f"{name}\nmean {lengths.mean():.3f} Å ({abs(excess):.1f} % over bulk)",
            transform=ax.transAxes,
            ha="right",
            va="center",
            fontsize=8.5,
        )
        ax.set(xlim=(2.75, 3.3), ylim=(0, 118), yticks=[0, 50, 100])
    axes[-1].set(xlabel="nearest-neighbour distance [Å]", xticks=np.arange(2.75, 3.11, 0.05))
    fig.supylabel("share of bonds [%]", fontsize=9)
    return fig
