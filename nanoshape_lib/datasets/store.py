"""The store of a data set: a Zarr hierarchy in which every byte can be checked.

Its metadata are a function of the design. Records come in chunks of ten, a few files each; a further file of the chunk,
its seal, holds the CRC-32 of every one of them and is written last. Every file is written whole or not at all.
"""

import hashlib
import json
import zlib
from contextlib import suppress
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
import zarr
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem
from tqdm import tqdm

from nanoshape_lib.datasets.design import SPLITS, DatasetDesign, Split
from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.particles import orientation
from nanoshape_lib.particles.shapes import Shape
from nanoshape_lib.paths import replacing
from nanoshape_lib.simulation.exit_waves import wave_pixels
from nanoshape_lib.simulation.imaging import focal_series

SCHEMA_VERSION = 3
CHUNK = 10
ROOT = "zarr.json"
# Data type, shape of one record, and a fill value that no record has.
COLUMNS: dict[str, tuple[str, tuple[int, ...], int | str]] = {
    "label": ("int8", (), -1),
    "size_A": ("float32", (), "NaN"),
    "atoms": ("int32", (), -1),
    "rotation": ("float64", (3, 3), "NaN"),
    "block": ("int8", (), -1),
}
DATA = (*COLUMNS, "waves")
SHEET_COLUMNS = 8
# As Zarr and `replacing` name what they have not finished.
_PARTIAL = f"*.{32 * '[0-9a-f]'}.partial*"


class Chunk(NamedTuple):
    """Records start to stop of a split, made and checked together."""

    split: Split
    start: int
    stop: int

    def file(self, name: str) -> str:
        """The file that holds the chunk of a column, of the waves or of the seals."""
        dimensions = {"rotation": 3, "waves": 4, "seal": 2}.get(name, 1)
        return f"{self.split}/{name}/c/{self.start // CHUNK}" + "/0" * (dimensions - 1)


class Fault(NamedTuple):
    """A file of a store that is missing or damaged, and the chunk it belongs to if it is not metadata."""

    file: str
    problem: Literal["missing", "damaged"]
    chunk: Chunk | None = None


def chunks(design: DatasetDesign, *splits: Split) -> list[Chunk]:
    """The chunks of some splits, by default of all."""
    return [
        Chunk(split, start, min(start + CHUNK, design.records(split)))
        for split in splits or SPLITS
        for start in range(0, design.records(split), CHUNK)
    ]


class Files:
    """Files by their path below a folder of this machine, or below any URL that fsspec knows."""

    def __init__(self, path: str | Path):
        try:
            self._fs, self._root = url_to_fs(str(path) if "://" in str(path) else str(Path(path).absolute()))
        except (ImportError, ValueError) as error:
            raise NanoshapeError(f"store is {path}, but that URL cannot be used: {error}") from None
        self.folder = Path(self._root) if isinstance(self._fs, LocalFileSystem) else None
        self.path = self.folder or str(path)

    def read(self, name: str) -> bytes | None:
        """Content of a file, None if there is none."""
        try:
            return self._fs.cat_file(f"{self._root}/{name}")
        except (FileNotFoundError, NotADirectoryError):
            return None

    def write(self, name: str, content: bytes) -> None:
        """Write a file; behind a URL it is for the other side to have it whole."""
        if self.folder is None:
            self._fs.pipe_file(f"{self._root}/{name}", content)
            return
        with replacing(self.folder / name) as partial:
            partial.write_bytes(content)

    def remove(self, name: str) -> None:
        """Remove a file."""
        with suppress(FileNotFoundError):
            self._fs.rm_file(f"{self._root}/{name}")

    def sizes(self) -> dict[str, int]:
        """Bytes of every file."""
        self._fs.invalidate_cache()
        found = self._fs.find(self._root, detail=True)
        return {name[len(self._root) :].lstrip("/"): entry["size"] for name, entry in found.items()}

    def remove_partial(self) -> None:
        """Remove what killed writers have left; object stores do not keep such things."""
        for left in self.folder.rglob(_PARTIAL) if self.folder is not None else ():
            left.unlink(missing_ok=True)


def _document(**entries: Any) -> bytes:
    return json.dumps({"zarr_format": 3, **entries}, indent=2).encode()


def _array(records: int, chunk: int, dtype: str, shape: tuple[int, ...], fill: int | str, codecs: list) -> bytes:
    return _document(
        node_type="array",
        shape=(records, *shape),
        data_type=dtype,
        chunk_grid={"name": "regular", "configuration": {"chunk_shape": (chunk, *shape)}},
        chunk_key_encoding={"name": "default", "configuration": {"separator": "/"}},
        fill_value=fill,
        codecs=codecs,
        attributes={},
    )


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _design_sha256(design: DatasetDesign) -> str:
    return _sha256(design.model_dump_json().encode())


def _documents(design: DatasetDesign, root: bytes) -> dict[str, bytes]:
    """All metadata below the root, by file (Zarr v3 core specification; sharding codec 1.0)."""
    plain = [{"name": "bytes", "configuration": {"endian": "little"}}]
    checked = [*plain, {"name": "crc32c"}]
    pixels = wave_pixels(design.microscope)
    sharding = {"chunk_shape": (1, 2, pixels, pixels), "codecs": checked, "index_codecs": checked}
    sharded = [{"name": "sharding_indexed", "configuration": sharding | {"index_location": "end"}}]
    hashes = {"design_sha256": _design_sha256(design), "root_sha256": _sha256(root)}
    found = {}
    for split in SPLITS:
        records = design.records(split)
        arrays = {name: _array(records, CHUNK, *about, checked) for name, about in COLUMNS.items()}
        arrays["waves"] = _array(records, CHUNK, "float16", (2, pixels, pixels), "NaN", sharded)
        arrays["seal"] = _array(len(chunks(design, split)), 1, "uint32", (len(DATA) + 1,), 0, plain)
        found[f"{split}/{ROOT}"] = _document(node_type="group", attributes=hashes)
        found |= {f"{split}/{name}/{ROOT}": document for name, document in arrays.items()}
    return found


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
        splits = [_attributes(files.read(f"{split}/{ROOT}")) for split in SPLITS]
        self.design_sha256 = {found["design_sha256"] for found in splits if "design_sha256" in found}
        self.intact = _sha256(self.document or b"") in {found.get("root_sha256") for found in splits}
        schema = self.attributes.get("schema_version")
        # Older schemas keep no hash of their root.
        if schema != SCHEMA_VERSION and schema is not None and (self.intact or not self.design_sha256):
            raise NanoshapeError(f"{files.path} has schema version {schema}, but this library reads {SCHEMA_VERSION}")


def prepare(files: Files, design: DatasetDesign) -> None:
    """Write the metadata of a design's store where they are missing or damaged; records stay as they are.

    Raises NanoshapeError if anything else is there: another design's store, another schema's, or no store at all.
    """
    files.remove_partial()
    root = _Root(files)
    document, known = root.document, root.design_sha256
    if root.intact:
        known = {_design_sha256(DatasetDesign.model_validate(root.attributes["design"]))}
    elif not known and files.sizes():
        raise NanoshapeError(f"path is {files.path}, but files of another kind are there; name another path")
    if known and _design_sha256(design) not in known:
        raise NanoshapeError(f"path is {files.path}, but the store there was made by another design; name another path")
    if document is None or not root.intact:
        versions = {name: version(name) for name in ("nanoshape_lib", "numpy", "torch", "zarr")}
        attributes = {"schema_version": SCHEMA_VERSION, "versions": versions, "design": design.model_dump(mode="json")}
        document = _document(node_type="group", attributes=attributes)
    for name, content in (_documents(design, document) | {ROOT: document}).items():
        if files.read(name) != content:
            files.write(name, content)


def seal(files: Files, chunk: Chunk) -> None:
    """Declare a chunk whose files are all written to be done, by the CRC-32 of each of them and of that row itself.

    It is not the CRC-32C at the end of each encoded chunk, under which all intact files are alike.
    """
    row = np.array([zlib.crc32(files.read(chunk.file(name)) or b"") for name in DATA], "<u4").tobytes()
    files.write(chunk.file("seal"), row + zlib.crc32(row).to_bytes(4, "little"))


class Store:
    """A data set of exit waves in a folder or behind a URL that fsspec knows, such as ``s3://bucket/waves.zarr``.

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
        self._expected = _documents(self.design, root.document)

    @classmethod
    def finished(cls, files: Files, design: DatasetDesign) -> "Store | None":
        """The store of a design if it is there with sound metadata and no chunk missing; chunks are not read."""
        if not _Root(files).intact:
            return None
        store = cls(files.path)
        return None if store.design != design or store._metadata_faults() or store.missing() else store

    def missing(self, *splits: Split) -> list[Chunk]:
        """Chunks of some splits, by default of all, that are not there yet."""
        done = self._files.sizes()
        return [chunk for chunk in chunks(self.design, *splits) if chunk.file("seal") not in done]

    def verify(self) -> list[Fault]:
        """Read every file and name those that are missing or damaged, down to the last bit.

        Of a chunk that is not done yet, its seal alone is named.
        """
        faults = self._metadata_faults()
        for chunk in tqdm(chunks(self.design), desc="checking", unit="chunk"):
            faults += self._chunk_faults(chunk)
        return faults

    def _metadata_faults(self) -> list[Fault]:
        """Metadata below the root that are missing or are not what the design makes them."""
        found = {name: self._files.read(name) for name in self._expected}
        wrong = [name for name, content in self._expected.items() if found[name] != content]
        return [Fault(name, "missing" if found[name] is None else "damaged") for name in wrong]

    def _chunk_faults(self, chunk: Chunk) -> list[Fault]:
        name, found = chunk.file("seal"), [self._files.read(chunk.file(name)) for name in DATA]
        sealed = self._files.read(name)
        if sealed is None:
            return [Fault(name, "missing", chunk)]
        if len(sealed) != 4 * (len(DATA) + 1) or zlib.crc32(sealed[:-4]).to_bytes(4, "little") != sealed[-4:]:
            return [Fault(name, "damaged", chunk)]
        return [
            Fault(chunk.file(column), "missing" if content is None else "damaged", chunk)
            for column, content, expected in zip(DATA, found, np.frombuffer(sealed[:-4], "<u4"), strict=True)
            if content is None or zlib.crc32(content) != expected
        ]

    def clear(self, broken: list[Chunk]) -> None:
        """Remove the files of chunks that are to be made again, their seals first.

        Zarr would otherwise read a shard before it writes one, and fail if that is damaged.
        """
        there = self._files.sizes()
        for file in (chunk.file(name) for name in ("seal", *DATA) for chunk in broken):
            if file in there:
                self._files.remove(file)

    @cached_property
    def _group(self) -> Any:
        if faults := self._metadata_faults():
            raise self._damaged(faults[0].file)
        return zarr.open_group(self.path, mode="r")

    def _damaged(self, name: str) -> NanoshapeError:
        return NanoshapeError(f"{self.path}/{name} is damaged; simulate the same design again to repair it")

    def _read(self, name: str, start: int | None = None, stop: int | None = None) -> np.ndarray:
        group = self._group
        try:
            return group[name][start:stop]
        except ValueError:  # a CRC-32C disagrees
            raise self._damaged(name) from None

    def waves(self, split: Split, start: int, stop: int) -> np.ndarray:
        """Exit waves start to stop, complex64 (n, pixels, pixels), referred to the particle's mid-plane.

        Raises NanoshapeError if some of them are missing or damaged.
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
        table = pd.DataFrame({name: self._read(f"{split}/{name}") for name in ("label", "size_A", "atoms", "block")})
        table.insert(0, "group", np.arange(len(table)))
        table.insert(2, "shape", table["label"].map({int(shape): shape.title for shape in Shape}))
        table[["beam_x", "beam_y", "beam_z"]] = orientation.beam_direction(self._read(f"{split}/rotation"))
        return table

    def lines(self) -> list[str]:
        """What the store holds, whether it is finished or not, in a few lines."""
        design, sizes = self.design, self._files.sizes().values()
        lines = [
            f"{self.path}: schema {SCHEMA_VERSION}, {sum(sizes) / 1e6:,.1f} MB in {len(sizes):,} files",
            f"made with {', '.join(f'{name} {number}' for name, number in self.versions.items())}",
            f"design: seed {design.seed}, fidelity {design.fidelity}, {design.beam},"
            f" {design.microscope.energy_eV / 1e3:g} kV",
            f"shapes: {', '.join(shape.title for shape in Shape)}",
            f"sizes: {', '.join(f'{size_A:g}' for size_A in design.sizes_A)} Å",
            f"defoci: {', '.join(f'{defocus_A:g}' for defocus_A in design.defoci_A)} Å",
        ]
        for split in SPLITS:
            records, blocks = design.records(split), ", ".join(map(str, design.split(split).blocks))
            missing = sum(stop - start for _, start, stop in self.missing(split))
            state = f"{records - missing:,} done, {missing:,} missing" if missing else "all done"
            lines.append(f"{split}: {records:,} waves on carbon {blocks}, {state}")
        return lines

    def sheet(self) -> tuple[np.ndarray, pd.DataFrame, str]:
        """What a contact sheet shows: images (N, pixels, pixels), a table with ``label`` and ``size``, and a sentence.

        There is one image of each shape and of up to eight sizes at the middle defocus, of the training waves that are
        done; a NanoshapeError says that none is.
        """
        design, table = self.design, self.table("train")
        table["size"] = np.array(design.sizes_A)[table["group"] // len(Shape) % len(design.sizes_A)]
        shown = table["size"].isin(design.sizes_A[:: -(-len(design.sizes_A) // SHEET_COLUMNS)])
        for _, start, stop in self.missing("train"):
            shown[start:stop] = False
        if not shown.any():
            raise NanoshapeError(f"{self.path} holds no training wave yet; simulate its design first")
        table = table[shown].drop_duplicates(["label", "size"])
        defocus_A = float(np.quantile(design.defoci_A, 0.5, method="higher"))
        about = np.array([defocus_A]), design.microscope, design.camera
        images = [focal_series(self.waves("train", i, i + 1)[0], *about, i)[0] for i in table["group"]]
        return np.stack(images), table, f"defocus {defocus_A:g} Å, fidelity {design.fidelity}, seed {design.seed}"
