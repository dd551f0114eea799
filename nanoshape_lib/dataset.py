"""Data sets of exit waves: what is in them, how they are made, stored and opened."""

import os
import zlib
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import dask
import numpy as np
import pandas as pd
import zarr
from dask.distributed import Client, LocalCluster, as_completed
from pydantic import BaseModel, ConfigDict, Field, model_validator
from tqdm import tqdm

from nanoshape_lib import rotations, shapes
from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.hrtem import FIDELITIES, exit_wave, shake, wave_pixels
from nanoshape_lib.microscope import Detector, Microscope
from nanoshape_lib.substrate import BLOCKS, FIELD_A, Placement, Scene, deposit

SCHEMA_VERSION = 1
CHUNK = 10
EDGE_A = 2.0
Split = Literal["train", "validation", "test"]
Chunk = tuple[Split, int, int]
SPLITS: tuple[Split, ...] = get_args(Split)


class SplitDesign(BaseModel):
    """One split: orientations for each shape and size, and the carbon blocks that serve it alone."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    orientations: int = Field(ge=1, le=100_000)
    blocks: tuple[int, ...]


class DatasetDesign(BaseModel):
    """Everything that determines a data set, down to the last random number."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(0, ge=0)
    sizes_A: tuple[float, ...]
    train: SplitDesign
    validation: SplitDesign
    test: SplitDesign
    defoci_A: tuple[float, ...]
    fidelity: str = "standard"
    microscope: Microscope = Microscope()
    detector: Detector = Detector()
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
        return self

    def split(self, name: Split) -> SplitDesign:
        """The design of one split."""
        if name not in SPLITS:
            raise NanoshapeError(f"split is {name!r}, but must be one of {', '.join(SPLITS)}")
        return getattr(self, name)

    def records(self, split: Split) -> int:
        """Number of exit waves in a split: shapes x sizes x orientations."""
        return len(shapes.Shape) * len(self.sizes_A) * self.split(split).orientations


class Record(NamedTuple):
    """One exit wave's recipe; ``rotation`` takes the particle's frame to the laboratory's."""

    label: int
    size_A: float
    atoms: int
    rotation: np.ndarray
    block: int
    scene: Scene


def make_record(design: DatasetDesign, split: Split, index: int) -> Record:
    """Recipe number ``index`` of a split.

    It depends on the design's seed, the split and the index alone. Shapes change fastest, then sizes,
    then orientations, so that the first n records of a split are balanced for every n.
    """
    rng = np.random.default_rng(np.random.SeedSequence(design.seed, spawn_key=(SPLITS.index(split), index)))
    label = index % len(shapes.Shape)
    size = design.sizes_A[index // len(shapes.Shape) % len(design.sizes_A)]
    particle = shapes.build(label, size)
    rotation = rotations.random_rotations(1, rng)[0]
    particle.positions = particle.positions @ rotation.T
    particle = shake(particle, rng)
    blocks = design.split(split).blocks
    film = Placement(
        block=int(blocks[rng.integers(len(blocks))]),
        roll_A=(int(rng.integers(int(FIELD_A))), int(rng.integers(int(FIELD_A)))),
        quarter_turns=int(rng.integers(4)),
        mirror=bool(rng.integers(2)),
    )
    extent = np.abs(particle.positions[:, :2]).max(axis=0)
    room = np.clip(FIELD_A / 2 - EDGE_A - extent, 0.0, design.max_shift_A)
    x, y = rng.uniform(-room, room)
    scene = deposit(particle, film, (x, y))
    return Record(label, float(particle.info["size_A"]), len(particle), rotation, film.block, scene)


def _write_chunk(path: str, design_json: str, chunk: Chunk) -> int:
    """Compute and store records start to stop; the checksums, written last, declare them done."""
    design = DatasetDesign.model_validate_json(design_json)
    split, start, stop = chunk
    group: Any = zarr.open_group(path, mode="r+")[split]
    waves, rows = [], []
    for index in range(start, stop):
        record = make_record(design, split, index)
        wave = exit_wave(record.scene, design.microscope, design.fidelity)
        waves.append(np.stack([wave.real, wave.imag]).astype(np.float16))
        rows.append(record)
    group["label"][start:stop] = [row.label for row in rows]
    group["size_A"][start:stop] = [row.size_A for row in rows]
    group["atoms"][start:stop] = [row.atoms for row in rows]
    group["rotation"][start:stop] = np.stack([row.rotation for row in rows])
    group["block"][start:stop] = [row.block for row in rows]
    group["waves"][start:stop] = np.stack(waves)
    group["checksum"][start:stop] = [checksum(wave) for wave in waves]
    return stop - start


def checksum(stored: np.ndarray) -> int:
    """CRC-32 of a stored wave, made nonzero by a bit above it (zero means: not there yet)."""
    return zlib.crc32(np.ascontiguousarray(stored).tobytes()) | 1 << 32


def _create(path: Path, design: DatasetDesign) -> None:
    pixels = wave_pixels(design.microscope)
    root = zarr.open_group(path, mode="w")
    columns = {"label": ("i1", ()), "size_A": ("f4", ()), "atoms": ("i4", ()), "rotation": ("f8", (3, 3))}
    columns |= {"block": ("i1", ()), "waves": ("f2", (2, pixels, pixels)), "checksum": ("i8", ())}
    for split in SPLITS:
        group, count = root.create_group(split), design.records(split)
        for name, (dtype, shape) in columns.items():
            group.create_array(
                name, shape=(count, *shape), chunks=(CHUNK, *shape), dtype=dtype, fill_value=0, compressors=None
            )
    # Written last: a store without it is not one.
    root.attrs.update({"schema_version": SCHEMA_VERSION, "design": design.model_dump(mode="json")})


def generate(
    design: DatasetDesign, path: str | Path, workers: int | None = None, scheduler: str | None = None
) -> "Store":
    """Make a data set, or finish one that was interrupted.

    Parameters
    ----------
    design
        What to make.
    path
        Folder of the Zarr store.
    workers
        Number of local processes, by default one per core; 0 computes in this process.
    scheduler
        Address of a running Dask cluster to use instead of local processes.

    Returns
    -------
    Store
        The finished store, opened.

    Raises
    ------
    NanoshapeError
        If another design's store is at ``path``.
    """
    path = Path(path)
    if not (path / "zarr.json").exists() or "design" not in zarr.open_group(path, mode="r").attrs:
        path.parent.mkdir(parents=True, exist_ok=True)
        _create(path, design)
    store = Store(path)
    if store.design != design:
        raise NanoshapeError(f"path is {path}, but the store there was made by another design; name another path")
    tasks = [task for split in SPLITS for task in store.missing_chunks(split)]
    if not tasks:
        return store
    arguments = (str(path.resolve()), design.model_dump_json())
    with tqdm(total=sum(stop - start for _, start, stop in tasks), desc="exit waves", unit="wave") as bar:
        if workers == 0:
            for task in tasks:
                bar.update(_write_chunk(*arguments, task))
            return store
        workers = workers or os.cpu_count() or 1
        with dask.config.set({"distributed.worker.daemon": True}):
            cluster = scheduler or LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=":0")
            with Client(cluster) as client:
                futures = [client.submit(_write_chunk, *arguments, task, pure=False) for task in tasks]
                for future in as_completed(futures):
                    bar.update(future.result())
            if not isinstance(cluster, str):
                cluster.close()
    return store


class Store:
    """A data set of exit waves on disk.

    Parameters
    ----------
    path
        Folder of the Zarr store.

    Raises
    ------
    NanoshapeError
        If there is no store, or it has another schema version.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        try:
            self._root: Any = zarr.open_group(self.path, mode="r")
        except FileNotFoundError:
            raise NanoshapeError(f"path is {path}, but no data set is there") from None
        found = self._root.attrs.get("schema_version")
        if found != SCHEMA_VERSION:
            raise NanoshapeError(f"{path} has schema version {found}, but this library reads {SCHEMA_VERSION}")

    @cached_property
    def design(self) -> DatasetDesign:
        """The design that made the store."""
        return DatasetDesign.model_validate(self._root.attrs["design"])

    def missing_chunks(self, split: Split) -> list[Chunk]:
        """Ranges (split, start, stop) of records that are not there yet."""
        done = self._root[split]["checksum"][:] != 0
        starts = range(0, len(done), CHUNK)
        ranges = [(split, start, min(start + CHUNK, len(done))) for start in starts]
        return [(split, start, stop) for split, start, stop in ranges if not done[start:stop].all()]

    def verify(self) -> list[tuple[Split, int]]:
        """Records (split, index) that are missing or whose wave disagrees with its checksum."""
        bad: list[tuple[Split, int]] = []
        for split in SPLITS:
            group = self._root[split]
            sums = group["checksum"][:]
            for index in range(len(sums)):
                if sums[index] != checksum(group["waves"][index]):
                    bad.append((split, index))
        return bad

    def waves(self, split: Split, start: int, stop: int) -> np.ndarray:
        """Exit waves start to stop, complex64 (n, pixels, pixels), referred to the particle's mid-plane."""
        parts = self._root[split]["waves"][start:stop].astype(np.float32)
        return parts[:, 0] + 1j * parts[:, 1]

    def table(self, split: Split) -> pd.DataFrame:
        """One row a wave: group, label, shape, size_A, atoms, block and beam_x, beam_y, beam_z.

        The beam's direction is a unit vector in the particle's frame. ``group`` numbers the waves within
        the split: images with one group share everything but the imaging conditions.
        """
        group = self._root[split]
        columns = {name: group[name][:] for name in ("label", "size_A", "atoms", "block")}
        table = pd.DataFrame(columns)
        table.insert(0, "group", np.arange(len(table)))
        table.insert(2, "shape", [shapes.Shape(label).title for label in table["label"]])
        table[["beam_x", "beam_y", "beam_z"]] = rotations.beam_direction(group["rotation"][:])
        return table
