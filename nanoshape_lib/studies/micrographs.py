"""How well the particles of whole micrographs are found and named, at settings that the networks are not told."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from nanoshape_lib.micrographs.analysis import analyse
from nanoshape_lib.micrographs.pixel_size import PixelSize, check, consensus, sentences
from nanoshape_lib.micrographs.reading import Micrograph
from nanoshape_lib.networks.evaluation import share_columns
from nanoshape_lib.particles.shapes import GOLD_LATTICE_CONSTANT_A, Shape
from nanoshape_lib.simulation import exit_waves, imaging
from nanoshape_lib.simulation.field import MicrographDesign, field_wave, form_micrograph
from nanoshape_lib.simulation.optics import Camera, Microscope
from nanoshape_lib.studies.ood import auroc
from nanoshape_lib.studies.robustness import AFTER, classifiers
from nanoshape_lib.studies.runner import Job, Made, Part, Study
from nanoshape_lib.trust.classifier import DEVIATIONS, SHOWN, Classifier
from nanoshape_lib.trust.spectral_check import QUANTITIES

# Version of the study, raised when micrographs, or what is found in them, change; see `paths.cache_key`.
RECIPE = 1
GOLD, FOUR = "micrographs", "metals"
METALS, METALS_SEED = ("Au", "Pt", "Pd", "Cu"), 5000
KEYS = ["metal", "micrograph"]
LATTICE = QUANTITIES.index("lattice")
TILES, PARTICLES, DOSE_E_A2 = 4, 12, 300.0
BLOCKS = (6, 7)  # the films of the test set
CAMERAS = (512, 640, 800, 1024, 1280)
NEAR_A = 20.0


def draw_design(seed: int, particles: int = PARTICLES, tiles: int = TILES) -> MicrographDesign:
    """A micrograph of dose 300 e/Å² at settings drawn at random; none of them is the design's of the training set.

    Defocus 40 to 250 Å on either side, Cs within 15 µm, focal spread 20 to 45 Å, convergence 0.1 to 0.4 mrad, the
    camera's half-width 0.25 to 0.7, pixels of 0.4 to 1.0 Å, an illumination that falls off, and hits of x-rays.
    """
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(3,)))
    pixels = int(rng.choice(CAMERAS)) * tiles // TILES
    lens = {"Cs_A": (-150e3, 150e3), "focal_spread_A": (20.0, 45.0), "convergence_mrad": (0.1, 0.4)}
    microscope = Microscope(**{name: rng.uniform(*limits) for name, limits in lens.items()})
    size_A, mtf_c2 = 128.0 * tiles / pixels, rng.uniform(0.25, 0.7)
    return MicrographDesign(
        seed=seed,
        tiles=tiles,
        particles=particles,
        block=int(rng.choice(BLOCKS)),
        defocus_A=rng.choice([-1, 1]) * rng.uniform(40.0, 250.0),
        microscope=microscope,
        camera=Camera(pixels=pixels, pixel_size_A=size_A, dose_e_A2=DOSE_E_A2, mtf_c2=mtf_c2),
        fidelity="standard",
        slope=tuple(rng.uniform(-0.15, 0.15, 2)),
        spikes=int(rng.integers(60)),
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

    Returns one row a network and a particle: ``network``, ``label`` (-1: nothing is there), ``size_A``, ``found`` (a
    box that the edge does not cut has its centre within 20 Å), ``predicted`` (a label, -1: not found), ``set_size``,
    ``known``, ``ood_score`` and the columns ``shown_`` of :meth:`nanoshape_lib.trust.classifier.Classifier.classify`;
    and the pixel size from rings ``ring_A`` with its uncertainty ``ring_sd_A``, empty if there is none.
    """
    truth, titles, rows = micrograph.truth, [shape.title for shape in Shape], []
    assert truth is not None and micrograph.pixel_size_A is not None
    particles = truth[["label", "size_A"]].to_dict("records")
    for name, classifier in classifiers.items():
        analysis = analyse(micrograph, classifier)
        said, ring = analysis.table, analysis.ring
        away = micrograph.pixel_size_A * np.hypot(
            *(truth[axis].to_numpy()[:, None] - said[axis].to_numpy() for axis in ("row", "column"))
        )
        owner = np.where(away.min(axis=0) < NEAR_A, away.argmin(axis=0), -1)
        about: dict[str, Any] = {"network": name}
        about |= {} if ring is None else {"ring_A": ring.pixel_size_A, "ring_sd_A": ring.uncertainty_A}
        taken: set[int] = set()
        for place in away.min(axis=0).argsort():
            particle, answer = int(owner[place]), said.iloc[place]
            # A second box on one particle is a find that is none.
            real = particle >= 0 and particle not in taken
            taken.add(particle)
            rows.append(
                about
                | (particles[particle] if real else {"label": -1, "size_A": np.nan})
                | {"found": True, "predicted": titles.index(answer["predicted"]), "known": answer["known"]}
                | {"set_size": answer["set"].count("|") + bool(answer["set"])}
                | {column: answer[column] for column in ("ood_score", *SHOWN, *DEVIATIONS)}
            )
        for particle in set(range(len(particles))) - taken:
            rows.append(about | particles[particle] | {"found": False, "predicted": -1, "set_size": 0, "known": False})
    return pd.DataFrame(rows)


def micrographs(job: Job) -> Study:
    """The study of whole simulated micrographs: of gold, named by both networks, and of four metals, named by one.

    Its tables ``micrographs`` and ``metals`` are as of :func:`name_particles`, with ``metal``, ``micrograph``,
    ``defocus_A``, ``pixel_size_A``, ``Cs_A`` and ``mtf_c2``. The same particles are taken in each metal, with the same
    settings.
    """
    profile = job.profile
    networks, origin = classifiers(job)

    def part(table: str, metal: str, number: int) -> Part:
        def make() -> Made:
            design = draw_design(number).model_copy(update={"metal": metal, "fidelity": profile.dataset.fidelity})
            named = name_particles(take(design), networks if table == GOLD else {AFTER: networks[AFTER]})
            named = named.assign(**where, defocus_A=design.defocus_A, pixel_size_A=design.camera.pixel_size_A)
            return Made({table: named.assign(Cs_A=design.microscope.Cs_A, mtf_c2=design.camera.mtf_c2)})

        where: dict[str, Any] = {"metal": metal, "micrograph": number}
        return Part(f"{table} {metal} {number}", where, (table,), make)

    seed, numbers = 10_000 * profile.dataset.seed, range(profile.robustness.micrographs)
    parts = [part(GOLD, "Au", seed + number) for number in numbers]
    parts += [part(FOUR, metal, seed + METALS_SEED + number) for metal in METALS for number in numbers]
    origin |= {"particles": PARTICLES, "dose_e_A2": DOSE_E_A2}
    recipes = {"exit waves": exit_waves.RECIPE, "images": imaging.RECIPE, "micrographs": RECIPE}
    depends = lambda profile: (profile.dataset.fidelity, profile.dataset.seed)  # noqa: E731
    return Study(parts, depends, origin, recipes, own="micrographs")


def shares(table: pd.DataFrame) -> pd.DataFrame:
    """Of each network: particles found; of those right, wrong and refused; and finds that are no particle.

    Columns: ``network``, ``particles``, ``found``, ``right``, ``wrong`` and ``refused`` as shares, each with the ends
    ``_low`` and ``_high`` of its 95 % Wilson interval, and ``false_finds``, a number.
    """
    rows = []
    for network, part in table.groupby("network", sort=False):
        real = part[part["label"] >= 0]
        found = real[real["found"]]
        known, right = found["known"].astype(bool), found["predicted"] == found["label"]
        rows.append(
            {"network": network, "particles": len(real)}
            | share_columns("found", real["found"])
            | share_columns("right", known & right)
            | share_columns("wrong", known & ~right)
            | share_columns("refused", ~known)
            | {"false_finds": int((part["label"] < 0).sum())}
        )
    return pd.DataFrame(rows)


def found_particles(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of a table of micrographs whose particle was found; others were missed, or are no particle."""
    return table[table["found"] & (table["label"] >= 0)]


def each_micrograph(table: pd.DataFrame) -> pd.DataFrame:
    """What the particles of each micrograph show together.

    The table is of :func:`micrographs`, with one network. Columns: ``metal``, ``micrograph``, ``pixel_size_A``;
    ``lattice_A`` and ``uncertainty_A``, from rings where ``ring`` is true and else from the spectral check;
    ``surprise``, the greatest of the three of :class:`~nanoshape_lib.micrographs.pixel_size.Consensus`; and whether the
    report says (``said``) that it is unusual.
    """
    rows = []
    for (metal, number), part in found_particles(table).groupby(KEYS, sort=False):
        about = part.iloc[0]
        pixel_A, ring_A, ring_sd_A = map(float, about[["pixel_size_A", "ring_A", "ring_sd_A"]])
        ring = PixelSize(ring_A, ring_sd_A, {}) if np.isfinite(ring_A) else None
        found = consensus(part, pixel_A, ring)
        said = sentences(found, pixel_A, "") or (ring is not None and check(ring, pixel_A, ""))
        lattice_A = GOLD_LATTICE_CONSTANT_A * float(np.exp(found.logarithms[LATTICE]))
        rows.append(
            {"metal": metal, "micrograph": number, "pixel_size_A": pixel_A, "lattice_A": lattice_A}
            | {"uncertainty_A": lattice_A * float(found.uncertainties[LATTICE]), "ring": ring is not None}
            | {"surprise": float(found.surprises.max()), "said": bool(said)}
        )
    return pd.DataFrame(rows)


def told_by_count(table: pd.DataFrame, counts: Sequence[int] = (1, 2, 4, 8)) -> pd.DataFrame:
    """How well each metal is told from gold by so many particles of a micrograph together, and by the whole of it.

    The score is the greatest surprise. Particles are grouped at random, and each serves once; the rings need the whole
    field, and serve only there. The table is of :func:`micrographs`, with one network and gold among the metals.

    Columns: ``metal``, ``particles`` (in the order asked for, and 0 for all and the rings), ``auroc`` with its 95 %
    interval ``low`` to ``high`` over micrographs, and ``micrographs``, those of the metal.
    """
    found = found_particles(table).sample(frac=1, random_state=np.random.default_rng(0))
    fewest = int(found.groupby(KEYS).size().min())
    scores: dict[tuple[int, str], list[list[float]]] = {}
    for (metal, _), part in found.groupby(KEYS, sort=False):
        for count in counts:
            groups = [part.iloc[first : first + count] for first in range(0, fewest - count + 1, count)]
            surprises = [float(consensus(group, 1.0).surprises.max()) for group in groups]
            scores.setdefault((count, str(metal)), []).append(surprises)
    for metal, part in each_micrograph(table).groupby("metal", sort=False):
        scores[0, str(metal)] = part[["surprise"]].to_numpy().tolist()
    rows = []
    for (count, metal), others in scores.items():
        if metal != "Au":
            interval = auroc(np.array(scores[count, "Au"]), np.array(others))
            rows.append((metal, count, *interval, len(others)))
    return pd.DataFrame(rows, columns=["metal", "particles", "auroc", "low", "high", "micrographs"])
