"""Micrographs from the files of microscopes: read in a process of their own, checked, in ångströms."""

import contextlib
import math
import os
import stat
from dataclasses import dataclass
from typing import BinaryIO, Literal

import numpy as np
import pandas as pd

from nanoshape_lib.errors import NanoshapeError, noting
from nanoshape_lib.micrographs.formats import FORMATS, check_start, display
from nanoshape_lib.micrographs.sandbox import READER

SMALLEST_PIXEL_A, LARGEST_PIXEL_A = 0.05, 10.0
DISAGREEMENT = 0.05

Source = Literal["user", "metadata", "lattice"]


@dataclass(frozen=True)
class Micrograph:
    """What a file holds.

    ``images``: float32 (N, rows, columns) in the order of the file; one image is a stack of one; ``pixel_size_A``: side
    of a pixel [Å] or None, and its ``source``; ``path``: the file, as it was given and as it can stand in a sentence;
    ``notes``: warnings, one sentence each; ``truth``: of a simulated one, the table of
    :func:`nanoshape_lib.simulation.field.place`.
    """

    images: np.ndarray
    pixel_size_A: float | None
    source: Source | None
    path: str
    notes: tuple[str, ...] = ()
    truth: pd.DataFrame | None = None


def check_pixel_size(pixel_size_A: float, whose: str = "pixel_size_A") -> float:
    """The pixel size [Å] if it can be that of an HRTEM image, from 0.05 to 10 Å; else a sentence on whose it is."""
    number = isinstance(pixel_size_A, int | float | np.number) and not isinstance(pixel_size_A, bool)
    if not number or not SMALLEST_PIXEL_A <= pixel_size_A <= LARGEST_PIXEL_A:
        value = f"{float(pixel_size_A):.4g} Å" if number else repr(pixel_size_A)
        raise NanoshapeError(f"{whose} is {value}, but must lie between {SMALLEST_PIXEL_A:g} and {LARGEST_PIXEL_A:g} Å")
    return float(pixel_size_A)


def load(path: str | os.PathLike[str], pixel_size_A: float | None = None, name: str | None = None) -> Micrograph:
    """Read an image, or a stack of images such as a focal series, from a file of a microscope.

    A process of its own decodes the file, with limits on memory and time and no way to any other file.

    Parameters
    ----------
    path
        A file of type dm3, dm4, emd (Velox or NCEM), ser, tif, mrc, hspy, png or npy.
    pixel_size_A
        Side of a pixel [Å]; it overrides what the file says.
    name
        What sentences call the file; by default its path.

    Returns
    -------
    Micrograph
        The image or stack of images in the file, see :func:`nanoshape_lib.micrographs.formats.read`. Without a pixel
        size in file or call, estimate it with :func:`nanoshape_lib.micrographs.pixel_size.settle`.

    Raises
    ------
    NanoshapeError
        If the file is missing, not readable, damaged, of another format than its ending says, or refers to another;
        if it has too many parts, below 64 pixels on a side or over 134 million in all; if it is in colour, complex,
        constant or not finite, a diffraction pattern, a spectrum or 4D-STEM; or if its pixels are not square or not of
        0.05 to 10 Å. The one sentence names the file; what was noted before is in ``__notes__``.
    """
    if pixel_size_A is not None:
        pixel_size_A = check_pixel_size(pixel_size_A)
    name = name or display(path)
    with _opened(path, name) as file:
        images, from_file_A, notes = READER.ask(file.fileno(), os.path.abspath(os.fsdecode(path)), name)
    with noting(notes):
        _check_values(name, images)
        if pixel_size_A is None and from_file_A is not None:
            check_pixel_size(from_file_A, f"the pixel size in {name}")
    if pixel_size_A is None and from_file_A is None:
        notes += (f"{name} does not say how large its pixels are",)
    elif pixel_size_A and from_file_A and abs(from_file_A / pixel_size_A - 1) > DISAGREEMENT:
        notes += (f"{name} says that its pixels are {from_file_A:.4g} Å, but {pixel_size_A:.4g} Å was given",)
    source: Source | None = "user" if pixel_size_A else "metadata" if from_file_A else None
    return Micrograph(images, pixel_size_A or from_file_A, source, name, notes)


def _opened(path: str | os.PathLike[str], name: str) -> BinaryIO:
    """A file with a known beginning, opened; a pipe that nobody writes to keeps no one waiting."""
    try:
        with contextlib.ExitStack() as kept:
            opened = open(path, "rb", 0, opener=lambda at, flags: os.open(at, flags | os.O_NONBLOCK))  # noqa: SIM115
            file = kept.enter_context(opened)
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise NanoshapeError(f"{name} is a device, socket or pipe, but must be a file")
            check_start(path, file.read(16), name)
            kept.pop_all()
            return file
    except NanoshapeError:
        raise
    except (OSError, ValueError) as error:
        why = {
            IsADirectoryError: f"is a folder, but must be a file of type {', '.join(FORMATS)}",
            PermissionError: "cannot be opened: you have no permission to read it",
            FileNotFoundError: "does not exist",
            ValueError: "cannot be the name of a file",
        }.get(type(error), f"cannot be opened: {getattr(error, 'strerror', None) or 'bad name'}")
        raise NanoshapeError(f"{name} {why}") from None


def _check_values(name: str, images: np.ndarray) -> None:
    """Refuse frames that hold no picture."""
    for number, image in enumerate(images, 1):
        which = name if len(images) == 1 else f"frame {number} of {name}"
        low, high = float(image.min()), float(image.max())
        if not math.isfinite(low) or not math.isfinite(high):
            raise NanoshapeError(f"{which} holds values that are not finite, but every pixel must be a number")
        if low == high:
            raise NanoshapeError(f"{which} is constant: every pixel is {low:g}")
