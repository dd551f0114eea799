"""How long a large micrograph takes from the file to the report, and how much memory.

    python tests/benchmarks/micrograph.py [--particles 20]

Simulates a micrograph of 4096 x 4096 pixels (1024 Å) with so many particles, writes it as a TIFF, and times
``nanoshape predict`` on it as a whole process, three times. Prints times [s], their ratio to that of a micrograph
of a sixteenth of the area with as many particles to a square ångström, and the peak memory [GB]. Five minutes.
"""

import argparse
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import tifffile

from nanoshape_lib.studies.micrographs import draw_design, take

PIXEL_A, REPEATS = 0.25, 3


def write(path: Path, pixels: int, particles: int) -> None:
    """A micrograph at the settings of the study's first one, as ImageJ would write it."""
    design = draw_design(0, particles, round(pixels * PIXEL_A / 128))
    camera = design.camera.model_copy(update={"pixels": pixels, "pixel_size_A": PIXEL_A})
    image = take(design.model_copy(update={"camera": camera})).images[0]
    resolution = (10 / PIXEL_A,) * 2
    tifffile.imwrite(path, image.astype(np.float32), imagej=True, resolution=resolution, metadata={"unit": "nm"})


def run(path: Path, report: Path) -> tuple[float, float]:
    """Time [s] and peak memory [GB] of one run, its reader's process included."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "nanoshape_lib.cli", "predict", str(path), "--out", str(report)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        _, process.returncode, used = os.wait4(process.pid, 0)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed")
    return time.perf_counter() - start, used.ru_maxrss / 1e6


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--particles", type=int, default=20)
    particles = parser.parse_args().particles
    with tempfile.TemporaryDirectory() as folder:
        best = {}
        for pixels, number in ((1024, max(1, round(particles / 16))), (4096, particles)):
            file = Path(folder) / f"{pixels}.tif"
            # In a process of its own: a process begins with the peak memory of the one that starts it.
            simulating = multiprocessing.get_context("spawn").Process(target=write, args=(file, pixels, number))
            simulating.start()
            simulating.join()
            times, memory = zip(*(run(file, Path(folder) / "report") for _ in range(REPEATS)), strict=True)
            best[pixels] = min(times)
            shown = ", ".join(f"{t:.1f}" for t in times)
            print(f"{pixels} x {pixels}, {number} particles: {shown} s, {max(memory):.2f} GB")
        print(f"ratio {best[4096] / best[1024]:.1f}")
