"""The classifier on shipped examples, on noise, on several images of a particle, and on what is no image."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import softmax

from nanoshape_lib.datasets.images import load_examples
from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.networks.features import look
from nanoshape_lib.networks.models import load_weights
from nanoshape_lib.paths import DATA
from nanoshape_lib.trust.classifier import CLASSES, Classifier
from nanoshape_lib.trust.conformal import load_trust

WEIGHTS = DATA / "weights/cnn6.safetensors"


@pytest.fixture(scope="module")
def examples():
    examples = load_examples("best_cnn6_examples")
    return examples.take(np.flatnonzero(examples.table["kind"] == "drawn")[::3])


@pytest.fixture(scope="module")
def classifier():
    return Classifier(WEIGHTS)


def test_turned_and_mirrored_copies_get_the_same_verdict(classifier, examples):
    first = classifier.classify(examples.images[:4])
    turned = classifier.classify(torch.rot90(examples.images[:4].float(), 1, (1, 2)).flip(2))
    assert turned[CLASSES].to_numpy() == pytest.approx(first[CLASSES].to_numpy(), abs=0.02)
    assert (turned["predicted"] == first["predicted"]).all()


def test_shipped_examples_are_known_and_right_and_gain_and_offset_do_not_matter(classifier, examples):
    table = classifier.classify(5 * examples.images.float() + 100)
    assert table[CLASSES].sum(axis=1).to_numpy() == pytest.approx(1)
    assert (table["predicted"] == examples.table["shape"].to_numpy()).mean() >= 0.9
    assert table["known"].mean() > 0.7, "95 % in the mean"
    assert (table["known"] == (table["set"] != "")).all() and (table["known"] == (table["reason"] == "")).all()


def test_noise_and_emptiness_are_refused_with_a_reason(classifier):
    noise = torch.randn(2, 128, 128, generator=torch.Generator().manual_seed(0))
    noise[1] = torch.linspace(0, 1, 128)[:, None].expand(128, 128)
    table = classifier.classify(noise)
    assert not table["known"].any() and (table["set"] == "").all()
    assert table["reason"].str.match(r"^Refused: .+\.$").all() and not table["reason"].str.contains("nan").any()


def test_images_of_one_particle_are_judged_together(classifier, examples):
    images, network = examples.images[:3].float(), load_weights(WEIGHTS)[0]
    table = classifier.classify(images, ["b", "a", "b"])
    assert table["group"].tolist() == ["b", "a"] and table["images"].tolist() == [2, 1]
    logits = look(network, images).logits.mean(axis=1)
    expected = softmax(logits[[0, 2]].mean(axis=0) / load_trust(WEIGHTS).temperature)
    assert table.loc[0, CLASSES].to_numpy(float) == pytest.approx(expected, abs=1e-6)


def test_an_ensemble_of_twins_says_what_one_says(classifier, examples):
    both = Classifier([WEIGHTS, WEIGHTS]).classify(examples.images[:3])
    pd.testing.assert_frame_equal(both, classifier.classify(examples.images[:3]))


def test_a_greater_coverage_refuses_less(examples):
    strict, lenient = (Classifier(WEIGHTS, coverage).classify(examples.images)["known"] for coverage in (0.6, 0.99))
    assert (lenient | ~strict).all() and lenient.sum() > strict.sum()


@pytest.mark.parametrize(
    ("images", "groups", "message"),
    [
        (torch.zeros(2, 64, 64), None, r"images have shape \(2, 64, 64\), but must have \(N, 128, 128\)"),
        (torch.full((1, 128, 128), torch.nan), None, "images hold values that are not finite"),
        (torch.zeros(2, 128, 128), [1], "groups has 1 entries, but must have one for each of 2 images"),
    ],
)
def test_what_is_no_image_is_refused(classifier, images, groups, message):
    with pytest.raises(NanoshapeError, match=message):
        classifier.classify(images, groups)


def test_coverages_that_cannot_be_promised_and_empty_ensembles_are_refused():
    with pytest.raises(NanoshapeError, match=r"coverage is 0.999, but must lie between 0.5 and 0.99"):
        Classifier(WEIGHTS, 0.999)
    with pytest.raises(NanoshapeError, match="weights is empty, but must name at least one file"):
        Classifier([])
