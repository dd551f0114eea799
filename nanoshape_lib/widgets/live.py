"""Pictures for widgets, made in milliseconds and in any thread: HTML with a description of what is seen."""

import base64
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape

import numpy as np
import torch
from ase import Atoms
from matplotlib.colors import to_rgb
from PIL import Image, ImageDraw

from nanoshape_lib.figures.structures import LIGHT, equal_area
from nanoshape_lib.figures.style import SHAPE_COLORS
from nanoshape_lib.particles.orientation import sector_corners
from nanoshape_lib.particles.shapes import GOLD_NEIGHBOUR_DISTANCE_A, Shape
from nanoshape_lib.particles.specimen import FIELD_A
from nanoshape_lib.simulation.imaging import mtf, phase_transfer
from nanoshape_lib.widgets.drawing import ENVELOPE, GOLD_111_A, SIDE_VIEW, TRANSFER, as_grey, signed, wave_maps
from nanoshape_lib.widgets.explorer_model import ExplorerModel, Simulated, power_spectrum

SCREEN_PIXELS = 384
BALL_PIXELS = 320
CARBON = (0.85, 0.85, 0.85)
CAMERA = "#009E73"


def picture(pixels: np.ndarray, alt: str, width: int = SCREEN_PIXELS, label: str = "") -> str:
    """HTML of an image of bytes, (rows, columns) or (rows, columns, 3), with its description and a line below."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="png", compress_level=1)
    return embedded(buffer.getvalue(), alt, width, label)


def embedded(png: bytes, alt: str, width: int, label: str = "") -> str:
    """HTML of a PNG file, with its description and a line below."""
    data = base64.b64encode(png).decode()
    style = f"display: block; width: {width}px; max-width: 100%; height: auto; aspect-ratio: auto"
    shown = f'<img decoding="sync" alt="{escape(alt)}" style="{style}" src="data:image/png;base64,{data}">'
    below = f'<div style="max-width: {width}px">{label}</div>' if label else ""
    return shown + below


def enlarged(grey: np.ndarray, at_least: int = SCREEN_PIXELS) -> np.ndarray:
    """Every pixel as a square of whole screen pixels, so that lattice fringes beat with nothing."""
    times = math.ceil(at_least / len(grey))
    return grey.repeat(times, axis=0).repeat(times, axis=1)


def balls(atoms: Atoms, rotation: np.ndarray, film_from_A: float | None = None) -> np.ndarray:
    """Atoms as lit balls seen along -z, over the whole field: bytes (320, 320, 3), rows from top to bottom.

    Each ball has its own depth at every pixel, and the nearest surface is seen.

    Parameters
    ----------
    atoms
        The particle, centred at the origin.
    rotation
        Applied to the positions.
    film_from_A
        Height [Å] from which on a band of carbon fills the picture.
    """
    scale = BALL_PIXELS / FIELD_A
    radius = scale * GOLD_NEIGHBOUR_DISTANCE_A / 2
    # Balls far below the surface are never seen, but sorting them costs less than finding them.
    x, y, z = scale * (atoms.positions @ rotation.T).T
    order = np.argsort(z)
    x, y, z = x[order] + BALL_PIXELS / 2, BALL_PIXELS / 2 - y[order], z[order]
    column, row = np.floor(x).astype(int), np.floor(y).astype(int)
    margin = math.ceil(radius) + 1
    side = BALL_PIXELS + 2 * margin
    depth = np.full(side * side, -np.inf)
    normal = np.zeros((side * side, 3))
    inside = (column >= 0) & (column < BALL_PIXELS) & (row >= 0) & (row < BALL_PIXELS)
    x, y, z, column, row = (values[inside] for values in (x, y, z, column, row))
    for across in range(-margin, margin + 1):
        for down in range(-margin, margin + 1):
            dx, dy = column + across + 0.5 - x, row + down + 0.5 - y
            height2 = radius**2 - dx**2 - dy**2
            hit = np.flatnonzero(height2 > 0)
            height = np.sqrt(height2[hit])
            place = (row[hit] + down + margin) * side + column[hit] + across + margin
            nearer = z[hit] + height > depth[place]
            # Of balls at one place the last, which is the nearest, is the one that is kept.
            hit, height, place = hit[nearer], height[nearer], place[nearer]
            depth[place] = z[hit] + height
            normal[place] = np.stack([dx[hit], -dy[hit], height], axis=-1) / radius
    brightness = 0.16 + 0.84 * np.clip(normal @ LIGHT, 0, 1)
    colour = np.array(to_rgb(SHAPE_COLORS[Shape(atoms.info["shape"])]))
    # Dark, the colour itself, and a highlight.
    stops = np.array([colour * 0.1, colour, colour + (1 - colour) * 0.8])
    lit = np.stack([np.interp(brightness, [0, 0.8, 1], stops[:, channel]) for channel in range(3)], axis=-1)
    lit[np.isinf(depth)] = 1.0
    view = lit.reshape(side, side, 3)[margin:-margin, margin:-margin]
    if film_from_A is not None:
        empty = np.isinf(depth).reshape(side, side)[margin:-margin, margin:-margin]
        above = FIELD_A / 2 - (np.arange(BALL_PIXELS) + 0.5) / scale > film_from_A
        view[above[:, None] & empty] = CARBON
    return np.round(255 * view).astype(np.uint8)


def particle_pictures(simulated: Simulated) -> list[str]:
    """The particle along the beam and from the side; phase and amplitude of its exit wave: HTML."""
    atoms, rotation = simulated.atoms, simulated.rotation
    shape = Shape(atoms.info["shape"])
    phase, amplitude = wave_maps(simulated.wave)
    film = "; the beam comes from above and meets the carbon first" if simulated.film_below_A is not None else ""
    shown = [
        picture(
            balls(atoms, rotation),
            f"{shape.title} of {len(atoms)} atoms as the camera sees it, along the beam",
            label="particle along the beam",
        ),
        picture(
            balls(atoms, SIDE_VIEW @ rotation, simulated.film_below_A),
            f"the same {shape.title} from the side{film}",
            label="from the side, the beam comes from above",
        ),
    ]
    for values, name, unit in ((phase, "phase", " rad"), (amplitude, "amplitude", " times the incident")):
        low, high = np.quantile(values, [0.002, 0.998])
        grey = np.round(255 * np.clip((values - low) / (high - low), 0, 1)).astype(np.uint8)[::-1]
        text = f"{name} of the exit wave: black {low:.2f}, white {high:.2f}{unit}".replace("-", "−")
        shown.append(picture(enlarged(grey), text, label=text))
    return shown


def image_picture(image: np.ndarray, model: ExplorerModel) -> str:
    """The image with its settings in words: HTML."""
    words = (
        f"image, {FIELD_A:g} Å wide, {len(image)} × {len(image)} pixels, defocus {signed(model.imaging.defocus_A)} Å"
    )
    alt = f"Simulated {words}, of a {model.particle.shape.title}"
    return picture(enlarged(as_grey(image)), alt, label=words)


def spectrum_picture(image: np.ndarray, pixel_size_A: float) -> str:
    """The logarithm of an image's power spectrum, with the ring of the {111} planes of gold if the camera has it."""
    values = power_spectrum(image).T[::-1]
    low, high = np.quantile(values, [0.05, 0.9995])
    grey = np.round(255 * np.clip((values - low) / (high - low), 0, 1)).astype(np.uint8)
    large = Image.fromarray(enlarged(grey)).convert("RGB")
    edge_per_A = 0.5 / pixel_size_A
    words = f"power spectrum (logarithm) up to {edge_per_A:.2f} Å⁻¹"
    if edge_per_A > 1 / GOLD_111_A:
        # Zero frequency is the pixel n // 2, from below along y.
        step = large.width / len(image)
        x, y = (len(image) // 2 + 0.5) * step, (len(image) - len(image) // 2 - 0.5) * step
        radius = len(image) * pixel_size_A / GOLD_111_A * step
        ImageDraw.Draw(large).ellipse([x - radius, y - radius, x + radius, y + radius], outline=TRANSFER, width=2)
        words += f"; ring: {{111}} planes of gold, 1/{GOLD_111_A:.2f} Å"
    else:
        words += f"; the {{111}} planes of gold, 1/{GOLD_111_A:.2f} Å, lie beyond the camera's band"
    return picture(np.asarray(large), f"Grey square: {words}", label=words)


def _path(x: np.ndarray, y: np.ndarray) -> str:
    return "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in zip(x.tolist(), y.tolist(), strict=True))


def transfer_curve(model: ExplorerModel) -> str:
    """Contrast transfer of a weak phase object with its envelope, and the camera's: an SVG."""
    microscope, camera = model.microscope, model.camera
    width, height, left, top, bottom = 400, 250, 38, 20, 36
    inner, middle, half = width - left - 12, top + (height - top - bottom) / 2, (height - top - bottom) / 2
    q = np.linspace(0, microscope.aperture_per_A, 401)
    transfer, envelope = phase_transfer(q, model.imaging.defocus_A, microscope)
    # In one direction, along the pixels' rows: a pixel integrates over its width.
    seen = mtf(camera, torch.as_tensor(q)).numpy() * np.abs(np.sinc(q * camera.pixel_size_A))
    x = left + inner * q / q[-1]
    text = 'font-size="11" fill="currentColor"'
    parts = [f'<path d="M{left} {middle}H{width - 12}M{left} {top}V{height - bottom}" stroke="#888" fill="none"/>']
    for tick in (-1, 0, 1):
        parts.append(f'<text x="{left - 6}" y="{middle - tick * half + 4}" text-anchor="end" {text}>{tick:d}</text>')
    for tick in np.arange(0, q[-1] + 1e-9, 0.2):
        parts.append(
            f'<text x="{left + inner * tick / q[-1]:.1f}" y="{height - bottom + 14}" text-anchor="middle" {text}>'
            f"{tick:.1f}</text>"
        )
    parts.append(
        f'<text x="{left + inner / 2}" y="{height - 6}" text-anchor="middle" {text}>spatial frequency [1/Å]</text>'
    )
    marks = (("{111}", 1 / GOLD_111_A, -3, "end"), ("Nyquist", 0.5 / camera.pixel_size_A, 3, "start"))
    for name, place, right, anchor in marks:
        if place < q[-1]:
            at = left + inner * place / q[-1]
            parts.append(f'<path d="M{at:.1f} {top - 12}V{height - bottom}" stroke="#888" stroke-dasharray="2 3"/>')
            parts.append(f'<text x="{at + right:.1f}" y="{top - 4}" text-anchor="{anchor}" {text}>{name}</text>')
    for values, colour, dashes in (
        (envelope, ENVELOPE, "6 4"),
        (-envelope, ENVELOPE, "6 4"),
        (seen, CAMERA, "1 3"),
        (transfer, TRANSFER, ""),
    ):
        line = f'stroke="{colour}" stroke-width="{1.5 if dashes else 2}" stroke-dasharray="{dashes}" fill="none"'
        parts.append(f'<path d="{_path(x, middle - half * np.asarray(values))}" {line}/>')
    alt = (
        f"Contrast transfer over spatial frequency at a defocus of {model.imaging.defocus_A:.0f} Å; the envelope has"
        f" fallen to {np.interp(1 / GOLD_111_A, q, envelope):.0%} at the {{111}} planes of gold"
    )
    shape = f'viewBox="0 0 {width} {height}" style="width: 100%; max-width: {width}px; height: auto"'
    label = (
        f'contrast transfer (<span style="color: {TRANSFER}">solid</span>), its coherence envelope (dashed), and'
        " the camera's transfer (dotted)"
    )
    return f'<svg role="img" aria-label="{escape(alt)}" {shape}>{"".join(parts)}</svg><div>{label}</div>'


def bars(outputs: np.ndarray) -> str:
    """Five probabilities as a table with a bar in each row; the numbers stand beside the bars."""
    rows = []
    for shape, output in zip(Shape, outputs, strict=True):
        name = f"<b>{shape.title}</b>" if output == outputs.max() else shape.title
        bar = f"width: {100 * output:.1f}%; height: 0.9em; background: {SHAPE_COLORS[shape]}"
        percent = f'<td style="white-space: nowrap">{100 * output:.0f} %</td>'
        rows.append(f'<tr><td>{name}</td><td style="width: 35%"><div style="{bar}"></div></td>{percent}</tr>')
    caption = '<caption style="color: inherit">Probabilities of the five shapes</caption>'
    return f'<table style="width: 100%">{caption}{"".join(rows)}</table>'


def _sector_box(shape: Shape) -> tuple[float, float, float, float]:
    """Left, top, width and height of a sector's drawing in the units of `equal_area`, with room for the names."""
    corners = sector_corners(shape)
    right, high = equal_area(np.array(list(corners.values())), corners).max(axis=0)
    return (-0.14 * right, -1.1 * high, 1.28 * right, 1.24 * high)


def sector_place(points: np.ndarray, shape: Shape) -> np.ndarray:
    """Places (N, 2) of points of `equal_area` from the left and from the top, in shares of `sector`'s picture."""
    left, top, width, height = _sector_box(shape)
    return np.stack([(points[:, 0] - left) / width, (-points[:, 1] - top) / height], axis=-1)


def sector(shape: Shape, points: np.ndarray, alt: str, marks: Sequence[float] = ()) -> str:
    """A shape's fundamental sector of beam directions with its corners named, as an SVG.

    Parameters
    ----------
    shape
        The shape.
    points
        Places (N, 2) from `equal_area`.
    alt
        What is seen.
    marks
        Area of each point, in shares of the largest.
    """
    corners = sector_corners(shape)
    vertices = np.array(list(corners.values()))
    share = np.linspace(0, 1, 24)[:, None]
    outline = np.concatenate(
        [start + share * (end - start) for start, end in zip(vertices, np.roll(vertices, -1, axis=0), strict=True)]
    )
    outline /= np.linalg.norm(outline, axis=1, keepdims=True)
    x, y = equal_area(outline, corners).T
    box = _sector_box(shape)
    unit = box[2] / 100
    line = f'fill="#8881" stroke="currentColor" stroke-width="{0.6 * unit:.2f}"'
    parts = [f'<path d="{_path(x, -y)}Z" {line}/>']
    named = zip(corners, equal_area(vertices, corners), (5.5, 5.5, -2), strict=True)
    for name, (across, up), down in named:
        where = f'x="{across:.1f}" y="{-up + down * unit:.1f}" font-size="{5 * unit:.2f}"'
        parts.append(f'<text {where} text-anchor="middle" fill="currentColor">{name}</text>')
    for (across, up), mark in zip(points, marks, strict=False):
        parts.append(
            f'<circle cx="{across:.2f}" cy="{-up:.2f}" r="{unit * (0.8 + 1.7 * math.sqrt(mark)):.2f}"'
            f' fill="{SHAPE_COLORS[shape]}" fill-opacity="0.7" stroke="currentColor" stroke-width="{unit / 4:.2f}"/>'
        )
    shown = " ".join(f"{value:.2f}" for value in box)
    style = "display: block; width: 100%; height: auto"
    return f'<svg role="img" aria-label="{escape(alt)}" viewBox="{shown}" style="{style}">{"".join(parts)}</svg>'


def strip(images: Iterable[np.ndarray], labels: Sequence[str], alts: Sequence[str], width: int = 128) -> str:
    """Images side by side, as many in a row as fit, each with a line or more below it: HTML."""
    cells = [
        f'<div style="width: {width}px">{picture(as_grey(image), alt, width, label)}</div>'
        for image, label, alt in zip(images, labels, alts, strict=True)
    ]
    return f'<div style="display: flex; flex-wrap: wrap; gap: 0.5em">{"".join(cells)}</div>'


def shares(counts: Mapping[Shape, int]) -> str:
    """Counts of some shapes with their share of all, the largest first, in words."""
    total = sum(counts.values())
    ordered = sorted(counts.items(), key=lambda pair: -pair[1])
    return ", ".join(f"{shape.title} {count} ({count / total:.0%})" for shape, count in ordered if count)
