"""Evaluation: predictions, confusion matrices, intervals over groups, calibration."""

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from scipy.stats import binomtest

from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.particles.orientation import angular_distance
from nanoshape_lib.particles.shapes import Shape

PROBABILITIES = [f"p{shape.value}" for shape in Shape]
BEAM = ["beam_x", "beam_y", "beam_z"]
BOOTSTRAP_DRAWS = 2000


def predictions_table(table: pd.DataFrame, logits: np.ndarray, temperature: float = 1.0) -> pd.DataFrame:
    """A network's logits (N, 5), as probabilities, beside what is known of each of N images.

    The table, which has at least ``group`` and ``label``, gets the columns ``p0`` to ``p4``, the softmax of the logits
    over the temperature (Guo et al. 2017), the label ``predicted``, the second choice ``second`` and ``correct``.

    Raises NanoshapeError if there are not as many logits as images.
    """
    if len(table) != len(logits):
        raise NanoshapeError(f"logits has {len(logits)} rows, but must have one for each of {len(table)} images")
    result = table.reset_index(drop=True).copy()
    result[PROBABILITIES] = softmax(logits / temperature, axis=1)
    ranking = np.argsort(-logits, axis=1, kind="stable")
    result["predicted"], result["second"] = ranking[:, 0], ranking[:, 1]
    result["correct"] = result["predicted"] == result["label"]
    return result


def particle_means(values: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Means over the images of each particle (G, ...), from values (N, ...) and the particle's number (N,)."""
    sizes = np.bincount(place)
    total = np.zeros((len(sizes), *values.shape[1:]))
    np.add.at(total, place, values)
    return (total.T / sizes).T


def by_particle(table: pd.DataFrame, logits: np.ndarray) -> pd.DataFrame:
    """Predictions for whole focal series: one row a group, from the mean of its images' logits."""
    _, first, inverse = np.unique(table["group"], return_index=True, return_inverse=True)
    return predictions_table(table.iloc[first], particle_means(logits, inverse))


def by_subset(table: pd.DataFrame, logits: np.ndarray, images: int, seed: int = 0) -> pd.DataFrame:
    """Predictions from the mean logits of so many images of one group.

    The images of every group are dealt at random into as many parts as they fill; each part is a row.

    Raises NanoshapeError if a group has fewer images.
    """
    groups, inverse = np.unique(table["group"], return_inverse=True)
    least = np.bincount(inverse).min()
    if not 1 <= images <= least:
        raise NanoshapeError(f"images is {images}, but must be between 1 and {least}, what each group has")
    order = np.random.default_rng(seed).permutation(len(table))
    rank = np.empty(len(table), int)
    rank[order] = pd.Series(inverse[order]).groupby(inverse[order]).cumcount()
    part = rank // images
    used = part < np.bincount(inverse)[inverse] // images
    parts = table[used].assign(group=(inverse * len(table) + part)[used])
    result = by_particle(parts, logits[used])
    return result.assign(group=groups[result["group"] // len(table)])


def confusion_counts(predictions: pd.DataFrame) -> pd.DataFrame:
    """Number of images of every pair of shapes: columns ``expected``, ``predicted`` and ``images``, 25 rows."""
    from sklearn import metrics  # a second that classifying does not need

    counts = metrics.confusion_matrix(predictions["label"], predictions["predicted"], labels=list(Shape))
    pairs = [(int(expected), int(predicted)) for expected in Shape for predicted in Shape]
    return pd.DataFrame(pairs, columns=["expected", "predicted"]).assign(images=counts.ravel())


def confusion_matrix(predictions: pd.DataFrame) -> np.ndarray:
    """Shares (5, 5): row = true shape, column = predicted shape; each row with an image in it sums to one."""
    counts = confusion_counts(predictions)["images"].to_numpy(float).reshape(len(Shape), len(Shape))
    return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)


def accuracy_interval(predictions: pd.DataFrame, level: float = 0.95, seed: int = 0) -> tuple[float, float, float]:
    """Accuracy with an interval over groups.

    The images of one exit wave fail together, so it is waves that are drawn with replacement, not images
    (a cluster bootstrap: Davison & Hinkley 1997, section 3.8). If all images are right, or none is, every draw is the
    same: then it is the exact binomial interval of so many groups (Clopper & Pearson 1934).
    """
    _, inverse = np.unique(predictions["group"], return_inverse=True)
    correct = predictions["correct"].to_numpy(float)
    sizes, sums = np.bincount(inverse), np.bincount(inverse, weights=correct)
    if correct.all() or not correct.any():
        interval = binomtest(len(sizes) * int(correct[0]), len(sizes)).proportion_ci(level)
        return float(correct[0]), float(interval.low), float(interval.high)
    draws = _resample(len(sizes), np.random.default_rng(seed))
    return float(correct.mean()), *_quantiles((draws @ sums) / (draws @ sizes), level)


def share_columns(name: str, hits: np.ndarray | pd.Series) -> dict[str, float]:
    """The share of hits among particles, called ``name``, with the ends ``_low`` and ``_high`` of its 95 % interval.

    The interval is that of Wilson 1927.
    """
    low, high = binomtest(int(hits.sum()), len(hits)).proportion_ci(method="wilson")
    return {name: float(hits.mean()), f"{name}_low": float(low), f"{name}_high": float(high)}


def training_difference(
    groups: np.ndarray, first: np.ndarray, second: np.ndarray, seed: int = 0
) -> tuple[float, float, float]:
    """Mean accuracy of some trainings minus that of others on the same images, with an interval over both.

    Trainings and groups are drawn with replacement, each on their own (Owen 2007, the pigeonhole
    bootstrap), so that the interval answers for new initial weights and for new particles. With one
    training of each it answers for new particles only, and is the paired difference.

    ``groups`` has the group of each of N images, ``first`` and ``second`` (trainings, N) whether each image was
    classified rightly; row i of both stems from the same seed.
    """
    if first.shape != second.shape:
        raise NanoshapeError(f"second has shape {second.shape}, but must have that of first, {first.shape}")
    difference = first.astype(float) - second.astype(float)
    _, inverse = np.unique(groups, return_inverse=True)
    sizes, trainings = np.bincount(inverse), len(difference)
    sums = np.stack([np.bincount(inverse, weights=row) for row in difference])
    rng = np.random.default_rng(seed)
    groups_drawn, trainings_drawn = _resample(len(sizes), rng), _resample(trainings, rng)
    means = ((trainings_drawn @ sums) * groups_drawn).sum(axis=1) / (trainings * (groups_drawn @ sizes))
    return float(difference.mean()), *_quantiles(means)


def subset_difference(predictions: pd.DataFrame, chosen: np.ndarray) -> tuple[float, float, float]:
    """Accuracy on the chosen images minus that on the others, with a group-bootstrap interval.

    A group may have images on both sides, as when images are chosen by their defocus.

    Raises NanoshapeError if all images are chosen, or none.
    """
    chosen = np.asarray(chosen, dtype=bool)
    if chosen.all() or not chosen.any():
        raise NanoshapeError(f"chosen holds {chosen.sum()} of {len(chosen)} images, but must hold some and not all")
    _, inverse = np.unique(predictions["group"], return_inverse=True)
    correct = predictions["correct"].to_numpy(float)
    draws = _resample(inverse.max() + 1, np.random.default_rng(0))
    sides = []
    for side in (chosen, ~chosen):
        count, hits = np.bincount(inverse, weights=side), np.bincount(inverse, weights=side * correct)
        sides.append((draws @ hits) / np.maximum(draws @ count, 1))
    return float(correct[chosen].mean() - correct[~chosen].mean()), *_quantiles(sides[0] - sides[1])


def verdict(low: float, high: float) -> str:
    """What an interval of a difference says of the claim that the difference is positive."""
    if low > 0:
        return "yes"
    return "no, the reverse" if high < 0 else "not decided"


def nearest_direction(waves: pd.DataFrame, seen: pd.DataFrame) -> np.ndarray:
    """Angle (N,) [degrees] from the beam of each wave to the nearest among the waves ``seen`` of its shape.

    Both tables have ``label``, ``beam_x``, ``beam_y`` and ``beam_z``; see
    :func:`nanoshape_lib.particles.orientation.angular_distance`.
    """
    nearest = np.full(len(waves), np.nan)
    for shape in Shape:
        here, there = (waves["label"] == shape).to_numpy(), (seen["label"] == shape).to_numpy()
        if here.any() and there.any():
            angles = angular_distance(waves.loc[here, BEAM].to_numpy(), seen.loc[there, BEAM].to_numpy(), shape)
            nearest[here] = angles.min(axis=1)
    return nearest


def accuracy_by(predictions: pd.DataFrame, column: str, bins: int = 8) -> pd.DataFrame:
    """Accuracy with its interval for each value of a column, or in bins of equally many images.

    One row a value (or the mean of a bin, if there are more than 14 values), with the columns ``value``,
    ``accuracy``, ``low``, ``high`` and ``images``.
    """
    values = predictions[column]
    levels = values if values.nunique() <= 14 else pd.qcut(values, bins, duplicates="drop")
    parts = [part for _, part in predictions.groupby(levels, observed=True)]
    rows = [(part[column].mean(), *accuracy_interval(part), len(part)) for part in parts]
    return pd.DataFrame(rows, columns=["value", "accuracy", "low", "high", "images"])


def bootstrap_confusions(predictions: pd.DataFrame, seed: int = 0) -> np.ndarray:
    """Confusion matrices (draws, 5, 5) of groups drawn with replacement, within each true shape.

    The share of draws in which a statement about the matrix holds tells how firmly the images support it.
    """
    rng = np.random.default_rng(seed)
    result = np.zeros((BOOTSTRAP_DRAWS, len(Shape), len(Shape)))
    for shape in Shape:
        part = predictions[predictions["label"] == shape]
        if part.empty:
            continue
        counts = pd.crosstab(part["group"], part["predicted"]).reindex(columns=list(Shape), fill_value=0).to_numpy()
        drawn = _resample(len(counts), rng) @ counts
        result[:, shape] = drawn / drawn.sum(axis=1, keepdims=True)
    return result


def _resample(count: int, rng: np.random.Generator) -> np.ndarray:
    """How often each of ``count`` things is drawn, (draws, count)."""
    return rng.multinomial(count, np.full(count, 1 / count), size=BOOTSTRAP_DRAWS)


def _quantiles(values: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def reliability(predictions: pd.DataFrame, bins: int = 10) -> pd.DataFrame:
    """Confidence and accuracy in equal bins of confidence: columns confidence, accuracy, images."""
    confidence = predictions[PROBABILITIES].max(axis=1).to_numpy()
    index = np.minimum((confidence * bins).astype(int), bins - 1)
    frame = pd.DataFrame({"bin": index, "confidence": confidence, "accuracy": predictions["correct"].to_numpy(float)})
    grouped = frame.groupby("bin")
    return grouped[["confidence", "accuracy"]].mean().assign(images=grouped.size())


def calibration_error(predictions: pd.DataFrame, bins: int = 10) -> float:
    """Expected calibration error (Guo et al. 2017, eq. 3), between 0 and 1."""
    table = reliability(predictions, bins)
    gaps = (table["confidence"] - table["accuracy"]).abs()
    return float((gaps * table["images"]).sum() / table["images"].sum())


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature that minimises the cross-entropy of ``softmax(logits / T)``; fit it on validation data only."""

    def cross_entropy(log_temperature: float) -> float:
        scores = log_softmax(logits / np.exp(log_temperature), axis=1)
        return -float(scores[np.arange(len(labels)), labels].mean())

    return float(np.exp(minimize_scalar(cross_entropy, bounds=(-3.0, 3.0), method="bounded").x))
