"""How far a network can be trusted: its calibration from scratch, and tables of coverage and of OOD scores by kind."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import nn
from tqdm import tqdm

from nanoshape_lib.datasets.design import SPLITS, DatasetDesign, Split, SplitDesign
from nanoshape_lib.datasets.generation import generate
from nanoshape_lib.datasets.images import Draw, ImageSet, as_designed, as_ranged
from nanoshape_lib.datasets.store import Store
from nanoshape_lib.errors import NanoshapeError, OutOfTime
from nanoshape_lib.networks import features
from nanoshape_lib.networks.evaluation import accuracy_interval, calibration_error, predictions_table
from nanoshape_lib.networks.features import Views, look
from nanoshape_lib.networks.models import load_weights
from nanoshape_lib.particles.shapes import Shape
from nanoshape_lib.particles.specimen import visible_structure_factor
from nanoshape_lib.paths import cache_folder, cache_key, file_sha256, replacing
from nanoshape_lib.simulation.film import BLOCKS
from nanoshape_lib.simulation.optics import Ranges
from nanoshape_lib.studies.profiles import Profile
from nanoshape_lib.studies.results import save_images_of
from nanoshape_lib.studies.runner import Job, Made, Part, Study
from nanoshape_lib.studies.trainings import IMAGES, WAVES, prepared_store
from nanoshape_lib.trust import outlier_exposure as outliers
from nanoshape_lib.trust.classifier import Judgement, judge
from nanoshape_lib.trust.conformal import SCALING_SHARE, SERIES, Trust, calibrate, mass_above, save_trust
from nanoshape_lib.trust.ood import SCORES, Heads
from nanoshape_lib.trust.outlier_exposure import KINDS
from nanoshape_lib.trust.spectral_check import SpectralCheck, SpectralEstimate, fit_check

Arrays = dict[str, np.ndarray]

RECIPE = 1
OOD_WAVES = WAVES | {"ood": RECIPE}
OOD = IMAGES | OOD_WAVES | {"features": features.RECIPE}
"""Versions of the steps that are kept; see `paths.cache_key`."""
CHUNK = 200
RANGED = Ranges(pixel_error=(-0.01, 0.01))
"""What the network that was trained on with ranges is held to: a pixel size that is further off is to be noticed."""
REFERENCES = 100
CAMERAS, SHARE_USUAL_PIXEL, IMAGES_PER_WAVE = (100, 168), 0.4, 6
METALS = ("platinum", "palladium", "copper")
FRINGES = 0.25
"""A particle shows fringes if so many of its atoms scatter in phase, see `visible_structure_factor`."""
COVERAGE, ALL = 0.95, "all together"
BARS = dict.fromkeys(
    ("bare carbon", "overlapping pair", *METALS, "pixel 0.80 Å", "pixel 0.90 Å", "pixel 1.10 Å", "pixel 1.21 Å"), 0.95
) | dict.fromkeys(("Marks decahedron", "truncated cube"), 0.85)
"""The AUROC that is asked for."""


class Sizes(NamedTuple):
    """Exit waves of calibration, test, each kind and the heads, images of a series, epochs of the spectral check.

    The head of the shape learns from ``decoys`` waves, every other one of a known particle; the spectral check from
    ``strained`` ones; the head of the matter from the known of the former and from the next ``matter`` strained ones.
    """

    held: int = 6000
    test: int = 3200
    kinds: int = 100
    decoys: int = 7000
    strained: int = 10_500
    matter: int = 7200
    series: int = 4
    epochs: int = 38

    @classmethod
    def of(cls, profile: Profile) -> "Sizes":
        """The whole for the paper's 10,000 training waves, and in proportion for fewer."""
        share = min(1.0, profile.dataset.records("train") / 10_000)
        return cls(**{name: max(10, round(share * each)) for name, each in cls()._asdict().items() if each >= 100})


class Scored(NamedTuple):
    """Series of images: what is known of each image, logits (N, symmetries, 5), and what the heads measure."""

    about: pd.DataFrame
    logits: np.ndarray
    measured: Arrays

    def judged(self, trust: Trust, count: int) -> Judgement:
        """What is said of so many images at a time."""
        return judge(trust, self.logits, self.measured, np.arange(len(self.about)) // count, COVERAGE)


@dataclass(frozen=True)
class Fitting:
    """The calibration of one network, each step of which is kept in files, so that it goes on where it stopped.

    The network was trained on the splits of the ``store``; it knows images at the design's settings, or at settings
    drawn from ``ranges``. Several networks may share the folder ``cache``. After the ``deadline``, a value of
    ``time.monotonic()`` [s], no further step begins.
    """

    weights: Path
    store: Store
    ranges: Ranges | None
    sizes: Sizes
    cache: Path
    device: str = "cpu"
    deadline: float = math.inf

    @cached_property
    def network(self) -> nn.Module:
        """The network, on the device."""
        return load_weights(self.weights)[0].to(self.device)

    @property
    def draw(self) -> Draw:
        """Gives the settings of a series."""
        return as_ranged(self.ranges) if self.ranges else as_designed(self.store.design)

    @property
    def kinds_design(self) -> DatasetDesign:
        """The design with other random numbers, for particles that are none of the data set's."""
        return self.store.design.model_copy(update={"seed": self.store.design.seed + 1})

    def kept(self, name: str, numbers: range, make: Callable[[range], Arrays], own: bool = True) -> Arrays:
        """Arrays made for some numbers, chunk by chunk and each in a file, for this network alone or for all."""
        key = cache_key("ood waves", OOD_WAVES, design=self.store.design)
        if own:
            about = {"weights": file_sha256(self.weights), "ranges": self.ranges, "sizes": self.sizes}
            key = cache_key("ood", OOD, design=self.store.design, **about)
        folder, parts = self.cache / key, []
        for first in range(numbers.start, numbers.stop, CHUNK):
            chunk = range(first, min(first + CHUNK, numbers.stop))
            path = folder / f"{name.replace('/', ' per ')}-{chunk.start}-{chunk.stop}.npz"
            if not path.exists():
                if time.monotonic() > self.deadline:
                    raise OutOfTime(f"{path} is not made yet; the same command goes on")
                with replacing(path) as unfinished:
                    np.savez(unfinished, **make(chunk))  # type: ignore[arg-type]
            with np.load(path) as file:
                parts.append(dict(file))
        return {each: np.concatenate([part[each] for part in parts]) for each in parts[0]}

    def waves(self, name: str, numbers: range) -> Arrays:
        """Exit waves of decoys, of strained particles or of a kind, and what is known ``about`` each."""
        if name in KINDS:
            name = next(each for each, kind in KINDS.items() if kind.stream == KINDS[name].stream)
            scene = partial(outliers.kind_scene, KINDS[name], self.kinds_design)
        else:
            scene = partial(getattr(outliers, f"{name}_scene"), self.store.design)
        return self.kept(name, numbers, partial(outliers.make_waves, scene, self.store.design), own=False)

    def series(self, name: str, chunk: range) -> ImageSet:
        """Images of some of these waves at drawn settings, and with what makes the kind."""
        kind = KINDS.get(name, KINDS["known"])
        settings = lambda rng: kind.change(self.draw(self.sizes.series, rng))  # noqa: E731
        waves = self.waves(name, chunk)["waves"]
        return outliers.make_series(waves, self.store.design, settings, (chunk.start, 3), kind.camera_pixels)

    def spectral_check(self) -> SpectralCheck:
        """The spectral check, learned from images with pixels of 0.76 to 1.28 Å, many of 1 Å."""
        usual = self.store.design.camera.pixels

        def images(chunk: range) -> Arrays:
            strained, rng = self.waves("strained", chunk), np.random.default_rng((chunk.start, 1))
            rows = np.repeat(np.arange(len(chunk)), IMAGES_PER_WAVE)
            drawn = 2 * rng.integers(CAMERAS[0] // 2, CAMERAS[1] // 2 + 1, len(rows))
            pixels = np.where(rng.random(len(rows)) < SHARE_USUAL_PIXEL, usual, drawn)
            waves, draw, seed = [strained["waves"][row] for row in rows], partial(self.draw, 1), (chunk.start, 2)
            made = outliers.make_series(waves, self.store.design, draw, seed, pixels.tolist(), self.device)
            (lattice, element), size = strained["about"][rows].T, np.log(usual / pixels)
            truth = np.stack([size, lattice - size, element], axis=1)
            return {"images": made.images.numpy(), "truth": truth.astype(np.float32)}

        def learn(_: range) -> Arrays:
            given = self.kept("spectral images", range(self.sizes.strained), images)
            check = fit_check(torch.as_tensor(given["images"]), given["truth"], self.sizes.epochs, device=self.device)
            return {name: each.numpy()[None] for name, each in check.state_dict().items()}

        state, check = self.kept("spectral check", range(1), learn), SpectralCheck()
        check.load_state_dict({name: torch.as_tensor(each[0]) for name, each in state.items()})
        return check.eval()

    @cached_property
    def heads(self) -> Heads:
        """The networks behind the scores, learned from decoys and from strained particles."""
        check = self.spectral_check()

        def seen(name: str, numbers: range) -> Arrays:
            def look_at(chunk: range) -> Arrays:
                images, about = self.series(name, chunk).images, self.waves(name, chunk)["about"]
                other = np.repeat((about != 0).any(axis=1), self.sizes.series)
                return vars(look(self.network, images)) | check.estimate(images)._asdict() | {"other": other}

            return self.kept(f"features of {name}", numbers, look_at)

        def views(found: Arrays) -> Views:
            return Views(**{name: found[name] for name in Views.__dataclass_fields__})

        first, last = self.sizes.strained, self.sizes.strained + self.sizes.matter
        decoy, strained = seen("decoy", range(self.sizes.decoys)), seen("strained", range(first, last))
        matter = {name: np.concatenate([each[~decoy["other"]], strained[name]]) for name, each in decoy.items()}
        shown = SpectralEstimate(*(matter[name] for name in SpectralEstimate._fields))
        return Heads(
            outliers.fit_head(outliers.shape_inputs(views(decoy)), decoy["other"]),
            outliers.fit_head(outliers.matter_inputs(views(matter), shown), matter["other"]),
            check,
        )

    def scored(self, name: str, about: pd.DataFrame, images: Callable[[range], ImageSet]) -> Scored:
        """What is made of a series of images of each particle, a row of ``about``."""

        def score(chunk: range) -> Arrays:
            made = images(chunk).images
            views = look(self.network, made, progress=name)
            return {"logits": views.logits} | self.heads.measure(views, made)

        measured, rows = self.kept(name, range(len(about)), score), np.repeat(np.arange(len(about)), self.sizes.series)
        return Scored(about.iloc[rows].reset_index(drop=True), measured.pop("logits"), measured)

    def scored_split(self, store: Store, split: Split, waves: int) -> Scored:
        """The first waves of a split, at most those there are."""
        images = partial(split_images, store, split, partial(self.draw, self.sizes.series))
        return self.scored(f"{split} images", store.table(split).iloc[:waves], images)

    def scored_kind(self, name: str) -> Scored:
        """Particles of a kind; their label is -1 if they are none of the five."""
        about = pd.DataFrame(self.waves(name, range(self.sizes.kinds))["about"], columns=["label", "size_A"])
        about = about.astype({"label": int}).assign(group=range(len(about)))
        return self.scored(f"images, {name}", about, partial(self.series, name))


def split_images(store: Store, split: Split, settings: Callable[[np.random.Generator], list], chunk: range) -> ImageSet:
    """Images of some waves of a split at drawn settings, series after series."""
    waves = store.waves(split, chunk.start, chunk.stop)
    waves = np.stack([waves.real, waves.imag], axis=1)
    return outliers.make_series(waves, store.design, settings, (chunk.start, 5, SPLITS.index(split)))


def calibration_store(design: DatasetDesign, waves: int, folder: Path) -> Store:
    """A store whose validation split has so many waves or the next fewer, of none of which a network knows.

    They are on all films that the design leaves aside, at orientations of their own: a network and its heads were
    chosen on those of the design's validation set, and what is measured on one film alone differs from others.
    """
    aside = sorted(set(range(BLOCKS)).difference(*(design.split(split).blocks for split in SPLITS)))
    if not aside:
        raise NanoshapeError(f"the design uses all {BLOCKS} blocks of carbon, but must leave one aside to calibrate on")
    orientations = max(1, waves // len(Shape) // len(design.sizes_A))
    splits = {split: design.split(split).model_copy(update={"orientations": 1}) for split in SPLITS}
    splits["validation"] = SplitDesign(orientations=orientations, blocks=tuple(aside))
    design = design.model_copy(update=splits | {"seed": design.seed + 2})
    return generate(design, folder / f"calibration-{cache_key('waves', WAVES, design=design)}.zarr", check=False)


def by_fringes(name: str, seen: Scored, design: DatasetDesign) -> dict[str, Scored]:
    """Particles of a kind apart: those whose lattice shows fringes in the direction of the beam, and the others."""
    groups = seen.about["group"].to_numpy()
    scenes = (outliers.kind_scene(KINDS[name], design, int(index))[0] for index in np.unique(groups))
    shown = np.array([visible_structure_factor(scene.particle.positions) for scene in scenes])[groups] > FRINGES
    return {
        f"{name}, {part}": Scored(seen.about[rows], seen.logits[rows], {k: v[rows] for k, v in seen.measured.items()})
        for part, rows in (("fringes", shown), ("none", ~shown))
        if rows.any()
    }


def auroc(known: np.ndarray, other: np.ndarray) -> tuple[float, float, float]:
    """Area under the receiver operating characteristic, and the ends of its 95 % interval over groups.

    Both are scores (groups, images of each). The interval is that of DeLong et al. 1988 for groups (Obuchowski 1997).
    """

    def above(scores: np.ndarray, among: np.ndarray) -> np.ndarray:
        """The share of ``among`` below each score, ties by half, as a mean over each group."""
        places = [np.searchsorted(np.sort(among, axis=None), scores, side) for side in ("left", "right")]
        return np.mean(places, axis=(0, 2)) / among.size

    shares = above(other, known), above(known, other)
    area, reach = float(shares[0].mean()), 1.96 * np.sqrt(sum(np.var(each, ddof=1) / len(each) for each in shares))
    return area, max(0.0, area - reach), min(1.0, area + reach)


def ood_table(trust: Trust, test: Scored, kinds: dict[str, Scored], series: int) -> pd.DataFrame:
    """How well each score, and all together, tell each kind from the test particles, from one image and from a series.

    Columns: ``kind``, ``method``, ``images`` (1 or the series), ``auroc`` with its interval ``low`` to ``high``, the
    ``bar`` that is asked for, ``refused``, the share that the limit for 95 % coverage refuses, and ``groups``.
    """
    rows = []
    for count in (1, series):
        usual = test.judged(trust, count)
        for kind, seen in tqdm(kinds.items(), desc="AUROC", unit="kind"):
            judged = seen.judged(trust, count)
            for place, method in enumerate((*SCORES, ALL)):
                scores = (each.ood_score if method == ALL else each.parts[:, place] for each in (usual, judged))
                known, others = (each.reshape(-1, series // count) for each in scores)
                refused = (~judged.members.any(axis=1)).mean() if method == ALL else np.nan
                rows.append((kind, method, count, *auroc(known, others), BARS.get(kind), refused, len(others)))
    columns = ["kind", "method", "images", "auroc", "low", "high", "bar", "refused", "groups"]
    return pd.DataFrame(rows, columns=columns)


def _sets(trust: Trust, held: Scored, asked: Judgement, count: int, series: int) -> dict[str, np.ndarray]:
    """Sets (G, 5) by the method in use and by plain ones, calibrated on the same particles."""
    rng, there = np.random.default_rng(0), held.judged(trust, count)
    used = np.arange(0, len(held.about), count) // series % SCALING_SHARE != 0
    truth, probabilities = held.about["label"].to_numpy()[::count][used], there.probabilities[used]
    groups = trust.calibrations[count].groups

    def level(scores: np.ndarray) -> float:
        right = np.sort(scores[np.arange(len(truth)), truth])
        return float(right[min(int(np.ceil(COVERAGE * (1 + 1 / groups) * len(right))), len(right)) - 1])

    def adaptive(p: np.ndarray) -> np.ndarray:
        return mass_above(p) + rng.random((len(p), 1)) * p

    randomised = adaptive(asked.probabilities) <= level(adaptive(probabilities))
    first = np.eye(len(Shape), dtype=bool)[asked.probabilities.argmax(axis=1)]
    return {
        "refusing": asked.members,
        "least ambiguous": 1 - asked.probabilities <= level(1 - probabilities),
        "adaptive, randomised": randomised,
        "adaptive, never empty": randomised | first,
    }


def coverage_table(trust: Trust, held: Scored, test: Scored, kinds: dict[str, Scored], series: int) -> pd.DataFrame:
    """How often the set for 95 % holds the true shape: on test particles, in parts of these, and under each shift.

    Columns: ``shift``, ``method``, ``images`` of a decision, ``coverage`` with its group-bootstrap interval ``low`` to
    ``high``, ``size``, the mean number of shapes in sets that are not empty, ``empty``, the share of empty ones,
    ``accuracy`` of the first choice, ``accuracy_known`` among the sets that are not empty, ``groups``.
    """
    rows = []
    shifts = {"none": test} | {name: seen for name, seen in kinds.items() if (seen.about["label"] >= 0).all()}
    for shift, seen in tqdm(shifts.items(), desc="coverage", unit="shift"):
        for count in [each for each in SERIES if series % each == 0]:
            about, judged = seen.about.iloc[::count].reset_index(drop=True), seen.judged(trust, count)
            right = judged.probabilities.argmax(axis=1) == about["label"]
            parts = {shift: np.ones(len(about), bool)}
            if shift == "none":
                parts |= {f"none, {shape.title}": (about["label"] == shape).to_numpy() for shape in Shape}
                parts |= {f"none, film {film}": (about["block"] == film).to_numpy() for film in about["block"].unique()}
            for method, members in _sets(trust, held, judged, count, series).items():
                covered = members[np.arange(len(about)), about["label"]]
                for name, chosen in parts.items() if method == "refusing" else [(shift, parts[shift])]:
                    hits = pd.DataFrame({"group": about["group"][chosen], "correct": covered[chosen]})
                    shapes, good = members[chosen].sum(axis=1), right[chosen]
                    filled = shapes > 0
                    size, known = (each[filled].mean() if filled.any() else np.nan for each in (shapes, good))
                    interval, groups = accuracy_interval(hits), hits["group"].nunique()
                    rows.append((name, method, count, *interval, size, 1 - filled.mean(), good.mean(), known, groups))
    columns = ["shift", "method", "images", "coverage", "low", "high", "size", "empty", "accuracy", "accuracy_known"]
    return pd.DataFrame(rows, columns=[*columns, "groups"])


def ood_study(fitting: Fitting) -> Made:
    """Calibrate a network, write ``NAME.trust.safetensors`` beside it, and measure it.

    The tables are ``trust_NAME_ood``, see :func:`ood_table`, and ``trust_NAME_coverage``, see :func:`coverage_table`.
    Nothing but the reported numbers is learned from the test set and from the kinds.
    """
    sizes, series, name = fitting.sizes, fitting.sizes.series, fitting.weights.stem
    aside = calibration_store(fitting.store.design, sizes.held, fitting.cache)
    held = fitting.scored_split(aside, "validation", sizes.held)
    test = fitting.scored_split(fitting.store, "test", sizes.test)
    trust = calibrate(fitting.heads, held.logits, held.measured, held.about["label"].to_numpy(np.int64), series)
    whole = {kind: fitting.scored_kind(kind) for kind in KINDS}
    kinds: dict[str, Scored] = {}
    for kind, seen in whole.items():
        kinds |= {kind: seen} | (by_fringes(kind, seen, fitting.kinds_design) if kind in METALS else {})
    views = {"one_view": test.logits[:, 0], "averaged": test.logits.mean(axis=1)}
    predicted = {view: predictions_table(test.about, each, trust.temperature) for view, each in views.items()}
    about = {
        "particles": {"held": len(held.about) // series, "test": len(test.about) // series},
        "temperature": trust.temperature,
        **{f"calibration_error_{view}": calibration_error(each) for view, each in predicted.items()},
        **{f"accuracy_{view}": float(each["correct"].mean()) for view, each in predicted.items()},
        "sizes": sizes._asdict(),
    }
    tables = {
        f"trust_{name}_ood": ood_table(trust, test, kinds, series),
        f"trust_{name}_coverage": coverage_table(trust, held, test, whole, series),
    }
    save_trust(trust, fitting.weights)
    return Made(tables, about=about)


def ood(job: Job) -> Study:
    """The study of the six-block network and of the one trained on with ranges, each at settings like its training's.

    Pixels of the second are up to 1 % longer or shorter than believed, see :data:`RANGED`. Some of its training images
    are kept as ``reference_images``.
    """
    sizes, cache = Sizes.of(job.profile), cache_folder() / "ood"

    def part(name: str, ranges: Ranges | None) -> Part:
        def make() -> Made:
            store, weights = prepared_store(job.profile), job.weights / f"{name}.safetensors"
            return ood_study(Fitting(weights, store, ranges, sizes, cache, job.device, job.deadline))

        return Part(name, {"network": name}, (f"trust_{name}_ood", f"trust_{name}_coverage"), make)

    def references() -> Made:
        store = prepared_store(job.profile)
        count = min(REFERENCES, store.design.records("train"))
        images = split_images(store, "train", partial(as_ranged(RANGED), 1), range(count))
        save_images_of("reference_images", images, job.folder)
        table = store.table("train").iloc[:count].assign(defocus_A=images.table["defocus_A"])
        return Made({"reference_images": table}, about={"settings": "drawn from ranges"})

    parts = [part("cnn6", None), part("cnn6_ranges", RANGED)]
    parts.append(Part("references", {"network": "references"}, ("reference_images",), references))
    origin = {"weights_sha256": {name: file_sha256(job.weights_file(name)) for name in ("cnn6", "cnn6_ranges")}}
    return Study(parts, lambda profile: profile.dataset, origin, OOD, "ood")
