"""From a microscope's file to the shapes of its particles: read, clean, find, cut out, classify."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.micrographs.cleaning import clean
from nanoshape_lib.micrographs.consensus import consensus, sentences
from nanoshape_lib.micrographs.cropping import crop
from nanoshape_lib.micrographs.detection import COLUMNS, check, find
from nanoshape_lib.micrographs.pixel_size import settle
from nanoshape_lib.micrographs.reading import Micrograph, load
from nanoshape_lib.micrographs.stacks import display
from nanoshape_lib.networks.models import IMAGE_PIXELS
from nanoshape_lib.paths import DATA
from nanoshape_lib.trust.classifier import Classifier

WEIGHTS = DATA / "weights" / "cnn6_ranges.safetensors"
"""The six-block network trained on with ranges of the microscope's settings."""


@dataclass(frozen=True)
class Analysis:
    """What one file shows.

    Attributes
    ----------
    micrograph
        The cleaned images, their pixel size and all warnings.
    boxes
        Every particle found, as :func:`nanoshape_lib.micrographs.detection.find` gives them.
    crops
        Each classified particle (G, N, 128, 128) in each of the N images, standardised.
    table
        One row for each of the G particles that the edge does not cut: ``particle`` (from 1), ``row`` and ``column``
        of its centre [pixels], ``diameter_A``, and the columns of
        :meth:`nanoshape_lib.trust.classifier.Classifier.classify` from ``images`` on.
    """

    micrograph: Micrograph
    boxes: pd.DataFrame
    crops: np.ndarray
    table: pd.DataFrame


def analyse(
    path: str | os.PathLike[str],
    classifier: Classifier,
    pixel_size_A: float | None = None,
    whole_field: bool = False,
) -> Analysis:
    """Find the particles of a file and classify each.

    Several images in a file are taken for a focal series of one field: particles are found in the mean of the
    images, and what the network says of a particle is averaged over them.

    Parameters
    ----------
    path
        A file that :func:`nanoshape_lib.micrographs.reading.load` reads.
    classifier
        One network or several, with their calibrations.
    pixel_size_A
        Side of a pixel [Å], if the file does not say it or is wrong.
    whole_field
        Take the middle of the image for one particle, and look for no others.

    Returns
    -------
    Analysis
        Its table is empty if there is no particle.

    Raises
    ------
    NanoshapeError
        If the file cannot be read, its pixel size is neither known nor measurable, or above 1.25 Å.
    """
    loaded = load(path, pixel_size_A)
    cleaned = [clean(image) for image in loaded.images]
    notes = loaded.notes + tuple(_cleaning_notes(cleaned))
    micrograph, ring = settle(replace(loaded, images=np.stack([each.image for each in cleaned]), notes=notes))
    images, pixel_A = micrograph.images, micrograph.pixel_size_A
    assert pixel_A is not None
    mean = images.mean(axis=0) if len(images) > 1 else images[0]
    check(mean, pixel_A)
    boxes = _middle(mean, pixel_A) if whole_field else find(mean, pixel_A)
    notes = tuple(_finding_notes(display(path), len(images), boxes))
    micrograph = replace(micrograph, notes=micrograph.notes + notes)
    usable = boxes[~boxes["cut_off"]].reset_index(drop=True)
    if usable.empty:
        return Analysis(micrograph, boxes, np.empty((0, len(images), IMAGE_PIXELS, IMAGE_PIXELS)), pd.DataFrame())
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = pool.map(lambda box: [crop(image, box, pixel_A, boxes) for image in images], usable.itertuples())
        crops = np.stack(list(found))
    groups = np.repeat(np.arange(1, len(crops) + 1), len(images))
    said = classifier.classify(torch.as_tensor(crops).flatten(0, 1), groups)
    table = said.rename(columns={"group": "particle"})
    for place, name in enumerate(("row", "column", "diameter_A"), 1):
        table.insert(place, name, usable[name])
    doubts = sentences(consensus(table, pixel_A, ring), pixel_A, display(path))
    micrograph = replace(micrograph, notes=(*micrograph.notes, *doubts))
    return Analysis(micrograph, boxes, crops, table)


def _cleaning_notes(cleaned: Sequence) -> list[str]:
    """What cleaning changed, if it is worth a word."""
    bright, dark = (sum(getattr(each, name) for each in cleaned) for name in ("bright", "dark"))
    slope = max(each.slope for each in cleaned)
    notes = [f"{bright} bright and {dark} dark pixels were replaced"] if bright + dark else []
    return notes + ([f"the brightness, which changed by {100 * slope:.0f} %, was made even"] if slope >= 0.02 else [])


def _finding_notes(name: str, images: int, boxes: pd.DataFrame) -> list[str]:
    """What is to be said of the series and the boxes."""
    notes = []
    if images > 1:
        notes.append(f"the {images} images in {name} were taken for a focal series of one field")
    cut = int(boxes["cut_off"].sum())
    if cut:
        notes.append(f"{cut} of {len(boxes)} particles are cut off by the edge of the image and were not classified")
    if boxes.empty:
        notes.append(f"no particle was found in {name}")
    return notes


def _middle(image: np.ndarray, pixel_size_A: float) -> pd.DataFrame:
    """The middle of the image as the box of one particle."""
    (height, width), nothing = image.shape, float("nan")
    diameter_A = min(min(height, width) * pixel_size_A, IMAGE_PIXELS) * 0.75
    box = ((height - 1) / 2, (width - 1) / 2, diameter_A, nothing, nothing, nothing, False)
    return pd.DataFrame([box], columns=COLUMNS)


def analyse_all(
    paths: Sequence[str | os.PathLike[str]],
    classifier: Classifier,
    pixel_size_A: float | None = None,
    whole_field: bool = False,
) -> tuple[list[Analysis], list[NanoshapeError]]:
    """Every file that can be analysed, and for each other one the sentence that says why not.

    Raises
    ------
    NanoshapeError
        If there are no files.
    """
    if not paths:
        raise NanoshapeError("paths is empty, but must name at least one file")
    analyses, refused = [], []
    for path in tqdm(paths, desc="files", unit="file", disable=len(paths) == 1):
        try:
            analyses.append(analyse(path, classifier, pixel_size_A, whole_field))
        except NanoshapeError as error:
            text = str(error)
            refused.append(error if display(path) in text else NanoshapeError(f"{display(path)}: {text}"))
    return analyses, refused


def predictions(analyses: Sequence[Analysis]) -> pd.DataFrame:
    """The tables of several files as one, with columns ``file``, ``pixel_size_A`` and its ``source``."""
    tables = []
    for analysis in analyses:
        about = analysis.micrograph
        table = analysis.table.copy()
        table.insert(0, "file", Path(about.path).name)
        table.insert(1, "pixel_size_A", about.pixel_size_A)
        table.insert(2, "pixel_size_source", about.source)
        tables.append(table)
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()
