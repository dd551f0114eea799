"""The dataset browser and the confusion explorer: their models against the tables they come from, and the widgets."""

import re

import numpy as np
import pandas as pd
import pytest
import torch
from ipywidgets.embed import embed_data

from nanoshape_lib.datasets.images import load_examples
from nanoshape_lib.datasets.store import Store
from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.networks.evaluation import confusion_matrix, predictions_table
from nanoshape_lib.particles.orientation import random_rotations, symmetry_group
from nanoshape_lib.particles.shapes import Shape
from nanoshape_lib.studies.trainings import shipped_predictions
from nanoshape_lib.widgets.browsers import ConfusionExplorer, DatasetBrowser
from nanoshape_lib.widgets.browsing import BrowserModel, ConfusionModel, sector_points
from nanoshape_lib.widgets.live import sector_place, shares


@pytest.fixture(scope="module")
def browser(tiny_store):
    return BrowserModel(tiny_store, "train")


@pytest.fixture(scope="module")
def predictions():
    """Ten waves of three images each; two images of the first wave and one of the second are misclassified."""
    rng = np.random.default_rng(0)
    label = np.repeat(np.arange(10) % 5, 3)
    logits = 4.0 * np.eye(5)[label] + np.eye(5)[(label + 1) % 5]
    logits[[0, 1], 3] = 9.0
    logits[4, 0] = 9.0
    beam = np.repeat(random_rotations(10, rng)[:, 2], 3, axis=0)
    table = pd.DataFrame({"group": np.repeat(np.arange(10), 3), "label": label, "size_A": 50.0})
    table["defocus_A"] = np.tile([-50.0, 0.0, 50.0], 10)
    return predictions_table(table.assign(**dict(zip(["beam_x", "beam_y", "beam_z"], beam.T, strict=True))), logits)


@pytest.fixture(scope="module")
def images():
    return torch.randn(30, 32, 32, generator=torch.Generator().manual_seed(0))


# ------------------------------------------------------------------ data set


def test_every_wave_is_under_its_shape_and_size_once(browser):
    found = [
        group
        for shape in Shape
        for size_A in browser.sizes(shape)
        for group in browser.waves(shape, size_A)["group"].tolist()
    ]
    assert sorted(found) == browser.table["group"].tolist()


def test_equivalent_beams_lie_at_one_place_of_the_sector():
    beam = random_rotations(1, np.random.default_rng(3))[0, 2]
    for shape in (Shape.CUBE, Shape.ICOSAHEDRON):
        rows = pd.DataFrame(symmetry_group(shape) @ beam, columns=["beam_x", "beam_y", "beam_z"])
        places = sector_points(rows, shape)
        np.testing.assert_allclose(places, np.tile(places[0], (len(rows), 1)), atol=1e-9)
    assert sector_points(rows.iloc[:0], shape).shape == (0, 2)


def test_points_lie_within_the_drawing(browser):
    for shape in Shape:
        for size_A in browser.sizes(shape):
            places = sector_place(browser.waves(shape, size_A)[["u", "v"]].to_numpy(), shape)
            assert (places > 0).all() and (places < 1).all()


def test_series_has_one_image_for_each_defocus_and_is_formed_once(browser, tiny_design):
    series = browser.series(3)
    assert series.shape == (len(tiny_design.defoci_A), 128, 128) and browser.series(3) is series
    assert np.abs(series[0] - series[1]).max() > 0.05
    assert np.abs(series - browser.series(4)).max() > 0.05


def test_unknown_size_and_wave_are_refused(browser):
    with pytest.raises(NanoshapeError, match=r"size is 12 Å, but the train waves of the cube have [\d., ]+ Å"):
        browser.waves(Shape.CUBE, 12)
    with pytest.raises(NanoshapeError, match="wave is 99, but must be between 0 and 14"):
        browser.series(99)


def test_unfinished_split_is_refused(copied):
    next(path for path in (copied / "test" / "seal" / "c").rglob("*") if path.is_file()).unlink()
    with pytest.raises(NanoshapeError, match="not finished: some of its test waves"):
        BrowserModel(Store(copied), "test")


def test_click_on_a_point_shows_the_series_of_its_wave(browser):
    widget = DatasetBrowser(browser)
    rows = browser.waves(widget.shape.value, widget.size.value)
    assert list(widget.points) == rows["group"].tolist() and len(widget.points) > 1
    first, last = (int(rows["group"].iloc[index]) for index in (0, -1))
    before = widget.series_view.value
    assert "mod-active" in widget.points[first]._dom_classes
    widget.points[last].click()
    assert widget.series_view.value != before and f"Wave {last} of" in widget.caption.value
    marked = [group for group, point in widget.points.items() if "mod-active" in point._dom_classes]
    assert marked == [last]
    alts = re.findall(r'alt="([^"]+)"', widget.series_view.value)
    assert len(alts) == len(browser.store.design.defoci_A) and "−70 Å" in alts[0]


def test_another_shape_brings_its_own_sizes_points_and_sector(browser):
    widget = DatasetBrowser(browser)
    widget.shape.value = Shape.ICOSAHEDRON
    assert [size for _, size in widget.size.options] == browser.sizes(Shape.ICOSAHEDRON)
    assert list(widget.points) == browser.waves(Shape.ICOSAHEDRON, widget.size.value)["group"].tolist()
    assert "5-fold" in widget.sphere.children[0].value and "icosahedron" in widget.caption.value
    assert len(widget.sphere.children) == 1 + len(widget.points)


# ------------------------------------------------------------------ confusion


def test_cell_holds_the_images_that_its_count_says(predictions, images):
    model = ConfusionModel(predictions, images)
    assert model.counts.sum() == len(predictions)
    np.testing.assert_allclose(model.counts / model.counts.sum(axis=1, keepdims=True), confusion_matrix(predictions))
    for expected in Shape:
        for predicted in Shape:
            cell = model.cell(expected, predicted)
            assert len(cell.rows) == model.counts[expected, predicted] == sum(cell.second.values())
            assert cell.waves["of_it"].sum() == len(cell.rows)
            assert [row for _, row in cell.pictured] == cell.rows.index.tolist()


def test_mistake_knows_its_waves_and_its_second_choice(predictions, images):
    cell = ConfusionModel(predictions, images).cell(Shape.CUBE, Shape.OCTAHEDRON)
    assert cell.rows.index.tolist() == [0, 1] and cell.share == pytest.approx(2 / 6)
    assert cell.waves["group"].tolist() == [0] and cell.waves["share"].tolist() == [pytest.approx(2 / 3)]
    assert cell.second == {Shape.CUBE: 2}
    assert shares({Shape.CUBE: 1, Shape.OCTAHEDRON: 3}) == "octahedron 3 (75%), cube 1 (25%)"


def test_pictures_may_belong_to_some_rows_only(predictions, images):
    model = ConfusionModel(predictions, images[:3], np.array([4, 0, 4]))
    assert model.cell(Shape.CUBE, Shape.OCTAHEDRON).pictured == [(1, 0)]
    assert model.cell(Shape.CUBOCTAHEDRON, Shape.CUBE).pictured == [(0, 4)]
    with pytest.raises(NanoshapeError, match="each must belong to one of the 30 predictions"):
        ConfusionModel(predictions, images[:3], np.array([4, 0, 30]))


def test_shipped_pictures_belong_to_their_predictions():
    model, examples = ConfusionModel.shipped(), load_examples("best_cnn6_examples")
    assert model.counts.sum() == len(shipped_predictions("cnn6")) == len(model.predictions)
    owners = model.predictions.iloc[examples.table["row"]]
    for column in ("group", "label", "predicted", "second", "defocus_A"):
        np.testing.assert_array_equal(owners[column], examples.table[column])
    cell = model.cell(Shape.CUBE, Shape.CUBE)
    assert cell.pictured and all(0 <= position < len(examples.images) for position, _ in cell.pictured)


def test_click_on_a_cell_shows_its_images_its_place_and_the_second_choice(predictions, images):
    widget = ConfusionExplorer(ConfusionModel(predictions, images))
    assert "cube called octahedron" in widget.words.value, "the most frequent mistake comes first"
    assert widget.cells[Shape.CUBE, Shape.OCTAHEDRON].description == "2"
    widget.cells[Shape.CUBOCTAHEDRON, Shape.CUBE].click()
    assert "cuboctahedron called cube</b>: 1 images, 16.67%" in widget.words.value
    assert "cuboctahedron 1 (100%)" in widget.words.value
    assert widget.sphere.value.count("<circle") == 1 and widget.pictures.value.count("<img") == 1
    widget.cells[Shape.OCTAHEDRON, Shape.CUBE].click()
    assert "No image of the octahedron is called cube" in widget.words.value and widget.pictures.value == ""
    assert widget.sphere.value.count("<circle") == 0


def test_both_widgets_can_be_kept_on_a_page(browser, predictions, images):
    for widget in (DatasetBrowser(browser), ConfusionExplorer(ConfusionModel(predictions, images))):
        assert embed_data(views=[widget])["view_specs"]
