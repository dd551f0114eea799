"""Stacks of images as they lie in a file: checked before their pixels are read."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from nanoshape_lib.errors import NanoshapeError

MINIMUM_SIDE = 64
"""Smallest number of rows and of columns."""
MAXIMUM_PIXELS = 2**27
"""Largest number of pixels in a file, all frames together: 8 frames of 4096 x 4096."""
MAXIMUM_BYTES = 2**30
"""Largest size of the pixels as they are stored, unpacked."""
SQUARE_TOLERANCE = 0.01

_LENGTHS_A = {
    "m": 1e10,
    "meter": 1e10,
    "meters": 1e10,
    "cm": 1e8,
    "mm": 1e7,
    "µm": 1e4,
    "μm": 1e4,
    "um": 1e4,
    "micron": 1e4,
    "microns": 1e4,
    "nm": 10.0,
    "å": 1.0,
    "Å": 1.0,
    "a": 1.0,
    "ang": 1.0,
    "angstrom": 1.0,
    "angstroms": 1.0,
    "pm": 0.01,
}
_RECIPROCAL = ("1/", "1 /", "^-1", "**-1", "⁻¹", "-1", "rad", "deg", "°")
_ENERGIES = ("ev", "kev", "mev")


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


def display(path: str | os.PathLike) -> str:
    """The path as it can stand in a sentence: on one line, whatever characters it holds."""
    text = os.fspath(path)
    text = text if isinstance(text, str) else os.fsdecode(text)
    return text if text.isprintable() and text else ascii(text)


def first_stack(name: str, datasets: list[dict]) -> Stack:
    """The first usable data set, or what is wrong with the first one."""
    first_error: NanoshapeError | None = None
    for number, dataset in enumerate(datasets, 1):
        try:
            stack = _as_stack(name, dataset)
        except NanoshapeError as error:
            first_error = first_error or error
            continue
        if len(datasets) == 1:
            return stack
        note = f"{name} holds {len(datasets)} data sets, of which number {number} was read"
        return Stack(stack.data, stack.pixel_size_A, (note, *stack.notes))
    raise first_error or NanoshapeError(f"{name} holds no image")


def _as_stack(name: str, dataset: dict) -> Stack:
    """A data set of RosettaSciIO as frames, or the reason why it is none."""
    data, axes = dataset["data"], list(dataset.get("axes", ()))
    scales = [(axis.get("scale"), str(axis.get("units") or "").strip(), axis.get("size")) for axis in axes]
    check_kind(name, data.dtype, data.shape, [unit for _, unit, _ in scales])
    if "diffraction" in str(dataset.get("metadata", {}).get("Signal", {}).get("signal_type", "")):
        raise NanoshapeError(f"{name} holds diffraction patterns, but must hold images")
    if data.dtype.names is not None:
        data = grey(name, [data[channel] for channel in data.dtype.names[:3]])
    rows, columns = data.shape[-2:]
    pixel_size_A: float | None = None
    notes: tuple[str, ...] = ()
    if [size for _, _, size in scales[-2:]] == [rows, columns]:
        pixel_size_A, notes = _pixel_size(name, scales[-2:])
    return Stack(data.reshape(-1, rows, columns), pixel_size_A, notes)


def check_kind(name: str, dtype: np.dtype, shape: tuple[int, ...], units: list[str]) -> None:
    """Refuse what is no stack of grey images of a size that can be handled."""
    real = dtype.names is None and dtype.kind in "buif"
    colour = dtype.names is not None and set("RGB") <= set(dtype.names)
    if dtype.kind == "c":
        raise NanoshapeError(f"{name} holds complex numbers, but must hold real intensities")
    if not real and not colour:
        raise NanoshapeError(f"{name} holds values of type {dtype}, but must hold integers or real numbers")
    frames = [n for n in shape[:-2] if n != 1]
    reciprocal = [unit for unit in units[-2:] if any(sign in unit.lower() for sign in _RECIPROCAL)]
    if reciprocal:
        raise NanoshapeError(f"{name} is a diffraction pattern (its axes are in {reciprocal[0]}), but must be an image")
    if len(frames) > 1:
        raise NanoshapeError(
            f"{name} holds data of {len(shape)} dimensions, such as 4D-STEM, but must hold an image or a stack of them"
        )
    if len(shape) < 2 or any(unit.lower() in _ENERGIES for unit in units):
        raise NanoshapeError(f"{name} holds a spectrum or a line, but must hold an image or a stack of images")
    if (frames and shape[-1] in (3, 4) and real) or (colour and len(shape) > 1 and shape[-2] in (3, 4)):
        raise _colour(name)
    if min(shape[-2:]) < MINIMUM_SIDE:
        raise NanoshapeError(
            f"{name} has {shape[-2]} x {shape[-1]} pixels, but each side must have at least {MINIMUM_SIDE}"
        )
    pixels = int(np.prod([int(n) for n in shape], dtype=object))
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


def grey(name: str, channels: list[Any]) -> np.ndarray:
    """The one image of equal colour channels."""
    first, *others = (np.asarray(channel) for channel in channels)
    if any(not np.array_equal(first, other) for other in others):
        raise _colour(name)
    return first


def _pixel_size(name: str, scales: list[tuple]) -> tuple[float | None, tuple[str, ...]]:
    """Pixel size [Å] from scale and unit of the two image axes, and a note if there is none."""
    sizes = []
    for scale, unit, _ in scales:
        length_A = _LENGTHS_A.get(unit.lower())
        if length_A is None:
            if unit and unit.lower() not in ("px", "pixel", "pixels", "<undefined>", "undefined"):
                return None, (f"{name} gives its pixel size in {display(unit)!r}, which is no unit of length",)
            return None, ()
        sizes.append(abs(float(scale)) * length_A)
    rows_A, columns_A = sizes
    if not all(np.isfinite(sizes)) or not min(sizes) > 0:
        return None, (f"{name} gives no usable pixel size",)
    if abs(rows_A - columns_A) > SQUARE_TOLERANCE * max(sizes):
        raise NanoshapeError(f"{name} has pixels of {columns_A:.4g} x {rows_A:.4g} Å, but they must be square")
    return (rows_A + columns_A) / 2, ()
