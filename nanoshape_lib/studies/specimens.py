"""How far networks hold on specimens of other kinds than they were trained on."""

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.stats import binomtest

from nanoshape_lib.datasets.design import DatasetDesign
from nanoshape_lib.datasets.generation import make_record
from nanoshape_lib.datasets.images import Draw, as_designed, as_ranged, expose
from nanoshape_lib.particles.shapes import Shape
from nanoshape_lib.particles.specimen import Specimen
from nanoshape_lib.paths import file_sha256
from nanoshape_lib.simulation.devices import hardware, on_all_cores
from nanoshape_lib.simulation.exit_waves import exit_wave
from nanoshape_lib.simulation.optics import Ranges
from nanoshape_lib.studies.ood import PIXEL_ERROR
from nanoshape_lib.studies.profiles import Profile
from nanoshape_lib.studies.results import save_results
from nanoshape_lib.studies.trainings import IMAGES
from nanoshape_lib.trust.classifier import Classifier
from nanoshape_lib.trust.conformal import trust_file

SPECIMENS: dict[str, tuple[float, ...]] = {
    "temperature_K": (0, 150, 300, 600, 900),
    "strain": (-0.03, -0.02, -0.01, 0, 0.01, 0.02, 0.03),
    "film_A": (15, 30, 45, 60, 90),
}
WAVES = 240
NAME = "specimens"


def specimen_images(
    design: DatasetDesign, specimen: Specimen, draws: Mapping[str, Draw], waves: int
) -> tuple[dict[str, torch.Tensor], np.ndarray]:
    """An image of each of the first test records at settings drawn in each way (N, n, n), and the labels (N,)."""

    def make(index: int) -> tuple[list[torch.Tensor], int]:
        record, made = make_record(design, "test", index, specimen), []
        wave = exit_wave(record.scene, design.microscope, design.fidelity)
        for draw in draws.values():
            rng = np.random.default_rng((design.seed, index))
            made.append(expose(wave, draw(1, rng), design, rng, design.camera.pixels))
        return made, record.label

    images, labels = zip(*on_all_cores(make, range(waves), "specimens"), strict=True)
    return dict(zip(draws, map(torch.cat, zip(*images, strict=True)), strict=True)), np.array(labels)


def specimen_study(
    weights: Mapping[str, Path], draws: Mapping[str, Draw], design: DatasetDesign, waves: int = WAVES
) -> pd.DataFrame:
    """What networks say of particles of other temperatures and strains, and of particles on thinner and thicker films.

    Particles, orientations, places and settings are the same for every specimen; only one quantity differs from the
    usual at a time. Networks look as :class:`~nanoshape_lib.trust.classifier.Classifier` does.

    Parameters
    ----------
    weights
        Weights files by name.
    draws
        How each network's images are taken, by the same names.
    design
        Whose test records are made.
    waves
        How many of them.

    Returns
    -------
    DataFrame
        ``network``, ``quantity``, a field of :class:`~nanoshape_lib.particles.specimen.Specimen`, ``value``,
        ``accuracy`` of the
        first choice and share ``refused``, both with the ends ``_low`` and ``_high`` of a 95 % Wilson interval, and
        ``particles``.
    """
    classifiers, rows = {name: Classifier(path) for name, path in weights.items()}, []
    for quantity, values in SPECIMENS.items():
        for value in values:
            images, labels = specimen_images(design, Specimen.model_validate({quantity: value}), draws, waves)
            for name, classifier in classifiers.items():
                said = classifier.classify(images[name])
                row = {"network": name, "quantity": quantity, "value": value, "particles": waves}
                right = said["predicted"] == [Shape(label).title for label in labels]
                for share, counted in (("accuracy", right), ("refused", ~said["known"])):
                    ends = binomtest(int(counted.sum()), waves).proportion_ci(method="wilson")
                    row |= {share: counted.mean(), f"{share}_low": ends.low, f"{share}_high": ends.high}
                rows.append(row)
    return pd.DataFrame(rows)


def shipped_specimens(profile: Profile, folder: Path, weights: Path) -> tuple[int, int]:
    """Write the table ``specimens`` of both shipped networks, each at settings like those of its training.

    Returns
    -------
    finished, expected
        Numbers of networks.
    """
    draws = {
        "cnn6": as_designed(profile.dataset),
        "cnn6_ranges": as_ranged(Ranges(pixel_error=(-PIXEL_ERROR, PIXEL_ERROR))),
    }
    files = {name: weights / f"{name}.safetensors" for name in draws}
    table = specimen_study(files, draws, profile.dataset)
    origin = {
        "profile": profile.name,
        "trust_sha256": {name: file_sha256(trust_file(path)) for name, path in files.items()},
        "hardware": hardware(),
        "versions": {name: version(name) for name in ("nanoshape_lib", "torch", "numpy")},
        "recipes": IMAGES,
    }
    save_results(NAME, table, origin, folder)
    return len(draws), len(draws)
