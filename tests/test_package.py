"""The package as it is installed: what it needs, what is locked, and a wheel that works away from the checkout."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from packaging.requirements import Requirement

from nanoshape_lib.datasets.images import make_images
from nanoshape_lib.networks.evaluation import predictions_table
from nanoshape_lib.networks.models import load_weights
from nanoshape_lib.networks.training import predict
from nanoshape_lib.paths import DATA, ROOT, read_manifest

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LIBRARY = ROOT / "nanoshape_lib"
# Compressed TIFF files for tifffile, and units of length by RosettaSciIO's registry.
NEEDED_BY_READERS = {"imagecodecs", "pint"}


def normalised(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(*extras):
    """Distributions that the package or its extras ask for by name."""
    lines = [*PROJECT["dependencies"], *(line for extra in extras for line in PROJECT["optional-dependencies"][extra])]
    return {normalised(Requirement(line).name) for line in lines}


def imported(*paths):
    """Distributions that are imported anywhere in some files, by the place of the import."""
    names = packages_distributions()
    found = {}
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
            for top in {module.split(".")[0] for module in modules} - set(sys.stdlib_module_names) - {"nanoshape_lib"}:
                found[normalised(names.get(top, [top])[0])] = f"{path.relative_to(ROOT)}:{node.lineno}"
    return found


# ------------------------------------------------------------------ what is declared and locked


def test_the_core_imports_what_it_declares_and_nothing_of_jupyter():
    rooms = [path for path in LIBRARY.rglob("*.py") if path.relative_to(LIBRARY).parts[0] not in ("widgets", "book")]
    found = imported(*rooms)
    assert {name: where for name, where in found.items() if name not in declared()} == {}
    assert declared() - set(found) == NEEDED_BY_READERS


def test_the_book_and_the_widgets_import_what_the_extra_declares():
    found = imported(*(LIBRARY / "widgets").rglob("*.py"), *(LIBRARY / "book").rglob("*.py"))
    assert {name: where for name, where in found.items() if name not in declared("book")} == {}


def test_the_tests_import_what_the_extras_declare():
    helpers = {normalised(path.stem) for path in (ROOT / "tests").rglob("*.py")}
    found = imported(*(ROOT / "tests").rglob("*.py"), *DATA.glob("*.py"))
    missing = set(found) - declared("book", "dev", "carbon", "fuzz") - helpers
    assert {name: found[name] for name in missing} == {}


def test_lock_pins_everything_with_its_hashes_and_holds_no_address():
    text = (ROOT / "requirements.lock").read_text()
    assert "://" not in text and "--index" not in text
    entries = text.replace("\\\n", "").splitlines()
    pins = {}
    for entry in entries:
        line, *hashes = entry.split("--hash=sha256:")
        pin = Requirement(line)
        assert [spec.operator for spec in pin.specifier] == ["=="], entry
        assert hashes and all(re.fullmatch(r"[0-9a-f]{64}", digest.strip()) for digest in hashes), line
        pins.setdefault(normalised(pin.name), []).append(pin)
    everything = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["book"]]
    for line in [*everything, *PROJECT["optional-dependencies"]["dev"]]:
        wanted = Requirement(line)
        if wanted.name == PROJECT["name"]:
            continue
        for pin in pins[normalised(wanted.name)]:
            assert wanted.specifier.contains(next(iter(pin.specifier)).version, prereleases=True), line


def test_environment_yml_is_python_pip_and_the_lock():
    dependencies = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    assert dependencies[0].replace(" ", "") == f"python{PROJECT['requires-python']}"
    assert dependencies[1:] == ["pip", {"pip": ["-r requirements.lock"]}]


# ------------------------------------------------------------------ the wheel, alone


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Folder into which pip has put the package from a wheel, without its dependencies."""
    folder = tmp_path_factory.mktemp("wheel")
    source, target = folder / "source", folder / "installed"
    source.mkdir()
    for name in ("pyproject.toml", "setup.py", "README.md", *PROJECT["license-files"]):
        shutil.copy(ROOT / name, source)
    for name in ("nanoshape_lib", "data", "notebooks/profiles"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("generated", "__pycache__"))
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-build-isolation", "--no-deps", "-w", folder, source], check=True)
    wheel = next(folder.glob("*.whl"))
    subprocess.run([*pip, "install", "--no-deps", "--no-index", "--target", target, wheel], check=True)
    return target


@pytest.fixture
def run(installed, tmp_path):
    """Run Python with the installed package from an empty folder, and return what it did."""
    (tmp_path / "empty").mkdir()

    def run_python(*arguments):
        environment = {name: value for name, value in os.environ.items() if name != "NANOSHAPE_CACHE"}
        environment |= {"PYTHONPATH": str(installed), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
        environment |= {"HOME": str(tmp_path / "home"), "XDG_CACHE_HOME": str(tmp_path / "cache")}
        command = [sys.executable, "-P", *map(str, arguments)]
        return subprocess.run(command, cwd=tmp_path / "empty", env=environment, capture_output=True, text=True)

    return run_python


@pytest.mark.slow
def test_the_wheel_classifies_simulates_and_evaluates_away_from_the_checkout(
    installed, run, tmp_path, tiny_design, tiny_store
):
    where = run(
        "-c",
        "import nanoshape_lib; from nanoshape_lib.paths import cache_folder; "
        "print(nanoshape_lib.__file__, cache_folder(), sep='\\n')",
    )
    package, cache = map(Path, where.stdout.splitlines())
    assert package == installed / "nanoshape_lib/__init__.py", where.stderr
    assert tmp_path in cache.parents, "the cache is the user's"
    data = package.parent / "data"
    shipped = {path.relative_to(data).as_posix() for path in data.rglob("*.*") if path.suffix not in (".py", ".pyc")}
    assert shipped == {*read_manifest(), "MANIFEST.sha256"}
    before = sorted(installed.rglob("*"))
    empty, nanoshape = tmp_path / "empty", ("-m", "nanoshape_lib.cli")

    shutil.copy(DATA / "examples/particles.tif", empty)
    found = run(*nanoshape, "predict", "particles.tif", "--out", "report")
    assert found.returncode == 0, found.stderr
    truth = pd.read_csv(DATA / "examples/particles.csv")
    particles = pd.read_csv(empty / "report/predictions.csv")
    assert len(truth) / 2 <= len(particles) <= 2 * len(truth) and (empty / "report/index.html").is_file()

    (empty / "tiny.yml").write_text(tiny_design.model_dump_json())
    made = run(*nanoshape, "simulate", "tiny.yml", "waves.zarr", "--workers", 0)
    assert made.returncode == 0, made.stderr

    judged = run(*nanoshape, "evaluate", data / "weights/cnn6.safetensors", "waves.zarr", "--output", "table.csv")
    assert judged.returncode == 0 and "accuracy per image" in judged.stdout, judged.stderr
    images = make_images(tiny_store, "test")
    expected = predictions_table(
        images.table, predict(load_weights(DATA / "weights/cnn6.safetensors")[0], images.images)
    )
    written = pd.read_csv(empty / "table.csv")
    assert list(written) == list(expected)
    numbers = expected.select_dtypes("number").columns
    assert np.allclose(written[numbers], expected[numbers], atol=1e-4)

    refused = run(*nanoshape, "book")
    assert refused.returncode == 1 and refused.stderr.count("\n") == 1 and "clone" in refused.stderr
    assert sorted(installed.rglob("*")) == before, "nothing is written beside the package"
