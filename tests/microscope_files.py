"""Small writers of microscope files: Gatan, TIA and Velox by hand, the others by the libraries that own the formats."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import tifffile
from PIL import Image

_GATAN_TYPES = {"int16": 1, "float32": 2, "complex64": 3, "uint8": 6, "int32": 7, "uint16": 10, "float64": 12}
_GATAN_ELEMENTS = {"int16": 2, "float32": 6, "complex64": 6, "uint8": 10, "int32": 3, "uint16": 4, "float64": 7}
_SER_TYPES = {"uint8": 1, "uint16": 2, "int16": 5, "int32": 6, "float32": 7, "float64": 8, "complex64": 9}


def signal(images: np.ndarray, pixel_size_A: float = 0.5, unit: str = "nm", **changes: Any) -> dict:
    """The dictionary that RosettaSciIO's writers take; ``changes`` go into the metadata's Signal."""
    n = images.ndim
    axes = [
        {
            "size": size,
            "name": "tzyx"[4 - n + i],
            "scale": pixel_size_A / 10 if i >= n - 2 else 1.0,
            "offset": 0.0,
            "units": unit if i >= n - 2 else "",
            "navigate": i < n - 2,
            "index_in_array": i,
            "is_binned": False,
            "_type": "UniformDataAxis",
        }
        for i, size in enumerate(images.shape)
    ]
    return {
        "data": images,
        "axes": axes,
        "metadata": {"General": {"title": "image"}, "Signal": {"signal_type": ""} | changes},
        "original_metadata": {},
        "package_info": {},
        "learning_results": {},
        "models": {},
        "tmp_parameters": {},
        "attributes": {"_lazy": False, "ragged": False},
    }


class _Gatan:
    """Tags of a Digital Micrograph file, version 3 or 4, little-endian values."""

    def __init__(self, version: int):
        self.long = ">l" if version == 3 else ">q"
        self.version = version

    def integers(self, *values: int) -> bytes:
        return b"".join(struct.pack(self.long, value) for value in values)

    def _tag(self, kind: int, name: str, body: bytes) -> bytes:
        size = self.integers(len(body)) if self.version == 4 else b""
        return struct.pack(">bH", kind, len(name)) + name.encode() + size + body

    def number(self, name: str, value: float, code: str) -> bytes:
        kind = {"l": 3, "f": 6, "L": 5}[code]
        return self._tag(21, name, b"%%%%" + self.integers(1, kind) + struct.pack("<" + code, value))

    def array(self, name: str, data: bytes, element: int, count: int) -> bytes:
        return self._tag(21, name, b"%%%%" + self.integers(3, 20, element, count) + data)

    def text(self, name: str, value: str) -> bytes:
        return self.array(name, value.encode("utf-16-le"), 4, len(value))

    def entries(self, *tags: bytes) -> bytes:
        return b"\1\0" + self.integers(len(tags)) + b"".join(tags)

    def group(self, name: str, *tags: bytes) -> bytes:
        return self._tag(20, name, self.entries(*tags))


def write_dm(path: Path, images: np.ndarray, scales: tuple[float, ...], unit: str = "nm", kind: int = 0) -> None:
    """A DM3 or DM4 file (by its ending) as Gatan's software lays it out: http://www.er-c.org/cbb/info/dmformat.

    ``kind`` is 23 for int32 images whose four bytes are red, green, blue and alpha.
    """
    version = 3 if path.suffix == ".dm3" else 4
    dm = _Gatan(version)
    name = images.dtype.name
    units = [unit, unit, ""][: images.ndim]
    dimensions = [
        dm.group("", dm.number("Origin", 0, "f"), dm.number("Scale", scale, "f"), dm.text("Units", unit))
        for scale, unit in zip((*scales[::-1], 1.0)[: images.ndim], units, strict=True)
    ]
    brightness = dm.group("Brightness", dm.number("Origin", 0, "f"), dm.number("Scale", 1, "f"), dm.text("Units", ""))
    calibrations = dm.group("Calibrations", brightness, dm.group("Dimension", *dimensions))
    elements = images.size * (2 if images.dtype.kind == "c" else 1)
    image_data = dm.group(
        "ImageData",
        calibrations,
        dm.array("Data", images.tobytes(), _GATAN_ELEMENTS[name], elements),
        dm.number("DataType", kind or _GATAN_TYPES[name], "L"),
        dm.group("Dimensions", *(dm.number("", size, "L") for size in images.shape[::-1])),
        dm.number("PixelDepth", images.dtype.itemsize, "L"),
    )
    tags = dm.group("ImageTags", dm.group("Acquisition", dm.text("Name", "test")))
    content = dm.entries(dm.group("ImageList", dm.group("", image_data, tags, dm.text("Name", "image"))))
    path.write_bytes(struct.pack(">l", version) + dm.integers(len(content)) + struct.pack(">l", 1) + content + bytes(8))


def write_ser(path: Path, images: np.ndarray, pixel_size_m: float) -> None:
    """A TIA file of one image or a series, lowest row first: C. Boothroyd, "TIA .ser file format"."""
    frames = images.reshape(-1, *images.shape[-2:])
    count, rows, columns = frames.shape
    dimension = struct.pack("<LddLL", count, 0.0, 1.0, 0, 6) + b"Number" + struct.pack("<L", 0)
    start = struct.pack("<HHHLLLL", 0x4949, 0x0197, 0x0210, 0x4122, 0x4152, count, count)
    table = len(start) + 8 + len(dimension)
    header = start + struct.pack("<LL", table, 1) + dimension
    body, offsets, tags = b"", [], []
    first = table + 8 * count
    for frame in frames:
        offsets.append(first + len(body))
        body += struct.pack("<ddLddL", 0.0, pixel_size_m, 0, 0.0, pixel_size_m, 0)
        body += struct.pack("<HLL", _SER_TYPES[frame.dtype.name], columns, rows) + frame[::-1].tobytes()
        tags.append(first + len(body))
        body += struct.pack("<HHL", 0x4152, 0, 0)
    path.write_bytes(header + struct.pack(f"<{2 * count}L", *offsets, *tags) + body)


def write_velox(
    path: Path, images: np.ndarray, pixel_size_m: float, unit: str = "m", version: int = 11, spectra: bool = False
) -> None:
    """An EMD file as Velox writes it: metadata are JSON in columns of bytes, frames are the last axis.

    With ``spectra`` the events of an EDS spectrum image lie beside the images.
    """
    frames = images.reshape(-1, *images.shape[-2:])
    count = len(frames)
    metadata = {
        "BinaryResult": {
            "PixelSize": {"width": str(pixel_size_m), "height": str(pixel_size_m)},
            "Offset": {"x": "0", "y": "0"},
            "PixelUnitX": unit,
            "PixelUnitY": unit,
            "DetectorIndex": "0",
            "Detector": "BM-Ceta",
        },
        "Scan": {"FrameTime": "1"},
        "Detectors": {"Detector-0": {"DetectorName": "BM-Ceta", "ExposureTime": "1"}},
        "Acquisition": {"AcquisitionStartDatetime": {"DateTime": "1500000000"}},
        "CustomProperties": {},
    }
    text = np.frombuffer(json.dumps(metadata).encode(), np.uint8)
    with h5py.File(path, "w") as file:
        about = json.dumps({"format": "Velox", "version": f"{version}"})
        file.create_dataset("Version", data=np.array([about], dtype=h5py.string_dtype()))
        if spectra:
            for name in ("Displays/ImageDisplay", "Presentation/Displays/ImageDisplay", "Data/SpectrumImage/0"):
                file.create_group(name)
            file.create_dataset("Data/SpectrumStream/0/Data", data=np.full((1000, 1), 65535, np.uint16))
        group = file.create_group("Data/Image/0123456789abcdef0123456789abcdef")
        group.create_dataset("Data", data=np.moveaxis(frames, 0, -1), chunks=(*frames.shape[1:], 1))
        group.create_dataset("Metadata", data=np.repeat(text[:, None], count, axis=1))


def write_mrc(
    path: Path, images: np.ndarray, pixel_size_A: float, byteorder: str = "<", imod: int | None = None
) -> None:
    """An MRC file of 2014's layout; without a cell if the pixel size is 0; ``imod`` are IMOD's flags after its stamp.

    Brightest and darkest value stand in the header unless IMOD's flags do.
    """
    frames = images.reshape(-1, *images.shape[-2:])
    count, rows, columns = frames.shape
    mode = {"uint8": 0, "int8": 0, "int16": 1, "float32": 2, "complex64": 4, "uint16": 6, "float16": 12}[
        frames.dtype.name
    ]
    header = bytearray(1024)
    struct.pack_into(byteorder + "4l", header, 0, columns, rows, count, mode)
    struct.pack_into(byteorder + "3l", header, 28, *((columns, rows, count) if pixel_size_A else (0, 0, 0)))
    cell = (columns * pixel_size_A, rows * pixel_size_A, count * pixel_size_A)
    struct.pack_into(byteorder + "6f", header, 40, *cell, 90, 90, 90)
    struct.pack_into(byteorder + "3l", header, 64, 1, 2, 3)
    if imod is not None:
        struct.pack_into(byteorder + "2l", header, 152, 1146047817, imod)
    elif frames.dtype.kind != "c":
        struct.pack_into(byteorder + "3f", header, 76, frames.min(), frames.max(), frames.mean())
    header[208:216] = b"MAP " + (b"\x44\x44\0\0" if byteorder == "<" else b"\x11\x11\0\0")
    path.write_bytes(bytes(header) + frames.astype(frames.dtype.newbyteorder(byteorder)).tobytes())


def write_ncem(
    path: Path, images: np.ndarray, pixel_size: float, unit: str, names: str = "", rows_first: bool = True
) -> None:
    """An EMD file of NCEM's layout, in C order as its own software writes or with all axes reversed as HyperSpy does.

    ``names`` are those of the axes of ``images``, such as tyx, or nothing. Frames are counted in seconds.
    """
    axes = [("", 1.0, "s"), ("", pixel_size, unit), ("", pixel_size, unit)][-images.ndim :]
    axes = [(name, *axis[1:]) for name, axis in zip(names or " " * 3, axes, strict=False)]
    if not rows_first:
        images, axes = images.T, axes[::-1]
    with h5py.File(path, "w") as file:
        file.attrs.update({"version_major": 0, "version_minor": 2})
        group = file.create_group("data/image")
        group.attrs["emd_group_type"] = 1
        group.create_dataset("data", data=images)
        for number, (size, (name, scale, unit)) in enumerate(zip(images.shape, axes, strict=True), 1):
            group.create_dataset(f"dim{number}", data=np.arange(size) * scale)
            group[f"dim{number}"].attrs.update({"name": name.strip(), "units": unit})


def write_blo(path: Path) -> None:
    """A blockfile of 2 x 2 diffraction patterns, by RosettaSciIO's writer."""
    from rsciio.blockfile import file_writer

    patterns = np.random.default_rng(0).integers(0, 255, (2, 2, 64, 64)).astype(np.uint8)
    described = signal(patterns, 1.0, unit="cm")
    for axis in described["axes"][:2]:
        axis["units"] = "nm"
    file_writer(str(path), described, show_progressbar=False)


def _rosettasciio(plugin: str) -> Callable[[Path, np.ndarray, float], None]:
    def writer(path: Path, images: np.ndarray, pixel_size_A: float) -> None:
        from importlib import import_module

        import_module(f"rsciio.{plugin}").file_writer(str(path), signal(images, pixel_size_A))

    return writer


WRITERS: dict[str, Callable[[Path, np.ndarray, float], None]] = {
    "gatan.dm3": lambda path, images, size_A: write_dm(path, images, (size_A / 10, size_A / 10)),
    "gatan.dm4": lambda path, images, size_A: write_dm(path, images, (size_A / 10, size_A / 10)),
    "velox.emd": lambda path, images, size_A: write_velox(path, images, size_A * 1e-10),
    "ncem.emd": _rosettasciio("emd"),
    "tia.ser": lambda path, images, size_A: write_ser(path, images, size_A * 1e-10),
    "plain.tif": _rosettasciio("tiff"),
    "plain.mrc": write_mrc,
    "hyperspy.hspy": _rosettasciio("hspy"),
}
"""Writers (path, images, pixel size in Å) of the formats that know their pixel size."""
PLAIN_WRITERS: dict[str, Callable[[Path, np.ndarray], None]] = {
    "numpy.npy": lambda path, images: np.save(path, images),
    "packed.tiff": lambda path, images: tifffile.imwrite(path, images, compression="zlib", photometric="minisblack"),
}
"""Writers (path, images) of those that do not."""


def write_png(path: Path, image: np.ndarray) -> None:
    """A PNG file of one image, 8 or 16 bits."""
    Image.fromarray(image).save(path)
