"""The store of a data set: a Zarr hierarchy in which every byte can be checked.

Its metadata are a function of the design. Records come in chunks of ten, a few files each; a further file
of the chunk, its seal, holds the CRC-32 of every one of them and is written last. Every file is written
whole or not at all.
"""

import hashlib
import json
import zlib
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
import zarr
from tqdm import tqdm

from nanoshape_lib.datasets.design import SPLITS, DatasetDesign, Split
from nanoshape_lib.datasets.files import Files
from nanoshape_lib.datasets.schema import (
    DATA,
    ROOT,
    SCHEMA_VERSION,
    Chunk,
    chunk_file,
    chunks,
    design_sha256,
    documents,
    root_document,
    seal,
)
from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.particles import orientation, shapes


class Fault(NamedTuple):
    """A file of a store that is missing or damaged, and the chunk it belongs to if it is not metadata."""

    file: str
    problem: Literal["missing", "damaged"]
    chunk: Chunk | None = None


def seal_chunk(files: Files, chunk: Chunk) -> None:
    """Declare a chunk whose files are all written to be done."""
    files.write(chunk_file(chunk, "seal"), seal(files.read(chunk_file(chunk, name)) or b"" for name in DATA))


def _attributes(document: bytes | None) -> dict[str, Any]:
    """Attributes of a metadata document, empty if it cannot be read."""
    try:
        return dict(json.loads(document or b"")["attributes"])
    except (ValueError, KeyError, TypeError):
        return {}


class _Root:
    """The root's metadata, and what the splits' say about it."""

    def __init__(self, files: Files):
        self.document = files.read(ROOT)
        self.attributes = _attributes(self.document)
        splits = [_attributes(files.read(f"{split}/zarr.json")) for split in SPLITS]
        self.design_sha256 = {found["design_sha256"] for found in splits if "design_sha256" in found}
        hashes = {found.get("root_sha256") for found in splits}
        self.intact = hashlib.sha256(self.document or b"").hexdigest() in hashes
        schema = self.attributes.get("schema_version")
        # Older schemas keep no hash of their root.
        if schema != SCHEMA_VERSION and schema is not None and (self.intact or not self.design_sha256):
            raise NanoshapeError(f"{files.path} has schema version {schema}, but this library reads {SCHEMA_VERSION}")


def prepare(files: Files, design: DatasetDesign) -> None:
    """Write the metadata of a design's store where they are missing or damaged; records stay as they are.

    Raises
    ------
    NanoshapeError
        If anything else is there: another design's store, another schema's, or no store at all.
    """
    files.remove_partial()
    root = _Root(files)
    document, known = root.document, root.design_sha256
    if root.intact:
        known = {design_sha256(DatasetDesign.model_validate(root.attributes["design"]))}
    elif not known and files.sizes():
        raise NanoshapeError(f"path is {files.path}, but files of another kind are there; name another path")
    if known and design_sha256(design) not in known:
        raise NanoshapeError(f"path is {files.path}, but the store there was made by another design; name another path")
    if document is None or not root.intact:
        document = root_document(design)
    for name, content in (documents(design, document) | {ROOT: document}).items():
        if files.read(name) != content:
            files.write(name, content)


class Store:
    """A data set of exit waves in a folder or behind a URL.

    Parameters
    ----------
    path
        Folder of the Zarr store, or a URL that fsspec knows, such as ``s3://bucket/waves.zarr``.

    Raises
    ------
    NanoshapeError
        If there is no store, its root's metadata are damaged, or it has another schema version.
    """

    def __init__(self, path: str | Path):
        self._files = Files(path)
        self.path = self._files.path
        root = _Root(self._files)
        if root.document is None and not root.design_sha256:
            raise NanoshapeError(f"path is {path}, but no data set is there")
        if root.document is None or not root.intact:
            raise NanoshapeError(f"{path}/{ROOT} is missing or damaged; simulate the same design to restore it")
        self.versions: dict[str, str] = root.attributes["versions"]
        self.design = DatasetDesign.model_validate(root.attributes["design"])
        self._expected = documents(self.design, root.document)

    def missing_chunks(self, split: Split) -> list[Chunk]:
        """Ranges (split, start, stop) of records that are not there yet."""
        done = self._files.sizes(f"{split}/seal/c")
        return [chunk for chunk in chunks(self.design, split) if chunk_file(chunk, "seal") not in done]

    def missing(self) -> list[Chunk]:
        """The same for all splits."""
        return [chunk for split in SPLITS for chunk in self.missing_chunks(split)]

    def bytes_and_files(self) -> tuple[int, int]:
        """How many bytes the store has, and in how many files."""
        sizes = self._files.sizes().values()
        return sum(sizes), len(sizes)

    def verify(self) -> list[Fault]:
        """Read every file and name those that are missing or damaged, down to the last bit.

        Of a chunk that is not done yet, its seal alone is named.
        """
        faults = self.metadata_faults()
        every = [chunk for split in SPLITS for chunk in chunks(self.design, split)]
        with tqdm(total=sum(stop - start for _, start, stop in every), desc="checking", unit="wave") as bar:
            for chunk in every:
                faults += self._chunk_faults(chunk)
                bar.update(chunk[2] - chunk[1])
        return faults

    def metadata_faults(self) -> list[Fault]:
        """Metadata below the root that are missing or are not what the design makes them."""
        found = {name: self._files.read(name) for name in self._expected}
        wrong = [name for name, content in self._expected.items() if found[name] != content]
        return [Fault(name, "missing" if found[name] is None else "damaged") for name in wrong]

    def _chunk_faults(self, chunk: Chunk) -> list[Fault]:
        name = chunk_file(chunk, "seal")
        sealed = self._files.read(name)
        if sealed is None:
            return [Fault(name, "missing", chunk)]
        if len(sealed) != 4 * (len(DATA) + 1) or zlib.crc32(sealed[:-4]).to_bytes(4, "little") != sealed[-4:]:
            return [Fault(name, "damaged", chunk)]
        faults = []
        for column, expected in zip(DATA, np.frombuffer(sealed[:-4], "<u4"), strict=True):
            content = self._files.read(chunk_file(chunk, column))
            if content is None or zlib.crc32(content) != expected:
                problem: Literal["missing", "damaged"] = "missing" if content is None else "damaged"
                faults.append(Fault(chunk_file(chunk, column), problem, chunk))
        return faults

    def clear(self, broken: list[Chunk]) -> None:
        """Remove the files of chunks that are to be made again, their seals first.

        Zarr would otherwise read a shard before it writes one, and fail if that is damaged.
        """
        there = self._files.sizes()
        for name in ("seal", *DATA):
            self._files.remove(file for chunk in broken if (file := chunk_file(chunk, name)) in there)

    @cached_property
    def _group(self) -> Any:
        faults = self.metadata_faults()
        if faults:
            raise self._damaged(faults[0].file)
        return zarr.open_group(self.path, mode="r")

    def _damaged(self, name: str) -> NanoshapeError:
        return NanoshapeError(f"{self.path}/{name} is damaged; simulate the same design again to repair it")

    def _read(self, name: str, start: int | None = None, stop: int | None = None) -> np.ndarray:
        try:
            return self._group[name][start:stop]
        except NanoshapeError:
            raise
        except ValueError:  # a CRC-32C disagrees
            raise self._damaged(name) from None

    def waves(self, split: Split, start: int, stop: int) -> np.ndarray:
        """Exit waves start to stop, complex64 (n, pixels, pixels), referred to the particle's mid-plane.

        Raises
        ------
        NanoshapeError
            If some of them are missing or damaged.
        """
        parts = self._read(f"{split}/waves", start, stop).astype(np.float32)
        if np.isnan(parts).any():
            raise NanoshapeError(
                f"{self.path} is not finished: of its {split} waves {start} to {stop} some are missing"
            )
        return parts[:, 0] + 1j * parts[:, 1]

    def table(self, split: Split) -> pd.DataFrame:
        """One row a wave: group, label, shape, size_A, atoms, block and beam_x, beam_y, beam_z.

        The beam's direction is a unit vector in the particle's frame. ``group`` numbers the waves within
        the split: images with one group share everything but the imaging conditions. A wave that is not
        there yet has the label -1 and no shape.
        """
        columns = {name: self._read(f"{split}/{name}") for name in ("label", "size_A", "atoms", "block")}
        table = pd.DataFrame(columns)
        table.insert(0, "group", np.arange(len(table)))
        titles = {int(shape): shape.title for shape in shapes.Shape}
        table.insert(2, "shape", table["label"].map(titles))
        table[["beam_x", "beam_y", "beam_z"]] = orientation.beam_direction(self._read(f"{split}/rotation"))
        return table


def finished(files: Files, design: DatasetDesign) -> Store | None:
    """The store of a design if it is there with sound metadata and no chunk missing; chunks are not read."""
    if not _Root(files).intact:
        return None
    store = Store(files.path)
    return None if store.design != design or store.metadata_faults() or store.missing() else store
