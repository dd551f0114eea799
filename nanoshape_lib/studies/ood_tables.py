"""Tables about trust: how often sets hold the true shape, and how well strangers are told from known particles."""

from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from scipy.special import logsumexp, softmax
from tqdm import tqdm

from nanoshape_lib.datasets.images import ImageSet
from nanoshape_lib.networks.evaluation import accuracy_interval
from nanoshape_lib.networks.features import Views
from nanoshape_lib.particles.shapes import Shape
from nanoshape_lib.trust.classifier import Judgement, judge
from nanoshape_lib.trust.conformal import SCALING_SHARE, SERIES, Trust, mass_above
from nanoshape_lib.trust.ood import COMPONENTS, Novelty
from nanoshape_lib.trust.rarity import averaged

COVERAGE = 0.95
DRAWS = 1000
ALL = "all together"
BARS = {
    "bare carbon": 0.95,
    "overlapping pair": 0.95,
    "platinum": 0.95,
    "palladium": 0.95,
    "copper": 0.95,
    "pixel 0.80 Å": 0.95,
    "pixel 0.90 Å": 0.95,
    "pixel 1.10 Å": 0.95,
    "pixel 1.21 Å": 0.95,
    "Marks decahedron": 0.85,
    "truncated cube": 0.85,
}
"""The AUROC that is asked for."""


@dataclass(frozen=True)
class Seen:
    """An image set, what the network makes of it and, once that can be told, how strange it is."""

    images: ImageSet
    views: Views
    values: dict[str, np.ndarray] = field(default_factory=dict)

    def measured(self, novelty: Novelty) -> "Seen":
        """The same with the components of its strangeness."""
        return replace(self, values=novelty.measure(self.views, self.images.images))

    def take(self, rows: np.ndarray) -> "Seen":
        """Some of the images."""
        views = Views(**{name: each[rows] for name, each in vars(self.views).items()})
        return Seen(self.images.take(rows), views, {name: each[rows] for name, each in self.values.items()})

    def parts(self, count: int) -> pd.DataFrame:
        """What is known of every part of so many images: one row each."""
        return self.images.table.iloc[::count].reset_index(drop=True)


def auroc(known: np.ndarray, strange: np.ndarray, seed: int = 0) -> tuple[float, float, float]:
    """Probability that a stranger scores above a known image, with a 95 % bootstrap interval over groups of both.

    Parameters
    ----------
    known, strange
        Scores (groups, images of each).
    seed
        Of the bootstrap.

    Returns
    -------
    auroc, low, high
        The first is the area under the receiver operating characteristic over all images.
    """
    pairs = np.empty((len(strange), len(known)))
    for row, scores in enumerate(strange):
        above = scores[:, None, None] > known
        pairs[row] = (above + 0.5 * (scores[:, None, None] == known)).mean(axis=(0, 2))
    rng = np.random.default_rng(seed)
    left, right = (rng.multinomial(n, np.full(n, 1 / n), DRAWS) / n for n in pairs.shape)
    low, high = np.quantile(((left @ pairs) * right).sum(axis=1), [0.025, 0.975])
    return float(pairs.mean()), float(low), float(high)


def scores_of(trust: Trust, seen: Seen, count: int) -> dict[str, np.ndarray]:
    """Every score of strangeness of particles seen in so many images: those of the literature, the components, all."""
    logits, novelty, rarity = seen.views.logits.mean(axis=1), trust.novelty, trust.calibrations[count].rarity
    plain = {
        "highest probability": -softmax(logits, axis=1).max(axis=1),
        "energy": -logsumexp(logits, axis=1),
        "Mahalanobis": novelty.shapes.distance(seen.views.features @ novelty.axes),
    }
    plain, values = averaged(plain, count), averaged(seen.values, count)
    components = dict(zip(COMPONENTS, rarity.surprises(values).T, strict=True))
    return plain | components | {ALL: rarity.score(values)}


def novelty_table(trust: Trust, test: Seen, kinds: dict[str, Seen], series: int) -> pd.DataFrame:
    """How well each score tells each kind from the test images, from one image and from a series.

    Returns
    -------
    DataFrame
        ``kind``, ``method``, ``images`` (1 or the series), ``auroc`` with its interval ``low`` to ``high``, the ``bar``
        that is asked for, ``refused``, the share that the limit for 95 % coverage refuses, and ``groups``.
    """
    known, rows = {count: scores_of(trust, test, count) for count in (1, series)}, []
    for kind, seen in tqdm(kinds.items(), desc="AUROC", unit="kind"):
        for count, scores in known.items():
            strange, refused = scores_of(trust, seen, count), ~_judged(trust, seen, count).members.any(axis=1)
            for method in scores:
                left, right = (each[method].reshape(-1, series // count) for each in (scores, strange))
                share = refused.mean() if method == ALL else np.nan
                rows.append((kind, method, count, *auroc(left, right), BARS.get(kind), share, len(right)))
    columns = ["kind", "method", "images", "auroc", "low", "high", "bar", "refused", "groups"]
    return pd.DataFrame(rows, columns=columns)


def _judged(trust: Trust, seen: Seen, count: int, coverage: float = COVERAGE) -> Judgement:
    place = np.arange(len(seen.images)) // count
    return judge(trust, seen.views.logits, seen.values, place, coverage)


def _sets(trust: Trust, held: Seen, asked: Seen, count: int, series: int) -> dict[str, np.ndarray]:
    """Sets (G, 5) by the method in use and by plain ones, calibrated on the same particles."""
    rng, (there, here) = np.random.default_rng(0), (_judged(trust, each, count) for each in (held, asked))
    truth = held.parts(count)["label"].to_numpy()
    used = np.arange(len(held.images)).reshape(-1, count)[:, 0] // series % SCALING_SHARE != 0
    truth, probabilities = truth[used], there.probabilities[used]
    groups = trust.calibrations[count].groups

    def level(scores: np.ndarray) -> float:
        right = np.sort(scores[np.arange(len(truth)), truth])
        return float(right[min(int(np.ceil(COVERAGE * (1 + 1 / groups) * len(right))), len(right)) - 1])

    def adaptive(p: np.ndarray) -> np.ndarray:
        return mass_above(p) + rng.random((len(p), 1)) * p

    randomised = adaptive(here.probabilities) <= level(adaptive(probabilities))
    first = np.eye(len(Shape), dtype=bool)[here.probabilities.argmax(axis=1)]
    return {
        "refusing": here.members,
        "least ambiguous": 1 - here.probabilities <= level(1 - probabilities),
        "adaptive, randomised": randomised,
        "adaptive, never empty": randomised | first,
    }


def coverage_table(trust: Trust, held: Seen, test: Seen, kinds: dict[str, Seen], series: int) -> pd.DataFrame:
    """How often the set for 95 % holds the true shape: on test particles, in parts of these, and under each shift.

    Returns
    -------
    DataFrame
        ``shift``, ``method``, ``images`` of a decision, ``coverage`` with its group-bootstrap interval ``low`` to
        ``high``, ``size``, the mean number of shapes in sets that are not empty, ``empty``, the share of empty ones,
        ``accuracy`` of the first choice, ``accuracy_known`` among the sets that are not empty, ``groups``.
    """
    rows = []
    for shift, seen in tqdm({"none": test, **kinds}.items(), desc="coverage", unit="shift"):
        if (seen.images.table["label"] < 0).any():
            continue
        for count in [each for each in SERIES if series % each == 0]:
            about, judged = seen.parts(count), _judged(trust, seen, count)
            right = judged.probabilities.argmax(axis=1) == about["label"]
            parts = {shift: np.ones(len(about), bool)}
            if shift == "none":
                parts |= {f"none, {shape.title}": (about["label"] == shape).to_numpy() for shape in Shape}
                parts |= {f"none, film {film}": (about["block"] == film).to_numpy() for film in about["block"].unique()}
            for method, members in _sets(trust, held, seen, count, series).items():
                covered = members[np.arange(len(about)), about["label"]]
                for name, chosen in parts.items() if method == "refusing" else [(shift, parts[shift])]:
                    hits = pd.DataFrame({"group": about["group"][chosen], "correct": covered[chosen]})
                    shapes, good = members[chosen].sum(axis=1), right[chosen]
                    filled = shapes > 0
                    size, known = (each[filled].mean() if filled.any() else np.nan for each in (shapes, good))
                    interval, groups = accuracy_interval(hits), hits["group"].nunique()
                    rows.append((name, method, count, *interval, size, 1 - filled.mean(), good.mean(), known, groups))
    columns = ["shift", "method", "images", "coverage", "low", "high", "size", "empty", "accuracy", "accuracy_known"]
    return pd.DataFrame(rows, columns=[*columns, "groups"])
