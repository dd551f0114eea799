"""What a network never saw: other particles, other metals, bare carbon, and images taken in another way.

Every kind goes through the pipeline of the data set: turned at random, shaken, laid on a film, exit wave, camera.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from ase import Atoms
from tqdm import tqdm

from nanoshape_lib.datasets.design import DatasetDesign
from nanoshape_lib.datasets.exposures import Draw, expose
from nanoshape_lib.datasets.images import ImageSet
from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.particles import orientation
from nanoshape_lib.particles.decoys import (
    Builder,
    carbon,
    decahedron,
    known,
    metal,
    pair,
    rod,
    sphere,
    truncated_cube,
    twin,
)
from nanoshape_lib.particles.specimen import EDGE_A, FIELD_A, shake
from nanoshape_lib.paths import replacing
from nanoshape_lib.simulation.exit_waves import exit_wave
from nanoshape_lib.simulation.film import Placement, Scene, deposit
from nanoshape_lib.simulation.ranges import Setting

# Version of the kinds, raised when their waves or images change; see `paths.cache_key`.
RECIPE = 1


@dataclass(frozen=True)
class Stranger:
    """A kind: a particle that is none of the five, or one of the five imaged in another way.

    ``waves`` names the kind whose exit waves serve. With ``camera_pixels`` the field is divided into so many
    pixels, of which 128 are taken as if each were 1 Å: its continuation is periodic where they are fewer. ``streams``
    are those of the random numbers of its particles and of its images, other numbers for every kind.
    """

    streams: tuple[int, int]
    build: Builder = known
    turned: bool = True
    waves: str | None = None
    defoci_A: tuple[float, ...] | None = None
    dose_e_A2: float | None = None
    astigmatism_A: float | None = None
    camera_pixels: int | None = None

    def change(self, number: int, setting: Setting, rng: np.random.Generator) -> Setting:
        """The setting of the image of this number in a series, with what makes the kind."""
        changed: dict[str, float] = {}
        if self.defoci_A is not None:
            changed["defocus_A"] = self.defoci_A[number % len(self.defoci_A)]
        if self.dose_e_A2 is not None:
            changed["dose_e_A2"] = self.dose_e_A2
        if self.astigmatism_A is not None:
            changed |= {"astigmatism_A": self.astigmatism_A, "astigmatism_deg": rng.uniform(0, 180)}
        return setting.model_copy(update=changed)


KNOWN = "known"
KINDS: dict[str, Stranger] = {
    KNOWN: Stranger((2059804162, 368066682)),
    "bare carbon": Stranger((1019339308, 3394778954), carbon),
    "overlapping pair": Stranger((4287362234, 1213725368), pair, turned=False),
    "Marks decahedron": Stranger((2756689284, 328446854), decahedron),
    "single twin": Stranger((285350883, 3885747845), twin),
    "sphere": Stranger((1442408071, 189311447), sphere),
    "truncated cube": Stranger((2245598684, 3156193282), truncated_cube),
    "rod": Stranger((9352965, 4207261141), rod),
    "platinum": Stranger((800210029, 2664620201), metal("Pt")),
    "palladium": Stranger((261144766, 2468914891), metal("Pd")),
    "copper": Stranger((3180297205, 3812537509), metal("Cu")),
    "silver": Stranger((794499163, 1911215883), metal("Ag")),
    "pixel 0.80 Å": Stranger((2172813259, 1151099688), waves=KNOWN, camera_pixels=160),
    "pixel 0.90 Å": Stranger((3168949883, 2046577304), waves=KNOWN, camera_pixels=142),
    "pixel 1.10 Å": Stranger((719656462, 4026206957), waves=KNOWN, camera_pixels=116),
    "pixel 1.21 Å": Stranger((3589868475, 283580248), waves=KNOWN, camera_pixels=106),
    "defocus ±500 Å": Stranger((2628526365, 728772383), waves=KNOWN, defoci_A=(-525, -475, 475, 525)),
    "defocus ±1000 Å": Stranger((2241572140, 1797394446), waves=KNOWN, defoci_A=(-1025, -975, 975, 1025)),
    "dose 50 e/Å²": Stranger((983050911, 56526657), waves=KNOWN, dose_e_A2=50),
    "dose 20 e/Å²": Stranger((1593395030, 1732242056), waves=KNOWN, dose_e_A2=20),
    "astigmatism 100 Å": Stranger((2174708343, 1410437678), waves=KNOWN, astigmatism_A=100),
    "astigmatism 200 Å": Stranger((118167769, 3531989120), waves=KNOWN, astigmatism_A=200),
}


def find(kind: str) -> Stranger:
    """The stranger of this name."""
    if kind not in KINDS:
        raise NanoshapeError(f"kind is {kind!r}, but must be one of {', '.join(KINDS)}")
    return KINDS[kind]


def _random(design: DatasetDesign, stream: int, index: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(design.seed, spawn_key=(stream, index)))


def lay(particle: Atoms, design: DatasetDesign, blocks: tuple[int, ...], rng: np.random.Generator) -> Scene:
    """A particle, shaken, somewhere on a film that is cut at random from one of some blocks of carbon."""
    particle = shake(particle, rng)
    film = Placement(
        block=int(blocks[rng.integers(len(blocks))]),
        roll_A=(int(rng.integers(int(FIELD_A))), int(rng.integers(int(FIELD_A)))),
        quarter_turns=int(rng.integers(4)),
        mirror=bool(rng.integers(2)),
    )
    extent = np.abs(particle.positions[:, :2]).max(axis=0)
    x, y = rng.uniform(-1, 1, 2) * np.clip(FIELD_A / 2 - EDGE_A - extent, 0.0, design.max_shift_A)
    return deposit(particle, film, (x, y), downstream=design.beam == "particle first")


def turned_wave(particle: Atoms, design: DatasetDesign, rng: np.random.Generator) -> np.ndarray:
    """Exit wave (2, m, m), float16, of a particle turned at random and laid on a film of the training."""
    particle.positions = particle.positions @ orientation.random_rotations(1, rng)[0].T
    wave = exit_wave(lay(particle, design, design.train.blocks, rng), design.microscope, design.fidelity)
    return np.stack([wave.real, wave.imag]).astype(np.float16)


def make_scene(kind: str, design: DatasetDesign, index: int) -> Scene:
    """Scene number ``index`` of a kind, on one of the films of the design's test set, of the design's sizes.

    It depends on the design's seed, the kind and the index alone. ``particle.info`` has ``size_A`` and, for
    the five shapes, ``shape``.
    """
    stranger = find(kind)
    rng = _random(design, stranger.streams[0], index)
    particle = stranger.build(design.sizes_A[index % len(design.sizes_A)], rng)
    if stranger.turned:
        particle.positions = particle.positions @ orientation.random_rotations(1, rng)[0].T
    return lay(particle, design, design.test.blocks, rng)


def make_waves(kind: str, design: DatasetDesign, count: int, folder: Path) -> tuple[np.ndarray, pd.DataFrame]:
    """Exit waves (count, n, n) of a kind, complex64, and ``group``, ``label`` (-1: none of the five) and ``size_A``.

    They are kept in the folder, kind by kind, as float16; the next call reads them.
    """
    kind = find(kind).waves or kind
    path = folder / f"{kind.replace(' ', '_')}-{count}.npz"
    if not path.exists():
        rows, waves = [], []
        for index in tqdm(range(count), desc=kind, unit="wave"):
            scene = make_scene(kind, design, index)
            wave = exit_wave(scene, design.microscope, design.fidelity)
            waves.append(np.stack([wave.real, wave.imag]).astype(np.float16))
            rows.append((index, scene.particle.info.get("shape", -1), scene.particle.info["size_A"]))
        with replacing(path) as partial:
            np.savez(partial, waves=np.stack(waves), table=np.array(rows, float))
    with np.load(path) as file:
        real, imaginary = np.moveaxis(file["waves"].astype(np.float32), 1, 0)
        table = pd.DataFrame(file["table"], columns=["group", "label", "size_A"]).astype({"group": int, "label": int})
    return real + 1j * imaginary, table


def make_images(
    kind: str, waves: np.ndarray, table: pd.DataFrame, design: DatasetDesign, images: int, draw: Draw
) -> ImageSet:
    """So many images of each of a kind's waves at drawn settings, save for what makes the kind.

    Returns
    -------
    ImageSet
        The images of a wave one after another; the table has ``kind``, ``group``, ``label``, ``size_A``, ``defocus_A``.
    """
    stranger = find(kind)
    pixels = stranger.camera_pixels or design.camera.pixels
    formed, defoci = [], []
    for index, wave in enumerate(tqdm(waves, desc=f"images, {kind}", unit="wave")):
        rng = _random(design, stranger.streams[1], index)
        settings = [stranger.change(number, setting, rng) for number, setting in enumerate(draw(images, rng))]
        formed.append(expose(wave, settings, design, rng, pixels))
        defoci += [setting.defocus_A for setting in settings]
    rows = table.iloc[np.repeat(np.arange(len(table)), images)].reset_index(drop=True)
    return ImageSet(torch.cat(formed), rows.assign(kind=kind, defocus_A=defoci))
