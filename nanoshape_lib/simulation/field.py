"""Synthetic micrographs: many particles on one carbon film, in a field larger than that of a single wave."""

import math
from typing import Literal

import numpy as np
import pandas as pd
import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from tqdm import tqdm

from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.particles import orientation, shapes
from nanoshape_lib.particles.decoys import lattice_ratio
from nanoshape_lib.particles.specimen import FIELD_A
from nanoshape_lib.simulation.exit_waves import FIDELITIES, exit_wave, fidelity, film_wave, wave_pixels
from nanoshape_lib.simulation.film import BLOCKS, Placement, Scene, load_block, turned_scene
from nanoshape_lib.simulation.imaging import form_images
from nanoshape_lib.simulation.multislice import Grid, fit_spectrum, propagator, slices
from nanoshape_lib.simulation.optics import Camera, Microscope

SMALLEST_A, LARGEST_A = 40.0, 80.0
NEAR_A = 12.0
TRIES = 2000


class MicrographDesign(BaseModel):
    """Everything that determines a micrograph, down to the last random number.

    The field is ``tiles x 128`` Å wide and periodic, and so is its carbon film, which is one block laid
    ``tiles x tiles`` times: a film of several blocks would have seams. ``gap_A`` is the least distance
    between the circles around two particles; half of the particles are put within 12 Å of that. All are of one
    ``metal``. ``slope`` is the relative change of the illumination across the field along x and y, ``spikes`` the
    number of pixels struck by x-rays.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    seed: int = Field(0, ge=0)
    tiles: int = Field(4, ge=1, le=8)
    particles: int = Field(12, ge=1, le=200)
    gap_A: float = Field(6.0, ge=2.0, le=500.0)
    metal: Literal["Au", "Ag", "Cu", "Pd", "Pt"] = "Au"
    block: int = Field(0, ge=0, lt=BLOCKS)
    defocus_A: float = Field(80.0, ge=-2000.0, le=2000.0)
    fidelity: str = "fast"
    microscope: Microscope = Microscope()
    camera: Camera = Camera(pixels=512, dose_e_A2=300.0)
    slope: tuple[float, float] = (0.0, 0.0)
    spikes: int = Field(0, ge=0, le=10_000)

    @model_validator(mode="after")
    def _consistent(self) -> "MicrographDesign":
        if self.fidelity not in FIDELITIES:
            raise ValueError(f"fidelity is {self.fidelity!r}, but must be one of {', '.join(FIDELITIES)}")
        if not math.isclose(self.camera.field_A, self.field_A):
            raise ValueError(
                f"camera.pixels x pixel_size_A is {self.camera.field_A:g} Å, but must be"
                f" {self.field_A:g} Å, the field of {self.tiles} tiles"
            )
        if sum(map(abs, self.slope)) >= 2:
            raise ValueError(f"slope is {self.slope}, but must leave light everywhere: the sum must stay below 2")
        return self

    @property
    def field_A(self) -> float:
        """Side of the square field [Å]."""
        return self.tiles * FIELD_A


def place(design: MicrographDesign) -> pd.DataFrame:
    """What lies where: the truth of a micrograph, without its image, in one row a particle.

    Columns are ``label``, ``shape``, ``size_A`` and ``atoms``; ``x_A`` and ``y_A``, its centre in the field, and
    ``row`` and ``column``, the same in pixels of the image, which is indexed [x, y]; ``diameter_A``, that of the circle
    around it as the beam sees it; the Euler angles ``psi_deg``, ``theta_deg`` and ``phi_deg`` of
    :func:`nanoshape_lib.particles.orientation.euler`. Raises NanoshapeError if so many particles find no room.
    """
    rng = np.random.default_rng(np.random.SeedSequence(design.seed, spawn_key=(0,)))
    labels = np.concatenate([rng.permutation(len(shapes.Shape)) for _ in range(-(-design.particles // 5))])
    turns = orientation.random_rotations(design.particles, rng)
    rows: list[dict] = []
    ratio = lattice_ratio(design.metal)
    for label, rotation in zip(labels[: design.particles].tolist(), turns, strict=True):
        sizes = shapes.available_sizes(label, SMALLEST_A, LARGEST_A)
        gold_A, atoms = sizes[rng.integers(len(sizes))]
        across = ratio * shapes.build(label, gold_A).positions @ rotation[:2].T
        radius_A = float(np.linalg.norm(across, axis=1).max())
        x_A, y_A = _free_place(rows, radius_A, design, rng)
        psi, theta, phi = (float(angle) for angle in orientation.to_euler(rotation))
        rows.append(
            {"label": label, "shape": shapes.Shape(label).title, "size_A": ratio * gold_A, "atoms": atoms}
            | {"x_A": x_A, "y_A": y_A, "diameter_A": 2 * radius_A}
            | {"psi_deg": psi, "theta_deg": theta, "phi_deg": phi}
        )
    truth = pd.DataFrame(rows)
    for name, along in (("row", "x_A"), ("column", "y_A")):
        # Pixel (0, 0) covers the field's corner, so that its centre lies half a pixel inside.
        truth[name] = truth[along] / design.camera.pixel_size_A - 0.5
    return truth


def _free_place(
    rows: list[dict], radius_A: float, design: MicrographDesign, rng: np.random.Generator
) -> tuple[float, float]:
    """A place inside the field for a circle that keeps its gap to all others; every second one near another."""
    field_A = design.field_A
    if field_A < 2 * radius_A:
        raise NanoshapeError(f"tiles is {design.tiles}, but a particle is {2 * radius_A:.0f} Å wide")
    for _ in range(TRIES):
        spot = rng.uniform(radius_A, field_A - radius_A, 2)
        if len(rows) % 2:
            other, angle = rows[rng.integers(len(rows))], rng.uniform(0, 2 * np.pi)
            apart = other["diameter_A"] / 2 + radius_A + design.gap_A + rng.uniform(0, NEAR_A)
            spot = np.array([other["x_A"], other["y_A"]]) + apart * np.array([np.cos(angle), np.sin(angle)])
        free = bool((spot >= radius_A).all() and (spot <= field_A - radius_A).all())
        for row in rows:
            delta = np.abs(spot - [row["x_A"], row["y_A"]])
            delta = np.minimum(delta, field_A - delta)
            free &= math.hypot(*delta) >= row["diameter_A"] / 2 + radius_A + design.gap_A
        if free:
            return float(spot[0]), float(spot[1])
    raise NanoshapeError(
        f"particles is {design.particles}, but after {len(rows)} there is no room in the field of {field_A:g} Å"
    )


def _scenes(design: MicrographDesign, truth: pd.DataFrame) -> tuple[list[Scene], list[tuple[int, int]]]:
    """Each particle on its part of the film, in a field of 128 Å, and that field's corner [Å]."""
    rng = np.random.default_rng(np.random.SeedSequence(design.seed, spawn_key=(1,)))
    ratio, scenes, corners = lattice_ratio(design.metal), [], []
    for row in truth.to_dict("records"):
        corner = (math.floor(row["x_A"] - FIELD_A / 2), math.floor(row["y_A"] - FIELD_A / 2))
        particle = shapes.build(row["label"], row["size_A"] / ratio)
        particle.symbols[:] = design.metal
        particle.positions *= ratio
        turn = orientation.euler(row["psi_deg"], row["theta_deg"], row["phi_deg"])
        shift = (row["x_A"] - FIELD_A / 2 - corner[0], row["y_A"] - FIELD_A / 2 - corner[1])
        roll = (-corner[0] % int(FIELD_A), -corner[1] % int(FIELD_A))
        scenes.append(turned_scene(particle, turn, Placement(design.block, roll), rng, shift))
        corners.append(corner)
    return scenes, corners


def field_wave(design: MicrographDesign) -> tuple[torch.Tensor, pd.DataFrame]:
    """The exit wave (N, N) of the whole field, indexed [x, y], and the truth with each particle's own ``defocus_A``.

    The film's wave is laid out periodically, and what each particle adds to it is put in its place. That is exact as
    long as what one particle scatters does not pass through another. The wave is referred to one plane, the mean of the
    particles' mid-planes: particles of other heights are out of focus by the difference, as in a real image. Raises
    NanoshapeError as :func:`place` does.
    """
    truth = place(design)
    scenes, corners = _scenes(design, truth)
    microscope, grid = design.microscope, fidelity(design.fidelity)
    energy, n = microscope.energy_eV, wave_pixels(microscope)
    field, limit = Grid((n, n), (FIELD_A, FIELD_A)), microscope.aperture_per_A
    plane_A = float(np.mean([scene.mid_plane_A for scene in scenes]))
    truth["defocus_A"] = [design.defocus_A + scene.mid_plane_A - plane_A for scene in scenes]

    # Whole pixels to the ångström, so that particles can be put at whole ångströms.
    pixels_per_A = math.ceil(n / FIELD_A)
    coarse = pixels_per_A * round(FIELD_A)
    _, thickness = slices(load_block(design.block).cell.lengths()[2], grid.slice_A)
    back = propagator(field, energy, plane_A - thickness / 2, limit)
    behind = fit_spectrum(torch.fft.fft2(film_wave(design.block, energy, grid), norm="forward"), field.pixels) * back
    film = torch.fft.ifft2(fit_spectrum(behind, (coarse, coarse)), norm="forward")
    whole = film.repeat(design.tiles, design.tiles)
    for scene, corner in tqdm(list(zip(scenes, corners, strict=True)), desc="particles", unit="wave"):
        spectrum = torch.fft.fft2(torch.as_tensor(exit_wave(scene, microscope, grid)), norm="forward")
        spectrum *= propagator(field, energy, plane_A - scene.mid_plane_A, limit)
        rows, columns = ((torch.arange(coarse) + pixels_per_A * start) % len(whole) for start in corner)
        alone = film[rows[:, None] % coarse, columns % coarse]
        particle = torch.fft.ifft2(fit_spectrum(spectrum, (coarse, coarse)), norm="forward")
        whole[rows[:, None], columns] += particle - alone
    return whole, truth


def form_micrograph(
    wave: torch.Tensor,
    defocus_A: float,
    microscope: Microscope,
    camera: Camera,
    seed: int = 0,
    slope: tuple[float, float] = (0.0, 0.0),
) -> np.ndarray:
    """The image (pixels, pixels), indexed [x, y], of a wave of the camera's field, under light with a slope."""
    across = (torch.arange(camera.pixels) + 0.5) / camera.pixels - 0.5
    light = 1 + slope[0] * across[:, None] + slope[1] * across
    generator = torch.Generator().manual_seed(seed)
    return form_images(wave, [defocus_A], microscope, camera, generator, None, camera.field_A, light)[0].numpy()
