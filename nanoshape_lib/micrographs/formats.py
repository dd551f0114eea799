"""Readers of the formats of microscope files, most of them by way of RosettaSciIO.

A damaged file can make a reader loop, ask for any amount of memory or crash, so that they are called in a process of
their own. A file that names another one, from which libraries would take its pixels, is refused.
"""

import contextlib
import os
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import numpy as np

from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.micrographs.stacks import Stack, check_kind, display, first_stack, grey

_HDF5, _TIFF = (b"\x89HDF\r\n\x1a\n",), (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

_FINEST_PRINT_PER_CM = 1e4
MAXIMUM_PAGES, MAXIMUM_METADATA_BYTES = 2**12, 2**26
"""Largest number of pages of a TIFF file, and of bytes in the tags of its first one."""
MAXIMUM_PARTS, MAXIMUM_DEPTH = 20_000, 32
"""Largest number of groups, data sets and attributes of an HDF5 file, and of groups inside each other."""


class _Format(NamedTuple):
    """Name of a format, what its files begin with (nothing: not fixed), and its reader (path, name in sentences)."""

    title: str
    starts: tuple[bytes, ...]
    read: Callable[[str, str], list[dict]]


def check_start(path: str | os.PathLike, start: bytes) -> None:
    """Refuse a file whose ending is unknown or whose first bytes are those of another format.

    Parameters
    ----------
    path
        Where it is.
    start
        Its first 16 bytes.

    Raises
    ------
    NanoshapeError
        Naming the file and what it seems to be.
    """
    name, suffix = display(path), Path(os.fspath(path)).suffix.lower()
    if suffix not in FORMATS:
        raise NanoshapeError(f"{name} ends in {suffix or 'nothing'!r}, but must end in one of {', '.join(FORMATS)}")
    if not start:
        raise NanoshapeError(f"{name} is empty, but must hold an image")
    wanted = FORMATS[suffix]
    if wanted.starts and not start.startswith(wanted.starts):
        raise NanoshapeError(f"{name} is no {wanted.title} file: its first bytes are those of {_guess(start)}")
    if not wanted.starts and (found := _guess(start)) != _UNKNOWN:
        raise NanoshapeError(f"{name} is no {wanted.title} file: its first bytes are those of {found}")


def read(path: str, suffix: str, name: str) -> Stack:
    """Open a file and find its image, or its stack of images, without reading the pixels if that can be helped.

    Parameters
    ----------
    path
        A file that passed :func:`check_start`.
    suffix
        The ending of its name, a key of ``FORMATS``.
    name
        What sentences call it.

    Returns
    -------
    Stack
        The first data set that is an image or a stack of images.

    Raises
    ------
    NanoshapeError
        In one sentence that names the file, for everything that is wrong with it.
    """
    try:
        datasets = [dataset for dataset in FORMATS[suffix].read(path, name) if "data" in dataset]
        return first_stack(name, datasets)
    except Exception as error:
        raise refusal(name, suffix, error) from None


def refusal(name: str, suffix: str, error: Exception) -> NanoshapeError:
    """The sentence for whatever a library raised."""
    if isinstance(error, NanoshapeError):
        return error
    if isinstance(error, MemoryError):
        return NanoshapeError(f"{name} asks for more memory than a file may take")
    title = FORMATS[suffix].title
    return NanoshapeError(f"{name} is no readable {title} file: it is damaged, cut short or of another kind")


def _rosettasciio(
    plugin: str, function: str = "file_reader", check: Callable[[str, str], None] = lambda path, name: None
) -> Callable[[str, str], list[dict]]:
    """Reader of one plugin of RosettaSciIO that leaves the pixels in the file for now, after a check of the file."""

    def reader(path: str, name: str) -> list[dict]:
        check(path, name)
        return getattr(import_module(f"rsciio.{plugin}"), function)(path, lazy=True)

    return reader


def _elsewhere(name: str, other: Any) -> NanoshapeError:
    return NanoshapeError(f"{name} refers to another file ({display(other)[:100]}), but must hold its pixels itself")


def _check_hdf5(path: str, name: str) -> None:
    """Refuse an HDF5 file of pixels elsewhere, or of more parts than an image has.

    A soft link stays in the file: the groups that it leads through are looked at themselves.
    """
    import h5py
    from h5py import h5a, h5d, h5g, h5l, h5o

    with h5py.File(path, "r") as file:
        root = h5g.open(file.id, b"/")
        parts, seen, waiting = h5a.get_num_attrs(root), {h5o.get_info(root).addr}, [(root, 0)]
        while waiting:
            group, depth = waiting.pop()
            parts += group.get_num_objs()
            if parts > MAXIMUM_PARTS or depth > MAXIMUM_DEPTH:
                raise NanoshapeError(
                    f"{name} has more than {MAXIMUM_PARTS} groups, data sets and attributes, or over {MAXIMUM_DEPTH}"
                    " groups inside each other, which is too many for an image"
                )
            for link in group:
                kind = group.links.get_info(link).type
                if kind == h5l.TYPE_SOFT:
                    continue
                if kind != h5l.TYPE_HARD:
                    raise _elsewhere(name, group.links.get_val(link)[0] if kind == h5l.TYPE_EXTERNAL else link)
                found = h5o.open(group, link)
                parts += h5a.get_num_attrs(found)
                if isinstance(found, h5d.DatasetID):
                    made = found.get_create_plist()
                    if made.get_external_count():
                        raise _elsewhere(name, made.get_external(0)[0])
                    if made.get_layout() == h5d.VIRTUAL:
                        raise _elsewhere(name, made.get_virtual_filename(0) if made.get_virtual_count() else link)
                elif isinstance(found, h5g.GroupID) and (address := h5o.get_info(found).addr) not in seen:
                    seen.add(address)
                    waiting.append((found, depth + 1))


def _check_tiff(name: str, file: Any) -> None:
    """Refuse a TIFF file of pixels elsewhere, or of more pages or metadata than an image or a stack has."""
    with contextlib.suppress(IndexError):
        file.pages.get(MAXIMUM_PAGES)
        raise NanoshapeError(f"{name} has more than {MAXIMUM_PAGES} pages")
    if sum(tag.valuebytecount for tag in file.pages.first.tags) > MAXIMUM_METADATA_BYTES:
        raise NanoshapeError(f"{name} has tags of more than {MAXIMUM_METADATA_BYTES / 2**20:g} MiB")
    with contextlib.suppress(ElementTree.ParseError):
        described = ElementTree.fromstring(file.ome_metadata or "<none/>")
        for each in described.iter():
            other = each.get("FileName")
            if other and each.text != described.get("UUID") and other != Path(name).name:
                raise _elsewhere(name, other)


def _read_tiff(path: str, name: str) -> list[dict]:
    """A TIFF file, with the unit of length that ImageJ wrote or the resolution of the format itself.

    RosettaSciIO knows no unit but the micrometre. A resolution for a printer, 72 dpi say, is no pixel size.
    """
    from dask import delayed
    from dask.array import from_delayed
    from rsciio.utils.rgb import regular_array2rgbx
    from tifffile import TiffFile

    several_files, all_pages_at_once = ("_multifile", "is_ndtiff"), ("is_lsm", "is_scanimage", "is_ndpi")
    without: dict[str, Any] = dict.fromkeys(several_files + all_pages_at_once, False)
    file = TiffFile(path, **without)
    _check_tiff(name, file)
    unit, page = (file.imagej_metadata or {}).get("unit"), file.pages.first
    across, down = page.get_resolution("centimeter") if page.resolutionunit in (2, 3) else (0.0, 0.0)
    datasets = import_module("rsciio.tiff").file_reader(path, lazy=True, **without)
    for dataset, series in zip(datasets, file.series, strict=True):
        # RosettaSciIO would unpack the pixels into a temporary file.
        pixels, load = dataset["data"], series.asarray
        unpacked = delayed(load if pixels.dtype.names is None else lambda load=load: regular_array2rgbx(load()))
        dataset["data"] = from_delayed(unpacked(), pixels.shape, pixels.dtype)
    for dataset in datasets:
        for axis, per_cm in zip(dataset["axes"][-2:], (down, across), strict=True):
            if unit and axis["units"] is None:
                axis["units"] = str(unit).replace("\\u00c5", "Å")
            elif axis["units"] is None and min(across, down) > _FINEST_PRINT_PER_CM:
                axis |= {"scale": 1e7 / per_cm, "units": "nm"}
    return datasets


def _read_mrc(path: str, name: str) -> list[dict]:
    """An MRC file whose header agrees with its length: https://www.ccpem.ac.uk/mrc_format/mrc2014.php."""
    from rsciio.mrc import file_reader

    with open(path, "rb") as file:
        header = file.read(1024)
    endianness = ">" if header[212:214] == b"\x11\x11" else "<"
    columns, rows, sections, mode, extended = (
        int(np.frombuffer(header, endianness + "u4", 1, offset)[0]) for offset in (0, 4, 8, 12, 92)
    )
    itemsize = {0: 1, 1: 2, 2: 4, 4: 8, 6: 2, 12: 2}[mode]
    if os.path.getsize(path) < 1024 + extended + columns * rows * sections * itemsize:
        raise EOFError("the pixels end before the header says")
    (dataset,) = file_reader(path, lazy=True, endianness=endianness)
    if endianness == ">":  # RosettaSciIO heeds it for the header alone
        dataset["data"] = dataset["data"].view(dataset["data"].dtype.newbyteorder(">"))
    return [dataset]


def _read_png(path: str, name: str) -> list[dict]:
    """A PNG file by Pillow; its size is known before its pixels are unpacked."""
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None
    with Image.open(path, formats=["PNG"]) as image:
        dtype = np.dtype({"I;16": "u2", "I": "i4", "F": "f4"}.get(image.mode, "u1"))
        check_kind(name, dtype, (image.height, image.width), [])
        if image.mode in ("1", "L", "I", "I;16", "F"):
            return [{"data": np.asarray(image)}]
        colour = np.asarray(image.convert("RGB"))
    return [{"data": grey(name, [colour[..., channel] for channel in range(3)])}]


def _read_npy(path: str, name: str) -> list[dict]:
    """A NumPy array, never a pickle; its size is known before its pixels are mapped."""
    with open(path, "rb") as file:
        version = np.lib.format.read_magic(file)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = header(file)
    check_kind(name, dtype, shape, [])
    return [{"data": np.load(path, mmap_mode="r", allow_pickle=False)}]


def _read_blo(path: str, name: str) -> list[dict]:
    """Blockfiles hold precession diffraction patterns, scanned over a specimen, and nothing else."""
    raise NanoshapeError(f"{name} is a blockfile of diffraction patterns, but must hold images")


FORMATS: dict[str, _Format] = {
    ".dm3": _Format("DM3", (b"\0\0\0\3",), _rosettasciio("digitalmicrograph")),
    ".dm4": _Format("DM4", (b"\0\0\0\4",), _rosettasciio("digitalmicrograph")),
    ".emd": _Format("EMD", _HDF5, _rosettasciio("emd", check=_check_hdf5)),
    ".ser": _Format("SER", (b"II\x97\1",), _rosettasciio("tia._api", "ser_reader")),
    ".tif": _Format("TIFF", _TIFF, _read_tiff),
    ".tiff": _Format("TIFF", _TIFF, _read_tiff),
    ".mrc": _Format("MRC", (), _read_mrc),
    ".blo": _Format("blockfile", (b"IMGBLO",), _read_blo),
    ".hspy": _Format("HyperSpy", _HDF5, _rosettasciio("hspy", check=_check_hdf5)),
    ".png": _Format("PNG", (b"\x89PNG\r\n\x1a\n",), _read_png),
    ".npy": _Format("NumPy", (b"\x93NUMPY",), _read_npy),
}
_UNKNOWN = "no format known here"
_OTHERS = {
    b"\xff\xd8\xff": "a JPEG image",
    b"GIF8": "a GIF image",
    b"BM": "a BMP image",
    b"PK\3\4": "a ZIP archive",
    b"\x1f\x8b": "a gzip archive",
    b"BZh": "a bzip2 archive",
    b"\xfd7zXZ": "an xz archive",
    b"7z\xbc\xaf": "a 7z archive",
    b"Rar!": "a RAR archive",
    b"%PDF": "a PDF document",
}


def _guess(start: bytes) -> str:
    """What the first bytes of a file belong to."""
    for title, starts, _ in FORMATS.values():
        if starts and start.startswith(starts):
            return "an HDF5 file" if starts == _HDF5 else f"a {title} file"
    return next((title for first, title in _OTHERS.items() if start.startswith(first)), _UNKNOWN)
