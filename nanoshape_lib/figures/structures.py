"""Figures of notebooks 01 and 02: the particles, their sizes and bonds, orientation, where the beam meets them."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from ase import Atoms
from matplotlib.axes import Axes
from matplotlib.collections import EllipseCollection, PolyCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from matplotlib.patheffects import withStroke

from nanoshape_lib.figures.style import INK, PALE, QUIET, SHAPE_COLORS, SHAPE_MARKERS, styled
from nanoshape_lib.particles.orientation import axis_angle, euler, sector_corners
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
    normals, depth = facet_depths(atoms)
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
    # As pixels also in an SVG, where thousands of discs would weigh megabytes.
    looks: dict[str, Any] = {
        "units": "xy",
        "offsets": centres.reshape(-1, 2),
        "offset_transform": ax.transData,
        "facecolors": shade(SHAPE_COLORS[_shape(atoms)], np.clip(brightness[:, None] + gain, 0, 1).ravel()),
        "edgecolors": np.tile([[0, 0, 0, 0.35], [0, 0, 0, 0], [0, 0, 0, 0]], (len(order), 1)),
    }
    discs = (diameters, diameters, np.zeros_like(diameters))
    ax.add_collection(EllipseCollection(*discs, linewidths=0.25, rasterized=True, **looks))


def facet_depths(atoms: Atoms) -> tuple[np.ndarray, np.ndarray]:
    """Outward normals (F, 3) of the facets of a particle, and how deep below each its atoms lie (N, F) [Å]."""
    faces = facets(atoms)
    normals = np.array([outward_normal(face) for face in faces])
    offsets = [normal @ face[0] for normal, face in zip(normals, faces, strict=True)]
    return normals, offsets - atoms.positions @ normals.T


def outward_normal(face: np.ndarray) -> np.ndarray:
    """Unit normal of a face of a particle centred at the origin."""
    normal = np.cross(face[1] - face[0], face[2] - face[1])
    return normal / np.linalg.norm(normal) * np.sign(normal @ face.mean(axis=0))


def scale_bar(ax: Axes, length: float, words: str = "", color: str = INK, halo: float = 0.0) -> None:
    """A bar of a length, in the units of the axes, in their lower left corner, with words above and a white halo."""
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    x, y = left + 0.045 * (right - left), bottom + 0.05 * (top - bottom)
    around = [withStroke(linewidth=halo, foreground="white")] if halo else []
    ax.plot([x, x + length], [y, y], color=color, lw=2.4, solid_capstyle="butt", path_effects=around)
    place = (x + length / 2, y + 0.02 * (top - bottom))
    ax.text(*place, words, color=color, ha="center", va="bottom", fontsize=8, path_effects=around)


@styled
def shape_gallery(particles: Sequence[Atoms]) -> Figure:
    """Particles of `build` as lit balls, all at one scale, each with the circle of its volume-equivalent diameter."""
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
    scale_bar(last, 20, "20 Å")
    last.text(-0.92 * half_width_A, -0.5 * half_width_A, "dashed circle:\nsphere of equal volume", color=QUIET)
    return fig


@styled
def zone_axis_views(particles: Sequence[Atoms]) -> Figure:
    """Columns of atoms of particles of `build` seen along [001], [011] and [111], one row a view, all at one scale.

    For an icosahedron these are its two-fold axis z, the direction (0, 1, 1) and its three-fold axis (1, 1, 1).
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
    scale_bar(axes[-1, 0], 20, "20 Å")
    return fig


@styled
def magic_sizes(minimum_A: float, maximum_A: float) -> Figure:
    """Every size from 30 to 100 Å at which each shape exists, full in the band of sizes between two [Å]."""
    fig, ax = plt.subplots(figsize=(7.0, 2.7))
    ax.axvspan(minimum_A, maximum_A, color="#f0f0f0", lw=0)
    for shape in Shape:
        sizes = np.array([size for size, _ in available_sizes(shape)])
        inside = (sizes >= minimum_A) & (sizes <= maximum_A)
        for some, fill in ((inside, SHAPE_COLORS[shape]), (~inside, "white")):
            places = np.full(some.sum(), shape)
            ax.plot(sizes[some], places, SHAPE_MARKERS[shape], mec=SHAPE_COLORS[shape], mfc=fill, ms=7)
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
    """Lengths of nearest-neighbour bonds [Å], one histogram a row; the line is bulk gold, the triangle the mean."""
    fig, axes = plt.subplots(len(distances_A), 1, figsize=(7.0, 0.72 * len(distances_A) + 0.6), sharex=True)
    bins = np.arange(2.75, 3.1001, 0.01)
    for ax, (name, lengths) in zip(axes, distances_A.items(), strict=True):
        ax.hist(lengths, bins, weights=np.full(len(lengths), 100 / len(lengths)), color=colours[name])
        ax.axvline(GOLD_NEIGHBOUR_DISTANCE_A, color=INK, ls="--", lw=1)
        ax.plot(lengths.mean(), 112, "v", color=INK, ms=5, clip_on=False)
        excess = 100 * (lengths.mean() / GOLD_NEIGHBOUR_DISTANCE_A - 1)
        words = f"{name}\nmean {lengths.mean():.3f} Å ({abs(excess):.1f} % over bulk)"
        ax.text(0.995, 0.55, words, transform=ax.transAxes, ha="right", va="center", fontsize=8.5)
        ax.set(xlim=(2.75, 3.3), ylim=(0, 118), yticks=[0, 50, 100])
    axes[-1].set(xlabel="nearest-neighbour distance [Å]", xticks=np.arange(2.75, 3.11, 0.05))
    fig.supylabel("share of bonds [%]", fontsize=9)
    return fig


BENCH_VIEW = axis_angle([1, 0, 0], -62) @ axis_angle([0, 0, 1], -35)
# Left, right, bottom and top of the drawing of a sector, in the units of `equal_area`.
SECTOR_EDGES = (-8.0, 54.0, -8.0, 46.0)


def _draw_hull(ax: Axes, atoms: Atoms, rotation: np.ndarray) -> None:
    """The facets that face the viewer, lit."""
    turned = [face @ rotation.T for face in facets(atoms)]
    normals = np.array([outward_normal(face) for face in turned])
    front = normals[:, 2] > 1e-6
    brightness = 0.25 + 0.65 * np.clip(normals[front] @ LIGHT, 0, 1)
    outlines = [face[:, :2] for face, seen in zip(turned, front, strict=True) if seen]
    colours = shade(SHAPE_COLORS[_shape(atoms)], brightness)
    ax.add_collection(PolyCollection(outlines, facecolors=colours, edgecolors="white", linewidths=0.9))


def _draw_frame(ax: Axes, length_A: float, rotation: np.ndarray) -> None:
    """Arrows x, y, z along the columns of a rotation; those that point away from the viewer lie underneath."""
    for tip, name in zip(length_A * rotation.T, "xyz", strict=True):
        zorder = 3 if tip[2] > 0 else 0
        ax.annotate("", tip[:2], (0, 0), zorder=zorder, arrowprops={"arrowstyle": "-|>", "color": INK, "lw": 1.2})
        halo = [withStroke(linewidth=2, foreground="white")]
        x, y = 1.13 * tip[:2]
        ax.text(x, y, name, ha="center", va="center", color=INK, zorder=4, path_effects=halo)


@styled
def euler_steps(atoms: Atoms, psi_deg: float, theta_deg: float, phi_deg: float) -> Figure:
    """A particle before and after each of the three factors of equation (2).

    In a fixed oblique view of the laboratory; arrows x, y, z belong to the particle, the dotted line is the beam.
    """
    steps = {
        "untouched": (0.0, 0.0, 0.0),
        f"φ = {phi_deg:g}° about z": (0.0, 0.0, phi_deg),
        f"then θ = {theta_deg:g}° about x": (0.0, theta_deg, phi_deg),
        f"then ψ = {psi_deg:g}° about z": (psi_deg, theta_deg, phi_deg),
    }
    fig, axes = plt.subplots(1, len(steps), figsize=(7.4, 2.3))
    radius_A = np.linalg.norm(atoms.positions, axis=1).max()
    beam = BENCH_VIEW[:, 2] * 1.75 * radius_A
    for ax, (title, angles) in zip(axes, steps.items(), strict=True):
        rotation = BENCH_VIEW @ euler(*angles)
        blank(ax, 1.85 * radius_A)
        ax.plot([-beam[0], beam[0]], [-beam[1], beam[1]], ls=":", color=QUIET, lw=1.2, zorder=-1)
        _draw_frame(ax, 1.45 * radius_A, rotation)
        _draw_hull(ax, atoms, rotation)
        ax.set_title(title, fontsize=9)
    return fig


@styled
def theta_sampling(cosines: Mapping[str, np.ndarray]) -> Figure:
    """Density (left) and cumulative distribution of cos θ for two ways of drawing orientations; dotted is uniform."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(7.0, 3.0))
    looks = (("#D55E00", "--"), ("#0072B2", "-"))
    for (name, values), (colour, line) in zip(cosines.items(), looks, strict=True):
        left.hist(values, np.linspace(-1, 1, 41), density=True, histtype="step", color=colour, ls=line, lw=1.6)
        shares = np.arange(1, len(values) + 1) / len(values)
        right.plot(np.sort(values), shares, color=colour, ls=line, label=name)
    left.axhline(0.5, color=INK, ls=":", lw=1.2)
    right.plot([-1, 1], [0, 1], color=INK, ls=":", lw=1.2, label="exactly uniform on the sphere")
    left.set(xlabel="cos θ", ylabel="probability density", xlim=(-1, 1), ylim=(0, None))
    right.set(xlabel="cos θ", ylabel="cumulative share", xlim=(-1, 1), ylim=(0, 1))
    fig.legend(loc="outside upper center", ncols=3)
    return fig


@styled
def orientation_spheres(directions: Mapping[str, np.ndarray]) -> Figure:
    """Unit vectors (N, 3), by title, as points on spheres in orthographic view; those on the far side are pale."""
    fig, axes = plt.subplots(1, len(directions), figsize=(7.0, 3.7), squeeze=False)
    for ax, (title, points) in zip(axes.flat, directions.items(), strict=True):
        blank(ax, 1.12)
        grey = np.hypot(*np.meshgrid(np.linspace(-1, 1, 200) + 0.35, np.linspace(-1, 1, 200) - 0.4))
        ball = Circle((0, 0), 1, transform=ax.transData, fc="none", ec=QUIET, lw=0.8)
        ax.add_patch(ball)
        looks = {"cmap": "Greys", "vmin": -0.6, "vmax": 6, "interpolation": "bilinear"}
        ax.imshow(grey, extent=(-1, 1, -1, 1), origin="lower", clip_path=ball, **looks)
        _draw_graticule(ax)
        seen = points @ BENCH_VIEW.T
        front = seen[:, 2] > 0
        ax.scatter(*seen[~front, :2].T, s=6, color=PALE, lw=0)
        ax.scatter(*seen[front, :2].T, s=9, color="#0072B2", lw=0, zorder=3)
        pole = BENCH_VIEW[:, 2]
        stick = {"arrowstyle": "-", "lw": 0.8}
        ax.annotate("z", pole[:2], 1.17 * pole[:2], ha="center", va="center", fontsize=9, arrowprops=stick)
        ax.set_title(title)
    return fig


def _draw_graticule(ax: Axes) -> None:
    """Circles of latitude and longitude on the near side, every 30 degrees."""
    turn = np.radians(np.linspace(0, 360, 181))
    circles = [(lat, turn) for lat in np.radians([-60, -30, 0, 30, 60])]
    circles += [(turn, lon) for lon in np.radians(range(0, 180, 30))]
    for lat, lon in circles:
        circle = np.broadcast_arrays(np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat))
        seen = np.stack(circle, axis=-1) @ BENCH_VIEW.T
        seen[seen[:, 2] < 0] = np.nan
        ax.plot(seen[:, 0], seen[:, 1], color="white", lw=0.7)


@styled
def fundamental_sectors(directions: Mapping[Shape, np.ndarray]) -> Figure:
    """Beam directions (N, 3) of `reduce` in the fundamental sector of each shape, in equal-area projection."""
    fig, axes = plt.subplots(1, len(directions), figsize=(7.4, 1.95), sharex=True, sharey=True)
    for ax, (shape, points) in zip(axes, directions.items(), strict=True):
        draw_sector(ax, shape)
        ax.scatter(*equal_area(points, sector_corners(shape)).T, s=4, color=SHAPE_COLORS[shape], lw=0, zorder=3)
        ax.set_title(f"{shape.title}\n{len(points)} directions", fontsize=8.5)
    return fig


def draw_sector(ax: Axes, shape: Shape) -> None:
    """The fundamental sector of a shape with its corners named, in the projection of `equal_area`."""
    corners = sector_corners(shape)
    around = np.array(list(corners.values()))
    outline = np.concatenate(np.linspace(around, np.roll(around, -1, axis=0), 40, axis=1))
    outline /= np.linalg.norm(outline, axis=1, keepdims=True)
    ax.fill(*equal_area(outline, corners).T, fc="#f5f5f5", ec=INK, lw=1)
    for (x, y), name, above in zip(equal_area(around, corners), corners, (False, False, True), strict=True):
        ax.text(x, y + (1.5 if above else -2), name, ha="center", va="bottom" if above else "top", fontsize=8)
    left, right, bottom, top = SECTOR_EDGES
    ax.set(xlim=(left, right), ylim=(bottom, top), aspect="equal")
    ax.axis("off")


@styled
def sector(shape: Shape, directions: np.ndarray, shares: np.ndarray | None = None) -> Figure:
    """Reduced beam directions (N, 3) in the sector of one shape, each as large as its share; no margin is left."""
    left, right, bottom, top = SECTOR_EDGES
    fig = plt.figure(figsize=((right - left) / 14, (top - bottom) / 14), layout="none")
    ax = fig.add_axes((0, 0, 1, 1))
    draw_sector(ax, shape)
    areas = 10 + 60 * (np.zeros(len(directions)) if shares is None else shares)
    x, y = equal_area(directions, sector_corners(shape)).T
    ax.scatter(x, y, s=areas, color=SHAPE_COLORS[shape], alpha=0.7, ec=INK, lw=0.4, zorder=3)
    return fig


def sector_places(shape: Shape, directions: np.ndarray) -> np.ndarray:
    """Places (N, 2) of reduced directions (N, 3) in the figure `sector`, from its left and its top, as shares."""
    left, right, bottom, top = SECTOR_EDGES
    x, y = equal_area(directions, sector_corners(shape)).T
    return np.stack([(x - left) / (right - left), (top - y) / (top - bottom)], axis=-1)


def equal_area(directions: np.ndarray, corners: Mapping[str, np.ndarray]) -> np.ndarray:
    """Lambert's equal-area projection about the first corner, the second along +x [about degrees]."""
    centre, second, _ = corners.values()
    across = second - (second @ centre) * centre
    across /= np.linalg.norm(across)
    along = directions @ centre
    flat = np.stack([directions @ across, np.abs(directions @ np.cross(centre, across))], axis=-1)
    return np.degrees(flat * np.sqrt(2 / (1 + along))[:, None])
