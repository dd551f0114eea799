"""The studies behind the figures: data made once, networks trained once, results as tables."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from torch import nn

from nanoshape_lib.datasets import generation, images
from nanoshape_lib.datasets.generation import SPLITS, Split, Store, generate
from nanoshape_lib.datasets.images import FreshImages, ImageSet, load_images, make_images, save_images
from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.networks import training
from nanoshape_lib.networks.evaluation import accuracy_interval, by_particle, predictions_table, training_difference
from nanoshape_lib.networks.models import Architecture
from nanoshape_lib.networks.training import TrainingConfig, fit, predict
from nanoshape_lib.paths import cache_folder, cache_key, read_manifest, replacing
from nanoshape_lib.simulation import exit_waves, imaging
from nanoshape_lib.studies.profiles import Profile, Trainings

ImageSets = dict[str, ImageSet]

# Versions of the steps that a training rests on; see `paths.cache_key`.
WAVES = {"exit waves": exit_waves.RECIPE, "records": generation.RECIPE}
IMAGES = WAVES | {"images": imaging.RECIPE, "image sets": images.RECIPE}
RECIPES = IMAGES | {"training": training.RECIPE}
# What names a training of figures S1 and S2.
RUN = ["architecture", "train_images", "train_waves", "seed"]
# The supplement's ranking: the first of each pair is said to be the better one.
CLAIMED: tuple[tuple[Architecture, Architecture], ...] = (("cnn5", "cnn4"), ("cnn6", "cnn5"), ("resnet34", "cnn6"))


def _folder(profile: Profile) -> Path:
    """Where a profile's waves are kept: another design, recipe or carbon gives another folder."""
    carbon = [digest for name, digest in read_manifest().items() if name.startswith("carbon/")]
    key = cache_key("waves", WAVES, design=profile.dataset, carbon=carbon)
    return cache_folder() / f"{profile.name}-seed{profile.dataset.seed}-{key}"


def prepared_store(profile: Profile) -> Store:
    """The profile's exit waves, generated at the first call and completed if that was interrupted."""
    return generate(profile.dataset, _folder(profile) / "waves.zarr", check=False)


def image_set(profile: Profile, store: Store, split: Split) -> ImageSet:
    """The profile's images of one split, formed at the first call.

    Training images are turned in their plane, each by its own angle; the others are left as they are.
    """
    folder = _folder(profile) / f"images-{cache_key('images', IMAGES)}"
    if not (folder / split).exists():
        save_images(make_images(store, split, turned=split == "train"), folder / split)
    return load_images(folder / split)


def image_sets(profile: Profile, store: Store) -> ImageSets:
    """The profile's ``train``, ``validation`` and ``test`` images; see :func:`image_set`."""
    return {split: image_set(profile, store, split) for split in SPLITS}


def _trained(profile: Profile, kind: str) -> Path:
    """Where networks are kept: another recipe of images or of training gives another folder."""
    return _folder(profile) / f"{kind}-{cache_key(kind, RECIPES)}"


def _run_folder(profile: Profile, config: TrainingConfig, rows: np.ndarray) -> Path:
    key = cache_key("run", RECIPES, config=config, rows=rows.tolist(), validation_waves=profile.validation_waves)
    return _trained(profile, "runs") / f"{config.architecture}-{len(rows)}-{config.seed}-{key}"


def train_once(profile: Profile, config: TrainingConfig, sets: ImageSets, rows: np.ndarray) -> tuple[nn.Module, dict]:
    """Train on these rows of the training images, or load the network that an earlier call trained."""
    return _fit(profile, config, sets, rows, math.inf)


def _fit(
    profile: Profile, config: TrainingConfig, sets: ImageSets, rows: np.ndarray, deadline: float
) -> tuple[nn.Module, dict]:
    train, validation = sets["train"].take(rows), validation_images(profile, sets["validation"])
    return fit(config, train, validation, _run_folder(profile, config, rows), deadline)


def validation_images(profile: Profile, images: ImageSet) -> ImageSet:
    """Those of the validation images by which the studies choose their epoch."""
    if profile.validation_waves is None:
        return images
    return images.take(np.arange(profile.validation_waves * len(profile.dataset.defoci_A)))


def train_and_test(
    profile: Profile, config: TrainingConfig, sets: ImageSets, rows: np.ndarray, deadline: float = math.inf
) -> tuple[dict, np.ndarray]:
    """The card of a training as by :func:`train_once`, and the logits for the test images, kept with its weights."""
    model, card = _fit(profile, config, sets, rows, deadline)
    path = _run_folder(profile, config, rows) / "test_logits.npy"
    if not path.exists():
        with replacing(path) as partial:
            np.save(partial, predict(model, sets["test"].images))
    return card, np.load(path)


def best_network(
    profile: Profile, store: Store, architecture: Architecture | None = None, deadline: float = math.inf
) -> tuple[nn.Module, dict]:
    """The profile's best network, or another architecture trained like it.

    It learns from every training image or, where the profile asks for it, from images drawn anew for each pass.
    """
    config = profile.best if architecture is None else profile.best.model_copy(update={"architecture": architecture})
    train, validation = training_images(profile, store), image_set(profile, store, "validation")
    key = cache_key("best", RECIPES, config=config, fresh=profile.fresh)
    return fit(config, train, validation, _trained(profile, "best") / f"{config.architecture}-{key}", deadline)


def training_images(profile: Profile, store: Store) -> ImageSet | FreshImages:
    """What the best network learns from."""
    if profile.fresh is None:
        return image_set(profile, store, "train")
    passes = _folder(profile) / f"passes-{cache_key('passes', IMAGES)}"
    return FreshImages(store, passes, profile.fresh.images_per_wave, profile.fresh.passes)


def control_network(
    profile: Profile, name: str, recipe: int, train: ImageSet, validation: ImageSet, deadline: float = math.inf
) -> nn.Module:
    """The network of one control, see :mod:`nanoshape_lib.studies.controls`, trained on these images or loaded."""
    config = _trainings(profile, profile.controls, profile.best.architecture, len(train))[0]
    key = cache_key("control", RECIPES | {"controls": recipe}, config=config, controls=profile.controls)
    return fit(config, train, validation, _trained(profile, "controls") / f"{name}-{key}", deadline)[0]


def choose_rows(profile: Profile, waves: int, defoci_per_wave: int) -> np.ndarray:
    """Rows of the training images: the first ``waves`` exit waves, each at defoci spread evenly over the series.

    Raises
    ------
    NanoshapeError
        If the profile's data set has fewer waves or defoci.
    """
    design = profile.dataset
    available, series = design.records("train"), len(design.defoci_A)
    if not 0 < waves <= available or not 0 < defoci_per_wave <= series:
        raise NanoshapeError(
            f"waves and defoci_per_wave are {waves} and {defoci_per_wave},"
            f" but must be between 1 and {available} and between 1 and {series}"
        )
    chosen = ((np.arange(defoci_per_wave) + 0.5) * series / defoci_per_wave).astype(int)
    return (np.arange(waves)[:, None] * series + chosen).ravel()


def evaluate(model: nn.Module, images: ImageSet, temperature: float = 1.0) -> pd.DataFrame:
    """Predictions of a network for a set of images; see :func:`nanoshape_lib.networks.evaluation.predictions_table`."""
    return predictions_table(images.table, predict(model, images.images), temperature)


Run = tuple[TrainingConfig, np.ndarray]


def architecture_runs(profile: Profile) -> list[Run]:
    """Trainings of figure S1, configuration and rows of the training images, the smallest sets first."""
    study = profile.architectures
    return [
        (config, whole_series(profile, count))
        for count in study.train_images
        for name in study.architectures
        for config in study_trainings(profile, name, count)
    ]


def sampling_runs(profile: Profile) -> list[Run]:
    """Trainings of figure S2, by defoci of a particle and then by seed."""
    study = profile.sampling
    return [
        (config, choose_rows(profile, study.images // defoci, defoci))
        for defoci in study.defoci_per_wave
        for config in _trainings(profile, study, profile.best.architecture, study.images)
    ]


def architecture_study(profile: Profile, sets: ImageSets) -> pd.DataFrame:
    """Figure S1: every architecture at every training-set size, several trainings each, one row a training.

    The columns are architecture, train_images, train_waves, seed, parameters, epochs, val_accuracy,
    test_accuracy with its group-bootstrap interval test_low to test_high, test_particle_accuracy, seconds
    and device. Trainings with the same seed see the same images in the same order.
    """
    trained = (train_and_test(profile, config, sets, rows) for config, rows in architecture_runs(profile))
    return pd.DataFrame([result_row(card, logits, sets["test"].table) for card, logits in trained])


def architecture_shares(profile: Profile, sets: ImageSets) -> pd.DataFrame:
    """Share of each test particle's images that each training of figure S1 gets right.

    Returns
    -------
    DataFrame
        One row a particle, one column a training, named by architecture, train_images, train_waves and seed.
    """
    test, columns = sets["test"].table, {}
    for config, rows in architecture_runs(profile):
        card, logits = train_and_test(profile, config, sets, rows)
        run = (config.architecture, len(rows), card["train_waves"], config.seed)
        columns[run] = predictions_table(test, logits).groupby("group")["correct"].mean()
    return pd.DataFrame(columns).rename_axis(columns=RUN)


def architecture_differences(
    shares: pd.DataFrame, pairs: Sequence[tuple[Architecture, Architecture]] = CLAIMED
) -> pd.DataFrame:
    """Paired differences of test accuracy between architectures, at every size at which both were trained.

    Parameters
    ----------
    shares
        Result of :func:`architecture_shares`.
    pairs
        Architectures to be compared, by trainings with equal seeds.

    Returns
    -------
    DataFrame
        One row a pair and size: first, second, train_images, trainings, difference (first minus second), and its
        interval low to high, see :func:`nanoshape_lib.networks.evaluation.training_difference`.
    """
    rows = []
    for first, second in pairs:
        both = [shares[name] if name in shares else pd.DataFrame() for name in (first, second)]
        for run in sorted({run[:2] for run in both[0].columns} & {run[:2] for run in both[1].columns}):
            seeds = sorted(set(both[0][run].columns) & set(both[1][run].columns))
            if seeds:
                right, other = (each[run][seeds].to_numpy().T for each in both)
                found = training_difference(shares.index.to_numpy(), right, other)
                rows.append((first, second, run[0], len(seeds), *found))
    return pd.DataFrame(rows, columns=["first", "second", "train_images", "trainings", "difference", "low", "high"])


def study_trainings(profile: Profile, name: Architecture, images: int) -> list[TrainingConfig]:
    """The trainings of one architecture on so many images in figure S1."""
    return _trainings(profile, profile.architectures, name, images)


def _trainings(profile: Profile, study: Trainings, name: Architecture, images: int) -> list[TrainingConfig]:
    return [
        TrainingConfig(
            architecture=name,
            epochs=study.epochs_of(images),
            batch_size=study.batch_size,
            seed=profile.dataset.seed * 1000 + training,
            device=profile.best.device,
        )
        for training in range(study.trainings)
    ]


def whole_series(profile: Profile, images: int) -> np.ndarray:
    """Rows of whole focal series that make up so many images."""
    series = len(profile.dataset.defoci_A)
    return choose_rows(profile, images // series, series)


def result_row(card: dict, logits: np.ndarray, test: pd.DataFrame) -> dict:
    """One row of the table of figure S1."""
    accuracy, low, high = accuracy_interval(predictions_table(test, logits))
    return {
        "architecture": card["architecture"],
        "train_images": card["train_images"],
        "train_waves": card["train_waves"],
        "seed": card["config"]["seed"],
        "parameters": card["parameters"],
        "epochs": len(card["history"]),
        "val_accuracy": card["history"][card["best_epoch"] - 1]["validation_accuracy"],
        "test_accuracy": accuracy,
        "test_low": low,
        "test_high": high,
        "test_particle_accuracy": by_particle(test, logits)["correct"].mean(),
        "seconds": card["seconds"],
        "device": card["config"]["device"],
    }


def sampling_study(profile: Profile, sets: ImageSets) -> pd.DataFrame:
    """Figure S2: predictions for the test images after training on equal budgets of images, sampled differently.

    Returns
    -------
    DataFrame
        The predictions of all trainings, one below the other, with the columns ``defoci_per_wave``, ``waves``
        and ``training`` in front.
    """
    tables = []
    for index, (config, rows) in enumerate(sampling_runs(profile)):
        card, logits = train_and_test(profile, config, sets, rows)
        predictions = predictions_table(sets["test"].table, logits)
        predictions.insert(0, "defoci_per_wave", card["train_images"] // card["train_waves"])
        predictions.insert(1, "waves", card["train_waves"])
        predictions.insert(2, "training", index % profile.sampling.trainings)
        tables.append(predictions)
    return pd.concat(tables, ignore_index=True)
