"""What the page without a kernel knows of its waves, particles and optics."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from nanoshape_lib.book.assets import write_asset, write_json
from nanoshape_lib.book.stored_waves import StoredWave, stored_waves
from nanoshape_lib.figures.structures import outward_normal
from nanoshape_lib.figures.style import SHAPE_COLORS
from nanoshape_lib.particles import shapes
from nanoshape_lib.particles.orientation import sector_corners
from nanoshape_lib.particles.shapes import GOLD_LATTICE_CONSTANT_A, GOLD_NEIGHBOUR_DISTANCE_A, Shape
from nanoshape_lib.particles.specimen import FIELD_A
from nanoshape_lib.simulation.exit_waves import wave_pixels
from nanoshape_lib.simulation.imaging import focal_modes, intensity_pixels
from nanoshape_lib.simulation.optics import Camera, Microscope
from nanoshape_lib.widgets.knobs import KNOBS

# Atoms nearer to a facet than this share of the distance of neighbours are its outermost layer.
SURFACE = 0.5
# Of the amplitudes of the focal modes, which are at most one.
DIGITS = 6


def waves_assets(
    folder: Path,
    divisions: int = 3,
    sizes_A: tuple[float, ...] = (45.0, 65.0),
    fidelity: str = "standard",
) -> list[StoredWave]:
    """Write the assets ``waves`` (JSON, see :func:`catalogue`) and ``particles``, and one for each wave.

    ``particles`` (JSON) holds the surface atoms (3 N coordinates, in hundredths of an Å) of each ``shape-size``.

    Parameters
    ----------
    folder
        Where the page looks for its assets.
    divisions, sizes_A, fidelity
        As for :func:`nanoshape_lib.book.stored_waves.stored_waves`.

    Returns
    -------
    list of StoredWave
        What was written.
    """
    waves = list(stored_waves(divisions, sizes_A, fidelity))
    for wave in waves:
        write_asset(folder, wave.name, wave.data)
    write_json(folder, "waves", catalogue(waves))
    particles = {
        f"{int(shape)}-{size_A:g}": np.rint(100 * surface(shape, size_A)).astype(int).ravel().tolist()
        for shape in Shape
        for size_A in sizes_A
    }
    write_json(folder, "particles", particles)
    return waves


def surface(shape: Shape, size_A: float) -> np.ndarray:
    """Positions (N, 3) [Å] of the outermost atoms of a particle."""
    atoms = shapes.build(shape, size_A)
    planes = [(outward_normal(face), face[0]) for face in shapes.facets(atoms)]
    depth = np.stack([normal @ point - atoms.positions @ normal for normal, point in planes])
    return atoms.positions[depth.min(axis=0) < SURFACE * GOLD_NEIGHBOUR_DISTANCE_A]


def catalogue(waves: Iterable[StoredWave]) -> dict[str, Any]:
    """What the page must know before it shows anything.

    Returns
    -------
    dict
        ``optics``: field [Å], wavelength [Å], aperture [1/Å], pixels of wave, intensity and camera, and the focal
        modes (m, 129) of each focal spread [Å]; ``mtf``: what no knob sets; ``knobs``; ``gold``: distance of neighbours
        and of {111} planes [Å]; ``shapes``: name, colour and sector corners; ``waves``: all but the bytes.
    """
    microscope, camera = Microscope(), Camera()
    knob = KNOBS["focal_spread_A"]
    modes = {
        f"{spread:g}": focal_modes(microscope.model_copy(update={"focal_spread_A": spread})).round(DIGITS).tolist()
        for spread in np.arange(knob.minimum, knob.maximum + knob.step, knob.step)
    }
    return {
        "optics": {
            "field_A": FIELD_A,
            "wavelength_A": microscope.wavelength_A,
            "aperture_per_A": microscope.aperture_per_A,
            "wave_pixels": wave_pixels(microscope),
            "intensity_pixels": intensity_pixels(microscope, camera),
            "camera_pixels": camera.pixels,
            "modes": modes,
        },
        "mtf": {"c1": camera.mtf_c1, "c3": camera.mtf_c3},
        "knobs": knobs(),
        "gold": {"neighbours_A": GOLD_NEIGHBOUR_DISTANCE_A, "planes_111_A": GOLD_LATTICE_CONSTANT_A / np.sqrt(3)},
        "shapes": [
            {
                "name": shape.title,
                "label": int(shape),
                "colour": SHAPE_COLORS[shape],
                "corners": {name: axis.tolist() for name, axis in sector_corners(shape).items()},
            }
            for shape in Shape
        ],
        "waves": [
            {
                "name": wave.name,
                "shape": int(wave.shape),
                "size_A": wave.size_A,
                "atoms": wave.atoms,
                "direction": wave.direction.tolist(),
                "rotation": wave.rotation.ravel().tolist(),
            }
            for wave in waves
        ],
    }


def knobs() -> list[dict]:
    """Knobs of the page: those of the widgets that neither need a new wave nor another number of pixels."""
    return [knob._asdict() for knob in KNOBS.values() if knob.group != "particle" and knob.name != "pixel_size_A"]
