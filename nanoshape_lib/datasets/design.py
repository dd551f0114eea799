"""What a data set is to hold: its design, checked before any work starts."""

import math
from typing import Literal, get_args

import numpy as np
from ase import Atoms
from pydantic import BaseModel, ConfigDict, Field, model_validator

from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.particles import shapes
from nanoshape_lib.particles.specimen import EDGE_A, FIELD_A, Specimen, shake
from nanoshape_lib.simulation.exit_waves import FIDELITIES
from nanoshape_lib.simulation.film import BLOCKS, Placement, Scene, deposit
from nanoshape_lib.simulation.optics import Camera, Microscope

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
USUAL = Specimen()


class SplitDesign(BaseModel):
    """One split: orientations for each shape and size, and the carbon blocks that serve it alone."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    orientations: int = Field(ge=1, le=100_000)
    blocks: tuple[int, ...] = Field(min_length=1)


class DatasetDesign(BaseModel):
    """Everything that determines a data set, down to the last random number.

    ``beam`` says what the beam meets first. With another field here goes another
    :data:`nanoshape_lib.datasets.store.SCHEMA_VERSION`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    seed: int = Field(0, ge=0)
    sizes_A: tuple[float, ...]
    train: SplitDesign
    validation: SplitDesign
    test: SplitDesign
    defoci_A: tuple[float, ...]
    fidelity: str = "standard"
    beam: Literal["film first", "particle first"] = "film first"
    microscope: Microscope = Microscope()
    camera: Camera = Camera()
    max_shift_A: float = Field(6.0, ge=0.0)

    @model_validator(mode="after")
    def _consistent(self) -> "DatasetDesign":
        if self.fidelity not in FIDELITIES:
            raise ValueError(f"fidelity is {self.fidelity!r}, but must be one of {', '.join(FIDELITIES)}")
        blocks = [block for split in SPLITS for block in self.split(split).blocks]
        if len(blocks) != len(set(blocks)) or not set(blocks) <= set(range(BLOCKS)):
            raise ValueError(f"blocks are {blocks}, but each of 0 to {BLOCKS - 1} may serve one split only")
        if not self.sizes_A or not self.defoci_A:
            raise ValueError("sizes_A and defoci_A must each hold at least one value")
        if not math.isclose(field_A := self.camera.field_A, FIELD_A):
            raise ValueError(f"camera.pixels x pixel_size_A is {field_A:g} Å, but must be {FIELD_A:g} Å, the field")
        for shape in shapes.Shape:
            for size_A in self.sizes_A:
                shapes.nearest_order(shape, size_A)
            widest_A = 2 * np.linalg.norm(shapes.build(shape, max(self.sizes_A)).positions, axis=1).max()
            if widest_A > FIELD_A - 2 * EDGE_A:
                raise ValueError(
                    f"sizes_A holds {max(self.sizes_A):g} Å, but the {shape.title} of that size, {widest_A:.0f} Å wide,"
                    f" must fit into {FIELD_A - 2 * EDGE_A:g} Å in every orientation"
                )
        return self

    def split(self, name: Split) -> SplitDesign:
        """The design of one split."""
        if name not in SPLITS:
            raise NanoshapeError(f"split is {name!r}, but must be one of {', '.join(SPLITS)}")
        return getattr(self, name)

    def scene(self, particle: Atoms, split: Split, rng: np.random.Generator, specimen: Specimen = USUAL) -> Scene:
        """A particle, turned as wanted, shaken and laid somewhere on a film cut at random from a split's blocks."""
        particle, blocks = shake(particle, rng, specimen.rms_A), self.split(split).blocks
        film = Placement(
            block=int(blocks[rng.integers(len(blocks))]),
            roll_A=(int(rng.integers(int(FIELD_A))), int(rng.integers(int(FIELD_A)))),
            quarter_turns=int(rng.integers(4)),
            mirror=bool(rng.integers(2)),
            thickness_A=specimen.film_A,
        )
        extent = np.abs(particle.positions[:, :2]).max(axis=0)
        room = np.clip(FIELD_A / 2 - EDGE_A - extent, 0.0, self.max_shift_A)
        x, y = rng.uniform(-room, room)
        return deposit(particle, film, (x, y), downstream=self.beam == "particle first")

    @property
    def counts(self) -> str:
        """Such as ``10,000 train, 1,000 validation and 4,800 test waves``."""
        train, validation, test = (f"{self.records(split):,} {split}" for split in SPLITS)
        return f"{train}, {validation} and {test} waves"

    def records(self, split: Split) -> int:
        """Number of exit waves in a split: shapes x sizes x orientations."""
        return len(shapes.Shape) * len(self.sizes_A) * self.split(split).orientations
