"""Outlier exposure: heads against Gaussians, and the particles and settings that they are asked about."""

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from nanoshape_lib.datasets.images import as_designed
from nanoshape_lib.networks.features import look
from nanoshape_lib.networks.models import load_weights
from nanoshape_lib.particles.decoys import OTHERS
from nanoshape_lib.paths import DATA
from nanoshape_lib.simulation.imaging import form_images
from nanoshape_lib.simulation.optics import Setting
from nanoshape_lib.studies.profiles import load_profile
from nanoshape_lib.trust.conformal import load_trust
from nanoshape_lib.trust.outlier_exposure import (
    KINDS,
    decoy_scene,
    fit_head,
    kind_scene,
    make_series,
    make_waves,
    matter_inputs,
    shape_inputs,
    strained_scene,
)

SHIPPED = pytest.mark.parametrize("name", ["cnn6", "cnn6_ranges"])
NEW = range(10**6, 10**6 + 24)
"""Numbers of particles that no head learned from."""


def waves_of(scene, design, numbers):
    return make_waves(lambda number: scene(design, number), design, numbers)


def series_of(waves, design, kind=KINDS["known"], images=3):
    draw = as_designed(design)
    return make_series(waves, design, lambda rng: kind.change(draw(images, rng)), (0,), kind.camera_pixels)


@pytest.fixture(scope="module")
def known_waves(tiny_design):
    return make_waves(lambda number: kind_scene(KINDS["known"], tiny_design, number), tiny_design, range(2))


def test_a_head_learns_the_odds_between_two_gaussians():
    rng, apart = np.random.default_rng(0), np.array([1.5, -0.5, 0, 0, 1, 0, 0, 0.5])
    other = rng.random(6000) < 0.5
    values = rng.normal(size=(6000, 8)) + np.outer(other - 0.5, apart)
    first, second = torch.as_tensor(values, dtype=torch.float32).split(3000)
    found, expected = fit_head(first, other[:3000]).log_odds(second), values[3000:] @ apart
    assert np.corrcoef(found, expected)[0, 1] > 0.97 and np.polyfit(expected, found, 1)[0] == pytest.approx(1, abs=0.15)


@SHIPPED
def test_the_shipped_head_of_the_shape_tells_decoys_from_the_five_shapes(name):
    design, weights = load_profile("paper").dataset, DATA / f"weights/{name}.safetensors"
    made = waves_of(decoy_scene, design, NEW)
    assert made["about"][:, 0].tolist() == [0, 1] * 12
    views = look(load_weights(weights)[0], series_of(made["waves"], design, images=2).images)
    odds = load_trust(weights).heads.shape.log_odds(shape_inputs(views))
    assert roc_auc_score(np.repeat(made["about"][:, 0], 2), odds) > 0.9


@SHIPPED
def test_the_shipped_head_of_the_matter_tells_other_elements_from_gold(name):
    design, weights = load_profile("paper").dataset, DATA / f"weights/{name}.safetensors"
    strained, gold = waves_of(strained_scene, design, NEW), waves_of(decoy_scene, design, NEW[::2])["waves"]
    other = strained["waves"][np.abs(strained["about"][:, 1]) > 0.3]
    images, heads = series_of([*gold, *other], design, images=2).images, load_trust(weights).heads
    values = matter_inputs(look(load_weights(weights)[0], images), heads.spectral.estimate(images))
    assert roc_auc_score(np.arange(len(images)) >= 2 * len(gold), heads.matter.log_odds(values)) > 0.9


def test_decoys_take_turns_with_the_five_shapes_and_among_themselves(tiny_design, monkeypatch):
    asked = []
    for name in OTHERS:
        monkeypatch.setitem(
            OTHERS, name, lambda size_A, rng, name=name, build=OTHERS[name]: asked.append(name) or build(size_A, rng)
        )
    labels = [decoy_scene(tiny_design, number)[1][0] for number in range(8)]
    assert labels == [0, 1] * 4 and asked == [*OTHERS, next(iter(OTHERS))]


def test_strained_particles_are_gold_with_its_lattice_stretched_or_atoms_in_its_places(tiny_design):
    from ase.data import atomic_numbers

    for number in range(12):
        scene, (lattice, element) = strained_scene(tiny_design, number)
        (symbol,) = set(scene.particle.symbols)
        assert element == pytest.approx(np.log(atomic_numbers[symbol] / 79)) and np.log(0.84) <= lattice <= np.log(1.09)


def test_scenes_depend_on_seed_kind_and_index_alone_and_leave_the_films_of_the_training(tiny_design):
    def scene(kind, index, design=tiny_design):
        return kind_scene(KINDS[kind], design, index)[0]

    first, again = scene("sphere", 2), scene("sphere", 2)
    assert (first.particle.positions == again.particle.positions).all() and first.film == again.film
    others = [scene("sphere", 3), scene("rod", 2), scene("sphere", 2, tiny_design.model_copy(update={"seed": 8}))]
    assert all(len(each.particle) != len(first.particle) or each.film != first.film for each in others)
    assert {scene("bare carbon", index).film.block for index in range(4)} == {2}
    streams = [
        kind.stream for kind in KINDS.values() if kind != KINDS["known"] and not (kind.settings or kind.camera_pixels)
    ]
    assert len({*streams, KINDS["known"].stream}) == len(streams) + 1


def test_bare_carbon_is_of_no_size_and_hardly_scatters(tiny_design):
    made = make_waves(lambda number: kind_scene(KINDS["bare carbon"], tiny_design, number), tiny_design, range(1))
    (label, size_A), wave = made["about"][0], made["waves"][0].astype(float)
    intensity = (wave**2).sum(axis=0)
    assert label == -1 and np.isnan(size_A)
    assert intensity.mean() == pytest.approx(1, abs=0.02) and np.sqrt(intensity).std() < 0.2


def test_a_kind_changes_the_settings_that_make_it_and_no_other(tiny_design):
    setting = Setting.nominal(tiny_design.microscope, tiny_design.camera, 20.0)
    assert KINDS["known"].change([setting]) == [setting]
    far = [each.defocus_A for each in KINDS["defocus ±500 Å"].change([setting] * 5)]
    assert far == [-525, -475, 475, 525, -525]
    (twofold,) = KINDS["astigmatism 100 Å"].change([setting])
    assert twofold.astigmatism_A == 100 and twofold.model_copy(update={"astigmatism_A": 0.0}) == setting


def test_one_of_the_five_imaged_as_usual_is_the_ordinary_image(tiny_design, known_waves):
    made = series_of(known_waves["waves"], tiny_design)
    assert made.images.shape == (6, 128, 128) and sorted(made.table["defocus_A"][:3]) == [-70, 10, 90]
    real, imaginary = torch.as_tensor(known_waves["waves"][0]).float()
    at = torch.as_tensor(made.table["defocus_A"].to_numpy(copy=True)[:3], dtype=torch.float32)
    noiseless = tiny_design.camera.model_copy(update={"dose_e_A2": None})
    clean = form_images((real + 1j * imaginary).expand(3, -1, -1), at, tiny_design.microscope, noiseless)
    for image, ideal in zip(made.images[:3].float(), clean, strict=True):
        assert np.corrcoef(image.ravel(), ideal.ravel())[0, 1] > 0.6


def radius(image):
    """Radius of gyration of what is darker than the surroundings, in pixels."""
    smooth = torch.nn.functional.avg_pool2d(-image[None, None].float(), 9, 1, 4)[0, 0].numpy()
    mass = np.maximum(smooth - 0.5 * smooth.max(), 0)
    x, y = np.indices(mass.shape)
    cx, cy = (mass * x).sum() / mass.sum(), (mass * y).sum() / mass.sum()
    return np.sqrt((mass * ((x - cx) ** 2 + (y - cy) ** 2)).sum() / mass.sum())


def test_a_wrong_pixel_size_scales_the_particle(tiny_design, known_waves):
    usual, small, large = (
        np.mean([radius(image) for image in series_of(known_waves["waves"], tiny_design, KINDS[kind]).images])
        for kind in ("known", "pixel 1.21 Å", "pixel 0.80 Å")
    )
    assert small / usual == pytest.approx(106 / 128, abs=0.06)
    assert large / usual == pytest.approx(160 / 128, abs=0.08)


def test_a_low_dose_is_noisier_by_the_root_of_its_ratio(tiny_design):
    """Empty images: their variance is that of the counts, smoothed by the camera's MTF alike at any dose."""
    empty, draw, relative = torch.ones((1, 256, 256), dtype=torch.complex64), as_designed(tiny_design), {}
    for kind in ("known", "dose 20 e/Å²"):
        settings = KINDS[kind].change(draw(1, np.random.default_rng(0)))
        relative[kind] = float(form_images(empty, settings, tiny_design.microscope, tiny_design.camera).std())
    assert relative["dose 20 e/Å²"] / relative["known"] == pytest.approx(np.sqrt(1000 / 20), rel=0.05)
