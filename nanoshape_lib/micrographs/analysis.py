"""From a microscope's file to the shapes of its particles: read, clean, find, crop, classify, explain."""

import copy
import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from nanoshape_lib.datasets.images import load_examples
from nanoshape_lib.errors import NanoshapeError, noting
from nanoshape_lib.micrographs.cleaning import Cleaned, clean
from nanoshape_lib.micrographs.cropping import crop
from nanoshape_lib.micrographs.detection import COLUMNS, LARGEST_PIXEL_A, find
from nanoshape_lib.micrographs.formats import display
from nanoshape_lib.micrographs.pixel_size import PixelSize, consensus, sentences, settle
from nanoshape_lib.micrographs.reading import Micrograph, load
from nanoshape_lib.networks.models import IMAGE_PIXELS
from nanoshape_lib.particles.shapes import Shape
from nanoshape_lib.paths import DATA
from nanoshape_lib.trust.classifier import CLASSES, Classifier

if TYPE_CHECKING:
    from nanoshape_lib.micrographs.template_matching import Match
    from nanoshape_lib.networks.explanation import Neighbours

WEIGHTS = DATA / "weights" / "cnn6_ranges.safetensors"
"""The six-block network that was trained on with ranges of the microscope's settings."""
REFERENCE, NEAREST = "reference_images", 2
"""Shipped images of training particles, equally many of each shape; how many of them explain a name."""


class Similar(NamedTuple):
    """A simulated image (128, 128), the cosine between its features and a particle's, its size and defocus [Å]."""

    image: np.ndarray
    similarity: float
    size_A: float
    defocus_A: float


@dataclass(frozen=True)
class Explanation:
    """Why each of the G particles of an analysis has the shape that is most probable.

    ``saliency``: Grad-CAM (G, 128, 128) in the first image of each particle, by the first network; ``similar``: the
    simulated images of that shape whose features are most like each particle's; ``matches``: the simulation of that
    shape that fits the first image of each best, none if not asked for.
    """

    saliency: np.ndarray
    similar: list[list[Similar]]
    matches: "list[Match]"


@dataclass(frozen=True)
class Analysis:
    """What one file shows.

    ``micrograph``: the cleaned images, their pixel size and all warnings; ``ring``: the pixel size that the lattice of
    gold gives, if rings are seen; ``boxes``: every particle, as :func:`nanoshape_lib.micrographs.detection.find` gives
    them; ``crops``: each of the G particles that the edge does not cut (G, N, 128, 128) in each of the N images,
    standardised; ``table``: a row for each of these: ``particle`` (from 1), ``row`` and ``column`` of its centre
    [pixels], ``diameter_A``, and the columns of :meth:`nanoshape_lib.trust.classifier.Classifier.classify` from
    ``images`` on; ``explanation``: of the same particles, if it was asked for.
    """

    micrograph: Micrograph
    boxes: pd.DataFrame
    crops: np.ndarray
    table: pd.DataFrame
    ring: PixelSize | None = None
    explanation: Explanation | None = None


class Explainer:
    """Explains why particles have their names; it looks at the reference images in the background from the start.

    ``match``: whether to look for the simulations that fit best; the first search of a shape takes a minute more.
    """

    def __init__(self, classifier: Classifier, match: bool = False):
        # Of its own: hooks are put into a network, and the classifier may be at work in another thread.
        self._network, self._match = copy.deepcopy(classifier.networks[0]), match
        self._neighbours = ThreadPoolExecutor(1).submit(self._look)

    def _look(self) -> "Neighbours":
        from nanoshape_lib.networks.explanation import Neighbours  # a second that classifying does not need

        return Neighbours(self._network, load_examples(REFERENCE))

    def explain(self, crops: np.ndarray, labels: np.ndarray) -> Explanation:
        """The explanation of particles (G, N, 128, 128) with these labels (G,)."""
        from nanoshape_lib.micrographs.template_matching import best_match
        from nanoshape_lib.networks.explanation import grad_cam

        if not len(labels):
            return Explanation(np.empty((0, IMAGE_PIXELS, IMAGE_PIXELS)), [], [])
        first = crops[:, 0]
        images = torch.as_tensor(first)
        neighbours = self._neighbours.result()
        found, reference = neighbours.find(images, labels, NEAREST), neighbours.reference
        similar: list[list[Similar]] = [[] for _ in labels]
        for place, row, *about in found[["image", "row", "similarity", "size_A", "defocus_A"]].itertuples(index=False):
            similar[place].append(Similar(reference.images[row].float().numpy(), *about))
        pairs = list(zip(first, labels.tolist(), strict=True)) if self._match else []
        asked = tqdm(pairs, desc="best matches", unit="particle", disable=not pairs)
        matches = [best_match(image, Shape(label)) for image, label in asked]
        return Explanation(grad_cam(self._network, images, labels), similar, matches)


def analyse(
    source: str | os.PathLike[str] | Micrograph,
    classifier: Classifier,
    pixel_size_A: float | None = None,
    whole_field: bool = False,
    explainer: Explainer | None = None,
) -> Analysis:
    """Find the particles of a file or a micrograph, and classify each.

    Several images are taken for a focal series of one field: particles are found in the mean of the images, and what
    the network says of a particle is averaged over them.

    Parameters
    ----------
    source
        A file that :func:`nanoshape_lib.micrographs.reading.load` reads, or what it returns.
    classifier
        One network or several, with their calibrations.
    pixel_size_A
        Side of a pixel [Å], if the file does not say it or is wrong.
    whole_field
        Take the middle of the image for one particle, and look for no others.
    explainer
        Explains the names, if they are to be explained.

    Returns
    -------
    Analysis
        Its table is empty if there is no particle.

    Raises
    ------
    NanoshapeError
        If the file cannot be read, its pixel size is neither known nor measurable, or above 1.25 Å. What was noted
        before is in ``__notes__``.
    """
    loaded = source if isinstance(source, Micrograph) else load(source, pixel_size_A)
    with noting(loaded.notes):
        # Any unit of brightness is as good as another, and powers of two change no digit.
        power = -math.frexp(float(loaded.images.max()) - float(loaded.images.min()))[1]
        cleaned, name = [clean(np.ldexp(image, power)) for image in loaded.images], display(loaded.path)
        notes = loaded.notes + tuple(_cleaning_notes(name, cleaned))
        micrograph, ring = settle(replace(loaded, images=np.stack([each.image for each in cleaned]), notes=notes))
        images, pixel_A = micrograph.images, micrograph.pixel_size_A
        assert pixel_A is not None
        if pixel_A > LARGEST_PIXEL_A and micrograph.source != "user":
            words = f"has pixels of {pixel_A:.3g} Å, too coarse to show fringes, which need at most {LARGEST_PIXEL_A} Å"
            raise NanoshapeError(f"{name} {words}")
        mean = images.mean(axis=0) if len(images) > 1 else images[0]
        boxes = _middle(mean, pixel_A) if whole_field else find(mean, pixel_A)
        micrograph = replace(micrograph, notes=(*micrograph.notes, *_finding_notes(name, len(images), boxes)))
        usable = boxes[~boxes["cut_off"]].reset_index(drop=True)
        crops, table = np.empty((0, len(images), IMAGE_PIXELS, IMAGE_PIXELS)), pd.DataFrame()
        if len(usable):
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                each = pool.map(lambda box: [crop(image, box, pixel_A, boxes) for image in images], usable.itertuples())
                crops = np.stack(list(each))
            groups = np.repeat(np.arange(1, len(crops) + 1), len(images))
            said = classifier.classify(torch.as_tensor(crops).flatten(0, 1), groups)
            table = said.rename(columns={"group": "particle"})
            for place, column in enumerate(("row", "column", "diameter_A"), 1):
                table.insert(place, column, usable[column])
            doubts = sentences(consensus(table, pixel_A, ring), pixel_A, name)
            micrograph = replace(micrograph, notes=(*micrograph.notes, *doubts))
        labels = table[CLASSES].to_numpy().argmax(axis=1) if len(table) else np.empty(0, int)
        explanation = explainer.explain(crops, labels) if explainer else None
        return Analysis(micrograph, boxes, crops, table, ring, explanation)


def _cleaning_notes(name: str, cleaned: Sequence[Cleaned]) -> list[str]:
    """What cleaning changed, if it is worth a word."""
    bright, dark = sum(each.bright for each in cleaned), sum(each.dark for each in cleaned)
    slope = max(each.slope for each in cleaned)
    notes = {
        f"{bright} bright and {dark} dark pixels of {name} were replaced": bright + dark > 0,
        f"the brightness of {name}, which changed by {100 * slope:.0f} %, was made even": slope >= 0.02,
    }
    return [note for note, holds in notes.items() if holds]


def _finding_notes(name: str, images: int, boxes: pd.DataFrame) -> list[str]:
    """What is to be said of the series and the boxes."""
    cut = int(boxes["cut_off"].sum())
    notes = {
        f"the {images} images in {name} were taken for a focal series of one field": images > 1,
        f"{cut} of {len(boxes)} particles in {name} are cut off by the edge and were not classified": cut > 0,
        f"no particle was found in {name}": boxes.empty,
    }
    return [note for note, holds in notes.items() if holds]


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
    explainer: Explainer | None = None,
) -> tuple[list[Analysis], list[NanoshapeError]]:
    """Every file that can be analysed, and for each other one the sentence that says why not; see :func:`analyse`."""
    if not paths:
        raise NanoshapeError("paths is empty, but must name at least one file")
    analyses, refused = [], []
    for path in tqdm(paths, desc="files", unit="file", disable=len(paths) == 1):
        try:
            analyses.append(analyse(path, classifier, pixel_size_A, whole_field, explainer))
        except NanoshapeError as error:
            if display(path) not in str(error):
                error.args = (f"{display(path)}: {error}",)
            refused.append(error)
    return analyses, refused


def labels(analyses: Sequence[Analysis]) -> list[str]:
    """The name of each file, with as much of its path as tells it from the others."""
    paths = [Path(analysis.micrograph.path).parts for analysis in analyses]

    def label(path: tuple[str, ...]) -> str:
        ends = (path[-count:] for count in range(1, len(path)))
        alone = (end for end in ends if all(other == path or other[-len(end) :] != end for other in paths))
        return str(Path(*next(alone, path)))

    return [label(path) for path in paths]


def predictions(analyses: Sequence[Analysis]) -> pd.DataFrame:
    """The tables of several analyses as one, with columns ``file``, ``pixel_size_A`` and its ``source``.

    Where best matches were asked for, the columns ``match_ncc``, ``match_defocus_A`` and ``match_size_A`` follow.
    """
    tables = []
    for analysis, label in zip(analyses, labels(analyses), strict=True):
        about, table = analysis.micrograph, analysis.table.copy()
        sizes = {"file": label, "pixel_size_A": about.pixel_size_A, "pixel_size_source": about.source}
        for place, (name, value) in enumerate(sizes.items()):
            table.insert(place, name, value)
        matches = analysis.explanation.matches if analysis.explanation else []
        for name in ("ncc", "defocus_A", "size_A") if matches else ():
            table[f"match_{name}"] = [getattr(match, name) for match in matches]
        tables.append(table)
    # An empty table has columns of no type, which would make numbers of the others fractional.
    filled = [table for table in tables if len(table)] or tables[:1]
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame()
