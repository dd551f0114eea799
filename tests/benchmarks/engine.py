"""How fast and how right the simulation is, against the bars set for it.

    python tests/benchmarks/engine.py [--quick] [--output FILE]

Prints a table and writes it as JSON, with the machine that it was measured on: to
``data/results/benchmark.json``, or with ``--quick``, which measures less, to a file beside the generated
data. Everything is measured in one run on one machine; let nothing else run there. Absolute times belong
to that machine, ratios travel better. Five minutes on two cores.
"""

import argparse
import json
import math
import os
import platform
import resource
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import abtem
import numpy as np
import pandas as pd
import pyfftw
import torch
from ase import Atoms

from nanoshape_lib.datasets.design import DatasetDesign, SplitDesign
from nanoshape_lib.datasets.generation import cost, generate, make_record
from nanoshape_lib.datasets.images import make_images, make_pass
from nanoshape_lib.datasets.store import Store, chunks
from nanoshape_lib.networks.models import build_model, forward
from nanoshape_lib.particles.shapes import Shape
from nanoshape_lib.particles.specimen import FIELD_A
from nanoshape_lib.paths import cache_folder
from nanoshape_lib.simulation import validation
from nanoshape_lib.simulation.devices import hardware
from nanoshape_lib.simulation.exit_waves import FIDELITIES, Window, exit_wave, fidelity
from nanoshape_lib.simulation.film import Scene
from nanoshape_lib.simulation.imaging import form_images, intensity_spectrum
from nanoshape_lib.simulation.multislice import multislice
from nanoshape_lib.simulation.optics import focal_spread_modes, intensity_pixels
from nanoshape_lib.studies.profiles import load_profile
from nanoshape_lib.studies.results import RESULTS
from nanoshape_lib.studies.trainings import IMAGES

BATCH = 64
GIBIBYTE = 2**30
CORES = os.cpu_count() or 1
# Each worker meets every film of the training split within these many records.
WARM = 40


class Table:
    """Rows of the benchmark, each with a least or a greatest value that is wanted, or none."""

    def __init__(self) -> None:
        self.rows: list[dict] = []

    def add(self, what: str, value: float | None, unit: str, least: float | None = None, most: float | None = None):
        bar = f"≥ {least:g}" if least is not None else f"≤ {most:g}" if most is not None else ""
        held = None
        if value is not None and bar:
            held = bool(value >= least if least is not None else value <= most)
        self.rows.append({"what": what, "value": value, "unit": unit, "bar": bar, "holds": held})
        print(f"{what:88s} {'-' if value is None else f'{value:.4g}':>9s} {unit:14s} {bar:8s} {held}", flush=True)


def least_seconds(action: Callable[[], object], repeats: int = 5) -> float:
    """Least duration [s] of an action, after one run that is not counted: what else runs can only add to it."""
    action()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def sample(design: DatasetDesign, count: int) -> list[Scene]:
    """Scenes of a design, of different shapes and of sizes from the smallest to the largest."""
    steps = np.round(np.linspace(0, len(design.sizes_A) - 1, count)).astype(int)
    return [make_record(design, "train", n % len(Shape) + len(Shape) * step).scene for n, step in enumerate(steps)]


# ------------------------------------------------------------------ many waves


def small_design(design: DatasetDesign, orientations: int) -> DatasetDesign:
    """A design with other numbers of orientations; as far as there are such records, they are the same ones."""
    fewer = {
        "train": SplitDesign(orientations=orientations, blocks=design.train.blocks),
        "validation": SplitDesign(orientations=1, blocks=design.validation.blocks),
        "test": SplitDesign(orientations=1, blocks=design.test.blocks),
    }
    return design.model_copy(update=fewer)


def completion_times(design: DatasetDesign, workers: int, folder: Path) -> np.ndarray:
    """Simulate a design, and return when [s] each chunk of the training split was sealed, in order."""
    generate(design, folder, workers=workers)
    seals = [folder / chunk.file("seal") for chunk in chunks(design, "train")]
    return np.sort([seal.stat().st_mtime for seal in seals])


def rate(times: np.ndarray, records: int, start: int, stop: int) -> float:
    """Waves per second between two numbers of finished records."""
    each = records / len(times)
    first, last = round(start / each) - 1, round(stop / each) - 1
    return (last - first) * each / float(times[last] - times[first])


def measure_waves(table: Table, paper: DatasetDesign, quick: bool, folder: Path) -> float:
    """Waves per second by one worker and by two, whether their cost grows, and memory; returns the rate of two."""
    design = paper.model_copy(update={"sizes_A": (40, 60)}) if quick else paper
    many, few = (small_design(design, orientations) for orientations in ((12, 12) if quick else (48, 10)))
    total, common = many.records("train"), few.records("train")
    start = time.perf_counter()
    by_two = completion_times(many, 2, folder / "two.zarr")
    seconds = time.perf_counter() - start
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / GIBIBYTE
    by_one = completion_times(few, 1, folder / "one.zarr")
    one, two = (rate(times, n, WARM, common) for times, n in ((by_one, common), (by_two, total)))
    sustained = rate(by_two, total, WARM, total)
    table.add("waves by one process of one thread", one, "waves/s")
    table.add("waves by two processes", sustained, "waves/s")
    table.add("two processes against one, same records", two / one, "times", least=1.7)
    part = (total - WARM) // 5
    growth = rate(by_two, total, WARM, WARM + part) / rate(by_two, total, total - part, total)
    table.add(f"cost of the last fifth of {total} records over the first's", growth, "times", most=1.1)
    everything = sum(many.records(split) for split in ("train", "validation", "test"))
    table.add(
        f"{everything} waves from start to end, with starting processes and films", everything / seconds, "waves/s"
    )
    table.add("largest memory of a worker", memory, "GiB", most=2.0)
    return sustained


def measure_images(table: Table, paper: DatasetDesign, waves_per_second: float, quick: bool, folder: Path) -> None:
    """Images per second after the waves and together with them, and what that means for the paper's data set."""
    store, count, series = Store(folder / "two.zarr"), 20 if quick else 120, len(paper.defoci_A)
    make_images(store, "train", waves=2)
    start = time.perf_counter()
    make_images(store, "train", waves=count)
    images_per_second = count * series / (time.perf_counter() - start)
    start = time.perf_counter()
    turned = make_pass(store, 0, 2, waves=4 * count)
    prepared = len(turned) / (time.perf_counter() - start)
    together = 1 / (1 / (series * waves_per_second) + 1 / images_per_second)
    waves, images, size = cost(paper)
    table.add(
        f"images alone, {len(focal_spread_modes(paper.microscope))} coherent systems each, all cores",
        images_per_second,
        "images/s",
    )
    table.add(f"images with their waves, {series} defoci a wave", together, "images/s", least=25)
    table.add(f"the paper's {waves} waves", waves / waves_per_second / 3600, "hours", most=4)
    table.add(f"the paper's waves and {images} images", images / together / 3600, "hours")
    table.add("size of the paper's waves", size / GIBIBYTE, "GiB", most=6)
    table.add("1,000 turned images prepared ahead on disk (0.03 GiB), all cores", 1000 / prepared, "s")


# ------------------------------------------------------------------ one wave


def whole_cell(scene: Scene, slice_A: float) -> Atoms:
    """Film and particle in one cell of whole slices."""
    atoms = scene.atoms()
    atoms.positions[:, 2] = np.maximum(atoms.positions[:, 2] + scene.film_thickness_A, 1e-3)
    height = math.ceil((atoms.positions[:, 2].max() + 1) / slice_A) * slice_A
    atoms.set_cell([FIELD_A, FIELD_A, height])
    return atoms


def measure_abtem(table: Table, paper: DatasetDesign, waves_per_second: float, quick: bool) -> None:
    """abTEM on film and particle together, on all threads, after its plans are made."""
    grid, energy = fidelity(paper.fidelity), paper.microscope.energy_eV
    effort = "FFTW_ESTIMATE" if quick else "FFTW_MEASURE"
    cells = [whole_cell(scene, grid.slice_A) for scene in sample(paper, 1 if quick else 5)]
    best = math.inf
    for lazy in (False, True):
        options = {"dask.lazy": lazy, "fftw.threads": CORES, "fftw.planning_effort": effort}
        with abtem.config.set(options | {"diagnostics.progress_bar": False}):

            def wave(atoms: Atoms) -> object:
                potential = abtem.Potential(
                    atoms, gpts=grid.pixels, slice_thickness=grid.slice_A, parametrization="kirkland"
                )
                return abtem.PlaneWave(energy=energy).multislice(potential).compute()

            best = min(best, float(np.mean([least_seconds(lambda cell=cell: wave(cell), 1) for cell in cells])))
    table.add(f"abTEM, whole cell, same grid and slices, {CORES} threads", 1 / best, "waves/s")
    table.add("waves by two processes against abTEM", waves_per_second * best, "times", least=5)


def fft_pair_seconds(pixels: tuple[int, int]) -> float:
    """Time [s] of a forward and a backward transform on one thread, by torch or by planned FFTW, whichever is less."""
    wave = torch.randn(*pixels, dtype=torch.complex64)
    by_torch = least_seconds(lambda: torch.fft.ifft2(torch.fft.fft2(wave)), 15)
    here, there = (pyfftw.zeros_aligned(pixels, "complex64") for _ in range(2))
    options = {"axes": (0, 1), "flags": ("FFTW_MEASURE",), "threads": 1, "planning_timelimit": 10}
    plans = pyfftw.FFTW(here, there, **options), pyfftw.FFTW(there, here, direction="FFTW_BACKWARD", **options)
    return min(by_torch, least_seconds(lambda: [plan.execute() for plan in plans], 15))


def measure_floor(table: Table, paper: DatasetDesign, quick: bool) -> None:
    """The whole wave, and its multislice alone, against the Fourier transforms of the propagation."""
    grid, microscope = fidelity(paper.fidelity), paper.microscope
    wave_s, multislice_s, floor_s = 0.0, 0.0, 0.0
    for scene in sample(paper, 2 if quick else 6):
        window = Window.around(scene.particle.positions, grid)
        count = math.ceil((scene.particle.positions[:, 2].max() + 1) / grid.slice_A)
        cell, incident = window.cell(scene.particle, count * grid.slice_A), torch.ones(window.pixels)
        wave_s += least_seconds(lambda scene=scene: exit_wave(scene, microscope, grid))
        multislice_s += least_seconds(
            lambda cell=cell, incident=incident: multislice(cell, incident, microscope.energy_eV, grid.slice_A)
        )
        floor_s += count * fft_pair_seconds(window.pixels)
    table.add(
        "multislice of the particle over its propagation's FFTs alone, one thread", multislice_s / floor_s, "times"
    )
    table.add("the whole exit wave over these FFTs", wave_s / floor_s, "times", most=3)


def measure_cuda(table: Table, paper: DatasetDesign, waves_per_second: float, quick: bool) -> None:
    """A graphics card against two cores, if there is one."""
    ratio = None
    if torch.cuda.is_available():
        scenes = sample(paper, 2 if quick else 8)
        each = [
            least_seconds(lambda scene=scene: exit_wave(scene, paper.microscope, paper.fidelity, "cuda"))
            for scene in scenes
        ]
        ratio = 1 / float(np.mean(each)) / waves_per_second
    what = "a CUDA device against two processes" + ("" if ratio else " (this machine has none)")
    table.add(what, ratio, "times", least=20)


# ------------------------------------------------------------------ images and errors


def training_step(architecture: str) -> Callable[[], object]:
    """One optimiser step on a batch of noise, as in training."""
    model = build_model(architecture).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters())
    images, labels = torch.randn(BATCH, 128, 128), torch.randint(5, (BATCH,))

    def step() -> None:
        torch.nn.functional.cross_entropy(forward(model, images, "cpu").float(), labels).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def measure_formation(table: Table, paper: DatasetDesign) -> None:
    """Forming an image against a training step for one, and against the explicit average, on one thread."""
    microscope, camera = paper.microscope, paper.camera
    wave = exit_wave(sample(paper, 1)[0], microscope, paper.fidelity)
    waves, defoci = torch.as_tensor(wave)[None], torch.tensor(paper.defoci_A)
    step = least_seconds(training_step("cnn6")) / BATCH
    table.add(f"training step of the 6-block CNN, batch of {BATCH}, one thread", 1e3 * step, "ms/image")
    for name, angles in {"plain": None, "turned in its plane": torch.linspace(0, 350, 14)}.items():
        form = least_seconds(lambda angles=angles: form_images(wave, defoci, microscope, camera, None, angles)) / 14
        table.add(f"forming an image, {name}, one thread", 1e3 * form, "ms/image")
        bar = 60 if angles is None else 80
        table.add(f"forming an image, {name}, over a training step for it", 100 * form / step, "%", most=bar)
    pixels = intensity_pixels(microscope, camera)
    spectrum = torch.fft.fft2(waves[:1], norm="forward")
    few = least_seconds(lambda: intensity_spectrum(spectrum, defoci[:1], microscope, pixels))
    explicit = least_seconds(lambda: validation.explicit_intensity(wave, 50.0, microscope), 1)
    table.add("explicit average over 61 foci over the sum of coherent systems", explicit / few, "times")


def measure_errors(table: Table, paper: DatasetDesign, quick: bool) -> None:
    """Errors of images on the named grids against a finer one, in general orientation and on a zone axis."""
    scenes = validation.standard_scenes()
    if not quick:
        largest = validation.large_scenes(max(paper.sizes_A))
        scenes |= {f"{name} of {max(paper.sizes_A):g} Å": scene for name, scene in largest.items()}
    named = {"standard": FIDELITIES["standard"], "reference": FIDELITIES["reference"]}
    finest = FIDELITIES["reference"] if quick else validation.REFERENCE
    if quick:
        named.pop("reference")
    errors = validation.convergence_table(scenes, list(named.values()), paper.microscope, finest)
    for row in errors.itertuples():
        name = next(name for name, grid in named.items() if grid.pixels == row.pixels)
        bar = None if row.scene == "along [001]" else {"standard": 10.0, "reference": 3.0}[name]
        what = f"largest image error, {name}, {row.scene}, against {finest.sampling_A:.3g} Å"
        table.add(what, 100 * row.images_high, "%", most=bar)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer records: shows that it runs, in a minute")
    parser.add_argument("--output", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    quick = arguments.quick
    output = arguments.output or (cache_folder() / "benchmark-quick.json" if quick else RESULTS / "benchmark.json")
    paper, table = load_profile("paper").dataset, Table()
    with tempfile.TemporaryDirectory() as folder:
        waves_per_second = measure_waves(table, paper, quick, Path(folder))
        measure_images(table, paper, waves_per_second, quick, Path(folder))
    measure_abtem(table, paper, waves_per_second, quick)
    measure_errors(table, paper, quick)
    torch.set_num_threads(1)
    measure_floor(table, paper, quick)
    measure_formation(table, paper)
    measure_cuda(table, paper, waves_per_second, quick)

    grid = fidelity(paper.fidelity)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    result = {
        "machine": hardware(device) | {"system": platform.system(), "python": platform.python_version()},
        "versions": {name: version(name) for name in ("nanoshape_lib", "torch", "numpy", "abtem", "pyfftw", "dask")},
        "recipes": IMAGES,
        "quick": quick,
        "fidelity": {"name": paper.fidelity, "sampling_A": grid.sampling_A, "slice_A": grid.slice_A},
        "rows": table.rows,
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    failed = [row["what"] for row in table.rows if row["holds"] is False]
    print(pd.Series(result["machine"]).to_string(), f"\n{output} written; missed: {', '.join(failed) or 'nothing'}")


if __name__ == "__main__":
    main()
