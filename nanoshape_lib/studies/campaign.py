"""Studies whose results are shipped: train what is missing, and keep what is there after every training."""

from pathlib import Path

import numpy as np
import pandas as pd

from nanoshape_lib.errors import OutOfTime
from nanoshape_lib.networks.evaluation import (
    BEAM,
    accuracy_interval,
    by_subset,
    calibration_error,
    confusion_counts,
    fit_temperature,
    nearest_direction,
    predictions_table,
)
from nanoshape_lib.networks.models import Architecture, save_weights
from nanoshape_lib.networks.training import predict
from nanoshape_lib.particles.shapes import Shape
from nanoshape_lib.studies.profiles import Profile
from nanoshape_lib.studies.results import RESULTS, load_results, load_study, provenance, save_examples, save_results
from nanoshape_lib.studies.trainings import (
    RUN,
    Run,
    best_network,
    image_set,
    image_sets,
    prepared_store,
    result_row,
    train_and_test,
)

BEST: tuple[Architecture, ...] = ("cnn6", "resnet34")
DECISIONS = (1, 2, 4, 7, 14)
LOGITS = [f"z{shape.value}" for shape in Shape]
PARTICLE = ["group", "label", "size_A", *BEAM]


def trainings_study(name: str, profile: Profile, runs: list[Run], deadline: float, folder: Path) -> tuple[int, int]:
    """Train the networks of figure S1 or S2 that are missing.

    After every training three tables are written: ``NAME``, one row a training, see
    :func:`nanoshape_lib.studies.trainings.architecture_study`; ``NAME_particles``, how many images of each particle
    of the test set each training gets right; and ``NAME_confusions``.

    Parameters
    ----------
    name
        Name of the tables.
    profile
        The profile.
    runs
        The trainings.
    deadline
        Value of ``time.monotonic()`` [s] after which no further epoch begins.
    folder
        Where the tables are.

    Returns
    -------
    finished, expected
        Numbers of trainings.

    Raises
    ------
    NanoshapeError
        If the tables in the folder are of another design.
    """
    names = [name, f"{name}_particles", f"{name}_confusions"]
    table, particles, confusions = load_study(name, profile, names, folder)
    sets = image_sets(profile, prepared_store(profile))
    test = sets["test"].table
    if particles.empty:
        particles = pd.DataFrame({"group": test["group"].unique()})
    for config, rows in runs:
        waves = sets["train"].table["group"].to_numpy()[rows]
        run = dict(zip(RUN, (config.architecture, len(rows), len(np.unique(waves)), config.seed), strict=True))
        column = "-".join(str(part) for part in run.values())
        if column in particles:
            continue
        try:
            card, logits = train_and_test(profile, config, sets, rows, deadline)
        except OutOfTime:
            continue  # Trainings that are finished already are still entered.
        predictions = predictions_table(test, logits)
        right = predictions.groupby("group")["correct"].sum()
        table = pd.concat([table, pd.DataFrame([result_row(card, logits, test)])], ignore_index=True)
        particles[column] = particles["group"].map(right)
        confusions = pd.concat([confusions, confusion_counts(predictions).assign(**run)], ignore_index=True)
        origin = provenance(profile, len(runs), len(table), table["seconds"].sum() / 3600, config.device)
        for ending, each in (("_confusions", confusions), ("_particles", particles), ("", table)):
            save_results(name + ending, each, origin, folder)
    return len(table), len(runs)


def best_study(profile: Profile, deadline: float, folder: Path, weights: Path) -> tuple[int, int]:
    """Train the best networks, open the test set, and write results, examples and weights.

    The tables are ``best_particles``, what is known of each particle of the test set, and the
    angle ``nearest_deg`` to the nearest training direction; ``best_ARCHITECTURE``,
    one row a test image with its logits ``z0`` to ``z4``; ``best_ARCHITECTURE_examples``, see
    :func:`nanoshape_lib.studies.results.save_examples`; and ``best``: accuracy with its group-bootstrap interval for
    decisions from the mean logits of 1, 2, ... images of one particle, and the calibration error of single
    images before and after temperature scaling, which is fitted on the validation set.
    """
    store = prepared_store(profile)
    rows, seconds = [], 0.0
    for architecture in BEST:
        try:
            model, card = best_network(profile, store, architecture, deadline)
        except OutOfTime:
            break
        validation, test = (image_set(profile, store, split) for split in ("validation", "test"))
        temperature = fit_temperature(predict(model, validation.images), validation.labels.numpy())
        logits = predict(model, test.images)
        seconds += card["seconds"]
        decisions = _decisions(test.table, logits, temperature).assign(architecture=architecture)
        rows.append(decisions)
        table = pd.concat(rows, ignore_index=True)
        origin = provenance(profile, len(BEST), len(rows), seconds / 3600, profile.best.device)
        outputs = test.table[["group", "defocus_A", "contrast"]].assign(
            **dict(zip(LOGITS, logits.T.round(3), strict=True))
        )
        particles = test.table.drop_duplicates("group")[PARTICLE]
        particles = particles.assign(nearest_deg=nearest_direction(particles, store.table("train")))
        for name, each in (("particles", particles), (architecture, outputs), ("", table)):
            save_results("_".join(filter(None, ("best", name))), each, origin, folder)
        save_examples(f"best_{architecture}_examples", test, predictions_table(test.table, logits), origin, folder)
        weights.mkdir(parents=True, exist_ok=True)
        made = {"temperature": temperature, "test_accuracy": decisions["accuracy"][0], "profile": origin["profile"]}
        save_weights(model, card | made, weights / f"{architecture}.safetensors")
    return len(rows), len(BEST)


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
    """What a shipped network says of every image of its test set.

    Returns
    -------
    DataFrame
        As :func:`nanoshape_lib.networks.evaluation.predictions_table`, with what is known of each particle and the
        logits ``z0`` to ``z4``.

    Raises
    ------
    NanoshapeError
        If no results of this network are in the folder.
    """
    outputs, particles = (load_results(f"best_{name}", folder)[0] for name in (architecture, "particles"))
    table = outputs.merge(particles, on="group", validate="many_to_one")
    return predictions_table(table, table[LOGITS].to_numpy(), temperature)


def shipped_shares(study: str, folder: Path = RESULTS) -> pd.DataFrame:
    """Share of each test particle's images that each shipped training of figure S1 or S2 gets right.

    Parameters
    ----------
    study
        ``"architectures"`` or ``"sampling"``.

    Returns
    -------
    DataFrame
        As :func:`nanoshape_lib.studies.trainings.architecture_shares`, the particles by their group.

    Raises
    ------
    NanoshapeError
        If no results of this study are in the folder.
    """
    particles, origin = load_results(f"{study}_particles", folder)
    counts = particles.set_index("group")
    runs = [(name, *map(int, numbers)) for name, *numbers in (str(column).split("-") for column in counts)]
    counts.columns = pd.MultiIndex.from_tuples(runs, names=RUN)
    return counts / len(origin["profile"]["dataset"]["defoci_A"])
