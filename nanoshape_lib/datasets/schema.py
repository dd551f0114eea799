"""What the files of a store are: metadata that the design determines, and a seal over every chunk of records."""

import hashlib
import json
import zlib
from collections.abc import Iterable
from importlib.metadata import version
from typing import Any

import numpy as np

from nanoshape_lib.datasets.design import SPLITS, DatasetDesign, Split
from nanoshape_lib.simulation.exit_waves import wave_pixels

SCHEMA_VERSION = 3
CHUNK = 10
Chunk = tuple[Split, int, int]
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


def chunks(design: DatasetDesign, split: Split) -> list[Chunk]:
    """Ranges (split, start, stop) of records that are made and checked together."""
    count = design.records(split)
    return [(split, start, min(start + CHUNK, count)) for start in range(0, count, CHUNK)]


def chunk_file(chunk: Chunk, name: str) -> str:
    """The file that holds a chunk of a column, of the waves or of the seals."""
    dimensions = {"rotation": 3, "waves": 4, "seal": 2}.get(name, 1)
    return f"{chunk[0]}/{name}/c/{chunk[1] // CHUNK}" + "/0" * (dimensions - 1)


def seal(contents: Iterable[bytes]) -> bytes:
    """CRC-32 of every file of a chunk, and of that row itself.

    It is not the CRC-32C at the end of each encoded chunk, under which all intact files are alike.
    """
    row = np.array([zlib.crc32(content) for content in contents], "<u4").tobytes()
    return row + zlib.crc32(row).to_bytes(4, "little")


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


def design_sha256(design: DatasetDesign) -> str:
    """SHA-256 of a design, as 64 hexadecimal digits."""
    return hashlib.sha256(design.model_dump_json().encode()).hexdigest()


def root_document(design: DatasetDesign) -> bytes:
    """Metadata of the root: the design, and what it is made with."""
    versions = {name: version(name) for name in ("nanoshape_lib", "numpy", "torch", "zarr")}
    attributes = {"schema_version": SCHEMA_VERSION, "versions": versions, "design": design.model_dump(mode="json")}
    return _document(node_type="group", attributes=attributes)


def documents(design: DatasetDesign, root: bytes) -> dict[str, bytes]:
    """All metadata below the root, by file (Zarr v3 core specification; sharding codec 1.0)."""
    plain = [{"name": "bytes", "configuration": {"endian": "little"}}]
    checked = [*plain, {"name": "crc32c"}]
    pixels = wave_pixels(design.microscope)
    sharding = {"chunk_shape": (1, 2, pixels, pixels), "codecs": checked, "index_codecs": checked}
    sharded = [{"name": "sharding_indexed", "configuration": sharding | {"index_location": "end"}}]
    hashes = {"design_sha256": design_sha256(design), "root_sha256": hashlib.sha256(root).hexdigest()}
    documents = {}
    for split in SPLITS:
        records, count = design.records(split), len(chunks(design, split))
        documents[f"{split}/zarr.json"] = _document(node_type="group", attributes=hashes)
        for name, (dtype, shape, fill) in COLUMNS.items():
            documents[f"{split}/{name}/zarr.json"] = _array(records, CHUNK, dtype, shape, fill, checked)
        waves = _array(records, CHUNK, "float16", (2, pixels, pixels), "NaN", sharded)
        documents[f"{split}/waves/zarr.json"] = waves
        documents[f"{split}/seal/zarr.json"] = _array(count, 1, "uint32", (len(DATA) + 1,), 0, plain)
    return documents
