"""The shipped weights and tables: they agree with one another, and with images of another seed.

The fresh test set has one orientation of each shape and size; ``FRESH_ORIENTATIONS=120`` makes it as large
as the one that was shipped.
"""

import os

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from nanoshape_lib.cli import app
from nanoshape_lib.datasets.design import DatasetDesign
from nanoshape_lib.datasets.generation import generate
from nanoshape_lib.datasets.images import load_examples
from nanoshape_lib.networks.evaluation import by_particle
from nanoshape_lib.networks.models import load_weights
from nanoshape_lib.networks.training import predict
from nanoshape_lib.paths import DATA
from nanoshape_lib.studies import trainings
from nanoshape_lib.studies.results import load_results

WEIGHTS = DATA / "weights/cnn6.safetensors"


@pytest.fixture(scope="module")
def shipped():
    return trainings.shipped_predictions("cnn6")


def test_the_table_of_accuracies_is_that_of_the_outputs_of_every_image(shipped):
    table, origin = load_results("best")
    by_images = table[table["architecture"] == "cnn6"].set_index("images")["accuracy"]
    assert by_images[1] == pytest.approx(shipped["correct"].mean(), abs=1e-4)
    whole = by_particle(shipped, shipped[trainings.LOGITS].to_numpy())["correct"]
    assert by_images[len(shipped) // len(whole)] == pytest.approx(whole.mean(), abs=1e-3)
    assert load_weights(WEIGHTS)[1]["test_accuracy"] == pytest.approx(by_images[1], abs=1e-5)
    design = DatasetDesign.model_validate(origin["profile"]["dataset"])
    assert len(shipped) == design.records("test") * len(design.defoci_A) == 67_200


def test_the_shipped_weights_say_of_the_shipped_images_what_the_shipped_table_says(shipped):
    examples = load_examples("best_cnn6_examples")
    rows = shipped.iloc[examples.table["row"]]
    logits = predict(load_weights(WEIGHTS)[0], examples.images)
    assert np.abs(logits - rows[trainings.LOGITS].to_numpy()).max() < 0.5, "processors may or may not have bfloat16"
    assert (logits.argmax(axis=1) == rows["predicted"].to_numpy()).mean() > 0.9
    assert (examples.table["predicted"].to_numpy() == rows["predicted"].to_numpy()).all()


def test_weights_are_small_enough_to_ship():
    assert WEIGHTS.stat().st_size < 8e6


def test_particles_of_another_seed_are_recognised_as_often_as_those_of_the_shipped_test_set(shipped, tmp_path):
    origin = load_results("best")[1]
    small = {"orientations": 1}
    dataset = origin["profile"]["dataset"] | {"seed": 12_345}
    dataset |= {"train": dataset["train"] | small, "validation": dataset["validation"] | small}
    dataset["test"] |= {"orientations": int(os.environ.get("FRESH_ORIENTATIONS", "1"))}
    generate(DatasetDesign.model_validate(dataset), tmp_path / "waves.zarr")
    table = tmp_path / "predictions.csv"
    done = CliRunner().invoke(app, ["evaluate", str(WEIGHTS), str(tmp_path / "waves.zarr"), "--output", str(table)])
    assert done.exit_code == 0, done.output
    fresh, old = (each.groupby("group")["correct"].mean() for each in (pd.read_csv(table), shipped))
    spread = old.std() * np.sqrt(1 / len(fresh) + 1 / len(old))
    assert abs(fresh.mean() - old.mean()) < 3.3 * spread, "a difference that chance makes once in a thousand times"
