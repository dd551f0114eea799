"""How well micrographs of another metal are told from those of gold, by all particles and by fewer."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from nanoshape_lib.micrographs.consensus import consensus, sentences
from nanoshape_lib.micrographs.pixel_size import PixelSize, check
from nanoshape_lib.particles.shapes import GOLD_LATTICE_CONSTANT_A
from nanoshape_lib.studies.ood import auroc
from nanoshape_lib.trust.spectral_check import QUANTITIES

COUNTS = (1, 2, 4, 8)
KEYS = ["metal", "micrograph"]
LATTICE = QUANTITIES.index("lattice")


def found_particles(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of a table of micrographs whose particle was found; others were missed, or are no particle."""
    return table[table["found"] & (table["label"] >= 0)]


def each_micrograph(table: pd.DataFrame) -> pd.DataFrame:
    """What the particles of each micrograph show together.

    Parameters
    ----------
    table
        Of :func:`nanoshape_lib.studies.micrographs.micrograph_study`, with one network.

    Returns
    -------
    DataFrame
        ``metal``, ``micrograph``, ``pixel_size_A``; ``lattice_A`` and ``uncertainty_A``, from rings where ``ring`` is
        true and else from the spectral check; ``surprise``, the greatest of the three of
        :class:`nanoshape_lib.micrographs.consensus.Consensus`; and whether the report says (``said``) that something is
        not as usual.
    """
    rows = []
    for (metal, number), part in found_particles(table).groupby(KEYS, sort=False):
        about = part.iloc[0]
        pixel_A, ring = float(about["pixel_size_A"]), None
        if np.isfinite(about["ring_A"]):
            ring = PixelSize(float(about["ring_A"]), float(about["ring_sd_A"]), {})
        found = consensus(part, pixel_A, ring)
        said = sentences(found, pixel_A, "") or (ring is not None and check(ring, pixel_A, ""))
        lattice_A = GOLD_LATTICE_CONSTANT_A * float(np.exp(found.logarithms[LATTICE]))
        rows.append(
            {"metal": metal, "micrograph": number, "pixel_size_A": pixel_A, "lattice_A": lattice_A}
            | {"uncertainty_A": lattice_A * float(found.uncertainties[LATTICE]), "ring": ring is not None}
            | {"surprise": float(found.surprises.max()), "said": bool(said)}
        )
    return pd.DataFrame(rows)


def told_by_count(table: pd.DataFrame, counts: Sequence[int] = COUNTS, seed: int = 0) -> pd.DataFrame:
    """How well each metal is told from gold by so many particles of a micrograph together, and by the whole of it.

    The score is the greatest surprise. Particles are grouped at random, and each serves once; the rings need the whole
    field, and serve only there.

    Parameters
    ----------
    table
        Of :func:`nanoshape_lib.studies.micrographs.micrograph_study`, with one network and gold among the metals.
    counts
        Numbers of particles.
    seed
        Of the grouping.

    Returns
    -------
    DataFrame
        ``metal``, ``particles`` (in the order asked for, and 0 for all and the rings), ``auroc`` with its 95 % interval
        ``low`` to ``high`` over micrographs, and ``micrographs``, those of the metal.
    """
    rng = np.random.default_rng(seed)
    found = found_particles(table).sample(frac=1, random_state=rng)
    fewest = int(found.groupby(KEYS).size().min())
    scores: dict[tuple[int, str], list[list[float]]] = {}
    for (metal, _), part in found.groupby(KEYS, sort=False):
        for count in counts:
            groups = [part.iloc[first : first + count] for first in range(0, fewest - count + 1, count)]
            surprises = [float(consensus(group, 1.0).surprises.max()) for group in groups]
            scores.setdefault((count, str(metal)), []).append(surprises)
    for metal, part in each_micrograph(table).groupby("metal", sort=False):
        scores[0, str(metal)] = part[["surprise"]].to_numpy().tolist()
    rows = []
    for (count, metal), others in scores.items():
        if metal != "Au":
            value, low, high = auroc(np.array(scores[count, "Au"]), np.array(others))
            rows.append((metal, count, value, low, high, len(others)))
    return pd.DataFrame(rows, columns=["metal", "particles", "auroc", "low", "high", "micrographs"])
