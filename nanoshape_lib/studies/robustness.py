"""How far networks hold: at settings of the microscope, and on specimens, that they were or were not trained for."""

import math
from collections.abc import Callable, Iterable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from nanoshape_lib.datasets.design import DatasetDesign
from nanoshape_lib.datasets.generation import Split, make_record
from nanoshape_lib.datasets.images import (
    Draw,
    FreshImages,
    ImageSet,
    Series,
    as_designed,
    as_ranged,
    expose,
    kept_images,
    make_images_at,
)
from nanoshape_lib.datasets.store import Store
from nanoshape_lib.networks.evaluation import (
    accuracy_interval,
    calibration_error,
    fit_temperature,
    predictions_table,
    share_columns,
)
from nanoshape_lib.networks.models import load_weights, save_weights
from nanoshape_lib.networks.training import evaluate, fit, predict
from nanoshape_lib.particles.shapes import Shape
from nanoshape_lib.particles.specimen import Specimen
from nanoshape_lib.paths import cache_key, file_sha256
from nanoshape_lib.simulation.devices import on_all_cores
from nanoshape_lib.simulation.exit_waves import exit_wave
from nanoshape_lib.simulation.optics import Ranges, Setting
from nanoshape_lib.studies.ood import RANGED
from nanoshape_lib.studies.profiles import DomainRandomisation, Profile
from nanoshape_lib.studies.runner import Job, Made, Part, Study
from nanoshape_lib.studies.trainings import IMAGES, RECIPES, image_set, prepared_store
from nanoshape_lib.trust.classifier import Classifier
from nanoshape_lib.trust.conformal import trust_file

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
SPECIMENS: dict[str, tuple[float, ...]] = {
    "temperature_K": (0, 150, 300, 600, 900),
    "strain": (-0.03, -0.02, -0.01, 0, 0.01, 0.02, 0.03),
    "film_A": (15, 30, 45, 60, 90),
}
ORIGINAL, RANDOM = "original", "random"
BEFORE, AFTER = "cnn6", "cnn6_ranges"


def _kept(store: Store, step: str, make: Callable[[], ImageSet], **design: Any) -> ImageSet:
    """Images that are formed once and kept beside a store."""
    key = cache_key(step, IMAGES, waves_of=store.design, **design)
    return kept_images(Path(store.path).parent / f"{step}-{key}", make)


def _images_at(store: Store, split: Split, waves: int, ranges: Ranges, images: int, **turns: Any) -> ImageSet:
    """So many images of each of the first waves of a split, at settings drawn from ranges."""
    count = min(waves, store.design.records(split))
    return make_images_at(store, split, lambda _, rng: [ranges.draw(rng) for _ in range(images)], count, **turns)


def random_images(store: Store, ranges: Ranges, waves: int) -> ImageSet:
    """Two images of each of the first test waves, at settings drawn from ranges; formed at the first call."""
    return _kept(store, "random", lambda: _images_at(store, "test", waves, ranges, 2), ranges=ranges, waves=waves)


def sweep_images(store: Store, name: str, waves: int) -> ImageSet:
    """Images of the first test waves, each at every value of one sweep; formed at the first call.

    All else is as in the design; its defoci take turns from wave to wave.
    """
    design, values = store.design, SWEEPS[name]

    def settings(index: int, rng: np.random.Generator) -> list[Setting]:
        usual = Setting.nominal(design.microscope, design.camera, design.defoci_A[index % len(design.defoci_A)])
        angles = {"astigmatism_deg": rng.uniform(0, 180), "drift_deg": rng.uniform(0, 180)}
        return [usual.model_copy(update=angles | {name: float(value)}) for value in values]

    count = min(waves, design.records("test"))
    images = partial(make_images_at, store, "test", settings, count)
    return _kept(store, "sweep", images, name=name, values=values, waves=count)


def fine_tune(
    plan: DomainRandomisation, store: Store, start: Path, deadline: float = math.inf
) -> tuple[nn.Module, dict, ImageSet]:
    """Train on from given weights with a plan's ranges, or take up again where an interrupted call stopped.

    The epoch is chosen by validation waves at settings drawn from the same ranges, which are returned, too, after the
    model and the card of :func:`nanoshape_lib.networks.training.fit`; the card has the SHA-256 of ``start``.
    """
    digest, ranges, images = file_sha256(start), plan.ranges, plan.images_per_wave
    key = cache_key("domain randomisation", RECIPES, waves_of=store.design, plan=plan)
    folder = Path(store.path).parent / f"domain-randomisation-{key}"
    chosen = partial(_images_at, store, "validation", plan.validation_waves, ranges, images)
    validation = kept_images(folder / "validation", chosen)
    drawn = partial(_images_at, store, "train", plan.waves, ranges, images, turned=True)
    train = FreshImages(folder, plan.passes, lambda number: drawn(number=number))
    model, card = fit(plan.training, train, validation, folder / f"run-{digest[:12]}", deadline, start)
    return model, card | {"ranges": ranges.model_dump(), "passes": plan.passes, "start": digest}, validation


def accuracies(
    networks: Mapping[str, nn.Module], store: Store, profile: Profile, settings: Iterable[str]
) -> pd.DataFrame:
    """Accuracy of networks at random settings and at the values of sweeps.

    Columns: ``network``, ``setting`` (``original``: the profile's own test images, ``random``, or a field of
    :class:`~nanoshape_lib.simulation.optics.Setting`), ``value``, ``accuracy`` with its interval ``low`` to ``high``,
    ``images`` and ``particles``.
    """
    study, rows = profile.robustness, []
    for setting in settings:
        if setting == ORIGINAL:
            images = image_set(profile, store, "test")
            images = images.take(np.flatnonzero(images.table["group"] < study.original_waves))
        elif setting == RANDOM:
            images = random_images(store, study.domain_randomisation.ranges, study.random_waves)
        else:
            images = sweep_images(store, setting, study.sweep_waves)
        for name, network in networks.items():
            told = evaluate(network, images)
            parts = {v: told[told[setting] == v] for v in SWEEPS[setting]} if setting in SWEEPS else {math.nan: told}
            for value, part in parts.items():
                rows.append((name, setting, value, *accuracy_interval(part), len(part), part["group"].nunique()))
    columns = ["network", "setting", "value", "accuracy", "low", "high", "images", "particles"]
    return pd.DataFrame(rows, columns=columns)


def _on_device(job: Job, plan: DomainRandomisation) -> DomainRandomisation:
    """A plan with the device and the seed of the job's profile."""
    training = plan.training.model_copy(update={"device": job.device, "seed": job.profile.best.seed})
    return plan.model_copy(update={"training": training})


def _study(parts: list[Part], plan: DomainRandomisation, start: Path) -> Study:
    """A study of networks that are trained on with a plan."""

    def depends(profile: Profile) -> Any:
        study = profile.robustness
        return profile.dataset, study.original_waves, study.random_waves, study.sweep_waves

    dumped = plan.model_dump(mode="json", exclude={"training": {"device"}})
    return Study(parts, depends, {"start_sha256": file_sha256(start), "plan": dumped}, RECIPES)


def domain_randomisation(job: Job) -> Study:
    """The study of the six-block network before and after training on with ranges of settings.

    Its tables are ``domain_randomisation_accuracy``, see :func:`accuracies`, one part a setting; and
    ``domain_randomisation_calibration``: the temperature, which for the new network is fitted on validation images at
    random settings, and the calibration error of test images at random settings without it and with it. The new
    weights, ``cnn6_ranges.safetensors``, are written with the latter.
    """
    profile, start, table = job.profile, job.weights_file(BEFORE), "domain_randomisation_accuracy"
    plan = _on_device(job, profile.robustness.domain_randomisation)

    @cache
    def tuned() -> tuple[Store, dict[str, nn.Module], dict, ImageSet]:
        store = prepared_store(profile)
        model, card, validation = fine_tune(plan, store, start, job.deadline)
        return store, {BEFORE: load_weights(start)[0].to(job.device), AFTER: model}, card, validation

    @cache
    def asked(setting: str) -> pd.DataFrame:
        store, networks, *_ = tuned()
        return accuracies(networks, store, profile, [setting])

    def calibration() -> pd.DataFrame:
        store, networks, card, validation = tuned()
        drawn, rows = random_images(store, plan.ranges, profile.robustness.random_waves), []
        temperature = fit_temperature(predict(networks[AFTER], validation.images), validation.labels.numpy())
        for name, value in ((BEFORE, load_weights(start)[1]["temperature"]), (AFTER, temperature)):
            logits = predict(networks[name], drawn.images)
            errors = [calibration_error(predictions_table(drawn.table, logits, each)) for each in (1.0, value)]
            rows.append((name, value, *errors))
        found = [float(asked(each)["accuracy"].iloc[-1]) for each in (RANDOM, ORIGINAL)]
        made = {"temperature": temperature, "test_accuracy": found[0], "test_accuracy_original": found[1]}
        about = card | made | {"profile": profile.model_dump(mode="json")}
        save_weights(networks[AFTER], about, job.weights / f"{AFTER}.safetensors")
        return pd.DataFrame(rows, columns=["network", "temperature", "calibration_error", "calibration_error_scaled"])

    def part(setting: str) -> Part:
        also = ("domain_randomisation_calibration",) if setting == RANDOM else ()

        def make() -> Made:
            tables = {table: asked(setting)} | {name: calibration() for name in also}
            return Made(tables, tuned()[2]["seconds"] if setting == ORIGINAL else None)

        return Part(setting, {"setting": setting}, (table, *also), make)

    return _study([part(setting) for setting in (ORIGINAL, RANDOM, *SWEEPS)], plan, start)


def ablations(job: Job) -> Study:
    """What each range contributes: train on, briefly, with all ranges and with each of them left out in turn.

    A range left out is narrowed to the design's value, that of the defocus to the design's series. The
    table ``domain_randomisation_ablations`` has the columns of :func:`accuracies`; ``network`` is ``all ranges`` or
    ``without`` and the name of a range, which is asked at the values of that range's sweep alone.
    """
    profile, table, start = job.profile, "domain_randomisation_ablations", job.weights_file(BEFORE)
    plan, design = _on_device(job, profile.robustness.ablations), profile.dataset

    def usual(name: str) -> tuple[float, float]:
        if name == "defocus_A":
            return min(design.defoci_A), max(design.defoci_A)
        return (getattr(Setting.nominal(design.microscope, design.camera), name),) * 2

    def part(left_out: str | None) -> Part:
        name = "all ranges" if left_out is None else f"without {left_out}"
        ranges = plan.ranges if left_out is None else plan.ranges.narrowed(left_out, *usual(left_out))

        def make() -> Made:
            store = prepared_store(profile)
            model, card, _ = fine_tune(plan.model_copy(update={"ranges": ranges}), store, start, job.deadline)
            asked = (RANDOM, *(SWEEPS if left_out is None else [left_out]))
            return Made({table: accuracies({name: model}, store, profile, asked)}, card["seconds"])

        return Part(name, {"network": name}, (table,), make)

    return _study([part(left_out) for left_out in (None, *plan.ranges.drawn)], plan, start)


def specimen_images(
    design: DatasetDesign, specimen: Specimen, draws: Mapping[str, Draw], waves: int, device: str = "cpu"
) -> tuple[dict[str, torch.Tensor], np.ndarray]:
    """An image of each of the first test records at settings drawn in each way (N, n, n), and the labels (N,)."""

    def make(index: int) -> tuple[list[torch.Tensor], int]:
        record, made = make_record(design, "test", index, specimen), []
        wave = exit_wave(record.scene, design.microscope, design.fidelity, device)
        for draw in draws.values():
            rng = np.random.default_rng((design.seed, index))
            series = Series(draw(1, rng), torch.Generator().manual_seed(int(rng.integers(2**62))))
            made.append(expose(wave, series, design)[0])
        return made, record.label

    images, labels = zip(*on_all_cores(make, range(waves), "specimens"), strict=True)
    return dict(zip(draws, map(torch.cat, zip(*images, strict=True)), strict=True)), np.array(labels)


def classifiers(job: Job) -> tuple[dict[str, Classifier], dict]:
    """Both calibrated networks on the job's device, and the digests of their calibrations."""
    files = {name: job.weights_file(name) for name in (BEFORE, AFTER)}
    found = {name: Classifier(file) for name, file in files.items()}
    for classifier in found.values():
        for network in classifier.networks:
            network.to(job.device)
    return found, {"trust_sha256": {name: file_sha256(trust_file(path)) for name, path in files.items()}}


def specimens(job: Job) -> Study:
    """What networks say of particles of other temperatures and strains, and of particles on other films.

    Particles, orientations, places and settings, which are like those of each network's training, are the same for
    every specimen; only one quantity differs from the usual at a time. The table ``specimens`` has ``network``,
    ``quantity``, a field of :class:`~nanoshape_lib.particles.specimen.Specimen`, ``value``, ``particles``,
    ``accuracy`` of the first choice and the share ``refused``, both with a 95 % Wilson interval.
    """
    design, asked = job.profile.dataset, job.profile.robustness.specimen_waves
    draws = {BEFORE: as_designed(design), AFTER: as_ranged(RANGED)}
    networks, origin = classifiers(job)

    def part(quantity: str, value: float) -> Part:
        def make() -> Made:
            waves, rows = min(asked, design.records("test")), []
            specimen = Specimen.model_validate({quantity: value})
            images, labels = specimen_images(design, specimen, draws, waves, job.device)
            for name, classifier in networks.items():
                said = classifier.classify(images[name])
                right = said["predicted"] == [Shape(label).title for label in labels]
                row = {"network": name, "quantity": quantity, "value": value, "particles": waves}
                rows.append(row | share_columns("accuracy", right) | share_columns("refused", ~said["known"]))
            return Made({"specimens": pd.DataFrame(rows)})

        return Part(f"{quantity} {value:g}", {"quantity": quantity, "value": float(value)}, ("specimens",), make)

    parts = [part(quantity, value) for quantity, values in SPECIMENS.items() for value in values]
    return Study(parts, lambda profile: (profile.dataset, profile.robustness.specimen_waves), origin, dict(IMAGES))
