"""What several tests share, made once a run whatever the number of processes, and means to spoil copies of it."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the tests themselves run side by side

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock

from nanoshape_lib.datasets import generation
from nanoshape_lib.datasets.design import DatasetDesign, SplitDesign
from nanoshape_lib.datasets.generation import generate
from nanoshape_lib.datasets.store import Store
from nanoshape_lib.micrographs.reading import Micrograph
from nanoshape_lib.simulation.exit_waves import exit_wave
from nanoshape_lib.studies.micrographs import draw_design, take

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def once(tmp_path_factory) -> Callable[[str, Callable[[Path], object]], Path]:
    """Function that makes a file or folder by a name, once for all processes of a run, and returns its path."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def made(name: str, make: Callable[[Path], object]) -> Path:
        path, done = shared / name, shared / f".{name}.done"
        with FileLock(shared / f".{name}.lock"):
            if not done.exists():
                make(path)
                done.touch()
        return path

    return made


@pytest.fixture(scope="session")
def tiny_design() -> DatasetDesign:
    """Fifteen waves for training, five each for validation and test."""
    return DatasetDesign(
        seed=7,
        sizes_A=(40,),
        train=SplitDesign(orientations=3, blocks=(0,)),
        validation=SplitDesign(orientations=1, blocks=(1,)),
        test=SplitDesign(orientations=1, blocks=(2,)),
        defoci_A=(-70, 10, 90),
        fidelity="fast",
    )


@pytest.fixture(scope="session")
def tiny_store(tiny_design, once) -> Store:
    """The store of :func:`tiny_design`; copy it before changing it."""
    return Store(once("tiny.zarr", lambda path: generate(tiny_design, path, workers=0)))


@pytest.fixture
def copied(tiny_store, tmp_path) -> Path:
    """Path of a copy of the tiny store that a test may spoil."""
    return shutil.copytree(tiny_store.path, tmp_path / "waves.zarr")


@pytest.fixture
def simulated(monkeypatch) -> list:
    """List that grows with every exit wave that is computed in this process."""
    counted: list = []
    monkeypatch.setattr(generation, "exit_wave", lambda *args: counted.append(args) or exit_wave(*args))
    return counted


@pytest.fixture(scope="session")
def micrograph(once) -> Micrograph:
    """Ten particles in 512 Å at pixels of 0.8 Å and a dose of 300 e/Å², with their truth."""
    path = once("micrograph.pickle", lambda path: path.write_bytes(pickle.dumps(take(draw_design(11, particles=10)))))
    return pickle.loads(path.read_bytes())


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers, the same in every test."""
    return np.random.default_rng(0)
