"""Where the time goes, as ratios within one run on one machine.

    python tests/benchmarks/speed.py

Prints a table; the ratio is the time of the column "against" over the time of the row. Absolute times
depend on the machine and on what else runs there; compare the ratios.
"""

import time
from collections.abc import Callable

import numpy as np
import pandas as pd
import torch

from nanoshape_lib.dataset import make_record
from nanoshape_lib.hrtem import exit_wave, multislice
from nanoshape_lib.imaging import explicit_intensity, focal_modes, form_images, intensity_pixels, intensity_spectrum
from nanoshape_lib.models import ARCHITECTURES, build_model
from nanoshape_lib.profiles import load_profile
from nanoshape_lib.substrate import Scene
from nanoshape_lib.training import _forward

BATCH = 64


def median_seconds(action: Callable[[], object], repeats: int = 5) -> float:
    """Median duration [s] of an action after one run that is not counted."""
    action()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds))


def whole_cell(scene: Scene, energy_eV: float) -> np.ndarray:
    """Film and particle in one multislice at the grid of ``fast``."""
    atoms = scene.atoms()
    atoms.positions[:, 2] += scene.film_thickness_A + 1e-3
    atoms.set_cell([*atoms.cell.lengths()[:2], atoms.positions[:, 2].max() + 2])
    return multislice(atoms, np.ones((512, 512)), energy_eV, 4.0)


def training_step(architecture: str, fast: bool) -> Callable[[], object]:
    """One optimiser step on a batch of noise, as in training or in plain float32 and channels first."""
    model = build_model(architecture)
    model = model.to(memory_format=torch.channels_last) if fast else model
    optimizer = torch.optim.AdamW(model.parameters())
    images, labels = torch.randn(BATCH, 128, 128), torch.randint(5, (BATCH,))

    def step() -> None:
        logits = _forward(model, images, "cpu") if fast else model(images[:, None])
        torch.nn.functional.cross_entropy(logits.float(), labels).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def main() -> None:
    design = load_profile("quick").dataset
    microscope, detector = design.microscope, design.detector
    scene = make_record(design, "train", 12).scene
    rows = []

    def add(what: str, seconds: float, against: str, reference: float) -> None:
        rows.append({"what": what, "ms": 1e3 * seconds, "against": against, "ratio": reference / seconds})

    wave_seconds = median_seconds(lambda: exit_wave(scene, microscope, "fast"))
    add(
        "exit wave, film reused (fast)",
        wave_seconds,
        "whole cell",
        median_seconds(lambda: whole_cell(scene, microscope.energy_eV)),
    )
    add(
        "exit wave (standard)",
        median_seconds(lambda: exit_wave(scene, microscope, "standard"), 2),
        "fast",
        wave_seconds,
    )

    wave = exit_wave(scene, microscope, "fast")
    batch, defocus = torch.as_tensor(wave)[None], torch.tensor([50.0])
    pixels = intensity_pixels(microscope, detector)
    low_rank = median_seconds(lambda: intensity_spectrum(batch, defocus, microscope, pixels))
    explicit = median_seconds(lambda: explicit_intensity(wave, 50.0, microscope), 2)
    add(f"focal average, {len(focal_modes(microscope))} modes", low_rank, "61 explicit foci", explicit)

    image = median_seconds(lambda: form_images(batch, defocus, microscope, detector))
    for architecture in ARCHITECTURES:
        step = median_seconds(training_step(architecture, fast=True))
        plain = median_seconds(training_step(architecture, fast=False))
        add(f"training step per image, {architecture}", step / BATCH, "float32, channels first", plain / BATCH)
        add(f"forming an image, beside {architecture}", image, "training step per image", step / BATCH)
    print(pd.DataFrame(rows).to_string(index=False, float_format="{:.2f}".format))


if __name__ == "__main__":
    main()
