"""The runner of all studies: it makes the parts that the tables lack, and saves after each of them."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from pydantic import ValidationError
from tqdm import tqdm

from nanoshape_lib.errors import NanoshapeError, OutOfTime
from nanoshape_lib.paths import DATA
from nanoshape_lib.studies.profiles import Profile
from nanoshape_lib.studies.results import load_results, provenance, save_tables

STUDIES = {
    "architectures": "trainings",
    "sampling": "trainings",
    "controls": "controls",
    "best": "trainings",
    "domain_randomisation": "robustness",
    "ablations": "robustness",
    "ood": "ood",
    "micrographs": "micrographs",
    "specimens": "robustness",
}
"""The modules of the studies, each with a function of the study's name that takes a :class:`Job`."""


@dataclass(frozen=True)
class Job:
    """What a study is asked for: a profile, whose device serves, folders of tables and of weights, and a deadline.

    No epoch and no part begins after the deadline, a value of ``time.monotonic()`` [s].
    """

    profile: Profile
    folder: Path
    weights: Path
    deadline: float = np.inf

    @property
    def device(self) -> str:
        """Where networks are trained and asked."""
        return self.profile.best.device

    def weights_file(self, name: str) -> Path:
        """The weights of a network: those of the job's own folder, or else the shipped ones."""
        own = self.weights / f"{name}.safetensors"
        return own if own.is_file() else DATA / "weights" / own.name


class Made(NamedTuple):
    """What a part gives: its rows of tables by their names, seconds of work if it counts them, and provenance."""

    tables: Mapping[str, pd.DataFrame]
    seconds: float | None = None
    about: Mapping[str, Any] = {}


class Part(NamedTuple):
    """One part of a study: the values of the columns that tell its rows from those of other parts, and its tables.

    A table without these columns belongs to the part as a whole. ``make`` makes the rows, and raises
    :class:`~nanoshape_lib.errors.OutOfTime` if it could not end in time.
    """

    name: str
    where: Mapping[str, Any]
    tables: tuple[str, ...]
    make: Callable[[], Made]


@dataclass(frozen=True)
class Study:
    """A study: parts, in the order of their rows.

    Tables of another profile are continued if what the results depend on, ``depends``, and the further provenance
    ``origin``, such as digests of weights, are the same. ``recipes`` are versions of the steps behind the tables: where
    they were raised since, the tables say both; but tables of another version of the study's ``own`` are refused.
    The table ``wide`` has one column a part, named like it, beside the column ``group``.
    """

    parts: list[Part]
    depends: Callable[[Profile], Any]
    origin: dict[str, Any] = field(default_factory=dict)
    recipes: Mapping[str, int] = field(default_factory=dict)
    own: str = ""
    wide: str = ""


def study(name: str, job: Job) -> Study:
    """The study of this name, none of its parts made."""
    if name not in STUDIES:
        raise NanoshapeError(f"name is {name!r}, but must be one of {', '.join(STUDIES)}")
    return getattr(import_module(f"nanoshape_lib.studies.{STUDIES[name]}"), name)(job)


def run(asked: Study, job: Job, progress: str = "study") -> list[str]:
    """Make the parts that the tables in the job's folder lack, and write the tables after each.

    Interrupted at any moment, the same call goes on: the tables always hold whole parts, and agree with each other.

    Returns the names of the parts that are missing still, because the time was up. Raises NanoshapeError if the folder
    holds tables of another design or recipe.
    """
    save_tables({}, job.folder)
    tables, origins = _read(asked, job)
    held = {part.name: each for part in asked.parts if (each := _held(asked, part, tables)) is not None}
    missing = [part for part in asked.parts if part.name not in held]
    for part in tqdm(missing, desc=progress, unit="part", disable=not missing):
        start = time.monotonic()
        if start > job.deadline:
            break
        try:
            made = part.make()
        except OutOfTime:
            break
        held[part.name] = {name: _as_text(each) for name, each in made.tables.items()}
        seconds = time.monotonic() - start if made.seconds is None else made.seconds
        _save(asked, job, held, origins, part, seconds, made.about)
    return [part.name for part in asked.parts if part.name not in held]


Cells = dict[str, pd.DataFrame]


def _read(asked: Study, job: Job) -> tuple[Cells, dict[str, dict]]:
    """The tables that an earlier call left, their cells as text, and their provenance."""
    tables, origins = {}, {}
    names = {name: None for part in asked.parts for name in part.tables}
    for name in (name for name in names if (job.folder / f"{name}.csv").is_file()):
        tables[name], origin = load_results(name, job.folder, as_text=True)
        try:
            same = origin.get("recipes", {}).get(asked.own) == asked.recipes.get(asked.own) and asked.depends(
                Profile.model_validate(origin.get("profile"))
            ) == asked.depends(job.profile)
        except ValidationError:
            same = False
        if not same or any(origin.get(key) != each for key, each in asked.origin.items()):
            raise NanoshapeError(f"{job.folder}/{name}.csv is of another design; name another folder, or move it away")
        origins[name] = origin
    return tables, origins


def _held(asked: Study, part: Part, tables: Cells) -> Cells | None:
    """The rows of a part in each of its tables, if all of them have some."""
    rows = {}
    for name in part.tables:
        table = tables.get(name, pd.DataFrame())
        if name == asked.wide:
            table = table[["group", part.name]] if part.name in table else pd.DataFrame()
        elif set(part.where) <= set(table.columns):
            table = table[(table[list(part.where)] == [_cell(each) for each in part.where.values()]).all(axis=1)]
        if table.empty:
            return None
        rows[name] = table
    return rows


def _joined(name: str, asked: Study, held: Mapping[str, Cells]) -> pd.DataFrame:
    """A table of the rows of all parts, in the order of the study."""
    rows = [held[part.name][name] for part in asked.parts if name in held.get(part.name, {})]
    if name == asked.wide:
        return pd.concat([each.set_index("group") for each in rows], axis=1).reset_index()
    if any(set(part.where) <= set(rows[0].columns) for part in asked.parts):
        return pd.concat(rows, ignore_index=True)
    return rows[0]


def _save(
    asked: Study, job: Job, held: dict[str, Cells], origins: dict[str, dict], part: Part, seconds: float, about: Any
) -> None:
    """Write the tables of a part that has been made, with their provenance."""
    counts = {"parts": {"expected": len(asked.parts), "finished": len(held)}}
    for name in held[part.name]:
        earlier = origins.get(name, {})
        hours = {"hours": round(earlier.get("hours", 0) + seconds / 3600, 6)}
        common = provenance(job.profile, job.device) | counts | hours | {"recipes": dict(asked.recipes)}
        if earlier.get("recipes", common["recipes"]) != common["recipes"]:
            common["earlier_recipes"] = earlier["recipes"]
        origins[name] = earlier | common | asked.origin | dict(about)
    names = {name: None for each in held.values() for name in each}
    save_tables({name: (_joined(name, asked, held), origins[name] | counts) for name in names}, job.folder)


def _as_text(table: pd.DataFrame) -> pd.DataFrame:
    """A table with its cells as they are written."""
    return table.astype(object).apply(lambda column: column.map(_cell)).astype(str)


def _cell(value: Any) -> str:
    if isinstance(value, float | np.floating):
        return "" if np.isnan(value) else f"{value:.6g}"
    return "" if value is None else str(value)
