"""A tiny data set of real exit waves that several tests share."""

import pytest

from nanoshape_lib.dataset import DatasetDesign, SplitDesign, Store, generate


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
