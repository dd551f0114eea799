"""Readers of the formats of microscope files, most of them by way of RosettaSciIO.

A damaged file can make a reader loop, ask for any amount of memory or crash, so that they are called in a process of
their own. A file that names another one, from which libraries would take its pixels, is refused.
"""

import contextlib
import math
import os
import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import numpy as np

from nanoshape_lib.errors import NanoshapeError

MINIMUM_SIDE = 64
MAXIMUM_PIXELS, MAXIMUM_BYTES = 2**27, 2**30
"""Of all frames of a file together, as they are stored, unpacked: 8 frames of 4096 x 4096."""
MAXIMUM_PAGES, MAXIMUM_METADATA_BYTES = 2**12, 2**26
"""Of a TIFF file, and of the tags of its first page."""
MAXIMUM_PARTS, MAXIMUM_DEPTH = 20_000, 32
"""Of groups, data sets and attributes of an HDF5 file, and of groups inside each other."""
SQUARE_TOLERANCE = 0.01
PRINT_A, NO_LENGTH_A = 1e4, 1e10
"""From this size on a pixel is a printer's; and from this, a metre, it is no length but a number per metre."""

_HDF5, _TIFF = (b"\x89HDF\r\n\x1a\n",), (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_IMOD_STAMP, _IMOD_SIGNED = 1146047817, 1
_PIXELS = ("", "px", "pix", "pixel", "pixels", "undefined")


@dataclass(frozen=True)
class Stack:
    """Frames (N, rows, columns) that are not read yet, their pixel size [Å] if it is known, and warnings."""

    data: Any
    pixel_size_A: float | None
    notes: tuple[str, ...] = ()

    def frames(self) -> Iterator[np.ndarray]:
        """Each frame (rows, columns) as float32, in the file's order."""
        data = self.data
        if getattr(data, "npartitions", 0) == 1:
            data = data.compute(scheduler="synchronous")
        if data.shape != self.data.shape:
            raise ValueError(f"the pixels are {data.shape}, but should be {self.data.shape}")
        for frame in data:
            if hasattr(frame, "compute"):
                frame = frame.compute(scheduler="synchronous")
            if frame.shape != self.data.shape[1:]:
                raise ValueError(f"a frame is {frame.shape}, but should be {self.data.shape[1:]}")
            with np.errstate(all="ignore"):
                yield np.ascontiguousarray(frame, dtype=np.float32)


class _Format(NamedTuple):
    """Name of a format, what its files begin with (nothing: not fixed), and its reader (path, name in sentences)."""

    title: str
    starts: tuple[bytes, ...]
    read: Callable[[str, str], list[dict]]


def display(path: str | os.PathLike) -> str:
    """The path as it can stand in a sentence: on one line, whatever characters it holds."""
    text = os.fspath(path)
    text = text if isinstance(text, str) else os.fsdecode(text)
    return text if text.isprintable() and text else ascii(text)


def check_start(path: str | os.PathLike, start: bytes, name: str) -> None:
    """Refuse a file whose ending is unknown or whose first 16 bytes are those of another format."""
    suffix = Path(os.fspath(path)).suffix.lower()
    if suffix not in FORMATS:
        raise NanoshapeError(f"{name} ends in {suffix or 'nothing'!r}, but must end in one of {', '.join(FORMATS)}")
    if not start:
        raise NanoshapeError(f"{name} is empty, but must hold an image")
    wanted, found = FORMATS[suffix], _guess(start)
    if not start.startswith(wanted.starts) if wanted.starts else found != _UNKNOWN:
        raise NanoshapeError(f"{name} is no {wanted.title} file: its first bytes are those of {found}")


def read(path: str, suffix: str, name: str) -> Stack:
    """Find the image, or stack of images, of a file that passed :func:`check_start`, mostly without reading its pixels.

    Of several data sets it is the first that knows its pixel size, is deeper than the 8 bits of a screen copy and no
    thumbnail, as far as there is one. Raises NanoshapeError in one sentence that calls the file by its ``name``, for
    everything that is wrong with it.
    """
    try:
        return _best(name, [dataset for dataset in FORMATS[suffix].read(path, name) if "data" in dataset])
    except Exception as error:
        raise refusal(name, suffix, error) from None


def refusal(name: str, suffix: str, error: Exception) -> NanoshapeError:
    """The sentence for whatever a library raised."""
    if isinstance(error, NanoshapeError):
        return error
    if isinstance(error, MemoryError):
        return NanoshapeError(f"{name} asks for more memory than a file may take")
    if "RGBA" in str(error):  # RosettaSciIO, of Gatan's colour images
        return _colour(name)
    title = FORMATS[suffix].title
    return NanoshapeError(f"{name} is no readable {title} file: it is damaged, cut short or of another kind")


def _best(name: str, datasets: list[dict]) -> Stack:
    """The data set to read, see :func:`read`, or what is wrong with the first one."""
    found, errors = [], []
    for number, dataset in enumerate(datasets, 1):
        try:
            found.append((number, _as_stack(name, dataset)))
        except NanoshapeError as error:
            errors.append(error)
    if not found:
        raise errors[0] if errors else NanoshapeError(f"{name} holds no image")
    largest = max(math.prod(stack.data.shape[1:]) for _, stack in found)

    def rank(each: tuple[int, Stack]) -> tuple[bool, bool, bool]:
        data, size_A = each[1].data, each[1].pixel_size_A
        return size_A is not None, data.dtype.itemsize > 1, 2 * math.prod(data.shape[1:]) > largest

    number, best = max(found, key=rank)
    note = f"{name} holds {len(datasets)} data sets, of which number {number} was read"
    return best if len(datasets) == 1 else replace(best, notes=(note, *best.notes))


def _as_stack(name: str, dataset: dict) -> Stack:
    """A data set of RosettaSciIO as frames, or the reason why it is none."""
    data, axes = dataset["data"], list(dataset.get("axes", ()))
    units = [str(axis.get("units") or "").strip(" \0") for axis in axes]
    kinds = [_angstroms(unit) for unit in units]
    if "diffraction" in str(dataset.get("metadata", {}).get("Signal", {}).get("signal_type", "")):
        raise NanoshapeError(f"{name} is a diffraction pattern, or several, but must be an image")
    if "reciprocal" in kinds[-2:]:
        unit = units[-2:][kinds[-2:].index("reciprocal")]
        raise NanoshapeError(f"{name} is a diffraction pattern (its axes are in {unit}), but must be an image")
    check_kind(name, data.dtype, data.shape, "energy" in kinds)
    if data.dtype.names is not None:
        data = _grey(name, [data[channel] for channel in data.dtype.names[:3]])
    rows, columns = data.shape[-2:]
    size: tuple[float | None, tuple[str, ...]] = None, ()
    if [axis.get("size") for axis in axes[-2:]] == [rows, columns]:
        size = _pixel_size(name, [axis.get("scale") for axis in axes[-2:]], units[-2:], kinds[-2:])
    return Stack(data.reshape(-1, rows, columns), *size)


def check_kind(name: str, dtype: np.dtype, shape: tuple[int, ...], spectrum: bool = False) -> None:
    """Refuse what is no stack of grey images of a size that can be handled."""
    real = dtype.names is None and dtype.kind in "buif"
    colour = dtype.names is not None and set("RGB") <= set(dtype.names)
    if dtype.kind == "c":
        raise NanoshapeError(f"{name} holds complex numbers, but must hold real intensities")
    if not real and not colour:
        raise NanoshapeError(f"{name} holds values of type {dtype}, but must hold integers or real numbers")
    frames = [n for n in shape[:-2] if n != 1]
    if len(frames) > 1:
        found = f"data of {len(shape)} dimensions, such as 4D-STEM"
        raise NanoshapeError(f"{name} holds {found}, but must hold an image or a stack of them")
    if len(shape) < 2 or spectrum:
        raise NanoshapeError(f"{name} holds a spectrum or a line, but must hold an image or a stack of images")
    if (frames and shape[-1] in (3, 4) and real) or (colour and shape[-2] in (3, 4)):
        raise _colour(name)
    if min(shape[-2:]) < MINIMUM_SIDE:
        size = f"{shape[-2]} x {shape[-1]}"
        raise NanoshapeError(f"{name} has {size} pixels, but each side must have at least {MINIMUM_SIDE}")
    pixels = math.prod(int(n) for n in shape)
    if pixels == 0:
        raise NanoshapeError(f"{name} holds no image")
    if pixels > MAXIMUM_PIXELS or pixels * dtype.itemsize > MAXIMUM_BYTES:
        size = " x ".join(str(n) for n in shape)
        raise NanoshapeError(
            f"{name} has {size} pixels ({pixels * dtype.itemsize / 2**30:.2g} GiB), but must have"
            f" at most {MAXIMUM_PIXELS / 1e6:.0f} million in at most {MAXIMUM_BYTES / 2**30:g} GiB"
        )


def _colour(name: str) -> NanoshapeError:
    return NanoshapeError(f"{name} is a colour image; save it as greyscale, or better give the microscope's own file")


def _grey(name: str, channels: list[Any]) -> np.ndarray:
    """The one image of equal colour channels."""
    first, *others = (np.asarray(channel) for channel in channels)
    if any(not np.array_equal(first, other) for other in others):
        raise _colour(name)
    return first


def _angstroms(unit: str) -> float | str | None:
    """A unit of length in Å; ``"reciprocal"``, ``"energy"`` or ``"pixel"``; None for any other."""
    from rsciio.utils._units import _UREG

    unit = re.sub(r"\\u([0-9a-fA-F]{4})", lambda code: chr(int(code[1], 16)), unit)  # as ImageJ writes them
    unit = re.sub(r"_|/ *pix(el)?$|/ *px$", "", unicodedata.normalize("NFC", unit).strip("[]<> "))
    if unit.lower() in _PIXELS:
        return "pixel"
    if unit.lower() in ("ev", "kev", "mev"):
        return "energy"
    if len(unit) > 20 or sum(each.isdigit() for each in unit) > 2 or re.search(r"\d.*\*|\^.*\^", unit):
        return None  # the units library would compute powers of powers
    unit = re.sub(r"(?i)\b(a|angs?)\b", "angstrom", unit)
    for spelled in (unit, unit.lower()):
        with contextlib.suppress(Exception):
            found = _UREG.parse_units(spelled)
            if found.dimensionality == {"[length]": 1}:
                return float(_UREG.Quantity(1, found).to("angstrom").magnitude)
            angle = found.dimensionless and re.search("radian|degree", str(found))
            if angle or found.dimensionality == {"[length]": -1}:
                return "reciprocal"
    return None


def _pixel_size(
    name: str, scales: list[Any], units: list[str], kinds: list[float | str | None]
) -> tuple[float | None, tuple[str, ...]]:
    """Pixel size [Å] from scales and units of the two image axes, and a note if there is none."""
    for unit, kind in zip(units, kinds, strict=True):
        if kind is None:
            return None, (f"{name} gives its pixel size in {display(unit)!r}, which is no unit of length",)
    lengths = [kind for kind in kinds if isinstance(kind, float)]
    if len(lengths) < 2:
        return None, ()
    rows_A, columns_A = sizes = [abs(float(scale)) * length for scale, length in zip(scales, lengths, strict=True)]
    if not all(np.isfinite(sizes)) or not min(sizes) > 0:
        return None, (f"{name} gives no usable pixel size",)
    if min(sizes) >= NO_LENGTH_A:
        per_metre = f"{min(sizes) / 1e10:.3g} per metre"
        raise NanoshapeError(f"{name} is a diffraction pattern (its pixels are {per_metre}), but must be an image")
    if min(sizes) > PRINT_A:
        return None, ()
    if abs(rows_A - columns_A) > SQUARE_TOLERANCE * max(sizes):
        raise NanoshapeError(f"{name} has pixels of {columns_A:.4g} x {rows_A:.4g} Å, but they must be square")
    return (rows_A + columns_A) / 2, ()


def _rosettasciio(plugin: str, function: str = "file_reader") -> Callable[[str, str], list[dict]]:
    """Reader of one plugin of RosettaSciIO that leaves the pixels in the file for now."""
    return lambda path, name: getattr(import_module(f"rsciio.{plugin}"), function)(path, lazy=True)


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
                what = f"groups, data sets and attributes, or over {MAXIMUM_DEPTH} groups inside each other"
                raise NanoshapeError(f"{name} has more than {MAXIMUM_PARTS} {what}, which is too many for an image")
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


def _read_hspy(path: str, name: str) -> list[dict]:
    """Every data set of a file of HyperSpy."""
    _check_hdf5(path, name)
    return _rosettasciio("hspy")(path, name)


def _read_emd(path: str, name: str) -> list[dict]:
    """Images of an EMD file: Velox's without its spectra, NCEM's with the axes as they lie in the file."""
    from h5py import File
    from rsciio.emd._api import file_reader, is_EMD_Velox
    from rsciio.emd._emd_velox import FeiEMDReader

    _check_hdf5(path, name)
    file = File(path, "r")
    if is_EMD_Velox(file):
        reader = FeiEMDReader(select_type="images", lazy=True)
        with contextlib.suppress(ModuleNotFoundError):  # after the images it asks for a library of the spectra's
            reader.read_file(file)
        return reader.dictionaries
    return [_in_order(dataset) for dataset in file_reader(path, lazy=True)]


def _in_order(dataset: dict) -> dict:
    """A data set of NCEM's EMD with its columns last.

    RosettaSciIO takes the first axis in the file for the columns and reverses all, as HyperSpy writes them. NCEM's own
    software writes the columns last; names tell the two apart, or a first axis that is no length.
    """
    axes = dataset["axes"]
    start = sum(bool(axis["navigate"]) for axis in axes)
    first, last = axes[start], axes[-1]
    columns = [bool(re.search(r"(^|[\W_])x$", str(axis["name"] or "").lower())) for axis in (first, last)]
    lengths = [isinstance(_angstroms(str(axis["units"] or "")), float) for axis in (first, last)]
    reversed_in_file = columns[1] if any(columns) else lengths == [False, True]
    if reversed_in_file or str(dataset["original_metadata"].get("EMD_version")).startswith("1"):
        return dataset
    order = [*range(start), *range(len(axes) - 1, start - 1, -1)]
    return dataset | {"data": dataset["data"].transpose(order), "axes": [axes[place] for place in order]}


def _check_tiff(name: str, file: Any) -> list[dict[str, str]]:
    """Refuse a TIFF file of pixels elsewhere, or of more pages or metadata than an image or a stack has.

    The sizes of pixels come back that OME metadata give, by series.
    """
    with contextlib.suppress(IndexError):
        file.pages.get(MAXIMUM_PAGES)
        raise NanoshapeError(f"{name} has more than {MAXIMUM_PAGES} pages")
    if sum(tag.valuebytecount for tag in file.pages.first.tags) > MAXIMUM_METADATA_BYTES:
        raise NanoshapeError(f"{name} has tags of more than {MAXIMUM_METADATA_BYTES / 2**20:g} MiB")
    sizes = []
    with contextlib.suppress(ElementTree.ParseError):
        described = ElementTree.fromstring(file.ome_metadata or "<none/>")
        for each in described.iter():
            other = each.get("FileName")
            if other and each.text != described.get("UUID") and other != Path(name).name:
                raise _elsewhere(name, other)
            if each.tag.rpartition("}")[2] == "Pixels":
                sizes.append(each.attrib)
    return sizes


def _read_tiff(path: str, name: str) -> list[dict]:
    """A TIFF file, brighter where its numbers say so.

    The pixel size is RosettaSciIO's, or that of OME's metadata, ImageJ's unit (of which RosettaSciIO knows none but
    the micrometre) or the resolution of the format itself.
    """
    from dask import delayed
    from dask.array import from_delayed
    from rsciio.utils.rgb import regular_array2rgbx
    from tifffile import PHOTOMETRIC, TiffFile

    several_files, all_pages_at_once = ("_multifile", "is_ndtiff"), ("is_lsm", "is_scanimage", "is_ndpi")
    without: dict[str, Any] = dict.fromkeys(several_files + all_pages_at_once, False)
    file = TiffFile(path, **without)
    sizes, unit = _check_tiff(name, file), (file.imagej_metadata or {}).get("unit")
    datasets = import_module("rsciio.tiff").file_reader(path, lazy=True, **without)
    series = file.series

    def load(number: int) -> np.ndarray:
        """The pixels; RosettaSciIO would unpack them into a temporary file."""
        page, pixels = series[number].keyframe, series[number].asarray()
        if page.photometric == PHOTOMETRIC.PALETTE:
            shades = np.asarray(page.colormap)
            shades = (shades if shades.max() < 256 else shades >> 8).astype("u1")
            return regular_array2rgbx(np.moveaxis(shades[:, pixels], 0, -1))
        if page.photometric == PHOTOMETRIC.MINISWHITE:
            return (1 << page.bitspersample) - 1 - pixels if pixels.dtype.kind in "bu" else 0.0 - pixels
        return regular_array2rgbx(pixels) if datasets[number]["data"].dtype.names else pixels

    for number, dataset in enumerate(datasets):
        page = series[number].keyframe
        size = sizes[number] if len(sizes) == len(datasets) else {}
        per_unit = page.get_resolution() if page.resolutionunit in (2, 3) else (0, 0)
        for axis, letter, per in zip(dataset["axes"][-2:], "YX", per_unit[::-1], strict=True):
            key = f"PhysicalSize{letter}"
            if axis["units"] is not None:
                continue
            if key in size:
                axis |= {"scale": float(size[key]), "units": size.get(f"{key}Unit", "µm")}
            elif unit:
                axis["units"] = str(unit)
            elif min(per_unit) > 1:
                axis |= {"scale": 1 / per, "units": "inch" if page.resolutionunit == 2 else "cm"}
        shape, kind = dataset["data"].shape, dataset["data"].dtype
        if page.photometric == PHOTOMETRIC.PALETTE:
            kind = np.dtype([(channel, "u1") for channel in "RGB"])
        dataset["data"] = from_delayed(delayed(load)(number), shape, kind)
    return datasets


def _read_mrc(path: str, name: str) -> list[dict]:
    """An MRC file: https://www.ccpem.ac.uk/mrc_format/mrc2014.php; bytes also as IMOD's manual of the format says.

    Bytes have a sign by the standard; older files without one have a brightest pixel above 127, or IMOD's stamp.
    """
    header = np.fromfile(path, "<u4", 256)
    order = ">" if header[53:54].tobytes()[:2] == b"\x11\x11" else "<"
    header, real = header.view(order + "u4"), header.view(order + "f4")
    columns, rows, sections, mode, extended = (int(header[place]) for place in (0, 1, 2, 3, 23))
    unsigned = not header[39] & _IMOD_SIGNED if header[38] == _IMOD_STAMP else real[21] > 127
    kind = {0: "u1" if unsigned else "i1", 1: "i2", 2: "f4", 4: "c8", 6: "u2", 12: "f2"}[mode]
    dtype, start, shape = np.dtype(order + kind), 1024 + extended, (sections, rows, columns)
    check_kind(name, dtype, shape)
    sizes_A = [float(real[10 + axis] / header[7 + axis]) if header[7 + axis] > 0 else 0.0 for axis in (1, 0)]
    if extended == 2**17:  # FEI's, in metres
        sizes_A = [1e10 * float(np.fromfile(path, order + "f4", 1, offset=1024 + 44)[0])] * 2
    pairs = zip(shape[1:], sizes_A, strict=True)
    axes = [{"size": size, "scale": size_A, "units": "Å" if size_A else None} for size, size_A in pairs]
    return [{"data": np.memmap(path, dtype, "r", start, shape), "axes": axes}]


def _read_png(path: str, name: str) -> list[dict]:
    """A PNG file by Pillow; its size is known before its pixels are unpacked."""
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None
    with Image.open(path, formats=["PNG"]) as image:
        dtype = np.dtype({"I;16": "u2", "I": "i4", "F": "f4"}.get(image.mode, "u1"))
        check_kind(name, dtype, (image.height, image.width))
        if image.mode in ("1", "L", "I", "I;16", "F"):
            return [{"data": np.asarray(image)}]
        colour = np.asarray(image.convert("RGB"))
    return [{"data": _grey(name, [colour[..., channel] for channel in range(3)])}]


def _read_npy(path: str, name: str) -> list[dict]:
    """A NumPy array, never a pickle; its size is known before its pixels are mapped."""
    with open(path, "rb") as file:
        version = np.lib.format.read_magic(file)
        read_header = getattr(np.lib.format, f"read_array_header_{1 if version == (1, 0) else 2}_0")
        shape, _, dtype = read_header(file)
    check_kind(name, dtype, shape)
    return [{"data": np.load(path, mmap_mode="r", allow_pickle=False)}]


def _read_blo(path: str, name: str) -> list[dict]:
    """Blockfiles hold precession diffraction patterns, scanned over a specimen, and nothing else."""
    raise NanoshapeError(f"{name} is a blockfile of diffraction patterns, but must hold images")


FORMATS: dict[str, _Format] = {
    ".dm3": _Format("DM3", (b"\0\0\0\3",), _rosettasciio("digitalmicrograph")),
    ".dm4": _Format("DM4", (b"\0\0\0\4",), _rosettasciio("digitalmicrograph")),
    ".emd": _Format("EMD", _HDF5, _read_emd),
    ".ser": _Format("SER", (b"II\x97\1",), _rosettasciio("tia._api", "ser_reader")),
    ".tif": _Format("TIFF", _TIFF, _read_tiff),
    ".tiff": _Format("TIFF", _TIFF, _read_tiff),
    ".mrc": _Format("MRC", (), _read_mrc),
    ".blo": _Format("blockfile", (b"IMGBLO",), _read_blo),
    ".hspy": _Format("HyperSpy", _HDF5, _read_hspy),
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
