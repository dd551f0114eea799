"""How well the particles of whole micrographs are found and named, at settings that the networks are not told."""

import itertools
import json
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tifffile
from scipy.stats import binomtest
from tqdm import tqdm

from nanoshape_lib.micrographs.analysis import analyse
from nanoshape_lib.micrographs.reading import Micrograph
from nanoshape_lib.particles.shapes import Shape
from nanoshape_lib.paths import file_sha256
from nanoshape_lib.simulation import exit_waves, imaging
from nanoshape_lib.simulation.devices import hardware
from nanoshape_lib.simulation.field import MicrographDesign, field_wave, form_micrograph
from nanoshape_lib.simulation.optics import Camera, Microscope
from nanoshape_lib.studies.results import RESULTS, load_results, save_results
from nanoshape_lib.trust.classifier import DEVIATIONS, SHOWN, Classifier
from nanoshape_lib.trust.conformal import trust_file

# Version of the study, raised when micrographs, or what is found in them, change; see `paths.cache_key`.
RECIPE = 1
NAME = "micrographs"
METALS, METALS_NAME, METALS_SEED = ("Au", "Pt", "Pd", "Cu"), "metals", 5000
"""Of the micrographs in several metals, which one network names."""
TILES, PARTICLES, DOSE_E_A2 = 4, 12, 300.0
BLOCKS = (6, 7)
"""The films of the test set."""
CAMERAS = (512, 640, 800, 1024, 1280)
DEFOCUS_A, CS_A, SPREAD_A = (40.0, 250.0), (-150e3, 150e3), (20.0, 45.0)
CONVERGENCE_MRAD, MTF_C2, SLOPE, SPIKES = (0.1, 0.4), (0.25, 0.7), 0.15, 60
NEAR_A = 20.0
EXAMPLES: dict[str, tuple[int, tuple[float, ...]]] = {"particles": (1016, ()), "series": (1001, (-120.0, 60.0, 140.0))}
"""The shipped micrographs: the seed of :func:`draw_design` and, of a focal series, the defoci [Å]."""


def draw_design(seed: int, particles: int = PARTICLES, tiles: int = TILES) -> MicrographDesign:
    """A micrograph of dose 300 e/Å² at settings drawn at random; none of them is the design's of the training set.

    Defocus 40 to 250 Å on either side, Cs within 15 µm, focal spread 20 to 45 Å, convergence 0.1 to 0.4 mrad, the
    camera's half-width 0.25 to 0.7, pixels of 0.4 to 1.0 Å, an illumination that falls off, and hits of x-rays.
    """
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(3,)))
    pixels = int(rng.choice(CAMERAS)) * tiles // TILES
    microscope = Microscope(
        Cs_A=rng.uniform(*CS_A), focal_spread_A=rng.uniform(*SPREAD_A), convergence_mrad=rng.uniform(*CONVERGENCE_MRAD)
    )
    camera = Camera(
        pixels=pixels, pixel_size_A=128.0 * tiles / pixels, dose_e_A2=DOSE_E_A2, mtf_c2=rng.uniform(*MTF_C2)
    )
    return MicrographDesign(
        seed=seed,
        tiles=tiles,
        particles=particles,
        block=int(rng.choice(BLOCKS)),
        defocus_A=rng.choice([-1, 1]) * rng.uniform(*DEFOCUS_A),
        microscope=microscope,
        camera=camera,
        fidelity="standard",
        slope=tuple(rng.uniform(-SLOPE, SLOPE, 2)),
        spikes=int(rng.integers(SPIKES)),
    )


def take(design: MicrographDesign) -> Micrograph:
    """The micrograph of a design, with the hits of x-rays."""
    wave, truth = field_wave(design)
    image = form_micrograph(wave, design.defocus_A, design.microscope, design.camera, design.seed, design.slope)
    rng = np.random.default_rng(np.random.SeedSequence(design.seed, spawn_key=(4,)))
    rows, columns = rng.integers(len(image), size=(2, design.spikes))
    image[rows, columns] += rng.uniform(3, 10, design.spikes).astype(np.float32) * image.std()
    return Micrograph(image[None], design.camera.pixel_size_A, "user", f"micrograph {design.seed}", truth=truth)


def name_particles(micrograph: Micrograph, classifiers: Mapping[str, Classifier]) -> pd.DataFrame:
    """What becomes of every particle of a simulated micrograph, and of everything found that is none.

    Returns
    -------
    DataFrame
        One row a network and a particle: ``network``, ``label`` (-1: nothing is there), ``size_A``, ``found`` (a box
        that the edge does not cut has its centre within 20 Å), ``predicted`` (a label, -1: not found), ``set_size``,
        ``known``, ``ood_score`` and the columns ``shown_`` of
        :meth:`nanoshape_lib.trust.classifier.Classifier.classify`; and the pixel size from rings ``ring_A`` with its
        uncertainty ``ring_sd_A``, empty if there is none.
    """
    truth, titles, rows = micrograph.truth, [shape.title for shape in Shape], []
    assert truth is not None and micrograph.pixel_size_A is not None
    for name, classifier in classifiers.items():
        analysis = analyse(micrograph, classifier)
        said, ring = analysis.table, analysis.ring
        away = micrograph.pixel_size_A * np.hypot(
            *(truth[axis].to_numpy()[:, None] - said[axis].to_numpy() for axis in ("row", "column"))
        )
        owner = np.where(away.min(axis=0) < NEAR_A, away.argmin(axis=0), -1)
        about: dict[str, object] = {"network": name}
        if ring is not None:
            about |= {"ring_A": ring.pixel_size_A, "ring_sd_A": ring.uncertainty_A}
        taken: set[int] = set()
        for place in away.min(axis=0).argsort():
            particle, answer = int(owner[place]), said.iloc[place]
            # A second box on one particle is a find that is none.
            real = particle >= 0 and particle not in taken
            taken.add(particle)
            rows.append(
                about
                | {"label": int(truth["label"].iloc[particle]) if real else -1}
                | {"size_A": truth["size_A"].iloc[particle] if real else np.nan}
                | {"found": True, "predicted": titles.index(answer["predicted"]), "known": answer["known"]}
                | {"set_size": answer["set"].count("|") + bool(answer["set"])}
                | {column: answer[column] for column in ("ood_score", *SHOWN, *DEVIATIONS)}
            )
        for particle in set(range(len(truth))) - taken:
            missed = {column: truth[column].iloc[particle] for column in ("label", "size_A")}
            rows.append(about | missed | {"found": False, "predicted": -1, "set_size": 0, "known": False})
    return pd.DataFrame(rows)


def micrograph_study(
    weights: Mapping[str, Path],
    count: int = 40,
    folder: Path = RESULTS,
    seed: int = 0,
    metals: Sequence[str] = ("Au",),
    name: str = NAME,
) -> pd.DataFrame:
    """Take micrographs, find and name their particles, and write a table after each; those it already has are kept.

    Parameters
    ----------
    weights
        Weights files by the names they shall have in the table, their calibrations beside them.
    count
        How many micrographs of each metal, of 12 particles each.
    folder
        Where the table goes.
    seed
        Of the first micrograph.
    metals
        Symbols of the metals; in each, the same particles are taken with the same settings.
    name
        Of the table.

    Returns
    -------
    DataFrame
        See :func:`name_particles`; with ``metal``, ``micrograph``, ``defocus_A``, ``pixel_size_A``, ``Cs_A`` and
        ``mtf_c2``.
    """
    start, result, hours = time.monotonic(), pd.DataFrame(), 0.0
    origin = {
        "particles": PARTICLES,
        "dose_e_A2": DOSE_E_A2,
        "weights": {name: path.name for name, path in weights.items()},
        "trust_sha256": {name: file_sha256(trust_file(path)) for name, path in weights.items()},
        "hardware": hardware(),
        "versions": {name: version(name) for name in ("nanoshape_lib", "torch", "numpy")},
        "recipes": {"exit waves": exit_waves.RECIPE, "images": imaging.RECIPE, "micrographs": RECIPE},
    }
    if (folder / f"{name}.json").is_file():
        earlier, about = load_results(name, folder)
        if all(about.get(key) == origin[key] for key in ("recipes", "trust_sha256")):
            result, hours = earlier, about["hours"]
    have = set(zip(result["metal"], result["micrograph"], strict=True)) if len(result) else set()
    wanted = [each for each in itertools.product(metals, range(seed, seed + count)) if each not in have]
    classifiers = {name: Classifier(path) for name, path in weights.items()}
    for metal, number in tqdm(wanted, desc="micrographs", unit="micrograph"):
        design = draw_design(number).model_copy(update={"metal": metal})
        about = {"metal": metal, "micrograph": number, "defocus_A": design.defocus_A}
        about |= {"pixel_size_A": design.camera.pixel_size_A, "Cs_A": design.microscope.Cs_A}
        table = name_particles(take(design), classifiers)
        result = pd.concat([result, table.assign(**about, mtf_c2=design.camera.mtf_c2)], ignore_index=True)
        done = {"micrographs": len(result.groupby(["metal", "micrograph"]))}
        spent = {"hours": round(hours + (time.monotonic() - start) / 3600, 3)}
        save_results(name, result, origin | done | spent, folder)
    return result


def shares(table: pd.DataFrame) -> pd.DataFrame:
    """Of each network: particles found; of those right, wrong and refused; and finds that are no particle.

    Returns
    -------
    DataFrame
        ``network``, ``particles``, ``found``, ``right``, ``wrong`` and ``refused`` as shares, each with the ends
        ``_low`` and ``_high`` of its 95 % Wilson interval, and ``false_finds``, a number.
    """
    rows = []
    for network, part in table.groupby("network", sort=False):
        real = part[part["label"] >= 0]
        found = real[real["found"]]
        right = found["known"] & (found["predicted"] == found["label"])
        wrong = found["known"] & (found["predicted"] != found["label"])
        row: dict[str, Any] = {"network": network, "particles": len(real)}
        for name, values in (
            ("found", real["found"]),
            ("right", right),
            ("wrong", wrong),
            ("refused", ~found["known"].astype(bool)),
        ):
            low, high = binomtest(int(values.sum()), len(values)).proportion_ci(method="wilson")
            row |= {name: float(values.mean()), f"{name}_low": low, f"{name}_high": high}
        rows.append(row | {"false_finds": int((part["label"] < 0).sum())})
    return pd.DataFrame(rows)


def write_examples(folder: Path) -> None:
    """Write the :data:`EXAMPLES`: TIFF files that name their pixel size, and beside each a table of the truth."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (seed, defoci_A) in EXAMPLES.items():
        design = draw_design(seed)
        wave, truth = field_wave(design)
        defoci_A = defoci_A or (design.defocus_A,)
        images = [
            form_micrograph(wave, defocus_A, design.microscope, design.camera, seed + number, design.slope)
            for number, defocus_A in enumerate(defoci_A)
        ]
        counts = DOSE_E_A2 * design.camera.pixel_size_A**2
        stored = np.clip(np.rint(np.stack(images) * counts), 0, 2**16 - 1).astype(np.uint16)
        tifffile.imwrite(
            folder / f"{name}.tif",
            stored if len(stored) > 1 else stored[0],
            imagej=True,
            resolution=(10 / design.camera.pixel_size_A,) * 2,
            metadata={"unit": "nm", "axes": "TYX" if len(stored) > 1 else "YX"},
        )
        settings = design.model_dump(mode="json", include={"seed", "fidelity", "block", "microscope", "camera"})
        settings["defoci_A"] = defoci_A
        (folder / f"{name}.json").write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
        truth.to_csv(folder / f"{name}.csv", index=False)
