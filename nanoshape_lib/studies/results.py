"""Results that are shipped: tidy tables, each with the provenance of its numbers beside it."""

import io
import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd

from nanoshape_lib.datasets.images import ImageSet
from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.paths import DATA, replacing
from nanoshape_lib.simulation.devices import hardware
from nanoshape_lib.studies.profiles import Profile

RESULTS = DATA / "results"
PENDING = ".pending.json"
EXAMPLES = 60


def provenance(profile: Profile, device: str = "cpu") -> dict:
    """What stands behind every table: the profile, the machine and the versions of what was used."""
    return {
        "profile": profile.model_dump(mode="json"),
        "hardware": hardware(device),
        "versions": {name: version(name) for name in ("nanoshape_lib", "torch", "numpy", "zarr")},
    }


def save_tables(tables: Mapping[str, tuple[pd.DataFrame, dict]], folder: Path = RESULTS) -> None:
    """Write tables as ``NAME.csv``, with six digits, and their provenance as ``NAME.json``: all of them or none.

    They are first written into one file, from which :func:`load_results` reads them until each is in its own place;
    an earlier call that was interrupted there is ended first.
    """
    texts = _pending(folder)
    for name, (table, origin) in tables.items():
        texts[f"{name}.csv"] = table.to_csv(index=False, float_format="%.6g")
        texts[f"{name}.json"] = json.dumps(origin, indent=1) + "\n"
    if all((folder / name).is_file() and (folder / name).read_text("utf-8") == each for name, each in texts.items()):
        return (folder / PENDING).unlink(missing_ok=True)
    with replacing(folder / PENDING) as partial:
        partial.write_text(json.dumps(texts), encoding="utf-8")
    for name, each in texts.items():
        with replacing(folder / name) as partial:
            partial.write_text(each, encoding="utf-8")
    (folder / PENDING).unlink()


def _pending(folder: Path) -> dict[str, str]:
    """Texts by the names of the files that they are still to replace, since their writing was interrupted."""
    path = folder / PENDING
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def load_results(name: str, folder: Path = RESULTS, as_text: bool = False) -> tuple[pd.DataFrame, dict]:
    """A shipped table, its cells as text if that is asked for, and its provenance.

    Raises
    ------
    NanoshapeError
        If there is none of this name.
    """
    texts = _pending(folder)
    if f"{name}.csv" not in texts and not (folder / f"{name}.csv").is_file():
        known = ", ".join(sorted(path.stem for path in folder.glob("*.csv"))) or "none"
        raise NanoshapeError(f"results are {name!r}, but must be one of those in {folder.name}: {known}")
    table, origin = (
        texts.get(f"{name}.{ending}") or (folder / f"{name}.{ending}").read_text(encoding="utf-8")
        for ending in ("csv", "json")
    )
    kind = str if as_text else None
    return pd.read_csv(io.StringIO(table), dtype=kind, keep_default_na=not as_text), json.loads(origin)


def choose_examples(predictions: pd.DataFrame) -> pd.DataFrame:
    """Predictions for sixty images drawn at random, right or wrong, and for up to sixty of those that fail.

    ``row`` is their place in the image set, ``kind`` is ``drawn`` or ``failed``.
    """
    rng = np.random.default_rng(0)
    kinds = {"drawn": np.arange(len(predictions)), "failed": np.flatnonzero(~predictions["correct"])}
    chosen = {kind: np.sort(rng.choice(rows, min(EXAMPLES, len(rows)), replace=False)) for kind, rows in kinds.items()}
    parts = [predictions.iloc[rows].assign(row=rows, kind=kind) for kind, rows in chosen.items()]
    return pd.concat(parts)


def save_images_of(name: str, images: ImageSet, folder: Path = RESULTS) -> None:
    """Ship images as ``NAME.npy``, float16, beside their table ``NAME``; both are read by ``load_examples``."""
    with replacing(folder / f"{name}.npy") as partial:
        np.save(partial, images.images.half().numpy())
