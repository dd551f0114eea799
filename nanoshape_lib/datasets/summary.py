"""What a design costs and what a store holds: in a few lines, and in one picture."""

import os

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from nanoshape_lib.datasets.design import SPLITS, DatasetDesign
from nanoshape_lib.datasets.generation import cost, seconds_per_wave
from nanoshape_lib.datasets.schema import SCHEMA_VERSION
from nanoshape_lib.datasets.store import Store
from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.figures.dataset import contact_sheet
from nanoshape_lib.particles.shapes import Shape
from nanoshape_lib.simulation.imaging import focal_series

SHEET_COLUMNS = 8


def counts(design: DatasetDesign) -> str:
    """Such as ``10,000 train, 1,000 validation and 4,800 test waves``."""
    train, validation, test = (f"{design.records(split):,} {split}" for split in SPLITS)
    return f"{train}, {validation} and {test} waves"


def cost_lines(design: DatasetDesign, path: str, workers: int | None = None, device: str = "cpu") -> list[str]:
    """What a design costs: waves, images, bytes, and the time for what is missing at ``path`` on this machine."""
    waves, images, size = cost(design)
    lines = [f"{counts(design)} x {len(design.defoci_A)} defoci: {images:,} images from {size / 1e6:,.1f} MB of waves"]
    try:
        left = sum(stop - start for _, start, stop in Store(path).missing())
    except NanoshapeError:  # there is none yet, or the simulation will say what is wrong with it
        left = waves
    if left:
        cores = os.cpu_count() or 1
        cores = min(cores, cores if workers is None else max(workers, 1))
        seconds = seconds_per_wave(design, device)
        total = left * seconds / cores
        duration = f"{total:.0f} seconds" if total < 120 else f"{total / 60:,.0f} minutes"
        lines.append(
            f"{left:,} of {waves:,} waves to make, {1e3 * seconds:.0f} ms each in a trial of 5:"
            f" about {duration} on {cores} core{'s' * (cores > 1)} of this machine"
        )
    return lines


def store_lines(store: Store) -> list[str]:
    """What a store holds, whether it is finished or not."""
    design = store.design
    size, files = store.bytes_and_files()
    energy_kV = design.microscope.energy_eV / 1e3
    lines = [
        f"{store.path}: schema {SCHEMA_VERSION}, {size / 1e6:,.1f} MB in {files:,} files",
        f"made with {', '.join(f'{name} {number}' for name, number in store.versions.items())}",
        f"design: seed {design.seed}, fidelity {design.fidelity}, {design.beam}, {energy_kV:g} kV",
        f"shapes: {', '.join(shape.title for shape in Shape)}",
        f"sizes: {', '.join(f'{size_A:g}' for size_A in design.sizes_A)} Å",
        f"defoci: {', '.join(f'{defocus_A:g}' for defocus_A in design.defoci_A)} Å",
    ]
    for split in SPLITS:
        records, blocks = design.records(split), ", ".join(map(str, design.split(split).blocks))
        missing = sum(stop - start for _, start, stop in store.missing_chunks(split))
        state = f"{records - missing:,} done, {missing:,} missing" if missing else "all done"
        lines.append(f"{split}: {records:,} waves on carbon {blocks}, {state}")
    return lines


def sheet(store: Store) -> Figure:
    """One image of each shape and of up to eight sizes, from the first training waves that are done.

    Raises
    ------
    NanoshapeError
        If no training wave is done.
    """
    design = store.design
    columns = np.unique(np.linspace(0, len(design.sizes_A) - 1, SHEET_COLUMNS).round().astype(int))
    missing = {index for _, start, stop in store.missing_chunks("train") for index in range(start, stop)}
    defocus_A = sorted(design.defoci_A)[len(design.defoci_A) // 2]
    images, rows = [], []
    for column in columns:
        for shape in Shape:
            every = range(shape + len(Shape) * column, design.records("train"), len(Shape) * len(design.sizes_A))
            index = next((index for index in every if index not in missing), None)
            if index is not None:
                wave = store.waves("train", index, index + 1)[0]
                images.append(focal_series(wave, np.array([defocus_A]), design.microscope, design.camera, index)[0])
                rows.append((int(shape), design.sizes_A[column]))
    if not images:
        raise NanoshapeError(f"{store.path} holds no training wave yet; simulate its design first")
    text = f"defocus {defocus_A:g} Å, fidelity {design.fidelity}, seed {design.seed}"
    return contact_sheet(np.stack(images), pd.DataFrame(rows, columns=["label", "size"]), text)
