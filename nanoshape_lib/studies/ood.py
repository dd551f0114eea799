"""How far a network can be trusted: its calibration file, and the tables of coverage and of strangers told apart."""

from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from nanoshape_lib.datasets.design import SPLITS, DatasetDesign, Split, SplitDesign
from nanoshape_lib.datasets.exposures import Draw, as_designed, as_ranged, expose
from nanoshape_lib.datasets.generation import generate
from nanoshape_lib.datasets.images import ImageSet
from nanoshape_lib.datasets.store import Store
from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.networks import features
from nanoshape_lib.networks.evaluation import calibration_error, predictions_table
from nanoshape_lib.networks.features import Views, look
from nanoshape_lib.networks.models import load_weights
from nanoshape_lib.particles.shapes import Shape
from nanoshape_lib.particles.structure_factor import share_in_phase
from nanoshape_lib.paths import cache_folder, cache_key, file_sha256
from nanoshape_lib.simulation.devices import hardware
from nanoshape_lib.simulation.film import BLOCKS
from nanoshape_lib.simulation.ranges import Ranges
from nanoshape_lib.studies.ood_tables import Seen, coverage_table, novelty_table
from nanoshape_lib.studies.results import RESULTS, save_images_of, save_results
from nanoshape_lib.studies.runner import Job, Made, Part, Study
from nanoshape_lib.studies.trainings import IMAGES, WAVES, prepared_store
from nanoshape_lib.trust import ood_kinds, outlier_training, spectral_training, strained, weighing
from nanoshape_lib.trust.conformal import calibrate, save_trust
from nanoshape_lib.trust.fitting import (
    Sizes,
    exposed_views,
    kept,
    learned_matter_check,
    learned_spectral_check,
    weighed,
)
from nanoshape_lib.trust.ood import COMPONENTS, Novelty
from nanoshape_lib.trust.outlier_exposure import shape_values
from nanoshape_lib.trust.outlier_training import fit_odds

# Versions of the steps that are kept; see `paths.cache_key`.
TRUST_WAVES = WAVES | {
    "strained waves": strained.RECIPE,
    "exposed waves": outlier_training.RECIPE,
    "kinds": ood_kinds.RECIPE,
}
TRUST_CHECK = IMAGES | TRUST_WAVES | {"spectral check": spectral_training.RECIPE}
TRUST = TRUST_CHECK | {"features": features.RECIPE, "weighing": weighing.RECIPE}
PIXEL_ERROR = 0.01
REFERENCES = 100
METALS = ("platinum", "palladium", "copper")
FRINGES = 0.25
"""A particle shows fringes if so many of its atoms scatter in phase, see `particles.structure_factor`."""


def sample(store: Store, split: Split, waves: int, series: int, draw: Draw, seed: int) -> ImageSet:
    """Focal series of the first waves of a split, at most those there are, each of so many images."""
    waves = min(waves, store.design.records(split))
    table, rng = store.table(split).iloc[:waves], np.random.default_rng(seed)
    images, defoci = [], []
    for index in tqdm(range(waves), desc=f"{split} images", unit="wave"):
        settings, wave = draw(series, rng), store.waves(split, index, index + 1)[0]
        images.append(expose(wave, settings, store.design, rng, store.design.camera.pixels))
        defoci += [setting.defocus_A for setting in settings]
    rows = table.iloc[np.repeat(np.arange(waves), series)].reset_index(drop=True)
    return ImageSet(torch.cat(images), rows.assign(defocus_A=defoci))


def calibration_store(design: DatasetDesign, waves: int, folder: Path) -> Store:
    """A store whose validation split has so many waves or the next fewer, of none of which a network knows.

    They are on all films that the design leaves aside, at orientations of their own: a network and its checks were
    chosen on those of the design's validation set, and what is measured on one film alone differs from others.

    Raises
    ------
    NanoshapeError
        If the design leaves no film aside.
    """
    aside = sorted(set(range(BLOCKS)).difference(*(design.split(split).blocks for split in SPLITS)))
    if not aside:
        raise NanoshapeError(f"the design uses all {BLOCKS} blocks of carbon, but must leave one aside to calibrate on")
    orientations = max(1, waves // len(Shape) // len(design.sizes_A))
    splits = {split: design.split(split).model_copy(update={"orientations": 1}) for split in SPLITS}
    splits["validation"] = SplitDesign(orientations=orientations, blocks=tuple(aside))
    design = design.model_copy(update=splits | {"seed": design.seed + 2})
    return generate(design, folder / f"calibration-{cache_key('waves', WAVES, design=design)}.zarr", check=False)


def by_fringes(kind: str, seen: Seen, design: DatasetDesign) -> dict[str, Seen]:
    """Strangers of a kind apart: those whose lattice shows fringes in the direction of the beam, and the others."""
    groups = seen.images.table["group"].to_numpy()
    shares = [
        share_in_phase(ood_kinds.make_scene(kind, design, index).particle.positions)
        for index in tqdm(np.unique(groups), desc=f"fringes, {kind}", unit="particle")
    ]
    shown = np.array(shares)[groups] > FRINGES
    parts = {f"{kind}, fringes": shown, f"{kind}, none": ~shown}
    return {name: seen.take(np.flatnonzero(rows)) for name, rows in parts.items() if rows.any()}


def trust_study(
    weights: Path,
    store: Store,
    cache: Path,
    folder: Path = RESULTS,
    draw: Draw | None = None,
    sizes: Sizes = Sizes(),  # noqa: B008
    device: str = "cpu",
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Calibrate a network, write ``NAME.trust.safetensors`` beside it, and measure how far it can be trusted.

    Nothing but the reported numbers is learned from the test set and from the strangers. What is slow is kept in
    the cache, step by step: an interrupted study goes on from there.

    Parameters
    ----------
    weights
        The weights file.
    store
        The exit waves whose splits the network was trained on.
    cache
        Folder for what is kept; several networks may share it.
    folder
        Where ``trust_NAME_novelty`` and ``trust_NAME_coverage`` go.
    draw
        Gives the settings of images as the network knows them, strangers' too; by default the design's.
    sizes
        How much of everything.
    device
        Where the check's images are formed and it learns: ``cpu``, ``cuda`` or ``cuda:N``.

    Returns
    -------
    novelty, coverage
        See :func:`novelty_table` and :func:`coverage_table`.
    """
    draw, series = draw or as_designed(store.design), sizes.series
    network, card = load_weights(weights)
    digest, settings = file_sha256(weights), draw(3, np.random.default_rng(0))
    asked = {"design": store.design, "sizes": sizes, "settings": settings}
    shared = cache / f"waves-{cache_key('trust waves', TRUST_WAVES, design=store.design)}"
    checked = cache / f"check-{weights.stem}-{cache_key('spectral check', TRUST_CHECK, **asked)}"
    own = cache / f"{weights.stem}-{cache_key('trust', TRUST, weights=digest, **asked)}"

    def seen(name: str, images: ImageSet) -> Seen:
        views = kept(
            own / f"{name.replace('/', ' per ')}.npz", lambda: vars(look(network, images.images, progress=name))
        )
        return Seen(images, Views(**views))

    splits: tuple[tuple[Store, Split, int, int], ...] = (
        (store, "train", sizes.known, 1),
        (calibration_store(store.design, sizes.held, cache), "validation", sizes.held, series),
        (store, "test", sizes.test, series),
    )
    known, held, test = (
        seen(split, sample(waves, split, count, images, draw, seed))
        for seed, (waves, split, count, images) in enumerate(splits)
    )

    design = store.design.model_copy(update={"seed": store.design.seed + 1})
    kinds = {
        kind: seen(
            kind,
            ood_kinds.make_images(
                kind, *ood_kinds.make_waves(kind, design, sizes.strangers, shared), design, series, draw
            ),
        )
        for kind in ood_kinds.KINDS
    }

    check, check_hardware = learned_spectral_check(store.design, draw, sizes, shared, checked, device)
    exposed = exposed_views(network, check, store.design, draw, sizes, shared, own)
    shape_check = fit_odds(shape_values(exposed.views), exposed.kinds > 0)
    matter_check = learned_matter_check(network, check, exposed, store.design, draw, sizes, shared, own)
    others = weighed(network, store.design, draw, sizes, shared, own)
    known_labels, labels = (each.images.table["label"].to_numpy(np.int64) for each in (known, held))
    others_known = exposed.views.features[exposed.kinds == 0]
    novelty = Novelty.fit(known.views, known_labels, others_known, shape_check, matter_check, check)
    held, test, others = (each.measured(novelty) for each in (held, test, others))
    unlike = others.images.table["kind"].to_numpy()
    trust = calibrate(novelty, held.views.logits, held.values, labels, others.values, unlike, series)
    save_trust(trust, weights)

    kinds = {kind: each.measured(novelty) for kind, each in kinds.items()}
    parted: dict[str, Seen] = {}
    for kind, each in kinds.items():
        parted |= {kind: each} | (by_fringes(kind, each, design) if kind in METALS else {})
    told = novelty_table(trust, test, parted, series)
    coverage = coverage_table(trust, held, test, kinds, series)
    logits, about = test.views.logits, test.images.table
    origin = {
        "weights": weights.name,
        "weights_sha256": digest,
        "architecture": card["architecture"],
        "sizes": sizes._asdict(),
        "temperature": trust.temperature,
        "component_weights": {
            count: dict(zip(COMPONENTS, each.rarity.weights.round(3).tolist(), strict=True))
            for count, each in trust.calibrations.items()
        },
        "calibration_error_one_view": calibration_error(predictions_table(about, logits[:, 0], trust.temperature)),
        "calibration_error_averaged": calibration_error(
            predictions_table(about, logits.mean(axis=1), trust.temperature)
        ),
        "accuracy_one_view": float((logits[:, 0].argmax(axis=1) == about["label"]).mean()),
        "accuracy_averaged": float((logits.mean(axis=1).argmax(axis=1) == about["label"]).mean()),
        "hardware": hardware(),
        "check_hardware": check_hardware,
        "versions": {name: version(name) for name in ("nanoshape_lib", "torch", "numpy")},
        "recipes": TRUST,
    }
    for name, table in (("novelty", told), ("coverage", coverage)):
        save_results(f"trust_{weights.stem}_{name}", table, origin, folder)
    return told, coverage


def trust(job: Job) -> Study:
    """Calibrate the six-block network and the one trained on with ranges, each for settings like those of its training.

    Pixels of the second are up to 1 % longer or shorter than believed: the images it was trained with are not held to
    that, but a pixel size that is further off is to be noticed. Some of its training images are kept as
    ``reference_images``.
    """
    cache = cache_folder() / "trust" / job.profile.name
    ranged = as_ranged(Ranges(pixel_error=(-PIXEL_ERROR, PIXEL_ERROR)))

    def part(name: str, draw: Draw | None) -> Part:
        def make() -> Made:
            file, store = job.weights / f"{name}.safetensors", prepared_store(job.profile)
            tables = trust_study(file, store, cache, job.folder, draw, device=job.device)
            return Made(dict(zip(named, tables, strict=True)))

        named = (f"trust_{name}_novelty", f"trust_{name}_coverage")
        return Part(name, {"network": name}, named, make)

    def references() -> Made:
        images = sample(prepared_store(job.profile), "train", REFERENCES, 1, ranged, seed=3)
        save_images_of("reference_images", images, job.folder)
        return Made({"reference_images": images.table})

    parts = [part("cnn6", None), part("cnn6_ranges", ranged)]
    parts.append(Part("references", {"network": "references"}, ("reference_images",), references))
    return Study(parts, lambda profile: profile.dataset, recipes=TRUST)
