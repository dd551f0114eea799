"""Figures of notebook 02: how particles are turned, and where the beam meets them."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
from ase import Atoms
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from matplotlib.patheffects import withStroke

from nanoshape_lib.figures.structures import LIGHT, blank, outward_normal, shade
from nanoshape_lib.figures.style import INK, PALE, QUIET, SHAPE_COLORS, styled
from nanoshape_lib.particles.orientation import axis_angle, euler, sector_corners
from nanoshape_lib.particles.shapes import Shape, facets

# Left, right, bottom and top of the drawing of a sector, in the units of `equal_area`.
SECTOR_EDGES = (-8.0, 54.0, -8.0, 46.0)
BENCH_VIEW = axis_angle([1, 0, 0], -62) @ axis_angle([0, 0, 1], -35)


def _draw_hull(ax: Axes, atoms: Atoms, rotation: np.ndarray) -> None:
    """The facets that face the viewer, lit."""
    turned = [face @ rotation.T for face in facets(atoms)]
    normals = np.array([outward_normal(face) for face in turned])
    front = normals[:, 2] > 1e-6
    brightness = 0.25 + 0.65 * np.clip(normals[front] @ LIGHT, 0, 1)
    outlines = [face[:, :2] for face, seen in zip(turned, front, strict=True) if seen]
    colours = shade(SHAPE_COLORS[Shape(atoms.info["shape"])], brightness)
    ax.add_collection(PolyCollection(outlines, facecolors=colours, edgecolors="white", linewidths=0.9))


def _draw_frame(ax: Axes, length_A: float, rotation: np.ndarray, names: str) -> None:
    """Three arrows along the columns of a rotation; those that point away from the viewer lie underneath."""
    for tip, name in zip(length_A * rotation.T, names.split(), strict=True):
        zorder = 3 if tip[2] > 0 else 0
        ax.annotate("", tip[:2], (0, 0), zorder=zorder, arrowprops={"arrowstyle": "-|>", "color": INK, "lw": 1.2})
        halo = [withStroke(linewidth=2, foreground="white")]
        x, y = 1.13 * tip[:2]
        ax.text(x, y, name, ha="center", va="center", color=INK, zorder=4, path_effects=halo)


@styled
def euler_steps(atoms: Atoms, psi_deg: float, theta_deg: float, phi_deg: float) -> Figure:
    """A particle before and after each of the three factors of equation (2).

    Parameters
    ----------
    atoms
        A particle from `nanoshape_lib.particles.shapes.build`.
    psi_deg, theta_deg, phi_deg
        Euler angles [degrees].

    Returns
    -------
    matplotlib.figure.Figure
        Four panels in a fixed oblique view of the laboratory; arrows x, y, z belong to the particle, the
        dotted line is the beam.
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
        _draw_frame(ax, 1.45 * radius_A, rotation, "x y z")
        _draw_hull(ax, atoms, rotation)
        ax.set_title(title, fontsize=9)
    return fig


@styled
def theta_sampling(cosines: Mapping[str, np.ndarray]) -> Figure:
    """Distribution of cos θ under several ways of drawing orientations.

    Parameters
    ----------
    cosines
        Values of cos θ by the name of the way.

    Returns
    -------
    matplotlib.figure.Figure
        Left: density; right: cumulative distribution. The dashed line is the uniform sphere.
    """
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
    """Beam directions as points on a sphere.

    Parameters
    ----------
    directions
        Unit vectors, shape (N, 3), by the title of the panel.

    Returns
    -------
    matplotlib.figure.Figure
        One sphere per entry, in orthographic view; points on the far side are pale.
    """
    fig, axes = plt.subplots(1, len(directions), figsize=(7.0, 3.7), squeeze=False)
    for ax, (title, points) in zip(axes.flat, directions.items(), strict=True):
        blank(ax, 1.12)
        grey = np.hypot(*np.meshgrid(np.linspace(-1, 1, 200) + 0.35, np.linspace(-1, 1, 200) - 0.4))
        ball = Circle((0, 0), 1, transform=ax.transData, fc="none", ec=QUIET, lw=0.8)
        ax.add_patch(ball)
        shading = ax.imshow(
            grey,
            extent=(-1, 1, -1, 1),
            origin="lower",
            cmap="Greys",
            vmin=-0.6,
            vmax=6,
            interpolation="bilinear",
        )
        shading.set_clip_path(ball)
        _draw_graticule(ax)
        seen = points @ BENCH_VIEW.T
        front = seen[:, 2] > 0
        ax.scatter(*seen[~front, :2].T, s=6, color=PALE, lw=0)
        ax.scatter(*seen[front, :2].T, s=9, color="#0072B2", lw=0, zorder=3)
        pole = BENCH_VIEW[:, 2]
        ax.annotate(
            "z", 1.0 * pole[:2], 1.17 * pole[:2], ha="center", va="center", fontsize=9,
            arrowprops={"arrowstyle": "-", "lw": 0.8},
        )  # fmt: skip
        ax.set_title(title)
    return fig


def _draw_graticule(ax: Axes) -> None:
    """Circles of latitude and longitude on the near side, every 30 degrees."""
    turn = np.radians(np.linspace(0, 360, 181))
    zero = np.zeros_like(turn)
    latitudes = [
        np.stack([np.cos(lat) * np.cos(turn), np.cos(lat) * np.sin(turn), np.sin(lat) + zero], axis=-1)
        for lat in np.radians([-60, -30, 0, 30, 60])
    ]
    longitudes = [
        np.stack([np.cos(turn) * np.cos(lon), np.cos(turn) * np.sin(lon), np.sin(turn)], axis=-1)
        for lon in np.radians(range(0, 180, 30))
    ]
    for circle in latitudes + longitudes:
        seen = circle @ BENCH_VIEW.T
        seen[seen[:, 2] < 0] = np.nan
        ax.plot(seen[:, 0], seen[:, 1], color="white", lw=0.7)


@styled
def fundamental_sectors(directions: Mapping[Shape, np.ndarray]) -> Figure:
    """Reduced beam directions in the fundamental sector of each shape, in equal-area projection.

    Parameters
    ----------
    directions
        Directions reduced by `nanoshape_lib.particles.orientation.reduce`, shape (N, 3), by shape.

    Returns
    -------
    matplotlib.figure.Figure
        One panel per shape, all at the same angular scale.
    """
    fig, axes = plt.subplots(1, len(directions), figsize=(7.4, 1.95), sharex=True, sharey=True)
    for ax, (shape, points) in zip(axes, directions.items(), strict=True):
        draw_sector(ax, shape)
        ax.scatter(*equal_area(points, sector_corners(shape)).T, s=4, color=SHAPE_COLORS[shape], lw=0, zorder=3)
        ax.set_title(f"{shape.title}\n{len(points)} directions", fontsize=8.5)
    return fig


def draw_sector(ax: Axes, shape: Shape) -> None:
    """The fundamental sector of a shape with its corners named, in the projection of `equal_area`."""
    corners = sector_corners(shape)
    outline = np.concatenate([
        np.linspace(start, end, 40)
        for start, end in zip(corners.values(), np.roll(list(corners.values()), -1, axis=0), strict=True)
    ])  # fmt: skip
    outline /= np.linalg.norm(outline, axis=1, keepdims=True)
    ax.fill(*equal_area(outline, corners).T, fc="#f5f5f5", ec=INK, lw=1)
    _label_corners(ax, corners)
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


def _label_corners(ax: Axes, corners: Mapping[str, np.ndarray]) -> None:
    below, right, above = equal_area(np.array(list(corners.values())), corners)
    names = list(corners)
    ax.text(below[0], below[1] - 2, names[0], ha="center", va="top", fontsize=8)
    ax.text(right[0], right[1] - 2, names[1], ha="center", va="top", fontsize=8)
    ax.text(above[0], above[1] + 1.5, names[2], ha="center", va="bottom", fontsize=8)
