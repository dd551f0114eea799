"""Keys of what is kept: the same wherever the library lies and whatever its comments, others for another recipe."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from nanoshape_lib.paths import ROOT

# Every function that keeps something is called until it has its key.
KEYS = """
import contextlib
import sys
import numpy as np
from nanoshape_lib import paths

keys, key_of = [], paths.cache_key
paths.cache_key = lambda *step, **design: keys.append((step[0], key_of(*step, **design))) or keys[-1][1]

from nanoshape_lib.book import stored_waves
from nanoshape_lib.datasets import generation
from nanoshape_lib.micrographs import template_matching
from nanoshape_lib.particles.shapes import Shape
from nanoshape_lib.simulation.optics import Ranges
from nanoshape_lib.studies import ood, robustness, trainings
from nanoshape_lib.studies.profiles import load_profile

if "raised" in sys.argv:
    for recipes in (trainings.WAVES, trainings.IMAGES, trainings.RECIPES, ood.OOD_WAVES, ood.OOD):
        recipes["exit waves"] = 1000
    template_matching.exit_waves.RECIPE = 1000


def stop(*args, **options):
    raise InterruptedError


profile, unchecked = load_profile("paper"), contextlib.suppress(Exception)
trainings.folder_of(profile)
for module in (trainings, ood):
    module.generate = module.fit = module.kept_images = stop
trainings._run_folder(profile, profile.best, np.arange(5))
with unchecked:
    trainings.image_set(profile, None, "test")
trainings.run_folder(profile, "controls", profile.best, control="unchanged")
trainings.image_set = lambda *args: None
with unchecked:
    trainings.best_network(profile, None)


class Waves:
    path, design = "waves.zarr", profile.dataset


start = paths.DATA / "weights/cnn6.safetensors"
fitting = ood.Fitting(start, Waves, None, ood.Sizes(), paths.cache_folder())
ood.outliers.make_waves = stop
robustness.kept_images = stop
for use in (
    lambda: robustness.random_images(Waves, Ranges(), 10),
    lambda: robustness.sweep_images(Waves, "dose_e_A2", 10),
    lambda: robustness.fine_tune(profile.robustness.domain_randomisation, Waves, start),
    lambda: fitting.waves("decoy", range(1)),
    lambda: fitting.heads,
):
    with unchecked:
        use()
template_matching._make = stored_waves.exit_wave = stop
with unchecked:
    template_matching.library(Shape.CUBE)
with unchecked:
    next(stored_waves.stored_waves(1, (55.0,), "fast"))
for step, key in keys:
    print(step, key)
"""
STEPS = {
    "waves", "images", "passes", "runs", "best", "controls", "random", "sweep",
    "domain randomisation", "ood waves", "ood", "templates", "stored waves",
}  # fmt: skip


def keys(package: Path, cache: Path, *arguments: str) -> list[str]:
    environment = os.environ | {"PYTHONPATH": str(package), "NANOSHAPE_CACHE": str(cache), "TQDM_DISABLE": "1"}
    run = subprocess.run(
        [sys.executable, "-c", KEYS, *arguments], env=environment, cwd=cache, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    return [line.rsplit(" ", 1) for line in run.stdout.splitlines()]


@pytest.fixture(scope="module")
def usual(tmp_path_factory):
    return keys(ROOT, tmp_path_factory.mktemp("usual"))


def test_comments_in_every_module_and_another_place_change_no_key(usual, tmp_path):
    assert {step for step, _ in usual} == STEPS
    copy = tmp_path / "elsewhere"
    shutil.copytree(ROOT / "nanoshape_lib", copy / "nanoshape_lib", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("data", "notebooks", "pyproject.toml", "book"):
        (copy / name).symlink_to(ROOT / name)
    for module in (copy / "nanoshape_lib").rglob("*.py"):
        module.write_text(module.read_text(encoding="utf-8") + "\n# A comment.\nNOTHING = None\n", encoding="utf-8")
    assert keys(copy, tmp_path) == usual


def test_another_recipe_of_the_exit_waves_changes_every_key(usual, tmp_path):
    raised = keys(ROOT, tmp_path, "raised")
    assert [step for step, _ in raised] == [step for step, _ in usual]
    assert not {key for _, key in raised} & {key for _, key in usual}
