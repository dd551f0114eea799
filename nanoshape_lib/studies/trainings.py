"""The studies of architectures (figure S1), of sampling (S2) and of the best network; data and networks made once."""

import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import nn

from nanoshape_lib.datasets import generation, images
from nanoshape_lib.datasets.generation import SPLITS, Split, Store, generate
from nanoshape_lib.datasets.images import FreshImages, ImageSet, kept_images, make_images, make_pass
from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.networks import training
from nanoshape_lib.networks.evaluation import (
    BEAM,
    accuracy_interval,
    by_particle,
    by_subset,
    calibration_error,
    confusion_counts,
    fit_temperature,
    nearest_direction,
    predictions_table,
    training_difference,
)
from nanoshape_lib.networks.models import Architecture, save_weights
from nanoshape_lib.networks.training import TrainingConfig, fit, predict
from nanoshape_lib.particles.shapes import Shape
from nanoshape_lib.paths import cache_folder, cache_key, read_manifest, replacing
from nanoshape_lib.simulation import exit_waves, imaging
from nanoshape_lib.studies.profiles import Profile, Trainings
from nanoshape_lib.studies.results import RESULTS, choose_examples, load_results, save_images_of
from nanoshape_lib.studies.runner import Job, Made, Part, Study

ImageSets = dict[str, ImageSet]
Run = tuple[TrainingConfig, np.ndarray]
"""A training, and the rows of the training images that it learns from."""

# Versions of the steps that a training rests on; see `paths.cache_key`.
WAVES = {"exit waves": exit_waves.RECIPE, "records": generation.RECIPE}
IMAGES = WAVES | {"images": imaging.RECIPE, "image sets": images.RECIPE}
RECIPES = IMAGES | {"training": training.RECIPE}
# What names a training of figures S1 and S2.
RUN = ["architecture", "train_images", "train_waves", "seed"]
# The supplement's ranking: the first of each pair is said to be the better one.
CLAIMED: tuple[tuple[Architecture, Architecture], ...] = (("cnn5", "cnn4"), ("cnn6", "cnn5"), ("resnet34", "cnn6"))
BEST: tuple[Architecture, ...] = ("cnn6", "resnet34")
DECISIONS = (1, 2, 4, 7, 14)
LOGITS = [f"z{shape.value}" for shape in Shape]
PARTICLE = ["group", "label", "size_A", *BEAM]


def folder_of(profile: Profile) -> Path:
    """Where a profile's waves are kept: another design, recipe or carbon gives another folder."""
    carbon = [digest for name, digest in read_manifest().items() if name.startswith("carbon/")]
    key = cache_key("waves", WAVES, design=profile.dataset, carbon=carbon)
    return cache_folder() / f"{profile.name}-seed{profile.dataset.seed}-{key}"


def prepared_store(profile: Profile) -> Store:
    """The profile's exit waves, generated at the first call and completed if that was interrupted."""
    return generate(profile.dataset, folder_of(profile) / "waves.zarr", check=False)


def image_set(profile: Profile, store: Store, split: Split) -> ImageSet:
    """The profile's images of one split, formed at the first call.

    Training images are turned in their plane, each by its own angle; the others are left as they are.
    """
    folder = folder_of(profile) / f"images-{cache_key('images', IMAGES)}" / split
    return kept_images(folder, lambda: make_images(store, split, turned=split == "train"))


def image_sets(profile: Profile, store: Store) -> ImageSets:
    """The profile's ``train``, ``validation`` and ``test`` images; see :func:`image_set`."""
    return {split: image_set(profile, store, split) for split in SPLITS}


def validation_images(profile: Profile, images: ImageSet) -> ImageSet:
    """Those of the validation images by which the studies choose their epoch."""
    if profile.validation_waves is None:
        return images
    return images.take(np.arange(profile.validation_waves * len(profile.dataset.defoci_A)))


def training_images(profile: Profile, store: Store) -> ImageSet | FreshImages:
    """What the best network learns from: all training images or, if the profile says so, others in every pass."""
    fresh = profile.fresh
    if fresh is None:
        return image_set(profile, store, "train")
    folder = folder_of(profile) / f"passes-{cache_key('passes', IMAGES, images_per_wave=fresh.images_per_wave)}"
    return FreshImages(folder, fresh.passes, lambda number: make_pass(store, number, fresh.images_per_wave))


def run_folder(profile: Profile, kind: str, config: TrainingConfig, **design: Any) -> Path:
    """Where a training is kept: another configuration, recipe or design gives another folder."""
    key = cache_key(kind, RECIPES, config=config, **design)
    return folder_of(profile) / kind / f"{config.architecture}-seed{config.seed}-{key}"


def train_once(
    profile: Profile, config: TrainingConfig, sets: ImageSets, rows: np.ndarray, deadline: float = math.inf
) -> tuple[nn.Module, dict]:
    """Train on these rows of the training images, or load the network that an earlier call trained."""
    train, validation = sets["train"].take(rows), validation_images(profile, sets["validation"])
    return fit(config, train, validation, _run_folder(profile, config, rows), deadline)


def _run_folder(profile: Profile, config: TrainingConfig, rows: np.ndarray) -> Path:
    return run_folder(profile, "runs", config, rows=rows.tolist(), validation_waves=profile.validation_waves)


def train_and_test(
    profile: Profile, config: TrainingConfig, sets: ImageSets, rows: np.ndarray, deadline: float = math.inf
) -> tuple[dict, pd.DataFrame]:
    """The row of a training in the table of figure S1, and its predictions for the test images.

    The logits are kept with the weights of :func:`train_once`.
    """
    model, card = train_once(profile, config, sets, rows, deadline)
    path, test = _run_folder(profile, config, rows) / "test_logits.npy", sets["test"]
    if not path.exists():
        with replacing(path) as partial:
            np.save(partial, predict(model, test.images))
    logits = np.load(path)
    predictions = predictions_table(test.table, logits)
    accuracy, low, high = accuracy_interval(predictions)
    row = {name: card[name] for name in ("architecture", "train_images", "train_waves")} | {
        "seed": config.seed,
        "parameters": card["parameters"],
        "epochs": len(card["history"]),
        "val_accuracy": card["history"][card["best_epoch"] - 1]["validation_accuracy"],
        "test_accuracy": accuracy,
        "test_low": low,
        "test_high": high,
        "test_particle_accuracy": by_particle(test.table, logits)["correct"].mean(),
        "seconds": card["seconds"],
        "device": card["config"]["device"],
    }
    return row, predictions


def best_network(
    profile: Profile, store: Store, architecture: Architecture | None = None, deadline: float = math.inf
) -> tuple[nn.Module, dict]:
    """The profile's best network, or another architecture trained like it, on :func:`training_images`."""
    config = profile.best if architecture is None else profile.best.model_copy(update={"architecture": architecture})
    train, validation = training_images(profile, store), image_set(profile, store, "validation")
    return fit(config, train, validation, run_folder(profile, "best", config, fresh=profile.fresh), deadline)


def choose_rows(profile: Profile, waves: int, defoci_per_wave: int) -> np.ndarray:
    """Rows of the training images: the first ``waves`` exit waves, each at defoci spread evenly over the series."""
    design = profile.dataset
    available, series = design.records("train"), len(design.defoci_A)
    if not 0 < waves <= available or not 0 < defoci_per_wave <= series:
        raise NanoshapeError(
            f"waves and defoci_per_wave are {waves} and {defoci_per_wave},"
            f" but must be between 1 and {available} and between 1 and {series}"
        )
    chosen = ((np.arange(defoci_per_wave) + 0.5) * series / defoci_per_wave).astype(int)
    return (np.arange(waves)[:, None] * series + chosen).ravel()


def whole_series(profile: Profile, images: int) -> np.ndarray:
    """Rows of whole focal series that make up so many images."""
    series = len(profile.dataset.defoci_A)
    return choose_rows(profile, images // series, series)


def trainings_of(profile: Profile, study: Trainings, name: Architecture, images: int) -> list[TrainingConfig]:
    """The trainings of one architecture on so many images in a study of the profile, with one seed each."""
    of_all = {"epochs": study.epochs_of(images), "batch_size": study.batch_size, "device": profile.best.device}
    seeds = [profile.dataset.seed * 1000 + training for training in range(study.trainings)]
    return [TrainingConfig(architecture=name, seed=seed, **of_all) for seed in seeds]


def architecture_runs(profile: Profile) -> list[Run]:
    """Trainings of figure S1, the smallest sets first."""
    study = profile.architectures
    return [
        (config, whole_series(profile, count))
        for count in study.train_images
        for name in study.architectures
        for config in trainings_of(profile, study, name, count)
    ]


def sampling_runs(profile: Profile) -> list[Run]:
    """Trainings of figure S2, by defoci of a particle and then by seed."""
    study = profile.sampling
    return [
        (config, choose_rows(profile, study.images // defoci, defoci))
        for defoci in study.defoci_per_wave
        for config in trainings_of(profile, study, profile.best.architecture, study.images)
    ]


def architecture_study(profile: Profile, sets: ImageSets) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Figure S1: every architecture at every training-set size, several trainings each, and its right shares.

    The table has one row a training: ``architecture``, ``train_images``, ``train_waves``, ``seed``, ``parameters``,
    ``epochs``, ``val_accuracy``, ``test_accuracy`` with its interval ``test_low`` to ``test_high``,
    ``test_particle_accuracy``, ``seconds`` and ``device``. Trainings with the same seed see the same images in the same
    order. The shares of each test particle's images that are classified rightly have one row a particle and one column
    a training, named by the first four of these.
    """
    rows, shares = [], {}
    for config, chosen in architecture_runs(profile):
        row, predictions = train_and_test(profile, config, sets, chosen)
        rows.append(row)
        shares[tuple(row[name] for name in RUN)] = predictions.groupby("group")["correct"].mean()
    return pd.DataFrame(rows), pd.DataFrame(shares).rename_axis(columns=RUN)


def architecture_differences(
    shares: pd.DataFrame, pairs: Sequence[tuple[Architecture, Architecture]] = CLAIMED
) -> pd.DataFrame:
    """Paired differences of test accuracy between architectures, at every size at which both were trained.

    The shares are of :func:`architecture_study` or :func:`shipped_shares`; trainings with equal seeds are compared.
    Columns: ``first``, ``second``, ``train_images``, ``trainings``, ``difference`` (first minus second) with its
    interval ``low`` to ``high``, see :func:`nanoshape_lib.networks.evaluation.training_difference`.
    """
    runs, rows = set(shares.columns), []
    for first, second in pairs:
        for size in sorted({run[1:3] for run in runs}):
            seeds = sorted(run[3] for run in runs if run[:3] == (first, *size) and (second, *run[1:]) in runs)
            if seeds:
                trained = ([(name, *size, seed) for seed in seeds] for name in (first, second))
                right, other = (shares[each].to_numpy().T for each in trained)
                found = training_difference(shares.index.to_numpy(), right, other)
                rows.append((first, second, size[0], len(seeds), *found))
    return pd.DataFrame(rows, columns=["first", "second", "train_images", "trainings", "difference", "low", "high"])


def sampling_study(profile: Profile, sets: ImageSets) -> pd.DataFrame:
    """Figure S2: predictions for the test images after training on equal budgets of images, sampled differently.

    The predictions of all trainings are one below the other, with ``defoci_per_wave``, ``waves`` and ``training``.
    """
    tables = []
    for index, (config, rows) in enumerate(sampling_runs(profile)):
        row, predictions = train_and_test(profile, config, sets, rows)
        waves, number = row["train_waves"], index % profile.sampling.trainings
        defoci = row["train_images"] // waves
        tables.append(predictions.assign(defoci_per_wave=defoci, waves=waves, training=number))
    return pd.concat(tables, ignore_index=True)


def architectures(job: Job) -> Study:
    """The study of figure S1."""
    return _trainings(job, "architectures", architecture_runs(job.profile))


def sampling(job: Job) -> Study:
    """The study of figure S2."""
    return _trainings(job, "sampling", sampling_runs(job.profile))


def _trainings(job: Job, name: str, runs: list[Run]) -> Study:
    """A study of one part a training.

    Its tables are ``NAME``, as of :func:`architecture_study`; ``NAME_particles``, how many images of each test particle
    each training gets right; and ``NAME_confusions``.
    """
    profile, names = job.profile, (name, f"{name}_particles", f"{name}_confusions")
    sets = cache(lambda: image_sets(profile, prepared_store(profile)))

    def part(config: TrainingConfig, rows: np.ndarray) -> Part:
        waves = len(np.unique(rows // len(profile.dataset.defoci_A)))
        where = dict(zip(RUN, (config.architecture, len(rows), waves, config.seed), strict=True))
        column = "-".join(map(str, where.values()))

        def make() -> Made:
            row, predictions = train_and_test(profile, config, sets(), rows, job.deadline)
            particles = predictions.groupby("group")["correct"].sum().rename(column).reset_index()
            made = pd.DataFrame([row]), particles, confusion_counts(predictions).assign(**where)
            return Made(dict(zip(names, made, strict=True)), row["seconds"])

        return Part(column, where, names, make)

    def depends(profile: Profile) -> Any:
        study: Trainings = getattr(profile, name)
        return profile.dataset, profile.validation_waves, study.epochs, study.steps, study.batch_size

    return Study([part(*run) for run in runs], depends, recipes=RECIPES, wide=names[1])


def best(job: Job) -> Study:
    """The study of the best networks: train, open the test set, and write results, examples and weights.

    The tables are ``best``: accuracy with its interval for decisions from the mean logits of 1, 2, ... images of one
    particle, and the calibration error of single images before and after temperature scaling, which is fitted on the
    validation set; ``best_particles``, what is known of each particle of the test set, and the angle ``nearest_deg``
    to the nearest training direction; ``best_ARCHITECTURE``, one row a test image with its logits ``z0`` to ``z4``;
    and ``best_ARCHITECTURE_examples``, see :func:`nanoshape_lib.studies.results.choose_examples`.
    """
    profile = job.profile

    def part(architecture: Architecture) -> Part:
        own, examples = f"best_{architecture}", f"best_{architecture}_examples"

        def make() -> Made:
            store = prepared_store(profile)
            model, card = best_network(profile, store, architecture, job.deadline)
            validation, test = (image_set(profile, store, split) for split in ("validation", "test"))
            temperature = fit_temperature(predict(model, validation.images), validation.labels.numpy())
            logits = predict(model, test.images)
            decisions = _decisions(test.table, logits, temperature).assign(architecture=architecture)
            columns = dict(zip(LOGITS, logits.T.round(3), strict=True))
            particles = test.table.drop_duplicates("group")[PARTICLE]
            particles = particles.assign(nearest_deg=nearest_direction(particles, store.table("train")))
            chosen = choose_examples(predictions_table(test.table, logits))
            save_images_of(examples, test.take(chosen["row"].to_numpy()), job.folder)
            about = {"temperature": temperature, "test_accuracy": decisions["accuracy"][0]}
            about |= {"profile": profile.model_dump(mode="json")}
            save_weights(model, card | about, job.weights / f"{architecture}.safetensors")
            outputs = test.table[["group", "defocus_A", "contrast"]].assign(**columns)
            tables = {"best": decisions, "best_particles": particles, own: outputs, examples: chosen}
            return Made(tables, card["seconds"])

        return Part(architecture, {"architecture": architecture}, ("best", "best_particles", own, examples), make)

    def depends(profile: Profile) -> Any:
        return profile.dataset, profile.best.model_copy(update={"device": "cpu"}), profile.fresh

    return Study([part(name) for name in BEST], depends, recipes=RECIPES)


def _decisions(test: pd.DataFrame, logits: np.ndarray, temperature: float) -> pd.DataFrame:
    """Accuracy and its interval for decisions from 1, 2, ... images, and the calibration error of single ones."""
    series = test.groupby("group").size().min()
    rows = [(images, *accuracy_interval(by_subset(test, logits, images))) for images in DECISIONS if images <= series]
    return pd.DataFrame(rows, columns=["images", "accuracy", "low", "high"]).assign(
        temperature=temperature,
        calibration_error=calibration_error(predictions_table(test, logits)),
        calibration_error_scaled=calibration_error(predictions_table(test, logits, temperature)),
    )


def shipped_predictions(architecture: Architecture, temperature: float = 1.0, folder: Path = RESULTS) -> pd.DataFrame:
    """What a shipped network says of every image of its test set, with what is known of each particle.

    As :func:`nanoshape_lib.networks.evaluation.predictions_table`, with the logits ``z0`` to ``z4``.
    """
    outputs, particles = (load_results(f"best_{name}", folder)[0] for name in (architecture, "particles"))
    table = outputs.merge(particles, on="group", validate="many_to_one")
    return predictions_table(table, table[LOGITS].to_numpy(), temperature)


def shipped_shares(study: str, folder: Path = RESULTS) -> pd.DataFrame:
    """Shares, as of :func:`architecture_study`, of the shipped trainings of ``architectures`` or ``sampling``."""
    particles, origin = load_results(f"{study}_particles", folder)
    counts = particles.set_index("group")
    runs = [(name, *map(int, numbers)) for name, *numbers in (str(column).split("-") for column in counts)]
    counts.columns = pd.MultiIndex.from_tuples(runs, names=RUN)
    return counts / len(origin["profile"]["dataset"]["defoci_A"])
