"""A tiny data set of real exit waves that several tests share, and means to spoil copies of it."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from nanoshape_lib.datasets import generation
from nanoshape_lib.datasets.design import DatasetDesign, SplitDesign
from nanoshape_lib.datasets.generation import generate
from nanoshape_lib.datasets.store import Store
from nanoshape_lib.micrographs.reading import Micrograph
from nanoshape_lib.simulation.exit_waves import exit_wave
from nanoshape_lib.studies.micrographs import draw_design, take


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
def tiny_store(tiny_design, tmp_path_factory) -> Store:
    """The store of :func:`tiny_design`, computed once; copy it before changing it."""
    return generate(tiny_design, tmp_path_factory.mktemp("tiny") / "waves.zarr", workers=0)


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
def micrograph() -> Micrograph:
    """Ten particles in 512 Å at pixels of 0.8 Å and a dose of 300 e/Å², with their truth."""
    return take(draw_design(11, particles=10))


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers, the same in every test."""
    return np.random.default_rng(0)
