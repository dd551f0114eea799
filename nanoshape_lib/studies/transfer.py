"""Transfer: a network that was trained at one setting of the microscope, trained on with ranges of settings."""

import math
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from nanoshape_lib.datasets.images import FreshImages, ImageSet, make_images_at
from nanoshape_lib.datasets.store import Store
from nanoshape_lib.errors import OutOfTime
from nanoshape_lib.networks.evaluation import fit_temperature
from nanoshape_lib.networks.models import load_weights, save_weights
from nanoshape_lib.networks.training import TrainingConfig, _Run, fit, predict
from nanoshape_lib.paths import DATA, file_sha256, replacing
from nanoshape_lib.simulation.optics import Ranges, Setting
from nanoshape_lib.studies.profiles import Profile
from nanoshape_lib.studies.results import provenance, save_results
from nanoshape_lib.studies.robustness import (
    ORIGINAL,
    RANDOM,
    Questions,
    accuracies,
    accuracy_row,
    at_most,
    calibration_row,
    drawn_settings,
    folder_beside,
    kept_images,
    random_images,
)
from nanoshape_lib.studies.trainings import RECIPES, evaluate, image_set, prepared_store

START = DATA / "weights" / "cnn6.safetensors"
BEFORE, AFTER = "cnn6", "cnn6_ranges"


class TransferPlan(BaseModel):
    """How a network is trained on with ranges of settings; every choice here is ours.

    Of the waves of each split the first so many are used, at most those there are.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    ranges: Ranges = Ranges()
    images_per_wave: int = Field(2, ge=1, description="images at random settings that a wave gives to one pass")
    passes: int = Field(1, ge=1, description="sets of training images, drawn anew; epoch e sees set e modulo this")
    waves: int = Field(10_000, ge=1)
    validation_waves: int = Field(1_000, ge=1)
    training: TrainingConfig = TrainingConfig(epochs=5, learning_rate=1e-3)


@dataclass(frozen=True)
class RangedImages(FreshImages):
    """Training images at settings drawn from ranges, others in every pass.

    Attributes
    ----------
    ranges
        The ranges.
    waves
        The first so many training waves.
    """

    ranges: Ranges
    waves: int

    def at_epoch(self, epoch: int) -> ImageSet:
        """The images of an epoch, counted from zero."""
        number = epoch % self.passes
        draw = drawn_settings(self.ranges, self.images_per_wave)
        return kept_images(
            self.folder / f"pass-{number:02d}",
            lambda: make_images_at(self.store, "train", draw, self.waves, turned=True, number=number),
        )


def validation_images(plan: TransferPlan, store: Store) -> ImageSet:
    """The validation images of a plan, at settings drawn from its ranges; formed at the first call."""
    waves, draw = at_most(store, "validation", plan.validation_waves), drawn_settings(plan.ranges, plan.images_per_wave)
    folder = folder_beside(store, "transfer", RECIPES, plan=plan)
    return kept_images(folder / "validation", lambda: make_images_at(store, "validation", draw, waves))


def fine_tune(
    plan: TransferPlan, store: Store, start: Path = START, deadline: float = math.inf
) -> tuple[nn.Module, dict]:
    """Train on from given weights with a plan's ranges, or take up again where an interrupted call stopped.

    The epoch is chosen by validation waves at settings drawn from the same ranges.

    Returns
    -------
    model, card
        As of :func:`nanoshape_lib.networks.training.fit`, the card with ``ranges``, ``passes`` and the SHA-256 of
        ``start``.

    Raises
    ------
    OutOfTime
        If the deadline, a value of ``time.monotonic()`` [s], is over before the last epoch.
    """
    digest = file_sha256(start)
    folder, validation = folder_beside(store, "transfer", RECIPES, plan=plan), validation_images(plan, store)
    waves = at_most(store, "train", plan.waves)
    train = RangedImages(store, folder, plan.images_per_wave, plan.passes, plan.ranges, waves)
    run = folder / f"run-{digest[:12]}"
    if not run.exists():
        # A training that has not begun, but for its weights, is what fit goes on from.
        begun = _Run(plan.training, train, validation)
        begun.model.load_state_dict(load_weights(start)[0].state_dict())
        with replacing(run) as partial:
            partial.mkdir()
            torch.save(begun.state(), partial / "checkpoint.pt")
    model, card = fit(plan.training, train, validation, run, deadline)
    return model, card | {"ranges": plan.ranges.model_dump(), "passes": plan.passes, "start": digest}


def transfer_study(
    profile: Profile,
    deadline: float,
    folder: Path,
    weights: Path,
    plan: TransferPlan | None = None,
    ask: Questions | None = None,
) -> tuple[int, int]:
    """Train the shipped network on with ranges of settings, open the test set, and write tables and weights.

    The tables are ``transfer_accuracy``, see :func:`accuracies`, for the network before and after, with the
    setting ``original`` for the profile's own test images; and ``transfer_calibration``: the temperature, which
    for the new network is fitted on validation images at random settings, and the calibration error of
    test images at random settings without it and with it.

    Parameters
    ----------
    profile
        The profile; its device serves.
    deadline
        Value of ``time.monotonic()`` [s] after which no further epoch begins.
    folder, weights
        Where the tables, and ``cnn6_ranges.safetensors`` with its card, are put.
    plan, ask
        What to train and what to ask, if not the default.

    Returns
    -------
    finished, expected
        Numbers of trainings.
    """
    plan, ask = plan or TransferPlan(), ask or Questions()
    training = plan.training.model_copy(update={"device": profile.best.device, "seed": profile.best.seed})
    plan = plan.model_copy(update={"training": training})
    store = prepared_store(profile)
    try:
        model, card = fine_tune(plan, store, deadline=deadline)
    except OutOfTime:
        return 0, 1
    before, its_card = load_weights(START)
    networks = {BEFORE: before.to(training.device), AFTER: model}
    validation, test = validation_images(plan, store), image_set(profile, store, "test")
    count = int((test.table["group"] < ask.original_waves).sum())
    test = ImageSet(test.images[:count], test.table[:count])
    temperature = fit_temperature(predict(model, validation.images), validation.labels.numpy())
    original = [accuracy_row(name, ORIGINAL, math.nan, evaluate(network, test)) for name, network in networks.items()]
    table = pd.concat([pd.DataFrame(original), accuracies(networks, store, plan.ranges, ask)], ignore_index=True)
    origin = provenance(profile, 1, 1, card["seconds"] / 3600, training.device)
    origin |= {"plan": plan.model_dump(mode="json")}
    drawn = random_images(store, plan.ranges, ask.random_waves)
    temperatures = {BEFORE: its_card["temperature"], AFTER: temperature}
    calibration = [calibration_row(name, networks[name], value, drawn) for name, value in temperatures.items()]
    save_results("transfer_accuracy", table, origin, folder)
    save_results("transfer_calibration", pd.DataFrame(calibration), origin, folder)
    found = table[table["network"] == AFTER].set_index("setting")["accuracy"]
    made = {
        "temperature": temperature,
        "test_accuracy": float(found[RANDOM]),
        "test_accuracy_original": float(found[ORIGINAL]),
        "profile": origin["profile"],
    }
    weights.mkdir(parents=True, exist_ok=True)
    save_weights(model, card | made, weights / f"{AFTER}.safetensors")
    return 1, 1


def ablation_study(
    profile: Profile, deadline: float, folder: Path, plan: TransferPlan | None = None, ask: Questions | None = None
) -> tuple[int, int]:
    """What each range contributes: train on, briefly, with all ranges and with each of them left out in turn.

    A range left out is narrowed to the design's value, that of the defocus to the design's series. The
    table ``transfer_ablations`` has the columns of :func:`accuracies`; ``network`` is ``all ranges`` or
    ``without`` and the name of a range, which is asked at the values of that range's sweep alone.

    Returns
    -------
    finished, expected
        Numbers of trainings.
    """
    brief = TransferPlan(
        waves=1200, validation_waves=200, passes=1, training=TrainingConfig(epochs=4, learning_rate=1e-3)
    )
    plan, ask = plan or brief, ask or Questions()
    store, tables, seconds = prepared_store(profile), [], 0.0
    for left_out in (None, *plan.ranges.drawn):
        ranges = plan.ranges if left_out is None else plan.ranges.narrowed(left_out, *_usual(store, left_out))
        try:
            model, card = fine_tune(plan.model_copy(update={"ranges": ranges}), store, deadline=deadline)
        except OutOfTime:
            break
        name = "all ranges" if left_out is None else f"without {left_out}"
        tables.append(accuracies({name: model}, store, plan.ranges, ask, None if left_out is None else [left_out]))
        seconds += card["seconds"]
        origin = provenance(profile, len(plan.ranges.drawn) + 1, len(tables), seconds / 3600, plan.training.device)
        origin |= {"plan": plan.model_dump(mode="json")}
        save_results("transfer_ablations", pd.concat(tables, ignore_index=True), origin, folder)
    return len(tables), len(plan.ranges.drawn) + 1


def _usual(store: Store, name: str) -> tuple[float, float]:
    """The design's own range of a setting."""
    if name == "defocus_A":
        return min(store.design.defoci_A), max(store.design.defoci_A)
    return (getattr(Setting.nominal(store.design.microscope, store.design.camera), name),) * 2
