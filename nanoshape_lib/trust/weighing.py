"""What the weights of the components of strangeness are learned from: known particles, and others of six kinds.

Neither a network nor its checks have learned from any of them, nor are the strangers among them that tables are of.
"""

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from nanoshape_lib.datasets.design import DatasetDesign
from nanoshape_lib.datasets.exposures import Draw, expose
from nanoshape_lib.datasets.images import ImageSet
from nanoshape_lib.simulation.devices import on_all_cores
from nanoshape_lib.trust.outlier_training import EXPOSED, ExposedWaves
from nanoshape_lib.trust.spectral_training import CAMERAS
from nanoshape_lib.trust.strained import StrainedWaves

# Version of the images that weights are learned from, raised when they change; see `paths.cache_key`.
RECIPE = 1
KINDS = (*EXPOSED, "another element", "another lattice constant", "another pixel size")


def weighed_images(
    exposed: ExposedWaves, strained: StrainedWaves, design: DatasetDesign, draw: Draw, series: int
) -> ImageSet:
    """Focal series of all waves at drawn settings, and of the known ones also as cameras with other pixels see them.

    Returns
    -------
    ImageSet
        Its table has ``kind``: a place in :data:`KINDS`.
    """
    usual = design.camera.pixels

    def series_of(waves: np.ndarray, seed: int, others: bool) -> Tensor:
        def make(number: int) -> Tensor:
            rng, (real, imaginary) = np.random.default_rng((seed, number)), waves[number].astype(np.float32)
            pixels = usual
            while others and pixels == usual:
                pixels = 2 * int(rng.integers(CAMERAS[0] // 2, CAMERAS[1] // 2 + 1))
            return expose(real + 1j * imaginary, draw(series, rng), design, rng, pixels)

        return torch.cat(on_all_cores(make, range(len(waves)), "weighed images"))

    known = exposed.waves[exposed.kinds == 0]
    lattice, element = strained.logarithms.T
    of_strained = np.where(element != 0, "another element", np.where(lattice != 0, "another lattice constant", "known"))
    parts = [
        (exposed.waves, np.array(EXPOSED)[exposed.kinds]),
        (strained.waves, of_strained),
        (known, np.full(len(known), "another pixel size")),
    ]
    images = [series_of(waves, seed, "another pixel size" in kinds) for seed, (waves, kinds) in enumerate(parts)]
    kinds = np.repeat(np.concatenate([kinds for _, kinds in parts]), series)
    return ImageSet(torch.cat(images), pd.DataFrame({"kind": [KINDS.index(kind) for kind in kinds]}))
