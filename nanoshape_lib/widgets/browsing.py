"""What the dataset browser and the confusion explorer know, without a browser."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits
from torch import Tensor

from nanoshape_lib.datasets.design import Split
from nanoshape_lib.datasets.images import ImageSet, load_examples
from nanoshape_lib.datasets.store import Store
from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.figures.structures import equal_area
from nanoshape_lib.networks.evaluation import BEAM
from nanoshape_lib.networks.models import Architecture
from nanoshape_lib.particles.orientation import reduce, sector_corners
from nanoshape_lib.particles.shapes import Shape
from nanoshape_lib.simulation.imaging import focal_series
from nanoshape_lib.studies.trainings import shipped_predictions

SERIES_KEPT = 16


def sector_points(rows: pd.DataFrame, shape: Shape) -> np.ndarray:
    """Places (N, 2) of the beams of some rows on the flat, symmetry-reduced sphere of a shape [about degrees]."""
    if rows.empty:
        return np.zeros((0, 2))
    return equal_area(reduce(rows[BEAM].to_numpy(float), shape), sector_corners(shape))


class BrowserModel:
    """The exit waves of one split of a store by shape, size and direction, and the focal series of each.

    Parameters
    ----------
    store
        The exit waves.
    split
        ``train``, ``validation`` or ``test``.

    Raises
    ------
    NanoshapeError
        If the split is not finished.

    Attributes
    ----------
    table
        One row a wave, see `Store.table`, and ``nominal_A``, its size to a tenth of an Å.
    """

    def __init__(self, store: Store, split: Split = "test"):
        self.store, self.split = store, split
        if store.missing_chunks(split):
            raise NanoshapeError(f"{store.path} is not finished: some of its {split} waves are missing")
        table = store.table(split)
        self.table = table.assign(nominal_A=table["size_A"].round(1))
        self.series = lru_cache(maxsize=SERIES_KEPT)(self._series)

    def sizes(self, shape: Shape) -> list[float]:
        """Sizes [Å] at which there are waves of a shape, to a tenth."""
        return sorted(self.table.loc[self.table["label"] == shape, "nominal_A"].unique().tolist())

    def waves(self, shape: Shape, size_A: float) -> pd.DataFrame:
        """The waves of one shape and size, with ``u`` and ``v``: where they lie on the flat sector.

        Raises
        ------
        NanoshapeError
            If there are none of this size.
        """
        rows = self.table[(self.table["label"] == shape) & np.isclose(self.table["nominal_A"], size_A)]
        if rows.empty:
            sizes = ", ".join(f"{size:g}" for size in self.sizes(shape)) or "none"
            raise NanoshapeError(
                f"size is {size_A:g} Å, but the {self.split} waves of the {shape.title} have {sizes} Å"
            )
        u, v = sector_points(rows, shape).T
        return rows.assign(u=u, v=v)

    def _series(self, group: int) -> np.ndarray:
        """Images (N, n, n) of one wave at the defoci of the design, in units of the incident intensity."""
        if not 0 <= group < len(self.table):
            raise NanoshapeError(f"wave is {group}, but must be between 0 and {len(self.table) - 1}")
        design = self.store.design
        wave = self.store.waves(self.split, group, group + 1)[0]
        defoci_A, seed = np.array(design.defoci_A), design.seed + group
        with threadpool_limits(1):  # threads that wait for each other on a busy machine take ten times longer
            return focal_series(wave, defoci_A, design.microscope, design.camera, seed)


class Cell(NamedTuple):
    """Images of one true shape that got one answer.

    Attributes
    ----------
    expected, predicted
        The true shape and the answer.
    rows
        Their predictions.
    share
        Of all images of the true shape.
    waves
        One row a wave: its beam, how many images of it are ``of_it`` in the cell, and their ``share`` of its series.
    second
        How many images have each shape as second choice.
    pictured
        Positions of their pictures, where there are any, and the row of ``rows`` that each belongs to.
    """

    expected: Shape
    predicted: Shape
    rows: pd.DataFrame
    share: float
    waves: pd.DataFrame
    second: dict[Shape, int]
    pictured: list[tuple[int, int]]


class ConfusionModel:
    """A confusion matrix whose cells know their images.

    Parameters
    ----------
    predictions
        From :func:`nanoshape_lib.networks.evaluation.predictions_table`, with beam_x, beam_y and beam_z.
    images
        Images (N, n, n), standardised.
    rows
        The row of ``predictions`` that each image belongs to; without it, image i belongs to row i.

    Raises
    ------
    NanoshapeError
        If an image belongs to no row.
    """

    def __init__(self, predictions: pd.DataFrame, images: Tensor, rows: np.ndarray | None = None):
        self.predictions, self.images = predictions.reset_index(drop=True), images
        owners = np.arange(len(images)) if rows is None else np.asarray(rows)
        if len(owners) != len(images) or (len(owners) and not 0 <= owners.min() <= owners.max() < len(predictions)):
            raise NanoshapeError(
                f"images are {len(images)}, but each must belong to one of the {len(predictions)} predictions"
            )
        unique, first = np.unique(owners, return_index=True)
        self._picture = dict(zip(unique.tolist(), first.tolist(), strict=True))
        counts = pd.crosstab(self.predictions["label"], self.predictions["predicted"])
        self.counts = counts.reindex(index=list(Shape), columns=list(Shape), fill_value=0).to_numpy()

    @classmethod
    def shipped(cls, architecture: Architecture = "cnn6", temperature: float = 1.0) -> "ConfusionModel":
        """The large test set as a shipped network sees it, with the pictures of the examples that are shipped."""
        examples: ImageSet = load_examples(f"best_{architecture}_examples")
        return cls(shipped_predictions(architecture, temperature), examples.images, examples.table["row"].to_numpy())

    def cell(self, expected: Shape, predicted: Shape) -> Cell:
        """The images of one cell of the matrix; there may be none."""
        table = self.predictions
        rows = table[(table["label"] == expected) & (table["predicted"] == predicted)]
        of_shape = table[table["label"] == expected]
        waves = rows.groupby("group")[BEAM].first().assign(of_it=rows.groupby("group").size())
        waves["share"] = waves["of_it"] / of_shape.groupby("group").size().reindex(waves.index)
        labels = rows["second"].to_numpy(int)
        return Cell(
            expected,
            predicted,
            rows,
            len(rows) / max(len(of_shape), 1),
            waves.reset_index(),
            {shape: int((labels == shape).sum()) for shape in Shape if (labels == shape).any()},
            [(self._picture[row], row) for row in rows.index if row in self._picture],
        )
