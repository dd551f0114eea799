"""Scores and sets against distributions that are known, and the shipped calibration against images that are not."""

import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.spatial.distance import mahalanobis
from scipy.special import softmax
from sklearn.linear_model import RidgeCV
from sklearn.metrics import roc_auc_score

from nanoshape_lib.datasets.design import SplitDesign
from nanoshape_lib.datasets.exposures import as_designed, as_ranged, camera, expose, framed
from nanoshape_lib.datasets.images import load_examples
from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.networks.features import look, symmetries
from nanoshape_lib.networks.models import PlainCNN, load_weights, save_weights
from nanoshape_lib.paths import DATA
from nanoshape_lib.simulation.exit_waves import exit_wave
from nanoshape_lib.simulation.film import BLOCKS
from nanoshape_lib.simulation.imaging import form_images, standardise
from nanoshape_lib.simulation.ranges import Ranges
from nanoshape_lib.studies import ood as trust_study_module
from nanoshape_lib.studies import runner
from nanoshape_lib.studies.ood import Sizes, calibration_store, trust_study
from nanoshape_lib.studies.ood_tables import auroc
from nanoshape_lib.studies.profiles import load_profile
from nanoshape_lib.studies.results import load_results
from nanoshape_lib.trust import ood_kinds, spectral_training
from nanoshape_lib.trust.classifier import CLASSES, Classifier
from nanoshape_lib.trust.conformal import Calibration, load_trust, mass_above, nonconformity, save_trust, trust_file
from nanoshape_lib.trust.ood import Gaussian, Neighbourhood, disagreement
from nanoshape_lib.trust.outlier_exposure import matter_values, shape_values
from nanoshape_lib.trust.outlier_training import ExposedWaves, exposed_images, exposed_waves, fit_odds
from nanoshape_lib.trust.rarity import Rarity, Tail, fit_weights
from nanoshape_lib.trust.spectral_check import SpectralCheck, spectra
from nanoshape_lib.trust.strained import StrainedWaves, strained_waves
from nanoshape_lib.trust.weighing import KINDS, weighed_images

WEIGHTS = DATA / "weights/cnn6.safetensors"


@pytest.fixture(scope="module")
def examples():
    examples = load_examples("best_cnn6_examples")
    return examples.take(np.flatnonzero(examples.table["kind"] == "drawn")[::3])


@pytest.fixture(scope="module")
def classifier():
    return Classifier(WEIGHTS)


def test_mass_above_counts_the_shapes_that_come_first():
    p = np.array([[0.5, 0.3, 0.1, 0.06, 0.04], [0.05, 0.05, 0.6, 0.2, 0.1]])
    assert mass_above(p) == pytest.approx(np.array([[0, 0.5, 0.8, 0.9, 0.96], [0.9, 0.9, 0, 0.6, 0.8]]))
    strange = nonconformity(p, np.array([0.7, 0.0]))
    assert strange[0] == pytest.approx([0.7, 0.7, 0.8, 0.9, 0.96])
    assert (strange[0] <= 0.69).sum() == 0, "an image stranger than the level has an empty set"


def test_the_level_of_each_shape_is_the_rank_that_conformal_prediction_asks_for():
    levels = np.r_[np.arange(1, 20) / 20, np.arange(1, 10) / 100]
    labels = np.repeat([3, 0], [19, 9])
    mixed = np.random.default_rng(0).permutation(len(levels))
    some = Calibration(Rarity({}, np.ones(0), Tail.of(np.zeros(1))), levels[mixed], labels[mixed], len(levels))
    assert some.level(0.95)[3] == pytest.approx(19 / 20), "rank (n + 1) 0.95 = 19 of 19"
    assert some.level(0.90)[[3, 0]] == pytest.approx([18 / 20, 9 / 100])
    assert some.level(0.96)[3] == 1.0, "nineteen particles cannot promise more"
    assert some.level(0.5)[[1, 2, 4]].tolist() == [1, 1, 1], "nor can none promise anything"


def test_sets_hold_each_shape_as_often_as_asked_though_images_of_a_particle_depend_on_one_another():
    rng, covered, empty = np.random.default_rng(0), [], []

    def draw(groups, series=4):
        """Particles whose images share most of their strangeness and difficulty; some shapes are the stranger."""
        p = softmax(3 * rng.normal(size=(groups, 5)), axis=1)
        labels = np.array([rng.choice(5, p=row) for row in p])
        score = np.repeat(rng.exponential(1 + labels), series) + 0.3 * rng.exponential(size=groups * series)
        return np.repeat(p, series, axis=0), np.repeat(labels, series), score

    for _ in range(60):
        _, _, fitted = draw(100)
        scored = Rarity({}, np.ones(0), Tail.of(fitted))
        p, labels, score = draw(600)
        levels = nonconformity(p, scored.rarity(score))[np.arange(len(labels)), labels]
        calibration = Calibration(scored, levels, labels, 600)
        p, labels, score = draw(600)
        members = nonconformity(p, scored.rarity(score)) <= calibration.level(0.9)
        right = members[np.arange(len(labels)), labels]
        covered.append([right[labels == shape].mean() for shape in range(5)])
        empty.append((~members.any(axis=1)).mean())
    error = np.std(covered, axis=0) / np.sqrt(60)
    assert np.mean(covered, axis=0) == pytest.approx(np.full(5, 0.9), abs=4 * error.max())
    assert 0.01 < np.mean(empty) < 0.1


def test_surprise_is_minus_the_logarithm_of_how_rare_a_value_is():
    tail = Tail.of(np.random.default_rng(1).exponential(size=20_000))
    values = np.array([0.1, 0.5, 2.0, 5.0, 8.0])
    assert tail.surprise(values) == pytest.approx(values, rel=0.07), "an exponential's survival function is exp(-x)"
    assert (np.diff(tail.surprise(np.linspace(-1, 20, 200))) >= 0).all()


def test_weights_lean_to_what_tells_and_stay_alike_where_nothing_does():
    rng, kinds = np.random.default_rng(2), np.repeat([0, 1, 2], [4000, 2000, 500])
    squares = rng.exponential(size=(6500, 4)) ** 2
    assert fit_weights(squares, kinds) == pytest.approx(np.ones(4), abs=0.35)
    squares[kinds == 1, 0] *= 9
    squares[kinds == 2, 1] *= 9
    weights = fit_weights(squares, kinds)
    assert weights.mean() == pytest.approx(1) and weights.min() >= 0
    assert weights[:2].min() > 1.3 * weights[2:].max(), "a rare kind counts as much as a frequent one"
    fresh = rng.exponential(size=(4000, 4)) ** 2
    strange = fresh[2000:] * [9, 1, 1, 1]
    learned, equal = (
        roc_auc_score(np.repeat([0, 1], 2000), np.r_[fresh[:2000], strange] @ each) for each in (weights, np.ones(4))
    )
    assert learned > equal + 0.01


def test_a_score_is_the_root_of_the_sum_of_the_weighted_squares_of_surprises():
    rng = np.random.default_rng(3)
    values, others = ({name: rng.exponential(size=n) for name in ("a", "b")} for n in (2000, 900))
    others["b"][300:] *= 3
    rarity = Rarity.fit(values, others, np.repeat([0, 1], [300, 600]))
    surprises = np.stack([rarity.tails[name].surprise(others[name]) for name in ("a", "b")], axis=1)
    expected = np.sqrt((surprises**2) @ rarity.weights)
    assert rarity.score(others) == pytest.approx(expected) and rarity.weights[1] > rarity.weights[0]
    assert (rarity.rarity(rarity.score(values)) > 0.9).mean() == pytest.approx(0.1, abs=0.01)


def test_disagreement_is_the_information_that_the_symmetry_has_about_the_answer():
    same = np.broadcast_to(np.array([2.0, 0, 0, 1, 0]), (1, 8, 5))
    assert disagreement(same) == pytest.approx(0, abs=1e-9)
    halves = np.zeros((1, 8, 5))
    halves[0, :4, 0], halves[0, 4:, 1] = 50, 50
    assert disagreement(halves) == pytest.approx(np.log(2), abs=1e-6)


def test_distances_are_those_of_scipy_and_of_a_search_by_hand():
    rng = np.random.default_rng(2)
    mixing, labels = rng.normal(size=(6, 6)), rng.integers(3, size=4000)
    means = 5 * rng.normal(size=(3, 6))
    points = rng.normal(size=(4000, 6)) @ mixing + means[labels]
    fitted, asked = Gaussian.fit(points, labels), rng.normal(size=(7, 6)) * 5
    inverse = np.linalg.inv(mixing.T @ mixing)
    expected = [min(mahalanobis(each, mean, inverse) for mean in means) for each in asked]
    assert fitted.distance(asked) == pytest.approx(expected, rel=0.1)
    known = rng.normal(size=(50, 6))
    cosine = (asked @ known.T) / np.linalg.norm(asked, axis=1)[:, None] / np.linalg.norm(known, axis=1)
    assert Neighbourhood(known).distance(asked) == pytest.approx(1 - np.sort(cosine)[:, -3], abs=1e-5)


def test_the_area_is_that_of_scikit_learn_and_its_interval_knows_of_groups():
    rng = np.random.default_rng(3)
    known, strange = rng.normal(size=(100, 4)), rng.normal(1, 1, size=(30, 4))
    area, low, high = auroc(known, strange)
    truth = np.r_[np.zeros(400), np.ones(120)]
    assert area == pytest.approx(roc_auc_score(truth, np.r_[known.ravel(), strange.ravel()]))
    assert low < area < high
    same = np.repeat(strange[:, :1], 4, axis=1)
    assert np.ptp(auroc(np.repeat(known[:, :1], 4, axis=1), same)[1:]) > 1.3 * (high - low)


def test_views_are_the_network_under_each_symmetry(examples):
    network, _ = load_weights(WEIGHTS)
    images = examples.images[:2].float()
    views = look(network, images)
    assert views.logits.shape == (2, 8, 5) and views.features.shape == (2, 128)
    assert views.channels.shape == (2, 128) and views.maps.shape == (2, 768)
    for index, each in enumerate(symmetries(images)):
        with torch.no_grad():
            logits = network(each[:, None])
        assert views.logits[:, index] == pytest.approx(logits.numpy(), abs=0.5), "bfloat16 or not"
        assert look(network, each).features == pytest.approx(views.features, abs=0.1)
    with torch.no_grad():
        last = torch.stack([network.features(each[:, None]) for each in symmetries(images)]).numpy()
    expected = np.concatenate([last.mean(axis=(0, 3, 4)), last.mean(axis=(3, 4)).std(axis=0)], axis=1)
    assert views.maps[:, :512] == pytest.approx(expected, abs=0.05)
    assert views.maps[:, 512:] == pytest.approx(last.std(axis=(3, 4)).mean(axis=0), abs=0.05)
    one_way, round_about = look(network, images, symmetric=False).maps, look(network, symmetries(images)[:, 0]).maps
    assert not one_way[:, 256:512].any() and np.ptp(round_about, axis=0).max() < 0.05


@pytest.fixture(scope="module")
def drawings():
    """Noise with a rim at a fixed frequency, a dark disc, and fringes of a lattice of its own, with other pixels."""
    rng, truth, images = np.random.default_rng(4), [], []
    y, x = np.indices((128, 128)) - 63.5
    for _ in range(900):
        size, ratio = np.exp(rng.uniform(-0.2, 0.2)), np.exp(rng.uniform(-0.1, 0.1))
        q = np.hypot(np.fft.fftfreq(128)[:, None], np.fft.fftfreq(128)) / size
        power = np.exp(-(((q - 0.15) / 0.03) ** 2)) + 0.2
        noise = np.fft.ifft2(np.fft.fft2(rng.normal(size=(128, 128))) * np.sqrt(power)).real
        angle, phase = rng.uniform(0, 2 * np.pi, 2)
        fringes = np.cos(2 * np.pi * 0.35 * size / ratio * (x * np.cos(angle) + y * np.sin(angle)) + phase)
        dark = np.exp(rng.uniform(-0.7, 0.7))
        images.append(noise + (fringes - dark) * (np.hypot(x, y) < 25))
        truth.append((np.log(size), np.log(ratio), np.log(dark)))
    return standardise(torch.as_tensor(np.stack(images), dtype=torch.float32)), np.array(truth, np.float32)


def _correlations(found, truth):
    return np.array([np.corrcoef(*pair)[0, 1] for pair in zip(found.T, truth.T, strict=True)])


def test_spectra_hold_pixel_size_lattice_and_contrast(drawings):
    images, truth = drawings
    logs = spectra(images)
    fitted = RidgeCV(np.logspace(0, 4, 9)).fit(logs[:700], truth[:700])
    assert (_correlations(fitted.predict(logs[700:]), truth[700:]) > [0.97, 0.9, 0.97]).all()


def test_the_check_learns_contrast_from_few_images_and_how_little_it_knows_of_the_rest(drawings, monkeypatch):
    images, truth = drawings
    monkeypatch.setattr(spectral_training, "STEP_IMAGES", 16)
    given = spectral_training.StrainedImages(images[:256].numpy(), spectra(images[:256]), truth[:256])
    found = spectral_training.fit_check(given, epochs=4).estimate(images[700:])
    assert _correlations(found.logarithms, truth[700:])[2] > 0.8
    assert (np.abs(found.logarithms - truth[700:]) < 2 * found.deviations).mean() > 0.85


@pytest.mark.parametrize("name", ["cnn6", "cnn6_ranges"])
def test_the_shipped_check_reads_off_the_pixel_size(name):
    design, rng = load_profile("paper").dataset, np.random.default_rng(0)
    check, found = load_trust(DATA / f"weights/{name}.safetensors").novelty.spectral_check, {}
    scenes = [ood_kinds.make_scene("known", design, index) for index in range(4)]
    waves = [exit_wave(scene, design.microscope, design.fidelity) for scene in scenes]
    for pixels in (112, 128, 144):
        images = torch.cat([expose(wave, as_designed(design)(4, rng), design, rng, pixels) for wave in waves])
        found[pixels] = check.estimate(images)
        weights = found[pixels].deviations[:, 0] ** -2
        size_A = np.exp((found[pixels].logarithms[:, 0] * weights).sum() / weights.sum())
        assert size_A == pytest.approx(128 / pixels, rel=0.05)
    errors = np.concatenate([found[n].logarithms[:, 0] - np.log(128 / n) for n in found])
    assert (np.abs(errors) < 3 * np.concatenate([each.deviations[:, 0] for each in found.values()])).mean() > 0.9


def test_a_check_learns_the_odds_between_two_gaussians():
    rng, apart = np.random.default_rng(0), np.array([1.5, -0.5, 0, 0, 1, 0, 0, 0.5])
    other = rng.random(6000) < 0.5
    values = rng.normal(size=(6000, 8)) + np.outer(other - 0.5, apart)
    first, second = torch.as_tensor(values, dtype=torch.float32).split(3000)
    found, expected = fit_odds(first, other[:3000]).log_odds(second), values[3000:] @ apart
    assert np.corrcoef(found, expected)[0, 1] > 0.97 and np.polyfit(expected, found, 1)[0] == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("name", ["cnn6", "cnn6_ranges"])
def test_the_shipped_check_of_the_shape_tells_other_particles_from_the_five_shapes(name):
    design, weights = load_profile("paper").dataset, DATA / f"weights/{name}.safetensors"
    exposed = exposed_waves(design, range(10**6, 10**6 + 24))
    images = exposed_images(exposed.waves, design, as_designed(design), 2, 0)
    odds = load_trust(weights).novelty.shape_check.log_odds(shape_values(look(load_weights(weights)[0], images)))
    assert roc_auc_score(np.repeat(exposed.kinds > 0, 2), odds) > 0.9


@pytest.mark.parametrize("name", ["cnn6", "cnn6_ranges"])
def test_the_shipped_check_of_the_matter_tells_other_elements_and_lattices_from_gold(name):
    design, weights = load_profile("paper").dataset, DATA / f"weights/{name}.safetensors"
    strained, novelty = strained_waves(design, range(10**6, 10**6 + 24)), load_trust(weights).novelty
    gold = exposed_waves(design, range(10**6, 10**6 + 24)).waves[::2]
    element = np.abs(strained.logarithms[:, 1])
    images = exposed_images(np.concatenate([gold, strained.waves[element > 0.3]]), design, as_designed(design), 2, 0)
    values = matter_values(look(load_weights(weights)[0], images), novelty.spectral_check.estimate(images))
    assert roc_auc_score(np.arange(len(images)) >= 2 * len(gold), novelty.matter_check.log_odds(values)) > 0.9


def test_what_weights_are_learned_from_is_known_or_of_six_other_kinds(tiny_store):
    design, draw = tiny_store.design, as_designed(tiny_store.design)
    found = tiny_store.waves("train", 0, 4)
    waves = np.stack([found.real, found.imag], axis=1).astype(np.float16)
    exposed = ExposedWaves(waves, np.array([0, 1, 0, 3]))
    strained = StrainedWaves(waves[:3], np.array([[0, 0], [0.05, 0], [0.05, -0.2]], np.float32))
    made = weighed_images(exposed, strained, design, draw, 2)
    names = [KINDS[kind] for kind in made.table["kind"][::2]]
    assert names[:4] == ["known", "irregular", "known", "intermediate"] and "cut" in KINDS
    assert names[4:7] == ["known", "another lattice constant", "another element"]
    assert names[7:] == ["another pixel size"] * 2
    # The same wave, once believed to be seen with pixels of 1 Å and rightly so, once not: its film's rings move.
    size = load_trust(WEIGHTS).novelty.spectral_check.estimate(made.images).logarithms[:, 0]
    other = (made.table["kind"] == KINDS.index("another pixel size")).to_numpy()
    assert np.abs(size[other]).min() > 2 * np.abs(size[~other]).mean()


def test_framing_crops_and_continues_periodically():
    image = torch.arange(36.0).view(1, 6, 6)
    assert (framed(image, 4) == image[:, 1:5, 1:5]).all()
    assert (framed(image, 8)[0, 1:7, 1:7] == image[0]).all() and framed(image, 8)[0, 0, 1] == image[0, 5, 0]


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


def test_a_calibration_survives_its_file_and_another_networks_is_refused(tmp_path):
    weights = tmp_path / "other.safetensors"
    save_weights(PlainCNN(6), {"architecture": "cnn6"}, weights)
    with pytest.raises(NanoshapeError, match=r"their calibration other.trust.safetensors must lie beside them"):
        load_trust(weights)
    trust = load_trust(WEIGHTS)
    save_trust(trust, weights)
    again = load_trust(weights)
    image = torch.randn(1, 128, 128)
    assert again.temperature == trust.temperature and again.calibrations[1].groups == trust.calibrations[1].groups
    views = look(PlainCNN(6).eval(), image)
    for name, values in trust.novelty.measure(views, image).items():
        assert (values == again.novelty.measure(views, image)[name]).all(), name
    shutil.copy(trust_file(WEIGHTS), trust_file(weights))
    with pytest.raises(NanoshapeError, match=r"is the calibration of other weights than other.safetensors"):
        load_trust(weights)
    whole = trust_file(weights).read_bytes()
    for length in (0, 7, 100, len(whole) // 2, len(whole) - 1):
        trust_file(weights).write_bytes(whole[:length])
        with pytest.raises(NanoshapeError, match="does not hold a calibration"):
            load_trust(weights)


def test_the_calibration_is_small_enough_to_ship():
    assert trust_file(WEIGHTS).stat().st_size < 6.6e6


def test_sets_are_calibrated_on_all_films_that_the_design_leaves_aside(tiny_design, tmp_path):
    table = calibration_store(tiny_design, 42, tmp_path).table("validation")
    assert len(table) == 40 and set(table["block"]) <= set(range(3, BLOCKS)) and table["block"].nunique() > 3
    greedy = tiny_design.model_copy(update={"train": SplitDesign(orientations=1, blocks=(0, *range(3, BLOCKS)))})
    with pytest.raises(NanoshapeError, match="uses all 14 blocks of carbon, but must leave one aside"):
        calibration_store(greedy, 42, tmp_path)


def test_a_study_of_a_tiny_store_makes_its_file_and_tables_and_goes_on_from_its_cache(
    tiny_store, tmp_path, monkeypatch
):
    weights = tmp_path / "net.safetensors"
    save_weights(PlainCNN(4).eval(), {"architecture": "cnn4"}, weights)
    monkeypatch.setattr(ood_kinds, "KINDS", {name: ood_kinds.KINDS[name] for name in ("known", "platinum")})
    sizes = Sizes(known=15, held=5, test=5, strangers=3, exposed=8, series=2, check=6, epochs=2, weighed=6, matter=5)
    novelty, coverage = trust_study(weights, tiny_store, tmp_path / "cache", tmp_path, sizes=sizes)
    assert novelty["auroc"].between(0, 1).all()
    assert set(novelty["kind"]) - {"platinum, fringes"} == {"known", "platinum", "platinum, none"}
    assert set(coverage["images"]) == {1, 2} and set(coverage["shift"]) >= {"none", "none, film 2", "known"}
    table, origin = load_results("trust_net_novelty", tmp_path)
    assert len(table) == len(novelty) and origin["sizes"]["check"] == 6
    assert Classifier(weights).classify(torch.randn(1, 128, 128))["known"].isin([True, False]).all()
    monkeypatch.setattr("nanoshape_lib.studies.ood.look", None)
    monkeypatch.setattr(ood_kinds, "exit_wave", None)
    again, _ = trust_study(weights, tiny_store, tmp_path / "cache", tmp_path, sizes=sizes)
    pd.testing.assert_frame_equal(again, novelty)
    assert isinstance(load_trust(weights).novelty.spectral_check, SpectralCheck)


def test_an_exposure_is_the_designs_image_in_the_middle_of_the_field_of_the_camera(tiny_store):
    design = tiny_store.design
    noiseless = design.camera.model_copy(update={"dose_e_A2": None})
    design = design.model_copy(update={"camera": noiseless})
    wave, rng = tiny_store.waves("test", 0, 1)[0], np.random.default_rng(0)
    settings = as_designed(design)(2, rng)
    assert len({setting.defocus_A for setting in settings} & set(design.defoci_A)) == 2
    defoci = torch.tensor([setting.defocus_A for setting in settings])
    for pixels in (128, 160):
        images = expose(wave, settings, design, rng, pixels)
        seen = torch.as_tensor(wave).expand(2, -1, -1)
        expected = form_images(seen, defoci, design.microscope, camera(noiseless, pixels))
        edge = (pixels - 128) // 2
        expected = standardise(expected[:, edge : edge + 128, edge : edge + 128])
        np.testing.assert_allclose(images.float(), expected, atol=0.02)


def test_ranges_draw_each_image_at_its_own_setting():
    first, second = as_ranged(Ranges())(2, np.random.default_rng(0))
    assert first.defocus_A != second.defocus_A and -300 <= first.defocus_A <= 300


def test_both_networks_are_calibrated_each_for_its_own_settings(tiny_store, tmp_path, monkeypatch):
    asked = {}

    def note(weights, store, cache, folder, draw, device):
        asked[weights.stem] = draw
        assert device == "cpu"
        return (pd.DataFrame({"value": [1.0]}),) * 2

    monkeypatch.setattr(trust_study_module, "trust_study", note)
    monkeypatch.setattr(trust_study_module, "prepared_store", lambda profile: tiny_store)
    job = runner.Job(load_profile("smoke"), tmp_path, tmp_path)
    assert runner.run(runner.study("trust", job), job) == []
    assert asked["cnn6"] is None
    errors = [setting.pixel_error for setting in asked["cnn6_ranges"](200, np.random.default_rng(0))]
    assert max(errors) <= 0.01 and min(errors) >= -0.01 and np.std(errors) > 0.004
    reference = load_examples("reference_images", tmp_path)
    assert len(reference.images) == len(reference.table) == min(100, tiny_store.design.records("train"))
    assert reference.images.float().std(dim=(1, 2)).numpy() == pytest.approx(1, abs=0.01)
