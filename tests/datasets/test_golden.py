"""Golden records: what each step made when its recipe had the recorded version, and what it makes now.

Keys of what is kept hold the versions alone, so these records guard them: a step whose results change must have its
``RECIPE`` raised. ``python tests/datasets/test_golden.py`` then records the steps anew whose version was raised.
"""

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch

from nanoshape_lib.book import stored_waves
from nanoshape_lib.datasets import generation, images
from nanoshape_lib.datasets.design import DatasetDesign, SplitDesign
from nanoshape_lib.datasets.images import ImageSet, make_images_at
from nanoshape_lib.micrographs import template_matching
from nanoshape_lib.networks import features, training
from nanoshape_lib.networks.models import load_weights
from nanoshape_lib.particles import orientation
from nanoshape_lib.particles.shapes import Shape, build
from nanoshape_lib.particles.specimen import shake
from nanoshape_lib.paths import DATA, replacing
from nanoshape_lib.simulation import exit_waves, imaging
from nanoshape_lib.simulation.film import Placement, deposit
from nanoshape_lib.simulation.imaging import form_images
from nanoshape_lib.simulation.optics import Camera, Microscope, Ranges

FILE = Path(__file__).parents[1] / "reference" / "golden.npz"
Arrays = dict[str, np.ndarray]

# A camera of few pixels that counts few electrons: rounding changes hardly any count, and no later random number.
DESIGN = DatasetDesign(
    seed=3,
    sizes_A=(40, 55),
    train=SplitDesign(orientations=2, blocks=(0, 3)),
    validation=SplitDesign(orientations=1, blocks=(1,)),
    test=SplitDesign(orientations=1, blocks=(2,)),
    defoci_A=(-70, 10, 90),
    fidelity="fast",
    camera=Camera(pixels=32, pixel_size_A=4.0, dose_e_A2=2.0),
)


def waves(count: int, pixels: int) -> np.ndarray:
    """Waves (count, pixels, pixels) without physics: a beam and random frequencies up to 0.7 1/Å."""
    rng, k = np.random.default_rng(0), np.fft.fftfreq(pixels, 1 / pixels)
    spectra = rng.standard_normal((count, pixels, pixels, 2)) @ [1, 1j] * (np.hypot(k[:, None], k) < 90)
    scattered = np.fft.ifft2(spectra)
    return (1 + 0.2 * scattered / scattered.std()).astype(np.complex64)


class Waves:
    """As much of a store as images are formed from."""

    path, design = "none", DESIGN

    def __init__(self) -> None:
        self.every = waves(4, exit_waves.wave_pixels(DESIGN.microscope))

    def table(self, split: str) -> pd.DataFrame:
        return pd.DataFrame({"group": range(4), "label": range(4)})

    def missing(self, *splits: str) -> list:
        return []

    def waves(self, split: str, start: int, stop: int) -> np.ndarray:
        return self.every[start:stop]


def make_records() -> Arrays:
    made = [generation.make_record(DESIGN, "train", index) for index in range(5)]
    return {
        "numbers": np.array([(each.label, each.size_A, each.atoms, each.block) for each in made]),
        "rotations": np.array([each.rotation for each in made]),
        "atoms": np.array([each.scene.particle.positions[[0, 7, -1]] for each in made]),
        "films": np.array([[*each.scene.film.roll_A, each.scene.film.quarter_turns] for each in made], float),
    }


def make_exit_waves() -> Arrays:
    """The middle of one wave of each shape, where its atoms are, and the mean intensity."""
    found = {}
    for shape in Shape:
        particle = build(shape, 48.0)
        particle.positions = particle.positions @ orientation.euler(20, 35, 50).T
        scene = deposit(shake(particle, np.random.default_rng(int(shape))), Placement(2, (5, 9)), (3.0, -2.0))
        wave = exit_waves.exit_wave(scene, Microscope(), "fast")
        middle = slice(len(wave) // 2 - 10, len(wave) // 2 + 10)
        found |= {shape.name: wave[middle, middle], f"{shape.name}, mean": np.mean(np.abs(wave) ** 2)}
    return found


def make_single_images() -> Arrays:
    """The middle of images without noise: at two defoci, turned, and at settings drawn from ranges."""
    microscope, camera = Microscope(), Camera(dose_e_A2=None)
    wave = torch.as_tensor(waves(1, exit_waves.wave_pixels(microscope))).expand(2, -1, -1)
    defoci = torch.tensor([-60.0, 85.0])
    settings = [Ranges().draw(np.random.default_rng(seed)).model_copy(update={"dose_e_A2": None}) for seed in (0, 1)]
    made = {
        "plain": imaging.form_images(wave, defoci, microscope, camera),
        "turned": imaging.form_images(wave, defoci, microscope, camera, turn_deg=torch.tensor([33.0, 250.0])),
        "drawn": form_images(wave, settings, microscope, camera),
    }
    return {name: each[:, 56:72, 56:72].numpy() for name, each in made.items()}


def make_image_sets() -> Arrays:
    """Images with noise, and what was drawn for them."""
    store, ranges = Waves(), Ranges(pixel_error=(0.0, 0.0), dose_e_A2=(1.0, 2.0))
    made = {
        "plain": images.make_images(store, "test", 2),
        "turned": images.make_images(store, "train", 2, turned=True),
        "pass": images.make_pass(store, 1, 2, 2),
        "drawn": make_images_at(store, "test", lambda index, rng: [ranges.draw(rng)] * 2, 2, turned=True, number=1),
    }
    found = {f"{name} images": each.images.float().numpy() for name, each in made.items()}
    return found | {f"{name} defoci": each.table["defocus_A"].to_numpy() for name, each in made.items()}


def make_training() -> Arrays:
    """Losses of a short training of the smallest network on patterns of five kinds."""
    rng, x = np.random.default_rng(0), np.arange(128)
    labels = np.arange(60) % 5
    patterns = np.sin(2 * np.pi * (5 + 6 * labels[:, None, None]) * (x[:, None] + x) / 128)
    formed = torch.as_tensor(patterns + 2 * rng.standard_normal((60, 128, 128))).half()
    every = ImageSet(formed, pd.DataFrame({"group": range(60), "label": labels}))
    train, validation = every.take(np.arange(40)), every.take(np.arange(40, 60))
    config = training.TrainingConfig(architecture="cnn4", epochs=2, batch_size=10, seed=1)
    run = training._Run(config, train, validation)
    for _ in range(config.epochs):
        run.train_epoch()
    return {name: np.array([row[name] for row in run.history]) for name in ("train_loss", "validation_loss")}


def make_features() -> Arrays:
    """What the shipped network makes of two of the shipped images."""
    network, _ = load_weights(DATA / "weights" / "cnn6.safetensors")
    shown = torch.from_numpy(np.load(DATA / "results" / "best_cnn6_examples.npy")[:2])
    return vars(features.look(network, shown))


def make_templates() -> Arrays:
    rotation = template_matching._upright(template_matching.directions(Shape.CUBE)[3])
    image = waves(1, 128)[0].real
    return {
        "directions": np.concatenate([template_matching.directions(shape)[-3:] for shape in Shape]),
        "rotation": rotation,
        "signature": template_matching.signature(image)[::4, ::5],
    }


def make_stored_waves() -> Arrays:
    first = next(stored_waves.stored_waves(1, (48.0,), "fast"))
    wave = stored_waves.unpack(first.data, Microscope(), 256)
    return {"wave": wave[118:138, 118:138], "direction": first.direction, "rotation": first.rotation}


class Step(NamedTuple):
    """A step: the module that has its recipe, the function above, and the largest error of an array over its largest
    value that rounding on another processor explains."""

    module: ModuleType
    make: Callable[[], Arrays]
    tolerance: float


STEPS = {
    "records": Step(generation, make_records, 1e-6),
    "exit waves": Step(exit_waves, make_exit_waves, 1e-4),
    "images": Step(imaging, make_single_images, 1e-4),
    "image sets": Step(images, make_image_sets, 2e-3),
    "training": Step(training, make_training, 2e-2),
    "features": Step(features, make_features, 1e-3),
    "templates": Step(template_matching, make_templates, 1e-4),
    "stored waves": Step(stored_waves, make_stored_waves, 2e-2),
}


def read() -> tuple[dict[str, int], Arrays]:
    with np.load(FILE) as file:
        return json.loads(str(file["recipes"])), {name: file[name] for name in file.files if name != "recipes"}


def faults(step: str, now: Arrays, version: int, recorded: Arrays) -> list[str]:
    """What is wrong with a step, given what it makes now and what is recorded."""
    module, _, tolerance = STEPS[step]
    if version != module.RECIPE:
        return [
            f"the RECIPE of {module.__name__} is {module.RECIPE} and the golden records are of {version}:"
            f" run python tests/datasets/{Path(__file__).name}"
        ]
    then = {name.removeprefix(f"{step}/"): array for name, array in recorded.items() if name.startswith(f"{step}/")}
    wrong = []
    for name in sorted({*then, *now}):
        if name not in then or name not in now or np.shape(now[name]) != then[name].shape:
            wrong.append(name)
            continue
        # A count that rounds the other way changes the pixels around it; a quarter of all needs another cause.
        error = np.quantile(np.abs(now[name] - then[name]), 0.75 if name.endswith("images") else 1)
        if not error <= tolerance * np.abs(then[name]).max():
            wrong.append(name)
    if not wrong:
        return []
    return [
        f"{step} are no longer as recorded ({', '.join(wrong)}):"
        f" raise the RECIPE of {module.__name__}, so that what was kept is made anew, or mend the code"
    ]


@pytest.fixture(autouse=True)
def _alike_everywhere(monkeypatch, tmp_path):
    """Nothing is read from the cache, nothing computed in bfloat16."""
    monkeypatch.setenv("NANOSHAPE_CACHE", str(tmp_path))
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)


@pytest.mark.parametrize("step", STEPS)
def test_a_step_makes_what_its_recipe_made(step):
    recipes, recorded = read()
    assert faults(step, STEPS[step].make(), recipes[step], recorded) == []


def test_a_change_without_another_version_is_found_and_another_version_without_records_too(monkeypatch):
    recipes, recorded = read()
    made = make_records()
    assert faults("records", made, recipes["records"], recorded) == []
    made["atoms"] = made["atoms"] + 1e-3
    assert (
        "raise the RECIPE of nanoshape_lib.datasets.generation"
        in faults("records", made, recipes["records"], recorded)[0]
    )
    monkeypatch.setattr(generation, "RECIPE", 1000)
    assert "is 1000 and the golden records are of" in faults("records", made, recipes["records"], recorded)[0]


def test_the_records_are_small_and_of_all_steps():
    recipes, recorded = read()
    assert recipes.keys() == STEPS.keys() and FILE.stat().st_size < 300_000
    assert {name.partition("/")[0] for name in recorded} == STEPS.keys()


def main() -> None:
    recipes, recorded = read() if FILE.exists() else ({}, {})
    torch.cpu._is_avx512_bf16_supported = lambda: False
    for step, (module, make, _) in STEPS.items():
        if recipes.get(step) != module.RECIPE:
            recorded = {name: array for name, array in recorded.items() if not name.startswith(f"{step}/")}
            recorded |= {f"{step}/{name}": np.asarray(array) for name, array in make().items()}
            recipes[step] = module.RECIPE
            print(f"{step}: recorded")
    with replacing(FILE) as partial:
        np.savez_compressed(partial, recipes=json.dumps(recipes), **recorded)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
