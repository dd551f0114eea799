"""How far a network holds: accuracy at settings of the microscope that it was or was not trained for."""

import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from nanoshape_lib.datasets.generation import Split
from nanoshape_lib.datasets.images import ImageSet, load_images, make_images_at, save_images
from nanoshape_lib.datasets.store import Store
from nanoshape_lib.networks.evaluation import accuracy_interval, calibration_error, predictions_table
from nanoshape_lib.networks.training import predict
from nanoshape_lib.paths import cache_key
from nanoshape_lib.simulation.optics import Ranges, Setting
from nanoshape_lib.studies.trainings import IMAGES, evaluate

# Values of each setting at which the networks are asked, everything else being as in the design.
SWEEPS: dict[str, tuple[float, ...]] = {
    "dose_e_A2": (25, 50, 100, 200, 300, 500, 1000, 2000, 5000),
    "defocus_A": (-500, -400, -300, -200, -130, 0, 130, 200, 300, 400, 500),
    "astigmatism_A": (0, 25, 50, 75, 100, 150),
    "pixel_error": (-0.08, -0.05, -0.03, -0.015, 0, 0.015, 0.03, 0.05, 0.08),
    "Cs_A": (-300e3, -150e3, -75e3, 0, 75e3, 150e3, 300e3),
    "focal_spread_A": (10, 20, 30, 40, 50, 70),
    "convergence_mrad": (0.05, 0.3, 0.5, 0.8),
    "mtf_c2": (0.1, 0.2, 0.3, 0.4, 0.6, 0.8),
    "drift_A": (0, 0.5, 1, 1.5, 2),
}
ORIGINAL, RANDOM = "original", "random"
COLUMNS = ("network", "setting", "value", "accuracy", "low", "high", "images", "particles")


class Questions(BaseModel):
    """How many of the first test waves are asked: at the design's, at random settings, and along each setting."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    original_waves: int = Field(4800, ge=1)
    random_waves: int = Field(960, ge=1)
    sweep_waves: int = Field(320, ge=1)


def drawn_settings(ranges: Ranges, count: int) -> Callable[[int, np.random.Generator], list[Setting]]:
    """So many settings for each wave, drawn from ranges."""
    return lambda index, rng: [ranges.draw(rng) for _ in range(count)]


def kept_images(folder: Path, make: Callable[[], ImageSet]) -> ImageSet:
    """The images in a folder, made at the first call."""
    if not folder.exists():
        save_images(make(), folder)
    return load_images(folder)


def folder_beside(store: Store, step: str, recipe: Mapping[str, int], **design: Any) -> Path:
    """Where the results of a step are kept beside the store; see :func:`nanoshape_lib.paths.cache_key`."""
    return Path(store.path).parent / f"{step}-{cache_key(step, recipe, waves=store.design, **design)}"


def at_most(store: Store, split: Split, waves: int) -> int:
    """So many waves of a split, or all if there are fewer."""
    return min(waves, store.design.records(split))


def random_images(store: Store, ranges: Ranges, waves: int) -> ImageSet:
    """Images of the first test waves, two of each, at settings drawn from ranges; formed at the first call."""
    count = at_most(store, "test", waves)
    folder = folder_beside(store, "random-images", IMAGES, ranges=ranges, count=count)
    return kept_images(folder, lambda: make_images_at(store, "test", drawn_settings(ranges, 2), count))


def sweep_images(store: Store, name: str, waves: int) -> ImageSet:
    """Images of the first test waves, each at every value of one sweep; formed at the first call.

    All else is as in the design; its defoci take turns from wave to wave.
    """
    design, count, values = store.design, at_most(store, "test", waves), SWEEPS[name]

    def settings(index: int, rng: np.random.Generator) -> list[Setting]:
        usual = Setting.nominal(design.microscope, design.camera, design.defoci_A[index % len(design.defoci_A)])
        angles = {"astigmatism_deg": rng.uniform(0, 180), "drift_deg": rng.uniform(0, 180)}
        return [usual.model_copy(update=angles | {name: float(value)}) for value in values]

    folder = folder_beside(store, "sweep-images", IMAGES, setting=name, values=values, count=count)
    return kept_images(folder, lambda: make_images_at(store, "test", settings, count))


def accuracy_row(network: str, setting: str, value: float, predictions: pd.DataFrame) -> dict:
    """One row of the table of :func:`accuracies`."""
    accuracy, low, high = accuracy_interval(predictions)
    values = (network, setting, value, accuracy, low, high, len(predictions), predictions["group"].nunique())
    return dict(zip(COLUMNS, values, strict=True))


def accuracies(
    networks: Mapping[str, nn.Module], store: Store, ranges: Ranges, ask: Questions, sweeps: Iterable[str] | None = None
) -> pd.DataFrame:
    """Accuracy of networks at random settings, and at the values of some sweeps or of all.

    Returns
    -------
    DataFrame
        Columns network, setting (``random`` or a field of :class:`~nanoshape_lib.simulation.optics.Setting`), value,
        accuracy with its group-bootstrap interval low to high, images and particles.
    """
    drawn = random_images(store, ranges, ask.random_waves)
    rows = [accuracy_row(name, RANDOM, math.nan, evaluate(network, drawn)) for name, network in networks.items()]
    for setting in SWEEPS if sweeps is None else sweeps:
        images = sweep_images(store, setting, ask.sweep_waves)
        for name, network in networks.items():
            told = evaluate(network, images)
            rows += [accuracy_row(name, setting, value, told[told[setting] == value]) for value in SWEEPS[setting]]
    return pd.DataFrame(rows)


def calibration_row(network: str, model: nn.Module, temperature: float, images: ImageSet) -> dict:
    """Calibration error at random settings before and after temperature scaling."""
    logits = predict(model, images.images)
    return {
        "network": network,
        "temperature": temperature,
        "calibration_error": calibration_error(predictions_table(images.table, logits)),
        "calibration_error_scaled": calibration_error(predictions_table(images.table, logits, temperature)),
    }
