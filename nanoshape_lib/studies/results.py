"""Results that are shipped: a tidy table with the provenance of its numbers beside it."""

import json
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from nanoshape_lib.datasets.images import ImageSet
from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.paths import DATA, replacing
from nanoshape_lib.simulation.devices import hardware
from nanoshape_lib.studies.profiles import Profile
from nanoshape_lib.studies.trainings import RECIPES

RESULTS = DATA / "results"
EXAMPLES = 60


def provenance(profile: Profile, expected: int, finished: int, hours: float, device: str = "cpu") -> dict:
    """What stands behind a table: profile and design, recipes, versions, machine, hours, and whether it is whole."""
    return {
        "profile": profile.model_dump(mode="json"),
        "trainings": {"expected": expected, "finished": finished},
        "hours": round(hours, 3),
        "hardware": hardware(device),
        "versions": {name: version(name) for name in ("nanoshape_lib", "torch", "numpy", "zarr")},
        "recipes": RECIPES,
    }


def save_results(name: str, table: pd.DataFrame, origin: dict, folder: Path = RESULTS) -> Path:
    """Write ``NAME.csv`` and ``NAME.json``; each appears complete or not at all.

    Returns
    -------
    Path
        The CSV file.
    """
    texts = {".json": json.dumps(origin, indent=1) + "\n", ".csv": table.to_csv(index=False, float_format="%.6g")}
    for ending, text in texts.items():
        with replacing(folder / f"{name}{ending}") as partial:
            partial.write_text(text, encoding="utf-8")
    return folder / f"{name}.csv"


def load_study(study: str, profile: Profile, names: Sequence[str], folder: Path) -> list[pd.DataFrame]:
    """Tables that an earlier call of a study left, to be continued; empty ones if there are none.

    More sizes, seeds or networks may be asked for than then, but not another data set, other epochs or another recipe.

    Raises
    ------
    NanoshapeError
        If they are of another design or recipe.
    """
    if not all((folder / f"{name}.csv").is_file() for name in names):
        return [pd.DataFrame() for _ in names]
    tables, origins = zip(*(load_results(name, folder) for name in names), strict=True)
    then, now = (
        [each["dataset"], each["validation_waves"], *(each[study][key] for key in ("epochs", "steps", "batch_size"))]
        for each in (origins[0]["profile"], profile.model_dump(mode="json"))
    )
    if then != now:
        raise NanoshapeError(f"{folder}/{names[0]}.csv is of another design; name another folder, or move it away")
    if origins[0]["recipes"] != RECIPES:
        raise NanoshapeError(f"{folder}/{names[0]}.csv is of another recipe; name another folder, or move it away")
    return list(tables)


def save_examples(name: str, images: ImageSet, predictions: pd.DataFrame, origin: dict, folder: Path = RESULTS) -> None:
    """Ship sixty images drawn at random, right or wrong, and up to sixty of those that fail.

    Beside the table ``NAME``, the predictions of the chosen images with their ``row`` in the image set and
    whether they were ``drawn`` or ``failed``, the images go to ``NAME.npy``, float16.
    """
    rng = np.random.default_rng(0)
    failures = np.flatnonzero(~predictions["correct"])
    chosen = {
        kind: np.sort(rng.choice(rows, min(EXAMPLES, len(rows)), replace=False))
        for kind, rows in (("drawn", np.arange(len(predictions))), ("failed", failures))
    }
    rows = np.concatenate(list(chosen.values()))
    table = predictions.iloc[rows].assign(
        row=rows, kind=np.repeat(list(chosen), [len(each) for each in chosen.values()])
    )
    save_image_set(name, ImageSet(images.images[torch.as_tensor(rows)], table), origin, folder)


def save_image_set(name: str, images: ImageSet, origin: dict, folder: Path = RESULTS) -> None:
    """Ship images as ``NAME.npy``, float16, beside their table ``NAME``."""
    save_results(name, images.table, origin, folder)
    with replacing(folder / f"{name}.npy") as partial:
        np.save(partial, images.images.half().numpy())


def load_examples(name: str, folder: Path = RESULTS) -> ImageSet:
    """The images and the table written by :func:`save_image_set` or :func:`save_examples`."""
    table, _ = load_results(name, folder)
    return ImageSet(torch.from_numpy(np.load(folder / f"{name}.npy")), table)


def load_results(name: str, folder: Path = RESULTS) -> tuple[pd.DataFrame, dict]:
    """A shipped table and its provenance.

    Raises
    ------
    NanoshapeError
        If there is none of this name.
    """
    if not (folder / f"{name}.csv").is_file():
        known = ", ".join(sorted(path.stem for path in folder.glob("*.csv"))) or "none"
        raise NanoshapeError(f"results are {name!r}, but must be one of those in data/results: {known}")
    origin = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    return pd.read_csv(folder / f"{name}.csv"), origin
