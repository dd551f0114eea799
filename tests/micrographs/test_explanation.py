"""Explanations: similar simulations, best matches in their place, and the page about both."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from nanoshape_lib.datasets.images import load_examples
from nanoshape_lib.micrographs.analysis import NEAREST, REFERENCE, WEIGHTS, Analysis, Explainer
from nanoshape_lib.micrographs.reading import Micrograph
from nanoshape_lib.micrographs.report import write_report
from nanoshape_lib.micrographs.template_matching import Match
from nanoshape_lib.particles.shapes import Shape
from nanoshape_lib.trust.classifier import CLASSES, Classifier

ROWS = [0, 7, 13]


@pytest.fixture(scope="module")
def reference():
    return load_examples(REFERENCE)


@pytest.fixture(scope="module")
def classifier():
    return Classifier(WEIGHTS)


@pytest.fixture(scope="module")
def analysis(reference):
    """Three training images as if they had been found, and named rightly."""
    labels = reference.table["label"].to_numpy()[ROWS]
    table = pd.DataFrame(np.eye(len(Shape))[labels], columns=CLASSES)
    table["predicted"], table["particle"] = [Shape(label).title for label in labels], np.arange(1, 4)
    table = table.assign(row=64.0, column=64.0, diameter_A=50.0, known=True, set=table["predicted"], ood_score=1.0)
    boxes = table[["row", "column", "diameter_A"]].assign(cut_off=False)
    micrograph = Micrograph(np.zeros((1, 128, 128), np.float32), 1.0, "user", "three.npy")
    return Analysis(micrograph, boxes, reference.images.float().numpy()[ROWS][:, None], table)


def labels_of(analysis):
    return analysis.table[CLASSES].to_numpy().argmax(axis=1)


def test_the_reference_has_as_many_images_of_each_shape(reference):
    assert reference.table["label"].value_counts().to_dict() == dict.fromkeys(range(len(Shape)), 20)


def test_the_training_image_most_like_a_training_image_is_itself(classifier, analysis, reference):
    why = Explainer(classifier).explain(analysis.crops, labels_of(analysis))
    assert why.matches == [] and why.saliency.shape == (3, 128, 128)
    for row, alike in zip(ROWS, why.similar, strict=True):
        assert len(alike) == NEAREST
        assert alike[0].similarity == pytest.approx(1, abs=1e-3) and alike[1].similarity < alike[0].similarity
        assert (alike[0].image == reference.images[row].float().numpy()).all()
        assert alike[0].size_A == reference.table["size_A"][row]
        others = reference.table[reference.table["label"] == reference.table["label"][row]]
        assert alike[1].size_A in others["size_A"].to_numpy(), "of the same shape"


def test_each_best_match_stands_beside_its_particle_and_in_the_table(classifier, analysis, tmp_path, monkeypatch):
    def match(image, shape):
        return Match(shape, 41.0 + shape, np.eye(3), 10.0 * shape, np.zeros(2), 0.5, -image)

    monkeypatch.setattr("nanoshape_lib.micrographs.template_matching.best_match", match)
    labels = labels_of(analysis)
    why = Explainer(classifier, match=True).explain(analysis.crops, labels)
    for label, image, found in zip(labels, analysis.crops[:, 0], why.matches, strict=True):
        assert found.shape == label and (found.image == -image).all()
    page = write_report(tmp_path, [replace(analysis, explanation=why)], [], "one network")
    read = pd.read_csv(tmp_path / "predictions.csv")
    assert read["match_size_A"].tolist() == [41.0 + label for label in labels]
    assert page.read_text().count("<img") == 1 + 3 * (2 + NEAREST + 1)
