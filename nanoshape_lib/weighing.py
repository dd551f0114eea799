"""What the weights of the components of strangeness are learned from: known particles, and others of five kinds.

Neither a network nor its checks have learned from any of them, nor are the strangers among them that tables are of.
"""

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from nanoshape_lib.check_training import CAMERAS
from nanoshape_lib.cores import on_all_cores
from nanoshape_lib.design import DatasetDesign
from nanoshape_lib.exposures import Draw, expose
from nanoshape_lib.imageset import ImageSet
from nanoshape_lib.shape_training import ExposedWaves
from nanoshape_lib.strained import StrainedWaves

KINDS = ("known", "irregular", "another element", "another lattice constant", "another pixel size", "cut")


def weighed_images(
    irregular: ExposedWaves, strained: StrainedWaves, cut: ExposedWaves, design: DatasetDesign, draw: Draw, series: int
) -> ImageSet:
    """Focal series of all waves at drawn settings, and of the known ones also as cameras with other pixels see them.

    Returns
    -------
    ImageSet
        Its table has ``kind``: a place in :data:`KINDS`.
    """
    usual = design.detector.pixels

    def series_of(waves: np.ndarray, seed: int, others: bool = False) -> Tensor:
        def make(number: int) -> Tensor:
            rng, (real, imaginary) = np.random.default_rng((seed, number)), waves[number].astype(np.float32)
            pixels = usual
            while others and pixels == usual:
                pixels = 2 * int(rng.integers(CAMERAS[0] // 2, CAMERAS[1] // 2 + 1))
            return expose(real + 1j * imaginary, draw(series, rng), design, rng, pixels)

        return torch.cat(on_all_cores(make, range(len(waves)), "weighed images"))

    known = irregular.waves[~irregular.irregular]
    lattice, element = strained.logarithms.T
    images = [
        series_of(known, 0),
        series_of(irregular.waves[irregular.irregular], 1),
        series_of(strained.waves, 2),
        series_of(known, 3, others=True),
        series_of(cut.waves[cut.irregular], 4),
    ]
    kinds = [
        np.zeros(len(known), int),
        np.full(irregular.irregular.sum(), 1),
        np.where(element != 0, 2, np.where(lattice != 0, 3, 0)),
        np.full(len(known), 4),
        np.full(cut.irregular.sum(), 5),
    ]
    return ImageSet(torch.cat(images), pd.DataFrame({"kind": np.repeat(np.concatenate(kinds), series)}))
